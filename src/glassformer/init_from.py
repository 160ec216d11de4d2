"""Where the weights of a run may begin: a run of ours, or a Hugging Face folder, opened for `training/transfer.py`.

    glassformer train mine.txt init_from=runs/mlm-demo
    init_from: {run: runs/mlm-demo, tokenizer: own, take: ["encoder.*"]}

Sizes and parts of the model, and the tokenizer, are those of the source where nothing else is said. Nothing of the
source is needed once a run has begun.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from glassformer import recipe as recipes
from glassformer.changes import Changes, listed, objective_name
from glassformer.data.batch import OutputSpec
from glassformer.data.codecs import Codecs
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import GlassformerError, UsageError
from glassformer.exchange import weights as folders
from glassformer.model.config import ModelConfig
from glassformer.objective_configs import needs_of
from glassformer.recipe import Recipe
from glassformer.run import RunDirectory
from glassformer.training.checkpoints import load_weights
from glassformer.training.config import InitFrom
from glassformer.training.transfer import Transfer, named_rows, transfer


def sections_of(source: Path) -> dict[str, Any]:
    """The sections of a recipe that describe a source: its model, and how its tokenizer was made. Raises UsageError
    where there is no run or folder, and GlassformerError where what describes it is damaged."""
    if _is_folder(source):
        return {
            "model": folders.read_config(source).model_dump(mode="json"),
            "tokenizer": {"path": str(source / "tokenizer.json")},
        }
    recipe = _recipe_of(source).model_dump(mode="json")
    return {key: recipe[key] for key in ("model", "tokenizer", "target_tokenizer") if recipe[key] is not None}


def _is_folder(source: Path) -> bool:
    """Whether it is a Hugging Face folder, and not a run."""
    return not RunDirectory(source).recipe_file.exists() and (source / "config.json").exists()


def _recipe_of(source: Path) -> Recipe:
    """The recipe of a run. Raises UsageError where there is none, and GlassformerError where it is damaged."""
    try:
        directory = RunDirectory.open(source)
    except UsageError as error:
        raise UsageError(f"init_from: {error.what}", error.mend) from None
    try:
        return recipes.read(str(directory.recipe_file))
    except (GlassformerError, RecursionError, ValueError) as error:
        why = " ".join(str(getattr(error, "what", error)).split())
        raise GlassformerError(f"init_from: {directory.recipe_file} is damaged: {why}", "train it again") from None


def begun_from(tree: dict[str, Any], changes: Changes = ()) -> dict[str, Any]:
    """A recipe's tree, completed by what its `init_from` begins with: the keys of its model that are not given, and
    its tokenizer where that is kept. Itself without `init_from`. Raises what `sections_of` raises, and UsageError where
    a change would make another tokenizer than the one that is kept."""
    given = tree.get("init_from")
    if given is None:
        return tree
    init = recipes.section(InitFrom, given, "init_from")
    own = {key: tree[key] for key in ("tokenizer", "target_tokenizer") if init.tokenizer == "own" and key in tree}
    for change in listed(changes):
        if init.tokenizer == "keep" and change.key.startswith(("tokenizer.", "target_tokenizer")):
            raise UsageError(
                f"{str(change)!r} is asked for, and the tokenizer is that of {init.run}",
                "leave it out, or make one anew: init_from.tokenizer=own",
            )
    found = sections_of(Path(init.run))
    model = _for_objective(found.pop("model"), tree) | (tree.get("model") or {})
    return tree | ({} if init.tokenizer == "own" else found) | own | {"model": model}


def _for_objective(model: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:
    """The model of a source with the stacks that the objective needs: one that reads a single stream takes the encoder
    of two stacks, one that needs two has the source's as its encoder."""
    needed = needs_of(objective_name(tree)).family
    if (needed == "encoder_decoder") == (model["family"] == "encoder_decoder"):
        return model
    return model | {"family": needed}


class Source(NamedTuple):
    """What is there to begin with."""

    name: str
    config: ModelConfig
    codecs: Codecs
    tensors: Mapping[str, Tensor]


def codecs_of(init: InitFrom) -> Codecs:
    """The tokenizers of a source, and its labels. Raises UsageError where there is none, and GlassformerError where one
    is damaged."""
    path = Path(init.run)
    if _is_folder(path):
        return Codecs(Tokenizer.load(path / "tokenizer.json"))
    _recipe_of(path)
    return RunDirectory(path).codecs()


def open_source(init: InitFrom, say: Callable[[str], None]) -> Source:
    """Read a source: of a run the weights that it would be asked with. Raises UsageError where there is none, and
    GlassformerError where it is damaged."""
    path, codecs = Path(init.run), codecs_of(init)
    if _is_folder(path):
        folder = folders.read(path)
        return Source(init.run, folder.config, codecs, folder.weights)
    recipe = _recipe_of(path)
    newest = "last" if recipe.training.weights == "last" else None
    tensors, _ = load_weights(RunDirectory(path), newest, report=say)
    return Source(init.run, recipe.model, codecs, tensors)


SIZES = ("preset", "dropout", "attention_dropout", "output_dropout", "max_length", "n_layers", "n_decoder_layers")
"""Keys of a model that may differ without changing what a tensor means."""


def begin(
    model: nn.Module, recipe: Recipe, heads: Iterable[OutputSpec], codecs: Codecs, say: Callable[[str], None]
) -> Transfer | None:
    """Give a fresh model the weights that its recipe begins with, and say which; None where the recipe begins with
    none. Raises what `open_source` and `transfer` raise."""
    init = recipe.init_from
    if init is None:
        return None
    source = open_source(init, say)
    rows = named_rows(model.state_dict(), heads, source.codecs, codecs)
    try:
        done = transfer(model, source.tensors, init.run, rows=rows, take=init.take)
    except UsageError as error:
        differing = differences(source.config, recipe.model)
        raise UsageError(error.what, f"{error.mend}; {differing[0]}" if differing else error.mend) from None
    say(f"weights begin with those of {init.run}:")
    for line in [*done.lines(), *differences(source.config, recipe.model)]:
        say(line)
    return done


def differences(there: ModelConfig, here: ModelConfig) -> list[str]:
    """Each key by which the same tensors mean something else."""
    one, other = (config.spelled_out().model_dump(mode="json") for config in (there, here))
    keys = [key for key in one if key not in SIZES and one[key] != other[key]]
    return [f"note: model.{key} is {one[key]} there, and {other[key]} here" for key in keys]
