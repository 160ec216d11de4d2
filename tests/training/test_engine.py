"""The one thing that training does to a model: an exact update, or none."""

import copy
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_recipe import bits, corpus_of, model_of, objective_of, sentences
from torch import Tensor, nn

from glassformer.data.batch import Batch, collate
from glassformer.objectives import Loss, Objective
from glassformer.training.checkpoints import flatten_optimizer
from glassformer.training.engine import Engine, threads
from glassformer.training.optimisers import OptimizerConfig

TEXTS = sentences()
OBJECTIVE = objective_of(TEXTS, mask_rate=0.4)
UNITS = OBJECTIVE.dataset(corpus_of(TEXTS, OBJECTIVE))


def batch_of(dataset: Sequence[int]) -> Batch:
    examples = [[UNITS.example(u, np.random.default_rng((1, u)))] for u in dataset]
    return collate(examples, OBJECTIVE.tokenizer.pad_id)


def engine_of(precision: str = "32-true", clip: float | None = None, dropout: float = 0.0, **optimizer: Any) -> Engine:
    model = model_of(OBJECTIVE, dropout=dropout, attention_dropout=dropout)
    config = OptimizerConfig(**optimizer)
    objective = copy.copy(OBJECTIVE)
    return Engine(model, objective, config, device="cpu", precision=precision, compiled=False, clip=clip)


def weights(engine: Engine) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in engine.model.named_parameters()}


def everything(engine: Engine) -> dict[str, Any]:
    """Weights and optimiser state, to the bit."""
    tensors, settings = flatten_optimizer(engine.optimizers, engine.model)
    rates = [(group.pop("options")["weight_decay"]) for group in settings["optimizers"][0]["groups"]]
    return {name: bits(t) for name, t in (weights(engine) | tensors).items()} | {"decay": rates}


class Gradients:
    """Stands in for an optimiser and keeps the gradients that it is given."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.param_groups: list[dict[str, Any]] = []
        self.seen: dict[str, Tensor] = {}

    def step(self) -> None:
        self.seen = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.model.parameters():
            p.grad = None


def gradients(engine: Engine, batches: list[Batch]) -> tuple[float, dict[str, Tensor]]:
    """The loss of one update, and the gradients that reach the optimiser."""
    spy = Gradients(engine.model)
    engine.wrapped_optimizers = [spy]
    loss = engine.update(batches, 1.0, (1, 1)).loss
    return loss, spy.seen


def test_compiled_once_for_each_length_and_mode() -> None:
    """However many batches of mixed lengths come, and in whichever order: four fixed lengths in training and in
    evaluation are eight compilations, and the losses are those of the eager model."""
    program = Path(__file__).with_name("count_compilations.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(program.parents[1])}
    ended = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["lengths"] == [8, 16, 24, 32]
    assert found["compilations"] == 8
    assert found["compiled"] == pytest.approx(found["eager"], rel=1e-4)


RAGGED = [[0, 7, 14], [5], [6, 13, 20, 27, 3]]
"""Units of 3, 3, 3; 8; 9, 9, 9, 9 and 6 words: micro-batches that ask very different numbers of questions."""


def test_accumulation_equals_the_big_batch() -> None:
    """Loss and gradients of ragged micro-batches are those of one batch of them all, which a mean of the micro-batches'
    means is not."""
    loss, accumulated = gradients(engine_of(), [batch_of(dataset) for dataset in RAGGED])
    big_loss, big = gradients(engine_of(), [batch_of(list(chain(*RAGGED)))])
    assert loss == pytest.approx(big_loss, rel=1e-6)
    assert accumulated.keys() == big.keys()
    for name, gradient in big.items():
        torch.testing.assert_close(accumulated[name], gradient, rtol=1e-5, atol=1e-7)

    parts = [gradients(engine_of(), [batch_of(dataset)]) for dataset in RAGGED]
    assert abs(sum(part for part, _ in parts) / len(parts) - big_loss) > 1e-3
    name = "encoder.embeddings.token.weight"
    mean_of_means = torch.stack([part[name] for _, part in parts]).mean(0)
    assert (mean_of_means - big[name]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_accumulation_leads_to_the_same_weights(name: str) -> None:
    """After five updates the weights still agree. (A large epsilon: Adam divides rounding errors by themselves.)"""
    accumulated, big = (engine_of(name=name, epsilon=1e-2, learning_rate=0.03) for _ in range(2))
    for step in range(1, 6):
        groups = [[(unit + 3 * step) % len(UNITS) for unit in dataset] for dataset in RAGGED]
        accumulated.update([batch_of(dataset) for dataset in groups], 1.0, (1, step))
        big.update([batch_of(list(chain(*groups)))], 1.0, (1, step))
    moved = False
    start = weights(engine_of())
    for parameter, value in weights(big).items():
        # Muon computes in bfloat16, which lifts rounding errors of the gradients (1e-7, see above) to thousandths: with
        # ten other learning rates and sums the greatest difference was 0.0003 to 0.0029, whatever made the gradients.
        tolerance = 2e-5 if name == "adamw" else 4e-3
        torch.testing.assert_close(weights(accumulated)[parameter], value, rtol=1e-4, atol=tolerance)
        moved |= bool((value - start[parameter]).abs().max() > 1e-2)
    assert moved


def test_the_loss_is_the_mean_over_what_is_asked() -> None:
    """Cross-entropy by hand over all asked positions of all micro-batches."""
    engine = engine_of()
    batches = [batch_of(dataset) for dataset in RAGGED]
    total, count = 0.0, 0
    for batch in batches:
        with torch.no_grad():
            scores = engine.model(batch)["masked_lm"].log_softmax(-1)
        targets = batch.targets["masked_lm"].values
        total -= float(scores[torch.arange(len(targets)), targets].sum())
        count += len(targets)
    assert engine.update(batches, 1.0, (1, 1)).loss == pytest.approx(total / count, rel=1e-6)


def norm_of(gradients: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients.values()))


def test_clipping() -> None:
    """A gradient longer than `clip` is shortened to it, direction kept; a shorter one, or none set, is left alone; the
    norm that is reported is the one before."""
    batches = [batch_of([0, 1, 2])]
    _, free = gradients(engine_of(), batches)
    norm = norm_of(free)
    engine = engine_of(clip=norm / 10)
    spy = Gradients(engine.model)
    engine.wrapped_optimizers = [spy]
    assert engine.update(batches, 1.0, (1, 1)).gradient_norm == pytest.approx(norm, rel=1e-5)
    assert norm_of(spy.seen) == pytest.approx(norm / 10, rel=1e-4)
    for name, gradient in free.items():
        torch.testing.assert_close(spy.seen[name] * 10, gradient, rtol=1e-3, atol=1e-6)
    _, unchanged = gradients(engine_of(clip=norm * 10), batches)
    assert all(torch.equal(unchanged[name], free[name]) for name in free)


def loss_times(factor: float) -> Callable[[Engine], None]:
    """Makes an engine's losses wrong."""

    def spoil(engine: Engine) -> None:
        right = Objective.loss

        def wrong(logits: dict[str, Tensor], batch: Batch) -> dict[str, Loss]:
            losses = right(engine.objective, logits, batch)
            return {name: Loss(part.total * factor, part.count) for name, part in losses.items()}

        engine.objective.loss = wrong  # type: ignore[method-assign]

    return spoil


def gradient_becomes(value: float) -> Callable[[Engine], None]:
    """Makes one entry of one gradient wrong, under a loss that looks fine."""

    def spoil(engine: Engine) -> None:
        def hook(gradient: Tensor) -> Tensor:
            return gradient.index_fill(0, torch.tensor([0]), value)

        engine.model.get_parameter("encoder.blocks.1.feed_forward.expand.bias").register_hook(hook)

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        loss_times(math.nan),
        loss_times(math.inf),
        loss_times(-math.inf),
        gradient_becomes(math.nan),
        gradient_becomes(math.inf),
    ],
    ids=["loss nan", "loss inf", "loss -inf", "gradient nan", "gradient inf"],
)
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_is_not_finite_changes_nothing(
    spoil: Callable[[Engine], None], clip: float | None, optimizer: str
) -> None:
    """Weights and optimiser state stay the same to the bit, and the update says so; a good update then goes on."""
    engine = engine_of(clip=clip, name=optimizer)
    for step in (1, 2):
        assert engine.update([batch_of([0, 1, 2])], 1.0, (1, step)).applied
    before = everything(engine)
    good = copy.copy(engine.objective)
    hooks = engine.model.get_parameter("encoder.blocks.1.feed_forward.expand.bias")
    spoil(engine)
    update = engine.update([batch_of([3, 4]), batch_of([5])], 1.0, (1, 3))
    assert not update.applied
    assert not (math.isfinite(update.loss) and math.isfinite(update.gradient_norm))
    assert everything(engine) == before
    assert all(p.grad is None for p in engine.model.parameters())

    engine.objective = good
    hooks._backward_hooks = None
    assert engine.update([batch_of([3, 4])], 1.0, (1, 4)).applied
    assert everything(engine) != before
    assert all(p.isfinite().all() for p in engine.model.parameters())


def test_the_factor_multiplies_every_peak() -> None:
    """AdamW's groups and Muon's run at peak times factor, and a factor of 0 changes no weight."""
    engine = engine_of(name="muon", learning_rate=0.02, muon_learning_rate=0.3)
    start = weights(engine)
    engine.update([batch_of([0, 1])], 0.0, (1, 1))
    assert all(torch.equal(value, start[name]) for name, value in weights(engine).items())
    engine.update([batch_of([0, 1])], 0.25, (1, 2))
    assert [group["lr"] for o in engine.optimizers for group in o.param_groups] == [0.005, 0.005, 0.075]


def test_a_step_in_bf16_keeps_master_weights_in_float32() -> None:
    """Mixed precision through Fabric: matrices multiply in bfloat16, the loss is near float32's but not equal, it
    falls, and weights and optimiser state stay float32."""
    engine, full = engine_of("bf16-mixed", learning_rate=0.01), engine_of(learning_rate=0.01)
    seen: list[torch.dtype] = []
    module = engine.model.get_submodule("encoder.blocks.0.feed_forward.expand")
    module.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    batches = [batch_of([0, 1, 2, 3]), batch_of([4, 5])]
    updates = [engine.update(batches, 1.0, (1, step)) for step in range(1, 11)]
    assert set(seen) == {torch.bfloat16}
    expected = full.update(batches, 1.0, (1, 1)).loss
    assert updates[0].loss == pytest.approx(expected, rel=0.02)
    assert updates[0].loss != expected
    assert all(update.applied for update in updates)
    assert updates[-1].loss < updates[0].loss - 0.1
    assert {p.dtype for p in engine.model.parameters()} == {torch.float32}
    tensors, _ = flatten_optimizer(engine.optimizers, engine.model)
    assert {t.dtype for t in tensors.values()} == {torch.float32}


def test_mixed_precision_leaves_the_logits_as_they_are() -> None:
    """In float32 they would be written out a second time; sums of losses are in float32 all the same."""
    engine, batch = engine_of("bf16-mixed"), batch_of([0, 1])
    logits = engine.forward(batch)
    assert {values.dtype for values in logits.values()} == {torch.bfloat16}
    assert {loss.total.dtype for loss in engine.objective.loss(logits, batch).values()} == {torch.float32}


def test_dropout_is_a_function_of_seed_and_step() -> None:
    """The same (seed, step) gives the same loss to the bit, whatever was drawn before; another seed, step or
    micro-batch gives another one."""

    def loss(randomness: tuple[int, int], batches: list[Batch] | None = None) -> float:
        torch.rand(7)  # what somebody else draws must not matter
        return engine_of(dropout=0.3).update(batches or [batch_of([0, 1, 2])], 1.0, randomness).loss

    assert loss((1, 5)) == loss((1, 5))
    assert len({loss((1, 5)), loss((1, 6)), loss((2, 5))}) == 3
    one = batch_of([3, 4])
    assert loss((1, 5), [one, one]) != pytest.approx(loss((1, 5), [one]), rel=1e-6)


def test_without_dropout_the_seed_does_not_matter() -> None:
    """The other side: what differs above is dropout."""
    losses = {engine_of().update([batch_of([0, 1, 2])], 1.0, (1, step)).loss for step in (1, 2)}
    assert len(losses) == 1


def test_the_number_of_threads_is_put_back() -> None:
    """After the block, also after an error; None leaves it alone."""
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="inside"), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError("inside")
    assert torch.get_num_threads() == before
    with threads(None):
        assert torch.get_num_threads() == before
