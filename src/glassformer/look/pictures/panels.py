"""Panels of lines and of squares, one below the other: what several views are."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glassformer.look.pictures.figures import COLOURS, SIGNED, fitted, new_figure, styled, visible
from glassformer.look.pictures.page import View


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
