"""Arrays in idx files, the format of MNIST and its kin (LeCun, Cortes and Burges), plain or packed by gzip.

magic number   two zero bytes, the type (0x08: unsigned bytes), the number of dimensions
sizes          a big-endian uint32 for each dimension; the first is the number of items
data           the items, row by row

train-images-idx3-ubyte.gz   60,000 x 28 x 28      train-labels-idx1-ubyte.gz   60,000
"""

import contextlib
import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from glassformer.errors import UsageError

_UNSIGNED_BYTES = 0x08
_GZIP = b"\x1f\x8b"
_MOST_DIMENSIONS = 4
MOST_BYTES = 2**33
"""Of the data of one file; the largest sets of this kind have a few hundred million."""


def read_idx(file: Path) -> UInt8[np.ndarray, "..."]:
    """The array of one file. Its sizes are held against the file before any of it is read.

    Raises UsageError for what is no idx file of unsigned bytes, for one that is damaged or cut off, and for sizes that
    do not fit the file.
    """
    try:
        with contextlib.ExitStack() as files:
            stream: BufferedIOBase = files.enter_context(file.open("rb"))
            packed = stream.read(2) == _GZIP
            stream.seek(0)
            if packed:
                stream = files.enter_context(gzip.GzipFile(fileobj=stream))
            shape = _shape(stream, file)
            wanted = math.prod(shape)
            _check_size(file, shape, wanted, packed)
            content = stream.read(wanted + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{file} is damaged: {error}", "download it again") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", "check that it is a file you may read") from None
    if len(content) != wanted:
        found = "more" if len(content) > wanted else f"{len(content):,}"
        raise UsageError(
            f"{file} is damaged: {_by(shape)} bytes are {wanted:,}, and there are {found}", "download it again"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def idx_rows(arrays: Path, labels: Path) -> Iterator[tuple[UInt8[np.ndarray, "*shape"], int]]:
    """Each item with its label. Raises UsageError for unequal numbers of items, and for labels that are no list."""
    items, numbers = read_idx(arrays), read_idx(labels)
    if numbers.ndim != 1 or items.ndim < 2:
        raise UsageError(
            f"{arrays} has items of {_by(items.shape[1:]) or 'one byte'} bytes, and {labels} of "
            f"{_by(numbers.shape[1:]) or 'one byte'}",
            "give the pictures as data.train and their labels as data.train_targets",
        )
    if len(items) != len(numbers):
        raise UsageError(
            f"{arrays} has {len(items):,} items, and {labels} has {len(numbers):,} labels", "give files of as many each"
        )
    yield from zip(items, numbers.tolist(), strict=True)


def _shape(stream: BufferedIOBase, file: Path) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise UsageError(
            f"{file} is no idx file: it begins with {magic.hex(' ') or 'nothing'}",
            "give a file such as train-images-idx3-ubyte.gz (arrays of bytes, as MNIST has them)",
        )
    kind, dimensions = magic[2], magic[3]
    if kind != _UNSIGNED_BYTES or not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise UsageError(
            f"{file} is an idx file of type 0x{kind:02x} in {dimensions} dimensions",
            f"give unsigned bytes (type 0x08) in 1 to {_MOST_DIMENSIONS} dimensions",
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise UsageError(f"{file} is damaged: it breaks off in its sizes", "download it again")
    return struct.unpack(f">{dimensions}I", sizes)


def _check_size(file: Path, shape: tuple[int, ...], wanted: int, packed: bool) -> None:
    """Raises UsageError where the file cannot hold so much. Of a packed file its last four bytes say how much was
    packed, modulo 2^32."""
    header = 4 + 4 * len(shape)
    if wanted == 0 or wanted > MOST_BYTES:
        raise UsageError(
            f"{file} says that it holds {_by(shape)} bytes", f"give one of 1 to {MOST_BYTES:,} bytes, or mend it"
        )
    size, expected = file.stat().st_size, header + wanted
    if packed:
        with file.open("rb") as stream:
            stream.seek(-4, 2)
            size, expected = struct.unpack("<I", stream.read(4))[0], expected % 2**32
    if size != expected:
        raise UsageError(
            f"{file} is damaged: {_by(shape)} bytes and a header of {header} are {expected:,}, and "
            f"the file {'unpacks to' if packed else 'has'} {size:,}",
            "download it again",
        )


def _by(shape: tuple[Any, ...]) -> str:
    return " x ".join(map(str, shape))
