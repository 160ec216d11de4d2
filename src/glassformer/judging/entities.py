"""Scores of entities in sentences, written as tags (B-PER I-PER O): precision, recall and F1 over entities (seqeval's).

An entity counts as found where type, first and last word are right. Two readings of the same tags are in use, and their
numbers may not be compared (gold `B-PER I-PER O`, guessed `I-PER I-PER O`: F1 0 and 1):

    strict     IOB2 to the letter: an entity begins with B-, and an I- that continues none is no entity
    lenient    an I- of another type, or behind an O, begins an entity, as in conlleval of 2003; seqeval's default

Where nothing is guessed precision is 0, where there is nothing to find recall is 0, and F1 without either is 0 (as
seqeval has them, there with a warning).
"""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from glassformer.data.tag_schemes import Entity, entities_in
from glassformer.judging import Score, of_sums

Reading = Literal["strict", "lenient"]
Tags = Sequence[Sequence[str]]


def names_in(tags: Sequence[str], reading: Reading = "strict") -> set[Entity]:
    """The entities of one sentence."""
    return set(entities_in(tags, strict=reading == "strict"))


def scores(truths: Tags, guesses: Tags, reading: Reading = "strict") -> list[Score]:
    """F1, precision and recall over the entities of all sentences together (micro), named by the reading. Raises
    ValueError where a sentence has other numbers of tags."""
    from seqeval import metrics  # slow to import

    true, guessed = ([names_in(tags, reading) for tags in side] for side in (truths, guesses))
    rows = [(len(t & g), len(g), len(t)) for t, g in zip(true, guessed, strict=True)]
    counts = np.array(rows, dtype=np.float64).reshape(-1, 3)
    library = {"f1": metrics.f1_score, "precision": metrics.precision_score, "recall": metrics.recall_score}
    how: dict[str, Any] = {}
    if reading == "strict":
        from seqeval.scheme import IOB2

        how = {"mode": "strict", "scheme": IOB2}
    sides = [[list(tags) for tags in side] for side in (truths, guesses)]
    with warnings.catch_warnings():  # of what is 0 because there is nothing to divide by
        warnings.simplefilter("ignore")
        values = {name: float(score(*sides, average="micro", **how)) for name, score in library.items()}
    return [
        Score(f"entity_{name}_{reading}", values[name], counts, of_sums(compute), is_share=True)
        for name, compute in (("f1", f1), ("precision", precision), ("recall", recall))
    ]


def f1(sums: Float[np.ndarray, "draws 3"]) -> Float[np.ndarray, "draws"]:
    """From sums of found, guessed and true entities: 2 found / (guessed + true)."""
    return _ratio(2 * sums[:, 0], sums[:, 1] + sums[:, 2])


def precision(sums: Float[np.ndarray, "draws 3"]) -> Float[np.ndarray, "draws"]:
    """From the same: found / guessed."""
    return _ratio(sums[:, 0], sums[:, 1])


def recall(sums: Float[np.ndarray, "draws 3"]) -> Float[np.ndarray, "draws"]:
    """From the same: found / true."""
    return _ratio(sums[:, 0], sums[:, 2])


def by_type(truths: Tags, guesses: Tags, reading: Reading = "strict") -> list[dict[str, Any]]:
    """A line for each type, by name: how many entities are true and guessed, precision, recall and F1 (None where there
    is nothing to divide by)."""
    sentences = [tuple(names_in(tags, reading) for tags in both) for both in zip(truths, guesses, strict=True)]
    types = sorted({entity.kind for both in sentences for side in both for entity in side})
    lines = []
    for kind in types:
        of_kind = [[{entity for entity in side if entity.kind == kind} for side in both] for both in sentences]
        found, true, guessed = (sum(map(len, side)) for side in zip(*((t & g, t, g) for t, g in of_kind), strict=True))
        lines.append(
            {
                "type": kind,
                "true": true,
                "guessed": guessed,
                "precision": found / guessed if guessed else None,
                "recall": found / true if true else None,
                "f1": 2 * found / (guessed + true),
            }
        )
    return lines


def _ratio(above: Float[np.ndarray, "draws"], below: Float[np.ndarray, "draws"]) -> Float[np.ndarray, "draws"]:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
