"""What a format says, and how its tables are read: one file in `formats/` for each architecture of Hugging Face.

    sizes     our key -> theirs in config.json         n_layers -> n_layer
    parts     our keys that all its models share       norm: pre
    fixed     their keys that have one value here      scale_attn_weights: true
    names     our tensors -> theirs                    decoder.blocks.{n}.attention_norm -> transformer.h.{n}.ln_1

A model can be written in a format exactly where `model(settings(config))` gives the same configuration again: a key of
ours that the format says nothing about has its default there, and is refused where it has another value.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from glassformer.data.batch import OutputSpec
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.model.config import Family, ModelConfig
from glassformer.model.kinds.transformer import Transformer
from glassformer.plugins import find_plugin, plugin_names

FORMATS = "glassformer.exchange.formats"
"""The folder in which every file is a format."""

ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}
"""Ours -> theirs, of those without a gate."""
SYNONYMS = {"gelu_pytorch_tanh": "gelu_tanh", "swish": "silu"} | {theirs: ours for ours, theirs in ACTIVATIONS.items()}


# ---------------------------------------------------------------------------------------------------- tensors


class Theirs(NamedTuple):
    """Where one of our modules or tensors is in a file of theirs. `{n}` is the number of the layer, `{head}` the name
    of our head."""

    names: tuple[str, ...]
    """Several, concatenated over their outputs, make ours: we hold queries, keys and values in one matrix."""
    layout: Literal["same", "transposed", "row"] = "same"
    """transposed: inputs x outputs; row: 1 x size."""
    unused: int = 0
    """Their table begins with so many rows that are never read."""
    optional: bool = False
    """Either side may leave it out, which is the same as zeros."""


def same(*names: str) -> Theirs:
    """As it is; several are concatenated."""
    return Theirs(names)


def transposed(name: str) -> Theirs:
    """A linear layer that is stored as inputs x outputs."""
    return Theirs((name,), "transposed")


class Rule(NamedTuple):
    """One of our tensors, and what it is made of over there."""

    ours: str
    theirs: tuple[str, ...]
    how: Theirs

    def written(self, tensor: Tensor, widths: list[int]) -> dict[str, Tensor]:
        """Ours under their names. `widths` are the outputs of queries, keys and values."""
        if self.how.unused:
            tensor = torch.cat([tensor.new_zeros(self.how.unused, *tensor.shape[1:]), tensor])
        several = ".query_key_value." in self.ours and len(self.theirs) > 1  # keys and values may be narrower
        pieces = tensor.split(widths) if several else tensor.chunk(len(self.theirs))
        parts = zip(self.theirs, pieces, strict=True)
        return {name: self._turned(part, backwards=False).clone().contiguous() for name, part in parts}

    def read(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Theirs as ours."""
        parts = [self._turned(tensors[name], backwards=True) for name in self.theirs]
        return (torch.cat(parts) if len(parts) > 1 else parts[0])[self.how.unused :]

    def _turned(self, tensor: Tensor, backwards: bool) -> Tensor:
        if self.how.layout == "transposed" and tensor.ndim == 2:
            return tensor.T
        if self.how.layout == "row":
            return tensor[0] if backwards else tensor[None]
        return tensor


def rules(names: Mapping[str, Theirs], ours: Iterable[str], head: str, tied: bool) -> Iterator[Rule]:
    """The rule of each of our tensors, by the table of a format. An entry may be a tensor (`...output.bias`) or a
    module, whose weight and bias have the same names on both sides. The weight of a tied head is the token table.
    Raises KeyError for a tensor that the table has not."""
    for name in ours:
        source = _token_table(names) if tied and name == f"heads.{head}.output.weight" else name
        number = re.search(r"\.blocks\.(\d+)\.", source)
        known = re.sub(r"\.blocks\.\d+\.", ".blocks.{n}.", source).replace(f"heads.{head}.", "heads.{head}.")
        module, _, leaf = known.rpartition(".")
        if known in names:
            how, ending = names[known], ""
        elif module in names:
            how, ending = names[module], f".{leaf}"
        else:
            raise KeyError(name)
        n = number[1] if number else ""
        yield Rule(name, tuple(theirs.replace("{n}", n) + ending for theirs in how.names), how)


def _token_table(names: Mapping[str, Theirs]) -> str:
    """The embeddings that a tied head shares: the decoder's, where there is one."""
    tables = [name for name in names if name.endswith(".embeddings.token")]
    return f"{sorted(tables)[0]}.weight"


def our_names(config: ModelConfig, spec: OutputSpec) -> list[str]:
    """The names of all tensors of a model with one head. It is built without memory for its weights."""
    with torch.device("meta"):
        return list(Transformer(config, spec.size, [spec]).state_dict())


# ------------------------------------------------------------------------------------------------ the contract


class Architecture(ABC):
    """What every file in `formats/` provides. The file's name is `model_type` in config.json, `-` as `_`."""

    objective: ClassVar[str]
    """What such a model is asked, where nothing else is said."""
    sizes: ClassVar[dict[str, str]]
    """Keys of ModelConfig -> theirs."""
    parts: ClassVar[dict[str, Any]]
    """Keys of ModelConfig that have the same value in all such models; all others have their defaults."""
    defaults: ClassVar[dict[str, Any]]
    """What their keys are where config.json leaves them out."""
    fixed: ClassVar[dict[str, Any]]
    """Their keys that must have one value, since we have nothing else."""
    names: ClassVar[dict[str, Theirs]]
    """Our modules and tensors -> theirs."""
    prefix: ClassVar[str]
    """How their names begin; files of a model without a head leave it out."""
    classes: ClassVar[list[str]]
    """What transformers calls such a model with its head."""
    transform: ClassVar[Literal["none", "dense"]] = "none"
    """What stands before the output layer of its head: see OutputSpec."""
    token_defaults: ClassVar[dict[str, int | None]] = {}
    """What the keys of `tokens` are where config.json leaves them out."""
    repeats: ClassVar[dict[str, str]] = {}
    """Names under which some files store a tensor once more -> the name that it has; a head's only where it is tied."""
    no_weights: ClassVar[tuple[str, ...]] = ()
    """How the names of tensors end that some files have, and in which nothing is learned."""

    @property
    def family(self) -> Family:
        """The stacks of such a model."""
        family: Family = self.parts["family"]
        return family

    def settings(self, model: ModelConfig, vocab_size: int) -> dict[str, Any]:
        """Sizes and parts as their config.json has them; those of the model spelled out (`ModelConfig.spelled_out`)."""
        sizes = {theirs: getattr(model, ours) for ours, theirs in self.sizes.items()}
        if "activation" in self.sizes:
            sizes[self.sizes["activation"]] = ACTIVATIONS[model.activation]
        return self.fixed | {"architectures": self.classes, "vocab_size": vocab_size} | sizes

    def model(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The other way: the keys of ModelConfig. Raises UsageError for what we have not."""
        sizes = {ours: settings[theirs] for ours, theirs in self.sizes.items()}
        if "activation" in sizes:
            sizes["activation"] = _our_activation(self.sizes["activation"], sizes["activation"])
        return self.parts | sizes

    @abstractmethod
    def tokens(self, tokenizer: Tokenizer) -> dict[str, int | None]:
        """Which tokens begin, end and pad a text, as their config.json has them."""


def _our_activation(key: str, theirs: Any) -> str:
    if theirs not in SYNONYMS:
        raise UsageError(f"{key}={theirs} in config.json", f"what can be read: {', '.join(sorted(SYNONYMS))}")
    return SYNONYMS[theirs]


def formats() -> list[str]:
    """The names of all formats."""
    return plugin_names(FORMATS)


def find_architecture(name: str) -> Architecture:
    """The architecture in the file `name`.py of `formats/`. Raises UsageError naming those that there are."""
    if name not in formats():
        raise UsageError(f"there is no format {name!r}", f"formats: {', '.join(formats())}")
    return find_plugin(FORMATS, name, Architecture, "format")()  # type: ignore[type-abstract]


def format_for(model: ModelConfig) -> str:
    """The format in which the model can be written. Raises UsageError where there is none, saying for the nearest one
    what is missing."""
    of_family = [name for name in formats() if find_architecture(name).family == model.family]
    reasons = {name: why_not(name, find_architecture(name), model) for name in of_family}
    for name, why in reasons.items():
        if why is None:
            return name
    what = f"there is no format for model.family={model.family}"
    if not of_family:
        known = ", ".join(f"{name} ({find_architecture(name).family})" for name in formats())
        raise UsageError(what, f"known: {known}")
    nearest = reasons.get(str(model.preset)) or reasons[of_family[0]]
    assert nearest is not None
    raise UsageError(f"{what} with these parts: {nearest.what}", nearest.mend)


# -------------------------------------------------------------------------------------- what can be written

UNSAID = ("preset", "output_dropout")
"""Keys that say nothing about what a trained model computes, and that no format has."""

WORDS: dict[str, dict[Any, str]] = {
    "family": {
        "encoder": "one stack, which is an encoder",
        "decoder": "one stack, which is a decoder",
        "encoder_decoder": "an encoder and a decoder",
    },
    "kind": {"transformer": "blocks as ours are"},
    "norm": {"pre": "norms before each part", "post": "norms behind each part"},
    "norm_kind": {"layer": "LayerNorm", "rms": "RMSNorm"},
    "embedding_norm": {True: "a norm after the embeddings", False: "no norm after the embeddings"},
    "bias": {True: "biases in every layer", False: "no biases"},
    "positions": {"learned": "learned positions", "rotary": "rotary positions", "relative": "T5's relative positions"},
    "attention": {"full": "full attention"},
    "attention_scale": {None: "scores scaled by the width of a head"},
    "share_layers": {False: "weights of its own in every layer", True: "one block for all layers"},
    "segments": {0: "no segments"},
    "tied": {True: "a head tied to the embeddings", False: "a head of its own"},
    "shared_embeddings": {True: "one token table for both stacks"},
    "n_kv_heads": {None: "keys and values of its own for every head"},
    "d_embedding": {None: "embeddings as wide as the model"},
}
"""How a person is told what a format has; a key that is not here is told as it stands in a recipe."""


def why_not(name: str, architecture: Architecture, model: ModelConfig) -> UsageError | None:
    """Why a model cannot be written in a format: the first key of its configuration that does not come back when the
    format's settings are read again. None where all do."""
    ours = model.spelled_out()
    if "activation" in architecture.sizes and ours.activation not in ACTIVATIONS:
        return UsageError(
            f"{name} has a feed-forward part without a gate, and model.activation={model.activation}",
            f"train with one of model.activation={', '.join(ACTIVATIONS)}",
        )
    back = ModelConfig(**architecture.model(architecture.settings(ours, 1))).spelled_out()
    for key in ModelConfig.model_fields:
        wanted = getattr(back, key)
        if key in UNSAID or wanted == getattr(ours, key):
            continue
        as_default = key in ("n_kv_heads", "d_embedding") and wanted == getattr(ours, DEFAULT_OF[key])
        wanted = None if as_default else wanted
        has = WORDS.get(key, {}).get(wanted, f"model.{key}={as_yaml(wanted)}")
        return UsageError(
            f"{name} has {has}, and model.{key}={as_yaml(getattr(model, key))}",
            f"train with model.{key}={as_yaml(wanted)}, or with all its parts: model.preset={name}",
        )
    return None


DEFAULT_OF = {"n_kv_heads": "n_heads", "d_embedding": "d_model"}
"""Sizes that are another one where nothing is said."""


def as_yaml(value: Any) -> str:
    """A value as a recipe has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
