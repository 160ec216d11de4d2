"""The standing pictures of a run: how places are told apart, who may see whom, how the learning rate goes."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glassformer.data.batch import Batch, collate
from glassformer.data.masks import AttentionMask, across
from glassformer.errors import UsageError
from glassformer.look.pictures.figures import COLOURS, SIGNED, fitted, new_figure, styled, visible
from glassformer.look.pictures.page import View
from glassformer.look.views.generation import whole
from glassformer.predict import Run
from glassformer.training.schedules import learning_rate_factor

PLACES = 64
"""Positions that are shown at most."""
POINTS = 400
"""Steps of a schedule that are drawn at most."""


def squares(
    title: str,
    values: Any,
    note: str,
    rows: list[str],
    columns: list[str],
    names: tuple[str, str] | None = None,
    value: str = "value",
) -> dict[str, Any]:
    """A panel of numbers; rows and columns are what the axes stand for, or one name for each. `names` says what these
    are (rows, columns), `value` what a number is, with its unit."""
    found = np.round(np.asarray(values, dtype=np.float64), 4).tolist()
    row_name, column_name = names or (rows[0], columns[0])
    panel = {"kind": "squares", "title": title, "note": note, "values": found, "rows": rows, "columns": columns}
    return panel | {"row_name": row_name, "column_name": column_name, "value": value}


def lines(
    title: str, x: list[int], series: dict[str, Any], note: str, x_name: str, y_name: str = "value"
) -> dict[str, Any]:
    """A panel of lines over x."""
    named = [{"name": name, "values": np.round(np.asarray(v, dtype=float), 6).tolist()} for name, v in series.items()]
    return {"kind": "lines", "title": title, "note": note, "x": x, "series": named, "x_name": x_name, "y_name": y_name}


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
            panels.append(
                squares(f"{name}: added to each embedding", table, "", ["position"], ["feature"], value="number added")
            )
            unit = table / np.linalg.norm(table, axis=1, keepdims=True)
            note = "cosine of the angle between the vectors of two places: 1 is the same direction"
            axes = (["position"], ["position"])
            panels.append(squares(f"{name}: how alike two places are", unit @ unit.T, note, *axes, value="cosine"))
        if rotation is not None:
            cos = rotation.cos[0, 0].numpy()
            note = "cosine of the angle by which each pair of features is turned"
            axes = (["position"], ["pair of features of a head"])
            panels.append(squares(f"{name}: turns of queries and keys", cos, note, *axes, value="cosine of the angle"))
            note = "the score of a vector with itself, turned by its distance; of a vector of ones"
            series, said = {"q · k": cos.mean(1)}, f"{name}: a score falls with distance"
            y_name = "share of the score at distance 0"
            panels.append(lines(said, places[0].tolist(), series, note, "distance (tokens)", y_name))
        if bias is not None:
            middle = count // 2
            series = {f"head {h}": bias[0, h, middle].numpy() for h in range(bias.shape[1])}
            offsets = [place - middle for place in range(count)]
            note = "what is added to the score of a key at this distance"
            panels.append(
                lines(
                    f"{name}: bias of the scores", offsets, series, note, "key's place minus query's (tokens)", "bias"
                )
            )
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
                names = ("query (looks)", "key (is looked at)")
                panels.append(squares(title, mask[row], note, queries[row], keys[row], names, "may attend"))
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
    panel = lines("Learning rate", x, series, f"{recipe.schedule.name}, {steps:,} steps", "step", "learning rate")
    return of_panels(f"Learning rate of {run.path.name}", {"subtitle": recipe.description, "panels": [panel]})


def of_panels(title: str, data: dict[str, Any]) -> View:
    """Panels as a view."""
    return View("panels", title, data, {}, lambda: picture(title, data["panels"]))


WIDTH, LEFT, RIGHT = 9.0, 1.45, 1.35
"""Inches: of the picture, and beside its panels; on the right stand the bars of colour."""
ROOM = 1.15
"""Inches above and below a panel, for its title, its note and the name of its axis."""
NAMED = 40
"""Tokens; up to here each row and column has its own name."""


@styled
def picture(title: str, panels: list[dict[str, Any]]) -> Figure:
    """All panels of a view, one below the other, each with its axes named; of colours a bar says what they mean."""
    sizes = [_size(panel) for panel in panels]
    whole = 0.6 + sum(height + ROOM + below for _, height, below in sizes)
    figure = new_figure(WIDTH, whole)
    figure.text(0.03, 1 - 0.3 / whole, fitted(visible(title, 80), 11.0, 8.0), fontsize=11, va="center")
    top = 0.6
    for panel, (width, height, below) in zip(panels, sizes, strict=True):
        top += 0.55
        axes = figure.add_axes((LEFT / WIDTH, 1 - (top + height) / whole, width / WIDTH, height / whole))
        how: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "parse_math": False}
        axes.annotate(fitted(visible(panel["title"], 90), 9.0, 7.0), (0, 1), (0, 18), fontsize=9, **how)
        small: dict[str, Any] = {"fontsize": 7.5, "color": COLOURS["muted"], **how}
        axes.annotate(fitted(panel["note"], 7.5, 7.0) if panel["note"] else "", (0, 1), (0, 6), **small)
        if panel["kind"] == "lines":
            _draw_lines(axes, panel)
        else:
            place = ((LEFT + width + 0.15) / WIDTH, 1 - (top + height) / whole, 0.13 / WIDTH, height / whole)
            _draw_squares(axes, figure.add_axes(place), panel)
        top += height + below + ROOM - 0.55
    return figure


def _size(panel: dict[str, Any]) -> tuple[float, float, float]:
    """Width and height of a panel in inches, and the room for the names below it. Squares of tokens by tokens are
    squares on paper too."""
    if panel["kind"] == "lines":
        return WIDTH - LEFT - 0.3, 2.0, 0.0
    rows, columns = len(panel["values"]), len(panel["values"][0])
    side = min(0.3, 5.4 / max(rows, columns))
    if len(panel["columns"]) != columns or columns > NAMED:
        return WIDTH - LEFT - RIGHT, min(5.4, max(1.2, 0.16 * rows)), 0.0
    return max(side * columns, 0.9), max(side * rows, 0.9), 0.75


def _draw_lines(axes: Axes, panel: dict[str, Any]) -> None:
    drawn = [axes.plot(panel["x"], one["values"])[0] for one in panel["series"]]
    axes.set_xlabel(visible(panel["x_name"], 60), fontsize=8.5)
    axes.set_ylabel(visible(panel["y_name"], 60), fontsize=8.5)
    axes.legend(drawn, [visible(one["name"], 40) for one in panel["series"]], fontsize=7)


def _draw_squares(axes: Axes, bar: Axes, panel: dict[str, Any]) -> None:
    """One colour for each number, white at 0; where all are 0 or 1, the bar says what 1 is."""
    values = np.array(panel["values"])
    largest, lowest = float(np.abs(values).max()) or 1.0, float(values.min())
    colours: dict[str, Any] = {"cmap": SIGNED, "vmin": -largest, "vmax": largest}
    image = axes.imshow(values, aspect="auto", interpolation="nearest", **colours)
    axes.spines[:].set_visible(True)
    for axis, names, count, name in (
        (axes.xaxis, panel["columns"], values.shape[1], panel["column_name"]),
        (axes.yaxis, panel["rows"], len(values), panel["row_name"]),
    ):
        if len(names) == count and count <= NAMED:
            axis.set_ticks(range(count), [visible(one, 12) for one in names], fontsize=7)
        axis.set_label_text(visible(name or names[0], 40), fontsize=8.5)
    if len(panel["columns"]) == values.shape[1]:
        axes.tick_params("x", rotation=90)
    scale = axes.figure.colorbar(image, cax=bar)
    scale.outline.set_edgecolor(COLOURS["rule"])
    bar.set_ylim(min(0.0, lowest), largest)
    bar.tick_params(length=0, labelsize=7)
    if set(np.unique(values)) <= {0.0, 1.0}:
        scale.set_ticks([0, 1], labels=["0", f"1: {visible(panel['value'], 30)}"])
    else:
        bar.set_ylabel(visible(panel["value"], 40), fontsize=7.5)
