"""The smallest things that can be trained: a few sentences, a model of a few thousand numbers, and what two runs must
have in common to count as the same."""

import json
import math
import random
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer import launch
from glassformer.ask.run import Run
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.model.config import ModelConfig
from glassformer.model.kinds import Model, find_kind
from glassformer.objectives import Loss, Objective
from glassformer.objectives.masked_lm import MaskedLM, MaskedLMConfig
from glassformer.recipe import Recipe, parse
from glassformer.run import RunDirectory
from glassformer.snapshot import read_snapshot
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.engine import Engine
from glassformer.training.trainer import Display

WORDS = ("sun", "moon", "star", "red", "blue", "green", "old", "new", "cold", "warm", "far", "near", "big", "small")
TIMES = ("elapsed", "seconds", "tokens_per_second")


def sentences(number: int = 100, seed: int = 1) -> list[str]:
    """Sentences of 3 to 9 words: ragged on purpose."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=3 + n % 7)) for n in range(number)]


def dozen() -> list[str]:
    """Twelve sentences of five words, each word occurring once: every word follows from any other of its sentence."""
    return [" ".join(f"{letter}{n}" for letter in "abcde") for n in range(12)]


def tokenizer_of(texts: list[str]) -> Tokenizer:
    return Tokenizer.train(texts, TokenizerConfig(kind="word", vocab_size=200))


def objective_of(texts: list[str], max_length: int = 16, **config: Any) -> MaskedLM:
    return MaskedLM(MaskedLMConfig(**config), tokenizer_of(texts), max_length)


def corpus_of(texts: list[str], objective: Objective) -> Corpus:
    return Corpus.from_texts(texts, objective.tokenizer)


def model_of(objective: Objective, seed: int = 1, **sizes: Any) -> Model:
    defaults = {"n_layers": 2, "d_model": 12, "n_heads": 3, "d_ff": 20, "max_length": 16, "dropout": 0.0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = ModelConfig(**(defaults | sizes))
        return find_kind(config.kind)(config, objective.tokenizer.vocab_size, objective.outputs())


def tree(text: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """A recipe's tree for a text file; `sections` change single keys."""
    base: dict[str, Any] = {
        "data": {"train": str(text), "validation_share": 0.2, "document": "line"},
        "tokenizer": {"kind": "word", "vocab_size": 200},
        "model": {"n_layers": 2, "d_model": 12, "n_heads": 3, "d_ff": 20, "max_length": 16, "dropout": 0.1},
        "batch": {"size": 4},
        "training": {
            "steps": 12,
            "evaluate_every": 4,
            "checkpoint_every": 3,
            "log_every": 2,
            "samples": 2,
            "device": "cpu",
            "precision": "32-true",
            "compile": False,
            "threads": 1,
        },
    }
    for name, section in sections.items():
        base[name] = base.get(name, {}) | section
    return base


def text_file(folder: Path, texts: list[str] | None = None, name: str = "tiny.txt") -> Path:
    """A text with a sentence in each line."""
    file = folder / name
    file.write_text("\n".join(texts if texts is not None else sentences()) + "\n", encoding="utf-8")
    return file


def recipe(text: Path, **sections: dict[str, Any]) -> Recipe:
    return parse(tree(text, **sections))


def train(
    wanted: Recipe | None, run: Path, *, resume: bool = False, changes: tuple[str, ...] = (), display: Any = None
) -> Run:
    """`launch.train` without the pictures at its end, which take longer than a tiny training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "draw_report", lambda run: None)
        return launch.train(wanted, changes, run=run, resume=resume, display=display)


def spoil_losses(patch: pytest.MonkeyPatch, steps: Container[int], factor: float = math.nan) -> None:
    """From now on the training loss of these steps is multiplied by `factor`; evaluations are spared."""
    update, loss = Engine.update, Objective.loss
    at = [0]

    def spoiled_update(self: Engine, batches: Any, peak: float, randomness: Any, watch: Any) -> Any:
        at[0] = randomness[1]
        return update(self, batches, peak, randomness, watch)

    def spoiled_loss(self: Objective, logits: Any, batch: Any) -> dict[str, Loss]:
        losses = loss(self, logits, batch)
        if at[0] not in steps or not torch.is_grad_enabled():
            return losses
        return {name: Loss(part.total * factor, part.count) for name, part in losses.items()}

    patch.setattr(Engine, "update", spoiled_update)
    patch.setattr(Objective, "loss", spoiled_loss)


class Hearing(Display):
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[dict[str, Any]] = []

    def start(self, step: int, steps: int) -> None: ...

    def step(self, record: dict[str, Any]) -> None:
        self.steps.append(record)

    def evaluation(self, record: dict[str, Any]) -> None: ...

    def say(self, text: str) -> None:
        self.said.append(text)

    def stop(self) -> None: ...


def timeless(value: Any) -> Any:
    """The same without what a clock wrote."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def contents(run: Path) -> dict[str, Any]:
    """All that two runs must have in common, bit for bit: the newest checkpoint's weights, optimiser and state, the
    best weights, the metrics, samples and probes, without the times."""
    directory = RunDirectory.open(run)
    newest = checkpoint_steps(directory)[-1]
    checkpoint = read_snapshot(directory.checkpoints / f"step-{newest}")
    found: dict[str, Any] = {"step": newest, "state": timeless(checkpoint.state)}
    # Times are written with more or fewer digits, so that the lengths of equal metrics differ.
    found["state"]["training"].pop("metrics_length")
    parts = {**checkpoint.parts, "last": read_snapshot(directory.last).parts["model"]}
    if directory.best.is_dir():
        parts["best"] = read_snapshot(directory.best).parts["model"]
    for part, tensors in parts.items():
        found |= {f"{part}/{name}": bits(tensor) for name, tensor in tensors.items()}
    found["metrics"] = timeless(directory.metrics())
    found["samples"] = {file.name: file.read_text() for file in sorted(directory.samples.iterdir())}
    found["probes"] = {file.name: file.read_bytes() for file in sorted(directory.probes.glob("*"))}
    return found


def bits(tensor: torch.Tensor) -> tuple[str, bytes]:
    """Type and bytes: -0.0 is not 0.0 here, and NaN equals itself."""
    return str(tensor.dtype), tensor.detach().contiguous().view(torch.uint8).numpy().tobytes() if tensor.dim() else (
        tensor.detach().reshape(1).view(torch.uint8).numpy().tobytes()
    )


def assert_same_run(one: Path, other: Path) -> None:
    """Raises AssertionError naming what differs."""
    a, b = contents(one), contents(other)
    differing = [key for key in a.keys() | b.keys() if key not in a or key not in b or a[key] != b[key]]
    shown = [(key, a.get(key), b.get(key)) for key in sorted(differing) if "/" not in key]
    assert not differing, f"{one.name} and {other.name} differ in {sorted(differing)}: {shown}"


def records(run: Path, event: str) -> list[dict[str, Any]]:
    """The records of one kind in metrics.jsonl."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]
