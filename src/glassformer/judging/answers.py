"""Answers that are pieces of a text: exact match and F1 of SQuAD (Rajpurkar et al. 2016, section 6.1; 2018).

Both sides are made lower case, and signs, the articles a, an and the, and surplus spaces are left out. An answer
matches exactly where both are then equal; F1 is over the words that both have, each as often as both have it. Of
several right answers the one counts that fits best. Where there is no answer, only none is right.

    said "the planet Mars, red"     right "red planet"     words planet mars red / red planet: 2 in common
    precision 2/3, recall 2/2, F1 0.8, no exact match

In a script without spaces F1 is over characters: by words it would be all or nothing.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from glassformer.data.scripts import is_without_spaces
from glassformer.judging import Score, of_sums

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_SIGNS = str.maketrans("", "", string.punctuation)
"""ASCII only, as the official script has it: a full stop of Chinese stays."""


def normalised(text: str) -> str:
    """The text as it is compared: lower case, no signs, no articles, single spaces."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_SIGNS)).split())


def exact_match(said: str | None, right: Sequence[str]) -> float:
    """1 where the answer is one of those that are right, else 0. None says that there is no answer."""
    return float(normalised(said or "") in {normalised(one) for one in _right(right)})


def f1(said: str | None, right: Sequence[str]) -> float:
    """The best F1 of the answer with one of those that are right."""
    return max(_f1(_units(said or ""), _units(one)) for one in _right(right))


def _right(answers: Sequence[str]) -> Sequence[str]:
    """Those of which something is left to compare; where there is none, only the empty one is right."""
    return [one for one in answers if normalised(one)] or [""]


def _units(text: str) -> list[str]:
    """Words, or in a script without spaces characters."""
    found = normalised(text)
    return [sign for sign in found if not sign.isspace()] if is_without_spaces([found]) else found.split()


def _f1(said: Sequence[str], right: Sequence[str]) -> float:
    if not said or not right:
        return float(said == right)
    common = (Counter(said) & Counter(right)).total()
    return 2 * common / (len(said) + len(right))


def scores(said: Sequence[str | None], right: Sequence[Sequence[str]]) -> list[Score]:
    """Exact match and F1 of all questions; where some have no answer, also F1 of those that have one, and how often
    none was given where there is none."""
    pairs = list(zip(said, right, strict=True))
    exact, shared = (np.array([measure(*pair) for pair in pairs]) for measure in (exact_match, f1))
    answered = np.array([bool(answers) for answers in right], dtype=bool)
    found = [_mean("exact_match", exact), _mean("f1", shared)]
    if not answered.all():
        found += [_mean("f1_with_answer", shared, answered), _mean("accuracy_without_answer", exact, ~answered)]
    return found


def _mean(name: str, values: Float[np.ndarray, "rows"], of: Bool[np.ndarray, "rows"] | None = None) -> Score:
    """The mean over some rows."""
    counted = np.ones_like(values) if of is None else of.astype(np.float64)
    counts = np.stack([values * counted, counted], axis=1)
    return Score(name, float(_ratio(counts.sum(0, keepdims=True))[0]), counts, of_sums(_ratio), is_share=True)


def _ratio(sums: Float[np.ndarray, "draws 2"]) -> Float[np.ndarray, "draws"]:
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def fit_threshold(
    margins: Float[np.ndarray, "rows"], f1_if_given: Float[np.ndarray, "rows"], answered: Bool[np.ndarray, "rows"]
) -> float:
    """The margin (score of the best answer less that of none) from which on an answer is given, so that the mean F1 is
    highest: half-way between two rows, or beyond all. A question below it counts 1 where it has no answer, else 0."""
    order = np.argsort(-margins, kind="stable")
    sorted_margins = margins[order]
    given = np.concatenate([[0.0], np.cumsum(f1_if_given[order])])  # of the first n rows, by their answers
    kept = np.concatenate([np.cumsum((~answered)[order][::-1])[::-1], [0]])  # of the others, without
    between = (sorted_margins[1:] + sorted_margins[:-1]) / 2
    thresholds = np.concatenate([sorted_margins[:1] + 1, between, sorted_margins[-1:] - 1])
    can_part = np.concatenate([[True], np.diff(sorted_margins) < 0, [True]])
    return float(thresholds[int(np.where(can_part, given + kept, -1.0).argmax())])
