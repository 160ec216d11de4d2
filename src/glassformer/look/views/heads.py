"""All heads of a model as small maps in a chosen order, each with the pattern that fits it and its score."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from glassformer.ask.attention import Kind
from glassformer.ask.run import Run
from glassformer.look.measures.heads import (
    HeadFacts,
    Seen,
    Sort,
    Weights,
    facts,
    ordered,
    per_head,
    rows,
    seen,
    seen_of,
)
from glassformer.look.pictures.figures import COLOURS, DPI, GLASS, fitted, new_figure, styled
from glassformer.look.pictures.page import View
from glassformer.look.views import Argument, Option, ViewSpec

VIEW = ViewSpec(
    """What each head does: how far it looks, which pattern fits it.

    A score is the mean weight on the tokens that the pattern names; beside it stands the score of a head that looks at
    all tokens alike.

    \b
    glassformer look heads runs/mlm-demo --sort pattern --output heads.png
    """,
    takes=(
        Argument(
            "texts", list[str], "texts; without any, validation units of the run", None, or_file=True, metavar="TEXT"
        ),
        Option("kind", Literal["self", "cross", "decoder"], "self", "whose attention, as in `glassformer attention`"),
        Option("number", int, 16, "how many validation units, where no text is given", least=1),
        Option(
            "by",
            Literal["layer", "entropy", "distance", "similarity", "pattern"],
            "layer",
            "the order of the heads",
            called="sort",
        ),
    ),
    needs=("attention_weights",),
    live=("texts",),
)


ORDERS: dict[Sort, str] = {
    "layer": "by layer",
    "entropy": "the sharpest first",
    "distance": "the nearest looking first",
    "similarity": "similar ones side by side",
    "pattern": "by pattern, in each the highest score first",
}


def view_of(text: Seen, found: HeadFacts, by: Sort = "layer", subtitle: str = "") -> View:
    """All heads as a view: the maps of one text, and the facts of all."""
    layers, heads = text.weights.shape[:2]
    order = ordered(found, by)
    some = "" if text.sampled is None else f"; of this long text {len(text.sampled)} tokens look, evenly spread"
    data = {
        "subtitle": f"{subtitle}{': ' if subtitle else ''}{layers} layers × {heads} heads{some}",
        "tokens": text.queries,
        "keys": None if text.queries == text.keys else text.keys,
        "layers": [f"Layer {n}" for n in range(layers)],
        "facts": per_head(found),
        "orders": {name: [divmod(int(n), heads) for n in ordered(found, name)] for name in ORDERS},
        "sort": by,
    }
    arrays = {"weights": text.weights}
    title = " ".join(text.queries)
    return View(
        "heads", title, data, arrays, lambda: head_maps(text, found, order, by), found._asdict(), rows(found, order)
    )


def view_of_arrays(
    weights: Weights, tokens: list[str], keys: list[str] | None = None, *, causal: bool = False, by: Sort = "layer"
) -> View:
    """The view of anybody's attention weights: those of any other model too. The arguments are those of `describe`."""
    text = seen(weights, tokens, keys, causal=causal)
    return view_of(text, facts([text]), by)


def as_text(found: HeadFacts, layer: int, head: int) -> tuple[str, str]:
    """A head's pattern and score, and what a uniform head scores."""
    name, score, uniform = found.best[layer][head], found.score[layer, head], found.baseline[layer, head]
    if math.isnan(score):
        return name, f"entropy {found.entropy_share[layer, head]:.0%}"
    return f"{name} {score:.2f}", f"uniform {uniform:.2f}"


@styled
def head_maps(text: Seen, found: HeadFacts, order: Int[np.ndarray, "flat"], by: Sort = "layer") -> Figure:
    """A map of one text for each head, query (down) x key (across), in the given order; in their order by layer, a row
    is a layer. `found` may be of more texts than this one."""
    layers, heads, queries, keys = text.weights.shape
    columns = heads if by == "layer" else min(len(order), max(heads, 4))
    rows = -(-len(order) // columns)
    side = float(np.clip(15.0 / max(columns, rows), 0.7, 1.5))
    tall = side * max(queries / max(queries, keys), 0.3)
    across, down, left, top = side + 0.18, tall + 0.58, 0.25, 1.45
    width, height = max(left + columns * across + 0.1, 4.4), top + rows * down
    figure = new_figure(width, height)
    room = width - 2 * left
    for y, size, said, colour in (
        (0.33, 11.0, f"{layers} layers × {heads} heads, {ORDERS[by]}", "ink"),
        (0.56, 8.5, "pattern and score of each head, and the score of one that looks at all alike", "muted"),
        (0.77, 8.5, " ".join(text.queries), "muted"),
        (0.97, 7.5, "down: query (looks), across: key (is looked at)", "muted"),
    ):
        how: dict[str, Any] = {"fontsize": size, "color": COLOURS[colour], "parse_math": False}
        figure.text(left / width, 1 - y / height, fitted(said, size, room), **how)
    _draw_scale(figure, left, 1.13)
    for place, number in enumerate(order):
        row, column = divmod(place, columns)
        layer, head = divmod(int(number), heads)
        x, y = left + column * across, top + row * down + 0.14
        axes = figure.add_axes((x / width, 1 - (y + tall) / height, side / width, tall / height))
        weights = text.weights[layer, head]
        sharp = max(weights.shape) <= side * DPI
        axes.imshow(weights, cmap=GLASS, vmin=0, aspect="auto", interpolation="nearest" if sharp else None)
        axes.spines[:].set_visible(True)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"{layer}.{head}", loc="left", fontsize=7.5, pad=2, color=COLOURS["muted"])
        for line, said in enumerate(as_text(found, layer, head)):
            colour = COLOURS["ink" if line == 0 else "muted"]
            axes.annotate(
                fitted(said, 7.5 - line, side + 0.1),
                (0, 0),
                (0, -9.5 - 9 * line),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=7.5 - line,
                color=colour,
            )
    return figure


def _draw_scale(figure: Figure, x: float, y: float) -> None:
    """What a colour means: each map has a scale of its own, since some heads spread what others put on one token."""
    width, height = figure.get_size_inches()
    bar = figure.add_axes((x / width, 1 - (y + 0.12) / height, 0.9 / width, 0.12 / height))
    scale = figure.colorbar(ScalarMappable(Normalize(0, 1), GLASS), cax=bar, orientation="horizontal", ticks=[])
    scale.outline.set_edgecolor(COLOURS["rule"])
    how: dict[str, Any] = {"fontsize": 7.5, "color": COLOURS["muted"], "va": "center"}
    figure.text((x + 1.0) / width, 1 - (y + 0.06) / height, "weight: 0 to the largest of each map", **how)


def make(run: Run, texts: Sequence[str] = (), kind: Kind = "self", number: int = 16, by: Sort = "layer") -> View:
    """What each head does on texts, or on `number` of the run's own validation units; the maps are of the first."""
    read = list(seen_of(run, texts, kind, number))
    return view_of(read[0], facts(read), by, run.path.name)
