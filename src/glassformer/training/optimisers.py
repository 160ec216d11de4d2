"""Optimisers: AdamW, and Muon for the matrices with AdamW for the rest."""

import torch
from torch import Tensor

from glassformer.errors import UsageError
from glassformer.model.kinds import Model, hidden_matrices
from glassformer.training.config import OptimizerConfig
from glassformer.training.muon import Muon


def decayed(parameter: Tensor) -> bool:
    """Matrices are decayed; norms' gains and biases, which are vectors, are not."""
    return parameter.ndim >= 2


def build_optimizers(
    model: Model, config: OptimizerConfig, number_format: torch.dtype = torch.bfloat16
) -> list[torch.optim.Optimizer]:
    """One optimiser, or two for Muon, whose own products are in `number_format`. Each group remembers its peak rate as
    `peak`, which a schedule multiplies.

    Muon is for matrices between hidden states (Jordan et al. 2024), not for embeddings and output heads. Raises
    UsageError for a model that has none.
    """
    matrices = [p for p in hidden_matrices(model) if p.requires_grad] if config.name == "muon" else []
    if config.name == "muon" and not matrices:
        raise UsageError(
            "muon is for matrices between hidden states, and this model has none", "use optimizer.name=adamw"
        )
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
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
