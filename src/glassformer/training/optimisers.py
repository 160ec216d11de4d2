"""Optimisers: AdamW, and Muon for the matrices with AdamW for the rest."""

import torch
from torch import Tensor, nn

from glassformer.training.config import OptimizerConfig
from glassformer.training.muon import Muon


def decayed(parameter: Tensor) -> bool:
    """Matrices are decayed; norms' gains and biases, which are vectors, are not."""
    return parameter.ndim >= 2


def build_optimizers(
    model: nn.Module, config: OptimizerConfig, number_format: torch.dtype = torch.bfloat16
) -> list[torch.optim.Optimizer]:
    """One optimiser, or two for Muon, whose own products are in `number_format`. Each group remembers its peak rate as
    `peak`, which a schedule multiplies."""
    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in parameters if config.name == "muon" and is_hidden_matrix(name, p)]
    chosen = {id(p) for p in matrices}
    rest = [p for _, p in parameters if id(p) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                {"params": [p for p in rest if decayed(p)], "weight_decay": config.weight_decay},
                {"params": [p for p in rest if not decayed(p)], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            fused=True,
        )
    ]
    if matrices:
        optimizers.append(
            Muon(matrices, number_format, lr=config.muon_learning_rate, weight_decay=config.weight_decay, nesterov=True)
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """What Muon is meant for (Jordan et al. 2024): matrices between hidden states, not embeddings or output heads."""
    return parameter.ndim == 2 and ".blocks." in name
