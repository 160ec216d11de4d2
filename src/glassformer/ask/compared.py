"""Whether one trained model predicts labels better than another: both judged on the same rows, drawn alike."""

import itertools
from collections.abc import Sequence
from typing import Any

from glassformer.ask.evaluation import judged
from glassformer.ask.judged import label_head_of
from glassformer.ask.loaded import Loaded
from glassformer.errors import GlassformerError
from glassformer.judging.judgement import Judgement, above
from glassformer.recipe_rows import Split


def compare_labels(runs: Sequence[Loaded], names: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """For each pair of runs that predict labels, by how much the first is above the second in each score; and what
    could not be compared. They are asked the test data where all of them have some, else their validation rows;
    nothing is said of runs that predict no labels."""
    if len(runs) < 2 or any(label_head_of(run.objective) is None for run in runs):
        return [], []
    split: Split = "test" if all(run.recipe.data.test is not None for run in runs) else "validation"
    found: dict[str, Judgement] = {}
    notes: list[str] = []
    for name, run in zip(names, runs, strict=True):
        try:
            found[name] = judged(run, split, baselines=False)
        except GlassformerError as error:
            notes.append(f"{name} is not compared by its labels: {error.what}")
    differences = []
    for one, other in itertools.combinations(found, 2):
        if _asked(found[one]) != _asked(found[other]):
            notes.append(f"{one} and {other} have other {split} rows: what they answer cannot be compared")
            continue
        scores = above(found[one].scores, found[other].scores)
        differences.append({"run": one, "less": other, "split": split, "rows": len(found[one].rows), "scores": scores})
    return differences, notes


def _asked(judgement: Judgement) -> list[tuple[Any, Any]]:
    return [(row["text"], row["truth"]) for row in judgement.rows]
