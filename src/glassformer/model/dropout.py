"""Dropout (Srivastava et al. 2014) that does not hold up a CPU.

torch draws one 32-bit float for each element, on one thread: for the attention weights of a small model that takes
longer than the attention. Here one 64-bit integer yields four 16-bit lots, so the drop rate is p rounded to 1/65536.
On other devices torch's own kernel is the fast one.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

LOTS = 65_536


def keep_mask(shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
    """1 / (1 - p) where a lot decides to keep, 0 elsewhere; on the CPU, from the default generator."""
    number = shape.numel()
    draws = torch.randint(-(2**63), 2**63 - 1, ((number + 3) // 4,), dtype=torch.int64)
    lots = draws.view(torch.int16)[:number].view(shape)
    threshold = min(round(p * LOTS), LOTS - 1) - LOTS // 2  # must fit 16 bits: beyond, it would keep everything
    return (lots >= threshold).to(dtype).mul_(1.0 / (1.0 - p))


def dropout(x: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """Each element is zero with probability p, and scaled by 1 / (1 - p) otherwise."""
    if p == 0.0:
        return x
    if x.device.type == "cpu":
        return x * keep_mask(x.shape, p, x.dtype)
    return F.dropout(x, p)


class Dropout(nn.Module):
    """`dropout` while training, nothing otherwise."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Drop elements of x while training."""
        return dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
