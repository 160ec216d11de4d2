"""What a model that predicts labels takes each class for: the confusion matrix, and the texts behind its cells."""

from typing import Any, Literal

import numpy as np
from jaxtyping import Int64
from matplotlib.figure import Figure

from glassformer.ask.run import Run
from glassformer.formatting import percent
from glassformer.judging.judgement import Judgement
from glassformer.look.pictures.figures import COLOURS, GLASS, fitted, ink_on, new_figure, styled, text_width, visible
from glassformer.look.pictures.page import View
from glassformer.look.views import Option, ViewSpec

VIEW = ViewSpec(
    """What each class is taken for: the confusion matrix.

    On the page a click on a cell shows the texts behind it, the surest answers first.

    \b
    glassformer look confusion runs/classification-demo --output confusion.html
    """,
    takes=(Option("split", Literal["train", "validation", "test"], "validation", "which part of the data"),),
    as_it_is=True,
)
BEHIND = 50
"""Texts of a cell that the page holds."""
LONGEST = 400
"""Characters of a text on it."""
NUMBERED = 0.32
"""Inches; narrower cells hold no number."""


def make(run: Run, split: Literal["train", "validation", "test"] = "validation") -> View:
    """The confusion matrix of one part of the run's data. Raises UsageError for a model that predicts no labels."""
    judged = run.judged(split, baselines=False)
    labels = [line["class"] for line in judged.more["classes"]]
    counts = np.array(judged.more["confusion"], dtype=np.int64)
    accuracy = next(score.value for score in judged.scores if score.name == "accuracy")
    subtitle = f"{run.path.name}: {percent(accuracy)} of {counts.sum():,} {split} rows are right"
    data = {"subtitle": subtitle, "labels": labels, "counts": counts.tolist(), "behind": behind(judged, labels)}
    found = {"labels": labels, "counts": counts, "classes": judged.more["classes"]}
    title = "What each class is taken for"
    return View(
        "confusion",
        title,
        data,
        {},
        lambda: figure(labels, counts, title, subtitle),
        found,
        [dict(line) for line in judged.more["classes"]],
    )


def behind(judged: Judgement, labels: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each cell that is not empty (`2,0`: of class 2, taken for 0), the surest answers first."""
    number = {label: n for n, label in enumerate(labels)}
    cells: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(judged.rows, key=lambda row: -row["probability"]):
        cell = cells.setdefault(f"{number[row['truth']]},{number[row['prediction']]}", [])
        if len(cell) < BEHIND:
            cell.append({"row": row["row"], "text": row["text"][:LONGEST], "probability": row["probability"]})
    return cells


@styled
def figure(labels: list[str], counts: Int64[np.ndarray, "true guessed"], title: str, subtitle: str) -> Figure:
    """Rows are true classes, columns what they were taken for; the colour is the share of a row."""
    many = len(labels)
    cell = float(np.clip(6.0 / many, 0.14, 0.9))
    size = min(9.0, cell * 72 * 0.8)
    names = [visible(label, 20) for label in labels]
    longest = max(text_width(name, size) for name in names)
    across = longest + 0.1 < cell
    left, top = 0.55 + longest, 1.05 + (0.25 if across else longest + 0.1)
    width = max(left + cell * many + 0.3, 4.6, 0.4 + text_width(visible(subtitle, 80), 9.0))
    height = top + cell * many + 0.3
    page = new_figure(width, height)
    axes = page.add_axes((0, 0, 1, 1))
    end = (left + cell * many, top + cell * many)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    edges = (left, end[0], end[1], top)
    axes.imshow(shares, cmap=GLASS, vmin=0, vmax=1, extent=edges, aspect="auto", interpolation="nearest")
    rule: dict[str, Any] = {"color": COLOURS["rule"], "linewidth": 0.5}
    axes.vlines(np.linspace(left, end[0], many + 1), top, end[1], **rule)
    axes.hlines(np.linspace(top, end[1], many + 1), left, end[0], **rule)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")

    def write(x: float, y: float, text: str, **how: Any) -> None:
        axes.text(x, y, text, parse_math=False, **{"fontsize": size, "va": "center", **how})

    write(0.2, 0.28, fitted(title, 11.0, width - 0.4), fontsize=11)
    write(0.2, 0.54, fitted(subtitle, 9.0, width - 0.4), fontsize=9, color=COLOURS["muted"])
    write(left, 0.82, "taken for", fontsize=8, color=COLOURS["muted"])
    write(0.2, top - 0.12, "true", fontsize=8, color=COLOURS["muted"])
    for row, name in enumerate(names):
        y = top + cell * (row + 0.5)
        write(left - 0.1, y, name, ha="right")
        turned: dict[str, Any] = {} if across else {"rotation": 90, "va": "bottom"}
        write(left + cell * (row + 0.5), top - (0.12 if across else 0.06), name, ha="center", **turned)
        for column in range(many):
            if counts[row, column] and cell >= NUMBERED:
                ink = ink_on(float(shares[row, column]))
                bold = "bold" if row == column else "normal"
                x = left + cell * (column + 0.5)
                write(x, y, f"{counts[row, column]:,}", ha="center", color=ink, fontweight=bold)
    return page
