"""Files that survive a kill and a full disk: written aside, brought to the disk, renamed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from glassformer.errors import GlassformerError

ASIDE = ".tmp-"
PREVIOUS = ".previous-"  # the old snapshot during the instant in which the new one takes its name
"""What is being written or being removed: nothing that starts like this was ever finished."""


def fsync_folder(folder: Path) -> None:
    """Makes the names in `folder` (files made, renamed, removed) survive a power failure."""
    if os.name == "nt":  # Windows cannot open a folder; its file system journals names by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Makes what a file holds survive a power failure."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_text_durably(path: Path, text: str) -> None:
    """Replaces `path` in one step: a reader, or a power failure, sees the old text or the new one, whole.
    Raises GlassformerError when it cannot be written; the old text is then intact."""
    write_bytes_durably(path, text.encode())


def write_bytes_durably(path: Path, content: bytes, mode: int | None = None) -> None:
    """The same for any content; `mode` are the permissions, where they are to be others than usual."""
    aside = aside_of(path)
    with readable_errors(path), removed_on_failure(aside):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_and_fsync(aside, content)
        if mode is not None:
            os.chmod(aside, mode)
        os.replace(aside, path)
        fsync_folder(path.parent)


def write_and_fsync(path: Path, content: bytes) -> None:
    """A file that is on the disk when this returns."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def aside_of(path: Path) -> Path:
    """A name beside `path`, hence on the same file system, where a rename is one step."""
    return path.with_name(f"{ASIDE}{path.name}-{os.getpid()}")


@contextmanager
def removed_on_failure(aside: Path) -> Iterator[None]:
    """Whatever fails, nothing half written stays."""
    try:
        yield
    except BaseException:  # Ctrl-C too leaves no half file behind
        delete(aside)
        raise


@contextmanager
def readable_errors(path: Path) -> Iterator[None]:
    """Turns a failed write into a GlassformerError that says what is left: all that was there before."""
    mend = "everything written before is intact; free some space (or make the folder writable) and continue"
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else (error.strerror or str(error))
        raise GlassformerError(f"cannot write {path}: {why}", mend) from error
    except SafetensorError as error:  # it carries the system's error only as text
        full = f"(os error {errno.ENOSPC})" in str(error)
        raise GlassformerError(f"cannot write {path}: {'the disk is full' if full else error}", mend) from error


def delete(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def snapshots(folder: Path) -> list[Path]:
    """The snapshots in `folder`, whole or damaged, one whose replacement was interrupted among them."""
    if not folder.is_dir():
        return []
    names = {path.name.removeprefix(PREVIOUS) for path in folder.iterdir() if path.is_dir()}
    return [folder / name for name in sorted(names) if not name.startswith(ASIDE)]
