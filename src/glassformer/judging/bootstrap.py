"""How sure a score is: the bootstrap over rows (Efron and Tibshirani 1993, chapter 13).

As many rows as there are, are drawn from them with replacement, a thousand times; 95% of the scores of these draws lie
between the 2.5% and the 97.5% quantile. Two models that answered the same rows are scored on the same draws (paired;
Koehn 2004): their difference is one where the interval does not hold zero. What this knows nothing of is another seed:
it says what other rows of the kind would give, and not what another training would.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from glassformer.judging import Score
from glassformer.randomness import Purpose, generator

DRAWS = 1000
SEED = 20_170_612
"""The same for every run, so that any two runs are drawn alike."""
_NUMBERS = 4_000_000
"""Weights that are held at a time."""

Interval = tuple[float, float]


class Difference(NamedTuple):
    """How much higher one model scores than another, on the same rows."""

    value: float
    interval: Interval | None

    @property
    def is_one(self) -> bool:
        """Whether it is more than chance would give: the interval does not hold zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "is_one": self.is_one,
        }


def weights(rows: int, draws: int = DRAWS) -> Iterator[Float[np.ndarray, "draws rows"]]:
    """How often each row is in each draw: some draws at a time, the same whenever as many rows are asked for."""
    rng = generator(SEED, Purpose.RESAMPLING)
    at_once = max(1, _NUMBERS // max(1, rows))
    for start in range(0, draws, at_once):
        found = [np.bincount(rng.integers(rows, size=rows), minlength=rows) for _ in range(min(at_once, draws - start))]
        yield np.stack(found).astype(np.float64)


def drawn(scores: list[Score], draws: int = DRAWS) -> Float[np.ndarray, "scores draws"]:
    """Several scores of the same rows, on the same draws. Raises ValueError for unequal numbers of rows."""
    rows = {score.rows for score in scores}
    if len(rows) != 1:
        raise ValueError(f"scores of {sorted(rows)} rows are not of the same ones")
    parts = [[score.drawn(some) for score in scores] for some in weights(rows.pop(), draws)]
    return np.concatenate([np.stack(part) for part in parts], axis=1)


def interval_of(values: Float[np.ndarray, "draws"]) -> Interval | None:
    """What holds 95% of the draws. None where that says nothing: all draws are alike, as where every answer is right,
    or the score is not defined in most of them."""
    known = values[np.isfinite(values)]
    if 2 * len(known) < len(values) or np.ptp(known) == 0:
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def intervals(scores: list[Score], draws: int = DRAWS) -> list[Interval | None]:
    """The interval of each of several scores of the same rows."""
    return [interval_of(values) for values in drawn(scores, draws)]


def difference(one: Score, other: Score, draws: int = DRAWS) -> Difference:
    """`one` less `other`, which answered the same rows. Raises ValueError for unequal numbers of rows."""
    first, second = drawn([one, other], draws)
    return Difference(one.value - other.value, interval_of(first - second))
