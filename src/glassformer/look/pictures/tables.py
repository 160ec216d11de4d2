"""Tables as pictures: what each method makes of each token, what each layer would say, what each part is worth."""

import textwrap
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from glassformer.formatting import percent
from glassformer.look.pictures.figures import COLOURS, GLASS, fitted, ink_on, new_figure, styled, text_width, visible

MARGIN = 0.3
LINE = 0.34  # inches from row to row
NUMBERED = 0.32  # inches; narrower cells hold no number


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure and its one pair of axes, in inches from the top left corner."""
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def _write(axes: Axes, x: float, y: float, text: str, **how: Any) -> None:
    axes.text(x, y, text, parse_math=False, **{"fontsize": 9, "va": "center", **how})


def _tint(share: float) -> tuple[float, ...] | str:
    """Blue for what is above zero, orange for what is below, by the size of either."""
    if share >= 0:
        return tuple(GLASS(share))
    orange = np.array([int(COLOURS["wrong"][n : n + 2], 16) for n in (1, 3, 5)]) / 255
    return tuple(1 + share * (1 - orange))


class Row(NamedTuple):
    """One line of a table over tokens."""

    name: str
    values: np.ndarray
    """One for each token, the absolute values summing to 1."""
    remark: str = ""
    """Written at its end."""


@styled
def relevance_table(
    rows: list[Row],
    tokens: list[str],
    position: int,
    title: str = "",
    remarks: str = "",
    notes: list[str] | None = None,
    key: str = "",
) -> Figure:
    """Methods (rows) over tokens (columns), in hundredths; `position` is where the model was asked, `remarks` heads the
    column of remarks. The last row is set apart: it is what the others are held against. `notes` are written below, and
    `key`, what the numbers and colours mean.

    Raises ValueError where the values of a row do not fit the tokens.
    """
    if any(len(row.values) != len(tokens) for row in rows):
        raise ValueError(f"rows of {[len(row.values) for row in rows]} values for {len(tokens)} tokens")
    pitch = float(np.clip(11.0 / len(tokens), 0.17, 0.72))
    names = [visible(token, 14) for token in tokens]
    size = min(9.0, pitch * 72 * 0.8)
    across = all(text_width(name, size) + 0.08 < pitch for name in names)
    head = 0.3 if across else max(text_width(name, size) for name in names) + 0.14
    left = MARGIN + max(text_width(row.name, 9.0) for row in rows) + 0.15
    end = left + pitch * len(tokens)
    width = max(end + 1.1 + MARGIN, 6.4)
    lines = [(line, "wrong") for line in _wrapped(notes or [], width - 2 * MARGIN)]
    lines += [(line, "muted") for line in _wrapped([key] if key else [], width - 2 * MARGIN)]
    top = MARGIN + (0.42 if title else 0.0) + head
    below = top + LINE * len(rows) + 0.12
    figure, axes = sheet(width, below + (0.2 + 0.2 * len(lines) if lines else 0.0) + MARGIN)
    if title:
        _write(axes, MARGIN, MARGIN + 0.05, fitted(title, 11.0, width - 2 * MARGIN), fontsize=11)
    _write(axes, end + 0.12, top - 0.13, remarks, fontsize=8, color=COLOURS["muted"])
    for column, name in enumerate(names):
        ring = {"boxstyle": "round,pad=0.15", "facecolor": "none", "edgecolor": COLOURS["ring"], "linewidth": 0.9}
        how = {"color": COLOURS["ring"], "bbox": ring} if column == position else {}
        turned = {} if across else {"rotation": 90, "va": "bottom"}
        y = top - (0.14 if across else 0.08)
        _write(axes, left + pitch * (column + 0.5), y, name, ha="center", fontsize=size, **how, **turned)
    for number, row in enumerate(rows):
        last = number == len(rows) - 1
        y = top + LINE * number + (0.12 if last else 0.0)
        _write(axes, left - 0.12, y + LINE / 2, row.name, ha="right", color=COLOURS["ink" if last else "muted"])
        _cells(axes, left, y, pitch, row.values)
        _write(axes, end + 0.12, y + LINE / 2, row.remark)
    for number, (line, colour) in enumerate(lines):
        _write(axes, MARGIN, below + 0.3 + 0.2 * number, line, fontsize=8.5, color=COLOURS[colour])
    return figure


def _cells(axes: Axes, x: float, y: float, pitch: float, values: np.ndarray) -> None:
    """A strip of tinted cells, each row in a scale of its own; a minus is written too, not only coloured."""
    scale = float(np.abs(values).max()) or 1.0
    for column, value in enumerate(values):
        share = float(value) / scale
        place = (x + pitch * column + 0.015, y + 0.02)
        axes.add_patch(
            Rectangle(place, pitch - 0.03, LINE - 0.04, facecolor=_tint(share), edgecolor=COLOURS["rule"], lw=0.5)
        )
        if pitch >= NUMBERED and abs(value) >= 0.005:
            ink = ink_on(share) if share >= 0 else COLOURS["ink"]
            _write(
                axes, x + pitch * (column + 0.5), y + LINE / 2, f"{100 * value:.0f}", ha="center", fontsize=8, color=ink
            )


def _wrapped(notes: list[str], room: float) -> list[str]:
    """The notes in lines that fit (a letter of 8.5 points is about 0.075 inches wide)."""
    return [
        line for note in notes for line in textwrap.wrap(visible(note, 400), int(room / 0.075), subsequent_indent="  ")
    ]


@styled
def candidate_table(places: list[tuple[str, list[list[tuple[str, float]]]]], title: str = "") -> Figure:
    """For each asked place (its name, and for each layer the candidates with their probabilities, best first) a table
    of layers (rows) and candidates (columns), tinted by the probability. The last layer's first candidate is the
    answer, in bold wherever it stands."""
    columns = max(len(row) for _, layers in places for row in layers)
    cell = 1.6
    left = MARGIN + 0.75
    width = max(left + cell * columns + MARGIN, 4.0)
    heights = [0.55 + LINE * len(layers) for _, layers in places]
    top = MARGIN + (0.4 if title else 0.0)
    figure, axes = sheet(width, top + sum(heights) + MARGIN)
    if title:
        _write(axes, MARGIN, MARGIN + 0.05, fitted(title, 11.0, width - 2 * MARGIN), fontsize=11)
    for (name, layers), height in zip(places, heights, strict=True):
        _write(axes, MARGIN, top + 0.25, fitted(name, 9.0, width - 2 * MARGIN), color=COLOURS["muted"])
        answer = layers[-1][0][0]
        for number, row in enumerate(layers):
            y = top + 0.45 + LINE * number
            _write(axes, left - 0.12, y + LINE / 2, f"layer {number}", ha="right", color=COLOURS["muted"])
            for column, (token, probability) in enumerate(row):
                _candidate(axes, left + cell * column, y, cell, token, probability, token == answer)
        top += height
    return figure


def _candidate(axes: Axes, x: float, y: float, cell: float, token: str, probability: float, bold: bool) -> None:
    box = FancyBboxPatch((x + 0.03, y + 0.03), cell - 0.06, LINE - 0.06, boxstyle="round,pad=0,rounding_size=0.04")
    box.set(facecolor=GLASS(probability), edgecolor=COLOURS["rule"], linewidth=0.5)
    axes.add_patch(box)
    ink, share = ink_on(probability), percent(probability)
    room = cell - 0.3 - text_width(share, 8.0)
    how = {"color": ink, "fontweight": "bold" if bold else "normal"}
    _write(axes, x + 0.1, y + LINE / 2, fitted(token, 9.0, room), **how)
    _write(axes, x + cell - 0.1, y + LINE / 2, share, ha="right", fontsize=8, color=ink)


class Bar(NamedTuple):
    """One part and what its removal does, with an interval."""

    name: str
    change: float
    low: float
    high: float


@styled
def bars(found: list[Bar], what: str, title: str = "") -> Figure:
    """What the removal of each part does, the greatest first; `what` is written under the axis. Parts whose interval
    holds zero are pale: of these it is not known whether they do anything."""
    ordered = sorted(found, key=lambda bar: -bar.change)
    pitch = 0.26 if len(found) <= 40 else 0.19
    names = max(text_width(bar.name, 8.0) for bar in ordered) + 0.2
    width, height = MARGIN + names + 5.2 + MARGIN, 0.75 + pitch * len(ordered) + 0.65
    figure = new_figure(width, height)
    axes = figure.add_axes(((MARGIN + names) / width, 0.6 / height, 5.2 / width, pitch * len(ordered) / height))
    for row, bar in enumerate(ordered):
        sure = bar.low > 0 or bar.high < 0
        colour = COLOURS["validation" if bar.change >= 0 else "wrong"]
        axes.barh(row, bar.change, height=0.7, color=colour, alpha=1.0 if sure else 0.35)
        axes.plot([bar.low, bar.high], [row, row], color=COLOURS["ink"], linewidth=1.0, solid_capstyle="butt")
    axes.set_yticks(range(len(ordered)), [bar.name for bar in ordered], fontsize=8, parse_math=False)
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.axvline(0, color=COLOURS["muted"], linewidth=0.8)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
    axes.set_xlabel(what, fontsize=8.5)
    axes.set_ylabel("without", fontsize=8.5)
    if title:
        figure.text(
            MARGIN / width, 1 - 0.35 / height, fitted(title, 11.0, width - 2 * MARGIN), fontsize=11, parse_math=False
        )
    return figure
