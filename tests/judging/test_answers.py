"""Exact match and F1 of answers: by hand, and against a second writing of the official rules."""

import collections
import random
import re
import string

import numpy as np
import pytest

from glassformer.judging.answers import exact_match, f1, fit_threshold, normalised, scores


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("an  apple, a day", "apple day"),
        ("theatre", "theatre"),
        ("a–b", "–b"),  # the article is cut at any sign that is no letter, as the official script does
        ("U.S.", "us"),
        ("the", ""),
        ("東京。", "東京。"),
    ],
)
def test_normalisation(text, expected):
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("said", "right", "exact", "shared"),
    [
        ("The Eiffel Tower", ["eiffel tower!"], 1, 1),
        ("the planet Mars, red", ["red planet"], 0, 0.8),
        ("Mars", ["Venus"], 0, 0),
        ("to to do", ["to do"], 0, 2 * 2 / 5),
        ("red", ["blue", "red planet", "red"], 1, 1),  # the best of several
        (None, [], 1, 1),
        (None, ["red"], 0, 0),
        ("red", [], 0, 0),
        ("the", [], 1, 1),  # nothing is left of it
        (None, ["the"], 1, 1),  # nothing is left to be found
        ("北京大学", ["北京"], 0, 2 * 2 / 6),  # by characters
        ("Kraków", ["kraków."], 1, 1),
    ],
)
def test_by_hand(said, right, exact, shared):
    assert exact_match(said, right) == exact and f1(said, right) == pytest.approx(shared)


def independent(said: str, right: str) -> tuple[float, float]:
    """The rules of the official script once more, step by step."""

    def words(text: str) -> list[str]:
        text = "".join(sign for sign in text.lower() if sign not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    one, other = words(said), words(right)
    same = sum((collections.Counter(one) & collections.Counter(other)).values())
    if not one or not other:
        return float(one == other), float(one == other)
    if not same:
        return float(one == other), 0.0
    precision, recall = same / len(one), same / len(other)
    return float(" ".join(one) == " ".join(other)), 2 * precision * recall / (precision + recall)


def test_against_a_second_writing():
    rng = random.Random(1)
    pieces = ["the", "a", "An", "mars", "Mars,", "red", "red-planet", "U.S.", "42", "é", "(sun)"]
    for _ in range(500):
        said, right = (" ".join(rng.choices(pieces, k=rng.randint(1, 5))) for _ in range(2))
        if normalised(right):
            assert (exact_match(said, [right]), f1(said, [right])) == pytest.approx(independent(said, right))


def test_scores_of_rows_with_and_without_answers():
    found = {s.name: s for s in scores(["red", "mars red", None, "blue"], [["red"], ["red"], [], []])}
    assert found["exact_match"].value == pytest.approx(2 / 4)
    assert found["f1"].value == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert found["f1_with_answer"].value == pytest.approx((1 + 2 / 3) / 2)
    assert found["accuracy_without_answer"].value == pytest.approx(1 / 2)
    twice = np.array([[2.0, 0.0, 1.0, 1.0]])
    assert found["f1_with_answer"].drawn(twice) == pytest.approx([1.0])
    assert {s.name for s in scores(["red"], [["red"]])} == {"exact_match", "f1"}


@pytest.mark.parametrize("seed", range(20))
def test_no_other_threshold_is_better(seed):
    rng = np.random.default_rng(seed)
    margins = rng.normal(size=30).round(1)  # some are equal
    answered = rng.random(30) < 0.6
    given = np.where(answered, rng.random(30), 0.0)

    def mean_f1(threshold: float) -> float:
        return float(np.where(margins >= threshold, given, ~answered).mean())

    found = mean_f1(fit_threshold(margins, given, answered))
    assert found == pytest.approx(max(mean_f1(t) for t in [-9, 9, *(margins - 0.05), *(margins + 0.05)]))
