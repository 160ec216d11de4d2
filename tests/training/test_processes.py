"""Several processes are one: what one asks of the others, one exact update, and whole runs that end together."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import beside
import psutil
import pytest
import torch
from tiny_recipe import Hearing, recipe, records, train

from glassformer.errors import GlassformerError, UsageError
from glassformer.recipe import Recipe, read, with_value
from glassformer.resolve import refuse_too_many
from glassformer.run import RunDirectory
from glassformer.snapshot import read_snapshot
from glassformer.training.processes import Processes, started_together
from glassformer.training.trainer import Interrupted
from glassformer.training.workers import workers

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two processes need two cores")
HERE = Path(__file__).parent


@pytest.fixture
def tests_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent), *sys.path]))


def test_two_processes_are_one(tests_are_found: None, tmp_path: Path) -> None:
    """What they tell each other; weights after three ragged steps with dropout, one of which leaves a process without
    work, as one process has them, in float64; an evaluation that they share; a step that is finite in all but one is
    applied in none."""
    with workers("beside", tmp_path, 2) as processes:
        found = beside.everything(processes)
    alone = beside.everything(Processes())
    assert (list(found["own"]), found["numbers"]) == ([0, 2, 4], [0, 2])
    assert (list(alone["own"]), alone["numbers"]) == ([0, 1, 2, 3, 4], [0, 1])
    assert (found["sum"], alone["sum"]) == ([3.0, 1.0], [1.5, 0.0])
    assert (found["any"], alone["any"]) == ([False, True, True], [False, True, True])
    assert found["told"] == alone["told"] == {"path": "runs/ü", "n": [1, None]}
    assert found["copied"] == alone["copied"] == [3.0]
    for update, expected in zip(found["trained"]["updates"], alone["trained"]["updates"], strict=True):
        assert update == pytest.approx(expected, rel=1e-10)
    start = dict(beside.engine_of(Processes()).model.state_dict())
    for name, weight in alone["trained"]["weights"].items():
        torch.testing.assert_close(found["trained"]["weights"][name], weight, rtol=1e-10, atol=1e-10)
    assert any((alone["trained"]["weights"][name] - start[name]).abs().max() > 1e-2 for name in start)
    for key, value in alone["evaluation"].items():
        # Metrics add up in float32.
        expected = value if isinstance(value, str | bool) else pytest.approx(value, rel=1e-6)
        assert found["evaluation"][key] == expected, key
    assert found["spoilt"] == alone["spoilt"] == (False, False)
    assert found["gradients"] == [[3.0, 30.0], [5.0, 7.0], None]
    assert alone["gradients"] == [[1.0, 10.0], [5.0, 7.0], None]


def test_a_worker_that_cannot_begin_is_an_error_that_says_why(tmp_path: Path) -> None:
    """Nobody waits for it."""
    message = "training with 2 processes ended: process 1 ended with status 1: .*No module named no_such_module"
    with pytest.raises(GlassformerError, match=message), workers("no_such_module", tmp_path, 2):
        pass
    assert not psutil.Process().children()


def test_a_worker_ends_with_the_process_that_started_it() -> None:
    """However that ends: what they share is a pipe, which the system closes."""
    program = (
        "from glassformer.training.workers import ending_with_the_first; import time; "
        "ending_with_the_first(); print('up', flush=True); time.sleep(600)"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == b"up"
        assert worker.poll() is None
        worker.stdin.close()
        assert worker.wait(timeout=30) == 1


# ------------------------------------------------------------------------------------------------- whole runs


def of_two(text: Path, **training: Any) -> Recipe:
    return recipe(text, training={"devices": 2, **training})


class Striking(Hearing):
    """Sends a signal to the process beside the first once a step is reached."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        super().__init__()
        self.at, self.number = step, number

    def step(self, record: dict[str, Any]) -> None:
        if record["step"] == self.at:
            [worker] = psutil.Process().children()
            worker.send_signal(self.number)


def assert_nearly_the_same(one: Path, other: Path) -> None:
    """Weights, optimiser and losses, up to the rounding of sums in float32."""
    for folder in ("last", "best"):
        a, b = (read_snapshot(run / folder).parts["model"] for run in (one, other))
        for name, weight in a.items():
            torch.testing.assert_close(b[name], weight, rtol=1e-5, atol=1e-5)
    for event in ("train", "evaluation"):
        found, expected = records(one, event), records(other, event)
        assert [record["step"] for record in found] == [record["step"] for record in expected]
        assert [record["loss"] for record in found] == pytest.approx([record["loss"] for record in expected], rel=1e-5)
    assert records(one, "train")[-1]["tokens_seen"] == records(other, "train")[-1]["tokens_seen"]


def test_a_run_of_two_is_one_with_twice_the_accumulation(text: Path, tmp_path: Path) -> None:
    """Stopped by a signal to the process that does not write, and resumed, it has the weights and numbers of the one
    that never stopped, to the bit: a sum of two is the same in either order. Killed there, it says so at once, and one
    process goes on with the same steps."""
    long = {"steps": 40, "evaluate_every": 20, "checkpoint_every": 8}
    one = train(recipe(text, training={"accumulate": 2, **long}), tmp_path / "one").path
    with pytest.raises(Interrupted, match="everything is saved"):
        train(of_two(text, **long), tmp_path / "two", display=Striking(10, signal.SIGTERM))
    train(None, tmp_path / "two", resume=True)
    assert_nearly_the_same(tmp_path / "two", one)
    found, expected = (read_snapshot(run / "checkpoints" / "step-40").parts for run in (tmp_path / "two", one))
    for part in ("model", "optimizer"):
        assert all(torch.equal(found[part][name], expected[part][name]) for name in expected[part])
    assert len(records(tmp_path / "two", "evaluation")) == 3  # one process has written

    with pytest.raises(GlassformerError, match=r"process 1 was killed by SIGKILL") as raised:
        train(of_two(text, **long), tmp_path / "killed", display=Striking(10, signal.SIGKILL))
    assert "--resume" in raised.value.mend
    assert not psutil.Process().children()
    hearing = Hearing()
    train(None, tmp_path / "killed", resume=True, changes=("training.devices=1",), display=hearing)
    assert any("training.devices was 2, and is 1 from here" in line for line in hearing.said)
    assert_nearly_the_same(one, tmp_path / "killed")
    resolved = read(str(tmp_path / "killed" / "recipe.yaml")).training
    assert (resolved.devices, resolved.accumulate) == (1, 2)
    train(of_two(text, **long), tmp_path / "killed", resume=True, changes=("training.devices=1",))


def test_torchrun_starts_them_too(tests_are_found: None, text: Path, tmp_path: Path) -> None:
    """Each process runs the same command; the first speaks and writes, and the number of processes is recorded."""
    one = train(recipe(text, training={"accumulate": 2}), tmp_path / "one").path
    command = ["torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "--", "torchrun_train", "train"]
    changes = ["training.devices=1", "training.accumulate=1"]
    arguments = [str(one / "recipe.yaml"), *changes, "--run", str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ended = subprocess.run(
        [sys.executable, "-m", *command, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("pictures: ") == 1
    assert_nearly_the_same(tmp_path / "two", one)
    assert read(str(tmp_path / "two" / "recipe.yaml")).training.devices == 2


def test_started_together() -> None:
    """Nothing in the environment means alone."""
    assert started_together() == (0, 1)


# --------------------------------------------------------------------------------------------------- refusals


def test_too_many_or_elsewhere_is_refused() -> None:
    """More processes than cores, and several on another device."""
    cores = os.cpu_count() or 1
    refuse_too_many(cores, "cpu")
    refuse_too_many(1, "mps")
    with pytest.raises(UsageError, match=f"this machine has {cores} core") as raised:
        refuse_too_many(cores + 1, "cpu")
    assert raised.value.mend == f"use training.devices={cores}, or fewer"
    with pytest.raises(UsageError, match="several processes train on the CPU only"):
        refuse_too_many(2, "mps")


def test_a_resume_by_a_number_that_cannot_share_the_steps(text: Path, tmp_path: Path) -> None:
    """A step keeps its micro-batches; the numbers that can share them are named."""
    train(recipe(text, training={"accumulate": 2, "steps": 3}), tmp_path / "run")
    with pytest.raises(UsageError, match="2 micro-batches, which 3 processes cannot share") as raised:
        train(None, tmp_path / "run", resume=True, changes=("training.devices=3",))
    assert raised.value.mend == "go on with training.devices=1 or 2"
    assert (
        with_value(read(str(RunDirectory(tmp_path / "run").recipe_file)), "training.devices", 1).training.devices == 1
    )
