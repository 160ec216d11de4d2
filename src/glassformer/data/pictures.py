"""A single picture that a person names: a PNG or JPEG file, or an item of an idx file (`t10k-images.gz:17`)."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from glassformer.data.idx import read_idx
from glassformer.errors import UsageError

_ITEM = re.compile(r"(.+):(\d+)")
_MODES = {(): "L", (3,): "RGB"}


def read_picture(place: str, shape: tuple[int, ...]) -> UInt8[np.ndarray, "*shape"]:
    """The pixels of one picture, as height x width, and x 3 for colours. Its size is looked at before its pixels are.

    Raises UsageError for a file that is missing or no picture, for one of another size, and for an item that is not
    there.
    """
    item = _ITEM.fullmatch(place)
    if item is None:
        return _from_file(Path(place).expanduser(), shape)
    pictures, number = read_idx(_there(Path(item[1]).expanduser())), int(item[2])
    if number >= len(pictures):
        raise UsageError(f"{item[1]} has no item {number:,}", f"it has items 0 to {len(pictures) - 1:,}")
    if pictures.shape[1:] != shape:
        raise _wrong_size(place, pictures.shape[1:], shape)
    return pictures[number]


def _from_file(file: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "*shape"]:
    from PIL import Image, UnidentifiedImageError  # slow to import, and needed for no text

    try:
        with Image.open(_there(file), formats=["PNG", "JPEG"]) as picture:
            found = (picture.height, picture.width)
            if found != shape[:2]:
                raise _wrong_size(str(file), found, shape)
            return np.array(picture.convert(_MODES[shape[2:]]), dtype=np.uint8)
    except UnidentifiedImageError:
        raise UsageError(
            f"{file} is no PNG or JPEG picture", "give a picture, or an item of an idx file: FILE:17"
        ) from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{file} is damaged: {error}", "write or download it again") from None


def _there(file: Path) -> Path:
    if not file.is_file():
        raise UsageError(f"there is no file {file}", "give a PNG or JPEG picture, or an item of an idx file: FILE:17")
    return file


def _wrong_size(place: str, found: tuple[int, ...], shape: tuple[int, ...]) -> UsageError:
    size, wanted = (" x ".join(map(str, sizes)) for sizes in (found, shape))
    return UsageError(
        f"{place} has {size} pixels, and the model reads {wanted}", "give it that size in a picture editor"
    )
