"""Spearman correlation: Pearson's, of the ranks of outputs and targets. Equal numbers share the mean of their ranks."""

import torch
from jaxtyping import Float
from torch import Tensor

from glassformer.metrics import Metric, Terms, numbers


class SpearmanCorrelation(Metric):
    """See the module's definition. Not defined (NaN) where all outputs, or all targets, are alike."""

    adds = False

    def statistics(self, terms: Terms) -> Float[Tensor, "n 2"]:
        """Output and target of each number."""
        return numbers(terms)

    def compute(self, statistics: Float[Tensor, "n 2"]) -> float:
        """Of all of them."""
        said, right = (ranks(column) for column in statistics.unbind(1))
        return float(torch.corrcoef(torch.stack([said, right]))[0, 1]) if len(said) > 1 else float("nan")


def ranks(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """From 0, the lowest first."""
    _, which, times = values.unique(sorted=True, return_inverse=True, return_counts=True)
    ends = times.cumsum(0).double()
    return (ends - (times + 1) / 2)[which]
