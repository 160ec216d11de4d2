"""Scores of entities are seqeval's in both readings, whatever was guessed, and of any draw of sentences."""

import numpy as np
import pytest
from seqeval import metrics
from seqeval.scheme import IOB2

from glassformer.data.tag_schemes import Entity
from glassformer.judging import bootstrap
from glassformer.judging.entities import by_type, names_in, scores

TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]


def random_tags(seed: int, sentences: int = 41) -> list[list[str]]:
    """Sentences of one to twelve words, most of their tags broken somewhere."""
    rng = np.random.default_rng(seed)
    return [[TAGS[n] for n in rng.integers(0, 5, rng.integers(1, 12))] for _ in range(sentences)]


def guessed(truths: list[list[str]], seed: int = 9) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[tag if rng.random() < 0.7 else TAGS[rng.integers(0, 5)] for tag in tags] for tags in truths]


TRUTHS = random_tags(4)
CASES = {
    "plain": (TRUTHS, guessed(TRUTHS)),
    "nothing is guessed": (TRUTHS, [["O"] * len(tags) for tags in TRUTHS]),
    "nothing is there": ([["O"] * len(tags) for tags in TRUTHS], TRUTHS),
    "neither": ([["O", "O"]], [["O", "O"]]),
    "all right": (TRUTHS, TRUTHS),
}
HOW = {"strict": {"mode": "strict", "scheme": IOB2}, "lenient": {}}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reading", HOW)
@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_seqeval(name: str, reading: str) -> None:
    """Both the value and what the counts come to."""
    truths, guesses = CASES[name]
    library = (metrics.f1_score, metrics.precision_score, metrics.recall_score)
    found = scores(truths, guesses, reading)
    for score, by_library in zip(found, library, strict=True):
        expected = by_library(truths, guesses, **HOW[reading])
        assert score.value == pytest.approx(expected, abs=1e-12)
        assert score.drawn(np.ones((1, len(truths)))) == pytest.approx([expected], abs=1e-12)
    assert [score.name for score in found] == [f"entity_{name}_{reading}" for name in ("f1", "precision", "recall")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reading", HOW)
def test_a_draw_is_scored_as_its_sentences_are(reading: str) -> None:
    truths, guesses = CASES["plain"]
    some = next(bootstrap.weights(len(truths), 3))
    for value, times in zip(scores(truths, guesses, reading)[0].drawn(some), some.astype(int), strict=True):
        drawn = [[side[n] for n in range(len(truths)) for _ in range(times[n])] for side in (truths, guesses)]
        assert value == pytest.approx(metrics.f1_score(*drawn, **HOW[reading]), abs=1e-12)


def test_the_two_readings_by_hand() -> None:
    true, guess = [["B-PER", "I-PER", "O"]], [["I-PER", "I-PER", "O"]]
    assert [scores(true, guess, reading)[0].value for reading in HOW] == [0.0, 1.0]
    assert names_in(["B-PER", "I-ORG"], "strict") == {Entity(0, 1, "PER")}
    assert names_in(["B-PER", "I-ORG"], "lenient") == {Entity(0, 1, "PER"), Entity(1, 2, "ORG")}
    assert names_in(["B-PER", "B-PER", "I-PER"]) == {Entity(0, 1, "PER"), Entity(1, 3, "PER")}, "two, not one"


def test_a_right_span_of_a_wrong_type_is_wrong() -> None:
    f1, precision, recall = scores([["B-PER", "I-PER", "O", "B-ORG"]], [["B-ORG", "I-ORG", "O", "B-ORG"]])
    assert (f1.value, precision.value, recall.value) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("reading", HOW)
def test_each_type_is_as_seqeval_has_it(reading: str) -> None:
    truths, guesses = CASES["plain"]
    report = metrics.classification_report(truths, guesses, output_dict=True, **HOW[reading])
    found = by_type(truths, guesses, reading)
    assert [line["type"] for line in found] == ["ORG", "PER"]
    for line in found:
        expected = report[line["type"]]
        assert (line["precision"], line["recall"], line["f1"], line["true"]) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"], expected["support"])
        )
