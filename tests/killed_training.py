"""Run as a program: trains a recipe again and again, kills itself at chosen events with SIGKILL, and resumes.

    python killed_training.py WORK NUMBER     (WORK holds recipe.yaml; NUMBER of kills)

Events are optimiser steps and durable calls (os.fsync, os.replace, os.rename). Each training is a fork of this process,
which has loaded everything and computed nothing: no thread runs yet that a fork would lose. WORK/report.json then says
for each kill where it struck and how the process and the one that resumed it ended.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forks import in_a_fork

from glassformer import launch
from glassformer.recipe import read
from glassformer.training import checkpoints, trainer
from glassformer.training.engine import Engine

DURABLE = ("fsync", "replace", "rename")
SAVES = ("save_checkpoint", "save_best")


class Events:
    """Counts events and writes their names down; at event number `fatal` the process dies, before it happens."""

    def __init__(self, file: Path, fatal: int | None) -> None:
        self.log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.fatal = fatal
        self.number = 0
        self.saving = 0

    def happens(self, name: str) -> None:
        self.number += 1
        os.write(self.log, f"{name} {'save' if self.saving else 'outside'}\n".encode())
        if self.number == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """From now on steps, durable calls and saves are noticed."""
        for name in DURABLE:
            setattr(os, name, self._announcing(name, getattr(os, name)))
        Engine.update = self._announcing("step", Engine.update)  # type: ignore[method-assign]
        for name in SAVES:
            setattr(trainer, name, self._saving(getattr(checkpoints, name)))

    def _announcing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def announced(*args: Any, **kwargs: Any) -> Any:
            # A compiler renames files too, and only when its own cache is cold.
            if sys._getframe(1).f_globals.get("__name__", "").startswith("glassformer."):
                self.happens(name)
            return call(*args, **kwargs)

        return announced

    def _saving(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def save(*args: Any, **kwargs: Any) -> Any:
            self.saving += 1
            try:
                return call(*args, **kwargs)
            finally:
                self.saving -= 1

        return save


def train(folder: Path, fatal: int | None) -> None:
    """A new run in `folder`, watched from the first step of `fit` on."""
    events = Events(folder.with_suffix(".events"), fatal)
    fit = launch.Trainer.fit

    def watched(self: trainer.Trainer) -> trainer.State:
        events.watch()
        return fit(self)

    launch.Trainer.fit = watched  # type: ignore[method-assign]
    launch.train(read(str(folder.parent / "recipe.yaml")), run=folder)


def events_of(folder: Path) -> list[list[str]]:
    return [line.split() for line in folder.with_suffix(".events").read_text().splitlines()]


def spread(numbers: list[int], wanted: int) -> list[int]:
    """So many of the numbers, evenly, the first and the last among them."""
    wanted = min(wanted, len(numbers))
    return sorted({numbers[round(i * (len(numbers) - 1) / max(1, wanted - 1))] for i in range(wanted)})


def main(work: Path, number: int) -> None:
    launch.draw_report = lambda run: []
    whole = work / "never-killed"
    report: dict[str, Any] = {"whole": in_a_fork(lambda: train(whole, None)), "kills": []}
    events = events_of(whole)
    inside = [n for n, (_, where) in enumerate(events, 1) if where == "save"]
    outside = [n for n, (_, where) in enumerate(events, 1) if where == "outside"]
    report |= {"events": len(events), "inside": len(inside)}
    for n in sorted(spread(inside, number - number // 2) + spread(outside, number // 2)):
        folder = work / f"killed-{n}"
        killed = in_a_fork(lambda folder=folder, n=n: train(folder, n))  # type: ignore[misc]
        struck = events_of(folder)
        resumed = in_a_fork(lambda folder=folder: launch.train(run=folder, resume=True))  # type: ignore[misc]
        name, where = struck[-1]
        entry = {"event": n, "struck": len(struck), "name": name, "where": where}
        report["kills"].append(entry | {"killed": killed, "resumed": resumed})
    (work / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
