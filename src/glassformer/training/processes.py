"""The processes that train one model together, and the little that one must ask of the others.

Whoever works alone asks the same questions and gets his own answers back: nothing else in training knows how many
processes there are. Everything is summed before it is divided, and every decision (was the step finite, is it time to
stop) is made together, so that processes can never disagree and wait for each other for ever.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from glassformer.errors import GlassformerError

Item = TypeVar("Item")

PATIENCE = timedelta(hours=2)
"""How long a process waits for another that is alive and silent, such as the first while it saves or draws. A process
that has died is noticed at once."""


class LostProcess(GlassformerError):
    """Another process has ended, or its connection has: nothing can be summed any more."""


class Processes:
    """One process alone."""

    rank = 0
    world = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, draws and speaks; exactly one is."""
        return self.rank == 0

    def own(self, items: Sequence[Item]) -> Sequence[Item]:
        """Those of `items` that are this process's work: item n is that of process n % world."""
        return items[self.rank :: self.world]

    def number(self, place: int) -> int:
        """The place among all items of what stands at `place` among the own ones."""
        return self.rank + place * self.world

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, of each number by itself; in place, and the same bits everywhere."""
        return values

    def any(self, value: bool) -> bool:
        """Whether it holds in any process."""
        return value

    def copied(self, values: Tensor) -> Tensor:
        """Those of the first process; in place."""
        return values

    def told(self, value: Any, by: int = 0) -> Any:
        """What the first process says, or another one; the others hand in anything. Plain values that JSON knows."""
        return value

    def told_by_all(self, value: Any) -> list[Any]:
        """What each process says, in their order."""
        return [self.told(value, rank) for rank in range(self.world)]

    def barrier(self) -> None:
        """Nobody goes on before all have come here."""


class Several(Processes):
    """One of several processes, by torch's process group. Raises LostProcess where another one has ended."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.world = dist.get_world_size()

    def sum(self, values: Tensor) -> Tensor:
        with _readable_loss_of_process():
            dist.all_reduce(values)
        return values

    def copied(self, values: Tensor) -> Tensor:
        with _readable_loss_of_process():
            dist.broadcast(values, src=0)
        return values

    def any(self, value: bool) -> bool:
        return bool(self.sum(torch.tensor(int(value))))

    def told(self, value: Any, by: int = 0) -> Any:
        text = json.dumps(value).encode() if self.rank == by else b""
        length = int(self.sum(torch.tensor(len(text))))  # the others add nothing
        content = torch.frombuffer(bytearray(text or length), dtype=torch.uint8)
        with _readable_loss_of_process():
            dist.broadcast(content, src=by)
        return json.loads(content.numpy().tobytes())

    def barrier(self) -> None:
        self.any(False)


@contextmanager
def _readable_loss_of_process() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo and NCCL raise where a connection ends
        raise LostProcess(
            f"another of the processes that train together has ended ({str(error).splitlines()[0][:200]})",
            "what it said stands above; everything up to the last checkpoint is saved, and --resume goes on from there",
        ) from error


@contextmanager
def connected(**how: Any) -> Iterator[Processes]:
    """Join the other processes; `how` they find each other is what torch's init_process_group takes beside the backend
    (nothing: the environment's RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT)."""
    with _readable_loss_of_process():
        dist.init_process_group("gloo", timeout=PATIENCE, **how)
    try:
        yield Several()
    finally:
        dist.destroy_process_group()


def started_together() -> tuple[int, int]:
    """(rank, world) where torchrun, or a scheduler as it does, has started this process beside others; (0, 1) else."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
