"""One sentence: its blank ringed in red, what the blank attends to tinted over the words, the guesses below.

    overlay(["mars", "is", "called", "the", "[MASK]", "planet"], 4, attention, [("red", 0.97)], true="red")

The words run as text does, wrapped over lines, from right to left where the script does.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from glassformer.ask.attention import Attention
from glassformer.errors import UsageError
from glassformer.formatting import percent
from glassformer.look.measures.attention import describe_mean
from glassformer.look.pictures.figures import (
    COLOURS,
    GLASS,
    fitted,
    ink_on,
    new_figure,
    right_to_left,
    styled,
    text_width,
    visible,
)

MARGIN = 0.3
SHOWN = 5  # candidates
LONGEST_LINE = 8.0  # inches
CAPTION = 5.6  # inches that the caption needs


@dataclass(frozen=True)
class Word:
    """One token on the page: inches from the top left corner of the text."""

    text: str
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Type:
    """Sizes of the running text: letters in points, the rest in inches."""

    size: float
    box: float
    line: float
    pad: float = 0.07
    gap: float = 0.06


SENTENCE = 24
"""Tokens up to which a text is drawn in large letters, each with its share of attention."""


@styled
def overlay(
    tokens: list[str],
    masked: int,
    attention: np.ndarray,
    candidates: list[tuple[str, float]],
    true: str | None = None,
    title: str = "",
    whose: str = "",
) -> Figure:
    """Draws `attention` (key), the weights of the masked position, over `tokens`; `candidates` best first.

    With `true` the prediction is said to be right (green) or wrong (orange). `whose` says in words which layers and
    heads the weights are from, such as `mean of 2 layers x 4 heads`.

    Raises ValueError where shapes do not fit, where the masked position lies outside, or without candidates.
    """
    _check(tokens, masked, attention, candidates)
    type_ = _type(len(tokens))
    words, room, depth = _set(tokens, type_)
    top = MARGIN + (0.42 if title else 0.0) + 0.3
    rule = top + depth + 0.12
    caption = rule + 0.34
    shown = candidates[:SHOWN]
    answer = 0.3 if true is None else 0.8
    width, height = room + 2 * MARGIN, caption + max(0.26 * len(shown) - 0.16, answer) + MARGIN
    figure = new_figure(width, height)
    axes = _page(figure, width, height)
    if title:
        axes.text(MARGIN, MARGIN + 0.1, fitted(title, 12.0, room), fontsize=12, va="center")
    _draw_key(axes, MARGIN, top - 0.22, visible(tokens[masked], 16), float(attention.max()), whose, width - MARGIN)
    _draw_words(axes, words, masked, attention, type_, top)
    axes.plot([MARGIN, width - MARGIN], [rule] * 2, color=COLOURS["rule"], linewidth=0.8)
    _draw_answer(axes, MARGIN, caption, shown, true)
    _draw_candidates(axes, MARGIN + 2.2, caption, width - MARGIN, shown, true)
    return figure


@styled
def surprisal(tokens: list[str], nats: list[float | None], title: str = "") -> Figure:
    """A text whose words are tinted by how much they surprise: -ln of the probability that a model gives them, in nats
    (written below); those of which nothing is known stay white.

    Raises ValueError where there are not as many numbers as tokens.
    """
    if len(tokens) != len(nats):
        raise ValueError(f"{len(tokens)} tokens and {len(nats)} numbers")
    type_ = _type(len(tokens))
    words, room, depth = _set(tokens, type_)
    top = MARGIN + 0.72
    width, height = room + 2 * MARGIN, top + depth + MARGIN
    figure = new_figure(width, height)
    axes = _page(figure, width, height)
    axes.text(MARGIN, MARGIN + 0.05, fitted(title, 10.0, room), fontsize=10, va="center")
    # Where nothing surprises, nothing is dark: the scale reaches one nat at least (37% for the right word).
    scale = Normalize(0.0, max([1.0, *(value for value in nats if value is not None)]))
    _draw_surprisal_key(axes, MARGIN, MARGIN + 0.36, scale.vmax or 1.0)
    for word, value in zip(words, nats, strict=True):
        share = 0.0 if value is None else float(np.clip(scale(value), 0, 1))
        _draw_word(axes, word, top, type_, share, "" if value is None else f"{value:.1f}")
    return figure


def _check(tokens: list[str], masked: int, attention: np.ndarray, candidates: list[tuple[str, float]]) -> None:
    if attention.shape != (len(tokens),):
        raise ValueError(f"attention must have shape ({len(tokens)},), one weight per token; got {attention.shape}")
    if not np.isfinite(attention).all():
        raise ValueError(f"attention must be finite; {np.sum(~np.isfinite(attention))} of {attention.size} are not")
    if not 0 <= masked < len(tokens):
        raise ValueError(f"masked position {masked} lies outside the {len(tokens)} tokens")
    if not candidates:
        raise ValueError("candidates is empty: the picture shows at least the predicted token")


# ----------------------------------------------------------------------------------------- setting the text


def _type(tokens: int) -> Type:
    """Large letters for a sentence, smaller ones for a page."""
    size = 13.0 if tokens <= SENTENCE else 11.0 if tokens <= 96 else 9.0
    return Type(size, box=size / 72 * 1.65, line=size / 72 * 1.65 + 0.27)


def _set(tokens: list[str], type_: Type) -> tuple[list[Word], float, float]:
    """Words in lines; also the width and depth of the text."""
    texts = [visible(token, 24) for token in tokens]
    # A box is never narrower than the percentage under it.
    widths = [max(text_width(text, type_.size), 0.2) + 2 * type_.pad for text in texts]
    lines = list(wrapped(widths, type_.gap, LONGEST_LINE))
    room = max(CAPTION, *(sum(widths[i] + type_.gap for i in line) - type_.gap for line in lines))
    words = []
    for number, line in enumerate(lines):
        x = 0.0
        for index in line:
            left = room - x - widths[index] if right_to_left(tokens) else x
            words.append(Word(texts[index], left, number * type_.line, widths[index]))
            x += widths[index] + type_.gap
    return words, room, len(lines) * type_.line


def wrapped(widths: list[float], gap: float, room: float) -> Iterator[list[int]]:
    """Indices line by line: as many as fit into `room`, at least one."""
    line: list[int] = []
    used = 0.0
    for index, width in enumerate(widths):
        if line and used + width > room:
            yield line
            line, used = [], 0.0
        line.append(index)
        used += width + gap
    yield line


def numbered(attention: np.ndarray) -> set[int]:
    """Positions whose share is written out: all of a sentence, the ten strongest of a page."""
    if len(attention) <= SENTENCE:
        return set(range(len(attention)))
    least = max(0.01, 1.5 / len(attention))
    return {int(i) for i in np.argsort(-attention, kind="stable")[:10] if attention[i] >= least}


# -------------------------------------------------------------------------------------------------- drawing


def _page(figure: Figure, width: float, height: float) -> Axes:
    """Axes whose units are inches from the top left corner."""
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes


def _draw_words(axes: Axes, words: list[Word], masked: int, attention: np.ndarray, type_: Type, top: float) -> None:
    """Tinted words, the ring, and the shares of the stronger ones."""
    scale = Normalize(0.0, float(attention.max()) or 1.0)
    written = numbered(attention)
    for index, word in enumerate(words):
        said = "<1%" if 0 < attention[index] < 0.01 else f"{attention[index]:.0%}"
        share = float(np.clip(scale(attention[index]), 0, 1))
        _draw_word(axes, word, top, type_, share, said if index in written else "")
        if index == masked:
            axes.add_patch(_ring(MARGIN + word.x, top + word.y, word.width, type_.box))


def _draw_word(axes: Axes, word: Word, top: float, type_: Type, share: float, said: str) -> None:
    """One word in a box tinted by a share of the scale, and what is said below it."""
    x, y = MARGIN + word.x, top + word.y
    axes.add_patch(_box(x, y, word.width, type_.box, facecolor=GLASS(share), edgecolor=COLOURS["rule"], linewidth=0.5))
    middle: dict[str, Any] = {"ha": "center", "parse_math": False}
    base = y + type_.box * 0.68
    axes.text(x + word.width / 2, base, word.text, fontsize=type_.size, va="baseline", color=ink_on(share), **middle)
    below = y + type_.box + 0.115
    axes.text(x + word.width / 2, below, said, fontsize=7, va="center", color=COLOURS["muted"], **middle)


def _box(x: float, y: float, width: float, height: float, **how: Any) -> FancyBboxPatch:
    return FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.05", **how)


def _ring(x: float, y: float, width: float, height: float) -> FancyBboxPatch:
    """Just outside the box, so that the tint under it stays visible."""
    out = 0.015
    ring = _box(
        x - out,
        y - out,
        width + 2 * out,
        height + 2 * out,
        facecolor="none",
        edgecolor=COLOURS["ring"],
        linewidth=2.2,
        zorder=3,
    )
    ring.set_gid("masked")
    return ring


def _draw_key(axes: Axes, x: float, y: float, masked: str, largest: float, whose: str, right: float) -> None:
    """What the tint means: a strip of the scale with its ends said."""
    how: dict[str, Any] = {"fontsize": 8, "va": "center", "color": COLOURS["muted"], "parse_math": False}
    words = f"attention from “{masked}” to each token:  0%"
    axes.text(x, y, words, **how)
    start = x + text_width(words, 8.0) + 0.08
    _draw_strip(axes, start, y)
    axes.text(start + 0.98, y, percent(largest), **how)
    if whose:
        start += 0.98 + text_width(percent(largest), 8.0) + 0.15
        axes.text(start, y, fitted(whose, 8.0, right - start), **how)


def _draw_strip(axes: Axes, x: float, y: float) -> None:
    """The scale of colours, 0.9 inches long."""
    axes.imshow(
        np.linspace(0, 1, 256)[None], cmap=GLASS, extent=(x, x + 0.9, y - 0.05, y + 0.05), aspect="auto", zorder=1
    )


def _draw_surprisal_key(axes: Axes, x: float, y: float, largest: float) -> None:
    """What the numbers and the tint of surprisal mean."""
    how: dict[str, Any] = {"fontsize": 8, "va": "center", "color": COLOURS["muted"], "parse_math": False}
    words = "surprisal in nats:  0 (certain)"
    axes.text(x, y, words, **how)
    start = x + text_width(words, 8.0) + 0.08
    _draw_strip(axes, start, y)
    axes.text(start + 0.98, y, f"{largest:.1f} ({percent(math.exp(-largest))});  +0.69 = half as likely", **how)


def _draw_answer(axes: Axes, x: float, y: float, candidates: list[tuple[str, float]], true: str | None) -> None:
    """TRUE, where it is known, and PRED with its verdict."""
    predicted, share = candidates[0]
    colour, verdict = COLOURS["ink"], percent(share)
    if true is not None:
        _entry(axes, x, y, "TRUE", true, COLOURS["ink"], "")
        right = predicted == true
        colour = COLOURS["right" if right else "wrong"]
        verdict = f"{'✓ right' if right else '✗ wrong'}, {percent(share)}"
        y += 0.5
    _entry(axes, x, y, "PRED", predicted, colour, verdict)


def _entry(axes: Axes, x: float, y: float, name: str, token: str, colour: str, note: str) -> None:
    axes.text(x, y, name, fontsize=8, va="center", color=COLOURS["muted"], fontweight="bold")
    axes.text(x + 0.5, y, fitted(token, 13.0, 1.45), fontsize=13, va="center", color=colour, parse_math=False)
    axes.text(x + 0.5, y + 0.21, note, fontsize=8, va="center", color=colour)


def _draw_candidates(
    axes: Axes, left: float, top: float, right: float, candidates: list[tuple[str, float]], true: str | None
) -> None:
    """A bar for each candidate, from 0 to 100%."""
    texts = [fitted(token, 10.0, 1.3) for token, _ in candidates]
    start = left + max(text_width(text, 10.0) for text in texts) + 0.12
    whole = right - start - 0.55
    for row, ((token, share), text) in enumerate(zip(candidates, texts, strict=True)):
        y = top + 0.26 * row
        colour = COLOURS["validation"]
        if true is not None and (token == true or row == 0):
            colour = COLOURS["right" if token == true else "wrong"]
        axes.text(start - 0.1, y, text, fontsize=10, ha="right", va="center", parse_math=False)
        axes.barh(y, whole, height=0.14, left=start, color=COLOURS["panel"])
        axes.barh(y, whole * share, height=0.14, left=start, color=colour)
        axes.text(right, y, percent(share), fontsize=9, ha="right", va="center", color=COLOURS["muted"])


def overlay_of(seen: Attention, true: str | None = None, blank: int = 0, whose: str = "") -> Figure:
    """The overlay picture of one blank: what its query attended to, on the mean of the layers and heads there are.
    `whose` names them in the picture, where they are not all that the model has.

    Raises UsageError when the text has no such blank.
    """
    if seen.filled is None:
        raise UsageError("an overlay shows a blank, and the text has none", "write [MASK] where a word is asked for")
    many = len(seen.filled.blanks)
    if not 0 <= blank < many:
        raise UsageError(f"there is no blank {blank + 1}", f"the text has {many}, counted from 1")
    asked = seen.filled.blanks[blank]
    attention = np.asarray(seen.weights.mean((0, 1))[asked.position])
    candidates = [(c.token, c.probability) for c in asked.candidates]
    true = true if true is not None else asked.true
    return overlay(seen.tokens, asked.position, attention, candidates, true, whose=whose or describe_mean(seen))
