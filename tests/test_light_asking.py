"""Asking a model loads nothing that only training needs, and nothing is drawn that the saved weights replace."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from trained import classifier_folder, run_folder

from glassformer.ask.run import load
from glassformer.ask.undrawn import Undrawn
from glassformer.model.layers import initialise

RUNS = Path(__file__).parent / "assets" / "old_runs"
NEVER = (
    *(
        "lightning_fabric",
        "datasets",
        "pyarrow",
        "PIL",
        "matplotlib",
        "transformers",
        "tensorboard",
        "rich",
        "filelock",
    ),
    *("sklearn", "scipy", "seqeval", "joblib"),
    *("torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "sympy"),
    *(f"glassformer.training.{name}" for name in ("trainer", "engine", "order", "callbacks", "probes", "measure")),
    *("glassformer.resolve", "glassformer.launch", "glassformer.look.pictures"),
)
"""What no question to a model needs. A name stands for everything below it too."""
PROGRAM = f"""
import json, sys
from glassformer.cli import run_command
sys.argv = ["glassformer", *sys.argv[1:]]
code = run_command()
never = {NEVER}
print(json.dumps([code, [name for name in sys.modules if any(f"{{name}}.".startswith(f"{{one}}.") for one in never)]]))
"""


def test_what_is_never_loaded_exists() -> None:
    """Else a file that was renamed would be forbidden under a name that nobody loads."""
    assert all(importlib.util.find_spec(name) for name in NEVER if name.startswith("glassformer."))


def loaded_by(*words: str | Path) -> list[str]:
    """Which of them a command has loaded when it has answered."""
    program = [sys.executable, "-c", PROGRAM, *map(str, words)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert not done.stderr.startswith("Traceback"), done.stderr
    code, names = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return names


@pytest.mark.parametrize(
    "words",
    [
        ("fill", RUNS / "mlm", "the [MASK] of a town"),
        ("score", RUNS / "mlm", "the name of a town"),
        ("attention", RUNS / "mlm", "the name of a town", "--json"),
        ("generate", RUNS / "clm", "the name", "--max-tokens", "4"),
        ("generate", RUNS / "seq2seq", "i love dogs", "--beam", "2", "--max-tokens", "4"),
    ],
    ids=["fill", "score", "attention", "generate", "answer"],
)
def test_a_question_loads_nothing_of_training(words: tuple[str | Path, ...]) -> None:
    assert loaded_by(*words) == []


def test_a_label_loads_nothing_of_training_nor_what_judges() -> None:
    assert loaded_by("classify", classifier_folder(), "the heart pumps blood") == []
    assert {"sklearn", "scipy"} <= set(loaded_by("evaluate", classifier_folder()))


def test_the_list_is_of_things_that_are_loaded_where_they_are_needed(tmp_path: Path) -> None:
    """A picture needs Matplotlib, so the check above can fail."""
    found = loaded_by("attention", RUNS / "mlm", "the name of a town", "--output", tmp_path / "a.png")
    assert {"matplotlib", "glassformer.look.pictures.figures"} <= set(found)


def test_nothing_is_drawn_that_is_read() -> None:
    """The generator of random numbers stands where it stood, and the weights are those of the file."""
    run = load(run_folder())
    before = torch.random.get_rng_state()
    model = run.model
    assert torch.equal(before, torch.random.get_rng_state())
    again = load(run_folder()).model
    for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", [nn.Linear, nn.Embedding, nn.LSTM, lambda *sizes: nn.MultiheadAttention(64, 8)])
def test_parameters_are_not_drawn_while_it_is_open(kind: type[nn.Module]) -> None:
    def draws() -> bool:
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        initialise(kind(64, 32))
        return not torch.equal(before, torch.random.get_rng_state())

    assert draws()
    with Undrawn():
        assert not draws()
        assert torch.nn.init.normal_(torch.zeros(9)).std() > 0, "what is no parameter is drawn as ever"
