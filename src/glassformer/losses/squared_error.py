"""Squared error: the sum over a question's numbers of (output - target)^2."""

import torch
from jaxtyping import Float
from torch import Tensor

from glassformer.losses import LossFunction


class SquaredError(LossFunction):
    """See the module's definition."""

    baseline = "mean"

    def of_each(self, outputs: Float[Tensor, "N size"], targets: Float[Tensor, "N *numbers"]) -> Float[Tensor, "N"]:
        """One number for each question, or one for each output."""
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return (outputs - targets.reshape(outputs.shape)).square().sum(-1)
