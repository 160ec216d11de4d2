"""What each of two processes does in test_processes.py; as a program it is the process beside the first."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tiny_recipe import corpus_of, model_of, objective_of, sentences
from torch import Tensor, nn

from glassformer.data.batch import Batch, BatchConfig, collate
from glassformer.objectives import Loss
from glassformer.training.engine import Engine, sum_gradients
from glassformer.training.evaluation import EvaluationSet, evaluate
from glassformer.training.optimisers import OptimizerConfig
from glassformer.training.processes import Processes
from glassformer.training.workers import ending_with_the_first, joined

TEXTS = sentences()
OBJECTIVE = objective_of(TEXTS, mask_rate=0.4)
UNITS = OBJECTIVE.dataset(corpus_of(TEXTS, OBJECTIVE))
STEPS = [[[0, 7, 14], [5], [6, 13, 20, 27, 3]], [[1, 2], [3, 4, 5, 6]], [[8]]]
"""Three steps of ragged micro-batches: of the first one process has two, of the last one has none."""


def batch_of(dataset: Sequence[int]) -> Batch:
    examples = [[UNITS.example(u, np.random.default_rng((1, u)))] for u in dataset]
    return collate(examples, OBJECTIVE.tokenizer.pad_id)


def engine_of(processes: Processes, dropout: float = 0.3) -> Engine:
    """In float64. (A large epsilon: Adam divides rounding errors by themselves.)"""
    model = model_of(OBJECTIVE, dropout=dropout, attention_dropout=dropout).double()
    config = OptimizerConfig(epsilon=1e-2, learning_rate=0.03)
    engine = Engine(model, OBJECTIVE, config, device="cpu", precision="64-true", compiled=False, clip=0.5)
    engine.processes = processes
    return engine


def trained(processes: Processes) -> dict[str, Any]:
    """Weights after the steps, and what each update said."""
    engine = engine_of(processes)
    updates = []
    for step, groups in enumerate(STEPS, 1):
        mine = [batch_of(dataset) for dataset in processes.own(groups)]
        updates.append(engine.update(mine, 1.0, (1, step))._asdict())
    return {"weights": dict(engine.model.state_dict()), "updates": updates}


def evaluated(processes: Processes) -> dict[str, Any]:
    """All numbers of an evaluation of several batches: losses, shares, intervals, the most frequent guess."""
    questions = EvaluationSet(UNITS, OBJECTIVE, BatchConfig(size=23, layout="padded"))
    assert len(questions.made) > 3
    guess = {}
    record = evaluate(engine_of(processes).forward, questions, processes=processes).record()
    for key, value in record.pop("most_frequent_guess").items():
        guess[f"guess {key}"] = value
    return record | guess


def spoilt_in_one(processes: Processes) -> tuple[bool, bool]:
    """Whether a step is applied, and any weight changed, in which only the last process meets a loss that is not
    finite."""
    engine = engine_of(processes)
    before = {name: p.clone() for name, p in engine.model.state_dict().items()}
    if processes.rank == processes.world - 1:
        right = engine.objective.loss

        def wrong(logits: dict[str, Tensor], batch: Batch) -> dict[str, Loss]:
            return {name: Loss(part.total * torch.nan, part.count) for name, part in right(logits, batch).items()}

        engine.objective.loss = wrong  # type: ignore[method-assign]
    try:
        update = engine.update([batch_of([processes.rank])], 1.0, (1, 1))
    finally:
        engine.objective.__dict__.pop("loss", None)
    changed = any(not torch.equal(p, before[name]) for name, p in engine.model.state_dict().items())
    return update.applied, changed


def gradients_that_some_lack(processes: Processes) -> list[list[float] | None]:
    """Of three parameters the first has a gradient in every process, the second in the first, the third in none."""
    model = nn.ParameterList([nn.Parameter(torch.zeros(2)) for _ in range(3)])
    model[0].grad = torch.tensor([1.0, 10.0]) * (processes.rank + 1)
    model[1].grad = torch.tensor([5.0, 7.0]) if processes.first else None
    sum_gradients(model, processes)
    return [None if p.grad is None else p.grad.tolist() for p in model]


def everything(processes: Processes) -> dict[str, Any]:
    """All of it, in the same order in every process."""
    torch.set_num_threads(1)
    return {
        "own": processes.own(range(5)),
        "numbers": [processes.number(place) for place in range(2)],
        "sum": processes.sum(torch.tensor([1.5, processes.rank])).tolist(),
        "any": [processes.any(False), processes.any(processes.rank == processes.world - 1), processes.any(True)],
        "told": processes.told({"path": "runs/ü", "n": [1, None]} if processes.first else "not this"),
        "trained": trained(processes),
        "copied": processes.copied(torch.tensor([processes.rank + 3.0])).tolist(),
        "evaluation": evaluated(processes),
        "spoilt": spoilt_in_one(processes),
        "gradients": gradients_that_some_lack(processes),
    }


if __name__ == "__main__":
    ending_with_the_first()
    with joined() as beside:
        everything(beside)
    os._exit(0)
