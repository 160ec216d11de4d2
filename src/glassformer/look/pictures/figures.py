"""What every static picture shares: one style, fonts, text that cannot lie, the same bytes every time.

Pictures are made with matplotlib's object interface (`Figure`, never pyplot), so they need no display and
leave no figure open. Two things are settled here once:

- Token text is a stranger's text. `visible` turns it into text that shows what is there: `$` starts no
  formula, a newline is `\\n`, a character that reorders or hides others is `<U+202E>`, and so is one that
  has no glyph.
- Equal input gives equal bytes: no date, no version, no random ids in a file.
"""

import io
import threading
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from glassformer.errors import GlassformerError, UsageError
from glassformer.formatting import without_marks

FORMATS = (".png", ".svg", ".pdf")
DPI = 150

# Ink and accents. The accents follow Okabe and Ito (2008), which colour-blind people can tell apart; wherever
# they carry a meaning, a shape or a word carries it too (a ring, "right", "wrong"): greyscale loses nothing.
COLOURS = {
    "ink": "#1f2933",
    "muted": "#616e7c",
    "rule": "#cbd2d9",
    "panel": "#f5f7fa",
    "ring": "#d81b2a",
    "right": "#00815e",
    "wrong": "#c25e00",
    "train": "#e69f00",
    "validation": "#0072b2",
    "second": "#56b4e9",
}

# Families in the order in which a glyph is looked for. matplotlib brings DejaVu Sans along; the others draw
# other scripts where the machine has them, and a character that none of them has is shown by its number.
FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
    "Noto Sans Thai",
)


@cache
def families() -> tuple[str, ...]:
    """Those of `FAMILIES` that this machine has."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(family for family in FAMILIES if family in installed)


STYLE: Any = {
    "font.family": list(families()),
    "font.size": 9.0,
    "text.usetex": False,
    "text.parse_math": False,  # a dollar sign in somebody's text is a dollar sign
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["rule"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.linewidth": 0.8,
    "axes.facecolor": "white",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.8,
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "auto",
    "savefig.bbox": None,
    "savefig.dpi": "figure",
    "svg.fonttype": "path",  # the page needs no font of ours, and no text of a stranger becomes markup
    "svg.hashsalt": "glassformer",
    "pdf.fonttype": 3,
    "path.simplify": True,
}

# matplotlib's settings belong to the whole process. The studio draws in several threads.
_SETTINGS = threading.RLock()

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorator: `draw` runs under `STYLE`; the person's own settings of matplotlib do not matter."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with _SETTINGS, mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


# ------------------------------------------------------------------------------------------------ safe text


def visible(text: str, limit: int = 24) -> str:
    """`text` as something that can be drawn and read, tokens as words: at most about `limit` characters, the rest an
    ellipsis.

    >>> visible("line\\nbreak"), visible("\\u202eevil"), visible(" the"), visible("a" * 200, 8)
    ('line\\\\nbreak', '<U+202E>evil', '␣the', 'aaaaaaa…')
    """
    if not text:
        return "<empty>"
    text = without_marks(text)
    # Looking at a few more characters than can be shown is enough, however long the text is.
    units = [_unit(text, place) for place in range(min(len(text), limit + 1))]
    if text[-1] == " " and len(text) <= limit:
        units[-1] = "␣"
    if units[0] == " ":
        units[0] = "␣"
    if len(text) <= limit and sum(map(len, units)) <= max(limit, len(units[0])):
        return "".join(units)
    return _shortened(units, limit - 1) + "…"


def _shortened(units: list[str], room: int) -> str:
    """The longest beginning of at most `room` characters; at least the first unit, never half of one."""
    shown = units[0]
    for unit in units[1:]:
        if len(shown) + len(unit) > room:
            break
        shown += unit
    return shown


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_MARKS = 3  # accents on one letter; a higher tower would be drawn over the lines above


def _unit(text: str, place: int) -> str:
    """The character at `place` as it is drawn: itself, on a dotted circle, or an escape."""
    character = text[place]
    if character in _SHORT:
        return _SHORT[character]
    kind = unicodedata.category(character)
    if kind[0] == "M":
        return _mark(text, place)
    hidden = kind[0] in "CZ" and character != " "
    return _escape(character) if hidden or not has_glyph(character) else character


def _mark(text: str, place: int) -> str:
    """A combining mark: on its letter, on a dotted circle where it has none, by number in a tower of them."""
    start = place
    while start > 0 and place - start < _MARKS and unicodedata.category(text[start - 1])[0] == "M":
        start -= 1
    if place - start >= _MARKS or not has_glyph(text[place]):
        return _escape(text[place])
    return "◌" + text[place] if start == place and (place == 0 or text[place - 1].isspace()) else text[place]


def _escape(character: str) -> str:
    return f"<U+{ord(character):04X}>"


@lru_cache(maxsize=4096)
def has_glyph(character: str) -> bool:
    """Whether one of our fonts can draw it."""
    return any(font.get_char_index(ord(character)) for font in _fonts())


@cache
def _fonts() -> tuple[Any, ...]:
    paths = [font_manager.findfont(FontProperties(family=[family])) for family in families()]
    return tuple(font_manager.get_font(path) for path in paths)


def right_to_left(tokens: list[str]) -> bool:
    """Whether a text is read from right to left: most of its letters that have a direction say so."""
    kinds = [unicodedata.bidirectional(letter) for token in tokens for letter in token[:64]]
    return sum(kind in ("R", "AL") for kind in kinds) > sum(kind == "L" for kind in kinds)


@lru_cache(maxsize=8192)
def text_width(text: str, size: float) -> float:
    """Width in inches of (visible) text drawn at `size` points."""
    with _SETTINGS, mpl.rc_context(STYLE):
        properties = FontProperties(family=list(families()), size=size)
        width, _, _ = _renderer().get_text_width_height_descent(text, properties, ismath=False)
    return width / _renderer().dpi


@cache
def _renderer() -> RendererAgg:
    """Only for measuring: at this resolution rounding to whole pixels does not matter."""
    return RendererAgg(1, 1, 576)


def fitted(text: str, size: float, room: float) -> str:
    """The longest visible form of `text` that is at most `room` inches wide at `size` points."""
    shown = visible(text, max(4, int(room * 72 / size * 4)))  # no letter is narrower than a quarter of its size
    limit = len(shown)
    while limit > 4 and text_width(shown, size) > room:
        limit -= max(1, limit // 16)
        shown = visible(text, limit)
    return shown


# --------------------------------------------------------------------------------------------------- colour


def _glass() -> ListedColormap:
    """White to deep blue along a straight line in Oklab (Ottosson, 2020): equal steps look equally big.

    Zero is the colour of the paper: what is not attended to is not drawn. Lightness falls all the way, so it
    also reads in greyscale and for every kind of colour vision.
    """
    dark = np.array([0.31, -0.02, -0.17])
    lab = np.array([1.0, 0.0, 0.0]) + np.linspace(0, 1, 256)[:, None] * (dark - np.array([1.0, 0.0, 0.0]))
    return ListedColormap(oklab_to_srgb(lab), name="glass")


def oklab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """Oklab to sRGB, both (..., 3); the matrices of Ottosson's definition."""
    to_cone = np.array(
        [
            [1.0, 0.3963377774, 0.2158037573],
            [1.0, -0.1055613458, -0.0638541728],
            [1.0, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_cone.T) ** 3 @ to_linear.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


GLASS = _glass()
SIGNED = LinearSegmentedColormap.from_list("signed", [COLOURS["wrong"], "#ffffff", COLOURS["validation"]])
"""Blue above zero, orange below."""


def ink_on(share: float) -> str:
    """The colour of text on `GLASS(share)`."""
    return "white" if share > 0.5 else COLOURS["ink"]


# ---------------------------------------------------------------------------------------------------- files


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    return Figure(figsize=(width, height), dpi=DPI)


@styled
def rendered(figure: Figure, suffix: str) -> bytes:
    """The bytes of the figure's file (`suffix` as in `FORMATS`): the same bytes for the same figure.

    Raises UsageError on a format that we do not write.
    """
    if suffix.lower() not in FORMATS:
        raise UsageError(
            f"cannot draw a picture as {suffix or 'a file without a suffix'!r}",
            f"a picture's file name ends in {', '.join(FORMATS)}",
        )
    metadata: dict[str, dict[str, str | None]] = {
        ".png": {"Software": "glassformer"},
        ".svg": {"Creator": "glassformer", "Date": None},
        ".pdf": {"Creator": "glassformer", "Producer": None, "CreationDate": None},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix.lower()[1:], metadata=metadata[suffix.lower()])
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> Path:
    """Writes the figure to `path` (.png, .svg or .pdf), making its folder; gives back the path.

    Raises UsageError on another suffix, GlassformerError where the file cannot be written.
    """
    path = Path(path)
    content = rendered(figure, path.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise GlassformerError(
            f"cannot write the picture {path}: {error.strerror or error}", "choose another --output"
        ) from error
    return path
