"""Files by a name, a folder or a pattern, and their lines; whatever is wrong with them is said with file and byte."""

import difflib
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassformer.errors import UsageError

SUFFIXES = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def is_path(name: str) -> bool:
    """Whether a source names files, and not a built-in corpus or a set on the hub."""
    return not name.startswith(("builtin:", "hub:"))


def format_of(file: Path) -> str:
    """The suffix that decides how a file is read; an unknown one means text."""
    suffix = file.suffix.lower()
    return suffix if suffix in SUFFIXES else ".txt"


def files_of(name: str) -> list[Path]:
    try:
        path = Path(name).expanduser()
    except RuntimeError:
        raise UsageError(f"{name}: there is no such user", "write the whole path") from None
    if path.is_dir():
        return _files_of_folder(path)
    if path.exists():
        return [path]
    if glob.has_magic(name):
        files = [p for p in map(Path, sorted(glob.glob(str(path), recursive=True))) if p.is_file()]
        if files:
            return files
        raise UsageError(f"no file matches {name}", "mend the pattern")
    raise UsageError(f"there is no file {name}", _mend_missing(path))


def _files_of_folder(folder: Path) -> list[Path]:
    """Sorted by the parts of their paths; hidden files and folders are left out, and links to folders not followed."""
    visible = [folder.joinpath(*parts) for parts in sorted(_visible_files(str(folder), ()))]
    files = [p for p in visible if p.suffix.lower() in SUFFIXES]
    if not files:
        there = ", ".join(str(p.relative_to(folder)) for p in visible[:5]) or "nothing"
        raise UsageError(
            f"the folder {folder} holds no file ending in {' '.join(SUFFIXES)} (it holds: {there})",
            f'to read others as text, name them: "{folder}/*.md"',
        )
    return files


def _visible_files(folder: str, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The files below a folder as the parts of their paths. The kind of each comes with the listing: no file is asked
    for by itself. A folder that may not be read counts as empty."""
    try:
        with os.scandir(folder) as listing:
            entries = [entry for entry in listing if not entry.name.startswith(".")]
    except PermissionError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _visible_files(entry.path, (*parts, entry.name))
        elif entry.is_file():
            yield (*parts, entry.name)


def _mend_missing(path: Path) -> str:
    """The nearest name in the folder that the missing file would be in."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    names = [p.name for p in path.parent.iterdir()]
    close = difflib.get_close_matches(path.name, names, n=1)
    if close:
        return f"did you mean {str(path.with_name(close[0]))!r}?"
    return f"{path.parent} holds: {', '.join(sorted(names)[:10]) or 'nothing'}"


def read_lines(file: Path) -> Iterator[str]:
    """The lines without their ends, one at a time, so that a file larger than memory can be read. Raises
    UsageError with the byte offset for what is not text in UTF-8."""
    with _open(file) as stream:
        if stream.read(2) in _UTF_16_MARKS:
            raise UsageError(
                f"{file} is not UTF-8: it begins with a UTF-16 mark (byte 0)",
                f"convert it: iconv -f UTF-16 -t UTF-8 {file} > new.txt",
            )
        stream.seek(0)
        offset = 0
        for raw in stream:
            line = _decode(raw.rstrip(b"\r\n"), file, offset)
            offset += len(raw)
            del raw  # a line may be all of a large file, and whoever waits for the next one needs the room
            yield line


def _decode(raw: bytes, file: Path, offset: int) -> str:
    if b"\0" in raw:
        raise UsageError(
            f"{file} is binary: a NUL byte at byte {offset + raw.index(0)}",
            "give a text file, saved as UTF-8",
        )
    try:
        # the mark is three bytes at the start of some files from Windows, and no part of the text
        return raw.decode("utf-8").removeprefix("\ufeff" if offset == 0 else "")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} is not UTF-8: byte 0x{raw[error.start]:02X} at byte {offset + error.start}",
            f"save it as UTF-8; if it is Latin-1: iconv -f LATIN1 -t UTF-8 {file} > new.txt",
        ) from None


def _open(file: Path) -> Any:
    try:
        return file.open("rb")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", "check that it is a file you may read") from None
