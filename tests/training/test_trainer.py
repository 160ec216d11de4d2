"""The loop: it learns what can be learnt, keeps the best, survives what is not finite, signals and a full disk."""

import errno
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipe import (
    Hearing,
    assert_same_run,
    contents,
    dozen,
    recipe,
    records,
    sentences,
    spoil_losses,
    text_file,
    train,
)
from torch import Tensor

from glassformer import durable, launch
from glassformer import snapshot as snapshot_module
from glassformer.ask.run import load
from glassformer.data.batch import Batch
from glassformer.errors import GlassformerError, UsageError
from glassformer.look.pictures.curves import best
from glassformer.objectives import Loss, Objective
from glassformer.run import RunDirectory
from glassformer.snapshot import read_snapshot
from glassformer.training import callbacks, trainer
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.evaluation import EvaluationSet
from glassformer.training.trainer import deferred_interrupts

# ------------------------------------------------------------------------------------------------- it learns


LEARNT: dict[str, dict[str, dict[str, Any]]] = {
    "masked_lm": {},
    "next_sentence": {
        "data": {"document": "auto", "document_start": "^a[0369] "},
        "objective": {"mask_rate": 0.25},
        "batch": {"size": 8},
        "training": {"steps": 1200, "evaluate_every": 1200, "checkpoint_every": 1200},
    },
}
"""Objectives that learn the dozen by heart, and what they change; pairs are of four documents."""


def overfit(folder: Path, objective: str) -> float:
    """Trains on twelve sentences, measures on the same ones; the last loss."""
    text = text_file(folder, dozen())
    changes = LEARNT[objective]
    wanted = recipe(
        text,
        objective={"name": objective} | changes.get("objective", {}),
        data={"validation": str(text)} | changes.get("data", {}),
        model={"n_layers": 1, "d_model": 32, "n_heads": 4, "d_ff": 64, "dropout": 0.0},
        batch={"size": 12} | changes.get("batch", {}),
        optimizer={"learning_rate": 1e-2},
        schedule={"warmup_steps": 30},
        training={"steps": 400, "evaluate_every": 400, "checkpoint_every": 400, "log_every": 100, "samples": 0}
        | changes.get("training", {}),
    )
    return records(train(wanted, folder / "run").path, "evaluation")[-1]["loss"]


@pytest.mark.parametrize("objective", LEARNT)
def test_a_dozen_sentences_are_learnt_by_heart(tmp_path: Path, objective: str) -> None:
    """Under the ordinary 80/10/10 corruption, anew in every epoch, to a loss under 0.01."""
    assert overfit(tmp_path, objective) < 0.01


@pytest.mark.parametrize("objective", LEARNT)
def test_with_shuffled_targets_they_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str) -> None:
    """The other side: the same training with the targets of each step dealt out at random learns nothing by heart, so
    what passes above is the right targets at the right places."""
    right = Objective.loss

    def shuffled(self: Objective, logits: dict[str, Tensor], batch: Batch) -> dict[str, Loss]:
        if not torch.is_grad_enabled():
            return right(self, logits, batch)
        targets = {
            name: a._replace(values=a.values[torch.randperm(len(a.values))]) for name, a in batch.targets.items()
        }
        return right(self, logits, batch._replace(targets=targets))

    monkeypatch.setattr(Objective, "loss", shuffled)
    assert overfit(tmp_path, objective) > 1.0


# -------------------------------------------------------------------------------------- what a run leaves behind


def test_metrics_samples_and_checkpoints_are_there(text: Path, tmp_path: Path) -> None:
    """A line every `log_every` steps, an evaluation every `evaluate_every` and one before the first step, each with
    samples, entropy, reference lines and verdict."""
    run = train(recipe(text), tmp_path / "run").path
    assert [record["step"] for record in records(run, "train")] == [2, 4, 6, 8, 10, 12]
    evaluations = records(run, "evaluation")
    assert [record["step"] for record in evaluations] == [0, 4, 8, 12]
    for record in records(run, "train"):
        assert record["loss"] > 0
        assert record["gradient_norm"] > 0
        assert record["tokens_per_second"] > 0
        assert record["skipped"] == 0
    for record in evaluations:
        assert {"loss", "perplexity", "accuracy", "top5_accuracy", "verdict", "warnings", "elapsed"} <= record.keys()
        assert set(record["references"]) == {"uniform", "unigram"}
        assert len(record["attention_entropy"]) == 2
        assert len(record["samples"]) >= 2
    names = [f"step-{step:07d}.txt" for step in (0, 4, 8, 12)]
    assert sorted(file.name for file in (run / "samples").iterdir()) == names
    tokens = [record["tokens_seen"] for record in records(run, "train")]
    assert tokens == sorted(set(tokens))


def test_the_logged_loss_is_the_mean_since_the_last_line(text: Path, tmp_path: Path) -> None:
    """`log_every=3` gives the means of what `log_every=1` gives."""
    fine = records(train(recipe(text, training={"log_every": 1}), tmp_path / "a").path, "train")
    coarse = records(train(recipe(text, training={"log_every": 3}), tmp_path / "b").path, "train")
    for n, record in enumerate(coarse):
        assert record["step"] == 3 * n + 3
        assert record["loss"] == pytest.approx(sum(r["loss"] for r in fine[3 * n : 3 * n + 3]) / 3)


def test_the_learning_rate_follows_the_schedule(text: Path, tmp_path: Path) -> None:
    """As logged: a straight rise over four steps, then a straight fall that would be at 0 one step after the last."""
    wanted = recipe(text, schedule={"warmup_steps": 4}, training={"log_every": 1})
    rates = [record["learning_rate"] for record in records(train(wanted, tmp_path / "run").path, "train")]
    rise, fall = [n / 4 for n in range(1, 5)], [1 - n / 9 for n in range(1, 9)]
    assert rates == pytest.approx([1e-3 * share for share in rise + fall])


@pytest.mark.parametrize("keep", [1, 3])
def test_keep_checkpoints(text: Path, tmp_path: Path, keep: int) -> None:
    """Only the newest, the last step among them."""
    run = train(recipe(text, training={"keep_checkpoints": keep}), tmp_path / "run").path
    assert checkpoint_steps(RunDirectory(run)) == [3, 6, 9, 12][-keep:]


def test_the_last_step_is_saved_when_no_save_is_due(text: Path, tmp_path: Path) -> None:
    """12 is no multiple of 5."""
    run = train(recipe(text, training={"checkpoint_every": 5}), tmp_path / "run").path
    assert checkpoint_steps(RunDirectory(run)) == [10, 12]


# -------------------------------------------------------------------------------------------- stopping early


def fake_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Evaluations give these losses for the validation texts, one after another."""
    real = trainer.evaluate
    left = iter(losses)
    asked: list[Any] = []

    def evaluate(*args: Any) -> Any:
        from dataclasses import replace

        asked.append(args[1])
        return replace(real(*args), loss=next(left)) if args[1] is asked[0] else real(*args)

    monkeypatch.setattr(trainer, "evaluate", evaluate)


def test_it_stops_without_improvement_and_keeps_the_best_weights(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Best at step 4; two evaluations without a better one end the run at step 8 of 40. `best/` holds the weights of
    step 4, `last/` those of step 8, and a loaded run takes the best."""
    wanted = {"steps": 40, "evaluate_every": 2, "patience": 2, "checkpoint_every": 4, "keep_checkpoints": 9}
    with monkeypatch.context() as patch:
        fake_losses(patch, [9.0, 5.0, 3.0, 3.0, 4.0, 1.0])
        run = train(recipe(text, training=wanted), tmp_path / "run").path
    assert [record["step"] for record in records(run, "evaluation")] == [0, 2, 4, 6, 8]
    at = {step: read_snapshot(run / "checkpoints" / f"step-{step}").parts["model"] for step in (4, 8)}
    best, last = read_snapshot(run / "best"), read_snapshot(run / "last")
    assert (best.state["best_step"], best.state["best_loss"]) == (4, 3.0)
    for name, value in best.parts["model"].items():
        assert torch.equal(value, at[4][name])
        assert torch.equal(last.parts["model"][name], at[8][name])
        assert torch.equal(load(run).model.state_dict()[name], at[4][name])
    assert any(not torch.equal(at[4][name], at[8][name]) for name in at[4])


@pytest.mark.parametrize(("name", "higher"), [("accuracy", True), ("perplexity", False)])
def test_any_metric_may_decide_what_is_best(text: Path, tmp_path: Path, name: str, higher: bool) -> None:
    """By its own direction: the weights kept are those of the evaluation at which it was best, the first of equals."""
    run = train(recipe(text, training={"best": name, "evaluate_every": 2}), tmp_path / "run").path
    seen = [record for record in records(run, "evaluation") if record["step"]]
    found = (max if higher else min)(seen, key=lambda record: record[name])
    kept = read_snapshot(run / "best").state
    assert (kept["best_of"], kept["best_loss"], kept["best_step"]) == (name, found[name], found["step"])
    assert [record for record in seen if record["kept"]][-1]["step"] == found["step"]


@pytest.mark.parametrize("name", ["acuracy", "macro_f1"])
def test_a_metric_that_is_not_measured_decides_nothing(text: Path, tmp_path: Path, name: str) -> None:
    """Refused before the first step, also one that others have."""
    with pytest.raises(UsageError, match=name):
        train(recipe(text, training={"best": name}), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_an_improvement_in_time_renews_the_patience(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad evaluation, then a better one: the run goes to its end."""
    fake_losses(monkeypatch, [9.0, 5.0, 6.0, 4.0, 4.5, 3.0, 3.5])
    wanted = {"evaluate_every": 2, "patience": 2}
    run = train(recipe(text, training=wanted), tmp_path / "run").path
    assert records(run, "evaluation")[-1]["step"] == 12


def test_a_loss_that_is_no_number_is_never_the_best(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN counts as no improvement, and is written as null."""
    fake_losses(monkeypatch, [9.0, math.nan, 5.0, math.nan])
    run = train(recipe(text), tmp_path / "run").path
    assert read_snapshot(run / "best").state["best_loss"] == 5.0
    assert [record["loss"] for record in records(run, "evaluation")] == [9.0, None, 5.0, None]


def test_weights_are_not_chosen_by_a_handful_of_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two held-out texts, losses of which the second would be the best and patience would end the run: it goes to its
    end, answers with its last weights, and says why."""
    fake_losses(monkeypatch, [9.0, 3.0, 5.0, 5.0, 5.0, 5.0, 5.0])
    hearing = Hearing()
    few = text_file(tmp_path, sentences(20))
    wanted = recipe(few, data={"validation_share": 0.1}, training={"evaluate_every": 2, "patience": 1})
    run = train(wanted, tmp_path / "run", display=hearing)
    evaluations = records(run.path, "evaluation")
    assert evaluations[-1]["step"] == 12
    assert evaluations[-1]["kept"]
    assert not any(record["tells"] for record in evaluations)
    assert not (run.path / "best").exists()
    last = read_snapshot(run.path / "last").parts["model"]
    assert all(torch.equal(value, last[name]) for name, value in run.model.state_dict().items())
    [said] = [line for line in hearing.said if "cannot tell which weights are better" in line]
    assert said.startswith(f"{evaluations[-1]['count']} questions in 2 texts")
    assert best(run.metrics()) == evaluations[-1]


def test_the_kept_evaluation_is_that_of_the_weights_in_use(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With enough questions the lowest after step 0, also where step 0 was lower; with weights=last the last."""
    for weights, step in (("best", 8), ("last", 12)):
        with monkeypatch.context() as patch:
            fake_losses(patch, [1.0, 5.0, 3.0, 4.0])
            run = train(recipe(text, training={"weights": weights}), tmp_path / weights)
        kept = best(run.metrics())
        assert kept is not None
        assert (kept["step"], kept["tells"]) == (step, True)


def test_a_run_of_other_questions_finds_its_best_anew(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose evaluations asked fewer, as those of older versions did: its best loss counts no longer, and it says
    so; a run that asked the same keeps it."""
    from glassformer.training import evaluation

    train(recipe(text), tmp_path / "same")
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "TELLS_FROM", 10)
        patch.setattr(launch, "describe_evaluation_set", lambda questions: "")
        few = EvaluationSet.__init__
        patch.setattr(EvaluationSet, "__init__", lambda self, *args, **more: few(self, *args, **more | {"enough": 1}))
        train(recipe(text), tmp_path / "other")
    for name, anew in (("same", False), ("other", True)):
        hearing = Hearing()
        train(None, tmp_path / name, resume=True, changes=("training.steps=16",), display=hearing)
        assert any("other questions" in line for line in hearing.said) is anew
        counts = [record["count"] for record in records(tmp_path / name, "evaluation")]
        assert (len(set(counts)) == 2) is anew


# ------------------------------------------------------------------------------------------ what is not finite


def assert_nothing_is_nan(run: Path) -> None:
    """In no checkpoint, no tensor of it and no number of its state."""
    for folder in [*(run / "checkpoints").iterdir(), run / "last", run / "best"]:
        snapshot = read_snapshot(folder)
        assert all(
            t.isfinite().all() for part in snapshot.parts.values() for t in part.values() if t.is_floating_point()
        )
        json.dumps(snapshot.state, allow_nan=False)


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_skip_leaves_the_update_out_and_goes_on(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    """Steps 3 (saved right after), 5 and 6 are spoilt: said, counted, logged without them; nothing of it is saved."""
    spoil_losses(monkeypatch, (3, 5, 6), factor)
    hearing = Hearing()
    wanted = recipe(text, training={"keep_checkpoints": 9})
    run = train(wanted, tmp_path / "run", display=hearing).path
    warnings = [said for said in hearing.said if said.startswith("warning: step")]
    assert [warning.split(":")[1] for warning in warnings] == [" step 3", " step 5", " step 6"]
    by_step = {record["step"]: record for record in records(run, "train")}
    assert [by_step[step]["skipped"] for step in (2, 4, 6, 8, 12)] == [0, 1, 3, 3, 3]
    assert by_step[6]["loss"] is None
    assert by_step[8]["loss"] > 0
    assert_nothing_is_nan(run)


def test_a_skipped_step_has_no_effect(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights after step 3 are those after step 2."""
    spoil_losses(monkeypatch, (3,))
    wanted = recipe(text, training={"checkpoint_every": 1, "steps": 6, "keep_checkpoints": 9})
    run = train(wanted, tmp_path / "run").path
    two, three, four = (read_snapshot(run / "checkpoints" / f"step-{n}").parts for n in (2, 3, 4))
    for part in ("model", "optimizer"):
        assert all(torch.equal(two[part][name], three[part][name]) for name in two[part])
    assert any(not torch.equal(three["model"][name], four["model"][name]) for name in three["model"])


def test_stop_stops_at_once(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nonfinite=stop: an error that names step and mend, the last checkpoint before it intact; once the cause is gone
    the run goes on from there, as if nothing had been."""
    whole = train(recipe(text, training={"nonfinite": "stop"}), tmp_path / "whole").path
    with monkeypatch.context() as patch:
        spoil_losses(patch, (8,))
        with pytest.raises(GlassformerError, match=r"step 8: loss nan.*training stops") as raised:
            train(recipe(text, training={"nonfinite": "stop"}), tmp_path / "run")
    assert "learning_rate" in raised.value.mend
    assert checkpoint_steps(RunDirectory(tmp_path / "run")) == [3, 6]
    assert_nothing_is_nan(tmp_path / "run")
    train(None, tmp_path / "run", resume=True)
    assert_same_run(whole, tmp_path / "run")


def test_skip_gives_up_in_the_end(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many in a row; one good update between starts the count again."""
    monkeypatch.setattr(trainer, "GIVE_UP_AFTER", 4)
    spoil_losses(monkeypatch, (2, 3, 4, 6, 7, 8, 9, 10))
    with pytest.raises(GlassformerError, match="step 9"):
        train(recipe(text), tmp_path / "run")
    assert_nothing_is_nan(tmp_path / "run")


# ------------------------------------------------------------------------------------------------ a full disk


def disk_full(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def fails_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """From its n-th call on, a function meets a full disk."""
    real = getattr(owner, name)
    calls = [0]

    def until(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return disk_full() if calls[0] >= call else real(*args, **kwargs)

    monkeypatch.setattr(owner, name, until)


def test_weights_that_are_not_finite_never_reach_a_checkpoint(text: Path, tmp_path: Path) -> None:
    """An update that breaks the weights is not saved, nor is what follows it; what was whole before stays."""
    hearing = Hearing()
    wild = recipe(text, optimizer={"learning_rate": 1e40}, schedule={"warmup_steps": 3, "name": "constant"})
    with pytest.raises(GlassformerError, match="last good one is intact"):
        train(
            wild.model_copy(update={"training": wild.training.model_copy(update={"steps": 60})}),
            tmp_path / "run",
            display=hearing,
        )
    assert any("not saved: its weights are not finite" in line for line in hearing.said)
    run = RunDirectory(tmp_path / "run")
    for step in checkpoint_steps(run):
        weights = read_snapshot(run.checkpoints / f"step-{step}").parts["model"]
        assert all(torch.isfinite(tensor).all() for tensor in weights.values())


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (snapshot_module, "save_file", 5),
        (snapshot_module, "_write_manifest", 5),
        (snapshot_module.os, "link", 3),
        (RunDirectory, "append_metrics", 5),
        (callbacks, "write_text_durably", 3),
    ],
    ids=["weights", "manifest", "last", "metrics", "samples"],
)
def test_a_full_disk_loses_nothing(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> None:
    """Wherever it strikes: the checkpoints before it are whole, and with room again the run ends as it would have."""
    whole = train(recipe(text), tmp_path / "whole").path
    with monkeypatch.context() as patch:
        fails_at(patch, owner, name, call)
        if name == "link":
            patch.setattr(snapshot_module.shutil, "copy", disk_full)
        with pytest.raises((GlassformerError, OSError)) as raised:
            train(recipe(text), tmp_path / "run")
    saved = checkpoint_steps(RunDirectory(tmp_path / "run"))
    assert saved
    assert all(read_snapshot(tmp_path / "run" / "checkpoints" / f"step-{step}") for step in saved)
    if name in ("save_file", "_write_manifest", "link"):
        assert isinstance(raised.value, GlassformerError)
        assert "the disk is full" in raised.value.what
    train(None, tmp_path / "run", resume=True)
    assert_same_run(whole, tmp_path / "run")


def test_samples_on_a_full_disk_are_a_clear_error(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback from within a callback."""
    train(recipe(text), tmp_path / "whole")
    real = Path.open

    def full_for_samples(self: Path, *args: Any, **kwargs: Any) -> Any:
        return disk_full() if self.parent.name == "samples" else real(self, *args, **kwargs)

    opened = open

    def full(file: Any, *args: Any, **kwargs: Any) -> Any:
        return disk_full() if "samples" in str(file) else opened(file, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full_for_samples)
    monkeypatch.setattr(durable, "open", full, raising=False)
    with pytest.raises(GlassformerError, match="the disk is full"):
        train(recipe(text), tmp_path / "run")


# -------------------------------------------------------------------------------------------------- signals

INTERRUPTED = """
import os, signal, sys
from glassformer import launch
from glassformer.errors import GlassformerError, UsageError
from glassformer.recipe import read
from glassformer.training.trainer import Quiet

launch.draw_report = lambda run: None

class Killer(Quiet):
    def __init__(self, step, number):
        self.at, self.number = step, number

    def step(self, record):
        if record["step"] == self.at:
            os.kill(os.getpid(), self.number)

def attempt(*args, **kwargs):
    try:
        launch.train(*args, **kwargs)
    except GlassformerError as error:
        print(type(error).__name__, error.exit_code, error, sep="\\n", flush=True)

attempt(read(sys.argv[1]), run=sys.argv[2], display=Killer(4, signal.SIGTERM))
attempt(run=sys.argv[2], resume=True, display=Killer(8, signal.SIGINT))
"""


def test_sigterm_and_ctrl_c_save_and_say_how_to_go_on(text: Path, tmp_path: Path) -> None:
    """A process of its own gets SIGTERM at step 4, goes on, gets Ctrl-C at step 8: each time the step is finished and
    saved, the message names the command; resumed, it is the run that was never stopped."""
    from glassformer.recipe import to_yaml

    whole = train(recipe(text), tmp_path / "whole").path
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe(text)))
    run = tmp_path / "run"
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "recipe.yaml"), str(run)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    report_progress = f"go on with: glassformer train --resume --run {run}"
    assert ended.stdout.splitlines() == [
        *("Interrupted", "1", "stopped at step 4 of 12, everything is saved", report_progress),
        *("Interrupted", "1", "stopped at step 8 of 12, everything is saved", report_progress),
    ]
    assert checkpoint_steps(RunDirectory(run)) == [6, 8]
    train(None, run, resume=True)
    assert_same_run(whole, run)


def test_a_second_ctrl_c_ends_at_once() -> None:
    """The first is remembered, the second is obeyed, and the handlers are put back."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), deferred_interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_in_a_thread_signals_are_left_alone(text: Path, tmp_path: Path) -> None:
    """Signals cannot be caught there; training works all the same, to the same bits."""
    import threading

    whole = train(recipe(text), tmp_path / "whole").path
    thread = threading.Thread(target=lambda: train(recipe(text), tmp_path / "run"))
    thread.start()
    thread.join()
    assert contents(whole) == contents(tmp_path / "run")
