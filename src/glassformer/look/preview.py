"""What a model is really given: the tokens of a few examples, what is asked of them, and who may see whom.

preview = describe(objective, objective.dataset(corpus).example(0, rng))
print(as_text(preview))            for a terminal
figure([preview])                   the same as a picture
"""

from collections.abc import Callable
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glassformer.assemble import assemble
from glassformer.data.batch import Example, Stream, collate
from glassformer.look.pictures.figures import COLOURS, fitted, new_figure, styled, text_width, visible
from glassformer.objectives import Objective
from glassformer.randomness import Purpose, generator
from glassformer.recipe import Recipe
from glassformer.recipe_rows import with_layout

LONGEST = 32
"""Tokens up to which a mask is drawn whole; of more, so many are."""
TARGET = 16
"""Characters of a target that are shown."""
CELL = 0.17
"""Inches of one pair in a picture."""


def previews(recipe: Recipe, count: int, say: Callable[[str], None] = lambda text: None) -> list[dict[str, Any]]:
    """Examples from all over the training data, as the first epoch has them. How the texts are read is said."""
    parts = assemble(with_layout(recipe, say))
    units = parts.train_dataset
    chosen = np.linspace(0, len(units) - 1, min(count, len(units))).round().astype(int).tolist()
    examples = [units.example(index, generator(recipe.seed, Purpose.CORRUPTION, 0, index)) for index in chosen]
    return [describe(parts.objective.of(example), example) for example in examples]


def describe(objective: Objective, example: Example) -> dict[str, Any]:
    """One example as plain data; what is in it is said in docs/json.md."""
    batch = collate([[example]], objective.pad_id)
    streams = []
    for name, stream in example.streams.items():
        allowed = batch.streams[name].mask.dense()
        shape = (len(stream.values), stream.n_keys)
        mask = np.ones(shape, dtype=bool) if allowed is None else allowed[0, 0].expand(shape).numpy()
        streams.append(
            {
                "name": name,
                "tokens": objective.names_in(name, stream),
                "positions": _positions(stream),
                "segments": None if stream.segment_ids is None else stream.segment_ids.tolist(),
                "mask": mask.astype(int).tolist(),
            }
        )
    targets = [
        {
            "head": head,
            "stream": one.stream,
            "place": int(place),
            "target": objective.target_in(example, head, n, target.item()),
        }
        for head, one in example.targets.items()
        for n, (place, target) in enumerate(zip(one.positions, one.values, strict=True))
    ]
    return {"streams": streams, "asked": targets}


def _positions(stream: Stream) -> list[int]:
    return list(range(len(stream.values))) if stream.positions is None else [int(p) for p in stream.positions]


def as_text(preview: dict[str, Any]) -> str:
    """For a terminal: tokens with their places, targets at theirs, and the mask in squares."""
    lines: list[str] = []
    for stream in preview["streams"]:
        lines += _reads(stream)
        places = {one["place"]: one["target"] for one in preview["asked"] if one["stream"] == stream["name"]}
        if places:
            lines.append("  asked:  " + ",  ".join(f"at {place}: {target}" for place, target in places.items()))
        rows, keys = window(stream)
        part = "" if len(rows) == len(stream["tokens"]) else f", {len(rows)} of {len(stream['tokens'])} tokens"
        lines.append(f"  who (a row) sees whom (a column){part}:")
        shown = [visible(stream["tokens"][row], 12) for row in rows]
        for name, row in zip(shown, rows, strict=True):
            seen = " ".join("■" if seen else "·" for seen in stream["mask"][row][:keys])
            lines.append(f"  {name:>{max(map(len, shown))}}  {seen}")
    return "\n".join(lines)


def window(stream: dict[str, Any]) -> tuple[list[int], int]:
    """The rows of a mask that are shown, and how many columns: all, or those of the first tokens; of tokens that only
    ask, which stand at the end, as many."""
    tokens, content = len(stream["tokens"]), len(stream["mask"][0])
    if tokens <= LONGEST:
        return list(range(tokens)), content
    asking = min(tokens - content, LONGEST // 2)
    first = min(content, LONGEST - asking)
    return [*range(first), *range(content, content + asking)], first


def _reads(stream: dict[str, Any]) -> list[str]:
    """The tokens on a line; where there are segments, each segment on a line of its own."""
    tokens, segments = _numbered(stream), stream["segments"]
    if segments is None:
        return [f"{stream['name']} reads:  " + " ".join(tokens)]
    lines = [f"{stream['name']} reads:"]
    for segment, members in groupby(zip(segments, tokens, strict=True), key=lambda pair: pair[0]):
        lines.append(f"  segment {segment}:  " + " ".join(token for _, token in members))
    return lines


def _numbered(stream: dict[str, Any]) -> list[str]:
    """Tokens, each with its position where these do not simply count up."""
    usual = stream["positions"] == list(range(len(stream["tokens"])))
    return [
        token if usual else f"{token}@{position}"
        for token, position in zip(stream["tokens"], stream["positions"], strict=True)
    ]


@styled
def figure(shown: list[dict[str, Any]], title: str = "") -> Figure:
    """Each example a row, each stream a mask: a filled square where the token of the row sees that of the column. The
    tokens that are asked are red, their targets stand at the right; lines part the segments. Of a long text a
    window."""
    shown = [_cut(preview) for preview in shown]
    panels = [(preview, stream) for preview in shown for stream in preview["streams"]]
    columns = max(len(preview["streams"]) for preview in shown)
    label = max(text_width(visible(token, 14), 7.5) for _, stream in panels for token in stream["tokens"]) + 0.1
    room = max(
        [text_width(visible(one["target"], TARGET), 7.5) for preview in shown for one in preview["asked"]] or [0.0]
    )
    wide = max(len(stream["mask"][0]) for _, stream in panels) * CELL + label + room + 0.5
    heights = [max(len(stream["mask"]) for stream in preview["streams"]) * CELL + label + 0.55 for preview in shown]
    page = (max(4.0, columns * wide + 0.2), sum(heights) + 0.5)
    page_figure = new_figure(*page)
    page_figure.text(0.15 / page[0], 1 - 0.25 / page[1], fitted(title, 12.0, page[0] - 0.3), fontsize=12)
    top = 0.5
    for preview, height in zip(shown, heights, strict=True):
        for number, stream in enumerate(preview["streams"]):
            rows, keys = np.array(stream["mask"]).shape
            left = 0.1 + number * wide + label
            box = (
                left / page[0],
                1 - (top + 0.3 + rows * CELL) / page[1],
                keys * CELL / page[0],
                rows * CELL / page[1],
            )
            _draw(page_figure.add_axes(box), preview, stream)
        top += height
    return page_figure


def _cut(preview: dict[str, Any]) -> dict[str, Any]:
    """The same with no more than is drawn; the name of a stream says what was left out."""
    streams, asked = [], []
    for stream in preview["streams"]:
        rows, keys = window(stream)
        place = {row: n for n, row in enumerate(rows)}
        tokens, segments = stream["tokens"], stream["segments"]
        name = stream["name"] if len(rows) == len(tokens) else f"{stream['name']}, {len(rows)} of {len(tokens)} tokens"
        own = [one for one in preview["asked"] if one["stream"] == stream["name"] and one["place"] in place]
        asked += [one | {"stream": name, "place": place[one["place"]]} for one in own]
        cut = {"tokens": [tokens[row] for row in rows], "mask": [stream["mask"][row][:keys] for row in rows]}
        streams.append(stream | cut | {"name": name, "segments": segments and [segments[row] for row in rows]})
    return {"streams": streams, "asked": asked}


def _draw(axes: Axes, preview: dict[str, Any], stream: dict[str, Any]) -> None:
    """One mask with its tokens and targets."""
    mask, tokens = np.array(stream["mask"]), [visible(token, 14) for token in stream["tokens"]]
    axes.set_xlim(-0.5, mask.shape[1] - 0.5)
    axes.set_ylim(mask.shape[0] - 0.5, -0.5)
    rows, keys = np.nonzero(mask)
    axes.scatter(keys, rows, marker="s", s=(CELL * 72 * 0.72) ** 2, color=COLOURS["validation"], linewidths=0)
    for place, (segment, other) in enumerate(pairwise(stream["segments"] or [])):
        if segment != other:
            axes.axhline(place + 0.5, color=COLOURS["muted"], linewidth=0.8)
            axes.axvline(place + 0.5, color=COLOURS["muted"], linewidth=0.8)
    axes.spines[:].set_visible(True)
    axes.tick_params(length=0, pad=2)
    how: dict[str, Any] = {"fontsize": 7.5, "parse_math": False}
    axes.set_yticks(range(len(tokens)), tokens, **how)
    axes.set_xticks(range(mask.shape[1]), tokens[: mask.shape[1]], rotation=90, **how)
    axes.set_title(stream["name"], fontsize=8.5, loc="left", pad=4, color=COLOURS["muted"])
    asked = {one["place"]: one["target"] for one in preview["asked"] if one["stream"] == stream["name"]}
    for place, text in enumerate(axes.get_yticklabels()):
        text.set_color(COLOURS["ring" if place in asked else "ink"])
        if place in asked:
            axes.text(
                mask.shape[1] - 0.2,
                place,
                f"→ {visible(asked[place], TARGET)}",
                va="center",
                color=COLOURS["ring"],
                **how,
            )
