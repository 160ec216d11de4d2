"""Resolve what a recipe leaves open: every `auto` becomes a value, every length a number of steps.

Every choice by measurement is made here, once, before the first step, and goes into the run's recipe.
"""

import math
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from glassformer.assemble import Parts
from glassformer.build import all_evaluation_sets, engine_for, training_order
from glassformer.errors import UsageError, nearest
from glassformer.recipe import Recipe
from glassformer.training.engine import Engine, threads
from glassformer.training.measure import (
    COMPILE_FROM_SECONDS,
    EVALUATIONS,
    WORTH_IT,
    Timing,
    choose_precision,
    choose_threads,
    default_device,
    default_precision,
    steps_for,
    time_evaluation,
    time_steps,
)

LOG_LINES = 200
"""How often a run is logged at most when its recipe does not say."""
MEASURED_FROM_STEPS = 300
"""Fewer steps than these are trained by all threads, without measuring whether one would be faster."""
AFTERWARDS = 7.0
"""Seconds of a time budget that are kept for what comes behind the last step: weights, pictures, the process's end."""
STARTING = 10.0
"""Seconds that other processes take until they train along."""
WATCHING = 0.3
"""Seconds that an evaluation takes beside its questions: samples, attention, weights written to the disk."""


def resolve(parts: Parts, say: Callable[[str], None], began: float | None = None) -> tuple[Recipe, dict[str, Any]]:
    """The recipe without an `auto` and without an open length, and what was measured to get there. A time budget is
    for everything since `began` (seconds, as time.time() has them; None: since now)."""
    recipe, measured = parts.recipe, dict[str, Any]()
    began = time.time() if began is None else began
    training = recipe.training
    device = default_device() if training.device == "auto" else training.device
    refuse_missing_device(device)
    refuse_too_many(training.devices, device)
    if training.best not in ("auto", *parts.objective.measured):
        raise UsageError(
            f"training.best={training.best}: this objective measures no such thing (`metrics_of` says what it does)",
            nearest(training.best, parts.objective.measured),
        )
    own = max(1, torch.get_num_threads() // training.devices)
    number = own if training.threads == "auto" else training.threads
    resolved = _with(recipe, device=device, threads=number)
    if training.threads == "auto" and device == "cpu" and training.devices == 1:
        number = _measured_threads(parts, resolved, measured)
        resolved = _with(resolved, threads=number)
    with threads(number):
        precision: str = training.precision
        if precision == "auto":
            precision = default_precision(device) or _measured_precision(parts, resolved, measured)
        resolved = _with(resolved, precision=precision, compile=training.compile is True)
        timing = _time_of_a_step(parts, resolved, measured, compile_too=training.compile == "auto")
        if timing is not None:
            resolved = _with(resolved, compile=timing.compiled)
        training_order(resolved, parts)  # refuses what cannot be compiled
        steps, every = _number_of_steps(parts, resolved, timing, measured, say, began)
    resolved = _with(
        resolved,
        best=parts.objective.best_by if training.best == "auto" else training.best,
        steps=steps,
        epochs=None,
        minutes=None,
        evaluate_every=every,
        checkpoint_every=training.checkpoint_every or every,
        log_every=training.log_every or math.ceil(steps / LOG_LINES),
    )
    for line in explain(resolved, measured):
        say(f"measured: {line}")
    return resolved, measured | {"asked": training.model_dump(include={"epochs", "minutes", "steps"})}


def explain(resolved: Recipe, measured: dict[str, Any]) -> list[str]:
    """What was measured, and what was chosen by it, for people."""
    lines = []
    if measured.get("seconds_per_step_by_threads"):
        found = measured["seconds_per_step_by_threads"]
        times = ", ".join(f"{1000 * seconds:,.0f} ms by {number}" for number, seconds in found.items())
        lines.append(f"training.threads={resolved.training.threads} (a step in {times})")
    if measured.get("products_per_second_by_threads"):
        found = measured["products_per_second_by_threads"]
        rates = ", ".join(f"{rate / 1e9:,.1f} by {number}" for number, rate in found.items())
        what = f"matrix products, in billions of multiplications per second: {rates}"
        lines.append(f"training.threads={resolved.training.threads} ({what})")
    if "seconds_per_step" in measured:
        times = ", ".join(f"{name} {1000 * seconds:,.0f} ms" for name, seconds in measured["seconds_per_step"].items())
        lines.append(f"training.precision={resolved.training.precision} (a step in {times})")
    if "compile" in measured:
        found = measured["compile"]
        times = found if isinstance(found, str) else ", ".join(f"{k} {1000 * s:,.0f} ms" for k, s in found.items())
        lines.append(f"training.compile={str(resolved.training.compile).lower()} (a step {times})")
    if "minutes_in_steps" in measured:
        found = measured["minutes_in_steps"]
        lines.append(
            f"training.steps={found['steps']} (a step takes {1000 * found['seconds_per_step']:,.0f} ms and an "
            f"evaluation {found['seconds_per_evaluation']:.2g} s now; {found['minutes']:g} minutes if that stays so)"
        )
    return lines


def refuse_missing_device(device: str, mend: str = "use training.device=cpu") -> None:
    """Raises UsageError where torch does not find the device here."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[device]:
        raise UsageError(f"training.device={device}, but torch finds no such device", mend)


def refuse_too_many(processes: int, device: str) -> None:
    """Raises UsageError for more processes than this machine has cores, or several on a device that is not the CPU."""
    if processes > 1 and device != "cpu":
        raise UsageError(
            f"training.devices={processes} with training.device={device}: several processes train on the CPU only",
            "use training.device=cpu, or training.devices=1",
        )
    cores = os.cpu_count() or 1
    if processes > cores:
        raise UsageError(
            f"training.devices={processes}, but this machine has {cores} core{'' if cores == 1 else 's'}",
            f"use training.devices={cores}, or fewer",
        )


def _with(recipe: Recipe, **training: Any) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=training)})


def _measured_threads(parts: Parts, resolved: Recipe, measured: dict[str, Any]) -> int:
    """All threads without a question where so few steps are trained that measuring would not pay."""
    number, known = int(resolved.training.threads), _known_steps(parts, resolved)
    if known is not None and known < MEASURED_FROM_STEPS:
        return number
    plain = _with(resolved, precision="32-true", compile=False)
    found = choose_threads(lambda: engine_for(plain, parts.objective), training_order(plain, parts), number)
    measured["seconds_per_step_by_threads"] = {key: round(value, 5) for key, value in found.seconds.items()}
    measured["products_per_second_by_threads"] = {key: round(value) for key, value in found.products.items()}
    return found.number


def _measured_precision(parts: Parts, resolved: Recipe, measured: dict[str, Any]) -> str:
    def build(precision: str) -> Engine:
        return engine_for(_with(resolved, precision=precision, compile=False), parts.objective)

    precision, seconds = choose_precision(build, training_order(_of_one(resolved), parts))
    measured["seconds_per_step"] = {key: round(value, 5) for key, value in seconds.items()}
    return precision


class StepTime(NamedTuple):
    """How long a step takes, in seconds, compiled or not, whichever is chosen."""

    seconds: float
    compiled: bool


def _time_of_a_step(parts: Parts, resolved: Recipe, measured: dict[str, Any], compile_too: bool) -> StepTime | None:
    """Measured where something depends on it: the steps of a time budget, and whether compiling pays."""
    training = resolved.training
    compile_too = compile_too and resolved.batch.tokens is None
    if training.minutes is None and not compile_too:
        return None
    known = _known_steps(parts, resolved)
    eager = _timed(parts, resolved, _time_for_timing(training.minutes) if known is None else 0.5).seconds
    expected = (training.minutes or 0) * 60 if known is None else known * eager
    if not compile_too or expected < COMPILE_FROM_SECONDS:
        return StepTime(eager, training.compile is True)
    try:
        compiled = _timed(parts, _with(resolved, compile=True), 3.0).seconds
    except Exception as error:  # whatever a compiler's absence raises
        measured["compile"] = f"failed: {type(error).__name__}"
        return StepTime(eager, compiled=False)
    measured["compile"] = {"eager": round(eager, 5), "compiled": round(compiled, 5)}
    return StepTime(compiled, True) if compiled * WORTH_IT < eager else StepTime(eager, False)


def _time_for_timing(minutes: float | None) -> float:
    """Seconds in which steps are timed: a twentieth of a budget, so that a short one is not spent on it."""
    return min(10.0, max(1.0, 3.0 * (minutes or 1.0)))


def _timed(parts: Parts, recipe: Recipe, seconds: float) -> Timing:
    return time_steps(engine_for(recipe, parts.objective), training_order(_of_one(recipe), parts), seconds)


def _of_one(recipe: Recipe) -> Recipe:
    """With the steps of one process, which are what the first can time while there are no others yet."""
    return _with(recipe, devices=1)


def _known_steps(parts: Parts, resolved: Recipe) -> int | None:
    """The length of the run where it does not depend on the clock: steps or epochs."""
    training = resolved.training
    if training.steps is not None or training.minutes is not None:
        return training.steps
    return max(1, round((training.epochs or 1.0) * training_order(resolved, parts).steps_in_epoch()))


def _number_of_steps(
    parts: Parts,
    resolved: Recipe,
    timing: StepTime | None,
    measured: dict[str, Any],
    say: Callable[[str], None],
    began: float,
) -> tuple[int, int]:
    """The length of the run in steps, and the steps between evaluations."""
    training = resolved.training
    known = _known_steps(parts, resolved)
    if known is not None:
        return known, training.evaluate_every or math.ceil(known / EVALUATIONS)
    assert timing is not None and training.minutes is not None
    engine = engine_for(resolved, parts.objective)
    asking = sum(time_evaluation(engine, questions) for questions in all_evaluation_sets(resolved, parts))
    costs = Costs(time.time() - began, timing.seconds, asking, training.devices)
    left = max(0.0, training.minutes * 60 - costs.apart)
    steps, every = steps_for(left, costs.step, costs.evaluation, training.evaluate_every)
    most = _most_steps(parts, resolved)
    if most is not None and most < steps:
        steps, every = most, training.evaluate_every or math.ceil(every * most / steps)
    if costs.of(steps, every) > 1.1 * training.minutes * 60:
        _warn_of_too_little(training.minutes, costs, say)
    measured["minutes_in_steps"] = {
        "minutes": round(costs.of(steps, every) / 60, 2),
        "seconds_before": round(costs.before, 1),
        "seconds_per_step": round(costs.step, 5),
        "seconds_per_evaluation": round(costs.evaluation, 3),
        "steps": steps,
    }
    return steps, every


class Costs(NamedTuple):
    """What a run under a time budget takes, in seconds."""

    before: float
    """Until here: data, tokenizer, measurements."""
    step: float
    asking: float
    """For the questions of one evaluation."""
    processes: int

    @property
    def evaluation(self) -> float:
        """One evaluation, whose questions the processes share."""
        return self.asking / self.processes + WATCHING

    @property
    def apart(self) -> float:
        """Everything but steps and evaluations; the reference lines ask once more."""
        return self.before + self.asking + AFTERWARDS + (STARTING if self.processes > 1 else 0)

    def of(self, steps: int, every: int) -> float:
        """A run of so many steps, evaluated before the first and then after every so many."""
        return self.apart + steps * self.step + self.evaluation * (math.ceil(steps / every) + 1)


def _warn_of_too_little(minutes: float, costs: Costs, say: Callable[[str], None]) -> None:
    asked = f"{minutes:g} minute" + (" is too little" if minutes == 1 else "s are too little")
    around = costs.apart - costs.asking
    say(f"warning: {asked}: {around:.0f} seconds go to what comes before and behind the training, an")
    say(f"evaluation takes {costs.evaluation:.1f} and a step {costs.step:.2f}; a smaller model or batch.size, or")
    say("training.evaluate_units=N, makes them shorter")


def _most_steps(parts: Parts, resolved: Recipe) -> int | None:
    """The steps of as many passes as a time budget may have; None: any number."""
    most = resolved.training.max_epochs
    return None if most is None else max(1, round(most * training_order(resolved, parts).steps_in_epoch()))
