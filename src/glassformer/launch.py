"""Train a recipe from start to end: data, measured choices, the loop, the pictures; or go on where a run stopped."""

import itertools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch

from glassformer import recipe as recipes
from glassformer.agreement import agreed, as_json, asked_tree, begun_with, recorded_and_written
from glassformer.ask.evaluation import calibrate
from glassformer.ask.run import Run, load
from glassformer.assemble import Parts, assemble, describe_unknown_words
from glassformer.baselines.unigram import Constant, Unigram
from glassformer.build import all_evaluation_sets, engine_for, training_order
from glassformer.changes import Changes, as_recorded
from glassformer.data.batch import collate
from glassformer.errors import UsageError
from glassformer.init_from import begin, begun_from
from glassformer.look.report import draw_report
from glassformer.model.config import ModelConfig
from glassformer.model.kinds import Model, find_kind
from glassformer.model.size import count_parameters
from glassformer.objectives import Objective
from glassformer.own_text import is_change, is_own_text, run_name, text_among_changes, which_recipe
from glassformer.recipe import Recipe
from glassformer.resolve import refuse_missing_device, refuse_too_many, resolve
from glassformer.run import RunDirectory
from glassformer.snapshot import write_text_durably
from glassformer.suggest import recipe_for_text
from glassformer.training.callbacks import AttentionEntropy, Callback, Samples, TensorBoard, Verdict
from glassformer.training.display import TerminalDisplay
from glassformer.training.engine import threads
from glassformer.training.evaluation import TELLS_FROM, EvaluationSet, evaluate
from glassformer.training.places import places
from glassformer.training.probes import Probes
from glassformer.training.processes import Processes, connected, started_together
from glassformer.training.trainer import Display, Quiet, Trainer
from glassformer.training.transfer import frozen_in, together
from glassformer.training.workers import workers


def train(
    recipe: str | Path | Recipe | None = None,
    changes: Changes = (),
    *,
    run: str | Path | None = None,
    resume: bool = False,
    display: Display | None = None,
    began: float | None = None,
    pictures: bool = True,
) -> Run:
    """Train and return the finished run.

    `recipe` is a shipped name, a YAML file, a Recipe, or a text file or folder of the person's own. `changes` are
    `["training.steps=5"]`, `{"training.steps": 5}` or `{"training": {"steps": 5}}`. `run` is the run directory (default
    `runs/NAME`, with a number if that is taken). With `resume` everything comes from the run; a recipe or change that
    differs is refused by name, except a larger `training.steps` and another `training.devices`, which are recorded; a
    run that is not there yet is begun, where its recipe is named. `display` is what a person watches; `Quiet()` shows
    nothing. `began` is when the clock of `training.minutes` began to run (as time.time() has it); without it that is
    now. Without `pictures` none are drawn at the end. Where torchrun has started several processes, each calls this,
    and they train together.

    Raises UsageError (wrong recipe, unusable text, existing run), Interrupted (Ctrl-C, SIGTERM; all is saved) and
    GlassformerError (training cannot go on).
    """
    display, began = display or TerminalDisplay(), began or time.time()
    if started_together()[1] == 1:
        return drawn(_train(recipe, changes, run, resume, display, began), pictures)
    with connected() as processes:
        if processes.first:
            return drawn(_train(recipe, changes, run, resume, display, began, processes), pictures)
        path = Path(processes.told(None))
        train_along(path, lambda: nullcontext(processes))
        return load(path)


def drawn(finished: Run, pictures: bool) -> Run:
    """The run, with its pictures where they are wanted."""
    if pictures:
        draw_report(finished)
    return finished


def _train(
    recipe: str | Path | Recipe | None,
    changes: Changes,
    run: str | Path | None,
    resume: bool,
    display: Display,
    began: float,
    processes: Processes | None = None,
) -> Run:
    """`train` in the first process, or the only one; `processes` where others were started beside it."""
    if resume:
        begun = _run_to_resume(recipe, run)
        if begun is not None:
            if is_change(recipe):
                recipe, changes = None, [str(recipe), *as_recorded(changes)]
            if processes is not None:
                changes = [*as_recorded(changes), {"training.devices": processes.world}]
            with begun.locked():
                return _fit(begun, _reopen(begun, recipe, changes, display), processes)
    if recipe is None:
        raise which_recipe()
    name, wanted = find_recipe(recipe, changes, display.say)
    if processes is not None:
        wanted = _for_those_started(wanted, processes.world)
    folder = Path(run) if run is not None else Path("runs") / name if resume else free_folder(Path("runs"), name)
    directory = RunDirectory.create(folder)
    if resume:
        display.say(f"there is no run {folder} yet: it begins now")
    with directory.locked():
        directory.refuse_taken()  # another process may have been quicker
        asked = {"recipe": name, "changes": as_recorded(changes)}
        return _fit(directory, _begin(directory, wanted, asked, display, began), processes)


def _for_those_started(wanted: Recipe, number: int) -> Recipe:
    """The recipe for as many processes as there are. Raises UsageError where it names another number."""
    if wanted.training.devices not in (1, number):
        raise UsageError(
            f"training.devices={wanted.training.devices}, and {number} processes were started (WORLD_SIZE={number})",
            "leave out training.devices, or start as many",
        )
    return recipes.with_value(wanted, "training.devices", number)


def _fit(directory: RunDirectory, trainer: Trainer, started: Processes | None = None) -> Run:
    """Train to the end; with the processes that were `started` beside this one, or with as
    many as the recipe wants, which are started here."""
    with threads(trainer.config.threads if isinstance(trainer.config.threads, int) else None):
        if started is not None:
            started.told(str(directory.path))
            trainer.fit(started)
        elif trainer.config.devices == 1:
            trainer.fit()
        else:
            with workers("glassformer.worker", directory.path, trainer.config.devices) as processes:
                trainer.fit(processes)
    finished = load(directory.path)
    calibrate(finished)
    return finished


def train_along(path: Path, joined: Callable[[], AbstractContextManager[Processes]]) -> None:
    """A process beside the first: it trains the run as the first has settled and written it, watched by nobody.

    Raises what `train` raises, and LostProcess where the first has ended.
    """
    directory = RunDirectory.open(path)
    parts = assemble(recipes.read(str(directory.recipe_file)), codecs=directory.codecs())
    _refuse_other_data(directory.environment(), parts)
    trainer = _trainer(directory, parts, Quiet(), watched=False)
    with threads(trainer.config.threads if isinstance(trainer.config.threads, int) else None), joined() as processes:
        trainer.fit(processes)


# ------------------------------------------------------------------------------------------------ a new run


def _begin(directory: RunDirectory, wanted: Recipe, asked: dict[str, Any], display: Display, began: float) -> Trainer:
    """Settle everything that is still open, make sure that it can be trained, and write it down before the first step.

    `asked` is the recipe's name and the changes to it, which a resume may name again.
    """
    try:
        parts = assemble(wanted, display.say)
        resolved, measured = resolve(parts, display.say, began)
        parts = parts._replace(recipe=resolved)
        measured["left_open"] = _changed_by_the_texts(wanted, resolved)
        trainer = _trainer(directory, parts, display)
        begun = begin(trainer.engine.model, resolved, parts.objective.outputs(), parts.codecs, display.say)
        for line in [
            *([] if begun is not None else describe_frozen(trainer.engine.model)),
            *describe_rates(resolved, trainer.engine.model),
            *describe_unread(resolved),
            *describe_unknown_words(parts),
            describe_evaluation_set(trainer.evaluation_sets[0]),
        ]:
            display.say(line)
        measured["parameters"] = count_parameters(trainer.engine.model)
        directory.save_codecs(parts.codecs)
        found: dict[str, Any] = {
            "asked": asked,
            "measured": measured,
            "data": data_identity(parts),
            "recipe": as_json(resolved),
        }
        found |= {} if begun is None else {"init_from": begun.record()}
        if frozen := frozen_in(trainer.engine.model):
            found["frozen"] = frozen
        directory.write_environment(found)
        write_text_durably(directory.recipe_file, recipes.to_yaml(resolved))
    except BaseException:  # the name stays free for the next attempt
        directory.forget()
        raise
    return trainer


def _changed_by_the_texts(wanted: Recipe, resolved: Recipe) -> dict[str, Any]:
    """What the recipe said of its data and objective where `assemble` chose something for it, such as `auto`."""
    before, after = wanted.model_dump(mode="json"), resolved.model_dump(mode="json")
    return {
        f"{section}.{key}": value
        for section in ("data", "objective")
        for key, value in before[section].items()
        if value != after[section][key]
    }


def describe_frozen(model: Model) -> list[str]:
    """What training does not change, and how much is left to learn; nothing where it changes all."""
    frozen = frozen_in(model)
    if not frozen:
        return []
    learning, numbers = (
        sum(p.numel() for p in model.parameters() if p.requires_grad or not only) for only in (True, False)
    )
    return [f"frozen: {', '.join(together(frozen))}; {learning:,} of {numbers:,} parameters learn"]


def describe_rates(recipe: Recipe, model: Model) -> list[str]:
    """A line about peak learning rates that differ by layer; none where they do not."""
    training, config = recipe.training, recipe.optimizer
    if training.layer_decay == 1.0 and training.head_learning_rate is None:
        return []
    deepest = max(place.below_top for place in places(model).values())
    adamw, of_heads = config.learning_rate, training.head_learning_rate or config.learning_rate
    of_blocks = config.muon_learning_rate if config.name == "muon" else adamw
    blocks = ", ".join(f"{of_blocks * training.layer_decay**n:.2g}" for n in range(deepest - 1, 0, -1))
    lowest = adamw * training.layer_decay**deepest
    return [
        f"peak learning rates, from below: embeddings {lowest:.2g}; blocks {blocks}"
        f"{' (Muon)' if config.name == 'muon' else ''}; heads {of_heads:.2g}"
    ]


def describe_unread(recipe: Recipe) -> list[str]:
    """A line about the keys of the model's section that are set and that its kind has no use for."""
    usual = ModelConfig()
    unread = [key for key in find_kind(recipe.model.kind).reads_no if getattr(recipe.model, key) != getattr(usual, key)]
    if not unread:
        return []
    return [f"model.kind={recipe.model.kind} has no use for model.{', model.'.join(unread)}"]


def describe_evaluation_set(questions: EvaluationSet) -> str:
    """How much an evaluation asks."""
    words, unknown = questions.words
    few = "" if questions.count >= TELLS_FROM else "; too few to tell better weights from worse"
    left_out = f", none about the {unknown:,} of {words:,} words that are unknown" if unknown else ""
    return f"each evaluation asks {questions.count:,} questions in {questions.where}{left_out}{few}"


def find_recipe(recipe: str | Path | Recipe, changes: Changes, say: Callable[[str], None]) -> tuple[str, Recipe]:
    """The recipe and a name for its run. A text of the person's own gets a recipe made for it."""
    if isinstance(recipe, Recipe):
        return "run", recipes.with_changes(as_json(recipe), changes) if changes else recipe
    name, changes = text_among_changes(str(recipe), changes)
    recipes.refuse_two_lengths(changes)
    if is_own_text(name):
        tree = begun_from(recipes.apply_changes({}, changes), changes)
        return run_name(name), recipe_for_text(name, tree, say)
    return run_name(name), recipes.read(name, changes, begun_from)


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or with the first free number."""
    numbered = (parent / (name if n == 1 else f"{name}-{n}") for n in itertools.count(1))
    return next(path for path in numbered if not path.exists())


def reference_lines(questions: EvaluationSet, parts: Parts) -> dict[str, float]:
    """The losses that need no learning, on the very questions that are asked. Of classes: all of them alike, and
    counts; of numbers: their mean. None where the loss could be held against nothing."""
    objective, dataset, seed = parts.objective, parts.train_dataset, parts.recipe.seed
    kinds = {loss.baseline for loss in objective.losses.values()}
    if kinds == {"counts"}:
        counts = objective.target_counts(dataset, seed)
        uniform = Unigram({name: torch.zeros_like(count) for name, count in counts.items()})
        return {"uniform": evaluate(uniform, questions).loss, "unigram": evaluate(Unigram(counts), questions).loss}
    if kinds == {"mean"}:
        means = {
            head.name: torch.from_numpy(targets.reshape(-1, head.size).mean(0)).float()
            for head, targets in zip(objective.outputs(), objective.all_targets(dataset, seed).values(), strict=True)
        }
        outputs = {name: objective.losses[name].constant(mean) for name, mean in means.items()}
        return {"constant": evaluate(Constant(outputs), questions).loss}
    return {}


def _trainer(directory: RunDirectory, parts: Parts, display: Display, watched: bool = True) -> Trainer:
    """Everything handed to the loop; `watched` by whoever looks at a run while it trains."""
    recipe = parts.recipe
    with threads(recipe.training.threads if isinstance(recipe.training.threads, int) else None):
        evaluation_sets = all_evaluation_sets(recipe, parts)
        callbacks = _callbacks(directory, parts, evaluation_sets[0]) if watched else []
    engine = engine_for(recipe, parts.objective)
    return Trainer(
        engine,
        directory,
        training_order(recipe, parts),
        evaluation_sets,
        recipe.training,
        recipe.schedule,
        recipe.seed,
        callbacks=callbacks,
        display=display,
    )


def _callbacks(directory: RunDirectory, parts: Parts, questions: EvaluationSet) -> list[Callback]:
    """What watches a run of this recipe. Raises UsageError for a text that cannot be a probe."""
    training, objective = parts.recipe.training, parts.objective
    assert training.evaluate_every and training.steps
    few = [questions.example(int(i)) for i in questions.chosen[:16]]
    few = [example for example in few if example.member == few[0].member]
    callbacks: list[Callback] = [
        Verdict(reference_lines(questions, parts), asked_for(objective)),
        AttentionEntropy(collate([[example] for example in few], objective.pad_id)),
    ]
    if training.samples:
        callbacks.append(Samples(directory, objective, questions, training.samples))
    if training.probes:
        every = training.probe_every or training.evaluate_every
        callbacks.append(Probes(directory, objective, training.probes, every, training.steps))
    if training.tensorboard:
        callbacks.append(TensorBoard(directory))
    return callbacks


def asked_for(objective: Objective) -> Literal["words", "labels", "places"]:
    """What a verdict calls the classes."""
    heads = [head for member in objective.members for head in member.outputs()]
    if all(head.read == "pointer" for head in heads):
        return "places"
    return "words" if any(head.over_tokens for head in heads) else "labels"


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
    recorded, written = recorded_and_written(directory, environment)
    lengths = environment.get("measured", {}).get("asked", {})
    left_open = environment.get("measured", {}).get("left_open", {})
    tree = asked_tree(recipe)
    if lengths.get("steps") and (tree.get("training") or {}).get("steps") == lengths["steps"]:
        del tree["training"]["steps"]  # the recipe's own file still says the steps from before an extension
    asked = recipes.apply_changes(tree, [*begun_with(environment, written), *as_recorded(changes)])
    resolved = agreed(written, asked, lengths, left_open)
    refuse_missing_device(resolved.training.device, "go on where there is one, or start a new run with --run")
    refuse_too_many(resolved.training.devices, resolved.training.device)
    parts = assemble(resolved, display.say, directory.codecs())
    _refuse_other_data(environment, parts)
    trainer = _trainer(directory, parts, display)
    if resolved != recorded:
        # The recipe first: ended between the two, it is found edited, and that is recorded then.
        write_text_durably(directory.recipe_file, recipes.to_yaml(resolved))
        changed = [said(environment, recorded, resolved, display) for said in (_extended, _shared_out)]
        directory.write_environment({**environment, **changed[0], **changed[1], "recipe": as_json(resolved)})
    return trainer


def _extended(environment: dict[str, Any], recorded: Recipe, resolved: Recipe, display: Display) -> dict[str, Any]:
    """What environment.json says of more steps."""
    extension = {"from": recorded.training.steps, "to": resolved.training.steps}
    if extension["from"] == extension["to"]:
        return {}
    display.say(f"training.steps extended from {extension['from']} to {extension['to']}")
    return {"extensions": [*environment.get("extensions", []), extension]}


def _shared_out(environment: dict[str, Any], recorded: Recipe, resolved: Recipe, display: Display) -> dict[str, Any]:
    """What environment.json says of another number of processes: the accumulation that the run was begun with agrees
    with what it is now."""
    was, now = recorded.training, resolved.training
    if was.devices == now.devices:
        return {}
    display.say(
        f"training.devices was {was.devices}, and is {now.devices} from here: the steps are the same, of "
        f"{now.devices * now.accumulate} micro-batches, up to the rounding of sums"
    )
    measured = environment.get("measured", {})
    left_open = {"training.accumulate": was.accumulate} | measured.get("left_open", {})
    return {"measured": {**measured, "left_open": left_open}}


def _refuse_other_data(environment: dict[str, Any], parts: Parts) -> None:
    if environment.get("data") != data_identity(parts):
        raise UsageError("the data has changed since the run was begun", "put it back, or start a new run with --run")


def data_identity(parts: Parts) -> dict[str, Any]:
    """What the data came to: a resume on other data is refused."""
    return {**parts.codecs.identities, "train": parts.train.identity, "validation": parts.validation.identity}
