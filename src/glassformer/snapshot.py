"""Snapshots of tensors, made of files that survive a kill and a full disk (durable.py).

A snapshot is a folder of `<part>.safetensors`, `state.json` and `manifest.json`; nothing in it is pickled, so
that loading a stranger's run executes none of their code. A process killed at any moment leaves the old
snapshot or the new one, never neither and never half of one.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassformer.durable import ASIDE, aside_of, delete, fsync_file, fsync_folder, readable_errors, removed_on_failure
from glassformer.durable import PREVIOUS as PREVIOUS
from glassformer.durable import snapshots as snapshots
from glassformer.durable import write_and_fsync as write_and_fsync
from glassformer.durable import write_bytes_durably as write_bytes_durably
from glassformer.durable import write_text_durably as write_text_durably
from glassformer.errors import GlassformerError, nearest
from glassformer.reading import Saved, Unreadable, checked, json_object, plain_file, safetensors_header

STATE = 16 * 2**20
"""Bytes of state.json: it has a few lines for each parameter of a model."""


class Snapshot(NamedTuple):
    """What read_snapshot gives back. Names that shared a tensor when written share one again."""

    parts: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


class DamagedSnapshot(GlassformerError):
    """A snapshot that is not what was written. `reason` names the file and what is wrong with it."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder} is damaged: {reason}")
        self.folder = folder
        self.reason = reason


class SavedFile(Saved):
    """A file of a snapshot, as its manifest has it."""

    sha256: str
    size: int


class SavedPart(Saved):
    """Names that share a tensor -> the name that has it."""

    aliases: dict[str, str]


class Manifest(Saved):
    """What manifest.json says of a snapshot, without its own hash."""

    format: int
    files: dict[str, SavedFile]
    parts: dict[str, SavedPart]


def write_snapshot(folder: Path, parts: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
    """Writes the tensors of each part to `<part>.safetensors` and `state` to `state.json`. An older snapshot
    of the same name is replaced.

    `state` is plain JSON; its floats, infinities included, come back bit for bit. Raises GlassformerError
    when it cannot be written (a full disk): whatever stood at `folder` before is intact.
    """

    def fill(aside: Path) -> None:
        write_and_fsync(aside / "state.json", json.dumps(state, indent=1).encode())
        aliases = {part: _write_part(aside, part, tensors) for part, tensors in parts.items()}
        _write_manifest(aside, aliases)

    publish(folder, fill)


def link_snapshot(source: Path, folder: Path, parts: Iterable[str]) -> None:
    """Makes `folder` a snapshot with only these parts of the snapshot `source`, by hard links (by copies
    where the file system has none): weights that are already on the disk are not written twice."""
    aliases = {part: _manifest(source).parts[part].aliases for part in parts}

    def fill(aside: Path) -> None:
        for name in ["state.json", *(_file_of(part) for part in aliases)]:
            _link_or_copy(source / name, aside / name)
        _write_manifest(aside, aliases)

    publish(folder, fill)


def publish(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fills a folder aside and gives it its name. A folder that is not empty cannot be replaced in one step,
    so the old one is renamed first; readers look there (`_standing`) while `folder` itself is missing."""
    aside = aside_of(folder)
    with readable_errors(folder), removed_on_failure(aside):
        folder.parent.mkdir(parents=True, exist_ok=True)
        delete(aside)
        aside.mkdir()
        fill(aside)
        fsync_folder(aside)
        _swap(aside, folder)


def _swap(aside: Path, folder: Path) -> None:
    previous = folder.with_name(PREVIOUS + folder.name)
    if folder.exists():
        if previous.exists():  # of a process killed after its second rename
            remove_folder(previous)
        os.rename(folder, previous)
    os.rename(aside, folder)
    fsync_folder(folder.parent)
    if previous.exists():
        remove_folder(previous)


def remove_folder(folder: Path) -> None:
    """Removes `folder` so that a kill halfway leaves no folder of that name with some of its files."""
    aside = aside_of(folder)
    delete(aside)
    os.rename(folder, aside)
    delete(aside)


def remove_abandoned(folder: Path) -> None:
    """Removes what killed processes left half done in `folder`. Only the process that writes may call it."""
    for path in folder.glob(f"{ASIDE}*"):
        delete(path)


def has_snapshot(folder: Path) -> bool:
    """Whether there is a snapshot at `folder`, whole or damaged."""
    return _standing(folder).is_dir()


def read_snapshot(folder: Path, parts: Iterable[str] | None = None, device: str = "cpu") -> Snapshot:
    """Reads a snapshot, or only some parts of it, and compares every file that it reads with its hash.

    May be called while another process replaces the snapshot. Raises DamagedSnapshot when a file is missing,
    truncated or changed, and GlassformerError when a part was never in it.
    """
    wanted = None if parts is None else list(parts)
    before = _identity(folder)
    try:
        return _read_once(_standing(folder), wanted, device)
    except (DamagedSnapshot, FileNotFoundError):
        if _identity(folder) == before:
            raise
    return read_snapshot(folder, wanted, device)  # it was replaced under our hands, not damaged


def _read_once(folder: Path, parts: list[str] | None, device: str) -> Snapshot:
    manifest = _manifest(folder)
    known = manifest.parts
    for part in parts or ():
        if part not in known:
            raise GlassformerError(f"{folder} holds no part {part!r}", nearest(part, known))
    state = _state(_verified(folder, "state.json", manifest))
    chosen = list(known) if parts is None else parts
    return Snapshot({part: _read_part(folder, part, manifest, device) for part in chosen}, state)


def _state(file: Path) -> dict[str, Any]:
    try:
        return json_object(file, STATE, "state.json", constants=True)
    except Unreadable as error:
        raise DamagedSnapshot(file.parent, f"{file.name} {error.reason}") from None


def _standing(folder: Path) -> Path:
    """`folder`, or the old snapshot where a process was killed between the two renames of `_swap`."""
    previous = folder.with_name(PREVIOUS + folder.name)
    return previous if previous.is_dir() and not folder.exists() else folder


def _identity(folder: Path) -> int | None:
    try:
        return _standing(folder).stat().st_ino
    except FileNotFoundError:
        return None


def _file_of(part: str) -> str:
    return f"{part}.safetensors"


def _write_part(folder: Path, part: str, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Writes one part and returns its aliases: the names whose tensor is already there under another name."""
    path = folder / _file_of(part)
    kept, aliases = _without_shared(tensors)
    save_file({name: _independent(tensor) for name, tensor in kept.items()}, path)
    shutil.copymode(folder / "state.json", path)  # safetensors makes it readable by its owner only
    fsync_file(path)
    return aliases


def _without_shared(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tied embeddings and layers shared across depth are one tensor of many names: the first keeps it."""
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        place = (tensor.device, tensor.dtype, tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and place in first:
            aliases[name] = first[place]
        else:
            first[place] = name
            kept[name] = tensor
    return kept, aliases


def _independent(tensor: Tensor) -> Tensor:
    """The same values as a contiguous tensor on the CPU which is no window into a larger one (a row of a
    matrix shares its storage with the other rows, which safetensors refuses)."""
    tensor = tensor.detach().cpu().contiguous()
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def _read_part(folder: Path, part: str, manifest: Manifest, device: str) -> dict[str, Tensor]:
    path = _verified(folder, _file_of(part), manifest)
    try:
        safetensors_header(path)
        tensors = load_file(path, device=device)
    except Unreadable as error:
        raise DamagedSnapshot(folder, f"{path.name} {error.reason}") from None
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise DamagedSnapshot(folder, f"{path.name} cannot be read: {error}") from error
    for alias, name in manifest.parts[part].aliases.items():
        if name not in tensors:
            raise DamagedSnapshot(folder, f"manifest.json names {name[:100]}, which {path.name} lacks")
        tensors[alias] = tensors[name]
    return tensors


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # exFAT, some network folders; a disk that is full fails in the copy as well, and is said
        shutil.copy(source, target)
        fsync_file(target)


def _write_manifest(folder: Path, aliases: dict[str, dict[str, str]]) -> None:
    """Lists every file with size and hash, and hashes itself. Written last: where it is, all else is."""
    manifest: dict[str, Any] = {
        "format": 1,
        "files": {path.name: _fingerprint(path) for path in sorted(folder.iterdir())},
        "parts": {part: {"aliases": names} for part, names in aliases.items()},
    }
    manifest["sha256"] = _hash_of(manifest)
    write_and_fsync(folder / "manifest.json", json.dumps(manifest, indent=1).encode())


def _manifest(folder: Path) -> Manifest:
    """The manifest of the snapshot `folder`. Raises DamagedSnapshot when it is missing or changed."""
    file = folder / "manifest.json"
    try:
        said = json_object(file, what="manifest")
        written = said.pop("sha256", None)
        if written != _hash_of(said):
            raise DamagedSnapshot(folder, "manifest.json was changed after it was written")
        manifest = checked(Manifest, said, file)
    except Unreadable as error:
        damaged = error.reason.startswith("is damaged")
        raise DamagedSnapshot(folder, f"manifest.json {'cannot be read' if damaged else error.reason}") from None
    if manifest.format != 1:
        raise GlassformerError(f"{folder} was written by a newer glassformer", "update glassformer")
    return manifest


def _hash_of(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _fingerprint(path: Path) -> dict[str, Any]:
    with plain_file(path) as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": os.fstat(file.fileno()).st_size}


def _verified(folder: Path, name: str, manifest: Manifest) -> Path:
    """The path of one file of a snapshot, after its size and hash. Raises DamagedSnapshot."""
    path, written = folder / name, manifest.files.get(name)
    if written is None or path.name != name:
        raise DamagedSnapshot(folder, f"manifest.json has no file {name[:100]}")
    try:
        with plain_file(path) as file:
            size = os.fstat(file.fileno()).st_size
        if size != written.size:  # before it is read to its end
            raise DamagedSnapshot(folder, f"{name} has {size:,} bytes instead of {written.size:,}")
        if size > psutil.virtual_memory().available:
            raise GlassformerError(f"{path} has {size:,} bytes, more than there is memory", "use a larger machine")
        if _fingerprint(path)["sha256"] != written.sha256:
            raise DamagedSnapshot(folder, f"{name} was changed after it was written")
    except Unreadable as error:
        raise DamagedSnapshot(folder, f"{name} {error.reason}") from None
    return path
