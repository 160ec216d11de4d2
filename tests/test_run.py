"""The run directory: written whole or not at all, read back bit for bit, damage named."""

import errno
import getpass
import json
import os
import pickle
import platform
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glassformer import run as run_module
from glassformer import snapshot as snapshot_module
from glassformer.errors import GlassformerError, UsageError
from glassformer.run import RunDirectory, find_runs
from glassformer.snapshot import (
    DamagedSnapshot,
    has_snapshot,
    link_snapshot,
    read_snapshot,
    remove_abandoned,
    snapshots,
    write_snapshot,
    write_text_durably,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def a_run(folder: Path) -> RunDirectory:
    run = RunDirectory.create(folder)
    write_text_durably(run.recipe_file, "model: {}\n")
    return run


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Equal down to the sign of zero and the payload of NaN."""
    return (left.dtype, left.shape) == (right.dtype, right.shape) and torch.equal(
        left.contiguous().flatten().view(torch.uint8), right.contiguous().flatten().view(torch.uint8)
    )


# -------------------------------------------------------------------------------------------- create and open


def test_create_refuses_a_run_and_says_how_to_go_on(tmp_path: Path) -> None:
    run = a_run(tmp_path / "mine")
    with pytest.raises(UsageError, match=r"holds a run already\n.*--resume.*--run"):
        RunDirectory.create(run.path)
    assert run.recipe_file.read_text() == "model: {}\n"


def test_create_refuses_a_folder_with_other_files_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"(?s)is not empty.*--run"):
        RunDirectory.create(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        RunDirectory.create(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_create_takes_an_empty_folder_and_one_killed_before_its_first_file(tmp_path: Path) -> None:
    first = RunDirectory.create(tmp_path / "deep" / "run")
    assert RunDirectory.create(first.path) == first
    assert first.checkpoints.is_dir()
    assert first.plots.is_dir()
    assert first.samples.is_dir()


def test_open_names_what_is_missing_and_the_runs_nearby(tmp_path: Path) -> None:
    a_run(tmp_path / "one")
    a_run(tmp_path / "two")
    (tmp_path / "empty").mkdir()
    assert RunDirectory.open(tmp_path / "one").path == tmp_path / "one"
    with pytest.raises(UsageError, match=r"(?s)no recipe\.yaml.*/one, .*/two"):
        RunDirectory.open(tmp_path / "empty")
    with pytest.raises(UsageError, match=r"(?s)no such folder.*/one, .*/two"):
        RunDirectory.open(tmp_path / "onee")
    with pytest.raises(UsageError, match=r"(?s)no recipe\.yaml.*/one, .*/two"):
        RunDirectory.open(tmp_path)  # the folder of runs instead of one of them
    with pytest.raises(UsageError, match="glassformer train"):
        RunDirectory.open(tmp_path / "nowhere" / "at" / "all")


def test_find_runs_finds_runs_only(tmp_path: Path) -> None:
    a_run(tmp_path / "b")
    a_run(tmp_path / "a")
    (tmp_path / "c").mkdir()
    (tmp_path / "d.txt").write_text("")
    assert [run.path.name for run in find_runs(tmp_path)] == ["a", "b"]
    assert find_runs(tmp_path / "missing") == []


# ------------------------------------------------------------------------------------------------------ text


def test_text_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "recipe.yaml"
    for text in ("first: ä\n", "second\r\n"):
        write_text_durably(path, text)
        assert path.read_bytes() == text.encode()
    assert names_in(path.parent) == ["recipe.yaml"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_text_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    path = tmp_path / "recipe.yaml"
    write_text_durably(path, "old")
    monkeypatch.setattr(os, call, raiser(OSError(code, os.strerror(code))))
    with pytest.raises(GlassformerError, match=r"disk is full\n.*intact"):
        write_text_durably(path, "new")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["recipe.yaml"]


def raiser(error: BaseException, at: int = 1):  # type: ignore[no-untyped-def]
    """A stand-in for a system call that raises from its `at`-th call on, and does nothing before."""
    calls = [0]

    def call(*_: object, **__: object) -> None:
        calls[0] += 1
        if calls[0] >= at:
            raise error

    return call


# --------------------------------------------------------------------------------------------------- metrics


def test_metrics_come_back_in_order(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.metrics() == []
    assert run.metrics_length() == 0
    records = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "sample": "rød → red\nblue"}]
    for record in records:
        run.append_metrics(record)
    assert run.metrics() == records
    assert run.metrics_length() == run.metrics_file.stat().st_size


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.append_metrics({"loss": float("nan"), "entropy": [1.0, float("inf")], "heads": {"a": (-float("inf"),)}})
    assert run.metrics() == [{"loss": None, "entropy": [1.0, None], "heads": {"a": [None]}}]
    assert "NaN" not in run.metrics_file.read_text()


@pytest.mark.parametrize("torn", ['{"step": 2, "lo', '{"step": 2}', "x" * 10_000])
def test_a_torn_last_line_is_ignored_and_does_not_swallow_the_next(tmp_path: Path, torn: str) -> None:
    run = RunDirectory(tmp_path)
    run.append_metrics({"step": 1})
    with open(run.metrics_file, "a") as file:
        file.write(torn)
    assert run.metrics() == [{"step": 1}]
    assert run.metrics_length() == len('{"step": 1}\n')
    run.append_metrics({"step": 3})
    assert run.metrics() == [{"step": 1}, {"step": 3}]


@pytest.mark.parametrize("damage", ["{not json}", "[1]", ""])
def test_damage_inside_the_metrics_is_named_by_line(tmp_path: Path, damage: str) -> None:
    run = RunDirectory(tmp_path)
    run.metrics_file.write_text(f'{{"step": 1}}\n{damage}\n{{"step": 3}}\n')
    with pytest.raises(GlassformerError, match=r"metrics\.jsonl, line 2"):
        run.metrics()


def test_truncation_to_a_stored_length(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.truncate_metrics(0)
    run.append_metrics({"step": 1})
    length = run.metrics_length()
    run.append_metrics({"step": 2})
    run.truncate_metrics(length)
    assert run.metrics() == [{"step": 1}]
    with pytest.raises(GlassformerError, match="but 13 when the checkpoint"):
        run.truncate_metrics(13)
    assert run.metrics() == [{"step": 1}]


# ----------------------------------------------------------------------------------------------- environment


def test_the_environment_says_what_but_not_who_or_where(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.environment() == {}
    run.write_environment({"measured": {"precision": "bf16-mixed"}})
    found = run.environment()
    assert found["measured"] == {"precision": "bf16-mixed"}
    assert found["versions"]["torch"] == torch.__version__
    assert set(found["versions"]) == {
        "glassformer",
        "torch",
        "numpy",
        "tokenizers",
        "lightning-fabric",
        "safetensors",
    }
    assert found["python"] == platform.python_version()
    assert found["threads"] == torch.get_num_threads()
    assert found["cores"] >= 1
    assert found["memory_gb"] > 0.1
    assert found["cpu"]
    text = run.environment_file.read_text()
    for private in (platform.node(), os.environ.get("USER", ""), getpass.getuser()):
        assert not private or not re.search(rf"\b{re.escape(private)}\b", text)
    assert not re.search(r'"[^"]*(/home|/root|/Users|/tmp|/work)', text)


def test_a_damaged_environment_is_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.environment_file.write_text("{")
    with pytest.raises(GlassformerError, match=r"environment\.json is damaged"):
        run.environment()


# ------------------------------------------------------------------------------------------------- snapshots


def awkward_tensors() -> dict[str, Tensor]:
    base = torch.arange(7 * 11, dtype=torch.float32).reshape(7, 11)
    return {
        "plain": torch.randn(3, 5),
        "transposed": base.t(),
        "row": base[3],
        "same_row_reshaped": base[3].view(1, 11),
        "strided": base[:, ::2],
        "expanded": torch.tensor(1.5).expand(3, 5),
        "bf16": torch.randn(5, 3).bfloat16(),
        "fp16": torch.randn(5).half(),
        "f64": torch.tensor([0.1, float("nan"), -0.0, float("inf")], dtype=torch.float64),
        "zero_dim": torch.tensor(3.0),
        "integers": torch.tensor([2**62, -1]),
        "booleans": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "empty_too": torch.zeros(0, 3),
        "needs_grad": torch.nn.Parameter(torch.randn(3)),
    }


def test_every_kind_of_tensor_comes_back_bit_for_bit(tmp_path: Path) -> None:
    parts = {"model": awkward_tensors(), "optimizer": {}}
    state = {"step": 3, "best": float("inf"), "loss": 0.1 + 0.2, "nested": {"list": [1, None, "é", True]}}
    write_snapshot(tmp_path / "s", parts, state)
    snapshot = read_snapshot(tmp_path / "s")
    assert snapshot.state == state
    assert snapshot.parts["optimizer"] == {}
    assert snapshot.parts["model"].keys() == parts["model"].keys()
    for name, tensor in parts["model"].items():
        assert same_bits(snapshot.parts["model"][name], tensor.detach()), name


def test_a_shared_tensor_is_saved_once_and_shared_again(tmp_path: Path) -> None:
    weight = torch.randn(101, 103)
    twin = weight.clone()  # equal values are not one tensor
    write_snapshot(tmp_path / "tied", {"model": {"in": weight, "out": weight, "third": weight}}, {})
    write_snapshot(tmp_path / "apart", {"model": {"in": weight, "out": twin}}, {})
    size = weight.numel() * 4
    assert size < (tmp_path / "tied" / "model.safetensors").stat().st_size < 1.1 * size
    assert (tmp_path / "apart" / "model.safetensors").stat().st_size > 2 * size
    manifest = json.loads((tmp_path / "tied" / "manifest.json").read_text())
    assert manifest["parts"]["model"]["aliases"] == {"out": "in", "third": "in"}
    tied, apart = (read_snapshot(tmp_path / name).parts["model"] for name in ("tied", "apart"))
    assert tied["in"].data_ptr() == tied["out"].data_ptr() == tied["third"].data_ptr()
    assert apart["in"].data_ptr() != apart["out"].data_ptr()
    assert torch.equal(tied["out"], weight)


def test_only_the_parts_asked_for_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write_snapshot(folder, {"model": {"w": torch.ones(3)}, "optimizer": {"m": torch.ones(3)}}, {})
    (folder / "optimizer.safetensors").unlink()
    assert list(read_snapshot(folder, ["model"]).parts) == ["model"]
    with pytest.raises(DamagedSnapshot, match=r"optimizer\.safetensors is missing"):
        read_snapshot(folder)
    with pytest.raises(GlassformerError, match="did you mean 'model'"):
        read_snapshot(folder, ["modell"])


def test_a_snapshot_holds_only_its_files_readable_as_any_other(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write_snapshot(folder, {"model": {"w": torch.ones(3)}}, {})
    assert names_in(tmp_path) == ["s"]
    assert names_in(folder) == ["manifest.json", "model.safetensors", "state.json"]
    (tmp_path / "ordinary").write_text("")
    ordinary = (tmp_path / "ordinary").stat().st_mode
    assert {path.stat().st_mode for path in folder.iterdir()} == {ordinary}


def test_a_snapshot_replaces_another(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    write_snapshot(folder, {"model": {"w": torch.zeros(3)}, "more": {}}, {"step": 1})
    write_snapshot(folder, {"model": {"w": torch.ones(3)}}, {"step": 2})
    snapshot = read_snapshot(folder)
    assert snapshot.state == {"step": 2}
    assert torch.equal(snapshot.parts["model"]["w"], torch.ones(3))
    assert names_in(tmp_path) == ["best"]


def test_the_old_snapshot_is_found_between_the_two_renames(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    write_snapshot(folder, {"model": {"w": torch.zeros(3)}}, {"step": 1})
    folder.rename(tmp_path / ".previous-best")
    assert has_snapshot(folder)
    assert snapshots(tmp_path) == [folder]
    assert read_snapshot(folder).state == {"step": 1}
    write_snapshot(folder, {"model": {"w": torch.ones(3)}}, {"step": 2})
    assert read_snapshot(folder).state == {"step": 2}
    assert names_in(tmp_path) == ["best"]


def test_a_reader_is_not_disturbed_by_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot is replaced after the reader has seen the manifest of the old one."""
    folder = tmp_path / "best"
    write_snapshot(folder, {"model": {"w": torch.zeros(3)}}, {"step": 1})
    genuine = snapshot_module._verified
    replaced = []

    def replace_first(*arguments):  # type: ignore[no-untyped-def]
        if not replaced:
            replaced.append(True)
            write_snapshot(folder, {"model": {"w": torch.ones(3)}}, {"step": 2})
        return genuine(*arguments)

    monkeypatch.setattr(snapshot_module, "_verified", replace_first)
    snapshot = read_snapshot(folder)
    assert snapshot.state == {"step": 2}
    assert torch.equal(snapshot.parts["model"]["w"], torch.ones(3))


def test_no_byte_can_be_flipped_cut_off_or_lost_unseen(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    parts = {"model": {"a": torch.randn(3), "tied": torch.ones(2)}}
    parts["model"]["too"] = parts["model"]["tied"]
    write_snapshot(folder, parts, {"step": 1})
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 41)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert_damage_is_named_or_harmless(folder, path.name, parts)
        path.write_bytes(whole[:-1])
        with pytest.raises(DamagedSnapshot, match=re.escape(path.name)):
            read_snapshot(folder)
        path.unlink()
        with pytest.raises(DamagedSnapshot, match=f"{re.escape(path.name)} is missing"):
            read_snapshot(folder)
        path.write_bytes(whole)
    assert read_snapshot(folder).state == {"step": 1}


def assert_damage_is_named_or_harmless(folder: Path, name: str, parts: dict[str, dict[str, Tensor]]) -> None:
    """Harmless is only white space of the manifest, which nothing but itself describes."""
    try:
        snapshot = read_snapshot(folder)
    except DamagedSnapshot as error:
        assert name in error.reason
        assert folder.name in str(error)
        return
    assert name == "manifest.json"
    for key, tensor in parts["model"].items():
        assert same_bits(snapshot.parts["model"][key], tensor)


def test_a_folder_that_does_not_exist_is_damaged_and_none_is_listed(tmp_path: Path) -> None:
    with pytest.raises(DamagedSnapshot, match=r"manifest\.json is missing"):
        read_snapshot(tmp_path / "nothing")
    assert not has_snapshot(tmp_path / "nothing")
    assert snapshots(tmp_path / "nothing") == []


def test_a_newer_format_is_refused_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write_snapshot(folder, {}, {})
    manifest = json.loads((folder / "manifest.json").read_text()) | {"format": 2}
    del manifest["sha256"]
    manifest["sha256"] = snapshot_module._hash_of(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(GlassformerError, match="newer glassformer"):
        read_snapshot(folder)


# ----------------------------------------------------------------------------------------------------- links


def test_linked_weights_take_no_second_place_and_outlive_their_source(tmp_path: Path) -> None:
    source, folder = tmp_path / "step-1", tmp_path / "last"
    weight = torch.randn(3)
    write_snapshot(source, {"model": {"in": weight, "out": weight}, "optimizer": {"m": weight}}, {"step": 1})
    link_snapshot(source, folder, ["model"])
    assert (source / "model.safetensors").samefile(folder / "model.safetensors")
    snapshot_module.remove_folder(source)
    snapshot = read_snapshot(folder)
    assert snapshot.state == {"step": 1}
    assert list(snapshot.parts) == ["model"]
    assert snapshot.parts["model"]["in"].data_ptr() == snapshot.parts["model"]["out"].data_ptr()
    assert names_in(folder) == ["manifest.json", "model.safetensors", "state.json"]


def test_weights_are_copied_where_links_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", raiser(OSError(errno.EPERM, "no links on exFAT")))
    source, folder = tmp_path / "step-1", tmp_path / "last"
    write_snapshot(source, {"model": {"w": torch.ones(3)}}, {"step": 1})
    link_snapshot(source, folder, ["model"])
    assert not (source / "model.safetensors").samefile(folder / "model.safetensors")
    assert torch.equal(read_snapshot(folder).parts["model"]["w"], torch.ones(3))


# ------------------------------------------------------------------------------------------------- full disk


@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_a_full_disk_at_any_call_leaves_a_whole_snapshot_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder, failures = tmp_path / "best", 0
    for at in range(1, 20):
        write_snapshot(folder, {"model": {"w": torch.zeros(3)}}, {"step": 1})
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing_from(getattr(os, call), at))
            try:
                write_snapshot(folder, {"model": {"w": torch.ones(3)}}, {"step": 2})
            except GlassformerError as error:
                assert re.search(r"best: the disk is full\n.*intact", str(error))
                failures += 1
            else:
                break
        snapshot = read_snapshot(folder)
        assert torch.equal(snapshot.parts["model"]["w"], torch.full((3,), float(snapshot.state["step"] - 1)))
        assert set(names_in(tmp_path)) <= {"best", ".previous-best"}
    else:
        pytest.fail(f"never got through with {call} failing later and later")
    assert failures >= {"fsync": 5, "rename": 2, "mkdir": 1}[call]


def failing_from(genuine, at: int):  # type: ignore[no-untyped-def]
    calls = [0]

    def call(*arguments, **named):  # type: ignore[no-untyped-def]
        calls[0] += 1
        if calls[0] >= at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return genuine(*arguments, **named)

    return call


def test_a_limit_met_while_safetensors_writes(tmp_path: Path) -> None:
    """A real refusal by the system inside the library, which raises its own error, not OSError."""
    resource = pytest.importorskip("resource", reason="Windows has no limit on the size of a file")
    folder = tmp_path / "best"
    write_snapshot(folder, {"model": {"w": torch.zeros(3)}}, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(GlassformerError, match=r"cannot write .*best: .*File too large"):
            write_snapshot(folder, {"model": {"w": torch.zeros(100_000)}}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_snapshot(folder).state == {"step": 1}
    assert names_in(tmp_path) == ["best"]


def test_the_librarys_own_word_for_a_full_disk_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Error while serializing: I/O error: No space left on device (os error 28)"
    monkeypatch.setattr(snapshot_module, "save_file", raiser(snapshot_module.SafetensorError(text)))
    with pytest.raises(GlassformerError, match=r"the disk is full\n.*intact"):
        write_snapshot(tmp_path / "s", {"model": {}}, {})
    assert names_in(tmp_path) == []


def test_ctrl_c_inside_a_save_leaves_the_old_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "best"
    write_snapshot(folder, {}, {"step": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", raiser(KeyboardInterrupt(), at=2))
        with pytest.raises(KeyboardInterrupt):
            write_snapshot(folder, {}, {"step": 2})
    assert read_snapshot(folder).state == {"step": 1}
    assert names_in(tmp_path) == ["best"]


def test_metrics_that_cannot_be_written_are_said(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "gone")
    with pytest.raises(GlassformerError, match=r"cannot write .*metrics\.jsonl"):
        run.append_metrics({"step": 1})


# ---------------------------------------------------------------------------------------------------- order


def test_the_manifest_is_written_last_and_everything_reaches_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    genuine_fsync, genuine_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        genuine_fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        events.append(f"rename to {Path(target).name}")
        genuine_rename(source, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to name a descriptor")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    write_snapshot(tmp_path / "step-1", {"model": {}, "optimizer": {}}, {})
    assert events == [
        "fsync state.json",
        "fsync model.safetensors",
        "fsync optimizer.safetensors",
        "fsync manifest.json",
        f"fsync .tmp-step-1-{os.getpid()}",
        "rename to step-1",
        f"fsync {tmp_path.name}",
    ]


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".tmp-step-3-99").mkdir()
    (tmp_path / ".tmp-step-3-99" / "model.safetensors").write_text("half")
    (tmp_path / ".tmp-recipe.yaml-99").write_text("half")
    write_snapshot(tmp_path / "step-2", {}, {})
    assert snapshots(tmp_path) == [tmp_path / "step-2"]
    remove_abandoned(tmp_path)
    assert names_in(tmp_path) == ["step-2"]


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = AssertionError("pickled")
    for module, name in [(pickle, "dump"), (pickle, "dumps"), (pickle, "load"), (pickle, "loads")]:
        monkeypatch.setattr(module, name, raiser(forbidden))
    for name in ("save", "load"):
        monkeypatch.setattr(torch, name, raiser(forbidden))
    run = a_run(tmp_path / "run")
    run.append_metrics({"step": 1})
    run.write_environment({})
    write_snapshot(run.best, {"model": awkward_tensors()}, {"step": 1})
    read_snapshot(run.best)
    suffixes = {path.suffix for path in run.path.rglob("*") if path.is_file()}
    assert suffixes == {".yaml", ".jsonl", ".json", ".safetensors"}
    source = Path(run_module.__file__).read_text() + Path(snapshot_module.__file__).read_text()
    assert not re.search(r"import pickle|torch\.(save|load)\b|\.numpy\(|import shelve|import marshal", source)
