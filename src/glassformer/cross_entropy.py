"""Cross-entropy over a vocabulary, a few rows at a time.

A batch of 4,096 tokens over 8,192 words has 34 million logits. Written out, their float32 copy, log-probabilities and
gradient take 400 MB that is written and read again from main memory, which takes a CPU longer than the softmax itself.
Here a few rows at a time go through all of it while they are in the processor's cache.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

AT_A_TIME = 2**19
"""Logits: 2 MB of float32."""


def cross_entropy(
    logits: Float[Tensor, "N V"], targets: Int[Tensor, "N"], ignored: int, smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """The sum over rows of -log softmax(logits)[target] in nats, computed in float32 at least; rows whose target is
    `ignored` count nothing.

    With `smoothing`, against a mixture of the target and all classes alike (label smoothing; Szegedy et al. 2016,
    section 7): (1 - smoothing) of the above plus smoothing times its mean over all classes.
    """
    if logits.device.type == "cpu":
        return _InPieces.apply(logits, targets, ignored, smoothing)
    return F.cross_entropy(logits.float(), targets, ignore_index=ignored, reduction="sum", label_smoothing=smoothing)


@torch.no_grad()
def cross_entropy_of_each(logits: Float[Tensor, "N V"], targets: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
    """The same for each row by itself, to be looked at: no gradients."""
    pieces = [
        F.cross_entropy(logits[rows].to(_precise(logits)), targets[rows], reduction="none") for rows in _pieces(logits)
    ]
    return torch.cat(pieces) if pieces else logits.new_zeros(0, dtype=_precise(logits))


class _InPieces(torch.autograd.Function):
    """The softmax is computed twice, forwards and backwards: that is cheaper than to keep it."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, ignored: int, smoothing: float) -> Tensor:
        ctx.save_for_backward(logits, targets)
        ctx.ignored, ctx.smoothing = ignored, smoothing
        total = logits.new_zeros((), dtype=_precise(logits))
        for rows in _pieces(logits):
            log_probabilities = logits[rows].log_softmax(-1, dtype=total.dtype)
            total += F.nll_loss(log_probabilities, targets[rows], ignore_index=ignored, reduction="sum") * (
                1 - smoothing
            )
            if smoothing:
                asked = targets[rows] != ignored
                total -= (log_probabilities.mean(-1) * asked).sum() * smoothing
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        """softmax minus the mixture that was aimed at."""
        logits, targets = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for rows in _pieces(logits):
            piece = logits[rows].softmax(-1, dtype=_precise(logits))
            asked = (targets[rows] != ctx.ignored)[:, None]
            if ctx.smoothing:
                piece -= ctx.smoothing / logits.shape[1]
            known = targets[rows, None].where(asked, 0)
            piece.scatter_add_(1, known, piece.new_full((), ctx.smoothing - 1).expand_as(known))
            gradient[rows] = piece.mul_(asked * upstream)
        return gradient, None, None, None


def _pieces(logits: Tensor) -> Iterator[slice]:
    """Rows that fit in the cache together."""
    step = max(1, AT_A_TIME // max(1, logits.shape[1]))
    return (slice(start, start + step) for start in range(0, len(logits), step))


def _precise(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)
