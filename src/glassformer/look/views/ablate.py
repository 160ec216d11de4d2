"""What each part of a model is worth: its own metric on its own fixed questions, with one part taken out at a time.

A part that attends to everything may be worth nothing: others do the same (Michel et al. 2019, section 3).
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import nn

from glassformer.ablation import Part, chosen_parts, without
from glassformer.ask.run import Run
from glassformer.data.batch import Batch
from glassformer.formatting import NATS
from glassformer.look.pictures.page import View
from glassformer.look.pictures.tables import Bar, bars
from glassformer.look.views import Option, ViewSpec
from glassformer.objectives import Objective
from glassformer.progress import report_progress
from glassformer.training.evaluation import EVALUATION_SEED, EvaluationSet

VIEW = ViewSpec(
    """Say how much worse a model is without each part.

    The loss and accuracy are those of `evaluate` on the validation texts. The intervals hold 95% of what comes out when
    the texts are drawn anew; a part whose interval holds 0 may be worth nothing.

    \b
    glassformer ablate runs/mlm-demo --parts heads --output heads.png
    """,
    takes=(
        Option(
            "parts",
            str,
            "all",
            "heads, attention, feed-forward, layers, positions, all, or single parts such as "
            "encoder.blocks.1.self_attention:2; several with commas between",
        ),
        Option("units", int | None, None, "ask at most so many texts; without it all", least=2),
        Option("seeds", int, 1, "hide other words in each text so many times; 1: the questions of `evaluate`", least=1),
    ),
    live=("parts", "units"),
    on_top=True,
)


RESAMPLES = 2000
WITHIN = (2.5, 97.5)
"""The interval, in percent: 95% of the resamplings."""


class Sums(NamedTuple):
    """Totals and counts by name (a loss per head, accuracy), for each unit: means of any choice of units follow."""

    totals: dict[str, Float[np.ndarray, "units"]]
    counts: dict[str, Float[np.ndarray, "units"]]


class Change(NamedTuple):
    """A metric without a part less the same metric of the whole model, and in which interval it lies."""

    change: float
    low: float
    high: float


class Worth(NamedTuple):
    """What taking a part out does to each metric: `loss`, and `accuracy` where there is one."""

    part: Part
    changes: dict[str, Change]


class Ablation(NamedTuple):
    """A model whole, and without each part."""

    whole: dict[str, float]
    units: int
    parts: list[Worth]

    def record(self) -> dict[str, Any]:
        """The shape of `ablate --json`, the worst loss first."""
        worst_first = sorted(self.parts, key=lambda worth: -worth.changes["loss"].change)
        rows = [
            {"part": str(worth.part)} | {name: change._asdict() for name, change in worth.changes.items()}
            for worth in worst_first
        ]
        return {"whole": self.whole, "units": self.units, "parts": rows}


def ablate(
    run: Run,
    parts: Sequence[Part],
    units: int | None = None,
    seeds: int = 1,
) -> Ablation:
    """Ask the run's validation questions whole and without each part: at most so many `units` (None: all), each with so
    many `seeds` of what is hidden in it, the first being the run's own questions.

    The intervals come from drawing the units anew, 2000 times with a fixed seed, for both models alike (paired
    bootstrap; Efron and Tibshirani 1993): they say how far the questions decide, not how another training would end.
    Raises UsageError where nothing can be asked.
    """
    objective = run.objective.for_evaluation()
    dataset_of = objective.dataset(run.corpus("validation"))
    config = run.recipe.batch.model_copy(update={"layout": "grouped"})  # a row holds one unit
    asked = [EvaluationSet(dataset_of, objective, config, units, seed=EVALUATION_SEED + draw) for draw in range(seeds)]
    whole = sums_of(run.model, asked)
    number = len(asked[0].chosen)
    draws = np.random.default_rng(EVALUATION_SEED).multinomial(number, np.full(number, 1 / number), RESAMPLES)
    draws = np.concatenate([np.ones((1, number)), draws])  # first as it is
    metrics = metrics_of(objective, whole, draws)
    found = []
    for done, part in enumerate(parts):
        report_progress(done, len(parts))
        with without(run.model, part):
            changed = metrics_of(objective, sums_of(run.model, asked), draws)
        found.append(Worth(part, {name: _change(changed[name] - metrics[name]) for name in metrics}))
    return Ablation({name: float(values[0]) for name, values in metrics.items()}, number, found)


def _change(differences: Float[np.ndarray, "draws"]) -> Change:
    low, high = np.nanpercentile(differences[1:], WITHIN)
    return Change(float(differences[0]), float(low), float(high))


@torch.no_grad()
def sums_of(model: nn.Module, asked: Sequence[EvaluationSet]) -> Sums:
    """The loss and accuracy of each unit: the objective scores each row of a batch by itself. Of several draws their
    sum."""
    number = len(asked[0].chosen)
    totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(number))
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(number))
    for questions in asked:
        objective = questions.objective
        for made in questions.made:
            report_progress()
            parts = rows_of(made.batch, model(made.batch))
            for [unit], (row, logits) in zip(made.rows, parts, strict=True):
                for name, found in objective.sums(logits, row).items():
                    totals[name][unit] += float(found.total)
                    counts[name][unit] += found.count
    return Sums(dict(totals), dict(counts))


def rows_of(batch: Batch, logits: dict[str, torch.Tensor]) -> list[tuple[Batch, dict[str, torch.Tensor]]]:
    """Each row of a batch with what was asked in it, and the logits of that."""
    found = []
    for row in range(len(next(iter(batch.streams.values())).input_ids)):
        asked, own = {}, {}
        for head, all_asked in batch.targets.items():
            width = batch.streams[all_asked.stream].input_ids.shape[1]
            here = torch.nonzero(all_asked.flat_index[: all_asked.n_targets] // width == row)[:, 0]
            if len(here):
                asked[head] = all_asked._replace(
                    flat_index=all_asked.flat_index[here], values=all_asked.values[here], n_targets=len(here)
                )
                own[head] = logits[head][here]
        found.append((batch._replace(targets=asked), own))
    return found


def metrics_of(
    objective: Objective, sums: Sums, draws: Float[np.ndarray, "draws units"]
) -> dict[str, Float[np.ndarray, "draws"]]:
    """For each draw (how often each unit is in it) the loss as `evaluate` has it, and the accuracy over all heads."""
    weights, shares = objective.loss_weights(), objective.shares()
    means = {name: draws @ total / np.maximum(draws @ sums.counts[name], 1) for name, total in sums.totals.items()}
    loss = sum(weights[name] * shares[name] * means[f"{name}/loss"] for name in weights if f"{name}/loss" in means)
    right = [name for name in means if name.endswith("/accuracy")]
    number = np.maximum(draws @ sum(sums.counts[name] for name in right), 1)
    accuracy = draws @ sum(sums.totals[name] for name in right) / number
    return {"loss": np.asarray(loss), "accuracy": accuracy}


def summary_rows(found: Ablation) -> list[dict[str, Any]]:
    """A line for the whole model and one for each part, the worst loss first: changes with their intervals."""

    def said(low: float, high: float, change: float) -> str:
        return f"{change:+.3f} ({low:+.3f} to {high:+.3f})"

    whole = {"part": "(whole)"} | {name: f"{value:.4f}" for name, value in found.whole.items()}
    rows = [
        {"part": row["part"]} | {name: said(**row[name]) for name in found.whole} for row in found.record()["parts"]
    ]
    return [whole, *rows]


def picture(found: Ablation, metric: str = "loss") -> Figure:
    """The parts by what taking them out does to the metric."""
    drawn = [Bar(str(worth.part), *worth.changes[metric]) for worth in found.parts]
    title = f"Without each part: change of the validation {metric} ({found.whole[metric]:.3f} whole)"
    unit = " (nats per token; 0.69 nats = 1 bit)" if metric == "loss" else ""
    return bars(
        drawn, f"change of the {metric}{unit}\nlines: 95% of {RESAMPLES} resamplings of {found.units} units", title
    )


def view_of(run: Run, found: Ablation) -> View:
    """The same as a view."""
    record = found.record()
    rows = [
        {"part": row["part"]}
        | {f"{metric}_{key}": value for metric in found.whole for key, value in row[metric].items()}
        for row in record["parts"]
    ]
    whole = ", ".join(f"{metric} {value:.4f}" for metric, value in found.whole.items())
    subtitle = f"{run.path.name}: {whole} whole; intervals: 95% of {RESAMPLES} resamplings of {found.units} units"
    data = {"subtitle": subtitle, "metrics": list(found.whole), "summary_rows": summary_rows(found), **record}
    return View("ablation", "What each part is worth", data, {}, lambda: picture(found), record, rows)


def make(run: Run, parts: str = "all", units: int | None = None, seeds: int = 1) -> View:
    """The run's own metric without each part."""
    view = view_of(run, ablate(run, chosen_parts(run.model, parts), units, seeds))
    return view._replace(table=view.data["summary_rows"], said=[f"loss in nats per asked token: {NATS}"])
