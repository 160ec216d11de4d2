"""Of each question the squared difference between its target and the cosine of its pair: 0 with 1, 2 with 3, and on."""

import math

import torch


def targets(n: int, size: int) -> torch.Tensor:
    """The same for both of a pair."""
    return torch.rand(n // 2, dtype=torch.float64).repeat_interleave(2)[:, None]


def definition(outputs, targets):
    for i in range(len(outputs)):
        a, b = outputs[i - i % 2], outputs[i - i % 2 + 1]
        cosine = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
        yield torch.tensor((cosine - float(targets[i])) ** 2, dtype=torch.float64)
