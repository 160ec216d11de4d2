"""Where sentences begin, in characters and in tokens.

    Dr. Smith came. He left at 3.5 p.m. today.      characters 0 and 16

The rules are those of the library `sentencex`: by language, with its abbreviations, and nothing to download. What is
added here: a line ends a sentence, and a full stop inside a word ends none.
"""

import numpy as np
import sentencex
from jaxtyping import Bool

from glassformer.data.tokenizer import Encoded

_LINE_ENDS = "\x85\u2028\u2029"
_PLAIN = {ord(c): "\n" if c in _LINE_ENDS else " " for c in map(chr, range(0x80, 0x3001)) if c.isspace()}
"""White space of several bytes, of which some is more than the library can count with (seen with sentencex 1.0.32)."""


def sentence_starts(text: str, language: str) -> list[int]:
    """The characters at which sentences begin. White space between two sentences belongs to neither.

    `language` is a code such as "en"; one that the library does not know has its most general rules.
    """
    starts: list[int] = []
    begin = 0
    for line in text.translate(_PLAIN).split("\n"):
        at, ended = begin, True
        for piece in sentencex.segment(language, line):
            if ended and not piece.isspace():
                starts.append(at + len(piece) - len(piece.lstrip()))
            at += len(piece)
            # "0 @.@ 7" and "example.org" go on; a mark such as 。 needs no space behind it
            ended = piece[-1].isspace() or not piece[-1].isascii()
        begin += len(line) + 1
    return starts


def starts_sentence(text: str, encoded: Encoded, language: str) -> Bool[np.ndarray, "n"]:
    """True for the first token of each sentence of a tokenized text; white space before the text is of its first."""
    return starting_at(sentence_starts(text, language)[1:], encoded)


def starting_at(characters: list[int], encoded: Encoded, begins: bool = True) -> Bool[np.ndarray, "n"]:
    """True for the first token at or behind each of these characters, and for the very first one where a sentence
    `begins` the text."""
    flags = np.zeros(len(encoded.ids), dtype=bool)
    flags[:1] = begins
    ends = np.maximum.accumulate(np.array([end for _, end in encoded.offsets], dtype=np.int64))
    first = np.searchsorted(ends, np.array(characters, dtype=np.int64), side="right")
    flags[first[first < len(flags)]] = True
    return flags
