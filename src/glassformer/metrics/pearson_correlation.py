"""Pearson correlation of outputs and targets: their covariance by the product of their standard deviations."""

import torch
from jaxtyping import Float
from torch import Tensor

from glassformer.metrics import Metric, Terms, numbers


class PearsonCorrelation(Metric):
    """See the module's definition. Every answer is kept: differences of sums of squares lose what is small beside a
    large mean. Not defined (NaN) where all outputs, or all targets, are alike."""

    adds = False

    def statistics(self, terms: Terms) -> Float[Tensor, "n 2"]:
        """Output and target of each number."""
        return numbers(terms)

    def compute(self, statistics: Float[Tensor, "n 2"]) -> float:
        """Of all of them."""
        centred = statistics - statistics.mean(0)
        lengths = torch.linalg.vector_norm(centred, dim=0)
        return float((centred[:, 0] / lengths[0]) @ (centred[:, 1] / lengths[1]))
