"""Scores of answers that are one class of a few: accuracy, macro F1, Matthews correlation (scikit-learn's).

Of an absent class: macro F1 is the mean over the classes that are true or guessed somewhere (scikit-learn's default; a
class that is only guessed, or only true, counts 0), in every draw of the bootstrap anew. Matthews correlation is 0
where all guesses, or all truths, are one class, which is what scikit-learn says too (torchmetrics does not).
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from glassformer.judging import Score, of_sums


def scores(truths: Int64[np.ndarray, "rows"], guesses: Int64[np.ndarray, "rows"], classes: int) -> list[Score]:
    """Accuracy, macro F1 and Matthews correlation of guessed classes, given as numbers below `classes`."""
    from sklearn import metrics  # slow to import: only what judges needs it

    counts = _counts(truths, guesses, classes)
    right = np.stack([truths == guesses, np.ones_like(truths, dtype=bool)], axis=1).astype(np.float64)
    macro = float(metrics.f1_score(truths, guesses, average="macro"))
    with warnings.catch_warnings():  # that there is only one class; it says 0 then
        warnings.simplefilter("ignore", UserWarning)
        matthews = float(metrics.matthews_corrcoef(truths, guesses))
    return [
        Score("accuracy", float(metrics.accuracy_score(truths, guesses)), right, of_sums(_share), is_share=True),
        Score("macro_f1", macro, counts, of_sums(macro_f1), is_share=True),
        Score("matthews_correlation", matthews, counts, of_sums(matthews_correlation)),
    ]


def _counts(
    truths: Int64[np.ndarray, "rows"], guesses: Int64[np.ndarray, "rows"], classes: int
) -> Float[np.ndarray, "rows counts"]:
    """Of each row and class: whether it is true, whether it is guessed, whether it is both."""
    numbers = np.arange(classes)
    true, guessed = truths[:, None] == numbers, guesses[:, None] == numbers
    return np.concatenate([true, guessed, true & guessed], axis=1).astype(np.float64)


def _share(sums: Float[np.ndarray, "draws 2"]) -> Float[np.ndarray, "draws"]:
    return sums[:, 0] / sums[:, 1]


def macro_f1(sums: Float[np.ndarray, "draws counts"]) -> Float[np.ndarray, "draws"]:
    """The mean of 2 tp / (2 tp + fp + fn) over the classes that are true or guessed; from sums of true, guessed, and
    both, for all classes one after another."""
    true, guessed, both = np.split(sums, 3, axis=1)
    seen = true + guessed  # 2 tp + fp + fn
    of_each = np.divide(2 * both, seen, out=np.zeros_like(seen), where=seen > 0)
    return of_each.sum(1) / (seen > 0).sum(1)


def matthews_correlation(sums: Float[np.ndarray, "draws counts"]) -> Float[np.ndarray, "draws"]:
    """Gorodkin (2004), from the same sums: (c s - sum t p) / sqrt((s^2 - sum p^2) (s^2 - sum t^2)), where c of s
    answers are right and a class is true t and guessed p times."""
    true, guessed, both = np.split(sums, 3, axis=1)
    number, right = true.sum(1), both.sum(1)
    spread = (number**2 - (guessed**2).sum(1)) * (number**2 - (true**2).sum(1))
    above = right * number - (true * guessed).sum(1)
    return np.divide(above, np.sqrt(spread), out=np.zeros_like(above), where=spread > 0)


def by_class(
    truths: Int64[np.ndarray, "rows"], guesses: Int64[np.ndarray, "rows"], names: Sequence[str]
) -> list[dict[str, Any]]:
    """A line for each class: how often it is true and guessed, its precision, recall and F1 (None without a guess, or
    without a true one, or without either)."""
    true, guessed, both = np.split(_counts(truths, guesses, len(names)).sum(0).astype(int), 3)
    return [
        {
            "class": name,
            "true": int(t),
            "guessed": int(p),
            "precision": None if p == 0 else float(tp / p),
            "recall": None if t == 0 else float(tp / t),
            "f1": None if t + p == 0 else float(2 * tp / (t + p)),
        }
        for name, t, p, tp in zip(names, true, guessed, both, strict=True)
    ]


def confusion_matrix(
    truths: Int64[np.ndarray, "rows"], guesses: Int64[np.ndarray, "rows"], classes: int
) -> Int64[np.ndarray, "true guessed"]:
    """How often each class was guessed where each was true."""
    found = np.bincount(truths * classes + guesses, minlength=classes * classes)
    return found.reshape(classes, classes).astype(np.int64)
