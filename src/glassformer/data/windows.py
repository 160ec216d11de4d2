"""How a corpus is cut into pieces that a model can read: each document by itself, or all in one stream."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from glassformer.data.corpus import Corpus


def pieces(length: int, room: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of as few pieces of nearly equal length as fit into `room`; none of nothing."""
    number = -(-length // room)
    for i in range(number):
        yield length * i // number, length * (i + 1) // number


class DocumentWindows:
    """Each document by itself; one with more than `room` tokens becomes several windows of equal length."""

    def __init__(self, corpus: Corpus, room: int) -> None:
        self.tokens, self.starts_word = np.asarray(corpus.tokens), np.asarray(corpus.starts_word)
        documents = zip(corpus.document_starts[:-1].tolist(), corpus.lengths.tolist(), strict=True)
        windows = [(start + a, start + b) for start, length in documents for a, b in pieces(length, room)]
        self.windows = np.array(windows, dtype=np.int64).reshape(-1, 2)
        self.lengths = self.windows[:, 1] - self.windows[:, 0]

    def __getitem__(self, index: int) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
        """Tokens of window `index`, and which of them begin a word."""
        start, end = self.windows[index]
        return self.tokens[start:end].astype(np.int64), np.asarray(self.starts_word[start:end])


class StreamWindows:
    """All documents one after another, a separator after each, cut into rows of exactly `length` tokens (the last one
    shorter), as RoBERTa's full sentences (Liu et al. 2019, section 4.2). `overlap` tokens of a row come again at the
    start of the next."""

    def __init__(self, corpus: Corpus, separator: int, length: int, overlap: int = 0) -> None:
        self.tokens, self.starts_word = np.asarray(corpus.tokens), np.asarray(corpus.starts_word)
        self.separator = separator
        # In the stream, document d starts d separators later than in the store.
        self.starts = np.asarray(corpus.document_starts) + np.arange(corpus.n_documents + 1)
        total = corpus.n_tokens + corpus.n_documents
        self.begins = np.arange(0, max(1, total - overlap), length - overlap)
        self.lengths = np.minimum(self.begins + length, total) - self.begins

    def __getitem__(self, index: int) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
        """Tokens of row `index`, separators included, and which of them begin a word."""
        begin = int(self.begins[index])
        return self.row(begin, begin + int(self.lengths[index]))

    def row(self, begin: int, end: int) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
        """Tokens `begin` to `end` of the stream."""
        document = int(np.searchsorted(self.starts, begin, side="right")) - 1
        ids: list[np.ndarray] = []
        flags: list[np.ndarray] = []
        at = begin
        while at < end:
            stop = min(end, int(self.starts[document + 1]) - 1)  # the separator's place
            ids.append(self.tokens[at - document : stop - document].astype(np.int64))
            flags.append(self.starts_word[at - document : stop - document])
            if stop < end:
                ids.append(np.array([self.separator]))
                flags.append(np.array([True]))
            at = stop + 1
            document += 1
        return np.concatenate(ids), np.concatenate(flags)


def windows_of(
    corpus: Corpus, units: Literal["documents", "stream"], separator: int, room: int
) -> DocumentWindows | StreamWindows:
    """The windows that a recipe's `objective.units` asks for, of at most `room` tokens."""
    return StreamWindows(corpus, separator, room) if units == "stream" else DocumentWindows(corpus, room)
