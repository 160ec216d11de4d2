"""Answers by the words that a text shares with the question: what reading must beat.

best_sentence    the whole sentence that has most of the question's words
sliding_window   in that sentence, a few words beside those (after Richardson, Burges and Renshaw 2013, algorithm 1)

A word weighs log(1 + 1 / how often it stands in the text): words that are everywhere say little about the place. Of the
paper's window, which slides over the text and adds up the weights of the question's words, the question's length is
kept; candidates are runs of words that the question has not, since here nobody offers four answers.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from glassformer.data.scripts import words_in

LONGEST = 4
"""Words of a candidate."""
_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")

Span = tuple[int, int]


def best_sentence(text: str, question: str) -> str:
    """The first of those that weigh most."""
    begin, end = _sentence(text, question)
    return text[begin:end].strip()


def sliding_window(text: str, question: str) -> str:
    """The candidate beside the most weight; of equal ones the one that itself weighs most, and of these the first. The
    sentence itself where it has only words of the question."""
    begin, end = _sentence(text, question)
    spans = [(begin + a, begin + b) for a, b in words_in(text[begin:end])]
    words, asked = [text[a:b].lower() for a, b in spans], _words(question)
    weight = _weights(text)
    size = max(len(asked), LONGEST)
    best: tuple[tuple[float, float], Span] | None = None
    for first in range(len(words)):
        for behind in range(first + 1, min(first + LONGEST, len(words)) + 1):
            candidate = words[first:behind]
            if set(candidate) & asked or re.search(r"[,;:()]", text[spans[first][0] : spans[behind - 1][1]]):
                break
            beside = max(
                sum(weight.get(word, 0.0) for word in words[start : start + size] if word in asked)
                for start in range(max(0, behind - size), first + 1)
            )
            value = (beside, sum(weight.get(word, 0.0) for word in candidate))
            if best is None or value > best[0]:
                best = value, (spans[first][0], spans[behind - 1][1])
    return text[begin:end].strip() if best is None else text[slice(*best[1])]


def _sentence(text: str, question: str) -> Span:
    borders = [0, *(match.end() for match in _END.finditer(text)), len(text)]
    spans = [(a, b) for a, b in pairwise(borders) if text[a:b].strip()] or [(0, len(text))]
    asked, weight = _words(question), _weights(text)
    return max(spans, key=lambda span: sum(weight.get(word, 0.0) for word in _words(text[slice(*span)]) & asked))


def _weights(text: str) -> dict[str, float]:
    counts = Counter(_listed(text))
    return {word: math.log(1 + 1 / count) for word, count in counts.items()}


def _words(text: str) -> set[str]:
    return set(_listed(text))


def _listed(text: str) -> Sequence[str]:
    return [text[a:b].lower() for a, b in words_in(text)]
