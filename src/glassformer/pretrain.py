"""Two stages in one command: the words of a task's own texts are learned first, and the task from there.

    glassformer train classification-sst2 --pretrain-first
    glassformer train classification-sst2 --pretrain-first pretrain.training.epochs=40 pretrain.data.train=more.txt

The first stage is a run of its own beside the second (`RUN-pretrained`): masked language modelling on all training
texts, with the tokenizer and the sizes of the recipe. The second begins with its weights (`init_from`). Changes that
begin with `pretrain.` are for the first stage alone. A budget of minutes is shared between both.
"""

from pathlib import Path
from typing import Any

from glassformer import launch
from glassformer import recipe as recipes
from glassformer.ask.run import Run
from glassformer.changes import Changes, listed
from glassformer.errors import UsageError
from glassformer.recipe import Recipe
from glassformer.run import RunDirectory
from glassformer.training.config import TrainingConfig
from glassformer.training.display import TerminalDisplay
from glassformer.training.trainer import Display, Interrupted

PREFIX = "pretrain."
SHARE = 0.6
"""Of a budget of minutes, what the first stage has."""
EPOCHS = 20.0
"""Passes of the first stage over the texts, where nothing else is said."""
DROPOUT = 0.1
"""That of the first stage at most: hiding words is noise enough."""


def train_in_two_stages(
    recipe: str,
    changes: Changes = (),
    *,
    run: Path | None = None,
    resume: bool = False,
    display: Display | None = None,
    began: float | None = None,
) -> Run:
    """Pre-train on the task's own texts, then train the task from there; see the module. With `resume` whichever stage
    was stopped goes on. Raises what `launch.train` raises, and UsageError for a task that learns from no single text.
    """
    display = display or TerminalDisplay()
    of_first, of_second = parted(changes)
    name, wanted = launch.find_recipe(recipe, of_second, display.say)
    if run is None:
        run = Path("runs") / name if resume else launch.free_folder(Path("runs"), name)
    if not resume:
        RunDirectory.create(run).forget()  # refused now, and not after the first stage
    minutes = wanted.training.minutes
    of_second = [*of_second, {"model.dropout": wanted.model.dropout}]
    if minutes is not None:
        display.say(
            f"{minutes:g} minutes: {SHARE * minutes:.3g} to pre-train, {(1 - SHARE) * minutes:.3g} for the task"
        )
        of_second.append({"training.minutes": (1 - SHARE) * minutes})
    if not RunDirectory(run).recipe_file.exists():
        first = run.with_name(f"{run.name}-pretrained")
        display.say(f"first stage: the words of the training texts, without their labels, in {first}")
        try:
            pretrain(wanted, of_first, first, resume=resume, display=display, began=began)
        except Interrupted as stopped:
            again = f"go on with the same command and --resume --run {run}"
            raise Interrupted(stopped.what, again) from None
        display.say(f"second stage: {name}, begun from {first}, in {run}")
        began = None
    source = run.with_name(f"{run.name}-pretrained")
    return launch.train(recipe, [*of_second, {"init_from": str(source)}], run=run, resume=resume, display=display)


def parted(changes: Changes) -> tuple[list[Any], list[Any]]:
    """The changes of the first stage, without their prefix, and those of the second."""
    first = [c._replace(key=c.key.removeprefix(PREFIX)).recorded for c in listed(changes) if c.key.startswith(PREFIX)]
    return first, [c.recorded for c in listed(changes) if not c.key.startswith(PREFIX)]


def pretrain(
    wanted: Recipe, changes: Changes, run: Path, *, resume: bool, display: Display, began: float | None = None
) -> Run:
    """The first stage alone. Raises what `train_in_two_stages` raises."""
    first = first_stage(wanted, changes)
    if resume and not RunDirectory(run).recipe_file.exists():
        resume = False
    return launch.train(first, run=run, resume=resume, display=display, began=began)


def first_stage(wanted: Recipe, changes: Changes = ()) -> Recipe:
    """The recipe of a task's first stage. Raises UsageError for a task that learns from no single text."""
    tree = wanted.model_dump(mode="json")
    name = tree["objective"]["name"]
    if "text" not in recipes.objective_class(wanted).columns:
        raise UsageError(
            f"{name} learns from no single text, so that nothing can be pre-trained on its texts",
            "train a run on texts by itself, and begin from it: init_from=RUN",
        )
    training = tree["training"]
    usual = TrainingConfig().model_dump(mode="json")
    of_task = ("best", "patience", "weights", "freeze", "layer_decay", "head_learning_rate", "evaluate_every")
    training |= {key: usual[key] for key in of_task}
    if training["minutes"] is not None:
        training["minutes"] *= SHARE
    else:
        training |= {"steps": None, "epochs": EPOCHS}
    tree["objective"] = {"name": "masked_lm"}
    tree["data"] |= {"train_rows": None, "test": None, "labels": None}
    tree["model"] |= {"dropout": min(DROPOUT, tree["model"]["dropout"])}
    tree["description"] = f"the texts of {name}, to begin with"
    return recipes.with_changes(tree, changes)
