"""A trained model's answers to labelled rows, judged: scores with intervals beside the lines that it must beat.

What is judged depends on what a model says: JUDGES has a function for each kind of answer. The model is listened to
while it is evaluated, so that nothing is computed twice.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64

from glassformer.answers import PredictsLabels
from glassformer.ask.loaded import Loaded
from glassformer.assemble import Split, rows_for
from glassformer.baselines.bag_of_words import fit_bag_of_words
from glassformer.baselines.majority import majority
from glassformer.data.batch import Batch
from glassformer.data.table import Cell
from glassformer.errors import GlassformerError
from glassformer.judging import Score, calibration, classes
from glassformer.judging.judgement import Judgement
from glassformer.objectives import Objective
from glassformer.training.evaluation import EvaluationSet

TEXTS = ("text", "source", "target")
"""Roles of a row that are read as text."""


class Listening:
    """A model as `evaluate` calls it; what one head said, and what was right, is kept."""

    def __init__(self, run: Loaded, asked: EvaluationSet, head: str) -> None:
        self.run, self.asked, self.head = run, asked, head
        self._said: list[np.ndarray] = []
        self._true: list[np.ndarray] = []

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """What the model says."""
        logits, targets = self.run.model(batch), batch.targets[self.head]
        self._said.append(logits[self.head][: targets.n_targets].float().numpy())
        self._true.append(targets.values[: targets.n_targets].numpy())
        return logits

    def in_order(self) -> tuple[Float[np.ndarray, "rows classes"], Int64[np.ndarray, "rows"]]:
        """Outputs and truths in the order of the data: batches hold rows of one length."""
        places = [place for made in self.asked.made for row in made.rows for place in row]
        order = np.argsort(places, kind="stable")
        return np.concatenate(self._said)[order], np.concatenate(self._true)[order]


class Rows(NamedTuple):
    """Rows of the data, as a person reads them."""

    texts: list[str]
    """Of a picture: where it stands."""
    labels: Int64[np.ndarray, "rows"]
    are_texts: bool


def rows_of(run: Loaded, split: Split) -> Rows:
    """One part of the run's labelled data. Raises what reading it raises."""
    roles = run.objective.columns
    read = [n for n, role in enumerate(roles) if role in TEXTS]
    codec, labels, texts = run.codecs.label, list[int](), list[str]()
    assert codec is not None, "a task that predicts labels has them"
    for row in rows_for(run.recipe, split):
        texts.append(" ||| ".join(str(row.cells[n]) for n in read) if read else row.place)
        labels.append(codec.encode(Cell(row.cells[roles.index("label")], row.place)))
    return Rows(texts, np.array(labels, dtype=np.int64), bool(read))


# ------------------------------------------------------------------------------------------- one label for each row


@torch.no_grad()
def fit_temperature(run: Loaded, asked: EvaluationSet) -> float | None:
    """The temperature under which the labels of these rows are likeliest; None for a model that predicts no labels, and
    where the rows cannot tell (see `calibration.fit_temperature`)."""
    head = head_of(run.objective)
    if head is None:
        return None
    said = Listening(run, asked, head)
    for batch in asked:
        said(batch)
    return calibration.fit_temperature(*said.in_order())


def head_of(objective: Objective) -> str | None:
    """The head that predicts the label of a row; None where the data have none for it."""
    labelled = len(objective.members) == 1 and "label" in objective.columns
    return objective.label_head if labelled and isinstance(objective, PredictsLabels) else None


def judge_labels(run: Loaded, split: Split, said: Listening, baselines: bool) -> Judgement:
    """Accuracy, macro F1 and Matthews correlation; of each class precision and recall, and what it was taken for; how
    far the probabilities can be trusted; beside the majority class and a bag of words."""
    outputs, truths = said.in_order()
    names, rows = run.objective.specs[said.head].labels or (), rows_of(run, split)
    if not np.array_equal(rows.labels, truths):
        raise GlassformerError("the data have changed while they were read", "start again when they stay as they are")
    shares, guesses = calibration.probabilities(outputs, run.temperature), outputs.argmax(1)
    lines, notes = _lines_to_beat(run, rows, len(names)) if baselines else ({}, [])
    wrong = np.flatnonzero(guesses != truths)
    return Judgement(
        scores=classes.scores(truths, guesses, len(names)),
        lines=lines,
        rows=[
            {
                "row": n + 1,
                "text": text,
                "truth": names[truths[n]],
                "prediction": names[guesses[n]],
                "probability": float(shares[n, guesses[n]]),
                "probability_of_truth": float(shares[n, truths[n]]),
            }
            for n, text in enumerate(rows.texts)
        ],
        hardest=wrong[np.argsort(-shares[wrong, guesses[wrong]], kind="stable")].tolist(),
        more={
            "classes": classes.by_class(truths, guesses, names),
            "confusion": classes.confusion_matrix(truths, guesses, len(names)).tolist(),
            "calibration": {
                "temperature": run.temperature,
                "error_before": _calibration_error(calibration.probabilities(outputs), truths),
                "error_after": _calibration_error(shares, truths),
            },
        },
        notes=notes,
    )


def _calibration_error(shares: Float[np.ndarray, "rows classes"], truths: Int64[np.ndarray, "rows"]) -> float:
    return calibration.expected_calibration_error(calibration.bins(shares, truths))


def _lines_to_beat(run: Loaded, asked: Rows, number: int) -> tuple[dict[str, list[Score]], list[str]]:
    """What needs no model, learned from the run's own training rows; and what of it could not be made."""
    try:
        learned = rows_of(run, "train")
        held_out = rows_of(run, "validation") if asked.are_texts else learned
    except GlassformerError as error:
        return {}, [f"no lines to beat: the training data cannot be read from here ({error.what})"]
    guesses, notes = {"majority_class": majority(learned.labels, len(asked.labels))}, list[str]()
    if asked.are_texts:
        try:
            bag = fit_bag_of_words(learned.texts, learned.labels, held_out.texts, held_out.labels)
            guesses["bag_of_words"] = bag.guess(asked.texts)
        except ValueError as error:  # no word at all, or a single label
            notes.append(f"no bag of words: {error}")
    return {name: classes.scores(asked.labels, said, number) for name, said in guesses.items()}, notes


JUDGES: dict[type, Callable[[Loaded, Split, Listening, bool], Judgement]] = {PredictsLabels: judge_labels}
"""By what a model says: how it is judged."""


def judge_of(objective: Objective) -> Callable[[Loaded, Split, Listening, bool], Judgement] | None:
    """None for a model whose answers are judged by their loss alone."""
    if head_of(objective) is None:
        return None
    return next((judge for answer, judge in JUDGES.items() if isinstance(objective, answer)), None)
