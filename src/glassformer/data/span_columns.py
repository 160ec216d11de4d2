"""Columns of places in texts (`spans.py`). People give them in characters, models read tokens.

Mars is red      Mars NAME, is O, red O     (0, 4, NAME) (5, 7, O) (8, 11, O)      characters
▁Ma rs ▁is ▁red                             (0, 2, 1)    (2, 3, 0) (3, 4, 0)       tokens, numbers of labels
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from glassformer.data.labels import Labels
from glassformer.data.roles import Role
from glassformer.data.spans import Annotated
from glassformer.data.table import Cell, Codec, Column
from glassformer.data.tokenizer import Encoded, Tokenizer


def tokens_at(encoded: Encoded, spans: Sequence[tuple[int, int]]) -> Int64[np.ndarray, "n 2"]:
    """Of each of these places (characters) the first token that stands in it, and the one behind the last. Where a
    place has no token, as one of control characters, these are equal."""
    if not len(encoded.offsets):
        return np.zeros((len(spans), 2), dtype=np.int64)
    starts, ends = np.array(encoded.offsets, dtype=np.int64).reshape(-1, 2).T
    given = np.array(spans, dtype=np.int64).reshape(-1, 2)
    first = np.searchsorted(ends, given[:, 0], side="right")
    behind = np.searchsorted(starts, given[:, 1], side="left")
    return np.stack([first, np.maximum(first, behind)], axis=1)


class Spans(Codec):
    """How the places of a row become numbers: first token, token behind the last, and number of the label (0 where
    there are no labels)."""

    dtype = np.dtype(np.int32)
    shape = (3,)

    def __init__(self, tokenizer: Tokenizer, labels: Labels | None = None) -> None:
        self.tokenizer, self.labels = tokenizer, labels
        self._last: tuple[str, Encoded] | None = None

    @cached_property
    def identity(self) -> str:
        """Another one for another tokenizer, or other labels."""
        labels = "" if self.labels is None else self.labels.identity
        return hashlib.sha256(json.dumps(["spans 1", self.tokenizer.identity, labels]).encode()).hexdigest()

    def encode(self, cell: Cell) -> Int32[np.ndarray, "n 3"]:
        """Of one row. Raises UsageError for a label that is not known."""
        text, spans = cell.value
        if self._last is None or self._last[0] != text:  # questions about one text stand side by side
            self._last = text, self.tokenizer.encode(text)
        places = tokens_at(self._last[1], [(span.start, span.end) for span in spans])
        numbers = [0 if self.labels is None else self.labels.encode(Cell(span.label, cell.place)) for span in spans]
        return np.column_stack([places, np.array(numbers, dtype=np.int64)]).astype(np.int32)


@dataclass(frozen=True, eq=False)
class SpanColumn(Column):
    """Any number of places for each row, mapped from files or in memory."""

    places: Int32[np.ndarray, "n 3"]
    """Of each its first token, the token behind its last, and the number of its label."""
    row_starts: Int64[np.ndarray, "rows_plus_1"]
    beside: Mapping[Role, Column] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[Annotated], codec: Spans) -> "SpanColumn":
        """A small one in memory. Raises what the codec raises."""
        encoded = [codec.encode(Cell(row, f"row {n}")) for n, row in enumerate(rows, start=1)]
        starts = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
        return cls(np.concatenate(encoded) if encoded else np.zeros((0, 3), np.int32), starts)

    @property
    def n_rows(self) -> int:
        return len(self.row_starts) - 1

    def row(self, index: int) -> Int64[np.ndarray, "n 3"]:
        """The places of one row. Raises IndexError beyond the last."""
        if not 0 <= index < self.n_rows:
            raise IndexError(f"row {index} of {self.n_rows}")
        return np.asarray(self.places[self.row_starts[index] : self.row_starts[index + 1]]).astype(np.int64)

    def _digest(self) -> "hashlib._Hash":
        """Over places and the borders of rows."""
        digest: Any = hashlib.sha256(b"spans")
        for array in (self.row_starts, self.places):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest
