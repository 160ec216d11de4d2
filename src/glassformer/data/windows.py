"""How a corpus is cut into pieces that a model can read: each document by itself, all in one stream, or each document
as runs of whole sentences."""

from array import array
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from glassformer.data.corpus import Corpus


def all_pieces(lengths: Int64[np.ndarray, "d"], room: int) -> Int64[np.ndarray, "3 p"]:
    """Each of d texts cut into as few pieces of nearly equal length as fit into `room`; none of nothing. Of each piece
    the number of its text, and where it begins and ends in it."""
    number = -(-lengths // room)
    text = np.repeat(np.arange(len(lengths)), number)
    i = np.arange(len(text)) - np.repeat(np.cumsum(number) - number, number)
    return np.stack([text, lengths[text] * i // number[text], lengths[text] * (i + 1) // number[text]])


def _known(sentences: Bool[np.ndarray, "n"] | None) -> Bool[np.ndarray, "n"]:
    if sentences is None:
        raise ValueError("this corpus was made without a language, and does not know where sentences begin")
    return sentences


class DocumentWindows:
    """Each document by itself; one with more than `room` tokens becomes several windows of equal length."""

    def __init__(self, corpus: Corpus, room: int) -> None:
        self.tokens, self.starts_word = np.asarray(corpus.tokens), np.asarray(corpus.starts_word)
        self.sentences = corpus.starts_sentence
        document, begins, ends = all_pieces(corpus.lengths, room)
        self.windows = np.stack([begins, ends], axis=1) + corpus.document_starts[document][:, None]
        self.lengths = ends - begins

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
        begins = np.append(np.flatnonzero(_known(corpus.starts_sentence)), corpus.n_tokens)
        sentence, inside, _ = all_pieces(np.diff(begins), room // 2)
        self.starts = np.append(begins[sentence] + inside, corpus.n_tokens).astype(np.int64)
        borders = np.searchsorted(self.starts, corpus.document_starts)
        documents = np.repeat(np.arange(corpus.n_documents), np.diff(borders))
        # from each sentence: where the next one begins that no longer fits
        stops = np.searchsorted(self.starts, self.starts[:-1] + room, side="right") - 1
        stops = np.minimum(stops, borders[1:][documents])
        self.runs = _runs(stops, borders[documents])
        self.documents = documents[self.runs[:, 0]]
        self.lengths = self.starts[self.runs[:, 1]] - self.starts[self.runs[:, 0]]

    def sentences(self, begin: int, end: int) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
        """Tokens of the sentences `begin` to `end`, and which of them begin a word."""
        a, b = self.starts[begin], self.starts[end]
        return self.tokens[a:b].astype(np.int64), np.asarray(self.starts_word[a:b])


def _runs(stops: Int64[np.ndarray, "s"], begins: Int64[np.ndarray, "s"]) -> Int64[np.ndarray, "r 2"]:
    """From stop to stop. Of each sentence: where a run that begins there ends, and where its document begins."""
    found = array("q")
    at = 0
    while at < len(stops):
        stop = int(stops[at])
        found.append(at - 1 if stop - at == 1 and at > begins[at] else at)
        found.append(stop)
        at = stop
    return np.array(found, dtype=np.int64).reshape(-1, 2)
