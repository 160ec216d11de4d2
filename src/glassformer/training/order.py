"""Which units come at which step: a pure function of (seed, epoch), so that a resumed run goes on exactly."""

from collections.abc import Iterator

from glassformer.data.batch import Batch, BatchConfig, Row, Shapes, collate, plan
from glassformer.objectives import Objective, Units
from glassformer.randomness import Purpose, generator


class TrainingOrder:
    """The endless sequence of training batches: epoch after epoch, each in its own order with its own corruption.

    A step takes `per_step` batches (micro-batches, over all processes). The corruption of unit i in epoch e comes from
    a generator of its own (see `randomness`).
    """

    def __init__(
        self,
        units: Units,
        objective: Objective,
        config: BatchConfig,
        seed: int,
        per_step: int = 1,
        shapes: Shapes | None = None,
    ) -> None:
        self.units = units
        self.objective = objective
        self.config = config
        self.seed = seed
        self.per_step = per_step
        self.shapes = shapes

    def epoch(self, epoch: int) -> list[list[list[Row]]]:
        """The steps of one epoch, each a list of micro-batches; the last may have fewer."""
        rng = generator(self.seed, Purpose.ORDER, epoch)
        batches = plan(self.units.lengths, self.config, self.objective.max_length, rng)
        return [batches[i : i + self.per_step] for i in range(0, len(batches), self.per_step)]

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
        examples = [
            [self.units.example(u, generator(self.seed, Purpose.CORRUPTION, epoch, u)) for u in row] for row in rows
        ]
        return collate(examples, self.objective.tokenizer.pad_id, self.shapes)
