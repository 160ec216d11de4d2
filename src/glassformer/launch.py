"""Train a recipe from start to end: data, measured choices, the loop, the pictures; or go on where a run stopped."""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from glassformer import recipe as recipes
from glassformer.assemble import Parts, assemble
from glassformer.baselines.unigram import Unigram
from glassformer.data.batch import collate
from glassformer.errors import UsageError
from glassformer.look.report import draw_report
from glassformer.model.attention import find_mechanism
from glassformer.model.transformer import count_parameters
from glassformer.predict import Run, load
from glassformer.recipe import Recipe
from glassformer.run import RunDirectory
from glassformer.settle import all_questions, engine_for, refuse_missing_device, settle, training_order
from glassformer.snapshot import write_text_durably
from glassformer.suggest import is_own_text, recipe_for_text
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.display import TerminalDisplay
from glassformer.training.engine import threads
from glassformer.training.evaluation import FixedQuestions, evaluate
from glassformer.training.observers import AttentionEntropy, Observer, Samples, Verdict, Watcher
from glassformer.training.probes import Probes
from glassformer.training.trainer import Display, Trainer


def train(
    recipe: str | Path | Recipe | None = None,
    changes: Sequence[str] = (),
    *,
    run: str | Path | None = None,
    resume: bool = False,
    display: Display | None = None,
) -> Run:
    """Train and return the finished run.

    `recipe` is a shipped name, a YAML file, a Recipe, or a text file or folder of the person's own; `changes` are
    dotted `key=value` pairs. `run` is the run directory (default `runs/NAME`, with a number if that is taken).
    With `resume` everything comes from the run; a recipe or change that differs is refused by name, except a larger
    `training.steps`, which is recorded. `display` is what a person watches; `Quiet()` shows nothing.

    Raises UsageError (wrong recipe, unusable text, existing run), Interrupted (Ctrl-C, SIGTERM; all is saved) and
    GlassformerError (training cannot go on).
    """
    display = display or TerminalDisplay()
    if resume:
        if is_change(recipe):
            recipe, changes = None, [str(recipe), *changes]
        directory = _run_to_resume(recipe, run)
        with directory.locked():
            return _fit(directory, _reopen(directory, recipe, changes, display))
    if recipe is None:
        raise UsageError("which recipe?", "name a recipe, a YAML file or a text; `glassformer recipes` lists them")
    name, wanted = find_recipe(recipe, changes, display.say)
    directory = RunDirectory.create(Path(run) if run is not None else free_folder(Path("runs"), name))
    with directory.locked():
        directory.refuse_taken()  # another process may have been quicker
        return _fit(directory, _begin(directory, wanted, {"recipe": name, "changes": list(changes)}, display))


def _fit(directory: RunDirectory, trainer: Trainer) -> Run:
    """Train to the end and draw what came of it."""
    with threads(trainer.config.threads if isinstance(trainer.config.threads, int) else None):
        trainer.fit()
    finished = load(directory.path)
    draw_report(finished)
    return finished


# ------------------------------------------------------------------------------------------------ a new run


def _begin(directory: RunDirectory, wanted: Recipe, asked: dict[str, Any], display: Display) -> Trainer:
    """Settle everything that is still open, make sure that it can be trained, and write it down before the first step.

    `asked` is the recipe's name and the changes to it, which a resume may name again.
    """
    try:
        parts = assemble(wanted, display.say)
        settled, measured = settle(parts, display.say)
        parts = parts._replace(recipe=settled)
        measured["left_open"] = _changed_by_the_texts(wanted, settled)
        trainer = _trainer(directory, parts, display)
        measured["parameters"] = count_parameters(trainer.engine.model)
        directory.save_tokenizers(parts.tokenizers)
        directory.write_environment({"asked": asked, "measured": measured, "data": data_identity(parts)})
        write_text_durably(directory.recipe_file, recipes.to_yaml(settled))
    except BaseException:  # the name stays free for the next attempt
        directory.forget()
        raise
    return trainer


def _changed_by_the_texts(wanted: Recipe, settled: Recipe) -> dict[str, Any]:
    """What the recipe said of its texts where `assemble` chose something for it, such as `auto`."""
    before, after = wanted.data.model_dump(mode="json"), settled.data.model_dump(mode="json")
    return {f"data.{key}": value for key, value in before.items() if value != after[key]}


def find_recipe(recipe: str | Path | Recipe, changes: Sequence[str], say: Callable[[str], None]) -> tuple[str, Recipe]:
    """The recipe and a name for its run. A text of the person's own gets a recipe made for it."""
    if isinstance(recipe, Recipe):
        return "run", recipe
    name, changes = text_among_changes(str(recipe), changes)
    recipes.refuse_two_lengths(changes)
    if is_own_text(name):
        tree = recipes.apply_changes({}, changes)
        return run_name(name), recipe_for_text(name, tree, say)
    return run_name(name), recipes.read(name, changes)


def is_change(recipe: str | Path | Recipe | None) -> bool:
    """Whether what stands in the place of a recipe is a change to one, and no file of such a name."""
    return isinstance(recipe, str) and bool(re.match(r"[a-z_]+(\.[a-z_]+)*=", recipe)) and not Path(recipe).exists()


def text_among_changes(recipe: str, changes: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The recipe and the changes to it, where perhaps a change stands first and no recipe is named: then `data.train`
    is a text of the person's own. Raises UsageError where none is named either."""
    if not is_change(recipe):
        return recipe, changes
    changes = [recipe, *changes]
    text = dict(change.split("=", 1) for change in changes if "=" in change).get("data.train")
    if text is None:
        raise UsageError(
            f"{recipe} is a change to a recipe, and no recipe is named before it",
            "name a recipe or a text of your own first; `glassformer recipes` lists the recipes",
        )
    return text, changes


def run_name(source: str) -> str:
    """A folder's name for what is trained on: the file's or folder's own, without what has a meaning in paths."""
    name = re.sub(r"[^\w.-]+", "-", Path(source).stem).strip(".-")
    return name or "text"


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
    return Trainer(
        engine_for(recipe, parts.objective),
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
    if parts.recipe.model.implementation != "glassformer":
        raise UsageError(
            f"model.implementation={parts.recipe.model.implementation} has no attention that probes could record",
            "leave out training.probes, or train with model.implementation=glassformer",
        )
    why = find_mechanism(parts.recipe.model.attention).no_weights
    if why is not None:
        raise UsageError(
            f"model.attention={parts.recipe.model.attention} has no weights that probes could record: {why}",
            "leave out training.probes, or train with model.attention=full",
        )
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


def _run_to_resume(recipe: str | Path | Recipe | None, run: str | Path | None) -> RunDirectory:
    """The run that is named, or that has the recipe's name."""
    if run is None and recipe is None:
        raise UsageError("which run?", "name it: glassformer train --resume --run runs/NAME")
    return RunDirectory.open(Path(run) if run is not None else Path("runs") / run_name(str(recipe)))


def _reopen(
    directory: RunDirectory, recipe: str | Path | Recipe | None, changes: Sequence[str], display: Display
) -> Trainer:
    """The run as it was begun; what is asked anew must agree with it."""
    recorded = recipes.read(str(directory.recipe_file))
    environment = directory.environment()
    lengths = environment.get("measured", {}).get("asked", {})
    left_open = environment.get("measured", {}).get("left_open", {})
    tree = _asked_tree(recipe)
    if lengths.get("steps") and (tree.get("training") or {}).get("steps") == lengths["steps"]:
        del tree["training"]["steps"]  # the recipe's own file still says the steps from before an extension
    asked = recipes.apply_changes(tree, [*_begun_with(environment, recorded), *changes])
    settled = _agreed(recorded, asked, lengths, left_open)
    refuse_missing_device(settled.training.device, "go on where there is one, or start a new run with --run")
    parts = assemble(settled, display.say, directory.tokenizers())
    if environment.get("data") != data_identity(parts):
        raise UsageError("the data has changed since the run was begun", "put it back, or start a new run with --run")
    trainer = _trainer(directory, parts, display)
    if settled != recorded:
        extension = {"from": recorded.training.steps, "to": settled.training.steps}
        display.say(f"training.steps extended from {extension['from']} to {extension['to']}")
        extensions = [*environment.get("extensions", []), extension]
        directory.write_environment({**environment, "extensions": extensions})
        write_text_durably(directory.recipe_file, recipes.to_yaml(settled))
    return trainer


def _asked_tree(recipe: str | Path | Recipe | None) -> dict[str, Any]:
    """What naming a recipe, or a text of one's own, asks for."""
    if recipe is None:
        return {}
    if isinstance(recipe, Recipe):
        return recipe.model_dump(mode="json")
    return {"data": {"train": str(recipe)}} if is_own_text(str(recipe)) else recipes.read_tree(str(recipe))


def _begun_with(environment: dict[str, Any], recorded: Recipe) -> list[str]:
    """The changes that the run was begun with: they changed its recipe then, and do so still; steps as extended."""
    changes = environment.get("asked", {}).get("changes", [])
    steps = f"training.steps={recorded.training.steps}"
    return [steps if change.startswith("training.steps=") else change for change in changes]


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
    target = parts.tokenizers.target
    return {
        "tokenizer": parts.tokenizer.identity,
        **({} if target is None else {"target_tokenizer": target.identity}),
        "train": parts.train.identity,
        "validation": parts.validation.identity,
    }
