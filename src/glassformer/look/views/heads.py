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
from glassformer.errors import GlassformerError
from glassformer.look.measures.heads import (
    Habit,
    HeadFacts,
    Named,
    PerHead,
    Seen,
    Sort,
    Weights,
    facts,
    habit_of,
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
    """What each head does on a text, and what its habit is.

    A score is the mean weight on the tokens that the pattern names; beside it stands the score of a head that looks at
    all tokens alike. On one text a head may do what is not its habit over the validation units: both are said.

    \b
    glassformer look heads runs/mlm-demo --sort pattern --output heads.png
    """,
    takes=(
        Argument(
            "texts", list[str], "texts; without any, validation units of the run", None, or_file=True, metavar="TEXT"
        ),
        Option("kind", Literal["self", "cross", "decoder"], "self", "whose attention, as in `glassformer attention`"),
        Option("number", int, 16, "over how many validation units a head's habit is taken", least=1),
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


WIDE = 1.3
"""Inches from which on a uniform head's score stands below a map too."""
ORDERS: dict[Sort, str] = {
    "layer": "by layer",
    "entropy": "the sharpest first",
    "distance": "the nearest looking first",
    "similarity": "similar ones side by side",
    "pattern": "by pattern, in each the highest score first",
}


def view_of(
    read: Sequence[Seen], by: Sort = "layer", subtitle: str = "", habit: Habit | None = None, own_units: bool = False
) -> View:
    """All heads as a view: the maps of the first text in which there is something to choose, named by what they show;
    the facts of all texts, each head's habit beside them. `own_units`: the texts are those of the habit."""
    found = facts(read)
    text = next(one for one in read if (one.allowed.sum(1) >= 2).any())
    here = found if len(read) == 1 else facts([text])
    layers, heads = text.weights.shape[:2]
    some = "" if text.sampled is None else f"; of this long text {len(text.sampled)} tokens look, evenly spread"
    data = {
        "subtitle": f"{subtitle}{': ' if subtitle else ''}{layers} layers × {heads} heads{some}",
        "tokens": text.queries,
        "keys": None if text.queries == text.keys else text.keys,
        "layers": [f"Layer {n}" for n in range(layers)],
        "facts": per_head(here, None if habit is None else habit.named),
        "habit_units": None if habit is None else habit.units,
        "orders": {name: [divmod(int(n), heads) for n in ordered(here, name)] for name in ORDERS},
        "sort": by,
    }
    numbers = found._asdict() | named_as("here", here.best, here.score, here.baseline)
    if habit is not None:
        numbers |= named_as("habit", *habit.named) | {"habit_units": habit.units}
    return View(
        "heads",
        " ".join(text.queries),
        data,
        {"weights": text.weights},
        lambda: head_maps(text, here, ordered(here, by), by, habit),
        numbers,
        rows(found, ordered(found, by), None if habit is None or own_units else habit.named),
    )


def named_as(what: str, best: list[list[str]], score: PerHead, baseline: PerHead) -> dict[str, Any]:
    """The names of the heads as entries of the view's numbers."""
    return {what: best, f"{what}_score": score, f"{what}_baseline": baseline}


def view_of_arrays(
    weights: Weights, tokens: list[str], keys: list[str] | None = None, *, causal: bool = False, by: Sort = "layer"
) -> View:
    """The view of anybody's attention weights: those of any other model too. The arguments are those of `describe`."""
    return view_of([seen(weights, tokens, keys, causal=causal)], by)


def as_text(found: Named | HeadFacts, layer: int, head: int, with_uniform: bool) -> str:
    """A head's pattern and score, and in brackets what a uniform head scores."""
    name, score, uniform = found.best[layer][head], found.score[layer, head], found.baseline[layer, head]
    if math.isnan(score):
        return name
    return f"{name} {score:.2f}" + (f" ({uniform:.2f})" if with_uniform else "")


@styled
def head_maps(
    text: Seen, here: HeadFacts, order: Int[np.ndarray, "flat"], by: Sort = "layer", habit: Habit | None = None
) -> Figure:
    """A map of one text for each head, query (down) x key (across), in the given order; in their order by layer, a row
    is a layer. Below each stand the name that fits this map (`here`), and the head's habit."""
    layers, heads, queries, keys = text.weights.shape
    columns = heads if by == "layer" else min(len(order), max(heads, 4))
    rows = -(-len(order) // columns)
    side = float(np.clip(15.0 / max(columns, rows), 0.7, 1.5))
    tall = side * max(queries / max(queries, keys), 0.3)
    across, down, left, top = side + 0.18, tall + 0.58, 0.25, 1.62
    width, height = max(left + columns * across + 0.1, 4.4), top + rows * down
    figure = new_figure(width, height)
    room = width - 2 * left
    brackets = " (in brackets a uniform head's)" if side >= WIDE else ""
    usual = "" if habit is None else f", and its habit over {habit.units} validation units"
    looked_at = "" if text.keys == text.queries else f"   looks at   {' '.join(text.keys)}"
    for y, size, said, colour in (
        (0.33, 11.0, f"{layers} layers × {heads} heads, {ORDERS[by]}", "ink"),
        (0.56, 8.5, f"{' '.join(text.queries)}{looked_at}", "muted"),
        (0.77, 8.5, f"what each map shows{usual}:", "muted"),
        (0.95, 8.5, f"pattern and score{brackets}", "muted"),
        (1.14, 7.5, "down: query (looks), across: key (is looked at)", "muted"),
    ):
        how: dict[str, Any] = {"fontsize": size, "color": COLOURS[colour], "parse_math": False}
        figure.text(left / width, 1 - y / height, fitted(said, size, room), **how)
    _draw_scale(figure, left, 1.3)
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
        below = [as_text(here, layer, head, side >= WIDE)]
        if habit is not None:
            below.append(f"habit: {as_text(habit.named, layer, head, side >= WIDE)}")
        for line, said in enumerate(below):
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
    """What each head does on texts, or on the first of `number` validation units, and its habit over these units; the
    maps are of the first text. Where the run's data cannot be read there is no habit, which is said."""
    read = list(seen_of(run, texts, kind, number))
    habit, why = None, None
    try:
        habit = habit_of(run, kind, number)
    except GlassformerError as error:
        why = f"no habit of the heads is known: {error.what}"
    return view_of(read, by, run.path.name, habit, own_units=not texts)._replace(note=why)
