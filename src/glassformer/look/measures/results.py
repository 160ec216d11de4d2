"""What a run's metrics come to: its best evaluation, its end, a row of a table. Records are those of `metrics.jsonl`.

It stands apart from the curves, which need Matplotlib: a list of runs is there in a moment.
"""

import math
from typing import Any

from glassformer.run import RunDirectory, checkpoint_steps

Record = dict[str, Any]


def series(records: list[Record], event: str, key: str) -> tuple[list[float], list[float]]:
    """Steps and values of one quantity, finite values only."""
    pairs = [
        (float(record["step"]), float(record[key]))
        for record in records
        if record.get("event") == event and _finite(record.get(key)) and _finite(record.get("step"))
    ]
    return [step for step, _ in pairs], [value for _, value in pairs]


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def evaluations(records: list[Record]) -> list[Record]:
    """The evaluations that measured a loss, in order."""
    return [
        record
        for record in records
        if record.get("event") == "evaluation" and _finite(record.get("loss")) and _finite(record.get("step"))
    ]


def best(records: list[Record]) -> Record | None:
    """The evaluation of the weights that the run answers with: the last one of which the trainer says so, and in a run
    of an older version the one with the lowest loss, the earlier of two equal ones."""
    measured = evaluations(records)
    kept = [record for record in measured if record.get("kept")]
    return kept[-1] if kept else min(measured, key=lambda record: record["loss"], default=None)


def references(records: list[Record]) -> dict[str, float]:
    """The reference lines that the run's last evaluation names."""
    named = [
        record["references"] for record in records if record.get("event") == "evaluation" and record.get("references")
    ]
    return {name: value for name, value in named[-1].items() if _finite(value)} if named else {}


def last_of(records: list[Record], key: str) -> Any:
    return next((record[key] for record in reversed(records) if record.get(key) is not None), None)


def _end_losses(records: list[Record]) -> tuple[float | None, float | None]:
    """Validation and training loss at the end of a run."""
    measured = evaluations(records)
    if not measured:
        return None, None
    last, since = measured[-1], (measured[-2]["step"] if len(measured) > 1 else -1)
    if _finite(last.get("train_loss")):
        return last["loss"], last["train_loss"]
    steps, losses = series(records, "train", "loss")
    recent = [loss for step, loss in zip(steps, losses, strict=True) if since < step <= last["step"]]
    return last["loss"], (math.fsum(recent) / len(recent) if recent else None)


def _row(name: str, records: list[Record]) -> dict[str, Any]:
    top = best(records) or {}
    validation, training = _end_losses(records)
    loss = top.get("loss")
    return {
        "run": name,
        "best_loss": loss,
        "perplexity": top.get("perplexity"),
        "accuracy": top.get("accuracy"),
        "best_step": top.get("step"),
        "last_step": last_of(records, "step"),
        "last_loss": validation,
        "tokens_seen": last_of(records, "tokens_seen"),
        "elapsed": last_of(records, "elapsed"),
        "gap": None if validation is None or training is None else validation - training,
        "loss_interval": top.get("loss_interval"),
        "count": top.get("count"),
        "verdict": top.get("verdict"),
    }


def comparison_table(runs: dict[str, list[Record]]) -> list[dict[str, Any]]:
    """One row per run; None where a run has no such record.

    `gap` is validation loss minus training loss at the end of the run, the overfitting gap. The training loss
    is the one that the last evaluation measured, else the mean of the training steps since the one before.
    """
    return [_row(name, records) for name, records in runs.items()]


def results_of(run: RunDirectory) -> dict[str, Any]:
    """A run's line in a table. Stopped between two lines of the log, its last step is the last saved one."""
    [row] = comparison_table({run.path.name: run.metrics()})
    saved = max(checkpoint_steps(run), default=None)
    return row if saved is None else row | {"last_step": max(saved, row["last_step"] or 0)}
