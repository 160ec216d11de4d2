"""The run directory: the only contract between training and everything that comes after it.

    runs/mlm-demo/
      recipe.yaml         the resolved recipe; a folder is a run when it has one
      tokenizer.json
      environment.json    python, libraries, processor: what the numbers were measured on
      metrics.jsonl       one JSON object per line, in the order in which they happened
      checkpoints/step-N/ snapshots (below) to resume from: model and optimizer
      best/  last/        snapshots of the weights alone
      plots/  samples/

A snapshot is a folder of `<part>.safetensors`, `state.json` and `manifest.json`; nothing in it is pickled, so
that loading a stranger's run executes none of their code. A process killed at any moment leaves the old
snapshot or the new one, never neither and never half of one.
"""

import errno
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassformer.errors import GlassformerError, UsageError, nearest

ASIDE = ".tmp-"  # being written or being removed: nothing that starts like this was ever finished
PREVIOUS = ".previous-"  # the old snapshot during the instant in which the new one takes its name
LIBRARIES = ("glassformer", "torch", "numpy", "tokenizers", "lightning-fabric", "safetensors")


# ---------------------------------------------------------------------------------------------- durable files


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
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_text_durably(path: Path, text: str) -> None:
    """Replaces `path` in one step: a reader, or a power failure, sees the old text or the new one, whole.
    Raises GlassformerError when it cannot be written; the old text is then intact."""
    aside = _aside(path)
    with _errors_in_words(path), _removed_on_failure(aside):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_and_fsync(aside, text)
        os.replace(aside, path)
        fsync_folder(path.parent)


def _write_and_fsync(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _aside(path: Path) -> Path:
    """A name beside `path`, hence on the same file system, where a rename is one step."""
    return path.with_name(f"{ASIDE}{path.name}-{os.getpid()}")


@contextmanager
def _removed_on_failure(aside: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:  # Ctrl-C too leaves no half file behind
        _delete(aside)
        raise


@contextmanager
def _errors_in_words(path: Path) -> Iterator[None]:
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


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


# -------------------------------------------------------------------------------------------------- snapshots


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


def write_snapshot(folder: Path, parts: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
    """Writes the tensors of each part to `<part>.safetensors` and `state` to `state.json`. An older snapshot
    of the same name is replaced.

    `state` is plain JSON; its floats, infinities included, come back bit for bit. Raises GlassformerError
    when it cannot be written (a full disk): whatever stood at `folder` before is intact.
    """

    def fill(aside: Path) -> None:
        _write_and_fsync(aside / "state.json", json.dumps(state, indent=1))
        aliases = {part: _write_part(aside, part, tensors) for part, tensors in parts.items()}
        _write_manifest(aside, aliases)

    _publish(folder, fill)


def link_snapshot(source: Path, folder: Path, parts: Iterable[str]) -> None:
    """Makes `folder` a snapshot with only these parts of the snapshot `source`, by hard links (by copies
    where the file system has none): weights that are already on the disk are not written twice."""
    aliases = {part: _manifest(source)["parts"][part]["aliases"] for part in parts}

    def fill(aside: Path) -> None:
        for name in ["state.json", *(_file_of(part) for part in aliases)]:
            _link_or_copy(source / name, aside / name)
        _write_manifest(aside, aliases)

    _publish(folder, fill)


def _publish(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fills a folder aside and gives it its name. A folder that is not empty cannot be replaced in one step,
    so the old one is renamed first; readers look there (`_standing`) while `folder` itself is missing."""
    aside = _aside(folder)
    with _errors_in_words(folder), _removed_on_failure(aside):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _delete(aside)
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
    aside = _aside(folder)
    _delete(aside)
    os.rename(folder, aside)
    _delete(aside)


def remove_abandoned(folder: Path) -> None:
    """Removes what killed processes left half done in `folder`. Only the process that writes may call it."""
    for path in folder.glob(f"{ASIDE}*"):
        _delete(path)


def snapshots(folder: Path) -> list[Path]:
    """The snapshots in `folder`, whole or damaged, one whose replacement was interrupted among them."""
    if not folder.is_dir():
        return []
    names = {path.name.removeprefix(PREVIOUS) for path in folder.iterdir() if path.is_dir()}
    return [folder / name for name in sorted(names) if not name.startswith(ASIDE)]


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
    known = manifest["parts"]
    for part in parts or ():
        if part not in known:
            raise GlassformerError(f"{folder} holds no part {part!r}", nearest(part, known))
    state = json.loads(_verified(folder, "state.json", manifest).read_text(encoding="utf-8"))
    chosen = list(known) if parts is None else parts
    return Snapshot({part: _read_part(folder, part, manifest, device) for part in chosen}, state)


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


def _read_part(folder: Path, part: str, manifest: dict[str, Any], device: str) -> dict[str, Tensor]:
    path = _verified(folder, _file_of(part), manifest)
    try:
        tensors = load_file(path, device=device)
    except SafetensorError as error:
        raise DamagedSnapshot(folder, f"{path.name} cannot be read: {error}") from error
    for alias, name in manifest["parts"][part]["aliases"].items():
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
    _write_and_fsync(folder / "manifest.json", json.dumps(manifest, indent=1))


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the snapshot `folder`. Raises DamagedSnapshot when it is missing or changed."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        written = manifest.pop("sha256")
    except OSError as error:
        raise DamagedSnapshot(folder, _why_unreadable("manifest.json", error)) from None
    except (ValueError, AttributeError, KeyError):
        raise DamagedSnapshot(folder, "manifest.json cannot be read") from None
    if written != _hash_of(manifest):
        raise DamagedSnapshot(folder, "manifest.json was changed after it was written")
    if manifest["format"] != 1:
        raise GlassformerError(f"{folder} was written by a newer glassformer", "update glassformer")
    return manifest


def _hash_of(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _fingerprint(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def _why_unreadable(name: str, error: OSError) -> str:
    return f"{name} is missing" if isinstance(error, FileNotFoundError) else f"{name}: {error.strerror}"


def _verified(folder: Path, name: str, manifest: dict[str, Any]) -> Path:
    """The path of one file of a snapshot, after its size and hash. Raises DamagedSnapshot."""
    path, written = folder / name, manifest["files"][name]
    try:
        found = _fingerprint(path)
    except OSError as error:
        raise DamagedSnapshot(folder, _why_unreadable(name, error)) from None
    if found["size"] != written["size"]:
        raise DamagedSnapshot(folder, f"{name} has {found['size']:,} bytes instead of {written['size']:,}")
    if found["sha256"] != written["sha256"]:
        raise DamagedSnapshot(folder, f"{name} was changed after it was written")
    return path


# ---------------------------------------------------------------------------------------------- the directory


@dataclass(frozen=True)
class RunDirectory:
    """Where one training run lives. One process writes to it; any number may read at the same time."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "RunDirectory":
        """A new, empty run. Raises UsageError when something is there already: a run is never overwritten."""
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file", "choose another folder with --run")
        run = cls(path)
        if run.recipe_file.is_file():
            raise UsageError(
                f"{path} holds a run already",
                "continue it with --resume, or choose another folder with --run",
            )
        if path.is_dir() and any(not found.is_dir() for found in path.rglob("*")):
            raise UsageError(
                f"{path} is not empty, and is no run that --resume could continue (it has no recipe.yaml)",
                "choose another folder with --run",
            )
        with _errors_in_words(path):
            for folder in (run.checkpoints, run.plots, run.samples):
                folder.mkdir(parents=True, exist_ok=True)
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """A run that exists. Raises UsageError, naming the runs found near `path`, when there is none."""
        run = cls(path)
        if run.recipe_file.is_file():
            return run
        what = "it has no recipe.yaml" if path.is_dir() else "there is no such folder"
        near = find_runs(path) or find_runs(path.parent)
        found = ", ".join(str(run.path) for run in near)
        mend = f"runs found: {found}" if near else "make one first: glassformer train mlm-demo"
        raise UsageError(f"{path} is no run: {what}", mend)

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def tokenizer_file(self) -> Path:
        return self.path / "tokenizer.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        return self.path / "best"

    @property
    def last(self) -> Path:
        return self.path / "last"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Adds one line. JSON has no word for NaN and infinities, and other programs would stumble over them:
        they are written as null. Raises GlassformerError when it fails; the earlier lines are intact."""
        line = json.dumps(_finite(record), ensure_ascii=False, allow_nan=False) + "\n"
        with _errors_in_words(self.metrics_file):
            whole = _length_of_whole_lines(self.metrics_file)
            with open(self.metrics_file, "ab") as file:
                file.truncate(whole)  # a line torn by a kill would swallow this one
                file.write(line.encode())

    def metrics(self) -> list[dict[str, Any]]:
        """Every record, in the order of writing. A last line torn by a kill is left out; damage anywhere else
        raises GlassformerError with the line's number."""
        if not self.metrics_file.is_file():
            return []
        lines = self.metrics_file.read_bytes().split(b"\n")[:-1]  # what follows the last line break is torn
        return [self._record(line, number) for number, line in enumerate(lines, start=1)]

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise GlassformerError(f"{self.metrics_file}, line {number} is damaged", "remove or repair that line")
        return record

    def metrics_length(self) -> int:
        """The length of metrics.jsonl in bytes. Brings the file to the disk first, because a checkpoint that
        stores this number relies on what it counts."""
        if not self.metrics_file.is_file():
            return 0
        with _errors_in_words(self.metrics_file):
            fsync_file(self.metrics_file)
        return _length_of_whole_lines(self.metrics_file)

    def truncate_metrics(self, length: int) -> None:
        """Forgets what was written after a checkpoint that stored `length`. Raises GlassformerError when the
        file is shorter than that: then it is not the file that the checkpoint saw."""
        found = self.metrics_file.stat().st_size if self.metrics_file.is_file() else 0
        if found < length:
            raise GlassformerError(
                f"{self.metrics_file} has {found:,} bytes, but {length:,} when the checkpoint was written",
                "put the file back as it was",
            )
        if found > length:
            with _errors_in_words(self.metrics_file):
                os.truncate(self.metrics_file, length)
                fsync_file(self.metrics_file)

    def write_environment(self, extra: dict[str, Any]) -> None:
        """Writes environment.json: this machine and these versions, and what the caller adds (choices that
        were measured). It names no person and no machine, so that a run can be given away."""
        text = json.dumps(_finite({**describe_environment(), **extra}), indent=1)
        write_text_durably(self.environment_file, text + "\n")

    def environment(self) -> dict[str, Any]:
        """What write_environment wrote; empty when it was not called. Raises GlassformerError if damaged."""
        try:
            found = json.loads(self.environment_file.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise GlassformerError(f"{self.environment_file} is damaged", "remove or repair it")
        return found


def find_runs(folder: Path) -> list[RunDirectory]:
    """The runs that lie directly in `folder`, by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return [RunDirectory(path) for path in sorted(folder.iterdir()) if (path / "recipe.yaml").is_file()]


def _length_of_whole_lines(path: Path) -> int:
    """The length up to and with the last line break. Reads backwards in blocks, since metrics may be long."""
    if not path.is_file():
        return 0
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 4096)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


# ------------------------------------------------------------------------------------------- the environment


def describe_environment() -> dict[str, Any]:
    """This machine and these versions, as environment.json holds them."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "logical_cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return None


def _cpu_model() -> str:
    """The processor's name as its maker gives it; `platform.processor()` says only `x86_64` on Linux."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
