"""A library that is compiled on this machine and kept: whole, ours, and not to be changed by others, or made anew.

compiled/step-NAME.so          what the compiler made
compiled/step-NAME.so.sha256   its hash: a cut or changed file would end the process that loads it

What is loaded are the bytes that were checked: they are handed to the system in memory, not once more by the name of a
file that another process may meanwhile have changed.
"""

import ctypes
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glassformer.durable import write_bytes_durably
from glassformer.errors import GlassformerError
from glassformer.reading import Unreadable, plain_bytes

LARGEST = 64 * 2**20
"""Bytes of a library; step.c makes some 100,000."""
OTHERS = stat.S_IWGRP | stat.S_IWOTH


class NotOurs(Exception):
    """A folder or file that others own or may write."""


def kept(file: Path, source: bytes, command: Sequence[str]) -> bytes:
    """The content of a library: that of `file`, where it is whole and ours alone; else it is built and kept there.
    Where it cannot be kept, it is built for this process, which is said. Raises OSError or SubprocessError where it
    cannot be built."""
    try:
        folder_is_ours(file.parent)
        found = whole(file)
        if found is not None:
            return found
    except (NotOurs, OSError) as error:
        made = build(source, command)
        say_not_kept(str(error))
        return made
    made = build(source, command)
    try:
        write_bytes_durably(file, made, mode=0o600)
        write_bytes_durably(hash_file(file), hash_of(made), mode=0o600)
    except GlassformerError as error:
        say_not_kept(error.what)
    return made


def say_not_kept(why: str) -> None:
    """On standard error: the next process will have to build it again."""
    print(f"note: the compiled step is made anew in every process, a second each time: {why}", file=sys.stderr)


# ------------------------------------------------------------------------------------------------- what is kept


def folder_is_ours(folder: Path) -> None:
    """Make the folder, if it is not there. Raises NotOurs where somebody else could put a library into it: where
    another user owns it, it is a link, or others may write it, or may rename it since all may write a folder above."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    is_ours(folder, folder.lstat(), stat.S_ISDIR)
    for above in folder.resolve().parents:
        found = above.stat()
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise NotOurs(f"all may write {above} (chmod o-w {above})")


def is_ours(path: Path, found: os.stat_result, is_kind: Callable[[int], bool]) -> None:
    """Raises NotOurs for another kind of file, and for one that others own or may write."""
    if not is_kind(found.st_mode):
        raise NotOurs(f"{path} is not what it should be (remove it)")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise NotOurs(f"another user owns {path}")
    if found.st_mode & OTHERS:
        raise NotOurs(f"others may write {path} (remove it, or chmod go-w {path})")


def whole(file: Path) -> bytes | None:
    """The content of a library as it was written; None where it is missing, damaged, no plain file, or where others may
    write it: then it is replaced."""
    try:
        for each in (file, hash_file(file)):
            is_ours(each, each.lstat(), stat.S_ISREG)
        content = plain_bytes(file, LARGEST)
        return content if plain_bytes(hash_file(file), 1000) == hash_of(content) else None
    except (NotOurs, Unreadable, OSError):
        return None


def hash_file(file: Path) -> Path:
    """Where a library's hash is."""
    return file.with_name(f"{file.name}.sha256")


def hash_of(content: bytes) -> bytes:
    """As the file holds it."""
    return f"{hashlib.sha256(content).hexdigest()}\n".encode()


# ------------------------------------------------------------------------------------------------ made and loaded


def build(source: bytes, command: Sequence[str]) -> bytes:
    """What the compiler makes of C, read from its standard input. Raises OSError or SubprocessError where it fails."""
    with tempfile.TemporaryDirectory(prefix="glassformer-") as aside:  # nobody else may enter it
        made = Path(aside, "made.so")
        subprocess.run([*command, "-o", str(made), "-lm"], input=source, capture_output=True, check=True, timeout=60)
        return made.read_bytes()


def loaded(content: bytes, name: str) -> Any:
    """A library of these bytes. Raises OSError where the system does not take them."""
    try:
        # It stays open: the system would take another library of the same name, hence number, for this one.
        descriptor = os.memfd_create(name)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    except (AttributeError, OSError):  # no Linux, or forbidden
        return from_private_file(content, name)


def from_private_file(content: bytes, name: str) -> Any:
    """The same through a file in a folder that nobody else may enter."""
    with tempfile.TemporaryDirectory(prefix="glassformer-") as aside:
        file = Path(aside, name)
        file.write_bytes(content)
        return ctypes.CDLL(str(file))
