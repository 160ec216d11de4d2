"""The standing pictures of a run: how places are told apart, who may see whom, how the learning rate goes."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from glassformer.data.batch import Batch, collate
from glassformer.data.masks import AttentionMask, across
from glassformer.errors import UsageError
from glassformer.look.figures import SIGNED, fitted, new_figure, styled, visible
from glassformer.look.generation import whole
from glassformer.look.page import View
from glassformer.predict import Run
from glassformer.training.schedules import learning_rate_factor

PLACES = 64
"""Positions that are shown at most."""
POINTS = 400
"""Steps of a schedule that are drawn at most."""


def squares(title: str, values: Any, note: str, rows: list[str], columns: list[str]) -> dict[str, Any]:
    """A panel of numbers; rows and columns are what the axes stand for, or one name for each."""
    found = np.round(np.asarray(values, dtype=np.float64), 4).tolist()
    return {"kind": "squares", "title": title, "note": note, "values": found, "rows": rows, "columns": columns}


def lines(title: str, x: list[int], series: dict[str, Any], note: str, x_name: str) -> dict[str, Any]:
    """A panel of lines over x."""
    named = [{"name": name, "values": np.round(np.asarray(v, dtype=float), 6).tolist()} for name, v in series.items()]
    return {"kind": "lines", "title": title, "note": note, "x": x, "series": named, "x_name": x_name}


@torch.no_grad()
def positions_view(run: Run) -> View:
    """How the model's stacks tell places apart: the vectors that are added, the angles by which queries and keys are
    turned, or the numbers that are added to the scores. Raises UsageError for a model without positions."""
    config, panels = run.recipe.model, list[dict[str, Any]]()
    count = min(PLACES, config.max_length)
    places = torch.arange(count)[None]
    for name in config.stacks:
        kind = getattr(run.model.get_submodule(name), "positions", None)
        if kind is None:
            continue
        added, rotation, bias = kind(places), kind.rotation(places), kind.bias(places, places)
        if added is not None:
            table = added[0].numpy()
            panels.append(squares(f"{name}: added to each embedding", table, "", ["position"], ["feature"]))
            unit = table / np.linalg.norm(table, axis=1, keepdims=True)
            note = "cosine of the angle between the vectors of two places: 1 is the same direction"
            panels.append(squares(f"{name}: how alike two places are", unit @ unit.T, note, ["position"], ["position"]))
        if rotation is not None:
            cos = rotation.cos[0, 0].numpy()
            note = "cosine of the angle by which each pair of features is turned"
            panels.append(squares(f"{name}: turns of queries and keys", cos, note, ["position"], ["feature of a head"]))
            note = "the score of a vector with itself, turned by its distance; of a vector of ones"
            panels.append(
                lines(
                    f"{name}: a score falls with distance", places[0].tolist(), {"q · k": cos.mean(1)}, note, "distance"
                )
            )
        if bias is not None:
            middle = count // 2
            series = {f"head {h}": bias[0, h, middle].numpy() for h in range(bias.shape[1])}
            offsets = [place - middle for place in range(count)]
            note = "what is added to the score of a key at this distance"
            panels.append(lines(f"{name}: bias of the scores", offsets, series, note, "key's place minus query's"))
    if not panels:
        raise UsageError(
            f"this model has no positions (model.positions={config.positions})", "train with model.positions=rotary"
        )
    data = {"subtitle": f"{run.path.name}: {config.positions} positions", "panels": panels}
    return of_panels(f"Positions of {run.path.name}", data)


def masks_view(run: Run, texts: list[str]) -> View:
    """Who may see whom when the model reads these texts: each padded to the longest of them; several also packed into
    one row, where none sees another. A decoder beside an encoder reads the same texts."""
    examples = [run.objective.prompt_for("read", text).example for text in texts]
    if len(run.recipe.model.stacks) > 1:
        examples = [whole(run, run.written(text, text))[0] for text in texts]
    batches = [("padded to one length", collate([[example] for example in examples], run.tokenizer.pad_id), True)]
    if len(texts) > 1 and all(stream.queries == 0 for e in examples for stream in e.streams.values()):
        batches.append(("packed into one row", collate([examples], run.tokenizer.pad_id), False))
    panels = []
    for how, batch, each in batches:
        for name, mask, queries, keys in masks_of(run, batch):
            for row in range(len(queries)):
                title = f"{name}, {how}" + (f": {visible(texts[row], 30)}" if each else "")
                note = "1 where the token of a row may attend to that of a column"
                panels.append(squares(title, mask[row], note, queries[row], keys[row]))
    data = {"subtitle": f"{run.path.name}: {run.recipe.description or run.path}", "panels": panels, "square": True}
    return of_panels(f"Masks of {run.path.name}", data)


def masks_of(run: Run, batch: Batch) -> list[tuple[str, np.ndarray, list[list[str]], list[list[str]]]]:
    """Every kind of attention of a batch: its name, its mask (rows x query x key), and the tokens of both sides."""
    tokens = {
        name: [[run.objective.tokenizer_of(name).token(int(id)) for id in row] for row in stream.input_ids]
        for name, stream in batch.streams.items()
    }
    found = []

    def add(name: str, mask: AttentionMask, queries: str, keys: str) -> None:
        rows, many, content = (
            len(tokens[queries]),
            len(tokens[queries][0]),
            batch.streams[keys].content or len(tokens[keys][0]),
        )
        allowed = mask.dense()
        whole = torch.ones(rows, many, content) if allowed is None else allowed[:, 0].expand(rows, many, content)
        found.append((name, whole.int().numpy(), tokens[queries], [row[:content] for row in tokens[keys]]))

    for name, stream in batch.streams.items():
        add(f"{name}: self-attention", stream.mask, name, name)
    if len(run.recipe.model.stacks) > 1 and {"encoder", "decoder"} <= set(batch.streams):
        add(
            "cross-attention",
            across(batch.streams["decoder"].mask, batch.streams["encoder"].mask),
            "decoder",
            "encoder",
        )
    return found


def schedule_view(run: Run) -> View:
    """The learning rate over the steps of the run, of each kind of parameter."""
    recipe = run.recipe
    steps = recipe.training.steps or 1
    x = sorted({round(n) for n in np.linspace(1, steps, min(steps, POINTS))})
    factors = np.array([learning_rate_factor(step, steps, recipe.schedule) for step in x])
    series = {"AdamW": factors * recipe.optimizer.learning_rate}
    if recipe.optimizer.name == "muon":
        series["Muon"] = factors * recipe.optimizer.muon_learning_rate
    panel = lines("Learning rate", x, series, f"{recipe.schedule.name}, {steps:,} steps", "step")
    return of_panels(f"Learning rate of {run.path.name}", {"subtitle": recipe.description, "panels": [panel]})


def of_panels(title: str, data: dict[str, Any]) -> View:
    """Panels as a view."""
    return View("panels", title, data, {}, lambda: picture(title, data["panels"]))


@styled
def picture(title: str, panels: list[dict[str, Any]]) -> Figure:
    """All panels of a view, one below the other."""
    heights = [3.0 if p["kind"] == "lines" else min(6.0, 0.16 * len(p["values"]) + 1.2) + 0.6 for p in panels]
    figure = new_figure(9.0, sum(heights) + 0.5)
    whole = sum(heights) + 0.5
    figure.text(0.03, 1 - 0.3 / whole, fitted(visible(title, 80), 11.0, 8.0), fontsize=11, va="center")
    top = 0.5
    for panel, height in zip(panels, heights, strict=True):
        axes = figure.add_axes((0.16, 1 - (top + height - 0.55) / whole, 0.8, (height - 1.0) / whole))
        axes.set_title(visible(panel["title"], 90), fontsize=9, loc="left")
        if panel["kind"] == "lines":
            drawn = [axes.plot(panel["x"], one["values"])[0] for one in panel["series"]]
            axes.set_xlabel(visible(panel["x_name"], 40))
            axes.legend(drawn, [visible(one["name"], 40) for one in panel["series"]], fontsize=7)
        else:
            values = np.array(panel["values"])
            largest = float(np.abs(values).max()) or 1.0
            axes.imshow(values, cmap=SIGNED, vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest")
            for axis, names, count in (
                (axes.xaxis, panel["columns"], values.shape[1]),
                (axes.yaxis, panel["rows"], len(values)),
            ):
                if len(names) == count and count <= 40:
                    axis.set_ticks(range(count), [visible(name, 14) for name in names], fontsize=7)
                else:
                    axis.set_label_text(visible(names[0], 40))
            if len(panel["columns"]) == values.shape[1]:
                axes.tick_params("x", rotation=90)
        top += height
    return figure
