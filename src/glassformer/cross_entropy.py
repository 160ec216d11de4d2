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


class _InPieces(torch.autograd.Function):
    """The gradient is made while the probabilities are at hand, and takes the place of the logits until it is asked
    for."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, ignored: int, smoothing: float) -> Tensor:
        total = logits.new_zeros((), dtype=_precise(logits))
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        for rows in _pieces(logits):
            log_probabilities = logits[rows].log_softmax(-1, dtype=total.dtype)
            asked = targets[rows] != ignored
            target = targets[rows].where(asked, 0)[:, None]
            total -= (log_probabilities.gather(1, target)[:, 0] * asked).sum() * (1 - smoothing)
            if smoothing:
                total -= (log_probabilities.mean(-1) * asked).sum() * smoothing
            if gradient is not None:  # softmax minus the mixture that was aimed at
                piece = log_probabilities.exp_()
                if smoothing:
                    piece -= smoothing / logits.shape[1]
                piece.scatter_add_(1, target, piece.new_full((), smoothing - 1).expand_as(target))
                gradient[rows] = piece.mul_(asked[:, None])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient, scaled by what comes from above."""
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.item(), None, None, None


def _pieces(logits: Tensor) -> Iterator[slice]:
    """Rows that fit in the cache together."""
    step = max(1, AT_A_TIME // max(1, logits.shape[1]))
    return (slice(start, start + step) for start in range(0, len(logits), step))


def _precise(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)
