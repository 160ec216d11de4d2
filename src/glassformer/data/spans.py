"""Places in a text, each perhaps with a label: words with their tags, answers to a question. Here they are characters,
as people give them; `span_columns.py` makes tokens of them."""

from collections.abc import Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Characters `start` up to and without `end` of a text."""

    start: int
    end: int
    label: str = ""


class Annotated(NamedTuple):
    """A text and places in it, in order."""

    text: str
    spans: tuple[Span, ...]

    @property
    def words(self) -> list[str]:
        """What stands at its places."""
        return [self.text[span.start : span.end] for span in self.spans]

    @classmethod
    def of_words(cls, words: Sequence[str], tags: Sequence[str] = ()) -> "Annotated":
        """Words with a space between, each perhaps with its tag."""
        spans: list[Span] = []
        at = 0
        for number, word in enumerate(words):
            spans.append(Span(at, at + len(word), tags[number] if tags else ""))
            at += len(word) + 1
        return cls(" ".join(words), tuple(spans))
