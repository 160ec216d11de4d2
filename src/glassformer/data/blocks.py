"""Documents -> blocks of tokens. A block is what is tokenized at once, and bounds the memory: a long document lies in
several blocks, and many short ones in one."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt

from glassformer.data.known_words import KnownWords
from glassformer.data.long_texts import parts_of
from glassformer.data.sentences import sentence_starts, starting_at
from glassformer.data.tokenizer import Together, Tokenizer

BLOCK_CHARACTERS = 2**18
BLOCK_TEXTS = 2**14
"""What is tokenized at once: so many characters, or so many texts where they are short."""


class Block(NamedTuple):
    """Some text, tokenized."""

    tokens: UInt[np.ndarray, "n"]
    starts_word: Bool[np.ndarray, "n"]
    starts_sentence: Bool[np.ndarray, "n"] | None
    lengths: Int64[np.ndarray, "d"]
    """Tokens of each document that ends here, those in earlier blocks included."""
    n_bytes: int
    n_unknown: int


class _Piece(NamedTuple):
    """A part of a document that waits to be tokenized."""

    text: str
    begins_word: bool
    ends: bool
    extra: int
    sentences: list[int] | None
    """Where sentences begin in it, the document's first one left out; None where nobody asks."""
    begins: bool


class Blocks:
    """Takes documents one by one and gives blocks: `add` and at last `rest`.

    Documents that give no token are left out, unless `keep_empty` asks for them; with a `language` sentences are
    marked. Raises UsageError for a lone surrogate.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        keep_empty: bool = False,
        language: str | None = None,
        words: KnownWords | None = None,
    ) -> None:
        """`words` are those of the tokenizer that are known already: several stores may share them."""
        self.tokenizer, self.keep_empty, self.language = tokenizer, keep_empty, language
        self._words = words or KnownWords(tokenizer)
        self._dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
        self._waiting: list[_Piece] = []
        self._characters = 0
        self._open = np.zeros(2, dtype=np.int64)
        """Tokens and bytes of a document that has begun and not ended."""

    def add(self, document: str) -> Iterator[Block]:
        """The blocks that are full with this document."""
        at, sentences = 0, None
        if self.language is not None:
            sentences = np.array(sentence_starts(document, self.language)[1:], dtype=np.int64)
        for part in parts_of(document, self._tokenize):
            inside = None
            if sentences is not None:
                inside = (sentences[(at <= sentences) & (sentences < at + len(part.text))] - at).tolist()
            self._waiting.append(_Piece(*part, sentences=inside, begins=at == 0))
            at += len(part.text)
            self._characters += len(part.text)
            if self._characters >= BLOCK_CHARACTERS or len(self._waiting) >= BLOCK_TEXTS:
                yield from self.rest()

    def rest(self) -> Iterator[Block]:
        """What waits, as a block."""
        if self._waiting:
            waiting, self._waiting, self._characters = self._waiting, [], 0
            yield self._block(waiting)

    def _tokenize(self, text: str) -> tuple[Int64[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
        encoded = self.tokenizer.encode(text)
        return encoded.ids, encoded.starts_word

    def _block(self, pieces: list[_Piece]) -> Block:
        together, sentences = _without_extra(pieces, *self._encoded(pieces))
        tokens, starts_word = together.ids.astype(self._dtype), together.starts_word
        begins = np.cumsum(together.lengths) - together.lengths
        some = together.lengths > 0
        starts_word[begins[some]] = np.array([piece.begins_word for piece in pieces])[some]
        lengths, sizes = self._documents(pieces, together.lengths)
        return Block(
            tokens,
            starts_word,
            sentences,
            lengths if self.keep_empty else lengths[lengths > 0],
            int(sizes[lengths > 0].sum()),
            int((tokens == self.tokenizer.unk_id).sum()),
        )

    def _encoded(self, pieces: list[_Piece]) -> tuple[Together, Bool[np.ndarray, "n"] | None]:
        texts = [piece.text for piece in pieces]
        if self.language is None:
            return self._words.encode_together(texts), None
        encoded = self.tokenizer.encode_batch(texts)
        together = Together(
            np.concatenate([one.ids for one in encoded]),
            np.concatenate([one.starts_word for one in encoded]),
            np.array([len(one.ids) for one in encoded], dtype=np.int64),
        )
        marks = [
            starting_at(piece.sentences or [], one, piece.begins) for piece, one in zip(pieces, encoded, strict=True)
        ]
        return together, np.concatenate(marks)

    def _documents(
        self, pieces: list[_Piece], lengths: Int64[np.ndarray, "p"]
    ) -> tuple[Int64[np.ndarray, "d"], Int64[np.ndarray, "d"]]:
        """Tokens and bytes of the documents that end with these pieces; what is left over is of the open one."""
        sizes = np.array([len(piece.text.encode()) for piece in pieces], dtype=np.int64)
        so_far = np.cumsum(np.stack([lengths, sizes]), axis=1) + self._open[:, None]
        ends = np.array([piece.ends for piece in pieces])
        documents = np.diff(so_far[:, ends], axis=1, prepend=0)
        self._open = so_far[:, -1] - documents.sum(axis=1)
        return documents[0], documents[1]


def _without_extra(
    pieces: list[_Piece], together: Together, sentences: Bool[np.ndarray, "n"] | None
) -> tuple[Together, Bool[np.ndarray, "n"] | None]:
    """Without the tokens that only mark the beginning of a part; a sentence that begins there begins behind it."""
    extra = np.array([piece.extra for piece in pieces])
    if not extra.any():
        return together, sentences
    begins = (np.cumsum(together.lengths) - together.lengths)[extra == 1]
    if sentences is not None:
        sentences[begins + 1] |= sentences[begins]
        sentences = np.delete(sentences, begins)
    ids, starts_word = (np.delete(each, begins) for each in (together.ids, together.starts_word))
    return Together(ids, starts_word, together.lengths - extra), sentences


def blocks(
    documents: Iterable[str], tokenizer: Tokenizer, keep_empty: bool = False, language: str | None = None
) -> Iterator[Block]:
    """All documents as blocks, in order."""
    made = Blocks(tokenizer, keep_empty, language)
    for document in documents:
        yield from made.add(document)
    yield from made.rest()
