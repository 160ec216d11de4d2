"""How good a model is on units whose corruption is fixed, so that every evaluation asks the same questions."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from glassformer.data.batch import Batch, BatchConfig, Example, Shapes, collate, plan
from glassformer.errors import UsageError
from glassformer.objectives import Loss, Objective, Units
from glassformer.randomness import Purpose, generator

EVALUATION_SEED = 20_170_612
"""The same for every run, whatever its own seed: two runs on the same data answer the same questions."""


@dataclass(frozen=True)
class Evaluation:
    """The loss as training has it (the heads' means, added by their weights), and per name every mean (loss per head,
    accuracy, top-5 accuracy)."""

    loss: float
    means: dict[str, float]
    count: int

    def record(self) -> dict[str, float]:
        """As it is written to metrics.jsonl; with one head its name is left out. Several losses added up are no longer
        the logarithm of a perplexity."""
        short = {name.split("/")[-1]: value for name, value in self.means.items()}
        means = short if len(short) == len(self.means) else self.means
        perplexity = {"perplexity": math.exp(min(self.loss, 700.0))} if means is short else {}
        return {**means, "loss": self.loss, **perplexity, "count": self.count}


def drawn(units: Units, limit: int | None) -> Int64[np.ndarray, "n"]:
    """The units that are asked, at most `limit`, in order: the same ones every time. Of a mixture each member's share
    of the limit, rounded, and at least one of each."""
    order = generator(EVALUATION_SEED, Purpose.QUESTIONS).permutation(len(units))
    if limit is None or units.members is None:
        return np.sort(order[:limit])
    own = [order[units.members[order] == member] for member in range(len(units.shares))]
    few = [mine[: max(1, round(limit * share))] for mine, share in zip(own, units.shares, strict=True)]
    return np.sort(np.concatenate(few))


class FixedQuestions:
    """Units with their fixed corruption, collated once; at most `limit` units, drawn at random once; of a mixture each
    member's share of the limit, and at least one unit of each. Another `seed` hides other things in the same units.

    Collated when first asked, and kept: asking the same questions again then costs only the forward passes. Raises
    UsageError then, where there is nothing to ask, of a member too: a loss of 0 over 0 questions would look perfect.
    """

    def __init__(
        self,
        units: Units,
        objective: Objective,
        config: BatchConfig,
        limit: int | None = None,
        shapes: Shapes | None = None,
        seed: int = EVALUATION_SEED,
    ) -> None:
        self.objective = objective
        self.seed = seed
        self.units = units
        self.chosen = drawn(units, limit)
        self.config = config
        self.shapes = shapes

    @cached_property
    def _batches(self) -> list[Batch]:
        pad_id, row_length = self.objective.tokenizer.pad_id, self.objective.row_length
        members = np.zeros(len(self.units), dtype=np.int64) if self.units.members is None else self.units.members
        batches = []
        for member in np.unique(members[self.chosen]):
            chosen = self.chosen[members[self.chosen] == member]
            for rows in plan(self.units.lengths[chosen], self.config, row_length, rng=None):
                examples = [[self.example(int(chosen[i])) for i in row] for row in rows]
                batches.append(collate(examples, pad_id, self.shapes))
        asked_members = {batch.member for batch in batches if any(asked.number for asked in batch.asked.values())}
        if len(asked_members) < len(self.units.shares):
            raise UsageError(
                "nothing can be asked in the evaluation texts: every word of theirs is unknown",
                "use texts of the same language and kind as the training texts",
            )
        return batches

    def example(self, index: int) -> Example:
        """Unit `index` with its fixed corruption."""
        return self.units.example(index, generator(self.seed, Purpose.QUESTION, index))

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)


class OtherSources(FixedQuestions):
    """The questions of an encoder-decoder, each beside the source of the next one: what the decoder can say without
    reading what it was given. Raises UsageError where there is no other source.

    A decoder that has learned its targets as a language, and nothing of their sources, is as good at these.
    """

    @cached_property
    def _next(self) -> dict[int, int]:
        if len(self.chosen) < 2:
            raise UsageError("other sources need two texts, and there is one", "evaluate more texts")
        return dict(zip(self.chosen.tolist(), np.roll(self.chosen, -1).tolist(), strict=True))

    def example(self, index: int) -> Example:
        """Unit `index`, with the source of another."""
        own, other = super().example(index), super().example(self._next[index])
        return own._replace(streams={**own.streams, "encoder": other.streams["encoder"]})


@torch.no_grad()
def evaluate(
    model: Callable[[Batch], dict[str, torch.Tensor]],
    questions: FixedQuestions,
    to_device: Callable[[Batch], Batch] = lambda batch: batch,
) -> Evaluation:
    """Means over all questions, from sums and counts. `model` is put in evaluation mode and back."""
    objective = questions.objective
    module = model if isinstance(model, nn.Module) else None
    training = module is not None and module.training
    if module is not None:
        module.eval()
    losses: dict[str, list[float]] = {}
    others: dict[str, list[float]] = {}
    for batch in questions:
        batch = to_device(batch)
        logits = model(batch)
        _add(losses, objective.loss(logits, batch))
        _add(others, objective.scores(logits, batch))
    if module is not None:
        module.train(training)
    weights, shares = objective.weights(), objective.shares()
    loss = sum(weights[name] * shares[name] * total / max(1.0, number) for name, (total, number) in losses.items())
    count = sum(number for _, number in losses.values())
    means = {name: t / max(1.0, n) for name, (t, n) in ({f"{k}/loss": v for k, v in losses.items()} | others).items()}
    return Evaluation(loss, means, int(count))


def _add(sums: dict[str, list[float]], parts: dict[str, Loss]) -> None:
    for name, part in parts.items():
        sums.setdefault(name, [0.0, 0.0])
        sums[name][0] += float(part.total)
        sums[name][1] += part.count
