"""Metrics: what people want to read of a model's answers beside its loss. One file per metric, found by its name.

A metric is computed from statistics, and those of two batches, or of two processes, make those of both: most are sums
and counts, which add up; where a metric needs every answer, as a rank correlation does, they are laid end to end.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from glassformer.plugins import find_plugin


class Terms(NamedTuple):
    """What one head was asked, question by question, nothing padded: what it said, its loss, its guesses, the truth."""

    outputs: Float[Tensor, "N size"]
    losses: Float[Tensor, "N"]
    guesses: Int64[Tensor, "N"] | None
    """The class of the highest output; None of a head whose targets are no classes."""
    targets: Int64[Tensor, "N"] | Float[Tensor, "N *numbers"]
    words: bool
    """Whether the classes are the tokens of the vocabulary."""
    labels: tuple[str, ...] | None = None
    """The names of the classes, where they are no tokens."""
    sequences: Int64[Tensor, "N"] | None = None
    """Which of the batch's examples each question is of: a number for each, in no order."""


class Metric(ABC):
    """One metric. Subclasses live one per file in this folder and are found by the file's name."""

    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    """Which is better."""
    adds: ClassVar[bool] = True
    """Whether statistics add up; if not, they are laid end to end."""

    @abstractmethod
    def statistics(self, terms: Terms) -> Shaped[Tensor, "..."]:
        """Of some questions."""

    @abstractmethod
    def compute(self, statistics: Float[Tensor, "..."]) -> float:
        """The metric, from statistics in float64. NaN where it is not defined."""

    def concat(self, one: Shaped[Tensor, "..."], other: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The statistics of both."""
        return one + other if self.adds else torch.cat([one, other])


class Mean(Metric):
    """A metric that is the mean over questions of something: its statistics are a sum and how many there are."""

    @abstractmethod
    def of_each(self, terms: Terms) -> Shaped[Tensor, "N"]:
        """Of each question by itself."""

    def statistics(self, terms: Terms) -> Shaped[Tensor, "2"]:
        """Sum and count."""
        values = self.of_each(terms).double()
        return torch.stack([values.sum(), values.new_tensor(float(len(values)))])

    def compute(self, statistics: Float[Tensor, "2"]) -> float:
        """The mean."""
        total, count = statistics.tolist()
        return total / max(1.0, count)


def confusion(terms: Terms) -> Float[Tensor, "true guessed"]:
    """How often each class was guessed where each was true."""
    assert terms.guesses is not None
    size = terms.outputs.shape[-1]
    found = torch.bincount(terms.targets.long() * size + terms.guesses, minlength=size * size)
    return found.reshape(size, size).double()


def numbers(terms: Terms) -> Float[Tensor, "n 2"]:
    """Every number that was said, beside the one that was right."""
    return torch.stack([terms.outputs.flatten().double(), terms.targets.flatten().double()], 1)


def find_metric(name: str) -> Metric:
    """The metric in the file `name`.py of this folder. Raises UsageError naming the nearest one."""
    return find_plugin(__name__, name, Metric, "metric")()  # type: ignore[type-abstract]
