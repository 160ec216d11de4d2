"""Hugging Face folders in and out: config.json, model.safetensors, tokenizer.json. One file per architecture, which
says what each tensor is called over there.

    decoder.embeddings.token.weight                  transformer.wte.weight
    decoder.blocks.0.self_attention.output.weight    transformer.h.0.attn.c_proj.weight      (gpt2, transposed)

A folder is JSON and tensors: nothing here imports transformers. What an architecture cannot express is refused by name,
in both directions; nothing is left out or filled in.
"""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import psutil
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassformer import generation_settings
from glassformer import recipe as recipes
from glassformer.ask.run import Run, load
from glassformer.assemble import model_for, objective_for
from glassformer.data.batch import HeadSpec
from glassformer.data.tokenizer import CLS, MASK, PAD, SEP, UNK, Tokenizer, Tokenizers
from glassformer.errors import GlassformerError, UsageError
from glassformer.model.config import Family, ModelConfig, check_sizes
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.size import n_parameters
from glassformer.objectives import Objective
from glassformer.plugins import find_plugin, plugin_names
from glassformer.reading import MEND, NoSuchFile, json_object, safetensors_header
from glassformer.recipe import Recipe
from glassformer.run import RunDirectory
from glassformer.snapshot import publish, write_snapshot, write_text_durably
from glassformer.training.checkpoints import load_into, print_to_stderr

# ------------------------------------------------------------------------------------- what an architecture is


class Pair(NamedTuple):
    """One of our tensors, and what it is over there."""

    ours: str
    theirs: tuple[str, ...]
    """Several, laid one below the other, make ours: we hold queries, keys and values in one matrix."""
    layout: Literal["same", "transposed", "row"] = "same"
    """transposed: inputs x outputs; row: 1 x size."""
    unused: int = 0
    """Their table begins with so many rows that are never read."""
    optional: bool = False
    """Either side may leave it out, which is the same as zeros."""

    def written(self, tensor: Tensor) -> dict[str, Tensor]:
        """Ours under their names."""
        if self.unused:
            tensor = torch.cat([tensor.new_zeros(self.unused, *tensor.shape[1:]), tensor])
        parts = zip(self.theirs, tensor.chunk(len(self.theirs)), strict=True)
        return {name: self._turned(part, backwards=False).clone().contiguous() for name, part in parts}

    def read(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Theirs as ours."""
        return torch.cat([self._turned(tensors[name], backwards=True) for name in self.theirs])[self.unused :]

    def _turned(self, tensor: Tensor, backwards: bool) -> Tensor:
        if self.layout == "transposed":
            return tensor.T
        if self.layout == "row":
            return tensor[0] if backwards else tensor[None]
        return tensor


def layer(ours: str, *theirs: str, transposed: bool = False) -> Iterator[Pair]:
    """Weight and bias of a linear layer or a norm."""
    names = [tuple(f"{name}.{part}" for name in theirs) for part in ("weight", "bias")]
    yield Pair(f"{ours}.weight", names[0], "transposed" if transposed else "same")
    yield Pair(f"{ours}.bias", names[1])


ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}
SYNONYMS = {"gelu_pytorch_tanh": "gelu_tanh", "swish": "silu"} | {theirs: ours for ours, theirs in ACTIVATIONS.items()}

PARTS: dict[str, tuple[Any, str]] = {
    "kind": ("transformer", "blocks as ours are"),
    "norm_kind": ("layer", "LayerNorm"),
    "bias": (True, "biases in every layer"),
    "positions": ("learned", "learned positions"),
    "attention": ("full", "full attention"),
    "attention_scale": (None, "scores scaled by the width of a head"),
    "share_layers": (False, "weights of its own in every layer"),
    "segments": (0, "no segments"),
}
"""What every architecture here has: the value of each key of the model's section, and how a person is told."""


class Architecture(ABC):
    """What every file in this folder provides. The file's name is `model_type` in config.json."""

    family: ClassVar[Family]
    objective: ClassVar[str]
    """What such a model is asked, where nothing else is said."""
    parts: ClassVar[dict[str, tuple[Any, str]]]
    """As PARTS, with its own."""
    defaults: ClassVar[dict[str, Any]]
    """What their keys are where config.json leaves them out."""
    fixed: ClassVar[dict[str, Any]]
    """Their keys that must have one value, since we have nothing else."""
    prefix: ClassVar[str]
    """How their names begin; files of a model without a head leave it out."""

    @abstractmethod
    def settings(self, model: ModelConfig, vocab_size: int) -> dict[str, Any]:
        """Sizes and parts as their config.json has them."""

    @abstractmethod
    def model(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The other way: the keys of ModelConfig."""

    token_defaults: ClassVar[dict[str, int | None]]
    """What the keys of `tokens` are where config.json leaves them out."""

    @abstractmethod
    def tokens(self, tokenizer: Tokenizer) -> dict[str, int | None]:
        """Which tokens begin, end and pad a text, as their config.json has them."""

    @abstractmethod
    def pairs(self, model: ModelConfig, head: str) -> Iterator[Pair]:
        """All tensors of a model whose one head has this name. Several of ours may be one of theirs (tied)."""

    def copies(self, model: ModelConfig) -> dict[str, str]:
        """Names under which some files repeat a tensor -> the name that it has."""
        return {}

    def is_no_weight(self, name: str) -> bool:
        """Whether some files have a tensor of this name that nothing is learned in."""
        return False


def find_architecture(name: str) -> Architecture:
    """The architecture in the file `name`.py of this folder. Raises UsageError naming those that there are."""
    names = plugin_names(__name__)
    if name not in names:
        raise UsageError(f"there is no format {name!r}", f"formats: {', '.join(names)}")
    return find_plugin(__name__, name, Architecture, "format")()  # type: ignore[type-abstract]


def format_for(model: ModelConfig) -> str:
    """The format of the model's family. Raises UsageError where there is none."""
    families = {name: find_architecture(name).family for name in plugin_names(__name__)}
    found = [name for name, family in families.items() if family == model.family]
    if not found:
        known = ", ".join(f"{name} ({family})" for name, family in families.items())
        raise UsageError(f"there is no format for model.family={model.family}", f"known: {known}")
    return found[0]


# ---------------------------------------------------------------------------------------------------------- out


class Frame(NamedTuple):
    """The special tokens that a text is given before and behind it, so that a model reads what it has learned from."""

    before: list[int]
    behind: list[int]


def write(
    model: Transformer,
    tokenizer: Tokenizer,
    folder: str | Path,
    format: str | None = None,
    frame: Frame | None = None,
) -> Path:
    """Write a model as a folder that transformers reads: `AutoModel...from_pretrained(folder)`, `AutoTokenizer` too.

    `format` is an architecture (None: that of the model's family); `frame` is what its tokenizer adds to a text.
    Raises UsageError naming the part that the architecture has not, or for a folder that is not empty, and
    GlassformerError where nothing can be written; a half-written folder is never left behind.
    """
    folder, name = Path(folder), format or format_for(model.config)
    architecture = find_architecture(name)
    _refuse_other_parts(name, architecture, model.config)
    tensors = _their_tensors(name, architecture, model)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already, and is not empty", "choose another folder")
    if folder.resolve() == Path.cwd():
        raise UsageError("the folder is made anew, as a whole, and the present one cannot be", "name a new one in it")
    settings = architecture.settings(model.config, tokenizer.vocab_size) | architecture.tokens(tokenizer)
    [precision] = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}

    def fill(aside: Path) -> None:
        write_text_durably(aside / "config.json", _json({"model_type": name, "dtype": precision, **settings}))
        tokenizer.save(aside / "tokenizer.json")
        _add_frame(aside / "tokenizer.json", frame or Frame([], []), tokenizer)
        write_text_durably(
            aside / "tokenizer_config.json", _json(_tokenizer_settings(model.config, tokenizer, settings))
        )
        save_file(tensors, aside / "model.safetensors", metadata={"format": "pt"})
        shutil.copymode(aside / "config.json", aside / "model.safetensors")  # safetensors: readable by its owner only

    publish(folder, fill)
    return folder


def export_run(run: Run, folder: str | Path, format: str | None = None) -> Path:
    """`write` a trained run. Its tokenizer there frames a text as the run's own objective does."""
    if run.objective.target_tokenizer is not run.tokenizer:
        raise UsageError(
            "a folder holds one tokenizer, and this run has another one for its targets",
            "train with one vocabulary for both sides (without target_tokenizer)",
        )
    if not isinstance(run.model, Transformer):
        raise UsageError("PyTorch's blocks cannot be written", "train with model.kind=transformer")
    return write(run.model, run.tokenizer, folder, format, frame_of(run.objective))


def frame_of(objective: Objective) -> Frame | None:
    """What an objective sets before and behind a text that it asks a model about; None where it asks about no plain
    text (span corruption: only about one with gaps)."""
    try:
        streams = objective.prompt("a").example.streams
    except UsageError:
        return None
    ids = next(iter(streams.values())).ids.tolist()  # the encoder's, where there is one
    special = objective.tokenizer.special_ids - {objective.tokenizer.unk_id}
    before = list(takewhile(special.__contains__, ids))
    behind = list(takewhile(special.__contains__, reversed(ids[len(before) :])))
    return Frame(before, behind[::-1])


def _refuse_other_parts(name: str, architecture: Architecture, model: ModelConfig) -> None:
    """Raises UsageError for the first part that is not as the architecture has it."""
    same_width = (("n_kv_heads", model.n_heads), ("d_embedding", model.d_model))
    as_said = {key: None for key, width in same_width if getattr(model, key) == width}
    plain = model.model_copy(update={**as_said, "segments": model.segments or 0})
    single: dict[str, tuple[Any, str]] = {
        "n_kv_heads": (None, "keys and values of its own for every head"),
        "d_embedding": (None, "embeddings as wide as the model"),
    }
    for key, (wanted, phrase) in (architecture.parts | PARTS | single).items():
        if getattr(plain, key) != wanted:
            raise UsageError(
                f"{name} has {phrase}, and model.{key}={_as_yaml(getattr(model, key))}",
                f"train with model.{key}={_as_yaml(wanted)}, or with all its parts: model.preset={name}",
            )
    if model.activation not in ACTIVATIONS:
        raise UsageError(
            f"{name} has a feed-forward part without a gate, and model.activation={model.activation}",
            f"train with one of model.activation={', '.join(ACTIVATIONS)}",
        )


def _their_tensors(name: str, architecture: Architecture, model: Transformer) -> dict[str, Tensor]:
    """All tensors under their names. Raises UsageError for one that has no place there."""
    ours = dict(model.state_dict())
    if len(model.specs) != 1:
        raise UsageError(f"{name} has one head over tokens, and this model has {len(model.specs)}")
    [head] = model.specs
    pairs = list(architecture.pairs(model.config, head))
    if any(pair.optional and pair.ours not in ours for pair in pairs):
        ours[f"heads.{head}.output.bias"] = ours[f"heads.{head}.output.weight"].new_zeros(model.specs[head].size)
    left = sorted(ours.keys() - {pair.ours for pair in pairs})
    if left:
        raise UsageError(f"{name} has no place for {left[0]}")
    tensors: dict[str, Tensor] = {}
    for pair in pairs:
        tensors |= pair.written(ours[pair.ours])
    return tensors


def _add_frame(file: Path, frame: Frame, tokenizer: Tokenizer) -> None:
    """The frame as the last step of a tokenizer.json; ours leaves that step out, since objectives frame texts."""
    settings = json.loads(file.read_text(encoding="utf-8"))

    def special(id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": tokenizer.token(id), "type_id": 0}}

    def text(which: str) -> dict[str, Any]:
        return {"Sequence": {"id": which, "type_id": 0}}

    before, behind = map(special, frame.before), map(special, frame.behind)
    single = [*before, text("A"), *behind]
    named = {
        tokenizer.token(id): {"id": tokenizer.token(id), "ids": [id], "tokens": [tokenizer.token(id)]}
        for id in {*frame.before, *frame.behind}
    }
    pair = [*single, text("B")]
    template = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": named}
    write_text_durably(file, json.dumps(settings | {"post_processor": template}, ensure_ascii=False, indent=2))


def _tokenizer_settings(model: ModelConfig, tokenizer: Tokenizer, settings: Mapping[str, Any]) -> dict[str, Any]:
    names = {"pad": PAD, "unk": UNK, "cls": CLS, "sep": SEP, "mask": MASK}
    names |= {key: tokenizer.token(settings[f"{key}_token_id"]) for key in ("bos", "eos")}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.max_length,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "left" if model.family == "decoder" else "right",
        "clean_up_tokenization_spaces": False,
        **{f"{key}_token": token for key, token in names.items()},
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ----------------------------------------------------------------------------------------------------------- in


class Folder(NamedTuple):
    """What a folder holds, in our words."""

    path: Path
    format: str
    config: ModelConfig
    vocab_size: int
    head: HeadSpec
    weights: dict[str, Tensor]
    """By the names that Transformer.state_dict has."""
    settings: dict[str, Any]
    """Its config.json."""

    def tokenizer(self) -> Tokenizer:
        """Its tokenizer.json. Raises UsageError where there is none, and GlassformerError where it lacks one of the
        special tokens that objectives need."""
        return Tokenizer.load(self.path / "tokenizer.json")

    def model(self) -> Transformer:
        """The model, evaluating, in the precision of its weights."""
        model = Transformer(self.config, self.vocab_size, [self.head])
        model = model.to(self.weights[f"heads.{self.head.name}.output.weight"].dtype)
        load_into(model, self.weights)
        return model.eval()


def read(folder: str | Path, head: str | None = None) -> Folder:
    """Read a folder that transformers has written (`save_pretrained`). `head` names the model's one head (None: as the
    objective that such a model usually has).

    Raises UsageError where there is no such folder, or for an architecture or a part that we have not, and
    GlassformerError where a file is damaged.
    """
    folder = Path(folder)
    given = _their_settings(folder)
    name = str(given.get("model_type"))
    if name not in plugin_names(__name__):
        raise UsageError(
            f"{folder}: there is no format {name!r}, the model_type of its config.json",
            f"formats that can be read: {', '.join(plugin_names(__name__))}",
        )
    architecture = find_architecture(name)
    settings = architecture.defaults | given
    _check_types(folder / "config.json", settings, architecture)
    for key, wanted in architecture.fixed.items():
        if settings.get(key, wanted) != wanted:
            raise UsageError(
                f"{folder}: {key}={_as_yaml(settings[key])} in config.json, and only {_as_yaml(wanted)} can be read"
            )
    if settings["activation_function"] not in SYNONYMS:
        raise UsageError(
            f"{folder}: activation_function={settings['activation_function']} in config.json",
            f"what can be read: {', '.join(sorted(SYNONYMS))}",
        )
    try:
        config = ModelConfig(**architecture.model(settings))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        why = f"{'.'.join(map(str, first['loc']))}={first['input']!r}: {first['msg'].lower()}"
        raise GlassformerError(f"{folder / 'config.json'} is damaged: {why}") from None
    check_sizes(config)
    head = head or architecture.objective
    spec = HeadSpec(head, settings["vocab_size"], tied=True, bias=False)
    weights = _our_tensors(folder, architecture, config, spec)
    spec = spec._replace(bias=f"heads.{head}.output.bias" in weights)
    return Folder(folder, name, config, spec.size, spec, weights, settings)


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
    objective = objective_for(recipe, Tokenizers(tokenizer))
    if len(objective.heads()) != 1:
        raise UsageError(
            f"a folder of the format {found.format} has one head, and what is asked for has {len(objective.heads())}",
            f"ask it by one objective: objective.name={architecture.objective}",
        )
    [head] = objective.heads()
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
        directory.save_tokenizers(Tokenizers(tokenizer))
        directory.write_environment({"imported": {"format": found.format}})
        write_snapshot(directory.last, {"model": dict(model.state_dict())}, {"step": 0})
        write_text_durably(directory.recipe_file, recipes.to_yaml(recipe))  # last: only now it is a run
    return load(directory.path)


def _their_settings(folder: Path) -> dict[str, Any]:
    try:
        return json_object(folder / "config.json", what="config.json")
    except NoSuchFile:
        raise UsageError(f"{folder} is no model: it has no config.json", "save one with save_pretrained") from None


def _check_types(file: Path, settings: Mapping[str, Any], architecture: Architecture) -> None:
    """Raises GlassformerError for a setting of another type than the architecture's own values have."""
    for key, usual in {**architecture.fixed, **architecture.defaults, **architecture.token_defaults}.items():
        given = settings.get(key, usual)
        kinds = {bool: (bool,), int: (int,), float: (int, float), str: (str,), type(None): (int, type(None))}[
            type(usual)
        ]
        if key in architecture.token_defaults:
            kinds = (int, type(None))
        if type(given) not in kinds:
            raise GlassformerError(f"{file} is damaged: {key}={json.dumps(given)[:100]}", MEND)
    if settings["vocab_size"] < 1:
        raise GlassformerError(f"{file} is damaged: vocab_size={settings['vocab_size']}", MEND)


def _our_tensors(folder: Path, architecture: Architecture, config: ModelConfig, spec: HeadSpec) -> dict[str, Tensor]:
    """All tensors under our names. Raises GlassformerError naming one that is missing, left over, or not equal to what
    it should repeat."""
    file, head = folder / "model.safetensors", spec.name
    try:
        stored = _stored(file, n_parameters(config, spec.size, [spec]))
    except NoSuchFile:
        raise UsageError(f"{folder} has no model.safetensors", "save it in one file with save_pretrained") from None
    pairs = list(architecture.pairs(config, head))
    names = {name for pair in pairs for name in pair.theirs}
    copies = architecture.copies(config)
    known, prefix = names | copies.keys(), architecture.prefix
    whole = {
        name if name in known or name.startswith(prefix) else prefix + name: tensor for name, tensor in stored.items()
    }
    pairs = [pair for pair in pairs if not (pair.optional and _is_zero(whole, pair))]
    missing = sorted({name for pair in pairs for name in pair.theirs} - whole.keys())
    if missing:
        raise GlassformerError(f"{file} has no {missing[0]}, which {len(missing)} of our tensors would be made of")
    for name in sorted(whole.keys() - names):
        if name in copies and torch.equal(whole[name], whole[copies[name]]):
            continue
        if not architecture.is_no_weight(name):
            why = f"it is not equal to {copies[name]}" if name in copies else "a model here has no place for it"
            raise GlassformerError(f"{file} has {name}, and {why}")
    return {pair.ours: pair.read(whole) for pair in pairs}


def _stored(file: Path, needed: int) -> dict[str, Tensor]:
    """The tensors of a file as they are. Raises GlassformerError where they are fewer numbers than the `needed` ones of
    the model that config.json describes, which might be of any size, or more than there is memory for."""
    numbers = sum(tensor.size for tensor in safetensors_header(file).values())
    if needed > numbers:
        raise GlassformerError(
            f"{file} has {numbers:,} numbers, and the model that config.json describes {needed:,} parameters", MEND
        )
    if file.stat().st_size > psutil.virtual_memory().available:
        raise GlassformerError(f"{file} is larger than the memory that is free", "use a larger machine")
    try:
        return load_file(file)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise GlassformerError(f"{file} cannot be read: {error}", MEND) from None


def _is_zero(tensors: Mapping[str, Tensor], pair: Pair) -> bool:
    return not any(bool(tensors[name].any()) for name in pair.theirs if name in tensors)


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
                f"{found.path}: {key}={_as_yaml(given)} in config.json, and a run here has {here}",
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
