"""What files hold, as hashes that are remembered: a file that has not changed is not read again, as with git's index.

    fingerprints/<source>.json    for each file of a source: its size, times and number, and the sha256 of its bytes

A file counts as unchanged when its size, its two times (of contents and of attributes) and its number are the same. One
that was changed within two seconds of being looked at is not remembered: a second change in the same tick of the clock
would not show in its times.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs

from glassformer.errors import UsageError

_VERSION = 1
_TICK_NS = 2_000_000_000
"""The coarsest clock of a file system in use (FAT has two seconds)."""


def cache_folder() -> Path:
    """GLASSFORMER_CACHE, or the system's place for caches."""
    return Path(os.environ.get("GLASSFORMER_CACHE") or platformdirs.user_cache_dir("glassformer"))


def digests(source: str, files: Sequence[Path], cache: Path | None = None) -> list[tuple[int, bytes]]:
    """(size, sha256 of the bytes) of each file of a source. Raises UsageError for one that cannot be read."""
    index = (cache or cache_folder()) / "fingerprints" / f"{_digest_of(os.path.abspath(source))}.json"
    known = _read(index)
    found: dict[str, list[Any]] = {}
    result: list[tuple[int, bytes]] = []
    for file in files:
        path, now = os.path.abspath(file), time.time_ns()
        signs = _signs(file)
        entry = known.get(path)
        if entry is None or entry[:-1] != signs:
            entry = [*signs, _digest_of_file(file)]
        if max(signs[1:3]) < now - _TICK_NS:
            found[path] = entry
        result.append((signs[0], bytes.fromhex(entry[-1])))
    if found != known:
        _write(index, found)
    return result


def _signs(file: Path) -> list[int]:
    """Size, time of the contents, time of the attributes, number of the file."""
    try:
        there = os.stat(file)
    except OSError as error:
        raise _unreadable(file, error) from None
    return [there.st_size, there.st_mtime_ns, there.st_ctime_ns, there.st_ino]


def _digest_of_file(file: Path) -> str:
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> UsageError:
    return UsageError(f"{file} cannot be read: {error.strerror}", "check that it is a file you may read")


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()[:32]


def _read(index: Path) -> dict[str, list[Any]]:
    """What is remembered; nothing where the index is not there or damaged, for then all is read."""
    try:
        described = json.loads(index.read_text(encoding="utf-8"))
        if described["version"] != _VERSION:
            return {}
        return {str(path): entry for path, entry in described["files"].items() if _is_entry(entry)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != 5 or not all(type(sign) is int for sign in entry[:4]):
        return False
    digest = entry[4]
    return isinstance(digest, str) and len(digest) == 64 and all(c in "0123456789abcdef" for c in digest)


def _write(index: Path, files: dict[str, list[Any]]) -> None:
    """Aside first, then renamed: a reader finds the old index or the new one. A cache that cannot be written costs time
    and nothing else, so this is no error."""
    with contextlib.suppress(OSError):
        index.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=index.stem, suffix=".part", dir=index.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump({"version": _VERSION, "files": files}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, index)
        except BaseException:
            os.unlink(aside)
            raise
