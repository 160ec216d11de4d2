"""Where a token stands: vectors added to the embeddings. Every kind takes a tensor of positions, never an arange of
its own: packing restarts positions, and later caches and permutations move them."""

import math

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


class SinusoidalPositions(nn.Module):
    """Fixed waves; nothing is learned, nothing is saved."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoids(max_length, d_model), persistent=False)
        self.table: Tensor

    def forward(self, positions: Int[Tensor, "B T"]) -> Float[Tensor, "B T d_model"]:
        """The wave at each position."""
        return self.table[positions]


class LearnedPositions(nn.Embedding):
    """One learned vector for each position, as in BERT and GPT."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__(max_length, d_model)


POSITIONS = {"sinusoidal": SinusoidalPositions, "learned": LearnedPositions}
