"""The parts of a block: multi-head attention, feed-forward, and the residual stream that they write to."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.masks import AttentionMask
from glassformer.model.attention import find_mechanism
from glassformer.model.dropout import Dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class MultiHeadAttention(nn.Module):
    """Project to queries, keys and values, split into heads, let a mechanism mix, join, project
    (Vaswani et al. 2017, section 3.2.2).

    One matrix holds all three input projections, in the order q, k, v: one multiplication instead of three.
    """

    def __init__(self, d_model: int, n_heads: int, mechanism: str, attention_dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_dropout = attention_dropout
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.mechanism = find_mechanism(mechanism)(d_model // n_heads)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Float[Tensor, "B T D"], mask: AttentionMask) -> Float[Tensor, "B T D"]:
        """Self-attention: every token asks, every token that `mask` allows answers."""
        q, k, v = (self.split(part) for part in self.query_key_value(x).chunk(3, dim=-1))
        p = self.attention_dropout if self.training else 0.0
        context = self.mechanism(q, k, v, mask, dropout=p)  # B H T E
        return self.output(self.join(context))

    def split(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T E"]:
        """Cut the features into heads."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def join(self, x: Float[Tensor, "B H T E"]) -> Float[Tensor, "B T D"]:
        """Lay the heads side by side again."""
        return x.transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """Two linear layers around an activation, at every position alike (section 3.3)."""

    def __init__(self, d_model: int, d_ff: int, activation: str) -> None:
        super().__init__()
        self.expand = nn.Linear(d_model, d_ff)
        self.activation = ACTIVATIONS[activation]
        self.contract = nn.Linear(d_ff, d_model)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Expand, bend, contract."""
        return self.contract(self.activation(self.expand(x)))


class Block(nn.Module):
    """Attention, then feed-forward, each adding to the residual stream.

    post-norm (the first paper): x = norm(x + part(x)); pre-norm (GPT-2): x = x + part(norm(x)).
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        *,
        mechanism: str,
        activation: str,
        norm: Literal["pre", "post"],
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.pre_norm = norm == "pre"
        self.self_attention = MultiHeadAttention(d_model, n_heads, mechanism, attention_dropout)
        self.attention_norm = nn.LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, d_ff, activation)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T D"], mask: AttentionMask) -> Float[Tensor, "B T D"]:
        """One layer."""
        if self.pre_norm:
            x = x + self.dropout(self.self_attention(self.attention_norm(x), mask))
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.self_attention(x, mask)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


def initialise(module: nn.Module) -> None:
    """Weights from a normal distribution of variance 1 / fan-in (embeddings: 0.02), biases zero, norms one.

    The residual stream sums 2 * n_layers contributions; each layer that writes to it is scaled down accordingly
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
    """Divide what attention and feed-forward write to the residual stream by sqrt(2 * n_layers)."""
    for block in blocks:
        assert isinstance(block, Block)
        block.self_attention.output.weight.mul_((2 * len(blocks)) ** -0.5)
        block.feed_forward.contract.weight.mul_((2 * len(blocks)) ** -0.5)
