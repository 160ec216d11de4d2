"""Run as a program, without the type checks of the tests, which no compiler sees through: trains a compiled model and
an eager one on batches of mixed lengths, and prints as JSON how often was compiled and what losses both had."""

import itertools
import json

import torch
from tiny_recipe import corpus_of, model_of, objective_of, sentences
from torch._dynamo.testing import CompileCounter

from glassformer.build import fixed_shapes
from glassformer.data.batch import BatchConfig
from glassformer.training.engine import Engine
from glassformer.training.evaluation import EvaluationSet, evaluate
from glassformer.training.optimisers import OptimizerConfig
from glassformer.training.order import TrainingOrder

TEXTS = sentences(60) + [" ".join(sentences(n)) for n in (3, 4, 5, 3, 4, 5, 5, 5)]
OBJECTIVE = objective_of(TEXTS, max_length=32, mask_rate=0.4)
UNITS = OBJECTIVE.dataset(corpus_of(TEXTS, OBJECTIVE))
BATCH = BatchConfig(size=4)
SHAPES = fixed_shapes(BATCH, 32, OBJECTIVE.asked_share(UNITS, 1))
ORDER = TrainingOrder(UNITS, OBJECTIVE, BATCH, seed=1, shapes=SHAPES)


def losses(compiled: bool) -> list[float]:
    """Of three epochs, and of an evaluation after them."""
    model, optimizer = model_of(OBJECTIVE, max_length=32), OptimizerConfig()
    engine = Engine(model, OBJECTIVE, optimizer, device="cpu", precision="32-true", compiled=compiled, clip=1.0)
    taken = itertools.islice(ORDER.steps(), 3 * ORDER.steps_in_epoch())
    seen = [engine.update([ORDER.batch(epoch, rows)], 0.5, (1, n)).loss for n, (epoch, [rows]) in enumerate(taken)]
    questions = EvaluationSet(UNITS, OBJECTIVE, BATCH, shapes=SHAPES)
    return [*seen, evaluate(engine.forward, questions).loss]


def main() -> None:
    """Compile with a backend that only counts."""
    counter, really = CompileCounter(), torch.compile
    torch.compile = lambda model, **how: really(model, **how | {"backend": counter})  # type: ignore[assignment]
    lengths = {ORDER.batch(0, rows).streams["encoder"].input_ids.shape[1] for [rows] in ORDER.epoch(0)}
    compiled = losses(compiled=True)
    found = {"lengths": sorted(lengths), "compilations": counter.frame_count}
    print(json.dumps(found | {"compiled": compiled, "eager": losses(compiled=False)}))


if __name__ == "__main__":
    main()
