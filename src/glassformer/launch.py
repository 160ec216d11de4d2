"""Train a recipe from start to end: data, measured choices, the loop, the pictures; or go on where a run stopped."""

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from glassformer import recipe as recipes
from glassformer.ask.run import Run, load
from glassformer.assemble import Parts, assemble, unknown_in_words
from glassformer.baselines.unigram import Unigram
from glassformer.changes import Changes, as_recorded, listed
from glassformer.data.batch import collate
from glassformer.errors import GlassformerError, UsageError
from glassformer.look.report import draw_report
from glassformer.model.config import ModelConfig
from glassformer.model.kinds import find_kind
from glassformer.model.size import count_parameters
from glassformer.own_text import is_change, is_own_text, run_name, text_among_changes, which_recipe
from glassformer.recipe import Recipe
from glassformer.run import RunDirectory
from glassformer.settle import all_questions, engine_for, refuse_missing_device, settle, training_order
from glassformer.snapshot import write_text_durably
from glassformer.suggest import recipe_for_text
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.display import TerminalDisplay
from glassformer.training.engine import threads
from glassformer.training.evaluation import TELLS_FROM, FixedQuestions, evaluate
from glassformer.training.observers import AttentionEntropy, Observer, Samples, Verdict, Watcher
from glassformer.training.probes import Probes
from glassformer.training.trainer import Display, Trainer


def train(
    recipe: str | Path | Recipe | None = None,
    changes: Changes = (),
    *,
    run: str | Path | None = None,
    resume: bool = False,
    display: Display | None = None,
    began: float | None = None,
) -> Run:
    """Train and return the finished run.

    `recipe` is a shipped name, a YAML file, a Recipe, or a text file or folder of the person's own. `changes` are
    `["training.steps=5"]`, `{"training.steps": 5}` or `{"training": {"steps": 5}}`. `run` is the run directory (default
    `runs/NAME`, with a number if that is taken). With `resume` everything comes from the run; a recipe or change that
    differs is refused by name, except a larger `training.steps`, which is recorded; a run that is not there yet is
    begun, where its recipe is named. `display` is what a person watches; `Quiet()` shows nothing. `began` is when the
    clock of `training.minutes` began to run (as time.time() has it); without it that is now.

    Raises UsageError (wrong recipe, unusable text, existing run), Interrupted (Ctrl-C, SIGTERM; all is saved) and
    GlassformerError (training cannot go on).
    """
    display, began = display or TerminalDisplay(), began or time.time()
    if resume:
        begun = _run_to_resume(recipe, run)
        if begun is not None:
            if is_change(recipe):
                recipe, changes = None, [str(recipe), *as_recorded(changes)]
            with begun.locked():
                return _fit(begun, _reopen(begun, recipe, changes, display))
    if recipe is None:
        raise which_recipe()
    name, wanted = find_recipe(recipe, changes, display.say)
    folder = Path(run) if run is not None else Path("runs") / name if resume else free_folder(Path("runs"), name)
    directory = RunDirectory.create(folder)
    if resume:
        display.say(f"there is no run {folder} yet: it begins now")
    with directory.locked():
        directory.refuse_taken()  # another process may have been quicker
        asked = {"recipe": name, "changes": as_recorded(changes)}
        return _fit(directory, _begin(directory, wanted, asked, display, began))


def _fit(directory: RunDirectory, trainer: Trainer) -> Run:
    """Train to the end and draw what came of it."""
    with threads(trainer.config.threads if isinstance(trainer.config.threads, int) else None):
        trainer.fit()
    finished = load(directory.path)
    draw_report(finished)
    return finished


# ------------------------------------------------------------------------------------------------ a new run


def _begin(directory: RunDirectory, wanted: Recipe, asked: dict[str, Any], display: Display, began: float) -> Trainer:
    """Settle everything that is still open, make sure that it can be trained, and write it down before the first step.

    `asked` is the recipe's name and the changes to it, which a resume may name again.
    """
    try:
        parts = assemble(wanted, display.say)
        settled, measured = settle(parts, display.say, began)
        parts = parts._replace(recipe=settled)
        measured["left_open"] = _changed_by_the_texts(wanted, settled)
        trainer = _trainer(directory, parts, display)
        for line in [*unread_in_words(settled), *unknown_in_words(parts), said_of(trainer.questions[0])]:
            display.say(line)
        measured["parameters"] = count_parameters(trainer.engine.model)
        directory.save_codecs(parts.codecs)
        found = {"asked": asked, "measured": measured, "data": data_identity(parts), "recipe": as_json(settled)}
        directory.write_environment(found)
        write_text_durably(directory.recipe_file, recipes.to_yaml(settled))
    except BaseException:  # the name stays free for the next attempt
        directory.forget()
        raise
    return trainer


def _changed_by_the_texts(wanted: Recipe, settled: Recipe) -> dict[str, Any]:
    """What the recipe said of its texts where `assemble` chose something for it, such as `auto`."""
    before, after = wanted.data.model_dump(mode="json"), settled.data.model_dump(mode="json")
    return {f"data.{key}": value for key, value in before.items() if value != after[key]}


def unread_in_words(recipe: Recipe) -> list[str]:
    """A line about the keys of the model's section that are set and that its kind has no use for."""
    usual = ModelConfig()
    unread = [key for key in find_kind(recipe.model.kind).reads_no if getattr(recipe.model, key) != getattr(usual, key)]
    if not unread:
        return []
    return [f"model.kind={recipe.model.kind} has no use for model.{', model.'.join(unread)}"]


def said_of(questions: FixedQuestions) -> str:
    """How much an evaluation asks."""
    words, unknown = questions.words
    few = "" if questions.count >= TELLS_FROM else "; too few to tell better weights from worse"
    left_out = f", none about the {unknown:,} of {words:,} words that are unknown" if unknown else ""
    return f"each evaluation asks {questions.count:,} questions in {questions.where}{left_out}{few}"


def as_json(recipe: Recipe) -> dict[str, Any]:
    """Every key and value, as environment.json keeps them: a resume sees whether recipe.yaml was edited since."""
    return recipe.model_dump(mode="json")


def find_recipe(recipe: str | Path | Recipe, changes: Changes, say: Callable[[str], None]) -> tuple[str, Recipe]:
    """The recipe and a name for its run. A text of the person's own gets a recipe made for it."""
    if isinstance(recipe, Recipe):
        return "run", recipes.with_changes(as_json(recipe), changes) if changes else recipe
    name, changes = text_among_changes(str(recipe), changes)
    recipes.refuse_two_lengths(changes)
    if is_own_text(name):
        tree = recipes.apply_changes({}, changes)
        return run_name(name), recipe_for_text(name, tree, say)
    return run_name(name), recipes.read(name, changes)


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or with the first free number."""
    numbered = (parent / (name if n == 1 else f"{name}-{n}") for n in itertools.count(1))
    return next(path for path in numbered if not path.exists())


def reference_lines(questions: FixedQuestions, parts: Parts) -> dict[str, float]:
    """The losses that need no learning, on the very questions that are asked: all classes alike, and counts."""
    counts = parts.objective.target_counts(parts.train_units, parts.recipe.seed)
    uniform = Unigram({name: torch.zeros_like(count) for name, count in counts.items()})
    return {
        "uniform": evaluate(uniform, questions).loss,
        "unigram": evaluate(Unigram(counts), questions).loss,
    }


def _trainer(directory: RunDirectory, parts: Parts, display: Display) -> Trainer:
    """Everything handed to the loop."""
    recipe = parts.recipe
    with threads(recipe.training.threads if isinstance(recipe.training.threads, int) else None):
        questions = all_questions(recipe, parts)
        observers = _observers(directory, parts, questions[0])
    engine = engine_for(recipe, parts.objective)
    return Trainer(
        engine,
        directory,
        training_order(recipe, parts),
        questions,
        recipe.training,
        recipe.schedule,
        recipe.seed,
        observers=observers,
        watchers=_watchers(directory, parts),
        listeners=[_tensorboard(directory)] if recipe.training.tensorboard else [],
        display=display,
    )


def _observers(directory: RunDirectory, parts: Parts, questions: FixedQuestions) -> list[Observer]:
    few = [questions.example(int(i)) for i in questions.chosen[:16]]
    few = [example for example in few if example.member == few[0].member]
    observers: list[Observer] = [
        Verdict(reference_lines(questions, parts)),
        AttentionEntropy(collate([[example] for example in few], parts.tokenizer.pad_id)),
    ]
    if parts.recipe.training.samples:
        observers.append(Samples(directory, parts.objective, questions, parts.recipe.training.samples))
    return observers


def _watchers(directory: RunDirectory, parts: Parts) -> list[Watcher]:
    """Raises UsageError for a text that cannot be a probe."""
    training = parts.recipe.training
    if not training.probes:
        return []
    assert training.evaluate_every and training.steps
    every = training.probe_every or training.evaluate_every
    return [Probes(directory, parts.objective, training.probes, every, training.steps)]


def _tensorboard(directory: RunDirectory) -> Callable[[dict[str, Any]], None]:
    """Every number of every record, under its event's name."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("TensorBoard is not installed", "pip install 'glassformer[tensorboard]'") from None
    writers: list[Any] = []  # opened by the first record, so that a start that fails leaves no file

    def listen(record: dict[str, Any]) -> None:
        if not writers:
            seen = max(checkpoint_steps(directory), default=-1)  # what was written after it, a resume writes again
            writers.append(SummaryWriter(str(directory.path / "tensorboard"), purge_step=seen + 1))
        [writer] = writers
        for key, value in record.items():
            if isinstance(value, int | float) and key != "step":
                writer.add_scalar(f"{record['event']}/{key}", value, record["step"])
        writer.flush()

    return listen


# ------------------------------------------------------------------------------------------------- going on


def _run_to_resume(recipe: str | Path | Recipe | None, run: str | Path | None) -> RunDirectory | None:
    """The run that is named, or that has the recipe's name; none where it has not begun, and its recipe is named."""
    if run is None and (recipe is None or is_change(recipe)):
        raise UsageError("which run?", "name it: glassformer train --resume --run runs/NAME")
    path = Path(run) if run is not None else Path("runs") / run_name(str(recipe))
    if recipe is None or is_change(recipe) or RunDirectory(path).recipe_file.exists():
        return RunDirectory.open(path)
    return None


def _reopen(directory: RunDirectory, recipe: str | Path | Recipe | None, changes: Changes, display: Display) -> Trainer:
    """The run as it was begun; what is asked anew must agree with it, and so must its recipe.yaml."""
    environment = directory.environment()
    recorded, written = _recorded(directory, environment)
    lengths = environment.get("measured", {}).get("asked", {})
    left_open = environment.get("measured", {}).get("left_open", {})
    tree = _asked_tree(recipe)
    if lengths.get("steps") and (tree.get("training") or {}).get("steps") == lengths["steps"]:
        del tree["training"]["steps"]  # the recipe's own file still says the steps from before an extension
    asked = recipes.apply_changes(tree, [*_begun_with(environment, written), *as_recorded(changes)])
    settled = _agreed(written, asked, lengths, left_open)
    refuse_missing_device(settled.training.device, "go on where there is one, or start a new run with --run")
    parts = assemble(settled, display.say, directory.codecs())
    if environment.get("data") != data_identity(parts):
        raise UsageError("the data has changed since the run was begun", "put it back, or start a new run with --run")
    trainer = _trainer(directory, parts, display)
    if settled != recorded:
        extension = {"from": recorded.training.steps, "to": settled.training.steps}
        display.say(f"training.steps extended from {extension['from']} to {extension['to']}")
        extensions = [*environment.get("extensions", []), extension]
        # The recipe first: ended between the two, it is found edited, and that is recorded then.
        write_text_durably(directory.recipe_file, recipes.to_yaml(settled))
        directory.write_environment({**environment, "extensions": extensions, "recipe": as_json(settled)})
    return trainer


def _recorded(directory: RunDirectory, environment: dict[str, Any]) -> tuple[Recipe, Recipe]:
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
        raise UsageError(
            f"{directory.recipe_file} was edited: {key} was {json.dumps(was)} while the run was trained, and "
            f"{json.dumps(stands)} stands there now",
            f"put it back to go on, or start a new run: glassformer train {directory.recipe_file} --run NEW",
        )
    return recorded.model_copy(update={"description": written.description}), written


def _asked_tree(recipe: str | Path | Recipe | None) -> dict[str, Any]:
    """What naming a recipe, or a text of one's own, asks for."""
    if recipe is None:
        return {}
    if isinstance(recipe, Recipe):
        return recipe.model_dump(mode="json")
    return {"data": {"train": str(recipe)}} if is_own_text(str(recipe)) else recipes.read_tree(str(recipe))


def _begun_with(environment: dict[str, Any], recorded: Recipe) -> list[str | dict[str, Any]]:
    """The changes that the run was begun with: they changed its recipe then, and do so still; steps as extended."""
    begun = listed(environment.get("asked", {}).get("changes", []))
    steps = recorded.training.steps
    return [{change.key: steps} if change.key == "training.steps" else change.recorded for change in begun]


LENGTHS = ("training.epochs", "training.minutes")
"""What `settle` turned into steps."""
SETTLED = ("steps", "evaluate_every", "checkpoint_every", "log_every", "device", "precision", "compile", "threads")
LEFT_OPEN = {f"training.{name}" for name in SETTLED}
"""Where `auto` or none agrees with whatever `settle` made of it."""


def _agreed(
    recorded: Recipe, asked: dict[str, Any], lengths: dict[str, Any], left_open: dict[str, Any] | None = None
) -> Recipe:
    """The recorded recipe, perhaps with more steps. Raises UsageError naming the first key that differs.

    `lengths` are the epochs or minutes that the run was begun with: they were turned into steps then. `left_open` are
    the values of keys for which something was chosen then, such as `auto`: they agree with what was chosen.
    """
    name, wanted_name = recorded.model_dump()["objective"]["name"], (asked.get("objective") or {}).get("name")
    if wanted_name not in (None, name):
        raise UsageError(
            f"objective.name was {name} when the run was begun, and {wanted_name} is asked now",
            "leave it out to go on with the run, or start a new one with --run",
        )
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


def data_identity(parts: Parts) -> dict[str, Any]:
    """What the data came to: a resume on other data is refused."""
    return {**parts.codecs.identities, "train": parts.train.identity, "validation": parts.validation.identity}
