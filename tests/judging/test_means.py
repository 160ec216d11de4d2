"""Correlations are SciPy's, of the rows themselves and of any draw of them."""

import numpy as np
import pytest
from scipy import stats

from glassformer.judging import bootstrap
from glassformer.judging.means import mean, pearson, spearman

RNG = np.random.default_rng(11)
TRUE = RNG.integers(0, 6, 53).astype(float)  # some are alike
SAID = TRUE + RNG.normal(size=53).round(1)
CASES = {
    "plain": (SAID, TRUE),
    "far from zero": (SAID * 1e-6 + 1e6, TRUE),
    "the other way": (-SAID, TRUE),
    "two rows": (np.array([1.0, 2.0]), np.array([5.0, 4.0])),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("score", "by_scipy"), [(pearson, stats.pearsonr), (spearman, stats.spearmanr)])
def test_they_are_those_of_scipy(name: str, score, by_scipy) -> None:
    said, true = CASES[name]
    found = score(said, true)
    expected = by_scipy(said, true).statistic
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.drawn(np.ones((1, len(said)))) == pytest.approx([expected], abs=1e-7)


@pytest.mark.parametrize(("score", "by_scipy"), [(pearson, stats.pearsonr), (spearman, stats.spearmanr)])
def test_a_draw_is_scored_as_its_rows_are(score, by_scipy) -> None:
    some = next(bootstrap.weights(53, 7))
    found = score(SAID, TRUE).drawn(some)
    expected = [by_scipy(np.repeat(SAID, n), np.repeat(TRUE, n)).statistic for n in some.astype(int)]
    assert found == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("score", [pearson, spearman])
@pytest.mark.parametrize(("said", "true"), [(np.ones(9), np.arange(9.0)), (np.arange(9.0), np.ones(9))])
def test_where_all_numbers_are_alike_there_is_none(score, said: np.ndarray, true: np.ndarray) -> None:
    found = score(said, true)
    assert np.isnan(found.value)
    assert bootstrap.intervals([found]) == [None]


def test_a_mean_is_a_mean() -> None:
    values = np.array([0.0, 1.0, 0.5, 0.5, 1.0])
    found = mean("exact_match", values, is_share=True)
    assert (found.name, found.rows, found.is_share) == ("exact_match", 5, True)
    assert found.value == pytest.approx(0.6)
    assert found.drawn(np.array([[5.0, 0, 0, 0, 0], [0, 0, 2, 0, 2]])) == pytest.approx([0.0, 0.75])
