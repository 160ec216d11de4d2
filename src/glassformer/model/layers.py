"""The parts of a block: multi-head attention, feed-forward, and the residual stream that they write to."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.masks import AttentionMask
from glassformer.model.attention import mechanism_for
from glassformer.model.config import ModelConfig
from glassformer.model.dropout import Dropout
from glassformer.model.positions import Rotation

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "swiglu": F.silu,
    "geglu": F.gelu,
    "geglu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}
GATED = ("swiglu", "geglu", "geglu_tanh")


class LayerContext(NamedTuple):
    """What all layers of a stack are told about the tokens that they read: who may see whom, and from where."""

    mask: AttentionMask
    rotation: Rotation | None = None
    bias: Float[Tensor, "#B #H Q K"] | None = None
    n_keys: int | None = None
    """The first so many tokens can be attended to; None: all."""
    memory: Float[Tensor, "B M D"] | None = None
    """What the encoder made of the source, for cross-attention."""
    memory_mask: AttentionMask | None = None


class LayerState:
    """What one block keeps while a text grows token by token: the state of its self-attention, and the keys and values
    of the memory, which are computed once."""

    def __init__(self) -> None:
        self.own: Any = None
        self.memory: tuple[Tensor, Tensor] | None = None


class PartialLinear(nn.Linear):
    """A linear layer of which some of the outputs can be asked for alone."""

    def forward(
        self, x: Float[Tensor, "*batch D"], first: int = 0, last: int | None = None
    ) -> Float[Tensor, "*batch _"]:
        """The outputs from `first` to before `last`."""
        if first == 0 and last is None:
            return super().forward(x)
        return F.linear(x, self.weight[first:last], None if self.bias is None else self.bias[first:last])


class MultiHeadAttention(nn.Module):
    """Project to queries, keys and values, split into heads, let a mechanism mix, join, project
    (Vaswani et al. 2017, section 3.2.2).

    One matrix holds all three input projections, in the order q, k, v: one multiplication instead of three.
    """

    cross = False

    def __init__(self, config: ModelConfig, layer: int = 0, causal: bool = False) -> None:
        super().__init__()
        self.d_head = config.d_head
        self.attention_dropout = config.attention_dropout
        kv_heads = config.n_kv_heads or config.n_heads
        self.head_counts = [config.n_heads, kv_heads, kv_heads]
        self.widths = [heads * config.d_head for heads in self.head_counts]
        self.query_key_value = PartialLinear(config.d_model, sum(self.widths), bias=config.bias)
        self.mechanism = mechanism_for(config, layer, causal, self.cross)
        self.output = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(
        self, x: Float[Tensor, "B T D"], context: LayerContext, state: LayerState | None = None, capacity: int = 0
    ) -> Float[Tensor, "B T D"]:
        """Self-attention: every token asks, every token that the mask allows answers. With `state` the tokens are the
        newest of a text that grows to `capacity`."""
        q, k, v = self.split(self.query_key_value(x)).split(self.head_counts, dim=1)
        if context.rotation is not None:
            q, k = context.rotation.rotate(q), context.rotation.rotate(k)
        if state is not None:
            if state.own is None:
                state.own = self.mechanism.new_state(k, capacity)
            return self.output(self.join(self.mechanism.step(q, k, v, state.own, context.mask, context.bias)))
        if context.n_keys is not None:
            k, v = k[:, :, : context.n_keys], v[:, :, : context.n_keys]
        p = self.attention_dropout if self.training else 0.0
        mixed = self.mechanism(q, k, v, context.mask, context.bias, dropout=p)  # B H T E
        return self.output(self.join(mixed))

    def split(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T E"]:
        """Cut the features into heads."""
        if x.shape[1] == 1:  # a token at a time: the same numbers in the same order
            return x.view(len(x), -1, 1, self.d_head)
        return x.view(*x.shape[:2], -1, self.d_head).transpose(1, 2)

    def join(self, x: Float[Tensor, "B H T E"]) -> Float[Tensor, "B T D"]:
        """Lay the heads side by side again."""
        if x.shape[2] == 1:
            return x.reshape(len(x), 1, -1)
        return x.transpose(1, 2).flatten(2)


class CrossAttention(MultiHeadAttention):
    """The same with queries from the decoder, and keys and values from the encoder's output (section 3.2.3)."""

    cross = True

    def forward(
        self, x: Float[Tensor, "B T D"], context: LayerContext, state: LayerState | None = None, capacity: int = 0
    ) -> Float[Tensor, "B T D"]:
        """Every token asks the memory."""
        assert context.memory_mask is not None
        width = self.widths[0]
        q = self.split(self.query_key_value(x, 0, width))
        if state is not None and state.memory is not None:
            k, v = state.memory
        else:
            assert context.memory is not None
            k, v = self.split(self.query_key_value(context.memory, width)).split(self.head_counts[1:], dim=1)
            if state is not None:
                k, v = state.memory = (k.contiguous(), v.contiguous())  # read at every token
        p = self.attention_dropout if self.training else 0.0
        return self.output(self.join(self.mechanism(q, k, v, context.memory_mask, dropout=p)))


class FeedForward(nn.Module):
    """Two linear layers around an activation, at every position alike (section 3.3); with a gate, a third one
    (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.activation in GATED
        self.expand = nn.Linear(config.d_model, config.d_ff * (2 if self.gated else 1), bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.contract = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Expand, bend, contract. With a gate: the bent half multiplies the other."""
        if self.gated:
            gate, value = self.expand(x).chunk(2, dim=-1)
            return self.contract(self.activation(gate) * value)
        return self.contract(self.activation(self.expand(x)))


def norm(config: ModelConfig, width: int | None = None) -> nn.Module:
    """LayerNorm (Ba et al. 2016), or RMSNorm (Zhang and Sennrich 2019), which neither centres nor shifts; `width`
    where it is not d_model."""
    if config.norm_kind == "rms":
        return nn.RMSNorm(width or config.d_model, eps=config.epsilon)
    return nn.LayerNorm(width or config.d_model, eps=config.epsilon)


class Block(nn.Module):
    """Attention, in a decoder with an encoder attention to its output, then feed-forward, each adding to the residual
    stream.

    post-norm (the first paper): x = norm(x + part(x)); pre-norm (GPT-2): x = x + part(norm(x)).
    """

    def __init__(self, config: ModelConfig, cross: bool = False, layer: int = 0, causal: bool = False) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.self_attention = MultiHeadAttention(config, layer, causal)
        self.attention_norm = norm(config)
        self.cross_attention = CrossAttention(config, layer, causal) if cross else None
        self.cross_attention_norm = norm(config) if cross else None
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = norm(config)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "B T D"], context: LayerContext, state: LayerState | None = None, capacity: int = 0
    ) -> Float[Tensor, "B T D"]:
        """One layer."""
        x = self.residual(x, self.attention_norm, self.self_attention, context, state, capacity)
        if self.cross_attention is not None and self.cross_attention_norm is not None:
            x = self.residual(x, self.cross_attention_norm, self.cross_attention, context, state, capacity)
        return self.residual(x, self.feed_forward_norm, self.feed_forward)

    def residual(self, x: Float[Tensor, "B T D"], norm: nn.Module, part: nn.Module, *more: Any) -> Tensor:
        """Add what a part makes of the residual stream, the norm before it or after the sum."""
        if self.pre_norm:
            return x + self.dropout(part(norm(x), *more))
        return norm(x + self.dropout(part(x, *more)))


def initialise(module: nn.Module) -> None:
    """Weights from a normal distribution of variance 1 / fan-in (embeddings: 0.02), biases zero, norms one.

    The residual stream sums the contributions of all parts; each layer that writes to it is scaled down accordingly
    (GPT-2; Radford et al. 2019, section 2.3) by `scale_residual_writers`.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=part.in_features**-0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)


@torch.no_grad()
def scale_residual_writers(blocks: nn.ModuleList) -> None:
    """Divide what attention and feed-forward write to the residual stream by the square root of how many do."""
    writers: list[Tensor] = []
    for block in blocks:
        assert isinstance(block, Block)
        writers += [block.self_attention.output.weight, block.feed_forward.contract.weight]
        if block.cross_attention is not None:
            writers.append(block.cross_attention.output.weight)
    for weight in {id(w): w for w in writers}.values():
        weight.mul_(len(writers) ** -0.5)
