"""Optimisers: AdamW, and Muon for the matrices with AdamW for the rest."""

import torch
from torch import Tensor

from glassformer.errors import UsageError
from glassformer.model.kinds import Model, hidden_matrices
from glassformer.training.config import OptimizerConfig
from glassformer.training.muon import Muon
from glassformer.training.places import Rates


def decayed(parameter: Tensor) -> bool:
    """Matrices are decayed; norms' gains and biases, which are vectors, are not."""
    return parameter.ndim >= 2


def build_optimizers(
    model: Model,
    config: OptimizerConfig,
    number_format: torch.dtype = torch.bfloat16,
    rates: Rates | None = None,
) -> list[torch.optim.Optimizer]:
    """One optimiser, or two for Muon, whose own products are in `number_format`. Each group remembers its peak rate as
    `peak`, which a schedule multiplies. With `rates` there are groups for each layer; the first ones have the rates of
    the recipe as they stand there, though nothing be in them.

    Muon is for matrices between hidden states (Jordan et al. 2024), not for embeddings and output heads. Raises
    UsageError for a model that has none.
    """
    rates = rates or Rates()
    matrices = [p for p in hidden_matrices(model) if p.requires_grad] if config.name == "muon" else []
    if config.name == "muon" and not matrices:
        raise UsageError(
            "muon is for matrices between hidden states, and this model has none", "use optimizer.name=adamw"
        )
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    factors, of_head = rates.factors(model), rates.of_head(model)
    by_rate: dict[float, list[Tensor]] = {config.learning_rate: []}
    for p in rest:
        own = rates.heads if rates.heads is not None and id(p) in of_head else None
        by_rate.setdefault(own or config.learning_rate * factors[id(p)], []).append(p)
    groups = [
        {"params": [p for p in alike if decayed(p) == decays], "lr": rate, "weight_decay": decay}
        for rate, alike in by_rate.items()
        for decays, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    betas = (config.beta1, config.beta2)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=True)
    ]
    if matrices:
        by_factor: dict[float, list[Tensor]] = {}
        for p in matrices:
            by_factor.setdefault(factors[id(p)], []).append(p)
        layers = [{"params": alike, "lr": config.muon_learning_rate * factor} for factor, alike in by_factor.items()]
        optimizers.append(
            Muon(layers, number_format, lr=config.muon_learning_rate, weight_decay=config.weight_decay, nesterov=True)
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers
