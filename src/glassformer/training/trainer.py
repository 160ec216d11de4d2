"""The loop: steps, evaluations, checkpoints. Short enough to be read from top to bottom; it knows no objective and no
model by name."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import torch
from pydantic import create_model

from glassformer.errors import GlassformerError
from glassformer.model.kinds import Model
from glassformer.reading import Saved
from glassformer.run import RunDirectory
from glassformer.snapshot import remove_abandoned
from glassformer.training.callbacks import Callback, EvaluationEvent
from glassformer.training.checkpoints import (
    SavedOptimizers,
    checkpoint_steps,
    flatten_optimizer,
    latest_checkpoint,
    load_into,
    restore_optimizer,
    save_best,
    save_checkpoint,
)
from glassformer.training.config import TrainingConfig
from glassformer.training.engine import Engine, Update
from glassformer.training.evaluation import TELLS_FROM, Evaluation, EvaluationSet, evaluate, is_better
from glassformer.training.order import TrainingOrder
from glassformer.training.processes import Processes
from glassformer.training.schedules import ScheduleConfig, learning_rate_factor


class Interrupted(GlassformerError):
    """Ctrl-C or SIGTERM: everything is saved. What a person asked for is no error, though the run is not finished."""

    label = ""


@dataclass
class State:
    """Where a run stands; with weights and optimiser all that a resume needs."""

    step: int = 0
    best_loss: float | None = None
    """The best value so far of what decides."""
    best_of: str = "loss"
    """What that is a value of."""
    best_step: int = 0
    without_improvement: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    tokens_seen: int = 0
    elapsed: float = 0.0
    metrics_length: int = 0


class SavedWindow(Saved):
    """A `Window` in state.json."""

    losses: list[float]
    norms: list[float]


KEYS: dict[str, Any] = {key.name: (key.type, key.default) for key in fields(State)}
Progress: Any = create_model("Progress", __base__=Saved, **KEYS)
"""A `State` in state.json."""


class SavedState(Saved):
    """What state.json of a checkpoint says beside its tensors."""

    training: Progress
    optimizer: SavedOptimizers
    window: SavedWindow


@runtime_checkable
class Display(Protocol):
    """What a person watches."""

    def start(self, step: int, steps: int) -> None: ...
    def step(self, record: dict[str, Any]) -> None: ...
    def evaluation(self, record: dict[str, Any]) -> None: ...
    def say(self, text: str) -> None: ...
    def stop(self) -> None: ...


class Quiet:
    """A display that shows nothing."""

    def start(self, step: int, steps: int) -> None: ...
    def step(self, record: dict[str, Any]) -> None: ...
    def evaluation(self, record: dict[str, Any]) -> None: ...
    def say(self, text: str) -> None: ...
    def stop(self) -> None: ...


GIVE_UP_AFTER = 20
"""Updates skipped in a row before a run stops: the weights are then beyond repair."""


class Trainer:
    """Trains one model in one run directory. `config` has no `auto` and no empty interval left (see `resolve`).

    Each evaluation asks all of the `evaluation_sets`: that of the validation texts, and if there is a second one, that
    of the training texts.
    """

    def __init__(
        self,
        engine: Engine,
        run: RunDirectory,
        order: TrainingOrder,
        evaluation_sets: Sequence[EvaluationSet],
        config: TrainingConfig,
        schedule: ScheduleConfig,
        seed: int,
        callbacks: Sequence[Callback] = (),
        display: Display | None = None,
    ) -> None:
        assert config.steps and config.evaluate_every and config.checkpoint_every and config.log_every
        self.engine = engine
        self.run = run
        self.order = order
        self.evaluation_sets = evaluation_sets
        self.config = config
        self.best_by = "loss" if config.best == "auto" else config.best  # a run of before this was a key
        self.schedule = schedule
        self.seed = seed
        self.steps: int = config.steps
        self.callbacks = callbacks
        self.display = display or Quiet()
        self.processes = engine.processes
        self.state = State()
        self.history: list[dict[str, Any]] = []
        self._window = Window([], [])

    def fit(self, processes: Processes | None = None) -> State:
        """Train to the end, from the newest whole checkpoint if there is one; together with other processes, each of
        which has a trainer of the same run. Only the first of them writes.

        Raises Interrupted on Ctrl-C or SIGTERM to any of them (after saving), GlassformerError when training cannot
        go on.
        """
        if processes is not None:
            self.processes = self.engine.processes = processes
        self._restore()
        for weights in self.engine.model.state_dict().values():
            self.processes.copied(weights)  # which may have begun from something that only the first has read
        for callback in self.callbacks:
            callback.on_begin(self.state.step)
        self.display.start(self.state.step, self.steps)
        try:
            with deferred_interrupts() as interrupted:
                self._train(interrupted)
        finally:
            self.display.stop()
        self.processes.barrier()  # what the first writes is there for all
        return self.state

    def _train(self, interrupted: Callable[[], bool]) -> None:
        if self.state.step == 0:
            self._evaluate()
            self._show_step(last=False)
        clock = time.perf_counter()
        for epoch, rows in self.order.steps(self.state.step):
            if self.state.step >= self.steps or self._out_of_patience():
                break
            self._advance(epoch, rows)
            now = time.perf_counter()
            self.state.elapsed += now - clock
            clock = now
            self._after_step()
            if self.processes.any(interrupted()) and self.state.step < self.steps:
                self._save()
                raise Interrupted(
                    f"stopped at step {self.state.step} of {self.steps}, everything is saved",
                    f"go on with: glassformer train --resume --run {self.run.path}",
                )
        self._finish()

    def _advance(self, epoch: int, rows: list) -> None:
        """One optimiser step."""
        began = time.perf_counter()
        batches = [self.order.batch(epoch, micro_batch) for micro_batch in self.processes.own(rows)]
        step = self.state.step + 1
        factor = learning_rate_factor(step, self.steps, self.schedule)
        update = self.engine.update(batches, factor, (self.seed, step), self._show_gradients)
        self.state.step = step
        self.state.tokens_seen += update.tokens
        self._window.add(update, time.perf_counter() - began)
        if update.applied:
            self.state.skipped_in_a_row = 0
        else:
            self._skip(update.loss, update.gradient_norm)

    def _show_gradients(self, model: Model) -> None:
        for callback in self.callbacks:
            callback.on_gradients(self.state.step + 1, model)

    def _show_step(self, last: bool) -> None:
        for callback in self.callbacks:
            callback.on_step(self.state.step, self.engine.model, last)

    def _skip(self, loss: float, norm: float) -> None:
        """An update that is not finite is left out; too many of them, or `nonfinite=stop`, end the run."""
        self.state.skipped += 1
        self.state.skipped_in_a_row += 1
        what = f"step {self.state.step}: loss {loss}, gradient norm {norm}; the update was skipped"
        if self.config.nonfinite == "stop" or self.state.skipped_in_a_row >= GIVE_UP_AFTER:
            raise GlassformerError(
                f"{what}, and training stops. No checkpoint holds it; the last good one is intact",
                "lower optimizer.learning_rate, raise schedule.warmup_steps, or set training.precision=32-true",
            )
        self.display.say(f"warning: {what}")

    def _after_step(self) -> None:
        """Log, evaluate, save, each when due."""
        step, config = self.state.step, self.config
        assert config.evaluate_every and config.checkpoint_every and config.log_every
        due = step % config.log_every == 0 or step == self.steps
        record = self._window.record(step, self.state, self._learning_rate())
        self.display.step(record)
        if due:
            self._window = Window([], [])
            self._append(record)
        if step % config.evaluate_every == 0 or step == self.steps:
            self._evaluate()
        self._show_step(last=step == self.steps or self._out_of_patience())
        if step % config.checkpoint_every == 0 and step != self.steps:
            self._save()

    def _finish(self) -> None:
        """The last checkpoint, unless it is there from before."""
        if self._out_of_patience() and self.state.step < self.steps:
            self.display.say(f"stopped early: no better {self.best_by} since step {self.state.best_step}")
        if self.state.step not in checkpoint_steps(self.run):
            self._save()
        self._say_what_cannot_be_told()

    def _say_what_cannot_be_told(self) -> None:
        """Why neither the best weights were kept nor patience ended the run."""
        choosing = self.config.weights == "best" or self.config.patience is not None
        if choosing and self.history and self.history[-1].get("tells") is False:
            asked, where = self.history[-1]["count"], self.history[-1]["asked_in"]
            self.display.say(
                f"{asked} questions in {where} cannot tell which weights are better: the last ones are kept, and the "
                f"run was not stopped early ({TELLS_FROM} questions could; see data.validation_share)"
            )

    def _learning_rate(self) -> float:
        return float(self.engine.optimizers[0].param_groups[0]["lr"])

    def _out_of_patience(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.state.without_improvement >= patience

    def _evaluate(self) -> None:
        """Ask the fixed questions, let the callbacks look, keep the best weights."""
        started = time.perf_counter()
        evaluation, *learned = (
            evaluate(self.engine.forward, questions, self.engine.fabric.to_device, self.processes)
            for questions in self.evaluation_sets
        )
        record: dict[str, Any] = {"event": "evaluation", "step": self.state.step, **evaluation.record()}
        if learned:
            record["train_loss"] = learned[0].loss
        train_loss = learned[0].loss if learned else None
        event = EvaluationEvent(self.state.step, self.engine.model, evaluation, self.history, train_loss)
        warnings: list[str] = []
        for callback in self.callbacks:
            seen = callback.on_evaluation(event)
            warnings += seen.pop("warnings", [])
            record |= seen
        record |= {"warnings": warnings, "elapsed": round(self.state.elapsed, 3)}
        record["seconds"] = round(time.perf_counter() - started, 3)
        record |= {"tells": evaluation.tells, "kept": self._judge(evaluation)}
        self.history.append(record)
        self._append(record)
        self.display.evaluation(record)

    def _judge(self, evaluation: Evaluation) -> bool:
        """Keep the weights if they are the best so far, where so many questions can tell; whether the run, if it ended
        here, would answer with them."""
        evaluation.value(self.best_by)  # refused before the first step, not at its end
        newest = self.config.weights == "last" or not evaluation.tells
        if self.state.step == 0 or not evaluation.tells:
            return newest
        name, value = self.best_by, evaluation.value(self.best_by)
        best = self.state.best_loss if self.state.best_of == name else None
        if is_better(name, value, best):
            self.state.best_loss, self.state.best_step, self.state.best_of = value, self.state.step, name
            self.state.without_improvement = 0
            if self.processes.first:
                save_best(self.run, dict(self.engine.model.state_dict()), asdict(self.state))
            return True
        self.state.without_improvement += 1
        return newest

    def _append(self, record: dict[str, Any]) -> None:
        if not self.processes.first:
            return
        self.run.append_metrics(record)
        for callback in self.callbacks:
            callback.on_record(record)

    def _save(self) -> None:
        """Weights, optimiser, state, under a new name; never weights that are not finite. Of several processes, which
        all hold the same, the first saves."""
        if not self.processes.first:
            return
        weights = dict(self.engine.model.state_dict())
        if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
            self.display.say(f"warning: step {self.state.step} is not saved: its weights are not finite")
            return
        self.state.metrics_length = self.run.metrics_length()
        tensors, settings = flatten_optimizer(self.engine.optimizers, self.engine.model)
        window = {"losses": self._window.losses, "norms": self._window.norms}
        state = {"training": asdict(self.state), "optimizer": settings, "window": window}
        save_checkpoint(self.run, self.state.step, weights, tensors, state, self.config.keep_checkpoints)

    def _restore(self) -> None:
        """Continue from the newest whole checkpoint: weights, optimiser, state, and the metrics up to there."""
        checkpoint = latest_checkpoint(self.run, self.display.say, state=SavedState)
        if checkpoint is None:
            self._forget_beyond(0)
            return
        saved = checkpoint.state["training"].items()
        self.state = State(**{key: value for key, value in saved if key in KEYS})  # a newer version may have more
        load_into(self.engine.model, checkpoint.model)
        restore_optimizer(
            self.engine.optimizers, self.engine.model, checkpoint.optimizer, checkpoint.state["optimizer"]
        )
        self._window = Window(**checkpoint.state["window"])
        self._forget_beyond(self.state.metrics_length)
        self.history = [record for record in self.run.metrics() if record.get("event") == "evaluation"]
        if self.history and self.history[-1].get("count") != self.evaluation_sets[0].count:
            # A run of an older version asked fewer: its losses are of other questions than those that follow.
            self.state.best_loss, self.state.without_improvement = None, 0
            self.display.say("this version asks other questions: what is best is found anew from here")
        self.display.say(f"resuming at step {self.state.step} of {self.steps}")

    def _forget_beyond(self, metrics_length: int) -> None:
        """What was written behind the checkpoint, once all processes have read it, and before any reads on."""
        self.processes.barrier()
        if self.processes.first:
            remove_abandoned(self.run.samples)
            self.run.truncate_metrics(metrics_length)
        self.processes.barrier()


class Window:
    """Sums between two lines of the log."""

    def __init__(self, losses: list[float], norms: list[float]) -> None:
        self.losses = losses
        self.norms = norms
        self.tokens = 0
        self.seconds = 0.0

    def add(self, update: Update, seconds: float) -> None:
        """One more step. What is not finite is left out: it belongs neither in a mean nor in a checkpoint; nor does the
        loss of a step in which nothing was asked."""
        self.losses += [update.loss] if math.isfinite(update.loss) and update.asked else []
        self.norms += [update.gradient_norm] if math.isfinite(update.gradient_norm) else []
        self.tokens += update.tokens
        self.seconds += seconds

    def record(self, step: int, state: State, learning_rate: float) -> dict[str, Any]:
        """Means over the window's finite steps; JSON has no NaN. The speed is that of the steps since the window was
        opened, or since a resume; evaluations and saves do not count."""
        losses, norms = self.losses, self.norms
        return {
            "event": "train",
            "step": step,
            "loss": sum(losses) / len(losses) if losses else None,
            "gradient_norm": sum(norms) / len(norms) if norms else None,
            "learning_rate": learning_rate,
            "tokens_seen": state.tokens_seen,
            "tokens_per_second": round(self.tokens / max(1e-9, self.seconds), 1),
            "skipped": state.skipped,
            "elapsed": round(state.elapsed, 3),
        }


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM only raise a flag, so that the step in flight is finished and saved; a second Ctrl-C ends at
    once. In a thread other than the main one signals cannot be caught, and nothing is changed."""
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def handler(number: int, frame: FrameType | None) -> None:
        if arrived and number == signal.SIGINT:
            raise KeyboardInterrupt
        arrived.append(number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(arrived)
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
