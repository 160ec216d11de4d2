"""Whether what is asked now agrees with what a run was begun with: a resume is the same training, or is refused by the
name of the first key that differs. Only more steps and another number of processes may be asked for."""

import json
from pathlib import Path
from typing import Any

from glassformer import recipe as recipes
from glassformer.changes import listed
from glassformer.errors import GlassformerError, UsageError
from glassformer.own_text import is_own_text
from glassformer.recipe import Recipe
from glassformer.run import RunDirectory

SHARED = ("training.devices", "training.accumulate")
"""By whom a step's micro-batches are computed; how many there are is their product."""
LENGTHS = ("training.epochs", "training.minutes")
"""What `resolve` turned into steps."""
RESOLVED = (
    "best",
    "steps",
    "evaluate_every",
    "checkpoint_every",
    "log_every",
    "device",
    "precision",
    "compile",
    "threads",
)
LEFT_OPEN = {f"training.{name}" for name in RESOLVED}
"""Where `auto` or none agrees with whatever `resolve` made of it."""


def as_json(recipe: Recipe) -> dict[str, Any]:
    """Every key and value, as environment.json keeps them: a resume sees whether recipe.yaml was edited since."""
    return recipe.model_dump(mode="json")


def recorded_and_written(directory: RunDirectory, environment: dict[str, Any]) -> tuple[Recipe, Recipe]:
    """The recipe that the run was trained by so far, and what its recipe.yaml says: the same, or with more steps.

    Raises UsageError naming the first other key that was edited. Older runs have kept only the one.
    """
    written = recipes.read(str(directory.recipe_file))
    if "recipe" not in environment:
        return written, written
    kept = environment["recipe"]
    if not isinstance(kept, dict):
        raise GlassformerError(
            f"{directory.environment_file} is damaged: its recipe is none", "put it back from a copy"
        )
    recorded = recipes.parse(kept, f"the recipe in {directory.environment_file}")
    more = (written.training.steps or 0) > (recorded.training.steps or 0)
    before, now = (dict(_leaves(as_json(each))) for each in (recorded, written))
    for key in before | now:
        was, stands = before.get(key), now.get(key)
        if was == stands or key == "description" or (key == "training.steps" and more):
            continue
        if key in SHARED and _per_step(recorded) == _per_step(written):
            continue
        raise UsageError(
            f"{directory.recipe_file} was edited: {key} was {json.dumps(was)} while the run was trained, and "
            f"{json.dumps(stands)} stands there now",
            f"put it back to go on, or start a new run: glassformer train {directory.recipe_file} --run NEW",
        )
    return recorded.model_copy(update={"description": written.description}), written


def asked_tree(recipe: str | Path | Recipe | None) -> dict[str, Any]:
    """What naming a recipe, or a text of one's own, asks for."""
    if recipe is None:
        return {}
    if isinstance(recipe, Recipe):
        return recipe.model_dump(mode="json")
    return {"data": {"train": str(recipe)}} if is_own_text(str(recipe)) else recipes.read_tree(str(recipe))


def begun_with(environment: dict[str, Any], recorded: Recipe) -> list[str | dict[str, Any]]:
    """The changes that the run was begun with: they changed its recipe then, and do so still; steps as extended, and
    processes as many as there were last."""
    begun = listed(environment.get("asked", {}).get("changes", []))
    later = {key: recipes.value_of(recorded, key) for key in ("training.steps", *SHARED)}
    return [{change.key: later[change.key]} if change.key in later else change.recorded for change in begun]


def _per_step(recipe: Recipe) -> int:
    return recipe.training.devices * recipe.training.accumulate


def _with_devices(recipe: Recipe, devices: int) -> Recipe:
    """The recipe with another number of processes and the same steps. Raises UsageError where they cannot be shared
    out evenly."""
    each, left = divmod(_per_step(recipe), devices)
    if left:
        fitting = [str(n) for n in range(1, _per_step(recipe) + 1) if _per_step(recipe) % n == 0]
        raise UsageError(
            f"a step of this run has {_per_step(recipe)} micro-batches, which {devices} processes cannot share evenly",
            f"go on with training.devices={' or '.join(fitting)}",
        )
    return recipes.with_value(recipes.with_value(recipe, "training.devices", devices), "training.accumulate", each)


def agreed(
    recorded: Recipe, asked: dict[str, Any], lengths: dict[str, Any], left_open: dict[str, Any] | None = None
) -> Recipe:
    """The recorded recipe, perhaps with more steps or another number of processes. Raises UsageError naming the first
    key that differs.

    `lengths` are the epochs or minutes that the run was begun with: they were turned into steps then. `left_open` are
    the values of keys for which something was chosen then, such as `auto`: they agree with what was chosen.
    """
    name, wanted_name = recorded.model_dump()["objective"]["name"], (asked.get("objective") or {}).get("name")
    if wanted_name not in (None, name):
        raise UsageError(
            f"objective.name was {name} when the run was begun, and {wanted_name} is asked now",
            "leave it out to go on with the run, or start a new one with --run",
        )
    devices = (asked.get("training") or {}).get("devices")
    if devices is not None:
        number = recipes.with_value(recorded, "training.devices", devices).training.devices
        left_open = {"training.accumulate": recorded.training.accumulate} | (left_open or {})
        recorded = _with_devices(recorded, number)
    for key, value in _leaves(asked):
        if key == "description" or (key in LEFT_OPEN and value in ("auto", None)):
            continue
        before = recorded
        if key in LENGTHS:
            before = recipes.with_value(recorded, "training.steps", None)
            before = recipes.with_value(before, key, lengths.get(key.removeprefix("training.")))
        wanted = recipes.with_value(before, key, value)
        if wanted == before or (key in (left_open or {}) and recipes.value_of(wanted, key) == (left_open or {})[key]):
            continue
        if key == "training.steps" and (wanted.training.steps or 0) > (recorded.training.steps or 0):
            recorded = wanted
            continue
        if key == "training.steps":
            raise UsageError(
                f"training.steps was {recorded.training.steps} in this run, and {json.dumps(value)} is asked now",
                "only more steps can be asked for; leave it out to go on with the run",
            )
        was = recipes.value_of(before, key)
        if key in LENGTHS:
            what = f"{key} was {json.dumps(was)} when the run was begun, and {json.dumps(value)} is asked now"
            raise UsageError(what, "to go on for longer say it in steps: training.steps=N")
        raise UsageError(
            f"{key} was {json.dumps(was)} when the run was begun, and {json.dumps(value)} is asked now",
            "leave it out to go on with the run, or start a new one with --run",
        )
    return recorded


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found
