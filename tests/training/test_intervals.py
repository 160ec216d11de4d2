"""Intervals: they hold what they say they hold, also where the questions of a text are right or wrong together."""

import math

import numpy as np
import pytest

from glassformer.training.intervals import Sums, half_width, share_interval, t_quantile


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706), (5, 2.571), (10, 2.228), (11, 2.201), (20, 2.086), (60, 2.000), (10**6, 1.960)],
)
def test_t_quantile(freedom: int, quantile: float) -> None:
    """As tables have it."""
    assert t_quantile(freedom) == pytest.approx(quantile, abs=2e-3)


def test_without_freedom_there_is_no_interval() -> None:
    """A single number says nothing about its scatter."""
    assert t_quantile(0) == math.inf


def texts(rng: np.random.Generator, number: int, together: float) -> tuple[np.ndarray, np.ndarray]:
    """Losses of 1 on average, and the text of each; `together` is how much the texts themselves differ. Their lengths
    differ, too."""
    lengths = rng.integers(1, 30, number)
    whose = np.repeat(np.arange(number), lengths)
    return 1 + together * rng.normal(size=number)[whose] + rng.normal(size=len(whose)), whose


@pytest.mark.parametrize("together", [0.0, 1.0])
@pytest.mark.parametrize("number", [8, 60])
def test_the_interval_of_a_mean_holds_it(number: int, together: float) -> None:
    """In 95 of 100 samples or a little more, whether the losses of a text go together or not."""
    rng = np.random.default_rng(5)
    held = []
    for _ in range(400):
        losses, whose = texts(rng, number, together)
        sums = Sums.empty(number)
        sums.add(losses, whose)
        held.append(abs(sums.mean - 1) < half_width([(1.0, sums)]))
    assert 0.90 < np.mean(held) <= 0.995


def test_single_questions_alone_would_promise_too_much() -> None:
    """The other side: with one cluster for each question the same losses are held far less often."""
    rng = np.random.default_rng(5)
    held = []
    for _ in range(400):
        losses, _ = texts(rng, 60, 1.0)
        sums = Sums.empty(len(losses))
        sums.add(losses, np.arange(len(losses)))
        held.append(abs(sums.mean - 1) < half_width([(1.0, sums)]))
    assert np.mean(held) < 0.75


def test_weighted_means_add_up() -> None:
    """Of two heads over the same texts: the interval of the sum, wider than of either."""
    rng = np.random.default_rng(7)
    (one, whose), other = texts(rng, 50, 1.0), Sums.empty(50)
    first = Sums.empty(50)
    first.add(one, whose)
    other.add(one, whose)
    assert half_width([(1.0, first), (1.0, other)]) == pytest.approx(2 * half_width([(1.0, first)]))
    assert half_width([(1.0, first), (0.0, other)]) == pytest.approx(half_width([(1.0, first)]))


@pytest.mark.parametrize("right", [0, 1, 15, 30])
def test_the_interval_of_a_share_lies_within_0_and_1(right: int) -> None:
    """And is never a point, also where nothing or everything is right."""
    sums = Sums.empty(30)
    sums.add((np.arange(30) < right).astype(float), np.arange(30))
    low, high = share_interval(sums)
    assert 0 <= low <= right / 30 <= high <= 1
    assert 0.05 < high - low < 0.5


def test_a_share_by_hand() -> None:
    """Wilson's interval of 15 of 30, each for itself, with the quantile of t instead of 1.96."""
    sums = Sums.empty(30)
    sums.add((np.arange(30) < 15).astype(float), np.arange(30))
    z, n = t_quantile(29), 30 * 29 / 30  # the variance is estimated from the same 30
    half = z / (1 + z * z / n) * math.sqrt(0.25 / n + z * z / (4 * n * n))
    assert share_interval(sums) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-9)


def test_right_answers_that_come_together_make_a_share_less_sure() -> None:
    """Half of 200 questions right: a wider interval where ten texts are all right or all wrong."""
    apart, together = Sums.empty(10), Sums.empty(10)
    whose = np.repeat(np.arange(10), 20)
    apart.add(np.tile([0.0, 1.0], 100), whose)
    together.add((whose % 2).astype(float), whose)
    narrow, wide = share_interval(apart), share_interval(together)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_nothing_asked() -> None:
    """All that can be said: a share lies between 0 and 1."""
    assert share_interval(Sums.empty(3)) == (0.0, 1.0)
