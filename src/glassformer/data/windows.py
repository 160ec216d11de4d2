"""How a corpus is cut into pieces that a model can read: each document by itself, all in one stream, or each document
as runs of whole sentences."""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from glassformer.data.corpus import Corpus


def pieces(length: int, room: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of as few pieces of nearly equal length as fit into `room`; none of nothing."""
    number = -(-length // room)
    for i in range(number):
        yield length * i // number, length * (i + 1) // number


def _known(sentences: Bool[np.ndarray, "n"] | None) -> Bool[np.ndarray, "n"]:
    if sentences is None:
        raise ValueError("this corpus was made without a language, and does not know where sentences begin")
    return sentences


class DocumentWindows:
    """Each document by itself; one with more than `room` tokens becomes several windows of equal length."""

    def __init__(self, corpus: Corpus, room: int) -> None:
        self.tokens, self.starts_word = np.asarray(corpus.tokens), np.asarray(corpus.starts_word)
        self.sentences = corpus.starts_sentence
        documents = zip(corpus.document_starts[:-1].tolist(), corpus.lengths.tolist(), strict=True)
        windows = [(start + a, start + b) for start, length in documents for a, b in pieces(length, room)]
        self.windows = np.array(windows, dtype=np.int64).reshape(-1, 2)
        self.lengths = self.windows[:, 1] - self.windows[:, 0]

    def __getitem__(self, index: int) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
        """Tokens of window `index`, and which of them begin a word."""
        start, end = self.windows[index]
        return self.tokens[start:end].astype(np.int64), np.asarray(self.starts_word[start:end])

    def starts_sentence(self, index: int) -> Bool[np.ndarray, "T"]:
        """Which tokens of window `index` begin a sentence. Raises ValueError where the corpus does not know."""
        start, end = self.windows[index]
        return np.asarray(_known(self.sentences)[start:end])


class StreamWindows:
    """All documents one after another, a separator after each, cut into rows of exactly `length` tokens (the last one
    shorter), as RoBERTa's full sentences (Liu et al. 2019, section 4.2). `overlap` tokens of a row come again at the
    start of the next."""

    def __init__(self, corpus: Corpus, separator: int, length: int, overlap: int = 0) -> None:
        self.tokens, self.starts_word = np.asarray(corpus.tokens), np.asarray(corpus.starts_word)
        self.sentences = corpus.starts_sentence
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
        ids = self._separated(self.tokens, self.separator, begin, end)
        return ids.astype(np.int64), self._separated(self.starts_word, True, begin, end)

    def starts_sentence(self, index: int) -> Bool[np.ndarray, "T"]:
        """Which tokens of row `index` begin a sentence; a separator goes with what it ends. Raises ValueError where the
        corpus does not know."""
        begin = int(self.begins[index])
        return self._separated(_known(self.sentences), False, begin, begin + int(self.lengths[index]))

    def _separated(self, values: np.ndarray, separator: int, begin: int, end: int) -> np.ndarray:
        """What belongs to places `begin` to `end` of the stream, with `separator` between documents."""
        document = int(np.searchsorted(self.starts, begin, side="right")) - 1
        between = np.array([separator], dtype=values.dtype)
        found: list[np.ndarray] = []
        at = begin
        while at < end:
            stop = min(end, int(self.starts[document + 1]) - 1)  # the separator's place
            found.append(values[at - document : stop - document])
            if stop < end:
                found.append(between)
            at = stop + 1
            document += 1
        return np.concatenate(found)


def windows_of(
    corpus: Corpus, units: Literal["documents", "stream"], separator: int, room: int
) -> DocumentWindows | StreamWindows:
    """The windows that a recipe's `objective.units` asks for, of at most `room` tokens."""
    return StreamWindows(corpus, separator, room) if units == "stream" else DocumentWindows(corpus, room)


class SentenceRuns:
    """Each document as runs of whole sentences, each run as many as have `room` together, and at least two where the
    document has two. A sentence of more than half the room is cut into pieces that count as sentences, so that any two
    neighbours fit. A last sentence that would be alone is read once more with the one before it.

    `starts` are the tokens at which the sentences begin, and at last the number of all tokens; run i are the sentences
    `runs[i, 0]` up to and without `runs[i, 1]`, and of document `documents[i]`. Raises ValueError where the corpus does
    not know its sentences.
    """

    def __init__(self, corpus: Corpus, room: int) -> None:
        self.tokens, self.starts_word = np.asarray(corpus.tokens), np.asarray(corpus.starts_word)
        begins = np.append(np.flatnonzero(_known(corpus.starts_sentence)), corpus.n_tokens).tolist()
        starts = [a + begin for a, b in pairwise(begins) for begin, _ in pieces(b - a, room // 2)]
        starts.append(corpus.n_tokens)
        self.starts = np.array(starts, dtype=np.int64)
        runs: list[tuple[int, int]] = []
        documents: list[int] = []
        borders = np.searchsorted(self.starts, corpus.document_starts).tolist()
        for document, (begin, end) in enumerate(pairwise(borders)):
            found = list(_runs(starts, begin, end, room))
            runs += found
            documents += [document] * len(found)
        self.runs = np.array(runs, dtype=np.int64).reshape(-1, 2)
        self.documents = np.array(documents, dtype=np.int64)
        self.lengths = self.starts[self.runs[:, 1]] - self.starts[self.runs[:, 0]]

    def sentences(self, begin: int, end: int) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
        """Tokens of the sentences `begin` to `end`, and which of them begin a word."""
        a, b = self.starts[begin], self.starts[end]
        return self.tokens[a:b].astype(np.int64), np.asarray(self.starts_word[a:b])


def _runs(starts: list[int], begin: int, end: int, room: int) -> Iterator[tuple[int, int]]:
    """The runs of one document, whose sentences are `begin` to `end`."""
    at = begin
    while at < end:
        stop = min(end, bisect_right(starts, starts[at] + room) - 1)
        yield (at - 1 if stop - at == 1 and at > begin else at), stop
        at = stop
