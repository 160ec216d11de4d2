"""The squared differences of a question, added up."""

import torch


def targets(n: int, size: int) -> torch.Tensor:
    return torch.randn(n, size, dtype=torch.float64)


def definition(outputs, targets):
    for row, wanted in zip(outputs, targets, strict=True):
        yield sum((x - y) ** 2 for x, y in zip(row, wanted, strict=True))
