"""Where a token stands. Every kind takes tensors of positions, never an arange of its own: packing restarts positions,
caches and permutations move them.

    sinusoidal, learned    a vector added to the embedding
    rotary                 queries and keys are turned by an angle
    alibi, relative        a number added to the scores, by how far query and key are apart
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def sinusoids(length: int, d_model: int) -> Float[Tensor, "length d_model"]:
    """The table of "Attention Is All You Need" (Vaswani et al. 2017, section 3.5): sine in even places, cosine in odd
    ones, wavelengths from 2 pi to 10000 * 2 pi. Computed in float64: in float32 the angles of far positions are off."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float64) * (-math.log(10_000.0) / d_model))
    table = torch.zeros(length, d_model)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency[: d_model // 2])
    return table


class Positions(nn.Module):
    """What a stack asks of a kind of positions. A kind does one of the three; the others do nothing."""

    adds_bias = False
    """Whether it adds numbers to the scores, which not every attention mechanism has."""

    def __init__(self, *, max_length: int, d_model: int, n_heads: int, d_head: int, causal: bool) -> None:
        super().__init__()

    def forward(self, positions: Int[Tensor, "#B T"]) -> Float[Tensor, "#B T d_model"] | None:
        """The vector that is added to the embedding of each token."""
        return None

    def rotation(self, positions: Int[Tensor, "#B T"]) -> "Rotation | None":
        """By which angles a query or key is turned."""
        return None

    def bias(self, query: Int[Tensor, "#B Q"], key: Int[Tensor, "#B K"]) -> Float[Tensor, "#B H Q K"] | None:
        """What is added to the scores."""
        return None


class NoPositions(Positions):
    """None at all: without a causal mask a model cannot tell the order of its words."""


class SinusoidalPositions(Positions):
    """Fixed waves; nothing is learned, nothing is saved."""

    def __init__(self, *, max_length: int, d_model: int, **others: Any) -> None:
        super().__init__(max_length=max_length, d_model=d_model, **others)
        self.register_buffer("table", sinusoids(max_length, d_model), persistent=False)
        self.table: Tensor

    def forward(self, positions: Int[Tensor, "#B T"]) -> Float[Tensor, "#B T d_model"]:
        """The wave at each position."""
        return self.table[positions]


class LearnedPositions(Positions):
    """One learned vector for each position, as in BERT and GPT."""

    def __init__(self, *, max_length: int, d_model: int, **others: Any) -> None:
        super().__init__(max_length=max_length, d_model=d_model, **others)
        self.table = nn.Embedding(max_length, d_model)

    def forward(self, positions: Int[Tensor, "#B T"]) -> Float[Tensor, "#B T d_model"]:
        """The vector of each position."""
        return self.table(positions)


class Rotation(NamedTuple):
    """Cosine and sine of the angles by which pairs of features are turned."""

    cos: Float[Tensor, "#B 1 T E"]
    sin: Float[Tensor, "#B 1 T E"]

    def rotate(self, x: Float[Tensor, "B H T E"]) -> Float[Tensor, "B H T E"]:
        """Turn each pair of features (n, n + E/2): then a score depends on how far apart query and key are."""
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        return (x * self.cos + turned * self.sin).to(x.dtype)


class RotaryPositions(Positions):
    """Rotary positions (Su et al. 2021, section 3.2), in halves instead of neighbours, as LLaMA has them."""

    def __init__(self, *, max_length: int, d_head: int, **others: Any) -> None:
        super().__init__(max_length=max_length, d_head=d_head, **others)
        frequency = 10_000.0 ** (-torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)
        angles = torch.arange(max_length)[:, None] * frequency.repeat(2)  # float64: those of far positions are large
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)
        self.cos: Tensor
        self.sin: Tensor

    def rotation(self, positions: Int[Tensor, "#B T"]) -> Rotation:
        """The angles of each position."""
        return Rotation(self.cos[positions][:, None], self.sin[positions][:, None])


class AlibiPositions(Positions):
    """Attention with linear biases (Press et al. 2022, section 3): a score falls with the distance, in every head at a
    pace of its own. Where both sides are seen, the distance counts without its sign."""

    adds_bias = True

    def __init__(self, *, n_heads: int, **others: Any) -> None:
        super().__init__(n_heads=n_heads, **others)
        self.register_buffer("slopes", torch.tensor(alibi_slopes(n_heads)), persistent=False)
        self.slopes: Tensor

    def bias(self, query: Int[Tensor, "#B Q"], key: Int[Tensor, "#B K"]) -> Float[Tensor, "#B H Q K"]:
        """Minus slope times distance."""
        distance = (query[:, :, None] - key[:, None, :]).abs()
        return -self.slopes[:, None, None] * distance[:, None].to(self.slopes.dtype)


def alibi_slopes(n_heads: int) -> list[float]:
    """2^(-8/n), 2^(-16/n), ... for n heads, a power of two; else those of the next lower power, and of the rest every
    other one of the next higher."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2.0 ** (-8 * (n + 1) / power) for n in range(power)]
    between = [2.0 ** (-4 * (n + 1) / power) for n in range(0, 2 * power, 2)]
    return slopes + between[: n_heads - power]


class RelativePositions(Positions):
    """T5's learned bias for each head and distance (Raffel et al. 2020, section 2.1): near ones have a bucket each,
    farther ones share buckets that widen with the logarithm, all beyond `FARTHEST` the last one."""

    adds_bias = True
    BUCKETS = 32
    FARTHEST = 128

    def __init__(self, *, n_heads: int, causal: bool, **others: Any) -> None:
        super().__init__(n_heads=n_heads, causal=causal, **others)
        self.causal = causal
        self.table = nn.Embedding(self.BUCKETS, n_heads)

    def bias(self, query: Int[Tensor, "#B Q"], key: Int[Tensor, "#B K"]) -> Float[Tensor, "#B H Q K"]:
        """The learned number of each pair's bucket."""
        return self.table(self.bucket(key[:, None, :] - query[:, :, None])).permute(0, 3, 1, 2)

    def bucket(self, ahead: Int[Tensor, "#B Q K"]) -> Int[Tensor, "#B Q K"]:
        """The bucket of a key that stands so many places ahead of the query (negative: behind)."""
        buckets, offset = self.BUCKETS, torch.zeros_like(ahead)
        if not self.causal:  # half of the buckets for each side
            buckets //= 2
            offset = buckets * (ahead > 0).long()
        distance = -ahead.clamp(max=0) if self.causal else ahead.abs()
        near = buckets // 2
        wide = torch.log(distance.clamp(min=1).float() / near) / math.log(self.FARTHEST / near) * (buckets - near)
        far = (near + wide.long()).clamp(max=buckets - 1)
        return offset + torch.where(distance < near, distance, far)


POSITIONS: dict[str, type[Positions]] = {
    "none": NoPositions,
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
    "rotary": RotaryPositions,
    "alibi": AlibiPositions,
    "relative": RelativePositions,
}
