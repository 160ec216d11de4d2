"""Each different word is cut once: a large text repeats its words, and the library's work is for the characters.

    "Mars is red. Mars is small."  ->  Mars | ▁is | ▁red. | ▁Mars | ▁is | ▁small.      five different pieces, six in all

A piece is a word with the white space before it. That a text's tokens are those of its pieces is a property of the
tokenizer (`cuts_at_spaces`); where it does not hold, or a text is in a script without spaces, the library gets the
whole texts.
"""

import re
from collections.abc import Sequence
from itertools import chain, islice

import numpy as np
from jaxtyping import Int64

from glassformer.data.tokenizer import Together, Tokenizer

_PIECE = re.compile(r"\s*\S+(?:[^\S ]\s*\S+)*(?:[^\S ]\s*\Z)?|\s+")
"""A cut lies before a space that stands behind a word: of white space in a row tokenizers make tokens of their own."""
_LONG_PIECE = 32
"""Mean length of a piece from which on there are no words that come again."""
_MOST_PIECES = 2**18
_MOST_CHARACTERS = 2**23
"""Of pieces that are kept; when there are more, all are forgotten."""


_FIRST = "\0"


def _keys(text: str) -> list[str]:
    """A text's pieces; of the first one the key has a mark, and a word behind a single space, as most are, is its own
    key without the space: such texts are cut by the fastest way there is."""
    if text.isprintable() and "  " not in text:  # no white space but single spaces
        keys = text.split(" ")
    else:
        keys = _PIECE.findall(text) or [""]
    keys[0] = _FIRST + keys[0]
    return keys


def _piece(key: str) -> str:
    if key.startswith(_FIRST):
        return key[1:]
    return key if key[:1].isspace() else f" {key}"


class _Numbers(dict[str, int]):
    """The numbers of the pieces, in the order in which they came."""

    def __missing__(self, piece: str) -> int:
        number = self[piece] = len(self)
        return number


class KnownWords:
    """A tokenizer with the words that it has cut so far."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._forget()

    def encode_together(self, texts: Sequence[str]) -> Together:
        """As `Tokenizer.encode_together`, and the same."""
        if not self.tokenizer.cuts_at_spaces:
            return self.tokenizer.encode_together(texts)
        pieces = [_keys(text) for text in texts]
        number = sum(map(len, pieces))
        if sum(map(len, texts)) > _LONG_PIECE * number:
            return self.tokenizer.encode_together(texts)
        which = np.fromiter(map(self._numbers.__getitem__, chain.from_iterable(pieces)), dtype=np.int64, count=number)
        self._learn()
        together = self._looked_up(which, np.array([len(one) for one in pieces], dtype=np.int64))
        if len(self._numbers) > _MOST_PIECES or self._characters > _MOST_CHARACTERS:
            self._forget()
        return together

    def _forget(self) -> None:
        self._numbers = _Numbers()
        self._characters = 0
        self._known = self.tokenizer.encode_together([])

    def _learn(self) -> None:
        """The tokens of the pieces that are new."""
        known = len(self._known.lengths)
        if len(self._numbers) == known:
            return
        new = [_piece(key) for key in islice(self._numbers, known, None)]
        self._characters += sum(map(len, new))
        more = self.tokenizer.encode_together(new)
        self._known = Together(*(np.concatenate(pair) for pair in zip(self._known, more, strict=True)))

    def _looked_up(self, which: Int64[np.ndarray, "pieces"], pieces_each: Int64[np.ndarray, "d"]) -> Together:
        """The tokens of pieces, and how many tokens each text has."""
        starts = np.cumsum(self._known.lengths) - self._known.lengths
        lengths = self._known.lengths[which]
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        places = np.repeat(starts[which] - (ends - lengths), lengths) + np.arange(total)
        up_to = np.append(0, ends)[np.append(0, np.cumsum(pieces_each))]
        return Together(self._known.ids[places], self._known.starts_word[places], np.diff(up_to))
