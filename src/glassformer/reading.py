"""The one place that reads files which somebody else may have made: runs, tokenizers, probes, Hugging Face folders.

    plain_bytes(file, limit, what)       a plain file of at most so many bytes; never waits on a pipe or a device
    json_object(file, limit, what)       JSON whose depth and numbers are bounded
    npz_arrays(file, limit, what)        numpy's arrays; their sizes are compared with the file before any is made
    safetensors_header(file)             names, types and shapes of tensors, held against the file's length

Whatever is wrong with a file is a GlassformerError that says so in a line. What needs torch or our own formats is read
elsewhere, with these.
"""

import io
import json
import math
import os
import stat
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from glassformer.errors import GlassformerError, UsageError

SMALL = 4 * 2**20
"""Bytes of a recipe, a manifest, a config.json: far more than any real one has, and soon read."""
LARGE = 256 * 2**20
"""Bytes of a tokenizer or of the probes of one step."""
DEPTH = 32
"""Lists in objects in lists: no file of ours is a third as deep."""
MOST_DIGITS = 20
"""Of a whole number in JSON, sign counted: more fit into no integer of 64 bits."""
MEND = "put the file back as it was"

Checked = TypeVar("Checked", bound=BaseModel)


class Saved(BaseModel):
    """The base of what our own files hold: types are not converted, and what a newer version adds is let through."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class Unreadable(GlassformerError):
    """A file that cannot be used. `reason` says what is wrong with it, without its name."""

    def __init__(self, file: Path, reason: str, mend: str = MEND) -> None:
        reason = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)  # it may quote what is in the file
        super().__init__(f"{file} {reason}", mend)
        self.file, self.reason = file, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.file, self.reason, self.mend)


class NoSuchFile(Unreadable, UsageError):
    """There is nothing of that name."""


# ------------------------------------------------------------------------------------------------- plain files


@contextmanager
def plain_file(file: Path, limit: int | None = None, what: str = "file") -> Iterator[io.BufferedReader]:
    """A plain file, opened for reading; a link to one is followed. Raises NoSuchFile, and Unreadable where it is no
    plain file (a pipe would be waited on for ever), may not be read, or is larger than `limit` bytes."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # before it is opened: to open a device may do something
            raise Unreadable(file, "is no plain file", f"give a {what}")
        # What it is may have changed since: never wait, and ask what was really opened.
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise NoSuchFile(file, "is missing", f"give a {what} that is there") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Unreadable(file, f"cannot be read: {why}", f"check that it is a {what} you may read") from None
    with open(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(file, "is no plain file", f"give a {what}")
        if limit is not None and found.st_size > limit:
            _refuse_size(file, found.st_size, limit, what)
        yield opened


def plain_bytes(file: Path, limit: int = SMALL, what: str = "file") -> bytes:
    """The content of a plain file. Raises what `plain_file` raises."""
    with plain_file(file, limit, what) as opened:
        try:
            content = opened.read(limit + 1)  # it may grow while it is read
        except OSError as error:
            raise Unreadable(file, f"cannot be read: {error.strerror}") from None
    if len(content) > limit:
        _refuse_size(file, len(content), limit, what)
    return content


def plain_text(file: Path, limit: int = SMALL, what: str = "file") -> str:
    """The same as text. Raises Unreadable naming the first byte that is no UTF-8."""
    try:
        return plain_bytes(file, limit, what).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(file, f"is no text in UTF-8: byte {error.start} is wrong", "save it as UTF-8") from None


def _refuse_size(file: Path, size: int, limit: int, what: str) -> NoReturn:
    raise Unreadable(
        file, f"has {size:,} bytes, and a {what} has at most {limit:,}", f"give a {what} as glassformer writes it"
    )


# ------------------------------------------------------------------------------------------------------- JSON


def json_value(content: bytes | str, file: Path, depth: int = DEPTH, constants: bool = False) -> Any:
    """JSON as plain data. Raises Unreadable where it is none, is nested deeper than `depth`, or has a number too long
    to be one or half of a character. NaN and infinities, which JSON has no word for, are let through with `constants`
    alone."""
    try:
        value = json.loads(
            content,
            parse_int=_whole_number,
            parse_float=_number,
            parse_constant=None if constants else _no_constant,
        )
        if (b"\\u" if isinstance(content, bytes) else "\\u") in content:  # type: ignore[operator]
            json.dumps(value, ensure_ascii=False).encode()  # half of a character could be neither shown nor saved
    except RecursionError:
        raise Unreadable(file, f"is damaged: its JSON is nested deeper than {depth} levels") from None
    except ValueError as error:  # no JSON, no UTF-8, or more digits than Python turns into a number
        raise Unreadable(file, f"is damaged: {_short(error)}") from None
    level = [value]
    for _ in range(depth + 1):
        level = [part for whole in level for part in _parts(whole) if isinstance(part, dict | list)]
        if not level:
            return value
    raise Unreadable(file, f"is damaged: its JSON is nested deeper than {depth} levels")


def json_object(
    file: Path, limit: int = SMALL, what: str = "file", depth: int = DEPTH, constants: bool = False
) -> dict[str, Any]:
    """A file that holds one JSON object. Raises what `plain_bytes` and `json_value` raise, and Unreadable for another
    JSON value."""
    value = json_value(plain_bytes(file, limit, what), file, depth, constants)
    if not isinstance(value, dict):
        raise Unreadable(file, "is damaged: it holds no JSON object")
    return value


def checked(kind: type[Checked], value: Any, file: Path, where: str = "") -> Checked:
    """A value as a typed model. Raises Unreadable naming the first key that is missing or of another type."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise Unreadable(file, f"is damaged{where}: {key[:100]}: {first['msg'][:200].lower()}") from None


def _parts(whole: Any) -> Any:
    if isinstance(whole, dict):
        return whole.values()
    return whole if isinstance(whole, list) else ()


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS or not -(2**63) <= int(digits) < 2**63:  # it would fail where it is used
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is larger than any number")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _short(error: BaseException) -> str:
    return str(error)[:200] or type(error).__name__


# ------------------------------------------------------------------------------------------------ numpy's .npz


def npz_arrays(
    file: Path, limit: int = LARGE, what: str = "file", texts: frozenset[str] = frozenset()
) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
    """The arrays of an .npz file by name, and the members named in `texts` as they are. Nothing is unpickled, and all
    together unpacks to at most `limit` bytes. Raises Unreadable where a header says another size than the file has, and
    where anything else is wrong."""
    content = plain_bytes(file, limit, what)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, warnings.catch_warnings():
            warnings.simplefilter("error")
            members = archive.infolist()
            _check_members(file, members, limit)
            said = {one.filename: archive.read(one) for one in members if one.filename in texts}
            arrays = {
                one.filename.removesuffix(".npy"): _array(archive.read(one))
                for one in members
                if one.filename not in texts
            }
    except GlassformerError:
        raise
    except Exception as error:  # zipfile and numpy raise a dozen kinds, all of them for what the file holds
        raise Unreadable(file, f"is damaged: {_short(error)}") from None
    return arrays, said


def _check_members(file: Path, members: list[zipfile.ZipInfo], limit: int) -> None:
    size = sum(one.file_size for one in members)
    if size > limit:
        raise Unreadable(file, f"is damaged: it would unpack to {size:,} bytes, and at most {limit:,} are read")
    if len({one.filename for one in members}) != len(members):
        raise Unreadable(file, "is damaged: it holds two parts of one name")
    for one in members:
        if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or one.flag_bits & 1:
            raise Unreadable(file, f"is damaged: {one.filename[:100]} is packed in a way that is not ours")


def _array(content: bytes) -> np.ndarray:
    """One .npy file. Raises ValueError where its header does not say the size that there is."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"arrays of version {version} are not ours")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(stream)
    if dtype.hasobject or dtype.kind not in "biufU" or min(shape, default=0) < 0:
        raise ValueError(f"an array of type {dtype} and shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError(f"an array of shape {shape} is said to be in {len(content) - stream.tell():,} bytes")
    flat = np.frombuffer(content, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if by_columns else "C").copy()


# ------------------------------------------------------------------------------------------------- safetensors

BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64"), 64),
}
"""The width of each type of number that is read."""
MOST_DIMENSIONS = 8


class Stored(NamedTuple):
    """One tensor of a file, before it is read."""

    dtype: str
    """As the file has it: F32."""
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def safetensors_header(file: Path, what: str = "safetensors file") -> dict[str, Stored]:
    """The tensors of a .safetensors file by name; none of them is read. Raises Unreadable where a type is not known,
    and where shapes, places and the file's length do not agree."""
    with plain_file(file, None, what) as opened:
        length = os.fstat(opened.fileno()).st_size
        header = int.from_bytes(opened.read(8), "little")
        if length < 8 or header > length - 8:
            raise Unreadable(file, f"is damaged: it ends before its header does, after {length:,} bytes")
        if header > 8 * SMALL:
            _refuse_size(file, header, 8 * SMALL, "header")
        found = json_value(opened.read(header), file, depth=4)
    if not isinstance(found, dict):
        raise Unreadable(file, "is damaged: its header is no JSON object")
    found.pop("__metadata__", None)
    return {name: _stored(file, name, said, length - 8 - header) for name, said in found.items()}


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    dtype: str
    shape: list[int]
    data_offsets: list[int]


def _stored(file: Path, name: str, said: Any, room: int) -> Stored:
    tensor = checked(_Said, said, file, f" in the tensor {name[:100]}")
    shape, places = tuple(tensor.shape), tensor.data_offsets
    wrong = f"is damaged: the tensor {name[:100]} "
    if not name.isprintable():
        raise Unreadable(file, f"{wrong}has a name that cannot be shown")
    if tensor.dtype not in BITS:
        raise Unreadable(file, f"{wrong}has the type {tensor.dtype[:20]}", f"types that are read: {', '.join(BITS)}")
    if len(shape) > MOST_DIMENSIONS or min(shape, default=0) < 0:
        raise Unreadable(file, f"{wrong}has the shape {str(list(shape))[:100]}")
    if len(places) != 2 or not 0 <= places[0] <= places[1] <= room:
        raise Unreadable(file, f"{wrong}lies at {str(places)[:100]} of {room:,} bytes")
    if math.prod(shape) * BITS[tensor.dtype] != 8 * (places[1] - places[0]):
        raise Unreadable(file, f"{wrong}of shape {list(shape)} is said to be in {places[1] - places[0]:,} bytes")
    return Stored(tensor.dtype, shape)
