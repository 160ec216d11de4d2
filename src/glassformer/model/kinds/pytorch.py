"""PyTorch's own nn.TransformerEncoder and nn.TransformerDecoder in the place of our blocks: same call, same trainer,
same weights."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.batch import StreamBatch
from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError
from glassformer.model.config import ModelConfig, check_sizes
from glassformer.model.inputs import Input
from glassformer.model.kinds import Capability, Model, StackParts, find_kind
from glassformer.model.size import parameters_of_stack
from glassformer.model.stack import Stack, initialise_stacks

NAMES = {
    "self_attention.query_key_value.weight": "self_attn.in_proj_weight",
    "self_attention.query_key_value.bias": "self_attn.in_proj_bias",
    "self_attention.output": "self_attn.out_proj",
    "cross_attention.query_key_value.weight": "multihead_attn.in_proj_weight",
    "cross_attention.query_key_value.bias": "multihead_attn.in_proj_bias",
    "cross_attention.output": "multihead_attn.out_proj",
    "feed_forward.expand": "linear1",
    "feed_forward.contract": "linear2",
    "attention_norm": "norm1",
    "cross_attention_norm": "norm2",
    "feed_forward_norm": "norm2",
}
"""Our names of a block's parts, and PyTorch's; behind a cross-attention its `norm2` is the third."""

PARTS = {
    "norm_kind": ("layer",),
    "activation": ("relu", "gelu"),
    "positions": ("none", "sinusoidal", "learned"),
    "attention": ("full",),
    "attention_scale": (None,),
    "n_kv_heads": (None,),
    "share_layers": (False,),
    "output_dropout": (0.0,),
}
"""What PyTorch's blocks can do."""


class TorchStack(nn.Module):
    """The embeddings of one of our stacks, then PyTorch's blocks, without their nested tensors (they change the shape
    of the output).

    Where no gradient is wanted, PyTorch's layers take a fused path: equal at every token, but NaN in rows of nothing
    but padding, where nothing is ever asked.
    """

    def __init__(self, config: ModelConfig, name: str, ours: Stack) -> None:
        super().__init__()
        self.embeddings, self.positions = ours.embeddings, ours.positions
        cross = name == "decoder" and len(config.stacks) > 1
        settings: dict[str, Any] = {"norm_first": config.norm == "pre", "bias": config.bias, "batch_first": True}
        settings["layer_norm_eps"] = config.epsilon
        sizes = (config.d_model, config.n_heads, config.d_ff, config.dropout, config.activation)
        norm = nn.LayerNorm(config.d_model, eps=config.epsilon) if config.norm == "pre" else None
        layers = config.layers_of(name)
        self.stack: nn.Module
        if cross:
            self.stack = nn.TransformerDecoder(nn.TransformerDecoderLayer(*sizes, **settings), layers, norm)
        else:
            layer = nn.TransformerEncoderLayer(*sizes, **settings)
            self.stack = nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)

    def forward(
        self,
        stream: StreamBatch,
        memory: Float[Tensor, "B M D"] | None = None,
        memory_mask: AttentionMask | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Hidden states of one stream. PyTorch's masks have the other polarity: True = may not attend."""
        mask = stream.mask
        if mask.query_documents is not None or mask.pair_mask is not None:
            raise UsageError(
                "the baseline of PyTorch's blocks supports padding and causality only",
                "use batch.layout=grouped or padded, or model.kind=transformer",
            )
        x = self.embeddings(stream.input_ids, self.positions(stream.positions), stream.segment_ids)
        padding = _not(mask.key_mask)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1) if mask.causal else None
        if memory is None:
            return self.stack(x, mask=later, src_key_padding_mask=padding)
        unseen = None if memory_mask is None else _not(memory_mask.key_mask)
        return self.stack(x, memory, tgt_mask=later, tgt_key_padding_mask=padding, memory_key_padding_mask=unseen)


def _not(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else ~mask


class TorchTransformer(Model):
    """The Transformer with PyTorch's blocks."""

    lacks: ClassVar = {
        "attention_weights": "PyTorch's own blocks hide them",
        "block_steps": "PyTorch's own blocks hide them",
        "decoding": "PyTorch's own blocks keep no state to go on from",
        "packed_rows": "PyTorch's own blocks know padding and causality only",
        "pair_masks": "PyTorch's own blocks know padding and causality only",
    }

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError for what PyTorch's blocks do not have."""
        check_sizes(config)
        _refuse_other_parts(config)

    @classmethod
    def parameters_of_stack(cls, config: ModelConfig, name: str) -> int:
        """As many as ours have."""
        return parameters_of_stack(config, name)

    def make_stack(self, config: ModelConfig, name: str, token: Input) -> Stack:
        """One of ours, until `initialise` has drawn its weights."""
        return Stack(config, name, token)

    def initialise(self) -> None:
        """The weights that ours would have; then PyTorch's blocks take the place of ours."""
        initialise_stacks(self, self.stacks)
        ours = self.state_dict()
        for name in self.config.stacks:
            self.add_module(name, TorchStack(self.config, name, self.get_submodule(name)))  # type: ignore[arg-type]
        self.load_state_dict(from_glassformer(ours))

    @property
    def parts(self) -> dict[str, StackParts]:
        """Whole layers: what is inside them calls no modules that could be recorded."""
        return {name: _parts(self.config, name) for name in self.config.stacks}

    def recordable(self) -> Model:
        """Our own Transformer with these weights: its attention is computed where PyTorch's blocks hide theirs."""
        with torch.random.fork_rng(devices=[]):  # weights are drawn and replaced; nobody else's draws change
            ours = find_kind("transformer")(self.config, self.vocab_size, self.specs.values())
        some = next(self.parameters())
        ours = ours.to(some.device, some.dtype)  # before the weights are copied, so that none is rounded
        ours.load_state_dict(to_glassformer(self.state_dict(), ours.state_dict()))
        return ours.train(self.training)

    def why_not(self, what: Capability) -> str | None:
        """Also positions, where it has none."""
        if what == "positions" and self.config.positions == "none":
            return "model.positions=none"
        return super().why_not(what)


def _parts(config: ModelConfig, name: str) -> StackParts:
    return StackParts(
        embeddings=f"{name}.embeddings",
        blocks=[f"{name}.stack.layers.{n}" for n in range(config.layers_of(name))],
        norm=f"{name}.stack.norm" if config.norm == "pre" else None,
        positions=None if config.positions == "none" else f"{name}.positions",
    )


def _refuse_other_parts(config: ModelConfig) -> None:
    """Raises UsageError for what PyTorch's blocks do not have."""
    if config.attention_dropout != config.dropout:
        raise UsageError(
            "nn.TransformerEncoder has one dropout for everything",
            "set model.attention_dropout equal to model.dropout, or use model.kind=transformer",
        )
    for name, can in PARTS.items():
        if getattr(config, name) not in can:
            raise UsageError(
                f"PyTorch's blocks have no model.{name}={getattr(config, name)}",
                f"use {' or '.join(str(c) for c in can)}, or model.kind=transformer",
            )


def torch_names(names: Iterable[str]) -> dict[str, str]:
    """The names of a Transformer's weights, all of them, and those that TorchTransformer has for them."""
    names = list(names)
    renamed = {}
    crossing = {name.split(".cross_attention")[0] for name in names if ".cross_attention." in name}
    for name in names:
        theirs = name
        block, part = _block_and_part(name)
        if block is not None and part is not None:
            torchs = "norm3" if part == "feed_forward_norm" and block in crossing else NAMES[part]
            theirs = name.replace(f".{part}", f".{torchs}").replace(".blocks.", ".stack.layers.")
        elif name.startswith(("encoder.norm.", "decoder.norm.")):
            theirs = name.replace(".norm.", ".stack.norm.")
        renamed[name] = theirs
    return renamed


def from_glassformer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a Transformer under the names that TorchTransformer has for them."""
    return {theirs: state[ours] for ours, theirs in torch_names(state).items()}


def to_glassformer(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The weights of a TorchTransformer under `names`, those that a Transformer has for them."""
    return {ours: state[theirs] for ours, theirs in torch_names(names).items()}


def _block_and_part(name: str) -> tuple[str | None, str | None]:
    """`encoder.blocks.0.feed_forward.expand.bias` -> `encoder.blocks.0`, `feed_forward.expand`."""
    pieces = name.split(".")
    if len(pieces) < 4 or pieces[1] != "blocks":
        return None, None
    rest = ".".join(pieces[3:])
    return ".".join(pieces[:3]), next(part for part in NAMES if rest == part or rest.startswith(f"{part}."))
