"""Muon (Jordan et al. 2024): the momentum of a matrix, brought near the closest orthogonal one, is its update."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Muon(torch.optim.Muon):
    """torch's Muon with two things of its own: the number format of the Newton-Schulz steps is chosen, and matrices of
    one shape are taken together.

    torch (2.13) always takes bfloat16 for them. A processor without instructions for it needs tens of times as long as
    in float32: on an AVX2 machine three quarters of every step of a small model went there.
    """

    def __init__(
        self, matrices: Iterable[Tensor] | Iterable[dict[str, Any]], number_format: torch.dtype, **settings: Any
    ) -> None:
        super().__init__(matrices, **settings)
        self.number_format = number_format

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for matrices in alike.values():
                self._update(matrices, group)

    def _update(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """Matrices of one shape: momentum (Nesterov's), the orthogonal matrix near it, decay, update."""
        wanted = [self._momentum(matrix, group) for matrix in matrices]
        updates = orthogonal(torch.stack(wanted), self.number_format, group["ns_coefficients"], group["ns_steps"])
        outputs, inputs = matrices[0].shape
        rate = group["lr"] * max(1.0, outputs / inputs) ** 0.5
        for matrix, update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(update, alpha=-rate)

    def _momentum(self, matrix: Tensor, group: dict[str, Any]) -> Tensor:
        """What is to be made orthogonal: the gradient on its way to the running mean of gradients."""
        gradient, state = matrix.grad, self.state[matrix]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient, memory_format=torch.preserve_format)
        mean = state["momentum_buffer"]
        mean.lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean


def orthogonal(
    matrices: Float[Tensor, "N A B"], number_format: torch.dtype, coefficients: tuple[float, float, float], steps: int
) -> Float[Tensor, "N A B"]:
    """Each matrix with all singular values brought to between about 0.7 and 1.2, by `steps` of the quintic iteration
    X <- a X + (b X X' + c (X X')^2) X (Newton and Schulz; the coefficients are Jordan's)."""
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(number_format)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
