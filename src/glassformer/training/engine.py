"""A model on its device with its optimisers, and the one thing that training does to it: an exact update."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision.amp import MixedPrecision
from torch import nn

from glassformer.data.batch import Batch
from glassformer.machine import bound_kernel_caches, keep_freed_memory
from glassformer.model.kinds import Model
from glassformer.objectives import Objective
from glassformer.randomness import Purpose, seeds
from glassformer.training.optimisers import OptimizerConfig, build_optimizers
from glassformer.training.places import Rates
from glassformer.training.processes import Processes

logging.getLogger("lightning_fabric").setLevel(logging.ERROR)


class Update(NamedTuple):
    """What one step did. `loss` is the step's own, before the update."""

    loss: float
    gradient_norm: float
    applied: bool
    """False when loss or gradient was not finite; nothing was changed then."""
    asked: int
    """How much was asked; a step in which nothing was has the loss 0, which says nothing."""
    tokens: int
    """Those of all its micro-batches."""


class LogitsAsTheyAre(MixedPrecision):
    """Mixed precision that leaves a model's logits in bfloat16. Fabric would write them out in float32, which for a
    large vocabulary takes longer than the layers of a small model; the loss is computed in float32 anyway."""

    def convert_output(self, data: Any) -> Any:
        """The logits."""
        return data


class Engine:
    """One model, ready to be trained on one device.

    `model` stays the eager module, on which hooks fire; `forward` is what runs: wrapped by Fabric for device and
    precision, and compiled if asked for. `processes` are those that train it together: this one alone, until others
    are handed in.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        optimizer: OptimizerConfig,
        *,
        device: str,
        precision: str,
        compiled: bool,
        clip: float | None,
        rates: Rates | None = None,
    ) -> None:
        bound_kernel_caches()
        keep_freed_memory()
        how: Any = {"precision": precision}
        if precision == "bf16-mixed":
            how = {"plugins": LogitsAsTheyAre("bf16-mixed", device)}
        self.fabric = Fabric(accelerator=device, devices=1, **how)
        self.objective = objective
        self.loss_weights = objective.loss_weights()
        self.clip = clip
        self.processes = Processes()
        self.model = model
        self.optimizers = build_optimizers(
            model, optimizer, torch.float32 if precision == "32-true" else torch.bfloat16, rates
        )
        with warnings.catch_warnings():
            # Fabric reads a deprecated attribute of torch while it wraps.
            warnings.simplefilter("ignore", category=FutureWarning)
            callable_model: Any = compiled_by_shape(model) if compiled else model
            self.forward, *self.wrapped_optimizers = self.fabric.setup(callable_model, *self.optimizers)

    def update(
        self,
        batches: Sequence[Batch],
        factor: float,
        randomness: tuple[int, int],
        watch: Callable[[Model], None] = lambda model: None,
    ) -> Update:
        """One optimiser step on several micro-batches, exactly as on one big batch of them all, those of the other
        processes too; `batches` are the own ones, perhaps none.

        The loss of each head is its sum over all micro-batches divided by its count over all micro-batches, which is
        known beforehand: a mean of means would weigh short micro-batches too much. Heads are added by their weights,
        and in a mixture by the share of the micro-batches that each is asked in.
        `factor` multiplies every peak learning rate; `randomness` (seed, step) seeds dropout, each micro-batch
        otherwise, whichever process it is computed in. `watch` is shown the model once its gradients are there, before
        they are clipped and applied.
        """
        counts, times, number_of_batches, tokens = self._counted(batches)
        weights = {name: self.loss_weights[name] * times[name] / number_of_batches for name in self.loss_weights}
        total = torch.zeros((), device=self.fabric.device)
        for place, batch in enumerate(batches):
            batch = self.fabric.to_device(batch)
            seed_dropout(randomness, self.processes.number(place))
            losses = self.objective.loss(self.forward(batch), batch)
            means = [weights[name] * part.total / max(1, counts[name]) for name, part in losses.items()]
            loss = torch.stack(means).sum()
            self.fabric.backward(loss)
            total += loss.detach()
        if self.processes.world > 1:
            sum_gradients(self.model, self.processes)
        watch(self.model)
        update = self._step(float(self.processes.sum(total)), factor)
        return update._replace(asked=sum(counts.values()), tokens=tokens)

    def _counted(self, batches: Sequence[Batch]) -> tuple[dict[str, int], dict[str, int], int, int]:
        """Over all processes: how much each head is asked, in how many micro-batches; micro-batches and tokens."""
        heads = list(self.loss_weights)
        numbers = torch.zeros(2, len(heads) + 1, dtype=torch.int64)
        for batch in batches:
            for name, asked in self.objective.counts(batch).items():
                numbers[:, heads.index(name)] += torch.tensor([asked, 1])
            numbers[:, -1] += torch.tensor([batch.tokens, 1])
        (*counts, tokens), (*times, number_of_batches) = self.processes.sum(numbers).tolist()
        return dict(zip(heads, counts, strict=True)), dict(zip(heads, times, strict=True)), number_of_batches, tokens

    def _step(self, loss: float, factor: float) -> Update:
        """Clip, check, apply. A loss or gradient that is not finite, in any process, leaves everything as it was."""
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.clip or math.inf))
        finite = not self.processes.any(not (math.isfinite(loss) and math.isfinite(norm)))
        for optimizer in self.wrapped_optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            if finite:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return Update(loss, norm, finite, asked=0, tokens=0)


def compiled_by_shape(model: nn.Module) -> Any:
    """The model compiled anew for each fixed shape. torch would give up after eight of them."""
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    return torch.compile(model, dynamic=False)


def sum_gradients(model: nn.Module, processes: Processes) -> None:
    """Every parameter's gradient becomes its sum over all processes. In which no process has one (a head that nobody
    was asked) it stays without, so that the optimiser leaves it alone; where only some have, the others add nothing.

    All gradients travel as one vector, in float32 or better. (DistributedDataParallel would send them while the
    backward pass still runs, which is faster with large models; but it takes means, and refuses heads without one.)
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    has = processes.sum(torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int64))
    present = [parameter for parameter, times in zip(parameters, has.tolist(), strict=True) if times]
    if not present:
        return
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in present]
    wide = [part.flatten().to(torch.promote_types(part.dtype, torch.float32)) for part in parts]
    summed = processes.sum(torch.cat(wide)).split([part.numel() for part in parts])
    for parameter, values in zip(present, summed, strict=True):
        parameter.grad = values.view_as(parameter).to(parameter.dtype)


def seed_dropout(seed_and_step: tuple[int, int], micro_batch: int) -> None:
    """Seed torch's default generators for one forward pass."""
    seed, step = seed_and_step
    drawn = seeds(seed, Purpose.DROPOUT, (step, micro_batch, 0)).generate_state(1, np.uint64)
    torch.manual_seed(int(drawn[0] >> 1))


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Run with this many CPU threads, and put the old number back."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
