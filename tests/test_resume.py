"""kill -9 at any moment, and every other way in which a run can stop: resumed, it is the run that never stopped, to the
bit; and what a resume must refuse, it refuses by name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_recipe import Hearing, assert_same_run, contents, recipe, records, spoil_losses, text_file, train

from glassformer import launch
from glassformer.errors import GlassformerError, UsageError
from glassformer.recipe import read, to_yaml
from glassformer.run import RunDirectory
from glassformer.snapshot import read_snapshot
from glassformer.training import trainer
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.trainer import Trainer

PROGRAM = Path(__file__).with_name("killed_training.py")


def kill_and_resume(work: Path, number: int, **sections: dict[str, Any]) -> dict[str, Any]:
    """Runs killed_training.py; its report."""
    work.mkdir()
    (work / "recipe.yaml").write_text(to_yaml(recipe(text_file(work), **sections)), encoding="utf-8")
    environment = os.environ | {
        "GLASSFORMER_CACHE": str(work / "cache"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, str(PROGRAM), str(work), str(number)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    report = json.loads((work / "report.json").read_text())
    assert report["whole"] == 0, ended.stderr
    assert [kill["resumed"] for kill in report["kills"]] == [0] * len(report["kills"]), ended.stderr
    return report


def check_kills(work: Path, report: dict[str, Any], number: int) -> None:
    """Every kill has landed at the event it was meant for, a third or more of them inside a save, and every resumed run
    is the whole one."""
    kills = report["kills"]
    assert len(kills) == number
    assert [kill["killed"] for kill in kills] == [-9] * number
    assert [kill["struck"] for kill in kills] == [kill["event"] for kill in kills]
    assert 3 * sum(kill["where"] == "save" for kill in kills) >= number
    for kill in kills:
        assert_same_run(work / "never-killed", work / f"killed-{kill['event']}")


def test_killed_at_any_moment_and_resumed_it_is_the_same_run(tmp_path: Path) -> None:
    """Fourteen kills at optimiser steps and durable calls over the whole length of a run with dropout."""
    work = tmp_path / "work"
    report = kill_and_resume(work, 14)
    check_kills(work, report, 14)
    struck = {(kill["name"], kill["where"]) for kill in report["kills"]}
    assert {("step", "outside"), ("fsync", "save"), ("rename", "save")} <= struck
    assert report["kills"][0]["event"] == 1  # before anything was saved
    assert report["kills"][-1]["event"] >= report["events"] - 5


def test_accumulation_and_packing_resume_too(tmp_path: Path) -> None:
    """Muon, packed rows, two micro-batches a step, early stopping: the same holds."""
    work = tmp_path / "work"
    sections: dict[str, dict[str, Any]] = {
        "optimizer": {"name": "muon"},
        "batch": {"size": 2, "layout": "packed"},
        "training": {"accumulate": 2, "patience": 2, "checkpoint_every": 2},
    }
    check_kills(work, kill_and_resume(work, 5, **sections), 5)


def test_compiled_training_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """With training.compile=true and batches of two fixed lengths: one kill between saves, one inside."""
    work = tmp_path / "work"
    sections = {"training": {"compile": True, "steps": 6}, "model": {"n_layers": 1}}
    report = kill_and_resume(work, 2, **sections)
    check_kills(work, report, 2)
    assert {kill["where"] for kill in report["kills"]} == {"save", "outside"}


# ----------------------------------------------------------------------------------------- without killing processes


class Cut(BaseException):
    """Ends a training at once, as a power failure would."""


@pytest.fixture
def whole(text: Path, tmp_path: Path) -> Path:
    """A run that went through."""
    train(recipe(text), tmp_path / "whole")
    return tmp_path / "whole"


def cut_at(step: int, text: Path, run: Path, **sections: dict[str, Any]) -> Path:
    """A run that ended just before a step."""
    advance = Trainer._advance

    def until(self: Trainer, epoch: int, rows: list[Any]) -> None:
        if self.state.step == step - 1:
            raise Cut
        advance(self, epoch, rows)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        patch.setattr(Trainer, "_advance", until)
        train(recipe(text, **sections), run)
    return run


def test_the_comparison_sees_a_difference(text: Path, whole: Path, tmp_path: Path) -> None:
    """The other side of every comparison here: another seed, or one more update, is noticed."""
    train(recipe(text).model_copy(update={"seed": 2}), tmp_path / "other")
    with pytest.raises(AssertionError):
        assert_same_run(whole, tmp_path / "other")
    train(recipe(text), tmp_path / "again")
    assert_same_run(whole, tmp_path / "again")


def test_stopped_before_the_first_checkpoint_it_starts_again(text: Path, whole: Path, tmp_path: Path) -> None:
    """Nothing was saved but the recipe and some metrics: the same run comes out, with no line twice."""
    run = cut_at(3, text, tmp_path / "run")
    assert checkpoint_steps(RunDirectory(run)) == []
    assert records(run, "train")
    train(None, run, resume=True)
    assert_same_run(whole, run)


def test_resuming_a_finished_run_changes_nothing(whole: Path) -> None:
    """Twice, for good measure."""
    before = contents(whole)
    for _ in range(2):
        train(None, whole, resume=True)
        assert contents(whole) == before


def test_resuming_says_where(text: Path, tmp_path: Path) -> None:
    """Step 9 was saved, step 10 was cut off."""
    hearing = Hearing()
    train(None, cut_at(11, text, tmp_path / "run"), resume=True, display=hearing)
    assert "resuming at step 9 of 12" in hearing.said
    assert [record["step"] for record in hearing.steps] == [10, 11, 12]


def test_more_steps_may_be_asked_for(text: Path, whole: Path, tmp_path: Path) -> None:
    """training.steps=20 goes on from 12, is recorded, and holds for the next resume."""
    hearing = Hearing()
    train(None, whole, resume=True, changes=("training.steps=20",), display=hearing)
    assert "training.steps extended from 12 to 20" in hearing.said
    assert read_snapshot(whole / "checkpoints" / "step-20").state["training"]["step"] == 20
    assert yaml.safe_load((whole / "recipe.yaml").read_text())["training"]["steps"] == 20
    assert [record["step"] for record in records(whole, "train")] == list(range(2, 21, 2))
    before = contents(whole)
    train(None, whole, resume=True)
    assert contents(whole) == before
    with pytest.raises(UsageError, match=r"training\.steps was 20"):
        train(None, whole, resume=True, changes=("training.steps=12",))


def test_after_an_extension_the_recipe_s_own_file_still_agrees(text: Path, tmp_path: Path) -> None:
    """A YAML file that says 12 steps, a run extended to 16: naming the file again goes on to 16, and the extension
    stands in environment.json."""
    file, run = tmp_path / "mine.yaml", tmp_path / "run"
    file.write_text(to_yaml(recipe(text)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "draw_report", lambda run: None)
        launch.train(file, run=run)
        launch.train(file, ["training.steps=16"], run=run, resume=True)
        launch.train(file, run=run, resume=True)
    assert yaml.safe_load((run / "recipe.yaml").read_text())["training"]["steps"] == 16
    environment = RunDirectory.open(run).environment()
    assert environment["extensions"] == [{"from": 12, "to": 16}]
    assert environment["measured"]["asked"]["steps"] == 12
    with pytest.raises(UsageError, match=r"training\.steps was 16"):
        launch.train(file, ["training.steps=12"], run=run, resume=True)


def test_two_processes_never_train_one_run(text: Path, tmp_path: Path) -> None:
    """While one holds it, another that wants to go on is sent away, and nothing is changed; afterwards it may."""
    run = cut_at(5, text, tmp_path / "run")
    before = contents(run)
    with RunDirectory.open(run).locked(), pytest.raises(UsageError, match="another process is training") as raised:
        train(None, run, resume=True)
    assert "--run" in raised.value.mend
    assert contents(run) == before
    train(None, run, resume=True)


def test_a_run_whose_device_is_not_here(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun on a GPU, resumed where there is none: said in words."""
    run = cut_at(5, text, tmp_path / "run")
    recorded = yaml.safe_load((run / "recipe.yaml").read_text())
    recorded["training"]["device"] = "cuda"
    (run / "recipe.yaml").write_text(yaml.safe_dump(recorded))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="no such device") as raised:
        train(None, run, resume=True)
    assert "training.device" not in raised.value.mend  # a run's device cannot be changed


REFUSED = [
    ("seed=2", "seed was 1"),
    ("model.d_model=24", "model.d_model was 12"),
    ("model.dropout=0.2", "model.dropout was 0.1"),
    ("batch.size=5", "batch.size was 4"),
    ("objective.mask_rate=0.3", "objective.mask_rate was 0.15"),
    ("optimizer.learning_rate=1e-4", "optimizer.learning_rate was 0.001"),
    ("schedule.name=cosine", 'schedule.name was "linear"'),
    ("training.accumulate=2", "training.accumulate was 1"),
    ("training.patience=3", "training.patience was null"),
    ("training.clip=null", "training.clip was 1.0"),
    ("training.precision=bf16-mixed", 'training.precision was "32-true"'),
    ("training.threads=2", "training.threads was 1"),
    ("training.steps=11", "training.steps was 12"),
    ("training.epochs=3", "training.epochs was null"),
    ("training.minutes=3", "training.minutes was null"),
    ("tokenizer.vocab_size=100", "tokenizer.vocab_size was 200"),
    ("data.document=auto", 'data.document was "line"'),
    ("data.validation_share=0.1", "data.validation_share was 0.2"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[change for change, _ in REFUSED])
def test_every_other_key_that_differs_is_refused_by_name(text: Path, tmp_path: Path, change: str, message: str) -> None:
    """Before a byte of the run is touched."""
    run = begun(text, tmp_path)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with pytest.raises(UsageError) as raised:
        train(None, run, resume=True, changes=(change,))
    assert raised.value.what.startswith(message), raised.value.what
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_how_the_texts_are_read_agrees_with_what_was_chosen(text: Path, tmp_path: Path) -> None:
    """`auto` as it was asked, what was chosen for it, and the same recipe again; another value is refused."""
    wanted = recipe(text, data={"document": "auto"})
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda self: None)
        train(wanted, run)
        assert "document: line" in (run / "recipe.yaml").read_text()
        for changes in ((), ("data.document=auto",), ("data.document=line",)):
            train(wanted, run, resume=True, changes=changes)
    with pytest.raises(UsageError, match=r'data.document was "line" when the run was begun, and "file" is asked now'):
        train(None, run, resume=True, changes=("data.document=file",))


def begun(text: Path, tmp_path: Path) -> Path:
    """A run of which only the beginning is there: no step was taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda self: None)
        train(recipe(text), tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "change",
    ["seed=1", "optimizer.learning_rate=1e-3", "training.steps=12", "training.precision=auto", "description=x"],
)
def test_a_key_that_agrees_is_no_matter(text: Path, tmp_path: Path, change: str) -> None:
    """The same value, however it is written; what was left open then; and words for people."""
    run = begun(text, tmp_path)
    before = (run / "recipe.yaml").read_text()
    train(None, run, resume=True, changes=(change,))
    assert (run / "recipe.yaml").read_text() == before


def test_the_recipe_that_the_run_was_begun_with_agrees(text: Path, tmp_path: Path) -> None:
    """Given again, with its `auto`s, open intervals and epochs; given with another number of epochs it is refused."""
    wanted = recipe(text, training={"steps": None, "epochs": 1, "precision": "auto", "evaluate_every": None})
    file = tmp_path / "mine.yaml"
    file.write_text(to_yaml(wanted), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "draw_report", lambda run: None)
        launch.train(file, run=tmp_path / "run")
        launch.train(file, run=tmp_path / "run", resume=True)
        with pytest.raises(UsageError, match=r"training\.epochs was 1\.0"):
            launch.train(file, ["training.epochs=2"], run=tmp_path / "run", resume=True)


def test_changes_that_the_run_was_begun_with_stay(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe alone resumes a run that was begun with changes; another change of the same key is refused."""
    monkeypatch.setattr(launch, "draw_report", lambda run: None)
    file = tmp_path / "mine.yaml"
    file.write_text(to_yaml(recipe(text)), encoding="utf-8")
    launch.train(file, ["model.dropout=0.2", "training.steps=4"], run=tmp_path / "run")
    before = contents(tmp_path / "run")
    launch.train(file, run=tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == before
    with pytest.raises(UsageError, match=r"model\.dropout was 0\.2"):
        launch.train(file, ["model.dropout=0.1"], run=tmp_path / "run", resume=True)


def test_another_recipe_or_text_is_refused_on_resume(text: Path, tmp_path: Path) -> None:
    """A Recipe that differs, or another text, is not quietly ignored; and a refused resume extends nothing."""
    run = begun(text, tmp_path)
    other = recipe(text).model_copy(update={"seed": 99})
    with pytest.raises(UsageError, match=r"seed was 1"):
        launch.train(other, run=run, resume=True)
    with pytest.raises(UsageError, match=r"data\.train was"):
        launch.train(str(tmp_path / "other.txt"), run=run, resume=True)


def test_a_run_must_be_named(tmp_path: Path) -> None:
    """Neither recipe nor run: the error says how."""
    with pytest.raises(UsageError, match=r"which run") as raised:
        launch.train(None, resume=True)
    assert "--run" in raised.value.mend


def test_a_misspelt_key_is_refused_with_the_right_one(text: Path, tmp_path: Path) -> None:
    """As for a new run."""
    with pytest.raises(UsageError, match=r"did you mean 'model\.dropout'"):
        train(None, begun(text, tmp_path), resume=True, changes=("model.dropuot=0.1",))


def test_changed_data_is_refused(text: Path, tmp_path: Path) -> None:
    """One other word is enough; put back, the run goes on."""
    run = cut_at(5, text, tmp_path / "run")
    kept = text.read_text()
    text.write_text(kept.replace("moon", "star", 1))
    with pytest.raises(UsageError, match="the data has changed"):
        train(None, run, resume=True)
    text.unlink()
    with pytest.raises(UsageError, match=r"tiny\.txt"):
        train(None, run, resume=True)
    text.write_text(kept)
    train(None, run, resume=True)


def test_a_damaged_newest_checkpoint_falls_back_and_says_so(text: Path, whole: Path, tmp_path: Path) -> None:
    """A flipped byte in step 9: resumed from step 6, told to the person, and the same run in the end."""
    run = cut_at(11, text, tmp_path / "run")
    weights = run / "checkpoints" / "step-9" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    hearing = Hearing()
    train(None, run, resume=True, display=hearing)
    [message] = [said for said in hearing.said if "damaged" in said]
    assert "step-9 is damaged" in message
    assert "falling back to step-6" in message
    assert "resuming at step 6 of 12" in hearing.said
    assert_same_run(whole, run)


def test_if_all_checkpoints_are_damaged_nothing_is_started(text: Path, tmp_path: Path) -> None:
    """An error that names them, not a silent new beginning."""
    run = cut_at(11, text, tmp_path / "run")
    for weights in run.glob("checkpoints/*/model.safetensors"):
        weights.write_bytes(b"")
    with pytest.raises(GlassformerError, match="no whole checkpoint"):
        train(None, run, resume=True)


def test_the_run_may_move(text: Path, whole: Path, tmp_path: Path) -> None:
    """Resumed under another path it is the same run."""
    cut_at(8, text, tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "moved")
    train(None, tmp_path / "moved", resume=True)
    assert_same_run(whole, tmp_path / "moved")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    """Nothing to resume."""
    with pytest.raises(UsageError, match="is no run"):
        train(None, tmp_path / "nothing", resume=True)


def test_a_streak_of_skipped_updates_is_remembered(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that gives up after five skipped updates in a row gives up at the same step when it was stopped between."""
    monkeypatch.setattr("glassformer.training.trainer.GIVE_UP_AFTER", 5)
    wanted = {"training": {"steps": 30, "checkpoint_every": 3}}
    spoil_losses(monkeypatch, range(2, 100))
    with pytest.raises(GlassformerError, match="step 6"):
        train(recipe(text, **wanted), tmp_path / "whole")
    run = cut_at(5, text, tmp_path / "run", **wanted)
    with pytest.raises(GlassformerError, match="step 6"):
        train(None, run, resume=True)


def test_the_recorded_recipe_can_be_read(whole: Path) -> None:
    """The recorded recipe can be read as a recipe file by anybody."""
    assert read(str(whole / "recipe.yaml")).training.steps == 12


# ----------------------------------------------------------------------------------------------------------- probes

PROBED = {"training": {"probes": ["sun [MASK] star", "[MASK] moon red old"], "probe_every": 2}}


def test_a_killed_run_has_the_same_probes(tmp_path: Path) -> None:
    """Killed at any moment, while a probe is written too: resumed, every file has the same bytes, and no other is
    there."""
    work = tmp_path / "work"
    report = kill_and_resume(work, 8, **PROBED)
    check_kills(work, report, 8)
    names = [file.name for file in sorted((work / "never-killed" / "probes").iterdir())]
    assert names == [f"step-{step:07d}.npz" for step in range(0, 13, 2)]


@pytest.mark.parametrize("step", [1, 3, 5, 9, 11, 12])
def test_a_cut_run_has_the_same_probes(step: int, text: Path, tmp_path: Path) -> None:
    """Cut before or behind a checkpoint (3, 6, 9), with probes that are newer than it. A file of a step that the
    resumed run does not come to is not left either."""
    train(recipe(text, **PROBED), tmp_path / "whole")
    run = cut_at(step, text, tmp_path / "run", **PROBED)
    (run / "probes").mkdir(exist_ok=True)
    (run / "probes" / "step-0000011.npz").write_bytes(b"of another training")
    train(None, run, resume=True)
    assert_same_run(tmp_path / "whole", run)


def test_cut_right_behind_a_checkpoint_its_probe_is_there(text: Path, tmp_path: Path) -> None:
    """Step 6 is a probe step and a checkpoint: resumed behind it, nobody would ask step 6 again."""
    train(recipe(text, **PROBED), tmp_path / "whole")
    save = trainer.save_checkpoint

    def then_cut(run: RunDirectory, step: int, *rest: Any) -> None:
        save(run, step, *rest)
        if step == 6:
            raise Cut

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        patch.setattr(trainer, "save_checkpoint", then_cut)
        train(recipe(text, **PROBED), tmp_path / "run")
    train(None, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_other_probes_are_refused_on_a_resume(text: Path, tmp_path: Path) -> None:
    run = cut_at(5, text, tmp_path / "run", **PROBED)
    with pytest.raises(UsageError, match=r"training\.probes was"):
        train(None, run, resume=True, changes=("training.probes=[sun]",))
