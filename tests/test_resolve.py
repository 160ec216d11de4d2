"""Settling a recipe: nothing is left open, every measured choice is written down, and measuring changes nothing."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipe import recipe, sentences, text_file

from glassformer import resolve as resolve_module
from glassformer.assemble import Parts, assemble
from glassformer.build import engine_for, fixed_shapes, training_order
from glassformer.errors import UsageError
from glassformer.recipe import Recipe
from glassformer.resolve import AFTERWARDS, WATCHING, resolve
from glassformer.training import measure
from glassformer.training.measure import EVALUATIONS, Timing
from glassformer.training.trainer import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")

OPEN: dict[str, Any] = {
    **dict.fromkeys(("steps", "evaluate_every", "checkpoint_every", "log_every")),
    **dict.fromkeys(("device", "precision", "compile", "threads"), "auto"),
}


def silence(text: str) -> None:
    """Nobody listens."""


def parts_of(text: Path, **training: Any) -> Parts:
    """Parts of a recipe of which everything is open but what `training` says."""
    return assemble(recipe(text, training=OPEN | training))


def fake_timings(monkeypatch: pytest.MonkeyPatch, seconds: float, evaluation: float = 0.0) -> None:
    for module in (resolve_module, measure):
        monkeypatch.setattr(module, "time_steps", lambda *_, **__: Timing(seconds, 0.0, 3))
    monkeypatch.setattr(resolve_module, "time_evaluation", lambda *_: evaluation)


@pytest.mark.parametrize("length", [{"steps": 60}, {"epochs": 3}, {"minutes": 0.01}], ids=str)
def test_nothing_is_left_open(text: Path, length: dict[str, Any]) -> None:
    """No `auto`, no interval, no length but steps; the rest of the recipe is untouched."""
    parts = parts_of(text, **length)
    resolved, _ = resolve(parts, silence)
    training = resolved.training
    assert "auto" not in training.model_dump().values()
    assert (training.epochs, training.minutes) == (None, None)
    for name in ("steps", "evaluate_every", "checkpoint_every", "log_every", "threads"):
        assert type(getattr(training, name)) is int, name
    assert type(training.compile) is bool
    TrainingConfig.model_validate(training.model_dump())
    assert resolved.model_copy(update={"training": parts.recipe.training}) == parts.recipe


def test_what_is_said_is_kept(text: Path) -> None:
    """Nothing that the recipe decides is decided again."""
    parts = assemble(recipe(text, training={"best": "loss"}))
    resolved, measured = resolve(parts, silence)
    assert resolved == parts.recipe
    assert set(measured) == {"asked"}


def test_epochs_become_steps(tmp_path: Path) -> None:
    """32 training sentences in batches of 4, two to a step: 4 steps an epoch; half an epoch is 2."""
    text = text_file(tmp_path, sentences(40))
    for epochs, steps in ((1, 4), (3, 12), (0.5, 2), (0.01, 1)):
        resolved, measured = resolve(parts_of(text, epochs=epochs, accumulate=2), silence)
        assert resolved.training.steps == steps
        assert measured["asked"] == {"epochs": epochs, "minutes": None, "steps": None}


def test_minutes_become_steps_and_are_recorded(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the evaluations leave of the budget, by the measured step; numbers and outcome are handed back and said."""
    fake_timings(monkeypatch, 0.1, evaluation=0.5)
    said: list[str] = []
    resolved, measured = resolve(parts_of(text, minutes=1, precision="32-true"), said.append)
    left = 60 - AFTERWARDS - 1.0  # two sets of questions, asked once more for the lines to compare with
    found = measured["minutes_in_steps"]
    assert resolved.training.steps == found["steps"]
    assert 0.88 * left < 0.1 * found["steps"] < 0.95 * left  # about a tenth of the time is for evaluations
    assert (found["seconds_per_step"], found["seconds_per_evaluation"]) == (0.1, 1.0 + WATCHING)
    assert found["minutes"] == pytest.approx(1, abs=0.05)
    assert found["seconds_before"] < 2
    assert measured["asked"]["minutes"] == 1
    steps = found["steps"]
    assert any(f"training.steps={steps} (a step takes 100 ms and an evaluation 1.3 s" in line for line in said)


def test_what_is_spent_before_is_no_longer_there(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget is for the whole command: 30 seconds before cost 300 steps of 0.1 seconds."""
    fake_timings(monkeypatch, 0.1, evaluation=0.0)
    parts = parts_of(text, minutes=2, precision="32-true", evaluate_every=10**6)
    fresh, spent = (resolve(parts, silence, time.time() - before)[0].training.steps for before in (0, 30))
    assert fresh is not None and spent is not None
    assert fresh - spent == pytest.approx(300, abs=15)


def test_no_more_passes_than_a_small_text_needs(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the time is for more; evaluations come as often as before. Where it is for fewer, they are not reached."""
    fake_timings(monkeypatch, 0.01)
    resolved, _ = resolve(parts_of(text, minutes=1, max_epochs=5, precision="32-true"), silence)
    assert (resolved.training.steps, resolved.training.minutes) == (5 * 20, None)
    assert resolved.training.evaluate_every is not None
    assert 100 / EVALUATIONS <= resolved.training.evaluate_every <= 8
    many, _ = resolve(parts_of(text, minutes=1, max_epochs=10**6, precision="32-true"), silence)
    free, _ = resolve(parts_of(text, minutes=1, precision="32-true"), silence)
    assert many.training.steps == pytest.approx(free.training.steps, rel=0.1)


def test_a_budget_that_is_too_small_is_said(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step at least is made, and a warning names what takes the time."""
    fake_timings(monkeypatch, 200.0, evaluation=2.0)
    said: list[str] = []
    resolved, _ = resolve(parts_of(text, minutes=1, precision="32-true"), said.append)
    assert resolved.training.steps == 1
    assert any("1 minute is too little" in line for line in said)


def test_intervals_follow_from_the_number_of_steps(text: Path) -> None:
    """Twenty evaluations, a checkpoint at each, two hundred lines; what is given stays."""
    resolved, _ = resolve(parts_of(text, steps=4000, precision="32-true"), silence)
    t = resolved.training
    assert (t.evaluate_every, t.checkpoint_every, t.log_every) == (200, 200, 20)
    resolved, _ = resolve(parts_of(text, steps=4000, precision="32-true", evaluate_every=500, log_every=7), silence)
    t = resolved.training
    assert (t.evaluate_every, t.checkpoint_every, t.log_every) == (500, 500, 7)


def test_short_runs_have_intervals_too(text: Path) -> None:
    """Never 0."""
    resolved, _ = resolve(parts_of(text, steps=1, precision="32-true"), silence)
    t = resolved.training
    assert (t.evaluate_every, t.checkpoint_every, t.log_every) == (1, 1, 1)


@pytest.mark.parametrize(
    ("full", "mixed", "choice"), [(0.5, 0.1, "bf16-mixed"), (0.5, 5.0, "32-true"), (0.5, 0.5, "32-true")]
)
def test_the_precision_is_the_faster_one(
    text: Path, monkeypatch: pytest.MonkeyPatch, full: float, mixed: float, choice: str
) -> None:
    """Chosen by the timings of real engines of that precision, which are recorded."""
    seconds = {"32-true": full, "bf16-mixed": mixed}

    def timing(engine: Any, *_: Any, **__: Any) -> Timing:
        return Timing(seconds[engine.fabric._precision.precision], 0.0, 3)

    monkeypatch.setattr(measure, "time_steps", timing)
    monkeypatch.setattr(measure, "bfloat16_is_slow", lambda device: False)
    resolved, measured = resolve(parts_of(text, steps=5, device="cpu"), silence)
    assert resolved.training.precision == choice
    assert measured["seconds_per_step"] == seconds


@pytest.mark.parametrize(
    ("minutes", "compiled", "expected"),
    [(30, 0.05, True), (30, 0.1, False), (30, 0.2, False), (5, 0.05, False)],
    ids=["pays", "alike", "loses", "too short a run"],
)
def test_compiling_only_where_it_pays(
    text: Path, monkeypatch: pytest.MonkeyPatch, minutes: float, compiled: float, expected: bool
) -> None:
    """In long runs, when it was seen to be faster; both timings are recorded."""
    fake_timings(monkeypatch, 0.1)
    monkeypatch.setattr(resolve_module, "engine_for", lambda recipe, objective: recipe.training.compile, raising=True)
    monkeypatch.setattr(
        resolve_module, "time_steps", lambda engine, order, seconds: Timing(compiled if engine is True else 0.1, 0.0, 3)
    )
    resolved, measured = resolve(parts_of(text, minutes=minutes, precision="32-true"), silence)
    assert resolved.training.compile is expected
    assert ("compile" in measured) == (minutes == 30)


def test_a_missing_compiler_means_no(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` then trains without, and the reason is recorded."""
    fake_timings(monkeypatch, 0.1)

    def broken(engine: Any, order: Any, seconds: float) -> Timing:
        if engine is True:
            raise RuntimeError("no C++ compiler")
        return Timing(0.1, 0.0, 3)

    monkeypatch.setattr(resolve_module, "engine_for", lambda recipe, objective: recipe.training.compile)
    monkeypatch.setattr(resolve_module, "time_steps", broken)
    resolved, measured = resolve(parts_of(text, minutes=30, precision="32-true"), silence)
    assert resolved.training.compile is False
    assert measured["compile"] == "failed: RuntimeError"


def test_compile_with_a_token_budget_is_refused(text: Path) -> None:
    """Under a budget the number of rows has no limit; with `auto` it is simply not compiled."""
    budget = recipe(text, batch={"tokens": 64}, training={"compile": True})
    with pytest.raises(UsageError, match="fixed shapes") as raised:
        resolve(assemble(budget), silence)
    assert "batch.size" in raised.value.mend
    resolved, _ = resolve(assemble(recipe(text, batch={"tokens": 64}, training={"compile": "auto"})), silence)
    assert resolved.training.compile is False


@pytest.mark.parametrize(("max_length", "lengths"), [(128, (32, 64, 96, 128)), (13, (8, 13)), (8, (8,)), (5, (5,))])
def test_fixed_shapes(text: Path, max_length: int, lengths: tuple[int, ...]) -> None:
    """A few lengths in eights, the longest exactly max_length."""
    parts = assemble(recipe(text))
    shapes = fixed_shapes(parts.recipe.batch, max_length, 0.15)
    assert shapes.rows == 4
    assert shapes.lengths == lengths


def test_a_device_that_is_not_there(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in words, with what to do."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"training\.device=cuda, but torch finds no such device") as raised:
        resolve(parts_of(text, steps=3, device="cuda"), silence)
    assert "training.device=cpu" in raised.value.mend


def test_measuring_leaves_threads_and_generators_alone(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All measurements made for real: the number of threads is as before, and an engine built afterwards has the
    weights that one built before has."""
    monkeypatch.setattr(measure, "TINY_STEP", 0.0)
    monkeypatch.setattr(resolve_module, "COMPILE_FROM_SECONDS", 1e9)
    parts = parts_of(text, minutes=0.002, threads=1)
    before = torch.get_num_threads()
    fresh = weights(parts.recipe, parts)
    resolved, measured = resolve(parts, silence)
    assert {"seconds_per_step", "minutes_in_steps"} <= measured.keys()
    assert torch.get_num_threads() == before
    after = weights(resolved, parts)
    assert all(torch.equal(fresh[name], after[name]) for name in fresh)


def weights(recipe: Recipe, parts: Parts) -> dict[str, torch.Tensor]:
    fixed = recipe.training.model_copy(update={"device": "cpu", "precision": "32-true", "compile": False})
    engine = engine_for(recipe.model_copy(update={"training": fixed}), parts.objective)
    return {name: value.clone() for name, value in engine.model.state_dict().items()}


def test_the_order_is_the_recipes(text: Path) -> None:
    """Accumulation and seed arrive; fixed shapes only for compiled training."""
    parts = assemble(recipe(text, training={"accumulate": 3}))
    order = training_order(parts.recipe, parts)
    assert (order.per_step, order.seed, order.shapes) == (3, 1, None)
    compiled = recipe(text, training={"compile": True})
    share = parts.objective.asked_share(parts.train_dataset, compiled.seed)
    assert training_order(compiled, parts).shapes == fixed_shapes(compiled.batch, 16, share)


@pytest.mark.parametrize("layout", ["grouped", "padded", "packed"])
def test_rows_are_no_longer_than_the_objective_makes_them(text: Path, layout: str) -> None:
    """Also where several texts share a row, and where a compiled model has fixed lengths."""
    short = recipe(text, objective={"row_length": 8}, model={"max_length": 64}, batch={"layout": layout})
    parts = assemble(short)
    order = training_order(parts.recipe, parts)
    longest = max(order.length(row) for step in order.epoch(0) for rows in step for row in rows)
    assert longest <= 8
    training = parts.recipe.training.model_copy(update={"compile": True})
    shapes = training_order(parts.recipe.model_copy(update={"training": training}), parts).shapes
    assert shapes is not None and max(shapes.lengths) == 8


def test_a_metric_that_no_objective_has_is_refused_before_anything_is_measured(text: Path, monkeypatch) -> None:
    """With those that there are; each of these is taken."""
    parts = parts_of(text, best="acuracy", threads="auto")
    with monkeypatch.context() as patch:
        patch.setattr(resolve_module, "_measured_threads", lambda *given: pytest.fail("measured before"))
        with pytest.raises(UsageError, match=r"training\.best=acuracy: this objective measures no such thing") as error:
            resolve(parts, silence)
    assert "accuracy" in error.value.mend
    assert {"loss", "accuracy", "perplexity"} <= set(parts.objective.measured)
    for name in parts.objective.measured:
        assert resolve(parts_of(text, best=name, steps=2), silence)[0].training.best == name
