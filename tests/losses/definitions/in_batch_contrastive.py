"""Of each question, -log of the share that those of its own number have among all others, by exp(cosine / 0.05)."""

import math

import torch


def targets(n: int, size: int) -> torch.Tensor:
    """Pairs, and at the end four that belong together."""
    return torch.tensor([*(i // 2 for i in range(n - 4)), n, n, n, n])


def definition(outputs, targets):
    def closeness(a, b):
        return math.exp(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) / 0.05)

    for i, own in enumerate(outputs):
        others = {j: closeness(own, other) for j, other in enumerate(outputs) if j != i}
        mine = [value for j, value in others.items() if targets[j] == targets[i]]
        total = sum(-math.log(value / sum(others.values())) for value in mine) / len(mine)
        yield torch.tensor(total, dtype=torch.float64)
