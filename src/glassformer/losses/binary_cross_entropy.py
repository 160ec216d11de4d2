"""Binary cross-entropy in nats, for labels of which any number may be right: the sum over a question's labels of
-log p where the target is 1 and -log (1 - p) where it is 0, with p = sigmoid(output)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from glassformer.losses import LossFunction


class BinaryCrossEntropy(LossFunction):
    """See the module's definition. A target between 0 and 1 is a probability."""

    baseline = "mean"

    def constant(self, mean: Float[Tensor, "size"]) -> Float[Tensor, "size"]:
        """The outputs whose probabilities are how often each label is right."""
        return mean.clamp(1e-6, 1 - 1e-6).logit()

    def of_each(self, outputs: Float[Tensor, "N size"], targets: Float[Tensor, "N *numbers"]) -> Float[Tensor, "N"]:
        """One target for each output."""
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        targets = targets.reshape(outputs.shape).to(outputs.dtype)
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(-1)
