"""The contract of an objective: what is hidden, what is asked, how it is scored. One file per objective.

An objective never sees a model: it makes examples, names the heads that it needs, and scores their logits. Trainer,
prediction and views ask every objective through the methods below and know none by name.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from glassformer.config import Config
from glassformer.data.batch import NOT_ASKED, Batch, Example, HeadSpec
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer
from glassformer.plugins import find_plugin
from glassformer.randomness import Purpose, generator


@dataclass(frozen=True)
class Loss:
    """A sum and how many terms it has, never a mean: sums of micro-batches and processes add up, means do not."""

    total: Float[Tensor, ""]
    count: int


class Units(ABC):
    """What one epoch runs over: documents, windows, pairs, whatever the objective needs."""

    lengths: Int64[np.ndarray, "units"]
    """Tokens in each unit's longest stream, for batching."""

    def __len__(self) -> int:
        return len(self.lengths)

    @abstractmethod
    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Unit `index` with fresh corruption: a pure function of the index and the generator's state."""


class Candidate(NamedTuple):
    """One possible answer and the probability that the model gives it."""

    token: str
    probability: float


class Blank(NamedTuple):
    """One asked position: its place among the tokens, the candidates (best first), and the truth where known."""

    position: int
    candidates: list[Candidate]
    true: str | None = None


class Prompt(NamedTuple):
    """A person's text as an example, with the tokens that the model reads (for pictures)."""

    text: str
    example: Example
    tokens: list[str]


C = TypeVar("C", bound=Config)


class Objective(ABC, Generic[C]):
    """One pretraining objective. Subclasses live one per file in this folder and are found by the file's name."""

    Config: ClassVar[type[Config]]

    def __init__(self, config: C, tokenizer: Tokenizer, max_length: int) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.max_length = max_length

    @abstractmethod
    def units(self, corpus: Corpus) -> Units:
        """Cut a corpus into the units of this objective."""

    @abstractmethod
    def heads(self) -> list[HeadSpec]:
        """The output heads that a model needs for this objective."""

    def for_evaluation(self) -> "Objective[C]":
        """The objective that asks the fixed questions: this one, unless its settings would make the questions of two
        runs differ that are to be compared."""
        return self

    @abstractmethod
    def prompt(self, text: str) -> Prompt:
        """A person's text as an example that asks the model. Raises UsageError where it cannot be asked."""

    def loss(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Loss]:
        """Cross-entropy in nats, summed over the asked positions of each head."""
        return {
            name: Loss(
                F.cross_entropy(scores.float(), batch.asked[name].targets, ignore_index=NOT_ASKED, reduction="sum"),
                batch.asked[name].number,
            )
            for name, scores in logits.items()
        }

    def scores(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Loss]:
        """What people want to read beside the loss, also as sums and counts: accuracy and top-5 accuracy."""
        hits: dict[str, Loss] = {}
        for name, values in logits.items():
            targets, count = batch.asked[name].targets, batch.asked[name].number
            best = values.topk(min(5, values.shape[-1]), dim=-1).indices
            right = (best == targets[:, None]).float()  # NOT_ASKED equals no class
            hits[f"{name}/accuracy"] = Loss(right[:, 0].sum(), count)
            hits[f"{name}/top5_accuracy"] = Loss(right.sum(), count)
        return hits

    def answer(self, example: Example, logits: dict[str, Float[Tensor, "_ _"]], top: int = 5) -> list[Blank]:
        """The model's candidates at every asked position of one example, best first, with real probabilities.
        Where a target is known (not NOT_ASKED), it is given as the truth."""
        blanks: list[Blank] = []
        for name, asked in example.asked.items():
            probabilities = logits[name].float().softmax(-1)
            best = probabilities.topk(min(top, probabilities.shape[-1]), dim=-1)
            for n, (position, target) in enumerate(zip(asked.positions, asked.targets, strict=True)):
                pairs = zip(best.indices[n].tolist(), best.values[n].tolist(), strict=True)
                candidates = [Candidate(self.tokenizer.token(token), p) for token, p in pairs]
                true = None if target == NOT_ASKED else self.tokenizer.token(int(target))
                blanks.append(Blank(int(position), candidates, true))
        return blanks

    def target_counts(self, units: Units, seed: int, limit: int = 20_000) -> dict[str, Float[Tensor, "_"]]:
        """How often each class was the target in up to `limit` examples: what the unigram line is made of."""
        counts = {head.name: torch.zeros(head.size) for head in self.heads()}
        chosen = generator(seed, Purpose.COUNTS).permutation(len(units))[:limit]
        for index in chosen:
            example = units.example(int(index), generator(seed, Purpose.COUNT, int(index)))
            for name, asked in example.asked.items():
                counts[name] += torch.bincount(torch.from_numpy(asked.targets), minlength=len(counts[name]))
        return counts

    def asked_share(self, units: Units, seed: int, limit: int = 256) -> float:
        """How many tokens of a stream are asked, as a share of all: of the head that asks most, in up to `limit`
        examples."""
        chosen = generator(seed, Purpose.COUNTS).permutation(len(units))[:limit]
        examples = [units.example(int(index), generator(seed, Purpose.COUNT, int(index))) for index in chosen]
        shares = [
            sum(len(e.asked[head.name].targets) for e in examples) / sum(len(e.streams[head.stream]) for e in examples)
            for head in self.heads()
        ]
        return max(shares)


def find_objective(name: str) -> type[Objective]:
    """The objective class in the file `name`.py of this folder. Raises UsageError naming the nearest one."""
    return find_plugin(__name__, name, Objective, "objective")  # type: ignore[type-abstract]
