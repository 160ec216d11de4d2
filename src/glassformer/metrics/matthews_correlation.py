"""Matthews correlation: of two classes the correlation of guess and truth, in {0, 1}; of more its generalisation
(Gorodkin 2004): 1 where all is right, 0 where guesses tell nothing.

    (c s - sum_k t_k p_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2))

c right answers of s; class k was true t_k times and guessed p_k times. Where all guesses, or all truths, are one class
it is 0.
"""

import math

from jaxtyping import Float
from torch import Tensor

from glassformer.metrics import Metric, Terms, confusion


class MatthewsCorrelation(Metric):
    """See the module's definition."""

    def statistics(self, terms: Terms) -> Float[Tensor, "classes classes"]:
        """What was guessed for what."""
        return confusion(terms)

    def compute(self, statistics: Float[Tensor, "classes classes"]) -> float:
        """By the formula above."""
        true, guessed = statistics.sum(1), statistics.sum(0)
        number = float(statistics.sum())
        spread = (number**2 - float(guessed @ guessed)) * (number**2 - float(true @ true))
        if spread == 0:
            return 0.0
        return (float(statistics.trace()) * number - float(true @ guessed)) / math.sqrt(spread)
