"""Checkpoints: what a run needs to go on as if it had never stopped, and the weights that people want.

Every write goes through the snapshots of `snapshot.py`: safetensors and JSON only, whole or not at all. Tensors
are read back by copying INTO the tensors that exist, so that tied weights stay tied and nothing that holds a
reference (a compiled graph, an optimiser) notices.

Only the first process of several writes; all may read.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from glassformer.errors import GlassformerError, UsageError
from glassformer.reading import Saved, Unreadable, checked
from glassformer.run import RunDirectory
from glassformer.run import checkpoint_steps as checkpoint_steps
from glassformer.snapshot import (
    DamagedSnapshot,
    Snapshot,
    has_snapshot,
    link_snapshot,
    read_snapshot,
    remove_abandoned,
    remove_folder,
    write_snapshot,
)

Plain = bool | int | float | str | None


class SavedGroup(Saved):
    """A group of parameters of an optimiser."""

    params: list[str]
    options: dict[str, Plain | list[Plain]]


class SavedSlots(Saved):
    """What an optimiser keeps of one parameter: the names of the tensors, and the rest."""

    tensors: list[str]
    values: dict[str, Plain]


class SavedOptimizer(Saved):
    """One optimiser, as flatten_optimizer writes it."""

    kind: str
    groups: list[SavedGroup]
    state: dict[str, SavedSlots]


class SavedOptimizers(Saved):
    """All of them."""

    optimizers: list[SavedOptimizer]


# How an optimiser computes, not what: these belong to the one that was built for this machine.
MECHANICS = ("foreach", "fused", "capturable", "differentiable")
Optimizers = Optimizer | Sequence[Optimizer]


class Checkpoint(NamedTuple):
    """One whole checkpoint, as save_checkpoint was given it."""

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


# ---------------------------------------------------------------------------------------- writing and reading


def save_checkpoint(
    run: RunDirectory,
    step: int,
    model_tensors: dict[str, Tensor],
    optimizer_tensors: dict[str, Tensor],
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Writes `checkpoints/step-N`, points `last/` at its weights and removes the oldest beyond `keep`.

    Later steps, left by a resume that fell back behind them, are removed too: training has taken them over.
    Raises GlassformerError when it cannot be written (a full disk); the previous checkpoint is then intact.
    """
    for place in (run.checkpoints, run.path):  # first, since they may be what fills the disk
        remove_abandoned(place)
    folder = run.checkpoints / f"step-{step}"
    write_snapshot(folder, {"model": model_tensors, "optimizer": optimizer_tensors}, state)
    link_snapshot(folder, run.last, ["model"])
    older = [found for found in checkpoint_steps(run) if found < step]
    later = [found for found in checkpoint_steps(run) if found > step]
    for stale in later + older[: max(0, len(older) - keep + 1)]:
        _remove_checkpoint(run, stale)
    return folder


def save_best(run: RunDirectory, model_tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Replaces the weights in `best/`. Raises GlassformerError when it fails; the older ones are intact."""
    write_snapshot(run.best, {"model": model_tensors}, state)


def latest_checkpoint(
    run: RunDirectory, report: Callable[[str], None], device: str = "cpu", state: type[Saved] | None = None
) -> Checkpoint | None:
    """The newest whole checkpoint; None when the run has none yet. `state` is what state.json has to say: one that says
    something else is damaged, though it be the one that its manifest describes.

    A damaged one is skipped, and `report` is told which, why and what is taken instead. Raises
    GlassformerError when there are checkpoints and all are damaged.
    """
    newest = _newest_whole(run, ["model", "optimizer"], report, device, state)
    if newest is None:
        return None
    step, snapshot = newest
    return Checkpoint(step, snapshot.parts["model"], snapshot.parts["optimizer"], snapshot.state)


def print_to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


def load_weights(
    run: RunDirectory,
    which: str | None = None,
    device: str = "cpu",
    report: Callable[[str], None] = print_to_stderr,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of `"best"`, `"last"` or `"step-N"`, and the state saved with them. None: the best where
    there are such, else the last.

    What is named is read or refused; only None and "last" fall back past a damaged one, telling `report`.
    Raises UsageError when there is nothing of that name, GlassformerError when it is damaged.
    """
    if which is None:
        snapshot = _best_or_last(run, device, report)
    elif which == "last":
        snapshot = _last(run, device, report)
    else:
        snapshot = _named(run, which, device)
    return snapshot.parts["model"], snapshot.state


def _newest_whole(
    run: RunDirectory,
    parts: Iterable[str],
    report: Callable[[str], None],
    device: str,
    state: type[Saved] | None = None,
) -> tuple[int, Snapshot] | None:
    parts, damaged = list(parts), []
    for step in reversed(checkpoint_steps(run)):
        folder = run.checkpoints / f"step-{step}"
        try:
            snapshot = read_snapshot(folder, parts, device)
            if state is not None:
                _check_state(folder, snapshot.state, state)
        except DamagedSnapshot as error:
            if not has_snapshot(folder):  # training, going on meanwhile, has written newer ones
                return _newest_whole(run, parts, report, device, state)
            damaged.append(f"step-{step} is damaged ({error.reason})")
            continue
        for message in damaged:
            report(f"{message}: falling back to step-{step}")
        return step, snapshot
    if damaged:
        raise GlassformerError(
            f"{run.path} has no whole checkpoint: {'; '.join(damaged)}",
            "put the files back from a copy, or train again into another folder with --run",
        )
    return None


def _check_state(folder: Path, state: dict[str, Any], said: type[Saved]) -> None:
    try:
        checked(said, state, folder / "state.json")
    except Unreadable as error:
        raise DamagedSnapshot(folder, f"state.json {error.reason}") from None


def _best_or_last(run: RunDirectory, device: str, report: Callable[[str], None]) -> Snapshot:
    if not has_snapshot(run.best):
        return _last(run, device, report)
    try:
        return read_snapshot(run.best, ["model"], device)
    except DamagedSnapshot as error:
        snapshot = _last(run, device, report)
        report(f"best is damaged ({error.reason}): falling back to the newest checkpoint")
        return snapshot


def _last(run: RunDirectory, device: str, report: Callable[[str], None]) -> Snapshot:
    """From the checkpoints, which may be one step ahead of `last/` after a kill; a run that was given away
    without them still has `last/`."""
    newest = _newest_whole(run, ["model"], report, device)
    return newest[1] if newest else _named(run, "last", device)


def _named(run: RunDirectory, which: str, device: str) -> Snapshot:
    folder = run.checkpoints / which if which.startswith("step-") else run.path / which
    known = [name for name in ("best", "last") if has_snapshot(run.path / name)]
    known += [f"step-{step}" for step in checkpoint_steps(run)]
    if not known:
        raise UsageError(f"{run.path} has no weights yet", "train it first, or wait for its first checkpoint")
    if which not in known:
        raise UsageError(f"{run.path} has no weights {which!r}", f"it has: {', '.join(known)}")
    return read_snapshot(folder, ["model"], device)


def _remove_checkpoint(run: RunDirectory, step: int) -> None:
    for path in (run.checkpoints / f"step-{step}", run.checkpoints / f".previous-step-{step}"):
        if path.exists():
            remove_folder(path)


# ------------------------------------------------------------------------------------------------ the weights


def load_into(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copies `tensors` into the parameters and buffers of `model`, in place, all or none.

    Raises GlassformerError, naming the first few, for a name that is missing or unexpected, for another
    shape, and for tied weights that are to hold two different tensors.
    """
    targets = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    _same_names("the model", targets, tensors)
    _same_shapes("the model", targets, tensors)
    _same_ties(targets, tensors)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])


def _same_names(what: str, expected: Iterable[str], given: Iterable[str]) -> None:
    expected, given = dict.fromkeys(expected), dict.fromkeys(given)  # sets that keep their order
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    if missing:
        raise GlassformerError(f"{what} needs {_first_few(missing)}, which was not saved")
    if unexpected:
        raise GlassformerError(f"{what} has no {_first_few(unexpected)}, which was saved")


def _same_shapes(what: str, expected: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    wrong = [
        f"{name} (saved {list(given[name].shape)}, needed {list(target.shape)})"
        for name, target in expected.items()
        if given[name].shape != target.shape
    ]
    if wrong:
        raise GlassformerError(f"{what} has another shape in {_first_few(wrong)}")


def _same_ties(targets: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    """Two names of one parameter: copying would silently keep whichever comes last."""
    first: dict[tuple[Any, ...], str] = {}
    for name, target in targets.items():
        place = (target.device, target.data_ptr(), target.shape, target.stride())
        other = first.setdefault(place, name) if target.numel() else name
        if not (tensors[name] is tensors[other] or torch.equal(tensors[name], tensors[other])):
            raise GlassformerError(f"the model ties {other} and {name}, but what was saved for them differs")


def _first_few(names: Sequence[str], limit: int = 3) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


# ---------------------------------------------------------------------------------------------- the optimiser


def flatten_optimizer(optimizer: Optimizers, model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of one optimiser, or several, as tensors and JSON, both keyed by the names of the parameters
    (`encoder.blocks.0.norm.weight/exp_avg`), since an index would silently mean another parameter as soon as
    the model's order changes.

    The tensors are the optimiser's own, not copies: write them before the next step. `model` is the plain
    model; a wrapper's names carry its prefix. Raises GlassformerError for a parameter not in `model`.
    """
    tensors: dict[str, Tensor] = {}
    plain = []
    for one in _each(optimizer):
        names = _names_in(one, model)
        entries = {names[parameter]: slots for parameter, slots in one.state.items()}
        for name, slots in entries.items():
            tensors |= {f"{name}/{slot}": value for slot, value in slots.items() if isinstance(value, Tensor)}
        plain.append(
            {
                "kind": type(one).__name__,
                "groups": [_plain_group(group, names) for group in one.param_groups],
                "state": {name: _plain_slots(slots) for name, slots in entries.items()},
            }
        )
    return tensors, {"optimizers": plain}


def restore_optimizer(
    optimizer: Optimizers, model: nn.Module, tensors: dict[str, Tensor], saved: dict[str, Any]
) -> None:
    """Gives one optimiser, or several, the state that flatten_optimizer took: the next step has the same
    bits.

    Checks everything before it changes anything. Raises GlassformerError naming a parameter or tensor that
    is missing, unexpected or of another shape, or an optimiser of another kind; nothing is filled in.
    """
    optimizers = _each(optimizer)
    if len(optimizers) != len(saved["optimizers"]):
        raise GlassformerError(f"{len(saved['optimizers'])} optimisers were saved, {len(optimizers)} are there")
    pairs = list(zip(optimizers, saved["optimizers"], strict=True))
    _same_names("the optimiser", _tensor_names(saved), tensors)
    for one, plain in pairs:
        _check_optimizer(one, model, tensors, plain)
    for one, plain in pairs:
        _fill_groups(one, plain["groups"])
        _fill_state(one, model, tensors, plain["state"])


def _each(optimizer: Optimizers) -> list[Optimizer]:
    several = list(optimizer) if isinstance(optimizer, Sequence) else [optimizer]
    return [getattr(one, "optimizer", one) for one in several]  # Fabric's wrapper holds the real one


def _names_in(optimizer: Optimizer, model: nn.Module) -> dict[Tensor, str]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            if parameter not in names:
                shape = list(parameter.shape)
                raise GlassformerError(f"the optimiser's group {number} holds a {shape} that the model has not")
    return names


def _plain_group(group: dict[str, Any], names: dict[Tensor, str]) -> dict[str, Any]:
    options = {
        key: value.item() if isinstance(value, Tensor) else value  # a learning rate as a tensor
        for key, value in group.items()
        if key not in ("params", "param_names", *MECHANICS)
    }
    return {"params": [names[parameter] for parameter in group["params"]], "options": options}


def _plain_slots(slots: dict[str, Any]) -> dict[str, Any]:
    is_tensor = {slot: isinstance(value, Tensor) for slot, value in slots.items()}
    return {
        "tensors": [slot for slot in slots if is_tensor[slot]],
        "values": {slot: value for slot, value in slots.items() if not is_tensor[slot]},
    }


def _tensor_names(saved: dict[str, Any]) -> list[str]:
    return [
        f"{name}/{slot}"
        for plain in saved["optimizers"]
        for name, slots in plain["state"].items()
        for slot in slots["tensors"]
    ]


def _check_optimizer(optimizer: Optimizer, model: nn.Module, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    kind = type(optimizer).__name__
    if plain["kind"] != kind:
        raise GlassformerError(f"the state of {plain['kind']} was saved; it cannot continue {kind}")
    names = _names_in(optimizer, model)
    groups = optimizer.param_groups
    if len(groups) != len(plain["groups"]):
        raise GlassformerError(f"{len(plain['groups'])} groups of {kind} were saved, {len(groups)} are there")
    for number, (group, was) in enumerate(zip(groups, plain["groups"], strict=True)):
        expected = [names[parameter] for parameter in group["params"]]
        _same_names(f"group {number} of {kind}", expected, was["params"])
        _same_kinds(f"group {number} of {kind}", group, was["options"])
    _check_slots(kind, {name: parameter for parameter, name in names.items()}, tensors, plain["state"])


def _same_kinds(what: str, group: dict[str, Any], options: dict[str, Any]) -> None:
    """Numbers for numbers, and as many for several."""
    for key, value in options.items():
        present = group.get(key, value)
        if _shape_of(value) != _shape_of(present.item() if isinstance(present, Tensor) else present):
            raise GlassformerError(f"{what}: {key} was saved as {value!r}, needed as {present!r}")


def _shape_of(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return [_shape_of(one) for one in value] if isinstance(value, list | tuple) else type(value)


def _check_slots(kind: str, parameters: dict[str, Tensor], tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """A slot is shaped as its parameter, or is one number (`step`)."""
    _same_names(kind, [name for name in state if name in parameters], state)
    for name, slots in state.items():
        for slot in slots["tensors"]:
            given, needed = tensors[f"{name}/{slot}"], parameters[name]
            if given.dim() and given.shape != needed.shape:
                raise GlassformerError(
                    f"{kind}: {name}/{slot} was saved as {list(given.shape)}, needed {list(needed.shape)}"
                )


def _fill_groups(optimizer: Optimizer, groups: list[dict[str, Any]]) -> None:
    for group, was in zip(optimizer.param_groups, groups, strict=True):
        for key, value in was["options"].items():
            present = group.get(key)
            if isinstance(present, Tensor):
                present.fill_(value)
            else:  # JSON knows no tuples
                group[key] = tuple(value) if isinstance(present, tuple) else value


def _fill_state(optimizer: Optimizer, model: nn.Module, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    names = _names_in(optimizer, model)
    for group in optimizer.param_groups:
        step_on_device = any(group.get(mechanic) for mechanic in ("fused", "capturable"))
        for parameter in group["params"]:
            if names[parameter] not in state:  # it had never been updated
                optimizer.state.pop(parameter, None)
                continue
            slots, present = state[names[parameter]], optimizer.state[parameter]
            for slot in present.keys() - slots["tensors"]:
                del present[slot]
            present |= slots["values"]
            for slot in slots["tensors"]:
                device = parameter.device if slot != "step" or step_on_device else torch.device("cpu")
                given = tensors[f"{names[parameter]}/{slot}"]
                present[slot] = _copied(given, present.get(slot), parameter, device)


def _copied(given: Tensor, present: Any, parameter: Tensor, device: torch.device) -> Tensor:
    """`given` in the tensor that is there, else in a new one laid out in memory like the parameter."""
    if isinstance(present, Tensor) and (present.shape, present.dtype) == (given.shape, given.dtype):
        return present.copy_(given)
    if given.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=given.dtype, device=device).copy_(given).detach()
    return given.detach().clone().to(device)
