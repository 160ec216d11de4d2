"""Training and validation curves of one run or of several side by side, and the table that compares them.

Both read metrics records as a run writes them, one dictionary per line of `metrics.jsonl`. What a record
lacks is not drawn, nor is a loss that is not finite (a skipped update).
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter, StrMethodFormatter

from glassformer.look.measures.results import Record, best, comparison_table, evaluations, last_of, references, series
from glassformer.look.pictures.figures import COLOURS, DPI, new_figure, styled, text_width, visible

Axis = Literal["steps", "tokens"]
"""Along what curves are drawn: steps, or the tokens that were trained on."""
AXES: dict[Axis, str] = {"steps": "step", "tokens": "tokens trained on"}
REFERENCES = {"uniform": "ln V", "unigram": "unigram"}
HALO = [withStroke(linewidth=2.5, foreground="white")]


@styled
def curves(runs: dict[str, list[Record]], *, reference: dict[str, float] | None = None, axis: Axis = "steps") -> Figure:
    """A column per run: loss above, accuracy below, each on one y axis and all on one axis of steps, or of the tokens
    that were trained on: runs with batches of different sizes have other steps.

    `runs` maps a name to its records, such as `{"event": "train", "step": 20, "loss": 5.1}`.
    `reference` gives the dashed lines of the loss; without it each run's last evaluation says its own.

    Raises ValueError without any run.
    """
    if not runs:
        raise ValueError("curves needs at least one run")
    runs = {name: along(records, axis) for name, records in runs.items()}
    lines = [references(records) if reference is None else reference for records in runs.values()]
    figure, losses, scores = _columns(len(runs))
    # one axis, so that runs can be compared
    end = 1.03 * max(1, *((last_of(records, "step") or 1) for records in runs.values()))
    limits = loss_limits(list(runs.values()), lines)
    for axes, (name, records), line in zip(losses, runs.items(), lines, strict=True):
        axes.set_xlim(0, end)
        _draw_loss(axes, records, line, limits, axis)
        _entitle(axes, name, records)
    for axes, records in zip(scores, runs.values(), strict=True):
        _draw_score(axes, records, AXES[axis])
    _name_axes(losses[0], scores[0], limits)
    _draw_legend(figure)
    return figure


def along(records: list[Record], axis: Axis) -> list[Record]:
    """The records with another count in the place of their step. An evaluation has seen the tokens of the step before
    it, and one between two steps that were logged its share of the tokens between them."""
    if axis == "steps":
        return records
    steps, tokens = series(records, "train", "tokens_seen")
    known = [(0.0, 0.0), *zip(steps, tokens, strict=True)]
    xs, ys = zip(*known, strict=True)
    return [record | {"step": round(float(np.interp(record["step"], xs, ys)))} for record in records]


def smoothed(values: Sequence[float], window: int) -> np.ndarray:
    """Mean over up to `window` neighbours. (n,) -> (n,)

    As many before as after, so that the curve does not lag behind the validation's; near the end, where fewer
    come after, those before remain, so that it does not end in noise.
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    before = np.minimum(window // 2, places)
    after = np.minimum(before, len(values) - 1 - places)
    return (sums[places + after + 1] - sums[places - before]) / (before + after + 1)


# -------------------------------------------------------------------------------------------------- drawing


def loss_limits(runs: list[list[Record]], lines: list[dict[str, float]]) -> tuple[float, float]:
    """Lowest and highest loss worth showing: a single wild training step does not flatten all the rest."""
    values = [value for line in lines for value in line.values()]
    for records in runs:
        training = series(records, "train", "loss")[1]
        values += [float(quantile) for quantile in np.quantile(training, [0.0, 0.995])] if training else []
        values += series(records, "evaluation", "loss")[1]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return low, max(high, low + 1e-3)


def _columns(count: int) -> tuple[Figure, list[Axes], list[Axes]]:
    """The figure with its empty axes, all of a row on one y axis, all of a column on one x axis."""
    width = float(np.clip(14.0 / count, 2.7, 6.4))
    left, top, upper, lower, gap = 0.75, 1.05, 3.2, 1.5, 0.28
    page = (left + count * (width + gap), top + upper + gap + lower + 0.6)
    figure = new_figure(*page)
    losses: list[Axes] = []
    scores: list[Axes] = []
    for column in range(count):
        x = left + column * (width + gap)
        _add(figure, losses, (x, top, width, upper), None)
        _add(figure, scores, (x, top + upper + gap, width, lower), losses[-1])
    return figure, losses, scores


def _add(figure: Figure, row: list[Axes], box: tuple[float, float, float, float], above: Axes | None) -> None:
    """Appends axes at `box` (left, top, width, height in inches from the top left corner) to its row."""
    (x, y, width, height), (page_width, page_height) = box, figure.get_size_inches()
    where = (x / page_width, 1 - (y + height) / page_height, width / page_width, height / page_height)
    axes = figure.add_axes(where, sharey=row[0] if row else None, sharex=above)
    axes.grid(True, axis="y")
    axes.tick_params(length=0, labelsize=8, labelleft=not row, labelbottom=above is not None)
    row.append(axes)


def _draw_loss(
    axes: Axes, records: list[Record], lines: dict[str, float], limits: tuple[float, float], axis: Axis
) -> None:
    """The steps' own losses thin, since dropout and chance are in them; over them what the evaluations measured on
    training texts, or where they did not, the smoothed steps."""
    steps, losses = series(records, "train", "loss")
    measured = series(records, "evaluation", "train_loss")
    thin = len(losses) >= 20 or bool(measured[0])
    _line(axes, steps, losses, "train", linewidth=0.6 if thin else 1.6, alpha=0.4 if thin else 1.0, markers=1)
    if measured[0]:
        _line(axes, *measured, "train", linewidth=1.6, markers=40)
    elif thin:
        _line(axes, steps, smoothed(losses, max(5, len(losses) // 25)), "train", linewidth=1.8)
    _line(axes, *series(records, "evaluation", "loss"), "validation", linewidth=1.6, markers=40)
    _draw_references(axes, lines, limits)
    _mark_best(axes, best(records), limits, axis)


def _line(axes: Axes, steps: list[float], values: Any, colour: str, *, markers: int = 0, **how: Any) -> None:
    """A curve, with a dot at each value where there are at most `markers` of them."""
    dots: dict[str, Any] = {"marker": "o", "markersize": 3.2} if len(steps) <= markers else {}
    axes.plot(steps, values, color=COLOURS[colour], **dots, **how)


def _draw_references(axes: Axes, lines: dict[str, float], limits: tuple[float, float]) -> None:
    """Dashed lines, named at their right end: above the line, below it where another line is close above."""
    room = 0.07 * (limits[1] - limits[0])
    above = math.inf
    for name, value in sorted(lines.items(), key=lambda line: -line[1]):
        axes.axhline(value, color=COLOURS["muted"], linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
        under = above - value < room
        axes.annotate(
            f"{REFERENCES.get(name, visible(name))} {value:.2f}",
            (1, value),
            (-3, -3 if under else 2.5),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top" if under else "bottom",
            fontsize=7.5,
            color=COLOURS["muted"],
            path_effects=HALO,
            parse_math=False,
        )
        above = value


def _mark_best(axes: Axes, record: Record | None, limits: tuple[float, float], axis: Axis) -> None:
    """A ring around the evaluation of the weights in use, and its numbers in the strip below that nothing else uses.
    What too few questions were asked of is not called the best."""
    if record is None:
        return
    step, loss = record["step"], record["loss"]
    low, high = limits
    floor = low - 0.10 * (high - low)
    axes.plot([step, step], [floor, loss], color=COLOURS["muted"], linewidth=0.8, linestyle=":", zorder=1.2)
    ring = axes.plot(step, loss, "o", markersize=9, markerfacecolor="none", markeredgecolor=COLOURS["ink"])[0]
    ring.set_gid("best")
    last = axes.get_xlim()[1]
    side = "left" if step < 0.35 * last else "right" if step > 0.65 * last else "center"
    place = f"step {step:,}" if axis == "steps" else f"{step:,} tokens"
    axes.annotate(
        f"{'best' if record.get('tells', True) else 'kept'} {loss:.{2 if loss >= 1 else 4}f} at {place}",
        (step, floor),
        (0, -2),
        textcoords="offset points",
        ha=side,
        va="top",
        fontsize=8,
        path_effects=HALO,
    )


TOP5: dict[str, Any] = {"colour": "second", "linewidth": 1.4, "linestyle": "--"}


def _draw_score(axes: Axes, records: list[Record], x_name: str = "step") -> None:
    """Accuracy and top-5 accuracy on the validation data, from 0 to 100%; of several heads each, with its name."""
    measured = evaluations(records)
    for key in [key for record in measured[-1:] for key in record if key.endswith("accuracy")]:
        head, _, kind = key.rpartition("/")
        how: dict[str, Any] = {"colour": "validation", "linewidth": 1.6} if kind == "accuracy" else TOP5
        steps, values = series(records, "evaluation", key)
        _line(axes, steps, values, markers=40, **how)
        if head and values and kind == "accuracy":
            how = {"textcoords": "offset points", "ha": "right", "va": "bottom", "path_effects": HALO}
            axes.annotate(visible(head), (steps[-1], values[-1]), (0, 3), fontsize=7.5, parse_math=False, **how)
    if not any(key.endswith("accuracy") for record in measured for key in record):
        _say(axes, "no accuracy measured" if measured else "no evaluation yet")
    axes.set_xlabel(x_name, fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _say(axes: Axes, what: str) -> None:
    axes.text(0.5, 0.5, what, transform=axes.transAxes, ha="center", va="center", color=COLOURS["muted"])


def _entitle(axes: Axes, name: str, records: list[Record]) -> None:
    """The run's name over its column, and its best numbers under the name."""
    shown, size = _name(name, axes.bbox.width / DPI)
    axes.text(0, 1.085, shown, transform=axes.transAxes, fontsize=size, parse_math=False)
    [row] = comparison_table({name: records})
    if row["best_loss"] is None:
        words = "no evaluation yet" if records else "no records yet"
        if not series(records, "train", "loss")[0]:
            _say(axes, words)
    else:
        perplexity = row["perplexity"]
        words = f"loss {row['best_loss']:.4g}" if perplexity is None else f"perplexity {perplexity:,.4g}"
        words += "" if row["accuracy"] is None else f" · accuracy {row['accuracy']:.1%}"
        words += "" if row["gap"] is None else f" · gap {row['gap']:+.2f}"
    axes.text(0, 1.025, words, transform=axes.transAxes, fontsize=8, color=COLOURS["muted"])


def _name(name: str, width: float) -> tuple[str, float]:
    """A run's name and its size: smaller where it is long, and if it must be cut, in the middle.

    Names of runs that are compared often begin alike.
    """
    whole = visible(name, len(name) * 10)
    size = float(np.clip(11 * width / text_width(whole, 11.0), 8, 11))
    kept = len(whole)
    while kept > 8 and text_width(whole, size) > width:
        kept -= 1
        whole = visible(name[: kept // 2], 10 * kept) + "…" + visible(name[-(kept // 2) :], 10 * kept)
    return whole, size


def _name_axes(loss: Axes, score: Axes, limits: tuple[float, float]) -> None:
    """Ranges and names of the shared y axes; the strip for the labels of the best steps has no numbers."""
    low, high = limits
    spread = high - low
    loss.set_ylim(low - 0.2 * spread, high + 0.09 * spread)
    places = MaxNLocator(6).tick_values(low, high)
    loss.yaxis.set_major_locator(FixedLocator([place for place in places if place >= max(0.0, low - 0.1 * spread)]))
    loss.set_ylabel("loss (nats per token; 0.69 nats = 1 bit)", fontsize=8.5)
    score.set_ylim(0, 1.04)
    score.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    score.yaxis.set_major_formatter(PercentFormatter(1))
    score.set_ylabel("accuracy (share right)", fontsize=8.5)


def _draw_legend(figure: Figure) -> None:
    """One legend for all columns, above them."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("train loss", {"color": COLOURS["train"], "linewidth": 1.8}),
        ("validation loss, accuracy", {"color": COLOURS["validation"], "marker": "o", "markersize": 3.5}),
        ("top-5 accuracy", {"color": COLOURS["second"], "linestyle": "--"}),
    ]
    handles = [Line2D([], [], label=label, **how) for label, how in kinds]
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.75 / width, 1 - 0.2 / height),
        borderaxespad=0,
        borderpad=0,
        ncols=3,
        fontsize=8,
        handlelength=1.8,
        columnspacing=1.4,
        labelcolor=COLOURS["muted"],
    )
