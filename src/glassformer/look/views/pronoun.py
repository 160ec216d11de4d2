"""A word and what it may refer to: how much each head attends from the word to each candidate, and back."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from glassformer.ask.run import Run
from glassformer.errors import UsageError
from glassformer.look.measures.words import Reading, Span, attention_between, find, find_all, reading, said_unknown
from glassformer.look.pictures.figures import COLOURS, GLASS, fitted, ink_on, new_figure, styled, text_width, visible
from glassformer.look.pictures.page import View
from glassformer.look.views import Argument, Option, ViewSpec

VIEW = ViewSpec(
    """Attention from a pronoun to what it may refer to, and back.

    \b
    glassformer look pronoun runs/my "The cat sat on the mat because it was tired" --word it --candidates cat mat
    """,
    takes=(
        Argument("text", str, "a sentence"),
        Option("word", str, "it", "the word that refers to something"),
        Option(
            "candidates",
            list[str] | None,
            None,
            "what it may refer to; without any, all other words",
            and_more="CANDIDATE",
        ),
        Option("nth", int | None, None, "which, where the word stands there more than once", least=1),
    ),
    needs=("attention_weights",),
    live=("text", "word"),
    says_unknown=True,
)


class Pronoun(NamedTuple):
    """Attention between a word and its candidates. NaN where a causal model cannot look."""

    text: str
    word: str
    """With its number, where one was asked for."""
    candidates: list[str]
    """As they stand in the text; one that stands there several times is numbered."""
    to: Float[np.ndarray, "layers heads candidates"]
    """From the word to each candidate (to a word of several tokens: their sum)."""
    back: Float[np.ndarray, "layers heads candidates"]
    """From each candidate to the word (from a word of several tokens: their mean)."""
    uniform_to: Float[np.ndarray, "candidates"]
    """What a head would give that looks at all tokens alike."""
    uniform_back: Float[np.ndarray, "candidates"]
    unknown: Sequence[str] = ()
    """Words of the text that the vocabulary lacks: to the model they are all the same."""


def pronoun(run: Run, text: str, word: str, candidates: Sequence[str] = (), nth: int | None = None) -> Pronoun:
    """Attention from a word to each candidate, and from each candidate to the word; without candidates all other words.

    Raises UsageError for a word that is not in the text, or stands there more than once without `nth`, for a word that
    is its own candidate or shares a token with one, and for a text that the model cannot read as it stands.
    """
    span = find(text, word, nth)
    read = reading(run, text)
    spans = _spans(read, candidates, span)
    if span in [each for found in spans.values() for each in found]:
        raise UsageError(f"{word!r} is its own candidate", "name other words of the text")
    named = sorted(
        (place, name if len(found) == 1 else f"{name} ({number})")
        for name, found in spans.items()
        for number, place in enumerate(found, 1)
    )
    if not named:
        raise UsageError(f"{text!r} has no other word", "give a sentence")
    tokens = [read.tokens_of(each) for each in [span, *(place for place, _ in named)]]
    together = [name for (_, name), each in zip(named, tokens[1:], strict=True) if set(each) & set(tokens[0])]
    if together:
        raise UsageError(
            f"one token of this model holds {word!r} and {together[0]!r}", "name words that stand further apart"
        )
    weights, even = attention_between(run, read, tokens)
    return Pronoun(
        text=text,
        word=text[slice(*span)] + (f" ({nth})" if nth else ""),
        candidates=[name for _, name in named],
        to=weights[:, :, 0, 1:],
        back=weights[:, :, 1:, 0],
        uniform_to=even[0, 1:],
        uniform_back=even[1:, 0],
        unknown=run.unknown_words(text),
    )


def _spans(read: Reading, candidates: Sequence[str], own: Span) -> dict[str, list[Span]]:
    """Everywhere that each candidate stands; without candidates all words but one's own."""
    if candidates:
        return {candidate: find_all(read.text, candidate) for candidate in candidates}
    spans = defaultdict[str, list[Span]](list)
    for begin, end in read.words():
        if max(begin, own[0]) >= min(end, own[1]):
            spans[read.text[begin:end]].append((begin, end))
    return spans


def rows(found: Pronoun) -> list[dict[str, Any]]:
    """A line for each candidate: the mean over all heads, the head that attends most, and a uniform head; None where
    the model cannot look."""
    lines: list[dict[str, Any]] = []
    for n, candidate in enumerate(found.candidates):
        line: dict[str, Any] = {"candidate": candidate}
        for way, weights, even in (("to", found.to, found.uniform_to), ("back", found.back, found.uniform_back)):
            one = weights[:, :, n]
            line |= dict.fromkeys((f"{way}_mean", f"{way}_most", f"{way}_head", f"{way}_uniform"))
            if np.isfinite(one).all():
                layer, head = np.unravel_index(one.argmax(), one.shape)
                best, name = float(one.max()), f"layer {layer} head {head}"
                line |= {f"{way}_mean": float(one.mean()), f"{way}_most": best, f"{way}_head": name}
                line[f"{way}_uniform"] = float(even[n])
        lines.append(line)
    return lines


def view_of(run: Run, found: Pronoun) -> View:
    """The same as a view."""
    data = {"subtitle": run.path.name, **found._asdict(), "warning": said_unknown(found.unknown)}
    return View("pronoun", found.text, data, {}, lambda: figure(found), found._asdict(), rows(found))


@styled
def figure(found: Pronoun) -> Figure:
    """Two tables of weights: a row for each head, below them the mean and a uniform head; a column each candidate."""
    layers, heads, many = found.to.shape
    names = [f"layer {layer} head {head}" for layer, head in np.ndindex(layers, heads)]
    cell, tall = 0.42, max(0.15, min(0.24, 9.0 / (len(names) + 2)))
    columns = [visible(candidate, 14) for candidate in found.candidates]
    deep = max(text_width(name, 8.5) for name in columns) + 0.25
    word = f"“{visible(found.word, 14)}”"
    looks, looked = f"{word} looks at", f"{word} is looked at by"
    left, top, wide, high = 1.25, 1.15 if found.unknown else 0.95, cell * many, tall * (len(names) + 2)
    gap = max(0.3, text_width(looks, 9.0) + 0.2 - wide)
    right = max(wide, text_width(looked, 9.0))
    width, height = max(left + wide + gap + right + 0.3, 4.6), top + high + deep + 0.15
    page = new_figure(width, height)
    page.text(0.2 / width, 1 - 0.32 / height, fitted(found.text, 10.0, width - 0.4), fontsize=10, parse_math=False)
    parts = (
        (looks, found.to, found.uniform_to),
        (looked, found.back, found.uniform_back),
    )
    most = max(float(np.nanmax(part, initial=1e-9)) for _, part, _ in parts)
    for number, (title, weights, even) in enumerate(parts):
        flat = weights.reshape(-1, many)
        table = np.concatenate([flat, flat.mean(0)[None], even[None]])
        x = left + number * (wide + gap)
        axes = page.add_axes((x / width, (deep + 0.15) / height, wide / width, high / height))
        axes.imshow(np.nan_to_num(table), cmap=GLASS, vmin=0, vmax=most, aspect="auto", interpolation="nearest")
        axes.axhline(len(names) - 0.5, color=COLOURS["ink"], linewidth=0.8)
        axes.spines[:].set_visible(True)
        axes.set_xticks(range(many), columns, rotation=90, fontsize=8.5, parse_math=False)
        axes.set_yticks(range(len(table)), [*names, "mean", "uniform head"] if number == 0 else [""] * len(table))
        axes.tick_params(length=0, labelcolor=COLOURS["ink"])
        axes.tick_params(axis="y", labelsize=min(8.5, tall * 60))
        axes.set_title(title, loc="left", fontsize=9, pad=5, parse_math=False)
        for (row, column), weight in np.ndenumerate(table):
            said = "–" if np.isnan(weight) else f"{100 * weight:.0f}"
            colour = ink_on(0.0 if np.isnan(weight) else weight / most)
            axes.text(column, row, said, ha="center", va="center", fontsize=min(7.0, tall * 45), color=colour)
    page.text(0.2 / width, 1 - 0.55 / height, "attention in hundredths", fontsize=8, color=COLOURS["muted"])
    if found.unknown:
        how: dict[str, Any] = {"fontsize": 8, "color": COLOURS["wrong"], "parse_math": False}
        page.text(0.2 / width, 1 - 0.75 / height, fitted(said_unknown(found.unknown), 8.0, width - 0.4), **how)
    return page


def make(run: Run, text: str, word: str = "it", candidates: Sequence[str] = (), nth: int | None = None) -> View:
    """Attention between a word and what it may refer to."""
    return view_of(run, pronoun(run, text, word, candidates, nth))
