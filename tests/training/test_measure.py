"""Choices by measurement: the arithmetic, and that measuring changes nothing."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_recipe
import torch
from tiny_recipe import corpus_of, model_of, objective_of, sentences

from glassformer.data.batch import BatchConfig, Shapes
from glassformer.resolve import explain
from glassformer.training import measure
from glassformer.training.engine import Engine
from glassformer.training.evaluation import EvaluationSet
from glassformer.training.measure import (
    EVALUATIONS,
    Threads,
    Timing,
    choose_precision,
    choose_threads,
    default_precision,
    fitted,
    padded_tokens,
    product_rates,
    steps_for,
    time_evaluation,
    time_steps,
)
from glassformer.training.optimisers import OptimizerConfig
from glassformer.training.order import TrainingOrder

TEXTS = sentences(31)
OBJECTIVE = objective_of(TEXTS)
UNITS = OBJECTIVE.dataset(corpus_of(TEXTS, OBJECTIVE))


def order_of(shapes: Shapes | None = None, per_step: int = 1, **batch: Any) -> TrainingOrder:
    return TrainingOrder(UNITS, OBJECTIVE, BatchConfig(**(batch or {"size": 4})), 1, per_step, shapes)


def engine_of(precision: str = "32-true") -> Engine:
    model = model_of(OBJECTIVE)
    config = OptimizerConfig()
    return Engine(model, OBJECTIVE, config, device="cpu", precision=precision, compiled=False, clip=1.0)


@pytest.mark.parametrize(
    ("seconds", "step", "evaluation", "every", "expected"),
    [
        (60.0, 0.5, 0.0, None, (120, 6)),
        (60.0, 0.1, 0.25, None, (547, 28)),  # 21 evaluations leave 54.75 seconds
        (60.0, 0.5, 1.4, None, (108, 36)),  # a tenth, 6 seconds, pays for four
        (60.0, 0.5, 2.5, None, (100, 34)),  # a fifth, 12 seconds, pays for four
        (60.0, 0.5, 4.0, None, (96, 48)),  # a fifth pays for three
        (60.0, 0.5, 30.0, None, (1, 1)),  # even one more than the first is too much
        (60.0, 0.5, 1.0, 10, (98, 10)),  # 1 + 98 / 10 evaluations and 49 seconds of steps
        (6.0, 10.0, 60.0, 5, (1, 5)),
        (0.0, 0.5, 1.0, None, (1, 1)),
    ],
)
def test_steps_for(seconds: float, step: float, evaluation: float, every: int | None, expected: tuple) -> None:
    """What the evaluations leave, divided by a step; never less than one step."""
    assert steps_for(seconds, step, evaluation, every) == expected


@pytest.mark.parametrize("every", [None, 7, 50])
@pytest.mark.parametrize("evaluation", [0.01, 0.4, 2.0])
def test_the_budget_is_kept(evaluation: float, every: int | None) -> None:
    """Steps and all evaluations together take the minutes that were asked for, to within one of each."""
    steps, between = steps_for(180.0, 0.25, evaluation, every)
    seconds = steps * 0.25 + (1 + math.ceil(steps / between)) * evaluation
    assert 180 - 2 * (0.25 + evaluation) <= seconds <= 180 + evaluation + 0.25
    assert every is not None or math.ceil(steps / between) <= EVALUATIONS


@pytest.mark.parametrize("layout", ["grouped", "padded", "packed"])
def test_padded_tokens_are_the_size_of_the_tensors(layout: str) -> None:
    """Counted from the lengths alone, they equal rows x width of the batches that are made."""
    order = order_of(per_step=2, size=3, layout=layout)
    for step in order.epoch(0):
        batches = [order.batch(0, rows) for rows in step]
        assert padded_tokens(order, step) == sum(b.streams["encoder"].input_ids.numel() for b in batches)


def test_padded_tokens_of_one_fixed_shape() -> None:
    """With a single fixed shape every batch has it."""
    order = order_of(shapes=Shapes(4, (16,), 0.2), per_step=3)
    for step in order.epoch(0):
        batches = [order.batch(0, rows) for rows in step]
        assert padded_tokens(order, step) == sum(b.streams["encoder"].input_ids.numel() for b in batches)


def test_padded_tokens_of_several_fixed_shapes() -> None:
    """With several, each batch takes the shortest that fits."""
    order = order_of(shapes=Shapes(4, (8, 16), 0.2))
    sizes = []
    for step in order.epoch(0):
        sizes.append(order.batch(0, step[0]).streams["encoder"].input_ids.numel())
        assert padded_tokens(order, step) == sizes[-1]
    assert set(sizes) == {4 * 8, 4 * 16}


@pytest.mark.parametrize(
    ("full", "mixed", "choice"),
    [
        (0.5, 0.2, "bf16-mixed"),
        (0.5, 0.6, "32-true"),
        (0.5, 20.0, "32-true"),
        (0.5, 0.5, "32-true"),
        (0.5, 0.48, "32-true"),
        (0.5, 0.44, "bf16-mixed"),
    ],
)
def test_the_faster_precision_is_chosen(
    monkeypatch: pytest.MonkeyPatch, full: float, mixed: float, choice: str
) -> None:
    """bfloat16 only where it is clearly faster, and never where it is slower; both timings are given."""
    seconds = {"32-true": full, "bf16-mixed": mixed}
    monkeypatch.setattr(measure, "bfloat16_is_slow", lambda device: False)
    monkeypatch.setattr(measure, "time_steps", lambda engine, order, **_: Timing(seconds[engine], 0.0, 3))
    assert choose_precision(fake(lambda precision: precision), order_of()) == (choice, seconds)


@pytest.mark.parametrize(
    ("one", "four", "choice"), [(0.010, 0.004, 4), (0.010, 0.011, 1), (0.4, 0.2, 4), (0.2, 0.3, 1)]
)
def test_the_faster_number_of_threads_is_chosen(
    monkeypatch: pytest.MonkeyPatch, one: float, four: float, choice: int
) -> None:
    """By its steps; by its products where steps are long. A moment of other work in one of two timings decides nothing;
    the number that torch had is put back."""
    times, took, before = {1: one, 4: four}, [], torch.get_num_threads()

    def timed(engine: Any, order: Any, **_: Any) -> Timing:
        took.append(torch.get_num_threads())
        return Timing(times[took[-1]] * (5 if len(took) == 1 and four < 0.1 else 1), 0.0, 3)

    monkeypatch.setattr(measure, "time_steps", timed)
    monkeypatch.setattr(measure, "product_rates", lambda device: [1 / times[torch.get_num_threads()]])
    found = choose_threads(engine_of, order_of(), 4)
    assert found.number == choice and torch.get_num_threads() == before
    assert found.seconds == ({"4": four, "1": one} if four < 0.1 else {})
    assert found.products == ({} if four < 0.1 else {"4": 1 / four, "1": 1 / one})


@pytest.mark.parametrize(
    ("one", "four", "choice"),
    [
        ([10, 10, 10], [10, 10, 10], 4),  # alike: all threads
        ([10.4, 10.4, 10.4], [10, 10, 10], 4),  # less than the margin is noise
        ([10.6, 10.6, 10.6], [10, 10, 10], 1),
        ([10, 10, 10], [4, 4, 40], 1),  # the best of four threads is high; what they mostly do is not
        ([10, 10, 90], [11, 11, 1], 4),
    ],
)
def test_the_middle_product_decides_where_steps_are_long(
    monkeypatch: pytest.MonkeyPatch, one: list[float], four: list[float], choice: int
) -> None:
    rates = {1: one, 4: four}
    monkeypatch.setattr(measure, "time_steps", lambda engine, order, **_: Timing(0.2, 0.0, 3))
    monkeypatch.setattr(measure, "product_rates", lambda device: rates[torch.get_num_threads()])
    found = choose_threads(engine_of, order_of(), 4)
    assert found == Threads(choice, {}, {"4": sorted(four)[1], "1": sorted(one)[1]})


def test_rates_of_products_are_positive_and_one_is_always_measured() -> None:
    assert len(product_rates("cpu", seconds=0.0)) == 1
    assert min(product_rates("cpu", seconds=0.001)) > 0


def test_what_was_measured_is_said_in_one_line_either_way() -> None:
    recipe = tiny_recipe.recipe(Path("text.txt"), training={"threads": 2})
    by_steps = {"seconds_per_step_by_threads": {"2": 0.012, "1": 0.02}, "products_per_second_by_threads": {}}
    by_products = {"seconds_per_step_by_threads": {}, "products_per_second_by_threads": {"2": 4.25e10, "1": 2.1e10}}
    assert explain(recipe, by_steps) == ["training.threads=2 (a step in 12 ms by 2, 20 ms by 1)"]
    assert explain(recipe, by_products) == [
        "training.threads=2 (matrix products, in billions of multiplications per second: 42.5 by 2, 21.0 by 1)"
    ]


def test_one_thread_is_not_measured() -> None:
    assert choose_threads(fake(lambda: pytest.fail("built")), order_of(), 1) == Threads(1)


def fake(build: Callable[[str], Any]) -> Any:
    return build


def test_tiny_steps_are_not_tried_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step is overhead, not arithmetic, bfloat16 is not even built."""
    built: list[str] = []
    monkeypatch.setattr(measure, "time_steps", lambda engine, order, **_: Timing(0.001, 0.0, 3))
    assert choose_precision(fake(built.append), order_of()) == ("32-true", {"32-true": 0.001})
    assert built == ["32-true"]


@pytest.mark.parametrize("slow", [True, False])
def test_a_product_decides_whether_bf16_is_tried(monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    """Where one product takes longer in bfloat16, no training step is tried in it: that alone took a minute."""
    monkeypatch.setattr(measure, "TINY_STEP", 0.0)
    speeds = {torch.bfloat16: 1e9 if slow else 1e11, torch.float32: 5e10}
    monkeypatch.setattr(measure, "products_per_second", lambda device, dtype=torch.float32: speeds[dtype])
    monkeypatch.setattr(measure, "time_steps", lambda engine, order, **_: Timing(0.1, 0.0, 3))
    built: list[str] = []

    def build(precision: str) -> Engine:
        built.append(precision)
        return engine_of()

    choose_precision(build, order_of())
    assert ("bf16-mixed" in built) != slow


def test_products_per_second_is_a_real_speed() -> None:
    """Between a pocket calculator and a supercomputer."""
    assert 1e7 < measure.products_per_second("cpu") < 1e15


def test_a_hopeless_precision_costs_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bfloat16 is thirty times slower, its first step is its last."""
    monkeypatch.setattr(measure, "TINY_STEP", 0.0)
    monkeypatch.setattr(measure, "bfloat16_is_slow", lambda device: False)
    now, steps = [0.0], {"32-true": 0, "bf16-mixed": 0}
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])

    def build(precision: str) -> Engine:
        engine = engine_of()

        def update(*_: Any) -> None:
            now[0] += {"32-true": 0.2, "bf16-mixed": 6.0}[precision]
            steps[precision] += 1

        monkeypatch.setattr(engine, "update", update)
        return engine

    choice, seconds = choose_precision(build, order_of())
    assert (choice, seconds["bf16-mixed"], steps["bf16-mixed"]) == ("32-true", pytest.approx(6.0), 1)


def test_real_timings_choose_one_of_the_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not faked: both engines run and one of them is chosen by its time."""
    monkeypatch.setattr(measure, "TINY_STEP", 0.0)
    monkeypatch.setattr(measure, "bfloat16_is_slow", lambda device: False)
    monkeypatch.setattr(measure, "time_steps", lambda engine, order, **_: time_steps(engine, order, 0.1, 5))
    choice, seconds = choose_precision(engine_of, order_of())
    assert set(seconds) == {"32-true", "bf16-mixed"}
    assert (choice == "bf16-mixed") == (seconds["bf16-mixed"] * measure.WORTH_IT < seconds["32-true"])


@pytest.mark.parametrize("fixed", [0.0, 0.02, 1.0])
def test_time_steps_gives_the_mean_step_of_an_epoch(monkeypatch: pytest.MonkeyPatch, fixed: float) -> None:
    """On a clock where a step takes a time of its own and a millisecond for each padded token, it comes out exactly."""
    order = order_of()
    now = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])

    def update(batches: Any, factor: float, randomness: Any) -> None:
        now[0] += fixed + 0.001 * sum(b.streams["encoder"].input_ids.numel() for b in batches)

    engine = engine_of()
    monkeypatch.setattr(engine, "update", update)
    timing = time_steps(engine, order, seconds=0.2)
    steps = order.epoch(0)
    expected = fixed + 0.001 * sum(padded_tokens(order, step) for step in steps) / len(steps)
    assert timing.seconds == pytest.approx(expected)
    assert timing.spread == pytest.approx(0.0, abs=1e-9)
    assert 3 <= timing.steps < 60


def test_neither_a_step_nor_a_token_takes_less_than_no_time() -> None:
    """Whatever the few steps say that were timed: the mean of them is kept, and what would be negative is 0."""
    assert fitted([100, 200, 300], [0.3, 0.2, 0.1]) == pytest.approx((0.2, 0.0))
    assert fitted([100, 200, 300], [0.01, 0.2, 0.39]) == pytest.approx((0.0, 0.001))
    assert fitted([100, 100, 100], [0.1, 0.2, 0.3]) == pytest.approx((0.2, 0.0))


def test_timing_changes_no_weight() -> None:
    """The steps that are timed have a learning rate of 0, and the model is left in training mode."""
    engine = engine_of()
    before = {name: value.clone() for name, value in engine.model.state_dict().items()}
    timing = time_steps(engine, order_of(), seconds=0.05)
    assert time_evaluation(engine, EvaluationSet(UNITS, OBJECTIVE, BatchConfig(size=8))) > 0
    assert timing.seconds > 0
    assert all(torch.equal(value, before[name]) for name, value in engine.model.state_dict().items())
    assert engine.model.training


def test_what_needs_no_measuring() -> None:
    """A CPU must be measured; Apple's GPU takes float32."""
    assert default_precision("cpu") is None
    assert default_precision("mps") == "32-true"
