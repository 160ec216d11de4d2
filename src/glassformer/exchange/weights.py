"""A Hugging Face folder and what it says in our words: config.json, model.safetensors, tokenizer.json.

    read(folder) -> Folder      configuration, tensors by the names of Transformer.state_dict, tokenizer
    write(model, tokenizer, folder)

A folder is JSON and tensors: nothing here imports transformers, and no code of a folder is run. What a format cannot
express is refused by name, in both directions; nothing is left out or filled in.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glassformer.data.batch import OutputSpec
from glassformer.data.tokenizer import Tokenizer
from glassformer.data.tokenizer_config import CLS, MASK, PAD, SEP, UNK
from glassformer.errors import GlassformerError, UsageError
from glassformer.exchange.contract import (
    Architecture,
    Rule,
    Theirs,
    as_yaml,
    find_architecture,
    format_for,
    formats,
    our_names,
    rules,
    why_not,
)
from glassformer.model.config import ModelConfig, check_sizes
from glassformer.model.kinds import Model
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.size import n_parameters, refuse_too_large
from glassformer.reading import MEND, NoSuchFile, Stored, json_object, safetensors_header
from glassformer.snapshot import publish, write_text_durably
from glassformer.training.checkpoints import load_into

# ---------------------------------------------------------------------------------------------------------- out


class Frame(NamedTuple):
    """The special tokens that a text is given before and behind it, so that a model reads what it has learned from."""

    before: list[int]
    behind: list[int]


def write(
    model: Model,
    tokenizer: Tokenizer,
    folder: str | Path,
    format: str | None = None,
    frame: Frame | None = None,
) -> Path:
    """Write a model as a folder that transformers reads: `AutoModel...from_pretrained(folder)`, `AutoTokenizer` too.

    `format` is an architecture (None: the one of the model's family that it can be written in); `frame` is what its
    tokenizer adds to a text. Raises UsageError naming the first key of the model that does not come back when the
    folder is read, or for a folder that is not empty, and GlassformerError where nothing can be written; a half-written
    folder is never left behind.
    """
    folder, name = Path(folder), format or format_for(model.config)
    architecture = find_architecture(name)
    why = why_not(name, architecture, model.config)
    if why is not None:
        raise why
    tensors = _their_tensors(name, architecture, model)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already, and is not empty", "choose another folder")
    if folder.resolve() == Path.cwd():
        raise UsageError("the folder is made anew, as a whole, and the present one cannot be", "name a new one in it")
    tokens = architecture.tokens(tokenizer)
    settings = architecture.settings(model.config.spelled_out(), tokenizer.vocab_size) | tokens
    [precision] = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}

    def fill(aside: Path) -> None:
        kind = name.replace("_", "-")
        write_text_durably(aside / "config.json", _json({"model_type": kind, "dtype": precision, **settings}))
        tokenizer.save(aside / "tokenizer.json")
        _add_frame(aside / "tokenizer.json", frame or Frame([], []), tokenizer)
        write_text_durably(
            aside / "tokenizer_config.json", _json(_tokenizer_settings(model.config, tokenizer, settings))
        )
        save_file(tensors, aside / "model.safetensors", metadata={"format": "pt"})
        shutil.copymode(aside / "config.json", aside / "model.safetensors")  # safetensors: readable by its owner only

    publish(folder, fill)
    return folder


def _their_tensors(name: str, architecture: Architecture, model: Model) -> dict[str, Tensor]:
    """All tensors under their names. Raises UsageError for one that has no place there."""
    ours = dict(model.state_dict())
    if len(model.specs) != 1:
        raise UsageError(f"{name} has one head over tokens, and this model has {len(model.specs)}")
    [(head, spec)] = model.specs.items()
    if spec.transform != architecture.transform:
        raise UsageError(f"{name} has another head than heads.{head}", f"it is the head of {architecture.objective}")
    bias = f"heads.{head}.output.bias"
    if _head_bias(architecture) and bias not in ours:
        ours[bias] = ours[f"heads.{head}.output.weight"].new_zeros(spec.size)
    attention = model.config.spelled_out()
    widths = [n * model.config.d_head for n in (attention.n_heads, attention.n_kv_heads, attention.n_kv_heads) if n]
    tensors: dict[str, Tensor] = {}
    try:
        for rule in rules(architecture.names, ours, head, model.config.tied):
            tensors |= rule.written(ours[rule.ours], widths)
    except KeyError as error:
        raise UsageError(f"{name} has no place for {error.args[0]}") from None
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
    begins_or_ends = [key for key in ("bos", "eos") if f"{key}_token_id" in settings]
    names |= {key: tokenizer.token(settings[f"{key}_token_id"]) for key in begins_or_ends}
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


# ----------------------------------------------------------------------------------------------------------- in


class Folder(NamedTuple):
    """What a folder holds, in our words."""

    path: Path
    format: str
    config: ModelConfig
    vocab_size: int
    head: OutputSpec
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
        refuse_too_large(self.config, self.vocab_size, [self.head])
        model = Transformer(self.config, self.vocab_size, [self.head])
        model = model.to(self.weights[f"heads.{self.head.name}.output.weight"].dtype)
        load_into(model, self.weights)
        return model.eval()


def read(folder: str | Path, head: str | None = None) -> Folder:
    """Read a folder that transformers has written (`save_pretrained`), in one file or several. `head` names the model's
    one head (None: as the objective that such a model usually has).

    Raises UsageError where there is no such folder, or for an architecture or a part that we have not, and
    GlassformerError where a file is damaged.
    """
    folder = Path(folder)
    name, settings, config = _read_config(folder)
    architecture = find_architecture(name)
    spec = OutputSpec(
        head or architecture.objective,
        settings["vocab_size"],
        tied=True,
        bias=_head_bias(architecture) is not None,
        transform=architecture.transform,
    )
    spec, weights = _our_tensors(folder, architecture, config, spec)
    return Folder(folder, name, config, spec.size, spec, weights, settings)


def read_config(folder: str | Path) -> ModelConfig:
    """The configuration alone. Raises what `read` raises."""
    return _read_config(Path(folder))[2]


def _read_config(folder: Path) -> tuple[str, dict[str, Any], ModelConfig]:
    """The format, config.json, and what it says in our words."""
    given = _their_settings(folder)
    name = str(given.get("model_type")).replace("-", "_")
    if name not in formats():
        raise UsageError(
            f"{folder}: there is no format {name[:100]!r}, the model_type of its config.json",
            f"formats that can be read: {', '.join(formats())}",
        )
    architecture = find_architecture(name)
    settings = architecture.defaults | given
    _check_types(folder / "config.json", settings, architecture)
    for key, wanted in architecture.fixed.items():
        if settings.get(key, wanted) != wanted:
            raise UsageError(
                f"{folder}: {key}={as_yaml(settings[key])} in config.json, and only {as_yaml(wanted)} can be read"
            )
    try:
        config = ModelConfig(**architecture.model(settings))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        why = f"{'.'.join(map(str, first['loc']))}={first['input']!r}: {first['msg'].lower()}"
        raise GlassformerError(f"{folder / 'config.json'} is damaged: {why}") from None
    except UsageError as error:
        raise UsageError(f"{folder}: {error.what}", error.mend) from None
    check_sizes(config)
    return name, settings, config


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


def _head_bias(architecture: Architecture) -> Theirs | None:
    """Where the format has a bias of the head; None where it has none."""
    return architecture.names.get("heads.{head}.output.bias")


def _our_tensors(
    folder: Path, architecture: Architecture, config: ModelConfig, spec: OutputSpec
) -> tuple[OutputSpec, dict[str, Tensor]]:
    """All tensors under our names, and the head as it is: a bias that may be left out is none where it is zero. Raises
    GlassformerError naming a tensor that is missing, left over, or not equal to what it should repeat."""
    stored = StoredTensors.open(folder)
    stored.refuse_fewer(n_parameters(config, spec.size, [spec._replace(bias=False)]))
    bias = _head_bias(architecture)
    found = list(rules(architecture.names, our_names(config, spec), spec.name, config.tied))
    names = {name for rule in found for name in rule.theirs}
    repeats = {key: name for key, name in architecture.repeats.items() if key not in names}
    stored = stored.under_whole_names(names | repeats.keys(), architecture.prefix)
    if (
        bias is not None
        and bias.optional
        and not any(bool(stored[name].any()) for name in bias.names if name in stored)
    ):
        spec = spec._replace(bias=False)
        found = [rule for rule in found if rule.how is not bias]
    missing = sorted({name for rule in found for name in rule.theirs} - {*stored})
    if missing:
        raise GlassformerError(
            f"{stored.file} has no {missing[0]}, which {len(missing)} of our tensors would be made of"
        )
    for name in sorted({*stored} - names):
        if name in repeats and torch.equal(stored[name], stored[repeats[name]]):
            continue
        if not name.endswith(architecture.no_weights):
            why = f"it is not equal to {repeats[name]}" if name in repeats else "a model here has no place for it"
            raise GlassformerError(f"{stored.file} has {name}, and {why}")
    return spec, {rule.ours: _read(rule, stored) for rule in found}


def _read(rule: Rule, stored: "StoredTensors") -> Tensor:
    """Raises GlassformerError where the pieces of a tensor do not fit together."""
    try:
        return rule.read(stored)
    except (RuntimeError, IndexError) as error:
        why = str(error).partition("\n")[0]
        raise GlassformerError(f"{stored.file}: {', '.join(rule.theirs)} cannot be {rule.ours}: {why}", MEND) from None


class StoredTensors(Mapping[str, Tensor]):
    """The tensors of a folder by their names, in one safetensors file or several. Every header is checked when it is
    opened; a tensor is read when it is asked for, and not kept."""

    def __init__(self, file: Path, places: dict[str, tuple[Path, str]], shapes: dict[str, Stored]) -> None:
        self.file = file
        """What is named in errors: the one file, or the list of several."""
        self._places, self._shapes = places, shapes

    @classmethod
    def open(cls, folder: Path) -> "StoredTensors":
        """model.safetensors, or the files that model.safetensors.index.json lists. Raises UsageError where there is
        neither, and GlassformerError where a header is damaged, a listed tensor is missing, or all are larger than the
        memory that is free."""
        file, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
        try:
            headers = {file: safetensors_header(file)}
            listed = dict.fromkeys(headers[file], file)
        except NoSuchFile:
            try:
                listed = _listed(index)
            except NoSuchFile:
                raise UsageError(f"{folder} has no model.safetensors", "save it with save_pretrained") from None
            file, headers = index, {each: safetensors_header(each) for each in dict.fromkeys(listed.values())}
        for name, each in listed.items():
            if name not in headers[each]:
                raise GlassformerError(f"{file} lists {name[:100]}, and {each.name} has it not", MEND)
        if sum(each.stat().st_size for each in headers) > psutil.virtual_memory().available:
            raise GlassformerError(f"{file} is larger than the memory that is free", "use a larger machine")
        places = {name: (each, name) for name, each in listed.items()}
        return cls(file, places, {name: headers[each][name] for name, each in listed.items()})

    def under_whole_names(self, known: set[str], prefix: str) -> "StoredTensors":
        """The same, a prefix put before the names that lack it: files of a model without a head leave it out."""
        whole = {name: name if name in known or name.startswith(prefix) else prefix + name for name in self._places}
        return StoredTensors(
            self.file,
            {whole[name]: place for name, place in self._places.items()},
            {whole[name]: shape for name, shape in self._shapes.items()},
        )

    def refuse_fewer(self, needed: int) -> None:
        """Raises GlassformerError where there are fewer numbers than the `needed` ones of the model that config.json
        describes, which might be of any size."""
        numbers = sum(tensor.size for tensor in self._shapes.values())
        if needed > numbers:
            raise GlassformerError(
                f"{self.file} has {numbers:,} numbers, and the model that config.json describes {needed:,} parameters",
                MEND,
            )

    def __getitem__(self, name: str) -> Tensor:
        file, stored = self._places[name]
        try:
            with safe_open(file, "pt") as opened:
                tensor: Tensor = opened.get_tensor(stored)
                return tensor
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise GlassformerError(f"{file} cannot be read: {error}", MEND) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


MOST_FILES = 1_000


def _listed(index: Path) -> dict[str, Path]:
    """The file of each tensor, as a list of several files has it. Raises GlassformerError for a damaged list, and for
    a file that is not in the same folder."""
    listed = json_object(index, what="model.safetensors.index.json").get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(file, str) for file in listed.values()):
        raise GlassformerError(f"{index} is damaged: its weight_map is no list of files by tensor", MEND)
    for file in dict.fromkeys(listed.values()):
        if Path(file).name != file or not file.isprintable() or not file.endswith(".safetensors"):
            raise GlassformerError(f"{index} is damaged: {file[:100]!r} is no file of its folder", MEND)
    if len({*listed.values()}) > MOST_FILES:
        raise GlassformerError(f"{index} is damaged: it lists more than {MOST_FILES:,} files", MEND)
    return {name: index.parent / file for name, file in listed.items()}
