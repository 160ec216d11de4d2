"""How good a model is on units whose corruption is fixed, so that every evaluation asks the same questions."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
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


class FixedQuestions:
    """Units with their fixed corruption, collated once; at most `limit` units, drawn at random once. Another `seed`
    hides other things in the same units.

    Collated when first asked, and kept: asking the same questions again then costs only the forward passes. Raises
    UsageError then, where there is nothing to ask: a loss of 0 over 0 questions would look perfect.
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
        chosen = generator(EVALUATION_SEED, Purpose.QUESTIONS).permutation(len(units))[:limit]
        self.chosen = np.sort(chosen)
        self.config = config
        self.shapes = shapes

    @cached_property
    def _batches(self) -> list[Batch]:
        pad_id, max_length = self.objective.tokenizer.pad_id, self.objective.max_length
        members = np.zeros(len(self.units), dtype=np.int64) if self.units.members is None else self.units.members
        batches = []
        for member in np.unique(members[self.chosen]):
            chosen = self.chosen[members[self.chosen] == member]
            for rows in plan(self.units.lengths[chosen], self.config, max_length, rng=None):
                examples = [[self.example(int(chosen[i])) for i in row] for row in rows]
                batches.append(collate(examples, pad_id, self.shapes))
        if not any(asked.number for batch in batches for asked in batch.asked.values()):
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
