"""Macro F1: the mean over classes of 2 tp / (2 tp + fp + fn), every class alike, however rare.

Of a class that is neither true nor guessed anywhere there is none, and it is left out.
"""

from jaxtyping import Float
from torch import Tensor

from glassformer.metrics import Metric, Terms, confusion


class MacroF1(Metric):
    """See the module's definition."""

    def statistics(self, terms: Terms) -> Float[Tensor, "classes classes"]:
        """What was guessed for what."""
        return confusion(terms)

    def compute(self, statistics: Float[Tensor, "classes classes"]) -> float:
        """Of all classes that there are."""
        right = statistics.diagonal()
        seen = statistics.sum(0) + statistics.sum(1)  # 2 tp + fp + fn
        return float((2 * right / seen)[seen > 0].mean())
