"""Cross-entropy in nats: -log softmax(outputs)[target], for one right class of several.

With label smoothing, against a mixture of the target and all classes alike (Szegedy et al. 2016, section 7).
"""

from jaxtyping import Float, Int
from torch import Tensor

from glassformer.cross_entropy import cross_entropy, cross_entropy_of_each
from glassformer.data.batch import IGNORE_INDEX, TargetsBatch
from glassformer.losses import Loss, LossFunction


class CrossEntropy(LossFunction):
    """See the module's definition."""

    targets = "classes"
    baseline = "counts"

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    def of_each(self, outputs: Float[Tensor, "N size"], targets: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        """To be looked at: without smoothing, and no gradients."""
        return cross_entropy_of_each(outputs, targets)

    def __call__(self, outputs: Float[Tensor, "padded size"], targets: TargetsBatch) -> Loss:
        """A few rows at a time: a vocabulary has too many classes to write all of it out. Padded rows are passed by
        inside, since to cut them off would copy the gradients of all logits."""
        return Loss(cross_entropy(outputs, targets.values, IGNORE_INDEX, self.smoothing), targets.n_targets)
