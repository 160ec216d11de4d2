"""How good answers are, in the numbers of the field, and how sure that is.

A score is a function of counts that add up over rows: each row of the data has a few counts, and the score of any rows
is computed from their sums. Of three rows, of which two are answered rightly:

    counts [rows, 2]   right   rows
                           1      1
                           0      1
                           1      1
    sums                   2      3      accuracy = 2 / 3

So the score of rows drawn again (`bootstrap.py`) is that of their weighted sums, and two models that answered the same
rows are drawn alike. The number itself comes from the field's own library; tests hold both equal.

    classes.py       one class for each row: accuracy, macro F1, Matthews correlation
    means.py         anything that each row has by itself, such as an exact match; correlations of numbers
    entities.py      spans with a type in a sentence, written as tags: precision, recall, F1
    bootstrap.py     intervals, and the difference of two models
    calibration.py   whether probabilities are what they say
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Shaped
from numpy import ndarray


@dataclass(frozen=True, eq=False)
class Score:
    """One score of some answers."""

    name: str
    value: float
    """Of all rows; NaN where it is not defined."""
    counts: Shaped[ndarray, "rows counts"]
    compute: Callable[[Float[ndarray, "draws rows"], Shaped[ndarray, "rows counts"]], Float[ndarray, "draws"]]
    """The score of each draw of rows, given how often each row is in it; most are a function of `weights @ counts`."""
    is_share: bool = False
    """Whether it is a share, which people read in percent."""
    better: Literal["higher", "lower"] = "higher"

    @property
    def rows(self) -> int:
        """How many were answered."""
        return len(self.counts)

    def drawn(self, weights: Float[ndarray, "draws rows"]) -> Float[ndarray, "draws"]:
        """The score of each draw."""
        return self.compute(weights, self.counts)


def of_sums(
    compute: Callable[[Float[ndarray, "draws counts"]], Float[ndarray, "draws"]],
) -> Callable[[Float[ndarray, "draws rows"], Shaped[ndarray, "rows counts"]], Float[ndarray, "draws"]]:
    """A score that needs the sums of the counts alone."""
    return lambda weights, counts: compute(weights @ counts)
