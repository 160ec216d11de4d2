"""-log softmax(outputs)[target], question by question."""

import math

import torch


def targets(n: int, size: int) -> torch.Tensor:
    return torch.randint(size, (n,))


def definition(outputs, targets):
    for row, target in zip(outputs, targets, strict=True):
        yield math.log(sum(math.exp(x) for x in row.tolist())) - row[target]
