"""Checkpoints: whole or not at all under kill -9, a full disk and damage; optimisers restored to the bit."""

import copy
import errno
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Muon, Optimizer

from glassformer.errors import GlassformerError, UsageError
from glassformer.run import RunDirectory
from glassformer.snapshot import DamagedSnapshot, write_text_durably
from glassformer.training import checkpoints as checkpoints_module
from glassformer.training.checkpoints import (
    checkpoint_steps,
    flatten_optimizer,
    latest_checkpoint,
    load_into,
    load_weights,
    restore_optimizer,
    save_best,
    save_checkpoint,
)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path / "run")
    write_text_durably(run.recipe_file, "{}\n")
    return run


def save(run: RunDirectory, step: int, keep: int = 2) -> Path:
    value = {"w": torch.full((3, 5), float(step))}
    return save_checkpoint(run, step, value, {"w/exp_avg": value["w"]}, {"step": step}, keep)


def silence(message: str) -> None:
    pytest.fail(f"nothing was to be reported, but: {message}")


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---------------------------------------------------------------------------------------------- checkpoints


def test_the_latest_checkpoint_comes_back(run: RunDirectory) -> None:
    assert latest_checkpoint(run, silence) is None
    for step in (90, 100, 1000):  # in the order of numbers, not of letters
        save(run, step, keep=5)
    checkpoint = latest_checkpoint(run, silence)
    assert checkpoint is not None
    assert checkpoint.step == 1000
    assert checkpoint.state == {"step": 1000}
    assert torch.equal(checkpoint.model["w"], torch.full((3, 5), 1000.0))
    assert torch.equal(checkpoint.optimizer["w/exp_avg"], torch.full((3, 5), 1000.0))
    assert checkpoint_steps(run) == [90, 100, 1000]


@pytest.mark.parametrize(("keep", "kept"), [(1, [50]), (3, [30, 40, 50]), (9, [10, 20, 30, 40, 50])])
def test_only_the_newest_are_kept(run: RunDirectory, keep: int, kept: list[int]) -> None:
    for step in (10, 20, 30, 40, 50):
        save(run, step, keep)
    assert checkpoint_steps(run) == kept
    assert names_in(run.checkpoints) == {f"step-{step}" for step in kept}


def test_a_resume_that_fell_back_takes_over_the_later_steps(run: RunDirectory) -> None:
    for step in (10, 20, 30):
        save(run, step, keep=5)
    flip_a_byte(run.checkpoints / "step-30" / "model.safetensors")
    save(run, 25, keep=5)
    assert checkpoint_steps(run) == [10, 20, 25]
    latest = latest_checkpoint(run, silence)
    assert latest is not None
    assert latest.step == 25


def test_a_step_may_be_saved_again(run: RunDirectory) -> None:
    save(run, 10)
    save_checkpoint(run, 10, {"w": torch.zeros(3)}, {}, {"again": True}, keep=1)
    checkpoint = latest_checkpoint(run, silence)
    assert checkpoint is not None
    assert checkpoint.state == {"again": True}
    assert names_in(run.checkpoints) == {"step-10"}


def test_folders_of_killed_processes_are_cleaned(run: RunDirectory) -> None:
    for folder in (run.path, run.checkpoints):
        (folder / ".tmp-step-1-99").mkdir()
    (run.plots / ".tmp-a.png-99").write_text("")  # of a program that looks at the run just now
    save(run, 10)
    assert names_in(run.checkpoints) == {"step-10"}
    assert not any(name.startswith(".tmp-") for name in names_in(run.path))
    assert names_in(run.plots) == {".tmp-a.png-99"}


DAMAGES: list[tuple[str, Callable[[Path], None], str]] = [
    ("model.safetensors", cut_short, r"model\.safetensors has [\d,]+ bytes instead of [\d,]+"),
    ("model.safetensors", flip_a_byte, r"model\.safetensors was changed"),
    ("optimizer.safetensors", flip_a_byte, r"optimizer\.safetensors was changed"),
    ("optimizer.safetensors", Path.unlink, r"optimizer\.safetensors is missing"),
    ("state.json", flip_a_byte, r"state\.json was changed"),
    ("manifest.json", Path.unlink, r"manifest\.json is missing"),
    ("manifest.json", cut_short, r"manifest\.json cannot be read"),
]


@pytest.mark.parametrize(("name", "damage", "reason"), DAMAGES)
def test_a_damaged_checkpoint_is_skipped_and_named(
    run: RunDirectory, name: str, damage: Callable[[Path], None], reason: str
) -> None:
    for step in (100, 200, 300):
        save(run, step, keep=3)
    damage(run.checkpoints / "step-300" / name)
    said: list[str] = []
    checkpoint = latest_checkpoint(run, said.append)
    assert checkpoint is not None
    assert checkpoint.step == 200
    assert len(said) == 1
    assert re.fullmatch(rf"step-300 is damaged \({reason}.*\): falling back to step-200", said[0])


def test_all_damaged_is_an_error_that_names_each(run: RunDirectory) -> None:
    for step in (1, 2):
        save(run, step)
        cut_short(run.checkpoints / f"step-{step}" / "model.safetensors")
    with pytest.raises(GlassformerError, match=r"no whole checkpoint: step-2 .*step-1 "):
        latest_checkpoint(run, silence)


def test_several_damaged_are_each_reported(run: RunDirectory) -> None:
    for step in (1, 2, 3):
        save(run, step, keep=3)
    for step in (2, 3):
        cut_short(run.checkpoints / f"step-{step}" / "model.safetensors")
    said: list[str] = []
    checkpoint = latest_checkpoint(run, said.append)
    assert checkpoint is not None
    assert checkpoint.step == 1
    assert [message.split()[0] for message in said] == ["step-3", "step-2"]
    assert all(message.endswith("falling back to step-1") for message in said)


def test_a_checkpoint_removed_by_the_training_that_goes_on_is_not_called_damaged(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 1)
    genuine = checkpoints_module.read_snapshot

    def after_the_next_save(*arguments: Any) -> Any:
        if checkpoint_steps(run) == [1]:
            save(run, 2, keep=1)
        return genuine(*arguments)

    monkeypatch.setattr(checkpoints_module, "read_snapshot", after_the_next_save)
    checkpoint = latest_checkpoint(run, silence)
    assert checkpoint is not None
    assert checkpoint.step == 2


def test_a_full_disk_leaves_the_previous_checkpoint(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    save(run, 1)
    save_best(run, {"w": torch.ones(3)}, {"step": 1})
    before = sorted(str(path) for path in run.path.rglob("*"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GlassformerError, match=r"step-2: the disk is full\n.*intact"):
        save(run, 2)
    with pytest.raises(GlassformerError, match=r"best: the disk is full\n.*intact"):
        save_best(run, {"w": torch.zeros(3)}, {"step": 2})
    assert sorted(str(path) for path in run.path.rglob("*")) == before
    checkpoint = latest_checkpoint(run, silence)
    assert checkpoint is not None
    assert checkpoint.step == 1
    assert load_weights(run, "best")[1] == {"step": 1}


# -------------------------------------------------------------------------------------------------- weights


def test_weights_by_name(run: RunDirectory) -> None:
    for step in (1, 2, 3):
        save(run, step, keep=2)
    assert load_weights(run)[1] == {"step": 3}
    save_best(run, {"w": torch.zeros(3)}, {"step": 2})
    for which, step in [(None, 2), ("best", 2), ("last", 3), ("step-2", 2), ("step-3", 3)]:
        assert load_weights(run, which, report=silence)[1] == {"step": step}
    with pytest.raises(UsageError, match=r"no weights 'step-1'\nit has: best, last, step-2, step-3"):
        load_weights(run, "step-1")


def test_weights_that_are_not_there(run: RunDirectory) -> None:
    for which in (None, "best", "last", "step-1"):
        with pytest.raises(UsageError, match="no weights yet"):
            load_weights(run, which)
    save(run, 1)
    with pytest.raises(UsageError, match=r"no weights 'best'\nit has: last, step-1"):
        load_weights(run, "best")


def test_damaged_best_falls_back_only_when_it_was_not_named(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    save(run, 3)
    save_best(run, {"w": torch.zeros(3)}, {"step": 2})
    cut_short(run.best / "model.safetensors")
    assert load_weights(run)[1] == {"step": 3}
    assert re.search(r"best is damaged \(model.*falling back", capsys.readouterr().err)
    with pytest.raises(DamagedSnapshot, match=r"best is damaged: model\.safetensors has"):
        load_weights(run, "best")


def test_last_is_the_checkpoints_own_file_and_survives_without_it(run: RunDirectory) -> None:
    folder = save(run, 1)
    assert (folder / "model.safetensors").samefile(run.last / "model.safetensors")
    assert names_in(run.last) == {"model.safetensors", "state.json", "manifest.json"}
    folder = save(run, 2, keep=1)
    assert (folder / "model.safetensors").samefile(run.last / "model.safetensors")
    run.checkpoints.rename(run.path.parent / "not given away")
    weights, state = load_weights(run)
    assert state == {"step": 2}
    assert torch.equal(weights["w"], torch.full((3, 5), 2.0))


# -------------------------------------------------------------------------------------------------- the model


class Tied(nn.Module):
    """All that a checkpoint meets: tied weights, a layer used twice, buffers, parameters without gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(13, 7)
        self.layer = nn.Linear(7, 7)
        self.again = self.layer
        self.norm = nn.BatchNorm1d(7)
        self.output = nn.Linear(7, 13, bias=False)
        self.output.weight = self.embedding.weight
        self.unused = nn.Linear(3, 5)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.embedding(ids).mean(1)
        hidden = self.norm(self.again(torch.relu(self.layer(hidden))))
        return self.output(hidden)


def tied_model(seed: int) -> Tied:
    torch.manual_seed(seed)
    return Tied()


def train(model: nn.Module, optimizers: list[Optimizer], steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(13, (11, 5), generator=generator)
        loss = nn.functional.cross_entropy(model(ids), ids[:, 0])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def test_load_into_copies_in_place_and_keeps_ties(run: RunDirectory) -> None:
    source, target = tied_model(1), tied_model(2)
    train(source, [SGD(source.parameters(), lr=0.1)], range(3))
    pointers = {name: value.data_ptr() for name, value in target.state_dict().items()}
    save_best(run, source.state_dict(), {})
    weights, _ = load_weights(run)
    load_into(target, weights)
    assert {name: value.data_ptr() for name, value in target.state_dict().items()} == pointers
    assert target.output.weight is target.embedding.weight
    assert target.again is target.layer
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name
    assert int(target.norm.num_batches_tracked) == 3


def spoiled(change: Callable[[dict[str, Tensor]], Any]) -> dict[str, Tensor]:
    tensors = {name: value.clone() for name, value in tied_model(1).state_dict().items()}
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("layer.bias"), r"needs layer\.bias, which was not saved"),
        (lambda tensors: tensors.update(extra=torch.ones(1)), "has no extra, which was saved"),
        (lambda tensors: tensors.clear(), r"needs embedding\.weight, layer\.weight, layer\.bias and 10 more"),
        (
            lambda tensors: tensors.update({"layer.bias": torch.ones(5)}),
            r"shape in layer\.bias \(saved \[5\], needed \[7\]\)",
        ),
        (
            lambda tensors: tensors.update({"output.weight": torch.zeros(13, 7)}),
            r"ties embedding\.weight and output\.weight, but",
        ),
    ],
)
def test_load_into_refuses_and_changes_nothing(change: Callable[..., Any], message: str) -> None:
    model = tied_model(2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(GlassformerError, match=message):
        load_into(model, spoiled(change))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


# -------------------------------------------------------------------------------------------- the optimisers


def adamw(model: nn.Module) -> list[Optimizer]:
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    plain = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": plain, "weight_decay": 0.0, "betas": (0.8, 0.95)}, {"params": decayed}]
    return [AdamW(groups, lr=0.01)]


def adamw_fused(model: nn.Module) -> list[Optimizer]:
    return [AdamW(model.parameters(), lr=0.01, fused=True, amsgrad=True)]


def adamw_with_a_tensor_rate(model: nn.Module) -> list[Optimizer]:
    return [AdamW(model.parameters(), lr=torch.tensor(0.01), foreach=False)]


def muon_and_adamw(model: nn.Module) -> list[Optimizer]:
    matrices = [parameter for name, parameter in model.named_parameters() if name == "layer.weight"]
    rest = [parameter for name, parameter in model.named_parameters() if name != "layer.weight"]
    return [Muon(matrices, lr=0.01), AdamW(rest, lr=0.01)]


BUILDERS = [adamw, adamw_fused, adamw_with_a_tensor_rate, muon_and_adamw]


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "used"])
@pytest.mark.parametrize("build", BUILDERS)
def test_training_goes_on_with_the_same_bits(
    run: RunDirectory, build: Callable[[nn.Module], list[Optimizer]], fresh: bool
) -> None:
    """Also into an optimiser that has already made a step of a probe."""
    model = tied_model(1)
    optimizers = build(model)
    train(model, optimizers, range(3))
    for optimizer in optimizers:  # a schedule has moved on
        optimizer.param_groups[0]["lr"] *= 0.7
    tensors, plain = flatten_optimizer(optimizers, model)
    save_checkpoint(run, 3, model.state_dict(), tensors, {"optimizer": plain}, keep=1)
    train(model, optimizers, range(3, 6))

    other = tied_model(2)
    others = build(other)
    if not fresh:
        train(other, others, range(50, 51))
    held = {id(value) for one in others for slots in one.state.values() for value in slots.values()}
    checkpoint = latest_checkpoint(run, silence)
    assert checkpoint is not None
    load_into(other, checkpoint.model)
    restore_optimizer(others, other, checkpoint.optimizer, checkpoint.state["optimizer"])
    now = {id(value) for one in others for slots in one.state.values() for value in slots.values()}
    assert fresh or held == now  # copied into what was there
    train(other, others, range(3, 6))
    assert_same_bits(model, optimizers, other, others)


def assert_same_bits(model: nn.Module, optimizers: list[Optimizer], other: nn.Module, others: list[Optimizer]) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    left, right = flatten_optimizer(optimizers, model), flatten_optimizer(others, other)
    assert left[1] == right[1]
    assert left[0].keys() == right[0].keys()
    for name, value in left[0].items():
        assert torch.equal(right[0][name], value), name


def test_without_the_restore_the_bits_differ() -> None:
    """The other side of the test above: it could not pass with an optimiser left as it was."""
    model, other = tied_model(1), tied_model(1)
    optimizers = adamw(model)
    train(model, optimizers, range(3))
    load_into(other, model.state_dict())
    train(model, optimizers, range(3, 6))
    train(other, adamw(other), range(3, 6))
    assert not torch.equal(model.layer.weight, other.layer.weight)


def test_the_state_is_keyed_by_names_and_plain_json() -> None:
    model = tied_model(1)
    optimizers = muon_and_adamw(model)
    train(model, optimizers, range(1))
    tensors, plain = flatten_optimizer(optimizers, model)
    assert "layer.weight/momentum_buffer" in tensors
    assert {"norm.bias/exp_avg", "norm.bias/exp_avg_sq", "norm.bias/step"} <= tensors.keys()
    assert not any(name.startswith("unused") for name in tensors)  # it never had a gradient
    assert json.loads(json.dumps(plain)) == json.loads(json.dumps(plain, allow_nan=False))
    assert [one["kind"] for one in plain["optimizers"]] == ["Muon", "AdamW"]
    assert plain["optimizers"][0]["groups"][0]["params"] == ["layer.weight"]


def test_tuples_stay_tuples_and_one_optimiser_needs_no_list() -> None:
    model = tied_model(1)
    (optimizer,) = adamw(model)
    tensors, plain = flatten_optimizer(optimizer, model)
    assert tensors == {}
    restore_optimizer(optimizer, model, tensors, json.loads(json.dumps(plain)))
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.95)
    assert isinstance(optimizer.param_groups[0]["betas"], tuple)


def test_fabrics_wrappers_are_seen_through() -> None:
    from lightning_fabric import Fabric

    model = tied_model(1)
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = fabric.setup(model, adamw(model)[0])
    train(wrapped, [optimizer], range(2))
    tensors, plain = flatten_optimizer(optimizer, model)
    assert plain["optimizers"][0]["kind"] == "AdamW"
    assert "layer.weight/exp_avg" in tensors
    restore_optimizer(optimizer, model, tensors, plain)


def rename(mapping: dict[str, Any], old: str, new: str) -> None:
    mapping[new] = mapping.pop(old)


SPOILED: list[tuple[Callable[[dict[str, Tensor], list[dict[str, Any]]], Any], str]] = [
    (lambda tensors, _: tensors.pop("layer.weight/exp_avg"), r"needs layer\.weight/exp_avg, which was not"),
    (
        lambda tensors, _: tensors.update({"ghost/step": torch.ones(())}),
        r"has no ghost/step, which was saved",
    ),
    (
        lambda tensors, _: tensors.update({"layer.weight/exp_avg": torch.ones(5)}),
        r"layer\.weight/exp_avg was saved as \[5\], needed \[7, 7\]",
    ),
    (lambda _, plain: plain[0].update(kind="Adafactor"), r"state of Adafactor was saved.*continue AdamW"),
    (
        lambda _, plain: plain[0]["groups"][0]["params"].remove("norm.bias"),
        r"needs norm\.bias, which was not",
    ),
    (lambda _, plain: plain[0]["groups"][1]["params"].append("ghost"), r"has no ghost, which was saved"),
    (lambda _, plain: plain[0]["groups"].pop(), r"1 groups of AdamW were saved, 2 are there"),
    (lambda _, plain: plain.append(plain[0]), r"2 optimisers were saved, 1 are there"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_restore_refuses_and_changes_nothing(spoil: Callable[..., Any], message: str) -> None:
    model = tied_model(1)
    optimizers = adamw(model)
    train(model, optimizers, range(2))
    tensors, plain = copy.deepcopy(flatten_optimizer(optimizers, model))
    train(model, optimizers, range(2, 3))
    before = copy.deepcopy(flatten_optimizer(optimizers, model)[0])
    spoil(tensors, plain["optimizers"])
    with pytest.raises(GlassformerError, match=message):
        restore_optimizer(optimizers, model, tensors, plain)
    after = flatten_optimizer(optimizers, model)[0]
    assert all(torch.equal(before[name], value) for name, value in after.items())


def test_state_of_a_parameter_that_the_model_lacks_is_named() -> None:
    model = tied_model(1)
    optimizers = adamw(model)
    train(model, optimizers, range(1))
    tensors, plain = flatten_optimizer(optimizers, model)
    for slot in ("step", "exp_avg", "exp_avg_sq"):
        rename(tensors, f"layer.bias/{slot}", f"ghost/{slot}")
    rename(plain["optimizers"][0]["state"], "layer.bias", "ghost")
    with pytest.raises(GlassformerError, match="AdamW has no ghost, which was saved"):
        restore_optimizer(optimizers, model, tensors, plain)


def test_a_parameter_of_another_model_is_refused() -> None:
    model = tied_model(1)
    with pytest.raises(GlassformerError, match=r"group 0 holds a \[13, 7\] that the model has not"):
        flatten_optimizer(SGD(model.parameters(), lr=0.1), tied_model(2))


def test_a_parameter_never_updated_loses_the_state_of_a_probe() -> None:
    model = tied_model(1)
    optimizers = adamw(model)
    empty = flatten_optimizer(optimizers, model)
    train(model, optimizers, range(1))
    restore_optimizer(optimizers, model, *empty)
    assert flatten_optimizer(optimizers, model)[0] == {}


def test_nothing_is_pickled(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("pickled")

    for module, name in [(pickle, "dump"), (pickle, "dumps"), (pickle, "load"), (pickle, "loads")]:
        monkeypatch.setattr(module, name, forbidden)
    monkeypatch.setattr(torch, "save", forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    model = tied_model(1)
    optimizers = adamw(model)
    train(model, optimizers, range(1))
    tensors, plain = flatten_optimizer(optimizers, model)
    save_checkpoint(run, 1, model.state_dict(), tensors, {"optimizer": plain}, keep=1)
    assert latest_checkpoint(run, silence) is not None
    assert {path.suffix for path in run.path.rglob("*") if path.is_file()} == {
        ".yaml",
        ".json",
        ".safetensors",
    }
    source = Path(checkpoints_module.__file__).read_text()
    assert not re.search(r"import pickle|torch\.(save|load)\b", source)


# --------------------------------------------------------------------------------------------------- kill -9

KILLED = '''
"""Saves checkpoints and bests; for each n, a copy of this process is killed at its n-th durable event:
before the calls named below, after a file was opened for writing. Prints what was left each time."""

import builtins, json, os, shutil, signal, sys
from pathlib import Path

import torch

from glassformer.run import RunDirectory
from glassformer.snapshot import has_snapshot, read_snapshot, snapshots, write_text_durably
from glassformer.training.checkpoints import latest_checkpoint, load_weights, save_best, save_checkpoint

os.fsync = lambda descriptor: None  # only counted: what the kernel has been given outlives kill -9
EVENTS = ("fsync", "replace", "rename", "mkdir", "link", "unlink", "rmdir")


def kill_at(number):
    seen = [0]

    def event():
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(genuine):
        def call(*arguments, **named):
            event()
            return genuine(*arguments, **named)

        return call

    def opened(path, mode="r", **named):
        file = genuine_open(path, mode, **named)
        if mode[0] in "wa":
            event()
        return file

    genuine_open, builtins.open = open, opened
    for name in EVENTS:
        setattr(os, name, counted(getattr(os, name)))


def tensors(value):
    return {"w": torch.full((3, 5), float(value))}


def save_all(run, log, steps):
    def during(name, save):
        os.write(log, f"begin {name}\\n".encode())
        save()
        os.write(log, f"done {name}\\n".encode())

    for step in steps:
        state = {"step": step}
        during(f"text {step}", lambda: write_text_durably(run.recipe_file, f"{step}\\n"))
        run.append_metrics(state)
        model, optimizer = tensors(step), tensors(-step)
        during(f"step {step}", lambda: save_checkpoint(run, step, model, optimizer, state, keep=1))
        during(f"best {step}", lambda: save_best(run, tensors(step), state))


def trial(folder, number):
    """In a copy of this process: kill_at(number), then save. Returns whether it was killed, and its log."""
    run = RunDirectory.create(folder)
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    child = os.fork()
    if child == 0:
        kill_at(number)
        try:
            save_all(run, log, (1, 2, 2))
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    os.close(log)
    if not os.WIFSIGNALED(status):
        assert os.WEXITSTATUS(status) == 0, "a save failed"
        return False
    assert os.WTERMSIG(status) == signal.SIGKILL
    return True


def value_of(found):
    weights, state = found
    assert torch.equal(weights["w"], torch.full((3, 5), float(state["step"]))), "weights of another state"
    return state["step"]


def left(folder):
    run, reports = RunDirectory(folder), []
    for older in snapshots(run.checkpoints):
        read_snapshot(older)
    run.metrics()
    checkpoint = latest_checkpoint(run, reports.append)
    if checkpoint:
        assert value_of((checkpoint.model, checkpoint.state)) == checkpoint.step
        assert torch.equal(checkpoint.optimizer["w"], torch.full((3, 5), -float(checkpoint.step)))
    best = has_snapshot(run.best) and value_of(load_weights(run, "best"))
    last = checkpoint and value_of(load_weights(run, "last"))
    text = run.recipe_file.exists() and int(run.recipe_file.read_text())
    log = (folder / "log").read_text().splitlines()
    found = {"best": int(best), "last": last or 0, "text": int(text), "reports": reports, "log": log}
    return found | {"step": checkpoint.step if checkpoint else 0}


def survives(folder):
    """The next process goes on, and nothing half done is left."""
    run = RunDirectory(folder)
    log = os.open(os.devnull, os.O_WRONLY)
    save_all(run, log, (9,))
    os.close(log)
    found = left(folder)
    rest = [path.name for path in folder.rglob(".*")]
    return [found["step"], found["best"], found["text"]] == [9, 9, 9] and not rest


root, results, number, killed = Path(sys.argv[1]), [], 0, True
while killed:
    number += 1
    folder = root / str(number)
    killed = trial(folder, number)
    results.append(left(folder) | {"killed": killed, "survives": survives(folder)})
    shutil.rmtree(folder)
print(json.dumps(results))
'''


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows cannot copy a process")
def test_kill_9_at_every_durable_event_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, "-W", "error", str(script), str(tmp_path / "runs")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert finished.returncode == 0, finished.stderr
    results = json.loads(finished.stdout)
    kills = [result for result in results if result["killed"]]
    assert len(kills) == len(results) - 1 > 80
    for number, result in enumerate(kills, start=1):
        assert_old_or_new(result, number)
    inside = [result for result in kills if result["log"] and result["log"][-1].startswith("begin")]
    assert len(inside) >= len(kills) / 3
    for kind in ("text", "step", "best"):  # and each kind of save was hit
        assert any(result["log"][-1].startswith(f"begin {kind}") for result in inside)
    assert [results[-1][name] for name in ("step", "best", "last", "text")] == [2, 2, 2, 2]


def assert_old_or_new(result: dict[str, Any], number: int) -> None:
    """Each kind holds what was last finished, or what was being written when the process was killed."""
    for kind in ("text", "step", "best"):
        done = [int(line.split()[2]) for line in result["log"] if line.startswith(f"done {kind}")]
        begun = [int(line.split()[2]) for line in result["log"] if line.startswith(f"begin {kind}")]
        allowed = {done[-1] if done else 0, begun[-1] if begun else 0}
        assert result[kind] in allowed, f"kill {number}: {kind} is {result[kind]}, not one of {allowed}"
    assert result["last"] == result["step"], f"kill {number}"
    assert result["reports"] == [], f"kill {number}: a killed save must not look like damage"
    assert result["survives"], f"kill {number}: the next process did not go on cleanly"
