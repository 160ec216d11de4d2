"""Scores of what each row has by itself: means, and the correlations of numbers (SciPy's)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from glassformer.judging import Score, of_sums


def mean(name: str, values: Float[np.ndarray, "rows"], is_share: bool = False) -> Score:
    """The mean of a number that each row has, such as an exact match."""
    counts = np.stack([values, np.ones_like(values)], axis=1)
    return Score(name, float(values.mean()), counts, of_sums(lambda sums: sums[:, 0] / sums[:, 1]), is_share)


def share(
    name: str, right: Sequence[Bool[np.ndarray, "_"]], of: Sequence[Bool[np.ndarray, "_"]] | None = None
) -> Score:
    """How many of the things in each row are right, all rows together, as words in sentences; `of` says which of them
    count. NaN where none does."""
    which = [np.ones_like(row) for row in right] if of is None else of
    rows = [(float((row & some).sum()), float(some.sum())) for row, some in zip(right, which, strict=True)]
    counts = np.array(rows, dtype=np.float64).reshape(-1, 2)
    value = float(_ratio(counts.sum(0, keepdims=True))[0])
    return Score(name, value, counts, of_sums(_ratio), is_share=True)


def _ratio(sums: Float[np.ndarray, "draws 2"]) -> Float[np.ndarray, "draws"]:
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def pearson(said: Float[np.ndarray, "rows"], true: Float[np.ndarray, "rows"]) -> Score:
    """Pearson's correlation, from sums of x, y, x^2, y^2, x y. Not defined (NaN) where all numbers of a side are alike.

    They are standardised before: differences of sums of squares lose what is small beside a large mean.
    """
    from scipy import stats  # slow to import

    x, y = _standard(said), _standard(true)
    value = float("nan") if x is None or y is None else float(stats.pearsonr(said, true).statistic)
    x, y = (np.zeros_like(said) if each is None else each for each in (x, y))
    counts = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    return Score("pearson_correlation", value, counts, of_sums(_correlation))


def spearman(said: Float[np.ndarray, "rows"], true: Float[np.ndarray, "rows"]) -> Score:
    """Spearman's: Pearson's of the ranks, equal numbers sharing theirs. Not defined (NaN) where all of a side are
    alike. Ranks do not add up: each draw is ranked anew."""
    from scipy import stats

    constant = np.ptp(said) == 0 or np.ptp(true) == 0
    value = float("nan") if constant else float(stats.spearmanr(said, true).statistic)
    return Score("spearman_correlation", value, np.stack([said, true], axis=1), _rank_correlation)


def _standard(values: Float[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"] | None:
    return None if np.ptp(values) == 0 else (values - values.mean()) / values.std()


def _correlation(sums: Float[np.ndarray, "draws 6"]) -> Float[np.ndarray, "draws"]:
    number, x, y, xx, yy, xy = sums.T
    spread = (xx - x * x / number) * (yy - y * y / number)
    known = spread > 1e-12 * number * number  # standardised: below is nothing but rounding
    return np.divide(xy - x * y / number, np.sqrt(np.maximum(spread, 0)), out=np.full_like(x, np.nan), where=known)


def _rank_correlation(
    weights: Float[np.ndarray, "draws rows"], numbers: Float[np.ndarray, "rows 2"]
) -> Float[np.ndarray, "draws"]:
    found = [_ranks(numbers[:, side], weights) for side in (0, 1)]
    total = weights.sum(1)
    x, y = (ranks - ((weights * ranks).sum(1) / total)[:, None] for ranks in found)
    spread = (weights * x * x).sum(1) * (weights * y * y).sum(1)
    above = (weights * x * y).sum(1)
    return np.divide(above, np.sqrt(spread), out=np.full_like(above, np.nan), where=spread > 0)


def _ranks(
    values: Float[np.ndarray, "rows"], weights: Float[np.ndarray, "draws rows"]
) -> Float[np.ndarray, "draws rows"]:
    """The rank of each row among the rows of each draw, where a row may stand several times: those below it, and half
    of those that are equal."""
    _, which = np.unique(values, return_inverse=True)
    totals = np.stack([np.bincount(which, weights=one) for one in weights])
    return (totals.cumsum(1) - totals / 2)[:, which]
