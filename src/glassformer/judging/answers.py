"""Answers that are pieces of a text: exact match and F1 of SQuAD (Rajpurkar et al. 2016, section 6.1; 2018).

Both sides are made lower case, and signs, the articles a, an and the, and surplus spaces are left out. An answer
matches exactly where both are then equal; F1 is over the words that both have, each as often as both have it. Of
several right answers the one counts that fits best. Where there is no answer, only none is right.

    said "The red planet, Mars"     right "red planet"     words red planet mars / red planet: 2 in common
    precision 2/3, recall 2/2, F1 0.8, no exact match

In a script without spaces F1 is over characters: by words it would be all or nothing.
"""

import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from glassformer.data.scripts import is_without_spaces
from glassformer.judging import Score
from glassformer.judging.means import mean

_ARTICLES = frozenset(("a", "an", "the"))
_SIGNS = str.maketrans("", "", string.punctuation)
"""ASCII only, as the official script has it: a full stop of Chinese stays."""


def normalised(text: str) -> str:
    """The text as it is compared: lower case, no signs, no articles, single spaces."""
    return " ".join(word for word in text.lower().translate(_SIGNS).split() if word not in _ARTICLES)


def exact_match(said: str, right: Sequence[str]) -> float:
    """1 where the answer is one of those that are right, else 0. The empty answer says that there is none, and is right
    where none is (`right` is empty)."""
    return float(normalised(said) in {normalised(one) for one in right or ("",)})


def f1(said: str, right: Sequence[str]) -> float:
    """The best F1 of the answer with one of those that are right."""
    return max(_f1(_units(said), _units(one)) for one in right or ("",))


def _units(text: str) -> list[str]:
    """Words, or in a script without spaces characters."""
    return (
        [sign for sign in normalised(text) if not sign.isspace()]
        if is_without_spaces([text])
        else normalised(text).split()
    )


def _f1(said: Sequence[str], right: Sequence[str]) -> float:
    if not said or not right:
        return float(said == right)
    common = (Counter(said) & Counter(right)).total()
    return 2 * common / (len(said) + len(right))


def values(said: Sequence[str], right: Sequence[Sequence[str]]) -> Float[np.ndarray, "rows 2"]:
    """Exact match and F1 of each row."""
    pairs = zip(said, right, strict=True)
    return np.array([(exact_match(one, gold), f1(one, gold)) for one, gold in pairs]).reshape(-1, 2)


def scores(said: Sequence[str], right: Sequence[Sequence[str]]) -> list[Score]:
    """Exact match and F1, and where some questions have no answer, both again of those that have one, and how often none
    is found where there is none."""
    found = values(said, right)
    return [mean("exact_match", found[:, 0], is_share=True), mean("f1", found[:, 1], is_share=True)]


def fit_threshold(
    margins: Float[np.ndarray, "rows"], f1_if_answered: Float[np.ndarray, "rows"], has_answer: np.ndarray
) -> float:
    """From which margin (score of the best answer less that of none) on to answer, so that the mean F1 is highest: of
    several such thresholds the one in the middle of the widest gap around it. Below it a row counts 1 where it has no
    answer, and 0 where it has one."""
    order = np.argsort(-margins, kind="stable")
    given = np.concatenate([[0.0], np.cumsum(f1_if_answered[order])])
    kept = np.concatenate([np.cumsum((~has_answer)[order][::-1])[::-1], [0]])
    sorted_margins = margins[order]
    borders = np.concatenate(
        [[sorted_margins[0] + 1], (sorted_margins[1:] + sorted_margins[:-1]) / 2, [sorted_margins[-1] - 1]]
    )
    possible = np.concatenate([[True], np.diff(sorted_margins) < 0, [True]])
    total = np.where(possible, given + kept, -1.0)
    return float(borders[int(total.argmax())])
