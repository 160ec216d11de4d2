"""A long text in bounded parts: the library needs about 130 bytes of memory for each character that it cuts at once.

A border lies before the first white space behind a word, since kinds that cut at white space have the same tokens on
both sides of it then. Whether that is so is tried with the tokenizer itself, on the text around the border: another
one's rules are not known. In a text without spaces any place is tried, but none before a mark that belongs to a letter.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from glassformer.data.scripts import JOINERS

PART = 2**16
"""Characters of a part at most; a shorter text is left whole."""
_AROUND = 256
"""Characters on each side of a border that are tried."""
_BORDERS = 8
"""How many places before white space are tried, and four times as many others."""
_BEHIND_A_WORD = re.compile(r"(?<=\S)\s")


class Part(NamedTuple):
    """A part of a text."""

    text: str
    begins_word: bool = True
    """Whether its first token is the first of a word in the whole text too."""
    ends: bool = True
    """Whether it is the last one."""
    extra: int = 0
    """Tokens at its beginning that are not in the whole: some tokenizers mark the beginning of every text."""


class Start(NamedTuple):
    """How a part begins; see Part."""

    begins_word: bool = True
    extra: int = 0


Tokenize = Callable[[str], tuple[Integer[np.ndarray, "n"], Bool[np.ndarray, "n"]]]
"""A text's tokens, and which of them begin a word."""


def parts_of(text: str, tokenize: Tokenize | None = None, size: int = PART) -> Iterator[Part]:
    """A text in parts of at most `size` characters; a short one is its own part. With `tokenize` their tokens are those
    of the whole, where such borders are found; without, they end where words end."""
    begin, start = 0, Start()
    while len(text) - begin > size:
        border, following = _border(text, begin + size // 2, begin + size, tokenize)
        yield Part(text[begin:border], start.begins_word, ends=False, extra=start.extra)
        begin, start = border, following
    yield Part(text[begin:] if begin else text, start.begins_word, extra=start.extra)


def _border(text: str, low: int, high: int, tokenize: Tokenize | None) -> tuple[int, Start]:
    """The last good place to cut between `low` and `high`, and how what follows begins."""
    spaces = [low - 1 + found.start() for found in _BEHIND_A_WORD.finditer(text[low - 1 : high])][-_BORDERS:][::-1]
    others = _between_letters(text, low, high)
    if tokenize is None:
        return next(iter([*spaces, *others])), Start()
    for place in [*spaces, *others]:
        start = _cuts_nothing(text[max(0, place - _AROUND) : place], text[place : place + _AROUND], tokenize)
        if start is not None:
            return place, start
    return next(iter([*spaces, *others])), Start()


def _between_letters(text: str, low: int, high: int) -> list[int]:
    """The last places between two letters with their marks; the end where marks are all there is."""
    places = []
    for place in range(high, low, -1):
        if not _belongs_to_the_letter_before(text[place]) and text[place - 1] not in JOINERS:
            places.append(place)
        if len(places) == 4 * _BORDERS:
            break
    return places or [high]


def _belongs_to_the_letter_before(character: str) -> bool:
    return character in JOINERS or unicodedata.category(character).startswith("M")


def _cuts_nothing(before: str, behind: str, tokenize: Tokenize) -> Start | None:
    """How what stands behind a border begins; None where the tokens are others with the border than without."""
    whole, whole_words = tokenize(before + behind)
    (left, left_words), (right, right_words) = tokenize(before), tokenize(behind)
    extra = len(left) + len(right) - len(whole)
    if extra not in (0, 1) or not np.array_equal(whole, np.concatenate([left, right[extra:]])):
        return None
    words = np.concatenate([left_words, right_words[extra:]])
    border = slice(len(left), len(left) + 1)  # empty where nothing stands behind it
    begins_word = bool(whole_words[border].all())
    words[border] = begins_word
    return Start(begins_word, extra) if np.array_equal(words, whole_words) else None
