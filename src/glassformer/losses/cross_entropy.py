"""Cross-entropy in nats: -log softmax(outputs)[target], for one right class of several.

With label smoothing, against a mixture of the target and all classes alike (Szegedy et al. 2016, section 7). With
weights, that of each question times the weight of its right class; what the sum is divided by is still the number of
questions, and not the sum of their weights, which no other batch knows.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from glassformer.cross_entropy import cross_entropy, cross_entropy_of_each
from glassformer.data.batch import IGNORE_INDEX, TargetsBatch
from glassformer.losses import Loss, LossFunction


class CrossEntropy(LossFunction):
    """See the module's definition."""

    targets = "classes"
    baseline = "counts"

    def __init__(self, smoothing: float = 0.0, weights: Sequence[float] | None = None) -> None:
        self.smoothing, self.weights = smoothing, weights

    def of_each(self, outputs: Float[Tensor, "N size"], targets: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        """To be looked at: without smoothing and weights, and no gradients."""
        return cross_entropy_of_each(outputs, targets)

    def _weighted(self, outputs: Float[Tensor, "N size"], targets: Int[Tensor, "N"]) -> Float[Tensor, ""]:
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        each = F.cross_entropy(outputs, targets.long(), reduction="none", label_smoothing=self.smoothing)
        return (each * each.new_tensor(self.weights)[targets.long()]).sum()

    def __call__(self, outputs: Float[Tensor, "padded size"], targets: TargetsBatch) -> Loss:
        """A few rows at a time: a vocabulary has too many classes to write all of it out. Padded rows are passed by
        inside, since to cut them off would copy the gradients of all logits."""
        if self.weights is not None:  # of labels, which are few
            number = targets.n_targets
            return Loss(self._weighted(outputs[:number], targets.values[:number]), number)
        return Loss(cross_entropy(outputs, targets.values, IGNORE_INDEX, self.smoothing), targets.n_targets)
