"""Which units come at which step: a pure function of (seed, epoch), so that a resumed run goes on exactly."""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int64

from glassformer.data.batch import Batch, BatchConfig, Row, Shapes, collate, plan
from glassformer.objectives import Dataset, Objective
from glassformer.randomness import Purpose, generator


class TrainingOrder:
    """The endless sequence of training batches: epoch after epoch, each in its own order with its own corruption.

    A step takes `per_step` batches (micro-batches, over all processes). The corruption of unit i in epoch e comes from
    a generator of its own (see `randomness`).
    """

    def __init__(
        self,
        dataset: Dataset,
        objective: Objective,
        config: BatchConfig,
        seed: int,
        per_step: int = 1,
        shapes: Shapes | None = None,
    ) -> None:
        self.dataset = dataset
        self.objective = objective
        self.config = config
        self.seed = seed
        self.per_step = per_step
        self.shapes = shapes

    def epoch(self, epoch: int) -> list[list[list[Row]]]:
        """The steps of one epoch, each a list of micro-batches; the last may have fewer."""
        rng = generator(self.seed, Purpose.ORDER, epoch)
        batches = self._one_pass(rng) if self.dataset.members is None else self._mixed(self.dataset.members, rng)
        return [batches[i : i + self.per_step] for i in range(0, len(batches), self.per_step)]

    def _one_pass(self, rng: np.random.Generator, among: Int64[np.ndarray, "n"] | None = None) -> list[list[Row]]:
        """The batches of one pass over all units, or over those `among` them."""
        if among is None:
            return plan(self.dataset.lengths, self.config, self.objective.row_length, rng)
        batches = plan(self.dataset.lengths[among], self.config, self.objective.row_length, rng)
        return [[[int(among[unit]) for unit in row] for row in rows] for rows in batches]

    def _mixed(self, members: Int64[np.ndarray, "units"], rng: np.random.Generator) -> list[list[Row]]:
        """As many batches as one pass over every member's units has, each of one member, the members in turn by their
        shares (see `batches_each`). A member with more than a pass begins another one, whose unit numbers are higher by
        the number of all units, so that its corruption is a new one."""
        own = [np.flatnonzero(members == member) for member in range(len(self.dataset.shares))]
        passes = [self._one_pass(rng, among) for among in own]
        number = sum(map(len, passes))
        turns = in_turn(batches_each(self.dataset.shares, number, rng.random()), number)
        mixed: list[list[Row]] = []
        waiting = [deque(batches) for batches in passes]
        begun = [1] * len(own)
        for member in turns:
            if not waiting[member]:
                offset = begun[member] * len(self.dataset)
                again = self._one_pass(rng, own[member])
                waiting[member].extend([[unit + offset for unit in row] for row in rows] for rows in again)
                begun[member] += 1
            mixed.append(waiting[member].popleft())
        return mixed

    def length(self, row: Row) -> int:
        """Tokens of the units that share a row."""
        return int(self.dataset.lengths[np.asarray(row) % len(self.dataset)].sum())

    def steps_in_epoch(self, epoch: int = 0) -> int:
        """Optimiser steps of one pass over the units (a token budget makes epochs differ by a few)."""
        return len(self.epoch(epoch))

    def steps(self, start: int = 0) -> Iterator[tuple[int, list[list[Row]]]]:
        """(epoch, micro-batches as unit numbers) of step `start` + 1, `start` + 2, and so on without end."""
        passed, epoch = 0, 0
        while True:
            steps = self.epoch(epoch)
            for micro_batches in steps[max(0, start - passed) :]:
                yield epoch, micro_batches
            passed += len(steps)
            epoch += 1

    def batch(self, epoch: int, rows: list[Row]) -> Batch:
        """The tensors of one micro-batch."""
        n = len(self.dataset)
        examples = [
            [self.dataset.example(u % n, generator(self.seed, Purpose.CORRUPTION, epoch, u)) for u in row]
            for row in rows
        ]
        return collate(examples, self.objective.pad_id, self.shapes)


def batches_each(shares: Sequence[float], number: int, start: float) -> list[float]:
    """How many of an epoch's `number` batches each member has: its share, rounded up or down by a `start` from 0 to 1.
    For one that is drawn evenly in each epoch (systematic sampling), the mean over many epochs is the share itself,
    also where that is less than a batch."""
    due = np.cumsum(shares)
    return np.diff(np.ceil(due / due[-1] * number - start), prepend=0).tolist()


def in_turn(shares: Sequence[float], number: int) -> list[int]:
    """Which member each of `number` batches is of: as evenly spread as can be, at any point each member has had its
    share to within one batch (largest deficit first)."""
    total, had, turns = sum(shares), [0] * len(shares), list[int]()
    for n in range(1, number + 1):
        deficits = [share / total * n - taken for share, taken in zip(shares, had, strict=True)]
        member = max(range(len(shares)), key=lambda m: (deficits[m], -m))
        had[member] += 1
        turns.append(member)
    return turns
