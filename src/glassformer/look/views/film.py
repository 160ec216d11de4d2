"""The film of a run as pictures: answers, attention and the size of every step; one head at a few steps."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter, StrMethodFormatter

from glassformer.ask.run import Run
from glassformer.errors import UsageError
from glassformer.formatting import percent
from glassformer.look.measures.film import (
    Film,
    FilmedProbe,
    candidates,
    chosen,
    film_of,
    group_of,
    head_of,
    numbers,
    took_shape,
)
from glassformer.look.measures.film import arrays as exact
from glassformer.look.pictures.figures import COLOURS, fitted, new_figure, styled, visible
from glassformer.look.pictures.heatmaps import Sheet, draw_sheet
from glassformer.look.pictures.page import View
from glassformer.look.views import Option, ViewSpec

VIEW = ViewSpec(
    """How a run learned, from its first step to its last.

    Of a run that was trained with probes, texts that were asked again and again: their answers, the entropy of every
    head, the gradient and the update of every component. With --layer and --head the map of one head at a few steps.

    \b
    glassformer look film runs/mlm-demo --output film.html
    glassformer look film runs/mlm-demo --layer 1 --head 2 --output head.png
    """,
    takes=(
        Option("probe", int, 1, "which of training.probes, counted from 1", least=1, from_one=True),
        Option("layer", int | None, None, "with --head: the maps of one head, counted from 0"),
        Option("head", int | None, None, "with --layer: the maps of one head, counted from 0"),
        Option(
            "kind",
            Literal["self", "cross", "decoder"],
            "self",
            "self: of the text; of an encoder-decoder also: from target to source, or of the target",
        ),
        Option("place", int, 1, "which asked place of the probe, counted from 1", least=1, from_one=True),
    ),
)


WIDTH, HEIGHT = 11.0, 9.6
LEFT, RIGHT = 0.8, 1.75
CANDIDATE_COLOURS = ("#0072b2", "#e69f00", "#00815e", "#d81b2a", "#7a5195")
COLUMNS = (
    ("embeddings and head", ("token", "table", "head")),
    ("queries and keys", ("query", "key")),
    ("values and outputs", ("value", "output")),
    ("feed-forward", ("expand", "contract")),
    ("norms", ("norm",)),
)
"""What is drawn together, and the parts in it: the first solid, the second dashed, the third dotted."""
KINDS = {
    "self": "encoder: self-attention",
    "decoder": "decoder: self-attention",
    "cross": "cross-attention: from the decoder to the source",
}
"""The kinds of attention of an encoder-decoder, as they are said."""
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
PART_NAMES = {"table": "positions", "token": "tokens", "query": "queries", "key": "keys", "value": "values"}
PART_NAMES |= {"output": "outputs"}


@styled
def film_figure(film: Film, probe: int = 0, kind: str = "self", blank: int = 0) -> Figure:
    """One probe over the steps of training. Above, the candidates of one asked place that are best in the end; below
    them the entropy of every head, with a dot where it had made half of the change of its map; at the bottom the norms
    of gradients and updates, by component.

    Raises UsageError for a probe, a kind of attention or an asked place that is not there.
    """
    one, seen = chosen(film, probe, kind)
    if not 0 <= blank < len(one.answers[0]):
        raise UsageError(
            f"there is no asked place {blank + 1}", f"this probe has {len(one.answers[0])}, counted from 1"
        )
    figure = new_figure(WIDTH, HEIGHT)
    _draw_candidates(_axes(figure, (LEFT, 0.95, WIDTH - LEFT - RIGHT, 2.1), film.steps), film, one, blank)
    middle = _axes(figure, (LEFT, 3.6, WIDTH - LEFT - RIGHT, 2.0), film.steps)
    _draw_entropies(middle, film, seen.entropies, took_shape(seen.weights, film.steps), _stack_of(kind, film))
    if len(one.attention) > 1:
        middle.set_title(KINDS[kind], fontsize=8.5, loc="left", pad=4)
    _draw_components(figure, film)
    title = fitted(_title(one), 12.0, WIDTH - 1.0)
    _write(figure, LEFT, 0.4, title, fontsize=12)
    _write(figure, LEFT, 0.66, f"{_describe_position(one, blank)} · {len(film.steps)} probe steps", muted=True)
    return figure


@styled
def frames(film: Film, probe: int, layer: int, head: int, kind: str = "self", number: int = 6) -> Figure:
    """The map of one head at a few probe steps, evenly spread, the first and the last among them. Raises UsageError for
    what is not there."""
    one, seen = chosen(film, probe, kind)
    maps = head_of(seen, layer, head)
    picked = np.unique(np.linspace(0, len(maps) - 1, min(number, len(maps))).round().astype(int))
    step = took_shape(seen.weights, film.steps)[layer, head]
    what = f"{f'{KINDS[kind]}, ' if len(one.attention) > 1 else ''}layer {layer}, head {head}" + (
        "" if math.isnan(step) else f" · half of its change made by step {step:,.0f}"
    )
    names = [f"step {film.steps[n]:,}" for n in picked]
    marked = [n for n, token in enumerate(seen.queries) if token == "[MASK]"]
    return draw_sheet(
        Sheet(maps[picked], names, min(3, len(picked)), [], what), seen.queries, seen.keys, _title(one), marked
    )


def view_of(
    run: Run,
    film: Film,
    probe: int = 0,
    kind: str = "self",
    layer: int | None = None,
    head: int | None = None,
    blank: int = 0,
) -> View:
    """The whole film as a page; the picture and the numbers are of one probe, of one head where that is chosen.

    Raises UsageError for what is not there, and for a model without attention weights: of its film there are answers
    and norms alone, in the files of the folder `probes`.
    """
    if not any(each.attention for each in film.probes):
        run.model.need("attention_weights")
    found = numbers(film, probe, kind, layer, head)

    def draw() -> Figure:
        if layer is None or head is None:
            return film_figure(film, probe, kind, blank)
        return frames(film, probe, layer, head, kind)

    seen = [each.attention.get(kind) or next(iter(each.attention.values())) for each in film.probes]
    layers = seen[0].weights.shape[1]
    data = {
        "subtitle": f"{run.path.name}: {len(film.steps)} snapshots, steps {film.steps[0]} to {film.steps[-1]}",
        "steps": film.steps,
        "probes": [
            {
                "text": each.text,
                "tokens": one.queries,
                "answers": [[{"candidates": blank.candidates} for blank in blanks] for blanks in each.answers],
                "asked": [blank.position for blank in each.answers[0]],
                "shaped": took_shape(one.weights, film.steps),
            }
            for each, one in zip(film.probes, seen, strict=True)
        ],
        "probe": probe,
        "kind": KINDS[kind] if len(film.probes[probe].attention) > 1 else "",
        "layers": [f"Layer {n}" for n in range(layers)],
        "norms": {name: sizes(film, getattr(film, name)) for name in ("gradients", "updates", "weights")},
    }
    arrays = {f"weights_{n}": one.weights for n, one in enumerate(seen)}
    arrays |= {f"entropies_{n}": one.entropies for n, one in enumerate(seen)}
    title = f"Film: {film.probes[probe].text}"
    return View("film", title, data, arrays, draw, found, exact=exact(film))


def sizes(film: Film, norms: np.ndarray) -> dict[str, list[float]]:
    """Norms over the steps, the components of one kind taken together: the root of the sum of their squares. With two
    stacks a kind is a group of one of them, and cross-attention is one by itself."""
    kinds = list(map(_kind_of_two if len(_stacks(film)) > 1 else kind_of, film.components))
    return {
        kind: np.sqrt((norms[:, [other == kind for other in kinds]] ** 2).sum(1)).tolist()
        for kind in dict.fromkeys(kinds)
    }


def kind_of(component: str) -> str:
    """What a component is, wherever it stands: embeddings, query, key, value, output, feed-forward, norms, or head."""
    group = group_of(component)
    return component.rsplit(".", 1)[-1] if group == "attention" else group


def _kind_of_two(component: str) -> str:
    """`decoder.blocks.0.self_attention.query` -> decoder attention."""
    group, layer = group_of(component), _layer_of(component)
    return group if group == "head" else f"{component.split('.')[0] if layer is None else layer[0]} {group}"


def _axes(figure: Figure, box: tuple[float, float, float, float], steps: np.ndarray) -> Axes:
    """Axes at `box`: left, top, width, height in inches from the top left corner."""
    x, y, width, height = box
    axes = figure.add_axes((x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT))
    axes.grid(True, axis="y")
    axes.tick_params(length=0, labelsize=8)
    axes.set_xlim(0, max(1, int(steps[-1])))
    axes.xaxis.set_major_locator(MaxNLocator(5 if width > 4 else 2, integer=True))
    return axes


def _write(figure: Figure, x: float, y: float, text: str, muted: bool = False, **how: Any) -> None:
    settings: dict[str, Any] = {"fontsize": 9, "color": COLOURS["muted" if muted else "ink"], "parse_math": False} | how
    figure.text(x / WIDTH, 1 - y / HEIGHT, text, **settings)


def _draw_candidates(axes: Axes, film: Film, probe: FilmedProbe, blank: int) -> None:
    """A line for each candidate, named at its end; where it was not among the ten best there is none."""
    tokens, probabilities = candidates(probe, blank)
    found = probabilities[np.isfinite(probabilities)]
    top = min(1.0, max(0.1, 1.1 * float(found.max(initial=0.0))))
    places = _apart([float(p) if math.isfinite(p) else 0.0 for p in probabilities[-1]], 0.1 * top)
    for colour, token, line, place in zip(CANDIDATE_COLOURS, tokens, probabilities.T, places, strict=False):
        axes.plot(film.steps, line, color=colour, linewidth=1.6, marker="o", markersize=2.5, clip_on=False)
        name = f"{visible(token, 14)}  {percent(float(line[-1])) if math.isfinite(line[-1]) else '-'}"
        _name_line(axes, place, name, colour)
    axes.set_ylim(0, 1.02 * top)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("probability", fontsize=8.5)


def _name_line(axes: Axes, place: float, name: str, colour: Any) -> None:
    how: dict[str, Any] = {"ha": "left", "va": "center", "fontsize": 8.5, "color": colour, "parse_math": False}
    axes.annotate(
        name, (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points", **how
    )


def _apart(values: Sequence[float], least: float) -> list[float]:
    """Places for the labels of values from 0 up: as near to them as a distance of `least` allows."""
    order = sorted(range(len(values)), key=lambda n: values[n])
    placed, floor = [0.0] * len(values), least / 4
    for n in order:
        placed[n] = max(values[n], floor)
        floor = placed[n] + least
    return placed


def _draw_entropies(axes: Axes, film: Film, entropies: np.ndarray, shaped: np.ndarray, stack: str) -> None:
    """A line for each head in the colour of its layer."""
    _, layers, heads = entropies.shape
    colours = layer_colours(film)
    for layer in range(layers):
        colour = colours[stack, layer]
        for head in range(heads):
            line = entropies[:, layer, head]
            axes.plot(film.steps, line, color=colour, linewidth=1.3, alpha=0.85)
            if not math.isnan(shaped[layer, head]):
                half = np.flatnonzero(film.steps == shaped[layer, head])[0]
                axes.plot(film.steps[half], line[half], "o", color=colour, markersize=4, markeredgecolor="white")
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("entropy of each head\n(1: it looks everywhere alike)", fontsize=8.5)
    axes.set_xlabel("step", fontsize=8.5)
    _explain_colours(axes, colours)


def _explain_colours(axes: Axes, colours: dict[tuple[str, int], Any]) -> None:
    """Which colour is which layer, and what a dot is."""
    several = len({stack for stack, _ in colours}) > 1
    names = {f"{stack} {layer}" if several else f"layer {layer}": c for (stack, layer), c in colours.items()}
    shown = list(names) if len(names) <= 9 else [name for n, name in enumerate(names) if n % -(-len(names) // 9) == 0]
    lines = [Line2D([], [], color=names[name], label=name) for name in shown]
    dot = {"marker": "o", "linestyle": "none", "color": COLOURS["muted"], "markersize": 4}
    lines.append(Line2D([], [], label="half of its change", **dot))  # type: ignore[arg-type]
    axes.legend(handles=lines, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, handlelength=1.4)


def layer_colours(film: Film) -> dict[tuple[str, int], Any]:
    """A colour for each layer of each stack, dark to light: the encoder's first, then the decoder's. What reads the
    source in the decoder's layers, `cross`, has colours of its own behind them."""
    layers = sorted({found for found in map(_layer_of, film.components) if found is not None})
    for probe in film.probes:  # layers that share their weights are one component, and several in the maps
        for kind, seen in probe.attention.items():
            layers = sorted({*layers, *((_stack_of(kind, film), n) for n in range(seen.weights.shape[1]))})
    layers.sort(key=lambda found: (("encoder", "decoder", "cross").index(found[0]), found[1]))
    shades = np.linspace(0.08, 0.8, len(layers)) if len(layers) > 1 else [0.2]
    return dict(zip(layers, mpl.colormaps["plasma"](shades), strict=True))


def _stack_of(kind: str, film: Film) -> str:
    """Whose colours a kind of attention has."""
    if kind == "cross":
        return "cross"
    return "decoder" if kind == "decoder" or _stacks(film) == {"decoder"} else "encoder"


def _stacks(film: Film) -> set[str]:
    return {component.split(".")[0] for component in film.components} & {"encoder", "decoder"}


def _layer_of(component: str) -> tuple[str, int] | None:
    """`encoder.blocks.3.feed_forward.expand` -> encoder, 3; `decoder.blocks.3.cross_attention.query` -> cross, 3."""
    stack, *path = component.split(".")
    if path[0] != "blocks":
        return None
    return "cross" if path[2].startswith("cross_attention") else stack, int(path[1])


def _draw_components(figure: Figure, film: Film) -> None:
    """Gradients above, updates below, a column for each group; a row has one logarithmic scale."""
    gap = 0.18
    width = (WIDTH - LEFT - 0.3 - gap * (len(COLUMNS) - 1)) / len(COLUMNS)
    colours = layer_colours(film)
    for row, (name, norms) in enumerate((("gradient", film.gradients), ("update", film.updates))):
        first = None
        for column, (title, parts) in enumerate(COLUMNS):
            axes = _axes(figure, (LEFT + column * (width + gap), 6.25 + row * 1.45, width, 1.3), film.steps)
            first = first or axes
            _draw_group(axes, film, norms, parts, colours)
            _scale(axes, norms)
            axes.tick_params(labelleft=axes is first, labelbottom=row == 1)
            if row == 1 and len(film.steps) > 1:  # their labels stay within, apart from the neighbour's
                ticks = axes.set_xticks([film.steps[0], film.steps[-1]])
                ticks[0].label1.set_horizontalalignment("left")
                ticks[-1].label1.set_horizontalalignment("right")
            if row == 0:
                axes.set_title(title, fontsize=8.5, color=COLOURS["ink"], loc="left", pad=4)
            else:
                _write(
                    figure, LEFT + column * (width + gap), 9.38, _describe_parts(parts, film), muted=True, fontsize=7.5
                )
        if first is not None:
            first.set_ylabel(f"{name} (norm)", fontsize=8.5)
    _write(figure, LEFT, 9.55, "across: step; a step of 0 has neither gradient nor update", muted=True, fontsize=7.5)


def _draw_group(axes: Axes, film: Film, norms: np.ndarray, parts: tuple[str, ...], colours: dict) -> None:
    for number, component in enumerate(film.components):
        part = _part_of(component)
        if part not in parts:
            continue
        layer = _layer_of(component)
        colour = COLOURS["muted"] if layer is None else colours[layer]
        positive = np.where(norms[:, number] > 0, norms[:, number], np.nan)  # a logarithm has no place for zero
        dots: dict[str, Any] = (
            {"marker": "o", "markersize": 2.5, "clip_on": False} if np.isfinite(positive).sum() < 3 else {}
        )
        axes.plot(film.steps, positive, color=colour, linewidth=1.1, linestyle=DASHES[parts.index(part)], **dots)


def _part_of(component: str) -> str:
    """Which line of `COLUMNS` a component is; what a plug-in brings along counts as the first of its group."""
    name, group = component.split(".")[-1], group_of(component)
    if group == "head":
        return "head"
    if group == "norms":
        return "norm"
    known = {"attention": ("query", "key", "value", "output"), "feed-forward": ("expand", "contract")}.get(group)
    known = known or ("token", "table")
    return name if name in known else known[0]


def _describe_parts(parts: tuple[str, ...], film: Film) -> str:
    """Which line is which part, of those that the model has."""
    marks, there = ("—", "- -", "···"), set(map(_part_of, film.components))
    named = zip(marks, parts, strict=False)
    return "   ".join(f"{mark} {PART_NAMES.get(part, part)}" for mark, part in named if part in there)


def _title(probe: FilmedProbe) -> str:
    return probe.text.replace("\t", " → ")


def _scale(axes: Axes, norms: np.ndarray) -> None:
    """One scale for a row, from its smallest norm to its largest."""
    found = norms[np.isfinite(norms) & (norms > 0)]
    low, high = (float(found.min()), float(found.max())) if found.size else (0.1, 1.0)
    axes.set_yscale("log")
    axes.set_ylim(low / 1.5, high * 1.5)
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _describe_position(probe: FilmedProbe, blank: int) -> str:
    asked = probe.answers[-1][blank]
    of = f" of {len(probe.answers[-1])}" if len(probe.answers[-1]) > 1 else ""
    true = "" if asked.true is None else f", where {visible(asked.true, 20)} is right"
    return f"asked place {blank + 1}{of}{true}"


def make(
    run: Run, probe: int = 0, kind: str = "self", layer: int | None = None, head: int | None = None, place: int = 0
) -> View:
    """The film of a run that was trained with probes."""
    if (layer is None) != (head is None):
        raise UsageError("one head is named by --layer and --head", "give both, or none")
    return view_of(run, film_of(run), probe, kind, layer, head, place)
