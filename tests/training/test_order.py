"""The order of training: a pure function of (seed, epoch), so that a resumed run goes on exactly."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from tiny_recipe import corpus_of, objective_of, sentences

from glassformer.data.batch import BatchConfig
from glassformer.training.order import TrainingOrder

LAYOUTS: list[dict[str, Any]] = [
    {"size": 5, "layout": "grouped"},
    {"size": 5, "layout": "padded"},
    {"size": 2, "layout": "packed"},
    {"tokens": 29, "layout": "grouped"},
]


def order_of(seed: int = 1, per_step: int = 1, **batch: Any) -> TrainingOrder:
    texts = sentences(43)
    objective = objective_of(texts)
    dataset = objective.dataset(corpus_of(texts, objective))
    return TrainingOrder(dataset, objective, BatchConfig(**(batch or {"size": 5})), seed, per_step)


def units_in(steps: list[list[list[list[int]]]]) -> list[int]:
    return [unit for step in steps for rows in step for row in rows for unit in row]


@pytest.mark.parametrize("batch", LAYOUTS)
@pytest.mark.parametrize("per_step", [1, 3])
def test_each_epoch_contains_every_unit_once(batch: dict[str, Any], per_step: int) -> None:
    """None is left out and none comes twice, in any layout, in any epoch."""
    order = order_of(per_step=per_step, **batch)
    for epoch in range(3):
        assert sorted(units_in(order.epoch(epoch))) == list(range(len(order.dataset)))


@pytest.mark.parametrize("batch", LAYOUTS)
def test_the_order_is_a_pure_function_of_seed_and_epoch(batch: dict[str, Any]) -> None:
    """Asked again, asked after other epochs, asked of another object: the same. Another epoch or seed: another."""
    order = order_of(seed=7, **batch)
    first = order.epoch(2)
    order.epoch(5)
    assert order.epoch(2) == first == order_of(seed=7, **batch).epoch(2)
    assert order.epoch(3) != first
    assert order_of(seed=8, **batch).epoch(2) != first


@pytest.mark.parametrize("batch", LAYOUTS)
@pytest.mark.parametrize("per_step", [1, 2])
def test_starting_later_equals_skipping(batch: dict[str, Any], per_step: int) -> None:
    """steps(start=n) gives what is left after n steps, at the edges of epochs too."""
    order = order_of(per_step=per_step, **batch)
    edge = order.steps_in_epoch(0)
    whole = list(itertools.islice(order.steps(), 4 * edge))
    for start in (0, 1, edge - 1, edge, edge + 1, 2 * edge + 1):
        assert list(itertools.islice(order.steps(start), edge)) == whole[start : start + edge]


def test_steps_go_from_epoch_to_epoch() -> None:
    """The epoch's number is right, and each epoch is exactly `epoch(n)`."""
    order = order_of(per_step=2)
    taken = list(itertools.islice(order.steps(), order.steps_in_epoch(0) + order.steps_in_epoch(1)))
    for epoch in (0, 1):
        assert [step for number, step in taken if number == epoch] == order.epoch(epoch)


def test_a_step_takes_its_micro_batches() -> None:
    """43 units, 5 to a batch, 4 batches to a step: 9 batches in steps of 4, 4 and 1."""
    assert [len(step) for step in order_of(per_step=4).epoch(0)] == [4, 4, 1]


def test_corruption_depends_on_seed_epoch_and_unit_only() -> None:
    """A unit is hidden alike wherever it lies in a batch, and otherwise in the next epoch and for another seed."""
    order = order_of()
    alone = order.batch(3, [[17]])
    among = order.batch(3, [[2], [17], [40]])
    n = alone.streams["encoder"].input_ids.shape[1]
    assert torch.equal(alone.streams["encoder"].input_ids[0], among.streams["encoder"].input_ids[1, :n])

    def everything(order: TrainingOrder, epoch: int) -> torch.Tensor:
        return order.batch(epoch, [[unit] for unit in range(len(order.dataset))]).streams["encoder"].input_ids

    assert torch.equal(everything(order, 0), everything(order_of(), 0))
    assert not torch.equal(everything(order, 0), everything(order, 1))
    assert not torch.equal(everything(order, 0), everything(order_of(seed=2), 0))


def test_training_does_not_disturb_numpys_own_generator() -> None:
    """No draw comes from global state, so that nothing else can change the order."""
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    order = order_of()
    order.batch(0, order.epoch(0)[0][0])
    assert np.random.random() == expected
