"""Accuracy: the share of the questions in which the guess is right."""

from jaxtyping import Bool
from torch import Tensor

from glassformer.metrics import Mean, Terms


class Accuracy(Mean):
    """See the module's definition."""

    def of_each(self, terms: Terms) -> Bool[Tensor, "N"]:
        """Whether it is right."""
        assert terms.guesses is not None
        return terms.guesses == terms.targets
