"""The run directory: the only contract between training and everything that comes after it.

runs/mlm-demo/
  recipe.yaml         the resolved recipe; a folder is a run when it has one
  tokenizer.json      and target_tokenizer.json, where targets have a vocabulary of their own; labels.json, the names
                      of classes; arrays.json, the shape of pictures (see data/codecs.py)
  environment.json    python, libraries, processor: what the numbers were measured on
  metrics.jsonl       one JSON object per line, in the order in which they happened
  calibration.json    of a model that predicts labels: what makes its probabilities what they say
  checkpoints/step-N/ snapshots (snapshot.py) to resume from: model and optimizer
  best/  last/        snapshots of the weights alone
  plots/  samples/
  probes/step-N.npz   where the recipe names probes: what training/probes.py saw at each probe step
"""

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pydantic import Field, model_validator

from glassformer.data.codecs import Codecs
from glassformer.durable import ASIDE, fsync_file, readable_errors, snapshots, write_text_durably
from glassformer.errors import GlassformerError, UsageError
from glassformer.machine import processor
from glassformer.reading import NoSuchFile, Saved, Unreadable, checked, json_object, json_value, plain_bytes

LIBRARIES = ("glassformer", "torch", "numpy", "tokenizers", "lightning-fabric", "safetensors")

METRICS = 64 * 2**20
"""Bytes of metrics.jsonl that are read: 300,000 records, which is thousands of hours of training."""


class Record(Saved):
    """A line of metrics.jsonl: the keys that everything else asks for. None is a number that was not finite."""

    event: str | None = None
    step: int | None = Field(None, ge=0)
    loss: float | None = None
    train_loss: float | None = None
    seconds: float | None = None
    elapsed: float | None = None
    tokens_seen: float | None = None
    verdict: str | None = None
    references: dict[str, float | None] | None = None
    warnings: list[str] | None = None

    @model_validator(mode="after")
    def _scores_are_numbers(self) -> "Record":
        for key, value in (self.model_extra or {}).items():
            is_number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
            if key.endswith(("loss", "accuracy")) and not is_number:
                raise ValueError(f"{key[:40]} is no number")
        return self


class Environment(Saved):
    """What environment.json says of machine and versions, beside what was measured."""

    platform: str | None = None
    cpu: str | None = None
    cores: int | None = None
    memory_gb: float | None = None
    versions: dict[str, str | None] | None = None


class Calibration(Saved):
    """What calibration.json says: by what the outputs over labels are divided, or from which margin on an answer is
    given, fitted for the weights of one step on so many validation rows."""

    temperature: float = Field(1.0, ge=0.01, le=100, allow_inf_nan=False)
    no_answer_threshold: float | None = Field(None, allow_inf_nan=False)
    step: int = Field(ge=0)
    rows: int = Field(ge=0)


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
        run.refuse_taken()
        with readable_errors(path):
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
        in_runs = cls(Path("runs") / path)
        if in_runs.recipe_file.is_file():
            raise UsageError(f"{path} is no run: {what}", f"did you mean {in_runs.path}?")
        near = find_runs(path) or find_runs(path.parent) or find_runs(Path("runs"))
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
    def calibration_file(self) -> Path:
        return self.path / "calibration.json"

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

    @property
    def probes(self) -> Path:
        return self.path / "probes"

    def save_codecs(self, codecs: Codecs) -> None:
        """Writes tokenizer.json, and the files of the other codecs that there are."""
        codecs.save(self.path)

    def codecs(self) -> Codecs:
        """What save_codecs wrote. Raises GlassformerError for what is missing or damaged."""
        return Codecs.load(self.path)

    def refuse_taken(self) -> None:
        """Raises UsageError where the folder holds a run, or files that are not ours."""
        if self.recipe_file.is_file():
            raise UsageError(
                f"{self.path} holds a run already",
                "continue it with --resume, or choose another folder with --run",
            )
        if self.path.is_dir() and not {f for f in self.path.rglob("*") if not f.is_dir()} <= self._early_files():
            raise UsageError(
                f"{self.path} is not empty, and is no run that --resume could continue (it has no recipe.yaml)",
                "choose another folder with --run",
            )

    def _early_files(self) -> set[Path]:
        """What a start of ours has written that ended before recipe.yaml made a run of the folder; nothing where no
        start of ours has left its lock."""
        if not self.lock_file.exists():
            return set()
        aside = {*self.path.glob(f"{ASIDE}*"), *self.path.glob(f"*{self.tokenizer_file.name}.*.part")}
        return {self.lock_file, *Codecs.files(self.path).values(), self.environment_file, *aside}

    @property
    def lock_file(self) -> Path:
        return self.path / ".lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training this run. Raises UsageError where one does already. The lock ends with
        the process, however that ends; its file stays, since two processes could otherwise hold two files of one name.
        """
        from filelock import FileLock, Timeout  # slow to import, and only a training locks

        lock = FileLock(self.lock_file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"another process is training {self.path}", "wait until it has ended, or choose another run with --run"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def forget(self) -> None:
        """Remove a run that never came to its first step, so that its name is free again."""
        for file in (*self._early_files(), self.recipe_file):
            file.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.plots, self.samples, self.path):
            with suppress(OSError):
                folder.rmdir()

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Adds one line. JSON has no word for NaN and infinities, and other programs would stumble over them:
        they are written as null. Raises GlassformerError when it fails; the earlier lines are intact."""
        line = json.dumps(_finite(record), ensure_ascii=False, allow_nan=False) + "\n"
        with readable_errors(self.metrics_file):
            whole = _length_of_whole_lines(self.metrics_file)
            with open(self.metrics_file, "ab") as file:
                file.truncate(whole)  # a line torn by a kill would swallow this one
                file.write(line.encode())

    def metrics(self) -> list[dict[str, Any]]:
        """Every record, in the order of writing. A last line torn by a kill is left out; damage anywhere else
        raises GlassformerError with the line's number."""
        if not self.metrics_file.is_file():
            return []
        lines = plain_bytes(self.metrics_file, METRICS, "metrics.jsonl").split(b"\n")[
            :-1
        ]  # what follows the last line break is torn
        return [self._record(line, number) for number, line in enumerate(lines, start=1)]

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json_value(line, self.metrics_file)
            checked(Record, record, self.metrics_file)
        except Unreadable as error:
            why = error.reason.removeprefix("is damaged").removeprefix(": ")
            raise GlassformerError(
                f"{self.metrics_file}, line {number} is damaged: {why}", "remove or repair that line"
            ) from None
        return dict(record)

    def metrics_length(self) -> int:
        """The length of metrics.jsonl in bytes. Brings the file to the disk first, because a checkpoint that
        stores this number relies on what it counts."""
        if not self.metrics_file.is_file():
            return 0
        with readable_errors(self.metrics_file):
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
            with readable_errors(self.metrics_file):
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
            found = json_object(self.environment_file, what="environment.json")
            checked(Environment, found, self.environment_file)
        except NoSuchFile:
            return {}
        except Unreadable as error:
            raise GlassformerError(error.what, "remove or repair it") from None
        return found

    def save_calibration(self, calibration: Calibration) -> None:
        """Writes calibration.json."""
        write_text_durably(self.calibration_file, calibration.model_dump_json() + "\n")

    def calibration(self) -> Calibration | None:
        """What save_calibration wrote; None where it was not called. Raises GlassformerError if damaged."""
        try:
            found = json_object(self.calibration_file, what="calibration.json")
            return checked(Calibration, found, self.calibration_file)
        except NoSuchFile:
            return None
        except Unreadable as error:
            raise GlassformerError(error.what, "put it back as it was, or remove it") from None


def find_runs(folder: Path) -> list[RunDirectory]:
    """The runs that lie directly in `folder`, by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return [RunDirectory(path) for path in sorted(folder.iterdir()) if (path / "recipe.yaml").is_file()]


def checkpoint_steps(run: RunDirectory) -> list[int]:
    """The steps that have a checkpoint, whole or damaged, the earliest first."""
    names = [path.name.partition("step-") for path in snapshots(run.checkpoints)]
    return sorted(int(number) for before, step, number in names if not before and step and number.isdecimal())


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
    import torch  # everything else of a run is read without it, in a fraction of the time

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": processor(),
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
