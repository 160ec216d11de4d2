"""Attention as heat maps: who (a row, the query) looks at whom (a column, the key), and how much.

    heatmap(weights, tokens, tokens)                        a small map for every layer and head
    heatmap(weights, tokens, tokens, layer=2)               the heads of one layer
    heatmap(weights, tokens, tokens, layer=2, head=5)       one head, large, with numbers where they fit
    heatmap(weights, tokens, tokens, layer=2, head="mean")  the mean over the heads of one layer

Layers and heads count from 0, as in the recorded names (`encoder.blocks.3`). The weights are drawn as they
are, in one scale from 0 to the largest weight of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.markers import CARETRIGHT, CARETUP
from matplotlib.ticker import FixedLocator, MaxNLocator
from matplotlib.transforms import blended_transform_factory

from glassformer.errors import UsageError
from glassformer.look.pictures.figures import (
    COLOURS,
    DPI,
    GLASS,
    fitted,
    ink_on,
    new_figure,
    styled,
    text_width,
    visible,
)

SMALLEST = 5.0  # points; smaller labels cannot be read
NUMBERED = 16  # tokens; up to here a large map also says its weights in numbers


@dataclass(frozen=True)
class Sheet:
    """The maps of one picture, in reading order."""

    maps: np.ndarray  # n x query x key
    names: list[str]  # above each map, "" where nothing is said
    columns: int
    rows: list[str]  # at the left of each row; empty where the names say it all
    what: str  # under the title

    @property
    def single(self) -> bool:
        return len(self.maps) == 1


@dataclass(frozen=True)
class Labels:
    """The labels of one axis, or none where there is no room (`size` 0)."""

    texts: list[str]
    size: float
    upright: bool  # written along the axis (True) or across it
    marked: frozenset[int]

    @property
    def depth(self) -> float:
        """Inches that the labels need beside the map."""
        if not self.size:
            return 0.28
        if self.upright:
            return self.size / 72 * 1.6 + 0.06
        return max(text_width(text, self.size) for text in self.texts) + 0.12


@dataclass(frozen=True)
class Layout:
    """Where the maps lie; inches from the top left corner."""

    left: float
    top: float
    width: float
    height: float
    gap_x: float
    gap_y: float
    columns: int
    rows: int
    page: tuple[float, float]

    def place(self, index: int) -> tuple[float, float]:
        """Left and top edge of the map with this index."""
        row, column = divmod(index, self.columns)
        return self.left + column * (self.width + self.gap_x), self.top + row * (self.height + self.gap_y)


@styled
def heatmap(
    weights: np.ndarray,
    query_tokens: list[str],
    key_tokens: list[str],
    *,
    layer: int | None = None,
    head: int | Literal["all", "mean"] = "all",
    title: str = "",
    marked: Sequence[int] = (),
) -> Figure:
    """Draws attention weights (layers x heads x query x key).

    `layer` None means all layers. `marked` are the positions of the blanks; their labels are ringed in red,
    on both axes where both hold the same tokens, else on the queries' axis alone.

    Raises UsageError on a layer or head that does not exist, ValueError where weights do not fit the tokens.
    """
    _check(weights, query_tokens, key_tokens, marked)
    return draw_sheet(_sheet(weights, layer, head), query_tokens, key_tokens, title, marked)


@styled
def draw_sheet(
    sheet: Sheet, query_tokens: list[str], key_tokens: list[str], title: str = "", marked: Sequence[int] = ()
) -> Figure:
    """Draws chosen maps under names of one's own, in the manner of `heatmap`."""
    size = _size(sheet)
    blanks = frozenset(marked)
    asked = blanks if key_tokens == query_tokens else frozenset()
    query = _labels(query_tokens, size[0] / len(query_tokens), sheet.single, blanks, along=False)
    key = _labels(key_tokens, size[1] / len(key_tokens), sheet.single, asked, along=True)
    layout = _layout(sheet, size, query, key, titled=bool(title))
    figure = new_figure(*layout.page)
    scale = Normalize(min(0.0, float(sheet.maps.min())), float(sheet.maps.max()) or 1.0)
    for index in range(len(sheet.maps)):
        _draw_map(figure, sheet, layout, index, scale, query, key)
    _draw_words(figure, sheet, layout, title, query, key)
    _draw_scale(figure, layout, scale)
    return figure


# -------------------------------------------------------------------------------------------- what is drawn


def _check(weights: np.ndarray, query_tokens: list[str], key_tokens: list[str], marked: Sequence[int]) -> None:
    if weights.ndim != 4 or 0 in weights.shape:
        raise ValueError(f"weights must be layers x heads x query x key, none of them 0; got shape {weights.shape}")
    if weights.shape[2:] != (len(query_tokens), len(key_tokens)):
        raise ValueError(
            f"weights of shape {weights.shape} need {weights.shape[2]} query and {weights.shape[3]} key "
            f"tokens; got {len(query_tokens)} and {len(key_tokens)}"
        )
    if not np.isfinite(weights).all():
        raise ValueError(f"weights must be finite; {np.sum(~np.isfinite(weights))} of {weights.size} are not")
    outside = [position for position in marked if not 0 <= position < len(query_tokens)]
    if outside:
        raise ValueError(f"marked positions {outside} lie outside the {len(query_tokens)} query tokens")


def _sheet(weights: np.ndarray, layer: int | None, head: int | Literal["all", "mean"]) -> Sheet:
    """Chooses the maps and names them."""
    n_layers, n_heads = weights.shape[:2]
    layers = list(range(n_layers)) if layer is None else [_existing("layer", layer, n_layers)]
    chosen = weights[layers]
    if head == "mean":
        chosen, heads = chosen.mean(axis=1, keepdims=True), [f"mean of {n_heads} heads"]
    elif head == "all":
        heads = [f"Head {number}" for number in range(n_heads)]
    else:
        chosen, heads = chosen[:, [_existing("head", head, n_heads)]], [f"Head {head}"]
    return _arranged(chosen, [f"Layer {number}" for number in layers], heads)


def _existing(what: str, number: int | str, count: int) -> int:
    if not isinstance(number, (int, np.integer)) or not 0 <= number < count:
        also = ', "all" or "mean"' if what == "head" else ""
        raise UsageError(f"{what} {number} does not exist", f"choose a {what} from 0 to {count - 1}{also}")
    return int(number)


def _arranged(chosen: np.ndarray, layers: list[str], heads: list[str]) -> Sheet:
    """A table where there are several layers and several heads, else the maps one after the other."""
    maps = chosen.reshape(-1, *chosen.shape[2:])
    if len(layers) > 1 and len(heads) > 1:
        names = heads + [""] * (len(maps) - len(heads))
        return Sheet(maps, names, len(heads), layers, f"{len(layers)} layers × {len(heads)} heads")
    if len(maps) == 1:
        return Sheet(maps, [""], 1, [], f"{layers[0]} · {heads[0]}")
    names, what = (heads, layers[0]) if len(layers) == 1 else (layers, heads[0])
    count = f"{len(maps)} {'heads' if len(layers) == 1 else 'layers'}"
    columns = min(len(maps), 4 if len(maps) <= 16 else 6)
    return Sheet(maps, names, columns, [], f"{what} · {count}")


# ---------------------------------------------------------------------------------------------------- sizes


def _size(sheet: Sheet) -> tuple[float, float]:
    """Height and width of one map: as large as the page allows, so that the labels are readable for long."""
    tokens = sheet.maps.shape[1:]
    longest = max(tokens)
    if sheet.single:
        side = np.clip(0.62 * longest, 1.6, max(6.0, min(0.15 * longest, 12.0)))
    else:
        smallest, largest = (1.25, 2.2) if sheet.rows else (1.8, 3.2)
        page = 15.0 / max(sheet.columns, -(-len(sheet.maps) // sheet.columns))
        side = min(np.clip(0.15 * longest, smallest, largest), max(page, 0.5))
    # A map much longer than wide (a short question on a long text) is stretched to stay visible.
    height, width = (float(side) * max(count / longest, 0.3) for count in tokens)
    return height, width


def _labels(tokens: list[str], pitch: float, single: bool, marked: frozenset[int], along: bool) -> Labels:
    """Labels as large as the pitch (inches per token) allows; none where that is too small to read."""
    size = min(pitch * 72 * 0.78, 10.0 if single else 8.0)
    if size < SMALLEST:
        return Labels([], 0.0, True, marked)
    texts = [visible(token, 22 if single else 14) for token in tokens]
    fits = along and all(text_width(text, size) + 0.1 < pitch for text in texts)
    return Labels(texts, size, fits, marked)


def _layout(sheet: Sheet, size: tuple[float, float], query: Labels, key: Labels, titled: bool) -> Layout:
    height, width = size
    rows = -(-len(sheet.maps) // sheet.columns)
    gap_x, gap_y = (0.1, 0.1) if sheet.rows else (0.22, 0.38)
    left = 0.39 + (0.28 if sheet.rows else 0) + query.depth
    top = 0.62 + (0.2 if titled else 0.0) + (0.0 if sheet.single else 0.16)
    right, bottom = 1.0, key.depth + 0.42 + (0 if key.size and query.size else 0.25)
    page = (
        max(left + sheet.columns * (width + gap_x) - gap_x + right, 4.0),
        top + max(rows * (height + gap_y) - gap_y, 1.2) + bottom,
    )
    return Layout(left, top, width, height, gap_x, gap_y, sheet.columns, rows, page)


# -------------------------------------------------------------------------------------------------- drawing


def _draw_map(
    figure: Figure, sheet: Sheet, layout: Layout, index: int, scale: Normalize, query: Labels, key: Labels
) -> None:
    """One map with its name; labels only on the outer maps."""
    page_width, page_height = layout.page
    x, y = layout.place(index)
    axes = figure.add_axes(
        (
            x / page_width,
            1 - (y + layout.height) / page_height,
            layout.width / page_width,
            layout.height / page_height,
        )
    )
    weights = sheet.maps[index]
    # Where tokens are smaller than dots, matplotlib averages; elsewhere every token stays a sharp square.
    sharp = max(weights.shape) <= layout.width * DPI
    axes.imshow(weights, cmap=GLASS, norm=scale, aspect="auto", interpolation="nearest" if sharp else None)
    axes.spines[:].set_visible(True)
    if sheet.names[index]:
        axes.set_title(sheet.names[index], fontsize=8.5, pad=4, color=COLOURS["muted"])
    _label_axis(axes, "y", query, outer=index % layout.columns == 0)
    _label_axis(axes, "x", key, outer=index + layout.columns >= len(sheet.maps))
    if sheet.single and max(weights.shape) <= NUMBERED:
        _write_numbers(axes, weights, scale)


def _label_axis(axes: Axes, which: Literal["x", "y"], labels: Labels, outer: bool) -> None:
    """Tokens at their places, positions as numbers where tokens have no room, nothing inside the table."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if not outer:
        axis.set_ticks([])
        return
    axes.tick_params(axis=which, length=0, pad=3)
    if not labels.size:
        count = axes.images[0].get_size()[which == "x"]
        places = MaxNLocator(4, integer=True).tick_values(0, count - 1)
        axis.set_major_locator(FixedLocator([place for place in places if 0 <= place < count]))
        axes.tick_params(axis=which, labelsize=6.5, pad=6)
        _point_at(axes, which, labels.marked)
        return
    turned = 90 if which == "x" and not labels.upright else 0
    how: dict[str, Any] = {"fontsize": labels.size, "rotation": turned, "parse_math": False}
    axis.set_ticks(range(len(labels.texts)), labels.texts, **how)
    for place, text in enumerate(axis.get_ticklabels()):
        text.set_color(COLOURS["ring" if place in labels.marked else "ink"])
        if place in labels.marked:
            ring = {
                "boxstyle": "round,pad=0.12",
                "facecolor": "none",
                "edgecolor": COLOURS["ring"],
                "linewidth": 0.9,
            }
            text.set_bbox(ring)


def _point_at(axes: Axes, which: Literal["x", "y"], marked: frozenset[int]) -> None:
    """Red arrowheads at the blanks of an axis without labels; their tips touch the map from outside."""
    for place in sorted(marked):
        # One coordinate counts tokens, the other the share of the map.
        if which == "x":
            x, y, marker = float(place), 0.0, CARETUP
            transform = blended_transform_factory(axes.transData, axes.transAxes)
        else:
            x, y, marker = 0.0, float(place), CARETRIGHT
            transform = blended_transform_factory(axes.transAxes, axes.transData)
        axes.plot(x, y, marker=marker, markersize=5, color=COLOURS["ring"], clip_on=False, transform=transform)


def _write_numbers(axes: Axes, weights: np.ndarray, scale: Normalize) -> None:
    """The weights in hundredths, where they are at least one."""
    for (row, column), weight in np.ndenumerate(weights):
        if abs(weight) >= 0.005:
            colour = ink_on(float(scale(weight)))
            axes.text(column, row, f"{100 * weight:.0f}", ha="center", va="center", fontsize=7, color=colour)


def _draw_words(figure: Figure, sheet: Sheet, layout: Layout, title: str, query: Labels, key: Labels) -> None:
    """Title, what is drawn, row names, axis names, and a note where labels had no room."""
    width, height = layout.page

    def write(x: float, y: float, text: str, **how: Any) -> None:
        figure.text(x / width, 1 - y / height, text, parse_math=False, **how)

    if title:
        write(0.2, 0.36, fitted(title, 12.0, width - 0.4), fontsize=12)
    write(0.2, 0.6 if title else 0.4, sheet.what, fontsize=9, color=COLOURS["muted"])
    bottom = layout.top + layout.rows * (layout.height + layout.gap_y) - layout.gap_y
    for row, name in enumerate(sheet.rows):
        middle = layout.place(row * layout.columns)[1] + layout.height / 2
        write(0.53, middle, name, rotation=90, ha="center", va="center", fontsize=8.5, color=COLOURS["muted"])
    middle_x = layout.left + (layout.columns * (layout.width + layout.gap_x) - layout.gap_x) / 2
    axis = {"ha": "center", "va": "center", "fontsize": 8.5, "color": COLOURS["muted"]}
    write(0.24, (layout.top + bottom) / 2, "query (looks)", rotation=90, **axis)
    write(middle_x, bottom + key.depth + 0.17, "key (is looked at)", **axis)
    if not (key.size and query.size):
        note = "numbers are positions: too many tokens for labels" + (
            "" if sheet.single else "; draw one head to read them"
        )
        write(middle_x, bottom + key.depth + 0.42, note, **{**axis, "fontsize": 7.5})


def _draw_scale(figure: Figure, layout: Layout, scale: Normalize) -> None:
    """The colour bar, with its ends said."""
    width, height = layout.page
    tall = min(layout.rows * (layout.height + layout.gap_y) - layout.gap_y, 2.6)
    x = layout.left + layout.columns * (layout.width + layout.gap_x) - layout.gap_x + 0.25
    axes = figure.add_axes((x / width, 1 - (layout.top + tall) / height, 0.13 / width, tall / height), label="scale")
    bar = figure.colorbar(ScalarMappable(scale, GLASS), cax=axes)
    ends = (float(scale.vmin or 0), float(scale.vmax or 1))
    ticks = [*np.linspace(*ends, 3)] if tall > 0.6 else [*ends]
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    axes.tick_params(labelsize=7.5, length=0, pad=3)
    bar.set_label(f"weight, {ends[0]:.2g} to {ends[1]:.2g} (max)", fontsize=7.5)
    bar.outline.set_edgecolor(COLOURS["rule"])
