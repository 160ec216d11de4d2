"""Perplexity: e to the mean loss in nats. Among how many tokens, all as likely, the model might as well choose."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from glassformer.metrics import Metric, Terms


class Perplexity(Metric):
    """See the module's definition. Above e^700 there is no number for it."""

    direction = "lower"

    def statistics(self, terms: Terms) -> Float[Tensor, "2"]:
        """Nats, and of how many questions."""
        losses = terms.losses.double()
        return torch.stack([losses.sum(), losses.new_tensor(float(len(losses)))])

    def compute(self, statistics: Float[Tensor, "2"]) -> float:
        """From the mean loss."""
        nats, count = statistics.tolist()
        return math.exp(min(nats / max(1.0, count), 700.0))
