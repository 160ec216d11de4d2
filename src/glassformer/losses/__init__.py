"""Losses: what a head's outputs are held against its targets by. One file per loss, found by its name.

A loss is a sum over questions, never a mean: sums of micro-batches and of processes add up, means do not. How many
questions there are is known before the forward pass, and is what the sum is divided by in the end.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor

from glassformer.data.batch import TargetsBatch
from glassformer.plugins import find_plugin


@dataclass(frozen=True)
class Loss:
    """A sum and how many terms it has."""

    total: Float[Tensor, ""]
    count: int


class LossFunction(ABC):
    """One loss. Subclasses live one per file in this folder and are found by the file's name."""

    targets: ClassVar[Literal["classes", "numbers", "groups"]] = "numbers"
    """What it is given as targets: the class that is right, numbers, or which questions belong together."""
    baseline: ClassVar[Literal["counts", "mean", "none"]] = "none"
    """What a model that reads nothing can say at best: how often each class occurs, the mean of the targets, or
    nothing that the loss could be held against."""

    def constant(self, mean: Float[Tensor, "size"]) -> Float[Tensor, "size"]:
        """The best outputs of a model that reads nothing, where `baseline` is mean: from the mean of the targets."""
        return mean

    def said(self, outputs: Float[Tensor, "N size"]) -> Float[Tensor, "N _"]:
        """What of the outputs is measured against the targets: they themselves, where they are no vectors of which only
        the cosine counts."""
        return outputs

    @abstractmethod
    def of_each(
        self, outputs: Float[Tensor, "N size"], targets: Int[Tensor, "N"] | Float[Tensor, "N *numbers"]
    ) -> Float[Tensor, "N"]:
        """The loss of each question by itself. Nothing here is padded. Numbers are computed in float32 at least."""

    def __call__(self, outputs: Float[Tensor, "padded size"], targets: TargetsBatch) -> Loss:
        """The sum over all that is asked; padded entries count nothing."""
        number = targets.n_targets
        return Loss(self.of_each(outputs[:number], targets.values[:number]).sum(), number)


def find_loss(name: str) -> LossFunction:
    """The loss in the file `name`.py of this folder. Raises UsageError naming the nearest one."""
    return find_plugin(__name__, name, LossFunction, "loss")()  # type: ignore[type-abstract]
