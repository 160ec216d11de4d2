"""Intervals hold what they say, and two models are drawn alike."""

import numpy as np
import pytest

from glassformer.judging import bootstrap, classes
from glassformer.judging.means import mean

ROWS = 301


def answers(share: float, seed: int = 3, rows: int = ROWS) -> np.ndarray:
    """Right (1) in about this share of the rows."""
    return (np.random.default_rng(seed).random(rows) < share).astype(float)


def test_a_draw_is_as_many_rows_as_there_are_and_always_the_same() -> None:
    one, other = (np.concatenate(list(bootstrap.weights(ROWS))) for _ in range(2))
    assert one.shape == (bootstrap.DRAWS, ROWS)
    assert (one.sum(1) == ROWS).all()
    assert np.array_equal(one, other)
    assert len(np.unique(one, axis=0)) == bootstrap.DRAWS
    assert one.mean(0) == pytest.approx(np.ones(ROWS), abs=6 / np.sqrt(bootstrap.DRAWS))  # no row is favoured


def test_how_many_draws_are_held_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap.drawn([mean("a", answers(0.7))])
    monkeypatch.setattr(bootstrap, "_NUMBERS", 7 * ROWS)
    assert np.array_equal(bootstrap.drawn([mean("a", answers(0.7))]), whole)


def test_the_interval_of_a_share_is_as_wide_as_theory_says() -> None:
    right = answers(0.7)
    [interval] = bootstrap.intervals([mean("a", right)])
    assert interval is not None
    half = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / ROWS)
    assert interval == pytest.approx((right.mean() - half, right.mean() + half), abs=0.25 * half)


def test_intervals_hold_the_truth_in_95_of_100_cases() -> None:
    """200 data sets of a known share; the number that hold it is binomial: 190 and at most 4.5 of its deviations off,
    where a bootstrap of so few rows is a little too narrow."""
    held = 0
    for seed in range(200):
        [interval] = bootstrap.intervals([mean("a", answers(0.6, seed, 101))], draws=400)
        assert interval is not None
        held += interval[0] <= 0.6 <= interval[1]
    assert 176 <= held <= 199


def test_a_model_is_not_different_from_itself() -> None:
    found = bootstrap.difference(mean("a", answers(0.7)), mean("a", answers(0.7)))
    assert (found.value, found.interval, found.is_one) == (0.0, None, False)


def test_pairs_tell_what_two_intervals_cannot() -> None:
    """Two models that are wrong about the same rows, but for a few that one of them alone gets right."""
    other = answers(0.6)
    one = np.where(np.arange(ROWS) % 9 == 0, 1.0, other)
    scores = mean("a", one), mean("a", other)
    found = bootstrap.difference(*scores)
    assert found.is_one and found.value > 0
    (low, _), (_, high) = (interval or (0, 0) for interval in bootstrap.intervals(list(scores)))
    assert low < high, "each lies in the other's interval"
    back = bootstrap.difference(scores[1], scores[0])
    assert back.is_one and back.value == pytest.approx(-found.value)
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]))


def test_what_chance_gives_is_no_difference() -> None:
    found = bootstrap.difference(mean("a", answers(0.6, 3)), mean("a", answers(0.6, 4)))
    assert not found.is_one and found.interval[0] < 0 < found.interval[1]


def test_where_all_are_right_drawing_again_says_nothing() -> None:
    assert bootstrap.intervals([mean("a", np.ones(ROWS))]) == [None]
    truths = np.arange(ROWS) % 3
    assert bootstrap.intervals(classes.scores(truths, np.zeros(ROWS, dtype=np.int64), 3))[2] is None


def test_rows_must_be_the_same() -> None:
    with pytest.raises(ValueError, match=r"\[5, 7\] rows are not of the same"):
        bootstrap.difference(mean("a", np.ones(7)), mean("a", np.ones(5)))
