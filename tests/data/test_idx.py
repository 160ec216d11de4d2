"""Arrays in idx files: read exactly, or refused before much is read."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from glassformer.data.idx import idx_rows, read_idx
from glassformer.data.pictures import read_picture
from glassformer.errors import UsageError

PICTURES = np.arange(3 * 5 * 7, dtype=np.uint8).reshape(3, 5, 7)


def header(*sizes: int, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


def write(folder: Path, content: bytes, name: str = "a-idx3-ubyte", packed: bool = False) -> Path:
    file = folder / name
    file.write_bytes(gzip.compress(content) if packed else content)
    return file


@pytest.mark.parametrize("packed", [False, True])
def test_an_array_is_read_as_it_was_written(tmp_path, packed):
    """Plain, and packed by gzip, whatever the file is called."""
    file = write(tmp_path, header(3, 5, 7) + PICTURES.tobytes(), packed=packed)
    assert np.array_equal(read_idx(file), PICTURES)
    labels = write(tmp_path, header(3) + bytes([9, 0, 4]), "labels", packed)
    assert [label for _, label in idx_rows(file, labels)] == [9, 0, 4]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is no idx file"),
        (b"some text that is no idx file", "is no idx file"),
        (header(3, 5, 7, kind=0x0D) + PICTURES.tobytes(), "type 0x0d"),
        (header(3, 5, 7)[:9], "breaks off in its sizes"),
        (header(3, 5, 7) + PICTURES.tobytes()[:-1], "is damaged"),
        (header(3, 5, 7) + PICTURES.tobytes() + b"x", "is damaged"),
        (header(2**31, 2**31, 7), "says that it holds"),
        (header(60000, 28, 28), "is damaged"),
        (header(0, 28, 28), "says that it holds"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_wrong_is_said(tmp_path, content, why, packed):
    with pytest.raises(UsageError, match=why):
        read_idx(write(tmp_path, content, packed=packed))


def test_a_packed_file_is_never_unpacked_beyond_its_sizes(tmp_path, monkeypatch):
    """A small file may unpack to gigabytes: no more than the sizes say is read of it, and a file that is cut off or
    changed is said to be damaged."""
    packed = gzip.compress(header(3, 5, 7) + PICTURES.tobytes())
    for broken in (packed[:-12], packed[:40] + b"\xff" + packed[41:], packed[:6]):
        with pytest.raises(UsageError, match=r"damaged|no idx file|says that"):
            read_idx(write(tmp_path, broken))
    bomb = gzip.compress(header(3, 5, 7) + bytes(10**6))
    asked = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: asked.append(size) or read(self, size))
    with pytest.raises(UsageError, match="unpacks to 1,000,016"):
        read_idx(write(tmp_path, bomb))
    assert max(asked) <= 12 and min(asked) >= 0


def test_labels_belong_to_pictures(tmp_path):
    """As many, and one byte each."""
    pictures = write(tmp_path, header(3, 5, 7) + PICTURES.tobytes())
    few = write(tmp_path, header(2) + b"ab", "few")
    with pytest.raises(UsageError, match=r"has 3 items, and .* has 2 labels"):
        list(idx_rows(pictures, few))
    with pytest.raises(UsageError, match=r"data\.train_targets"):
        list(idx_rows(few, pictures))


def test_one_picture_by_its_name(tmp_path):
    """An item of an idx file, or a picture of the size that is read."""
    from PIL import Image

    file = write(tmp_path, header(3, 5, 7) + PICTURES.tobytes(), packed=True)
    assert np.array_equal(read_picture(f"{file}:2", (5, 7)), PICTURES[2])
    Image.fromarray(PICTURES[1]).save(tmp_path / "one.png")
    assert np.array_equal(read_picture(str(tmp_path / "one.png"), (5, 7)), PICTURES[1])
    assert read_picture(str(tmp_path / "one.png"), (5, 7, 3)).shape == (5, 7, 3)
    for place, why in (
        (f"{file}:3", "has no item 3"),
        (str(tmp_path / "two.png"), "there is no file"),
        (str(file), "is no PNG or JPEG"),
    ):
        with pytest.raises(UsageError, match=why):
            read_picture(place, (5, 7))
    with pytest.raises(UsageError, match="has 5 x 7 pixels, and the model reads 28 x 28"):
        read_picture(str(tmp_path / "one.png"), (28, 28))
    whole = (tmp_path / "one.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"is damaged|is no PNG"):
        read_picture(str(tmp_path / "cut.png"), (5, 7))
