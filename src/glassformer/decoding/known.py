"""For which models there are copies of the decoder's step: written_out.py and step.c say again what Block says, and are
taken only where every module and every key of the model is one that they are known to say. All else, and whatever comes
after this was written, goes through the model."""

from typing import Any

from torch import nn

from glassformer.model.attention import Mechanism, find_mechanism
from glassformer.model.dropout import Dropout
from glassformer.model.heads import Head
from glassformer.model.kinds import Model
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.layers import ACTIVATIONS, Block, CrossAttention, FeedForward, MultiHeadAttention, PartialLinear
from glassformer.model.positions import POSITIONS
from glassformer.model.stack import Embeddings, Stack

MODULES = {
    *(Stack, Embeddings, Block, MultiHeadAttention, CrossAttention, PartialLinear, FeedForward, Dropout),
    *(nn.ModuleList, nn.Embedding, nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Identity),
    *POSITIONS.values(),
}
"""What a decoder may consist of, beside attention mechanisms: these classes, and nothing derived from them."""

ANY = None
KEYS: dict[str, frozenset[Any] | None] = {
    **dict.fromkeys(("preset", "family", "n_layers", "n_decoder_layers", "d_model", "n_heads", "n_kv_heads"), ANY),
    **dict.fromkeys(
        ("d_ff", "d_embedding", "max_length", "share_layers", "segments", "tied", "shared_embeddings"), ANY
    ),
    **dict.fromkeys(("dropout", "attention_dropout", "output_dropout"), ANY),  # nothing, where nobody trains
    **dict.fromkeys(("norm_eps", "embedding_norm", "bias", "attention", "attention_scale", "head_activation"), ANY),
    "kind": frozenset({"transformer"}),
    "norm": frozenset({"pre", "post"}),
    "norm_kind": frozenset({"layer", "rms"}),
    "activation": frozenset({"relu", "gelu", "gelu_tanh", "silu", "swiglu", "geglu"}),
    "positions": frozenset({"none", "sinusoidal", "learned", "rotary", "alibi", "relative"}),
}
"""The values of a model's keys that are known; of a key that is not here, its default. A test compares them all."""


def unknown_in(model: Model) -> str | None:
    """What a copy is not known to reproduce of a model; None where it is all known."""
    if type(model) is not Transformer:
        return type(model).__name__
    for name, field in type(model.config).model_fields.items():
        value, known = getattr(model.config, name), KEYS.get(name, frozenset({field.default}))
        if known is not None and value not in known:
            return f"model.{name}={value}"
    stack = model.stacks[-1]
    for path, module in stack.named_modules():
        if type(module) not in MODULES and not isinstance(module, Mechanism):
            return f"{path}: {type(module).__name__}"
    if len({_shape(block) for block in stack.blocks}) > 1:
        return "blocks that are not alike"
    others = [head for head in model.heads.values() if type(head) is not Head or type(head.output) is not nn.Linear]
    return f"a head: {type(others[0]).__name__}" if others else None


def _shape(block: Block) -> tuple[Any, ...]:
    """What a copy looks up in one block for all."""
    own, inner = block.self_attention, block.feed_forward
    known = [name for name, function in ACTIVATIONS.items() if inner.activation is function]
    sizes = (*own.head_counts, own.d_head, inner.expand.out_features, inner.contract.in_features)
    return block.pre_norm, block.cross_attention is not None, sizes, inner.gated, *known


def only_full(model: Model) -> bool:
    """Whether full attention, with one scale, is all that its decoder has."""
    mechanisms = [module for module in model.stacks[-1].modules() if isinstance(module, Mechanism)]
    scales = {mechanism.scale for mechanism in mechanisms}
    return len(scales) == 1 and all(type(mechanism) is find_mechanism("full") for mechanism in mechanisms)


def is_watched(model: nn.Module) -> bool:
    """Whether a hook waits to be called, or the model is training: then it has to go through its modules."""
    return model.training or any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
