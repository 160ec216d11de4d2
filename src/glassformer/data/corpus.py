"""Tokens -> a store on disk. All documents lie one after another in one memory-mapped array, so that a corpus
of any size opens at once and costs no memory; the folder is keyed by content, so that the second start finds
it. See `store.py` for the files."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt

from glassformer.data.blocks import blocks
from glassformer.data.contents import cache_folder as cache_folder
from glassformer.data.store import VERSION, Order, read_store, refuse_empty, starts_of, write_stores
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


@dataclass(frozen=True, eq=False)
class Corpus:
    """n tokens in d documents. Documents that give no token are left out, unless `keep_empty` asks for them."""

    tokens: UInt[np.ndarray, "n"]
    starts_word: Bool[np.ndarray, "n"]
    document_starts: Int64[np.ndarray, "d_plus_1"]
    n_bytes: int
    """Bytes of the text in UTF-8, for bits per byte."""
    n_unknown: int
    """Tokens that are [UNK]."""
    targets: "Corpus | None" = None
    """Of a corpus of pairs: the targets, of which document i belongs to document i here."""
    starts_sentence: Bool[np.ndarray, "n"] | None = None
    """Where sentences begin, if that was asked for by naming their language."""
    members: "tuple[Corpus, ...]" = ()
    """Of a mixture of objectives: the corpus of each; what stands here itself is the first one's."""

    def paired(self, targets: "Corpus") -> "Corpus":
        """This corpus with its targets. Raises ValueError for another number of documents."""
        if targets.n_documents != self.n_documents:
            raise ValueError(f"{self.n_documents} sources and {targets.n_documents} targets")
        return replace(self, targets=targets)

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

    @cached_property
    def identity(self) -> str:
        """A hash of tokens and of the borders of words, documents and sentences: another text has another one."""
        digest = hashlib.sha256()
        arrays = [(self.tokens, np.int32), (self.starts_word, np.uint8), (self.document_starts, np.int64)]
        if self.starts_sentence is not None:
            arrays.append((self.starts_sentence, np.uint8))
        for array, kind in arrays:
            for start in range(0, len(array), _HASHED_AT_ONCE):
                digest.update(np.asarray(array[start : start + _HASHED_AT_ONCE], dtype=kind).tobytes())
            digest.update(b"|")
        if self.targets is not None:
            digest.update(self.targets.identity.encode())
        for member in self.members[1:]:
            digest.update(member.identity.encode())
        return digest.hexdigest()

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
        return cls.all_cached([wanted], lambda missing: ((0, document) for document in documents()), cache)[0]

    @classmethod
    def all_cached(
        cls,
        wanted: Sequence[Wanted],
        texts: Callable[[Sequence[int]], Iterable[tuple[int, str]]],
        cache: Path | None = None,
    ) -> "list[Corpus]":
        """Several stores, opened where they are in the cache; the others are built in one pass over the data. A damaged
        store is built anew. `texts` is given the numbers of those that are missing, and gives their texts, each with
        the place of its store among these numbers. Raises what `build` raises."""
        orders = [one.order(cache) for one in wanted]
        found: dict[int, Corpus] = {}
        for number, order in enumerate(orders):
            try:
                found[number] = cls.open(order.folder)
            except GlassformerError:  # not there, or damaged
                continue
        missing = [number for number in range(len(orders)) if number not in found]
        if missing:
            write_stores([orders[number] for number in missing], texts(missing))
            found |= {number: cls.open(orders[number].folder) for number in missing}
        return [found[number] for number in range(len(orders))]


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


def _name(*parts: str) -> str:
    return hashlib.sha256(json.dumps([VERSION, *parts]).encode()).hexdigest()[:32]
