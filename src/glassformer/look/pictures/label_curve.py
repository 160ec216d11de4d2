"""Score against labels: how many labelled rows a model needs, by what it began with."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from glassformer.look.pictures.figures import COLOURS, new_figure, styled, visible

LOOKS = (("validation", "o"), ("train", "s"), ("right", "^"), ("second", "D"), ("wrong", "v"))
"""Colour and mark of each line: the mark tells them apart in greyscale too."""


class Point(NamedTuple):
    """The mean over seeds at one number of labels, and where it lies in 95 of 100 cases; None with one seed."""

    labels: int
    mean: float
    low: float | None = None
    high: float | None = None


@styled
def label_curve(
    lines: Mapping[str, Sequence[Point]], plain: Mapping[str, Sequence[Point]], score: str, title: str, sentence: str
) -> Figure:
    """A line with its interval for each start of `lines`, and a dashed one for each of `plain`, which need no model,
    over a logarithmic axis of labels. `score` is what is measured, the lines of `sentence` stand below.

    Raises ValueError without a point.
    """
    numbers = sorted({point.labels for points in lines.values() for point in points})
    if not numbers:
        raise ValueError("there is no point to draw")
    figure = new_figure(7.2, 4.9)
    axes = figure.add_axes((0.1, 0.2, 0.62, 0.68))
    for (name, points), (colour, mark) in zip(lines.items(), LOOKS * len(lines), strict=False):
        x, y = [point.labels for point in points], [point.mean for point in points]
        axes.plot(x, y, color=COLOURS[colour], marker=mark, markersize=5, linewidth=1.8, label=visible(name))
        known = [point for point in points if point.low is not None and point.high is not None]
        low, high = [point.low or 0.0 for point in known], [point.high or 0.0 for point in known]
        axes.fill_between([p.labels for p in known], low, high, color=COLOURS[colour], alpha=0.15, linewidth=0)
    for (name, points), dashes in zip(plain.items(), ((4, 2), (1, 2), (6, 2, 1, 2)), strict=False):
        axes.plot(
            [point.labels for point in points],
            [point.mean for point in points],
            color=COLOURS["muted"],
            linewidth=1.3,
            dashes=dashes,
            label=visible(name),
        )
    means = [point.mean for points in (*lines.values(), *plain.values()) for point in points]
    axes.set_ylim(
        min(means) - 0.05, max(means) + 0.05
    )  # few seeds have intervals that would leave no room for the rest
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(numbers))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{number:,}" for number in numbers])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(True, axis="y")
    axes.tick_params(length=0, labelsize=8)
    axes.set_xlabel("labelled rows (logarithmic)")
    axes.set_ylabel(visible(score))
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8)
    shown = [
        visible(line, 120) for line in (*sentence.splitlines(), "bands: 95% of what the means of other seeds would be")
    ]
    sentence_shown = "\n".join(shown)
    figure.text(0.1, 0.94, visible(title), fontsize=11, fontweight="bold")
    figure.text(0.1, 0.03, sentence_shown, fontsize=8, color=COLOURS["muted"], va="bottom")
    return figure
