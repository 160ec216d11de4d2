"""Settle what a recipe leaves open (device, precision, threads, number of steps), and build what training runs on.

Every choice by measurement is made here, once, before the first step, and goes into the run's recipe.
"""

from collections.abc import Callable
from typing import Any

import torch

from glassformer.assemble import Parts, model_for
from glassformer.data.batch import BatchConfig, Shapes
from glassformer.errors import UsageError
from glassformer.objectives import Objective
from glassformer.recipe import Recipe
from glassformer.training.engine import Engine, threads
from glassformer.training.evaluation import FixedQuestions
from glassformer.training.measure import (
    COMPILE_FROM_SECONDS,
    WORTH_IT,
    choose_precision,
    default_device,
    default_precision,
    steps_for,
    time_evaluation,
    time_steps,
)
from glassformer.training.order import TrainingOrder

EVALUATIONS = 20
"""How often a run is evaluated when its recipe does not say."""
LOG_LINES = 200


def settle(parts: Parts, say: Callable[[str], None]) -> tuple[Recipe, dict[str, Any]]:
    """The recipe without an `auto` and without an open length, and what was measured to get there."""
    recipe, measured = parts.recipe, dict[str, Any]()
    training = recipe.training
    device = default_device() if training.device == "auto" else training.device
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("training.device=cuda, but torch finds no CUDA device", "use training.device=cpu")
    number = torch.get_num_threads() if training.threads == "auto" else training.threads
    settled = _with(recipe, device=device, threads=number)
    with threads(number):
        precision: str = training.precision
        if precision == "auto":
            precision = default_precision(device) or _measured_precision(parts, settled, measured)
        settled = _with(settled, precision=precision, compile=training.compile is True)
        steps = _number_of_steps(parts, settled, measured, say)
        if training.compile == "auto" and measured.get("expected_seconds", 0) > COMPILE_FROM_SECONDS:
            settled = _with(settled, compile=_compiling_pays(parts, settled, measured))
    every = training.evaluate_every or max(1, steps // EVALUATIONS)
    settled = _with(
        settled,
        steps=steps,
        epochs=None,
        minutes=None,
        evaluate_every=every,
        checkpoint_every=training.checkpoint_every or every,
        log_every=training.log_every or max(1, steps // LOG_LINES),
    )
    for key, value in measured.items():
        say(f"measured {key}: {value}")
    return settled, measured | {"asked": training.model_dump(include={"epochs", "minutes", "steps"})}


def _with(recipe: Recipe, **training: Any) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=training)})


def _measured_precision(parts: Parts, settled: Recipe, measured: dict[str, Any]) -> str:
    def build(precision: str) -> Engine:
        return engine_for(_with(settled, precision=precision, compile=False), parts.objective)

    precision, seconds = choose_precision(build, training_order(settled, parts))
    measured["seconds_per_step"] = {key: round(value, 5) for key, value in seconds.items()}
    return precision


def _number_of_steps(parts: Parts, settled: Recipe, measured: dict[str, Any], say: Callable[[str], None]) -> int:
    """The length of the run in steps, from steps, epochs or minutes."""
    training = settled.training
    order = training_order(settled, parts)
    if training.steps is not None:
        return training.steps
    if training.minutes is None:
        return max(1, round((training.epochs or 1.0) * order.steps_in_epoch()))
    engine = engine_for(settled, parts.objective)
    timing = time_steps(engine, order)
    evaluation = time_evaluation(engine, validation_questions(settled, parts))
    evaluations = EVALUATIONS + 1
    steps = steps_for(training.minutes, timing.seconds, evaluation, evaluations)
    measured["minutes_in_steps"] = {
        "minutes": training.minutes,
        "seconds_per_step": round(timing.seconds, 5),
        "seconds_per_evaluation": round(evaluation, 3),
        "steps": steps,
    }
    measured["expected_seconds"] = training.minutes * 60
    return steps


def _compiling_pays(parts: Parts, settled: Recipe, measured: dict[str, Any]) -> bool:
    """Time both; a compiler that is missing or fails means no."""
    if settled.batch.tokens is not None:
        return False
    eager = time_steps(engine_for(settled, parts.objective), training_order(settled, parts))
    wanted = _with(settled, compile=True)
    try:
        compiled = time_steps(engine_for(wanted, parts.objective), training_order(wanted, parts))
    except Exception as error:  # whatever a compiler's absence raises
        measured["compile"] = f"failed: {type(error).__name__}"
        return False
    measured["compile"] = {"eager": round(eager.seconds, 5), "compiled": round(compiled.seconds, 5)}
    return compiled.seconds * WORTH_IT < eager.seconds


# -------------------------------------------------------------------------------------------- the parts of a run


def fixed_shapes(batch: BatchConfig, max_length: int) -> Shapes:
    """The shapes that compiled training pads to: four lengths, and asked positions by the sixteenth of a batch.

    Raises UsageError for a token budget, under which the number of rows has no limit.
    """
    if batch.tokens is not None:
        raise UsageError("a compiled model needs fixed shapes", "use batch.size instead of batch.tokens")
    lengths = tuple(sorted({-(-max_length * quarter // 32) * 8 for quarter in (1, 2, 3, 4)} | {max_length}))
    return Shapes(batch.size, tuple(n for n in lengths if n <= max_length), max(8, batch.size * max_length // 16))


def _shapes(recipe: Recipe) -> Shapes | None:
    return fixed_shapes(recipe.batch, recipe.model.max_length) if recipe.training.compile is True else None


def training_order(recipe: Recipe, parts: Parts) -> TrainingOrder:
    """The recipe's sequence of training batches."""
    per_step = recipe.training.accumulate
    return TrainingOrder(parts.train_units, parts.objective, recipe.batch, recipe.seed, per_step, _shapes(recipe))


def validation_questions(recipe: Recipe, parts: Parts) -> FixedQuestions:
    """The recipe's validation units with fixed corruption."""
    limit = recipe.training.evaluate_units
    return FixedQuestions(parts.validation_units, parts.objective, recipe.batch, limit, _shapes(recipe))


def engine_for(recipe: Recipe, objective: Objective) -> Engine:
    """A fresh model with its optimisers on the recipe's device."""
    training = recipe.training
    return Engine(
        model_for(recipe, objective),
        objective,
        recipe.optimizer,
        device=training.device,
        precision=training.precision,
        compiled=training.compile is True,
        clip=training.clip,
    )
