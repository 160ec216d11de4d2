"""Columns -> stores on disk. All documents lie one after another in one memory-mapped array, so that a corpus
of any size opens at once and costs no memory; the folder is keyed by content, so that the second start finds
it. See `store.py` for the files, `table.py` for what else a row may have."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt

from glassformer.data.blocks import blocks
from glassformer.data.contents import cache_folder as cache_folder
from glassformer.data.labels import Labels
from glassformer.data.roles import Role
from glassformer.data.span_columns import SpanColumn, Spans
from glassformer.data.store import (
    VERSION,
    Order,
    ValueOrder,
    read_row_starts,
    read_store,
    read_values,
    refuse_empty,
    starts_of,
    write_stores,
)
from glassformer.data.table import Cell, Codec, Column, ValueColumn
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import GlassformerError

_HASHED_AT_ONCE = 1 << 20
"""Tokens, so that hashing a large store does not read it into memory."""


class Wanted(NamedTuple):
    """A corpus that is wanted. `key` names its documents: `sources.fingerprint` and what was done to them since."""

    key: str
    tokenizer: Tokenizer
    keep_empty: bool = False
    language: str | None = None

    def order(self, cache: Path | None = None) -> Order:
        """Its store in the cache, whose name says by what its tokens are decided: the documents, the tokenizer, and the
        library that finds sentences."""
        sentences = [] if self.language is None else [self.language, importlib.metadata.version("sentencex")]
        folder = (cache or cache_folder()) / "corpora" / _name(self.key, self.tokenizer.identity, *sentences)
        return Order(folder, self.tokenizer, self.keep_empty, self.language)


class WantedValues(NamedTuple):
    """A column of values that is wanted. `key` names its rows, as in `Wanted`."""

    key: str
    codec: Codec

    def order(self, cache: Path | None = None) -> ValueOrder:
        """Its store in the cache, whose name says by what its values are decided."""
        folder = (cache or cache_folder()) / "columns" / _name(self.key, self.codec.identity)
        return ValueOrder(folder, self.codec, isinstance(self.codec, Spans))


@dataclass(frozen=True, eq=False)
class Corpus(Column):
    """A column of texts: n tokens in d documents. Documents that give no token are left out, unless `keep_empty` asks
    for them, as it must where other columns stand beside."""

    tokens: UInt[np.ndarray, "n"]
    starts_word: Bool[np.ndarray, "n"]
    document_starts: Int64[np.ndarray, "d_plus_1"]
    n_bytes: int
    """Bytes of the text in UTF-8, for bits per byte."""
    n_unknown: int
    """Tokens that are [UNK]."""
    starts_sentence: Bool[np.ndarray, "n"] | None = None
    """Where sentences begin, if that was asked for by naming their language."""
    members: "tuple[Corpus, ...]" = ()
    """Of a mixture of objectives: the corpus of each; what stands here itself is the first one's."""
    beside: Mapping[Role, Column] = field(default_factory=dict)
    """Other columns of the same rows: what stands in row i belongs to document i."""

    def with_beside(self, beside: Mapping[Role, Column]) -> "Corpus":
        """This corpus with other columns of its rows. Raises ValueError for another number of rows."""
        self.refuse_unequal(beside)
        return replace(self, beside={**self.beside, **beside})

    def paired(self, targets: "Corpus") -> "Corpus":
        """This corpus, of sources, with its targets. Raises ValueError for another number of documents."""
        return self.with_beside({"target": targets})

    @property
    def targets(self) -> "Corpus | None":
        """Of a corpus of pairs: the targets."""
        found = self.beside.get("target")
        return found if isinstance(found, Corpus) else None

    @property
    def n_rows(self) -> int:
        return self.n_documents

    @classmethod
    def mixed(cls, members: "Sequence[Corpus]") -> "Corpus":
        """The corpora of a mixture's objectives as one."""
        return replace(members[0], members=tuple(members))

    @property
    def n_tokens(self) -> int:
        return len(self.tokens)

    @property
    def n_documents(self) -> int:
        return len(self.document_starts) - 1

    @property
    def lengths(self) -> Int64[np.ndarray, "d"]:
        """Tokens of each document."""
        return np.diff(self.document_starts)

    def document(self, index: int) -> UInt[np.ndarray, "m"]:
        """The tokens of one document. Raises IndexError beyond the last."""
        if not 0 <= index < self.n_documents:
            raise IndexError(f"document {index} of {self.n_documents}")
        return self.tokens[self.document_starts[index] : self.document_starts[index + 1]]

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], tokenizer: Tokenizer, keep_empty: bool = False, language: str | None = None
    ) -> "Corpus":
        """A small corpus in memory; with a `language` its sentences are marked. Raises UsageError if it has no
        token."""
        made = list(blocks(texts, tokenizer, keep_empty, language))
        refuse_empty(sum(len(block.tokens) for block in made))
        sentences = [block.starts_sentence for block in made if block.starts_sentence is not None]
        return cls(
            tokens=np.concatenate([block.tokens for block in made]),
            starts_word=np.concatenate([block.starts_word for block in made]),
            starts_sentence=np.concatenate(sentences) if sentences else None,
            document_starts=starts_of(np.concatenate([block.lengths for block in made])),
            n_bytes=sum(block.n_bytes for block in made),
            n_unknown=sum(block.n_unknown for block in made),
        )

    def _digest(self) -> "hashlib._Hash":
        """Over tokens and the borders of words, documents and sentences."""
        digest = hashlib.sha256()
        arrays = [(self.tokens, np.int32), (self.starts_word, np.uint8), (self.document_starts, np.int64)]
        if self.starts_sentence is not None:
            arrays.append((self.starts_sentence, np.uint8))
        for array, kind in arrays:
            for start in range(0, len(array), _HASHED_AT_ONCE):
                digest.update(np.asarray(array[start : start + _HASHED_AT_ONCE], dtype=kind).tobytes())
            digest.update(b"|")
        return digest

    @classmethod
    def build(
        cls,
        documents: Iterable[str],
        tokenizer: Tokenizer,
        folder: Path,
        keep_empty: bool = False,
        language: str | None = None,
    ) -> "Corpus":
        """Tokenizes into `folder`, which comes into being only when it is whole: a kill leaves nothing that
        looks like a store, and of two processes the loser uses the winner's (a whole store that is there
        stays). Raises UsageError if there is no token, and GlassformerError if the disk is full."""
        write_stores([Order(folder, tokenizer, keep_empty, language)], ((0, document) for document in documents))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """Maps a store into memory. Raises GlassformerError if it is missing, damaged or from another
        version."""
        try:
            return cls(**read_store(folder))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GlassformerError(
                f"{folder} is no whole token store: {error}", "remove it, and it is made anew"
            ) from None

    @classmethod
    def cached(
        cls,
        key: str,
        documents: Callable[[], Iterable[str]],
        tokenizer: Tokenizer,
        cache: Path | None = None,
        keep_empty: bool = False,
        language: str | None = None,
    ) -> "Corpus":
        """The store of these documents, opened if it is in the cache, else built. Raises what `build` raises."""
        wanted = Wanted(key, tokenizer, keep_empty, language)
        [corpus] = all_cached([wanted], lambda missing: ((0, document) for document in documents()), cache)
        assert isinstance(corpus, Corpus)
        return corpus


def all_cached(
    wanted: Sequence[Wanted | WantedValues],
    cells: Callable[[Sequence[int]], Iterable[tuple[int, str | Cell]]],
    cache: Path | None = None,
) -> list[Column]:
    """Several columns, opened where they are in the cache; the others are built in one pass over the data. A damaged
    store is built anew. `cells` is given the numbers of those that are missing, and gives their texts and cells, each
    with the place of its store among these numbers. Raises what `Corpus.build` and the codecs raise."""
    orders = [one.order(cache) for one in wanted]
    found: dict[int, Column] = {}
    for number, order in enumerate(orders):
        try:
            found[number] = _opened(order)
        except GlassformerError:  # not there, or damaged
            continue
    missing = [number for number in range(len(orders)) if number not in found]
    if missing:
        write_stores([orders[number] for number in missing], cells(missing))
        found |= {number: _opened(orders[number]) for number in missing}
    return [found[number] for number in range(len(orders))]


def _opened(order: Order | ValueOrder) -> Column:
    if isinstance(order, Order):
        return Corpus.open(order.folder)
    try:
        values = read_values(order.folder)
        if order.ragged:
            return SpanColumn(values, read_row_starts(order.folder))
        return ValueColumn(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GlassformerError(
            f"{order.folder} is no whole column: {error}", "remove it, and it is made anew"
        ) from None


def cached_tokenizer(
    key: str, texts: Callable[[], Iterable[str]], config: TokenizerConfig, cache: Path | None = None
) -> Tokenizer:
    """The tokenizer of these texts, loaded if it is in the cache, else trained. `key` names the texts. Raises
    what `Tokenizer.train` raises."""
    if config.path is not None:
        return Tokenizer.load(config.path)
    file = (cache or cache_folder()) / "tokenizers" / f"{_name(key, config.model_dump_json())}.json"
    try:
        return Tokenizer.load(file)
    except GlassformerError:  # not there, or damaged
        tokenizer = Tokenizer.train(texts(), config)
        file.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(file)
        return tokenizer


def cached_labels(key: str, cells: Callable[[], Iterable[Cell]], cache: Path | None = None) -> Labels:
    """The labels of these cells, loaded if they are in the cache, else collected. Raises what `Labels.seen` raises."""
    file = (cache or cache_folder()) / "labels" / f"{_name(key, 'sorted')}.json"
    try:
        return Labels.load(file)
    except GlassformerError:  # not there, or damaged
        labels = Labels.seen(cells())
        file.parent.mkdir(parents=True, exist_ok=True)
        labels.save(file)
        return labels


def _name(*parts: str) -> str:
    return hashlib.sha256(json.dumps([VERSION, *parts]).encode()).hexdigest()[:32]
