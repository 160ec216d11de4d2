"""A run made of a Hugging Face folder, and a folder made of a run."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path

from glassformer import generation_settings
from glassformer import recipe as recipes
from glassformer.ask.run import Run, load
from glassformer.assemble import model_for, objective_for
from glassformer.data.codecs import Codecs
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.exchange.contract import Architecture, as_yaml, find_architecture
from glassformer.exchange.weights import Folder, Frame, read, write
from glassformer.objectives import Objective
from glassformer.recipe import Recipe
from glassformer.run import RunDirectory
from glassformer.snapshot import write_snapshot, write_text_durably
from glassformer.training.checkpoints import load_into, print_to_stderr


def export_run(run: Run, folder: str | Path, format: str | None = None) -> Path:
    """`write` a trained run. Its tokenizer there frames a text as the run's own objective does."""
    if run.objective.target_tokenizer is not run.tokenizer:
        raise UsageError(
            "a folder holds one tokenizer, and this run has another one for its targets",
            "train with one vocabulary for both sides (without target_tokenizer)",
        )
    return write(run.model, run.tokenizer, folder, format, frame_of(run.objective))


def frame_of(objective: Objective) -> Frame | None:
    """What an objective sets before and behind a text that it asks a model about; None where it asks about no plain
    text (span corruption: only about one with gaps)."""
    try:
        streams = objective.prompt("a").example.streams
    except UsageError:
        return None
    ids = next(iter(streams.values())).values.tolist()  # the encoder's, where there is one
    special = objective.tokenizer.special_ids - {objective.tokenizer.unk_id}
    before = list(takewhile(special.__contains__, ids))
    behind = list(takewhile(special.__contains__, reversed(ids[len(before) :])))
    return Frame(before, behind[::-1])


def import_run(
    folder: str | Path,
    run: str | Path,
    changes: Sequence[str] = (),
    say: Callable[[str], None] = print_to_stderr,
) -> Run:
    """Make a run of a folder, so that everything that asks a run can ask it. It was trained elsewhere: it has weights,
    and no curves and no data. `changes` say what the recipe cannot know: the objective by which it is asked, data.

    Settings of generation that are chosen anew at each call here are not taken, which is said.

    Raises what `read` raises, and UsageError for an objective of several heads, where the folder's tokenizer is not
    one that we can use: it needs the five special tokens that objectives frame texts with, and the model must begin and
    end texts with them; and for what would decide answers and has no place here: tokens that are forced or forbidden, a
    bias on the logits, another frame of special tokens around a text.
    """
    found = read(folder)
    architecture, tokenizer = find_architecture(found.format), found.tokenizer()
    _refuse_other_tokens(found, architecture, tokenizer)
    generation_settings.check(found.path, found.settings, say)
    recipe = _recipe_for(found, architecture, changes)
    objective = objective_for(recipe, Codecs(tokenizer))
    if len(objective.outputs()) != 1:
        raise UsageError(
            f"a folder of the format {found.format} has one head, and what is asked for has {len(objective.outputs())}",
            f"ask it by one objective: objective.name={architecture.objective}",
        )
    [head] = objective.outputs()
    if found.head.bias and not head.bias:
        raise UsageError(
            f"{found.path} adds a bias to its logits, and a head of {head.name} has none",
            "read the weights with glassformer.exchange.read, or set that tensor to zeros if it means nothing",
        )
    _refuse_other_frame(found, tokenizer, objective, say)
    model = model_for(recipe, objective)
    load_into(model, {_renamed(name, found.head.name, head.name): tensor for name, tensor in found.weights.items()})
    directory = RunDirectory.create(Path(run))
    with directory.locked():
        directory.refuse_taken()
        directory.save_codecs(Codecs(tokenizer))
        directory.write_environment({"imported": {"format": found.format}})
        write_snapshot(directory.last, {"model": dict(model.state_dict())}, {"step": 0})
        write_text_durably(directory.recipe_file, recipes.to_yaml(recipe))  # last: only now it is a run
    return load(directory.path)


def _refuse_other_tokens(found: Folder, architecture: Architecture, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size != found.vocab_size:
        raise UsageError(
            f"{found.path} has a model of {found.vocab_size} tokens, and its tokenizer has {tokenizer.vocab_size}",
            "read the weights alone with glassformer.exchange.read",
        )
    for key, id in architecture.tokens(tokenizer).items():
        given = found.settings.get(key, architecture.token_defaults[key])
        if given != id and (id is None or key != "pad_token_id" or given is not None):
            here = "none" if id is None else f"{id} there, which is {tokenizer.token(id)}"
            raise UsageError(
                f"{found.path}: {key}={as_yaml(given)} in config.json, and a run here has {here}",
                "read the weights alone with glassformer.exchange.read",
            )


def _refuse_other_frame(found: Folder, tokenizer: Tokenizer, objective: Objective, say: Callable[[str], None]) -> None:
    """Raises UsageError where the folder's tokenizer sets other special tokens around a text than the objective does;
    says which are set where its own sets none."""
    ours = frame_of(objective)
    theirs = Frame(*tokenizer.frame())
    if ours is None or ours == theirs:
        return
    shown = [" ".join([*map(tokenizer.token, f.before), "A", *map(tokenizer.token, f.behind)]) for f in (theirs, ours)]
    if theirs == Frame([], []):
        say(f"note: the folder's tokenizer adds nothing to a text A; here the model reads {shown[1]}")
        return
    raise UsageError(
        f"{found.path}: its tokenizer makes {shown[0]} of a text A, and {objective.config.model_dump()['name']} reads "
        f"{shown[1]}",
        "ask it by an objective that reads the same (objective.name=denoising reads [CLS] A [SEP]), or read the "
        "weights alone with glassformer.exchange.read",
    )


def _recipe_for(found: Folder, architecture: Architecture, changes: Sequence[str]) -> Recipe:
    for change in changes:
        if not change.startswith(("objective.", "data.", "description=")):
            raise UsageError(
                f"{change!r} would change what was imported", "objective.name=..., data.validation=... can be given"
            )
    tree = {
        "description": f"imported from a folder of the format {found.format}",
        "data": {"train": "(trained elsewhere)"},
        "objective": {"name": architecture.objective},
        "model": found.config.model_dump(mode="json"),
        "training": {"weights": "last"},
    }
    return recipes.with_changes(tree, changes)


def _renamed(name: str, head: str, other: str) -> str:
    return name.replace(f"heads.{head}.", f"heads.{other}.") if name.startswith(f"heads.{head}.") else name
