"""The contract of a model: one call, what it can, and where its parts stand. One file for each kind.

    model(batch)                          {head: logits}, and heads run only where something is asked
    model.why_not("attention_weights")    None, or why it has none, in words that end a sentence
    model.parts["encoder"].blocks         ["encoder.blocks.0", ...], places as `record` reads them

Whoever needs something of a model asks for that, and never which kind it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glassformer.data.batch import Batch, OutputSpec, StreamSpec, TargetsBatch
from glassformer.data.masks import across
from glassformer.errors import UsageError
from glassformer.model.config import ModelConfig
from glassformer.model.heads import Head, point, read
from glassformer.model.inputs import Input, input_for
from glassformer.plugins import find_plugin

Capability = Literal[
    "attention_weights", "block_steps", "residual_stream", "positions", "decoding", "packed_rows", "pair_masks"
]

WITHOUT: dict[Capability, tuple[str, str]] = {
    "attention_weights": (
        "this model has no attention weights",
        "its answers are on the pages (.html) of `look mask` and `look generation`, and in `look lens`; what each "
        "part is worth is in `ablate`",
    ),
    "block_steps": (
        "the steps inside this model's blocks cannot be shown",
        "what comes out of each is in `look shapes`",
    ),
    "residual_stream": ("this model shows no residual stream", "what comes out of each part is in `look shapes`"),
    "positions": ("this model has no positions to be shown", "who may see whom is in `look masks`"),
    "decoding": ("this model cannot generate", "ask it for single words: `fill`, or `score`"),
    "packed_rows": ("this model reads no rows of several texts", "use batch.layout=grouped or padded"),
    "pair_masks": ("this model cannot be told for each pair of tokens who sees whom", "use another objective"),
}
"""What is said of a model that has not what was asked for, before its own reason; and what there is instead."""


def refusal(what: Capability, why: str) -> UsageError:
    """What is said where a model has not what was asked for."""
    said, mend = WITHOUT[what]
    return UsageError(f"{said}: {why}", mend)


class StackParts(NamedTuple):
    """Where the parts of one stack stand: paths of modules, as `record` reads them."""

    embeddings: str
    """What enters the first block comes out here."""
    blocks: list[str]
    """Each takes the hidden states as its first argument and gives them back changed, B x T x D."""
    norm: str | None = None
    """What the hidden states pass behind the last block, where there is such."""
    positions: str | None = None
    """How places are told apart, a module of `model/positions.py`, where there is such."""
    self_attention: Sequence[str] = ()
    cross_attention: Sequence[str] = ()
    feed_forward: Sequence[str] = ()


class Model(nn.Module, ABC):
    """A model of any kind: a stack for each stream behind token embeddings, and heads behind the last hidden states.

    A model with one stack reads whatever stream a batch has with that; one with two reads "encoder" and "decoder".
    `vocab_size` is a number where they share a vocabulary, and one for each stack where they do not, or what else its
    stream consists of.
    """

    lacks: ClassVar[Mapping[Capability, str]] = {}
    """What no model of this kind can, each with the reason."""

    reads_no: ClassVar[Sequence[str]] = ()
    """Keys of a recipe's section `model` that say nothing to this kind."""

    def __init__(
        self, config: ModelConfig, vocab_size: int | Mapping[str, int | StreamSpec], heads: Iterable[OutputSpec]
    ) -> None:
        super().__init__()
        self.check(config)
        self.config, self.vocab_size = config, vocab_size
        one = isinstance(vocab_size, int)  # a vocabulary for all stacks
        sizes = dict.fromkeys(config.stacks, vocab_size) if isinstance(vocab_size, int) else vocab_size
        width = config.d_embedding or config.d_model
        tables = {name: input_for(sizes[name], width) for name in config.stacks}
        if config.shared_embeddings and one:
            tables = dict.fromkeys(config.stacks, tables[config.stacks[0]])
        for name in config.stacks:
            self.add_module(name, self.make_stack(config, name, tables[name]))
        self.specs = {spec.name: spec for spec in heads}
        self.heads = nn.ModuleDict(
            {
                name: Head(
                    spec,
                    config.d_model,
                    width if self._is_tied(spec) else None,
                    config.head_activation,
                    config.epsilon,
                    config.d_model**-0.5 if config.tied_scale and self._is_tied(spec) else 1.0,
                )
                for name, spec in self.specs.items()
            }
        )
        self.initialise()
        self.tie()

    @classmethod
    @abstractmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError for a configuration that this kind cannot be built by, naming what can be."""

    @classmethod
    @abstractmethod
    def parameters_of_stack(cls, config: ModelConfig, name: str) -> int:
        """How many numbers a stack has beside its token embeddings, known before it is built."""

    @abstractmethod
    def make_stack(self, config: ModelConfig, name: str, token: Input) -> nn.Module:
        """The stack of that name: called with a StreamBatch it gives hidden states; behind another one also with what
        that has made of its stream, and with the mask across."""

    @abstractmethod
    def initialise(self) -> None:
        """Fresh weights, drawn from torch's default generator."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, StackParts]:
        """Where the parts stand, stack by stack."""

    def attention_by_stack(self) -> list[tuple[str, str]]:
        """Every attention layer that can be recorded, in the model's order, each with the stack that asks there."""
        layers = {place: stack for stack, p in self.parts.items() for place in (*p.self_attention, *p.cross_attention)}
        there = (place for place, _ in self.named_modules(remove_duplicate=False))
        return [(layers[place], place) for place in there if place in layers]

    def why_not(self, what: Capability) -> str | None:
        """None where the model can; else the reason, in words that end a sentence."""
        return self.lacks.get(what)

    def need(self, what: Capability) -> None:
        """Raises UsageError where the model has not what is needed: its own reason, and what there is."""
        why = self.why_not(what)
        if why is not None:
            raise refusal(what, why)

    def recordable(self) -> "Model":
        """A model with the same weights, which computes the same, and whose parts can be recorded; itself, where its
        own can."""
        return self

    # ------------------------------------------------------------------------------------------ the one call

    @property
    def stacks(self) -> list[Any]:
        """The stacks, the encoder first."""
        return [self.get_submodule(name) for name in self.config.stacks]

    def _is_tied(self, spec: OutputSpec) -> bool:
        return self.config.tied and spec.tied

    def tie(self) -> None:
        """Let the heads over tokens share the embedding's weight (the decoder's, where there is one), where the
        configuration says so."""
        for name, spec in self.specs.items():
            head = self.heads[name]
            if self._is_tied(spec):
                assert isinstance(head, Head)
                head.output.weight = self.stacks[-1].embeddings.token.weight

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, "N size"]]:
        """Outputs of each head for the questions of the batch, in the batch's order."""
        hidden = self.hidden(batch)
        return {name: self._said(name, hidden[targets.stream], targets) for name, targets in batch.targets.items()}

    def _said(self, name: str, hidden: Float[Tensor, "B T D"], targets: TargetsBatch) -> Float[Tensor, "N size"]:
        head, spec = self.heads[name], self.specs[name]
        return point(head(hidden), targets) if spec.read == "pointer" else head(read(hidden, targets, spec))

    def hidden(self, batch: Batch) -> dict[str, Float[Tensor, "B T D"]]:
        """The last hidden states of each stream."""
        if len(self.stacks) == 1:
            [(name, stream)] = batch.streams.items()
            return {name: self.stacks[0](stream)}
        encoder, decoder = self.stacks
        source, target = batch.streams["encoder"], batch.streams["decoder"]
        memory = encoder(source)
        return {"encoder": memory, "decoder": decoder(target, memory, across(target.mask, source.mask))}

    # ---------------------------------------------------------------- generation, through which no gradients flow

    def new_state(self, batch: Batch, capacity: int) -> Any:
        """The state of generation before the first token, for the rows of a batch, with room for `capacity` tokens in
        each. An encoder reads its stream here, once. What it is has `length` and the methods `reorder`
        and `concat` of DecodingState. Asked only of models that have "decoding"."""
        raise NotImplementedError(self.why_not("decoding"))

    def step(
        self, input_ids: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], state: Any, head: str
    ) -> Float[Tensor, "B size"]:
        """Logits of the token after the last real one of each row; `input_ids` are those since the last step (at first
        the whole prompts), and `real` is False at their padding. Every row has at least one real token."""
        raise NotImplementedError(self.why_not("decoding"))


def last_real(hidden: Float[Tensor, "B T D"], real: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """Of each row the hidden state at its last real token."""
    if real.shape[1] == 1:
        return hidden[:, 0]
    last = torch.where(real, torch.arange(real.shape[1], device=real.device), -1).max(1).values
    return hidden[torch.arange(len(hidden), device=real.device), last]


def hidden_matrices(model: Model) -> list[nn.Parameter]:
    """The matrices between hidden states, in the model's order: those inside its blocks, embeddings left out."""
    blocks = [model.get_submodule(place) for parts in model.parts.values() for place in parts.blocks]
    inside = [module for block in blocks for module in block.modules() if not isinstance(module, nn.Embedding)]
    found = {id(p) for module in inside for p in module.parameters(recurse=False) if p.ndim == 2}
    return [parameter for parameter in model.parameters() if id(parameter) in found]


def find_kind(name: str) -> type[Model]:
    """The model in the file `name`.py of this folder. Raises UsageError naming the nearest one."""
    return find_plugin(__name__, name, Model, "kind of model")  # type: ignore[type-abstract]
