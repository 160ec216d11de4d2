"""Scores of classes are those of scikit-learn, whatever was guessed, and of any draw of rows."""

import numpy as np
import pytest
from sklearn import metrics

from glassformer.judging import bootstrap, classes

RNG = np.random.default_rng(5)
CASES = {
    "plain": (RNG.integers(0, 5, 211), RNG.integers(0, 5, 211)),
    "good": (good := RNG.integers(0, 5, 97), np.where(RNG.random(97) < 0.8, good, 0)),
    "one is guessed": (RNG.integers(0, 3, 31), np.zeros(31, dtype=np.int64)),
    "one is true": (np.full(31, 2), RNG.integers(0, 3, 31)),
    "one is all there is": (np.full(7, 1), np.full(7, 1)),
    "never right": (np.zeros(11, dtype=np.int64), np.ones(11, dtype=np.int64)),
    "all right": (good, good),
    "a class is nowhere": (np.array([0, 4, 4, 0]), np.array([0, 0, 4, 4])),
    "a single row": (np.array([3]), np.array([1])),
}
SIZE = 7


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_scikit_learn(name: str) -> None:
    """Both the value and what the counts come to."""
    truths, guesses = CASES[name]
    expected = {
        "accuracy": metrics.accuracy_score(truths, guesses),
        "macro_f1": metrics.f1_score(truths, guesses, average="macro"),
        "matthews_correlation": metrics.matthews_corrcoef(truths, guesses),
    }
    found = classes.scores(truths, guesses, SIZE)
    assert [score.name for score in found] == list(expected)
    for score in found:
        assert score.value == pytest.approx(expected[score.name], abs=1e-12)
        [from_counts] = score.drawn(np.ones((1, len(truths))))
        assert from_counts == pytest.approx(expected[score.name], abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_draw_is_scored_as_its_rows_are(name: str) -> None:
    truths, guesses = CASES[name]
    some = next(bootstrap.weights(len(truths), 5))
    for score in classes.scores(truths, guesses, SIZE):
        for value, times in zip(score.drawn(some), some.astype(int), strict=True):
            again = classes.scores(np.repeat(truths, times), np.repeat(guesses, times), SIZE)
            assert value == pytest.approx(next(s.value for s in again if s.name == score.name), abs=1e-12)


def test_by_hand() -> None:
    """Four cats, of which three are found, and two dogs, of which one is; nobody sees the fish that is not there."""
    truths, guesses = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 0, 1])
    accuracy, macro, matthews = classes.scores(truths, guesses, 3)
    assert accuracy.value == pytest.approx(4 / 6)
    assert macro.value == pytest.approx((2 * 3 / (4 + 4) + 2 * 1 / (2 + 2)) / 2)  # the fish counts nothing
    assert matthews.value == pytest.approx((3 * 1 - 1 * 1) / np.sqrt(4 * 4 * 2 * 2))
    assert classes.confusion_matrix(truths, guesses, 3).tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    cat, _, fish = classes.by_class(truths, guesses, ["cat", "dog", "fish"])
    assert cat == {"class": "cat", "true": 4, "guessed": 4, "precision": 0.75, "recall": 0.75, "f1": 0.75}
    assert fish == {"class": "fish", "true": 0, "guessed": 0, "precision": None, "recall": None, "f1": None}


def test_each_class_is_as_scikit_learn_has_it() -> None:
    truths, guesses = CASES["good"]
    expected = metrics.precision_recall_fscore_support(truths, guesses, labels=range(5), zero_division=0)
    found = classes.by_class(truths, guesses, list("abcde"))
    for key, values in zip(("precision", "recall", "f1", "true"), expected, strict=True):
        assert [line[key] for line in found] == pytest.approx(values.tolist())
    matrix = metrics.confusion_matrix(truths, guesses, labels=range(SIZE))
    assert classes.confusion_matrix(truths, guesses, SIZE).tolist() == matrix.tolist()
