"""Mean squared error: the mean of (output - target)^2 over all numbers."""

from jaxtyping import Float
from torch import Tensor

from glassformer.metrics import Mean, Terms, numbers


class MeanSquaredError(Mean):
    """See the module's definition."""

    direction = "lower"

    def of_each(self, terms: Terms) -> Float[Tensor, "n"]:
        """Of each number."""
        said, right = numbers(terms).unbind(1)
        return (said - right).square()
