"""What pre-training is worth: the same task learned from few labelled rows and from many, begun from several starts.

    glassformer curve classification-sst2 --labels 8,32,128,512,all --from none,runs/my --seeds 3

Each cell of the grid (start, labels, seed) is a run of its own, which ends with its last weights, since the best ones
would be chosen by more labels than it has learned from. For one seed all starts learn from the same rows, and fewer
rows are among more. Cells that are done are kept in curve.json: the same command goes on where it stopped.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from glassformer import launch
from glassformer.assemble import rows_for, with_layout
from glassformer.changes import as_recorded
from glassformer.durable import write_text_durably
from glassformer.errors import UsageError
from glassformer.look.pictures.figures import save
from glassformer.look.pictures.label_curve import Point, label_curve
from glassformer.objectives import Objective
from glassformer.pretrain import pretrain
from glassformer.reading import json_object
from glassformer.recipe import Recipe
from glassformer.run import RunDirectory, describe_environment
from glassformer.training.trainer import Quiet

NONE, SELF = "none", "self"
"""Starts that are no folder: random weights; a run on the task's own texts, made here first."""
FEWEST_STEPS = 150
"""Steps of a cell at least: a few passes over eight rows teach nothing."""
NAMED = 128
"""The number of labels of which the sentence speaks, where it is in the grid."""


class Cell(NamedTuple):
    """One run of the grid."""

    start: str
    labels: int
    seed: int


class Grid(NamedTuple):
    """What is asked for."""

    recipe: str
    changes: list[Any]
    labels: Sequence[int | None]
    """None: all rows."""
    starts: Sequence[str]
    seeds: int


def curve(grid: Grid, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train what is not there yet of the grid, write curve.json and curve.png into `folder`, and give back what
    curve.json says. Raises UsageError for a task without a score of its own, for a start that is none, more labels than
    there are, and for a folder of another curve; and what training raises."""
    _, wanted = launch.find_recipe(grid.recipe, grid.changes, lambda text: None)
    _refuse_lengths(wanted)
    for start in grid.starts:
        if start not in (NONE, SELF):
            launch.find_recipe(grid.recipe, [*grid.changes, {"init_from": start}], lambda text: None)
    rows = sum(1 for _ in rows_for(with_layout(_plain(wanted), lambda text: None), "train"))
    numbers = sorted({rows if number is None else number for number in grid.labels})
    if numbers[-1] > rows:
        raise UsageError(f"--labels {numbers[-1]}, and there are {rows:,} training rows", "ask for fewer, or for all")
    cells = [Cell(s, n, seed) for n in numbers for seed in range(1, grid.seeds + 1) for s in grid.starts]
    asked = {"recipe": grid.recipe, "changes": as_recorded(grid.changes)}
    kept = _kept(folder, asked)
    done = {Cell(*(found[key] for key in Cell._fields)): found for found in kept}
    todo = [cell for cell in cells if cell not in done]
    shape = f"{len(grid.starts)} starts, {', '.join(f'{n:,}' for n in numbers)} labels, {grid.seeds} seeds"
    ready = f"; {len(cells) - len(todo)} are done" if len(todo) < len(cells) else ""
    say(f"{len(cells)} runs: {shape}{ready}")
    if SELF in grid.starts and any(cell.start == SELF for cell in todo):
        _own_start(wanted, folder, say)
    for number, cell in enumerate(todo, start=1):
        found = _trained(grid, wanted, cell, folder, first=cell.start == grid.starts[0])
        done[cell] = found
        left = _seconds(wanted, todo[number:], [done[c] for c in todo[:number]])
        ahead = f"; {len(todo) - number} to go, about {left / 60:.0f} minutes" if number < len(todo) else ""
        which = f"{cell.start:>16}  {cell.labels:>7,} labels  seed {cell.seed}"
        say(f"{which}  {found['metric']} {found['score']:.3f}{ahead}")
        _write(folder, asked, [done[c] for c in cells if c in done])
    found = _write(folder, asked, [done[c] for c in cells])
    save(_picture(found, Path(grid.recipe).stem), folder / "curve.png")
    return found


def _plain(wanted: Recipe) -> Recipe:
    """With all rows."""
    return wanted.model_copy(update={"data": wanted.data.model_copy(update={"train_rows": None})})


def _refuse_lengths(wanted: Recipe) -> None:
    if wanted.training.minutes is not None:
        raise UsageError(
            "a curve compares runs of equal steps, and training.minutes leaves them to the clock",
            "say training.epochs or training.steps",
        )


def _own_start(wanted: Recipe, folder: Path, say: Callable[[str], None]) -> None:
    """The run that the start `self` begins from."""
    say(f"{SELF}: masked language modelling on all training texts, without labels, in {folder / 'pretrained'}")
    pretrain(_plain(wanted), (), folder / "pretrained", resume=True, display=Quiet())


# --------------------------------------------------------------------------------------------------------- a cell


def steps_of(wanted: Recipe, rows: int) -> int:
    """As many as the recipe says for so many rows, but not fewer than `FEWEST_STEPS`."""
    if wanted.training.steps is not None:
        return wanted.training.steps
    return max(FEWEST_STEPS, math.ceil((wanted.training.epochs or 1.0) * rows / min(wanted.batch.size, rows)))


def _trained(grid: Grid, wanted: Recipe, cell: Cell, folder: Path, first: bool) -> dict[str, Any]:
    """Train one cell, or go on with it, and ask it. The `first` start of a number of labels and a seed is held against
    the lines that need no model, which are the same for all."""
    steps = steps_of(wanted, cell.labels)
    changes: list[Any] = [
        {"training.steps": steps, "training.evaluate_every": steps, "training.weights": "last", "training.samples": 0},
        {"batch.size": min(wanted.batch.size, cell.labels), "seed": cell.seed},
        *grid.changes,
        {"data.train_rows": cell.labels, "data.rows_seed": cell.seed, "training.steps": steps},
    ]
    if cell.start != NONE:
        source = folder / "pretrained" if cell.start == SELF else cell.start
        changes += [{"init_from": str(source)}, {"model.dropout": wanted.model.dropout}]
    path = folder / _folder_of(cell.start) / f"{cell.labels}-labels" / f"seed-{cell.seed}"
    began = time.perf_counter()
    run = launch.train(grid.recipe, changes, run=path, resume=True, display=Quiet(), pictures=False)
    split = "test" if run.recipe.data.test is not None else "validation"
    metric = _metric(run.objective)
    result = run.evaluate(split, baselines=first)  # type: ignore[arg-type]
    steps_took = max((record.get("elapsed") or 0.0 for record in run.directory.metrics()), default=0.0)
    lines = {line["baseline"]: line["scores"][metric]["value"] for line in result.get("baselines", ())
             if metric in line["scores"]}  # fmt: skip
    return {
        **cell._asdict(),
        "metric": metric,
        "score": result[metric],
        "split": split,
        "asked": result["count"],
        "lines": lines,
        "steps": steps,
        "seconds": round(time.perf_counter() - began, 2),
        "seconds_in_steps": round(steps_took, 2),
    }


def _metric(objective: Objective) -> str:
    """The score of a task. Raises UsageError for one that has only its loss."""
    if objective.best_by == "loss":
        raise UsageError("this task has no score beside its loss", "draw the curve of a task with labels")
    return objective.best_by


def _folder_of(start: str) -> str:
    """A name for the runs of a start."""
    return start if start in (NONE, SELF) else "from-" + "-".join(Path(start).parts[-2:]).strip("/-")


def _seconds(wanted: Recipe, todo: Sequence[Cell], done: Sequence[dict[str, Any]]) -> float:
    """What the rest takes, judging by what was trained just now: so much for each run, so much for each step."""
    beside = sum(found["seconds"] - found["seconds_in_steps"] for found in done) / len(done)
    a_step = sum(found["seconds_in_steps"] for found in done) / sum(found["steps"] for found in done)
    return sum((beside + a_step * steps_of(wanted, cell.labels) for cell in todo), 0.0)


# ------------------------------------------------------------------------------------------------- what came of it


def _kept(folder: Path, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that are done. Raises UsageError for a folder with another curve, or with something else."""
    file = folder / "curve.json"
    if not file.exists():
        if RunDirectory(folder).recipe_file.exists():
            raise UsageError(f"{folder} is a run", "choose another folder with --run")
        return []
    found = json_object(file, what="curve.json")
    if found.get("asked") != asked:
        raise UsageError(
            f"{folder} holds the curve of another recipe or of other changes: {json.dumps(found.get('asked'))}",
            "choose another folder with --run",
        )
    return list(found.get("cells", []))


def _write(folder: Path, asked: dict[str, Any], cells: list[dict[str, Any]]) -> dict[str, Any]:
    lines, plain = lines_of(cells), plain_of(cells)
    found = {
        "asked": asked,
        "metric": cells[0]["metric"],
        "split": cells[0]["split"],
        "sentences": sentences(cells),
        "starts": {name: [point._asdict() for point in points] for name, points in lines.items()},
        "baselines": {name: [point._asdict() for point in points] for name, points in plain.items()},
        "cells": cells,
        "environment": describe_environment(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text_durably(folder / "curve.json", json.dumps(found, indent=1) + "\n")
    return found


def mean_of(labels: int, scores: Sequence[float]) -> Point:
    """The mean of the seeds, and the interval that holds the mean of others in 95 of 100 cases (Student's t)."""
    mean = float(np.mean(scores))
    if len(scores) < 2:
        return Point(labels, mean)
    from scipy.stats import t  # slow to import

    half = float(t.ppf(0.975, len(scores) - 1) * np.std(scores, ddof=1) / math.sqrt(len(scores)))
    return Point(labels, mean, mean - half, mean + half)


def lines_of(cells: Sequence[dict[str, Any]]) -> dict[str, list[Point]]:
    """By start, a point for each number of labels."""
    starts = dict.fromkeys(cell["start"] for cell in cells)
    return {start: _points([(c["labels"], c["score"]) for c in cells if c["start"] == start]) for start in starts}


def plain_of(cells: Sequence[dict[str, Any]]) -> dict[str, list[Point]]:
    """The same of the lines that need no model."""
    names = dict.fromkeys(name for cell in cells for name in cell["lines"])
    return {n: _points([(c["labels"], c["lines"][n]) for c in cells if n in c["lines"]]) for n in names}


def _points(scores: Sequence[tuple[int, float]]) -> list[Point]:
    numbers = sorted({labels for labels, _ in scores})
    return [mean_of(number, [score for labels, score in scores if labels == number]) for number in numbers]


def worth(score: float, line: Sequence[Point]) -> tuple[float | None, str]:
    """How many labels of a `line` have this score, read off between its points on a logarithmic axis, and in words.
    Where more labels were worse by chance, they count as good as fewer. None below the first point and above the
    last."""
    best = np.maximum.accumulate([point.mean for point in line])
    if score < best[0]:
        return None, f"fewer than {line[0].labels:,}"
    if score > best[-1]:
        return None, f"more than {line[-1].labels:,}"
    after = int(np.searchsorted(best, score))
    if after == 0:
        return float(line[0].labels), f"about {line[0].labels:,}"
    low, high = best[after - 1], best[after]
    share = (score - low) / (high - low)
    number = line[after - 1].labels ** (1 - share) * line[after].labels ** share
    return float(number), f"about {number:,.0f}"


def sentences(cells: Sequence[dict[str, Any]]) -> list[str]:
    """For each start what its labels are worth without it; or that it cannot be told, where the difference of the runs
    that learned from the same rows may as well be none."""
    lines = lines_of(cells)
    if NONE not in lines:
        return []
    return [_sentence(start, cells, lines) for start in lines if start != NONE]


def _sentence(start: str, cells: Sequence[dict[str, Any]], lines: dict[str, list[Point]]) -> str:
    both = [n for n in (p.labels for p in lines[start]) if n in {p.labels for p in lines[NONE]}]
    if not both:
        return f"nothing to hold {start} against"
    number = NAMED if NAMED in both else both[len(both) // 2]
    scores = {(c["start"], c["seed"]): c["score"] for c in cells if c["labels"] == number}
    seeds = [s for name, s in scores if name == start and (NONE, s) in scores]
    gain = mean_of(number, [scores[start, seed] - scores[NONE, seed] for seed in seeds])
    what = f"{number:,} labels with pre-training ({start})"
    if gain.low is None or gain.high is None:
        return f"{what} have {gain.mean:+.3f} over none; with one seed it cannot be told what that is worth"
    how_much = f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    if gain.low <= 0 <= gain.high:
        return f"{what} cannot be told from {number:,} without: {how_much}"
    score = next(point.mean for point in lines[start] if point.labels == number)
    return f"{what} are worth {worth(score, lines[NONE])[1]} without: {how_much}"


def _picture(found: dict[str, Any], title: str) -> Any:
    lines, plain = (
        {name: [Point(**point) for point in points] for name, points in found[key].items()}
        for key in ("starts", "baselines")
    )
    said = {NONE: "from scratch", SELF: "its own texts first"}
    named = {said.get(name, f"from {name}"): points for name, points in lines.items()}
    plain = {name.replace("_", " "): points for name, points in plain.items()}
    score = f"{found['metric'].replace('_', ' ')} ({found['split']})"
    return label_curve(named, plain, score, title, "\n".join(found["sentences"]))
