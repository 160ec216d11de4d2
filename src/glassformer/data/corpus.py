"""Tokens -> a store on disk. All documents lie one after another in one memory-mapped array, so that a corpus
of any size opens at once and costs no memory; the folder is keyed by content, so that the second start finds
it.

    tokens.bin            uint16 (uint32 for more than 65,536 tokens), no special tokens
    starts_word.bin       bool, True for the first token of each word
    starts_sentence.bin   the same for sentences; only where they were asked for
    document_starts.bin   int64, n_documents + 1
    corpus.json           the counts, by which a damaged store is recognised"""

import contextlib
import errno
import glob
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import platformdirs
from jaxtyping import Bool, Int64, UInt

from glassformer.data.sentences import starts_sentence
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import GlassformerError, UsageError

_VERSION = 2
_HASHED_AT_ONCE = 1 << 20
"""Tokens, so that hashing a large store does not read it into memory."""
_BATCH_CHARACTERS = 2**18  # what is tokenized at once; bounds the memory
_STALE_SECONDS = 24 * 3600  # an unfinished store this old belongs to nobody


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
        blocks = list(_blocks(texts, tokenizer, keep_empty, language))
        _refuse_empty(sum(len(block.tokens) for block in blocks))
        sentences = [block.starts_sentence for block in blocks if block.starts_sentence is not None]
        return cls(
            tokens=np.concatenate([block.tokens for block in blocks]),
            starts_word=np.concatenate([block.starts_word for block in blocks]),
            starts_sentence=np.concatenate(sentences) if sentences else None,
            document_starts=_starts(np.concatenate([block.lengths for block in blocks])),
            n_bytes=sum(block.n_bytes for block in blocks),
            n_unknown=sum(block.n_unknown for block in blocks),
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
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(folder)
            aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".building", dir=folder.parent))
            try:
                _write(_blocks(documents, tokenizer, keep_empty, language), tokenizer, aside, language is not None)
                _rename(aside, folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise GlassformerError(
                f"the token store {folder} cannot be written: {error.strerror}",
                "make room, or set GLASSFORMER_CACHE to a folder on another disk",
            ) from None
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """Maps a store into memory. Raises GlassformerError if it is missing, damaged or from another
        version."""
        try:
            described = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
            counts = {name: int(described[name]) for name in ("n_tokens", "n_documents", "n_bytes", "n_unknown")}
            dtype = np.dtype(described["dtype"])
            if described["version"] != _VERSION:
                raise ValueError(f"version {described['version']}, and {_VERSION} is wanted")
            n, d = counts["n_tokens"], counts["n_documents"]
            has_sentences = described.get("has_sentences", False)
            return cls(
                tokens=_map(folder / "tokens.bin", dtype, n),
                starts_word=_map(folder / "starts_word.bin", np.dtype(bool), n),
                starts_sentence=_map(folder / "starts_sentence.bin", np.dtype(bool), n) if has_sentences else None,
                document_starts=_map(folder / "document_starts.bin", np.dtype(np.int64), d + 1),
                n_bytes=counts["n_bytes"],
                n_unknown=counts["n_unknown"],
            )
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
        """The store of these documents, opened if it is in the cache, else built. `key` names the documents
        (`sources.fingerprint` and what was done to them since); the tokenizer is added here, and what decides where
        sentences begin. A damaged store is built anew. Raises what `build` raises."""
        sentences = [] if language is None else [language, importlib.metadata.version("sentencex")]
        folder = (cache or cache_folder()) / "corpora" / _name(key, tokenizer.identity, *sentences)
        try:
            return cls.open(folder)
        except GlassformerError:  # not there, or damaged
            return cls.build(documents(), tokenizer, folder, keep_empty, language)


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


def cache_folder() -> Path:
    """GLASSFORMER_CACHE, or the system's place for caches."""
    return Path(os.environ.get("GLASSFORMER_CACHE") or platformdirs.user_cache_dir("glassformer"))


def _name(*parts: str) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *parts]).encode()).hexdigest()[:32]


class _Block(NamedTuple):
    """Some documents, tokenized."""

    tokens: UInt[np.ndarray, "n"]
    starts_word: Bool[np.ndarray, "n"]
    starts_sentence: Bool[np.ndarray, "n"] | None
    lengths: Int64[np.ndarray, "d"]
    n_bytes: int
    n_unknown: int


def _blocks(documents: Iterable[str], tokenizer: Tokenizer, keep_empty: bool, language: str | None) -> Iterator[_Block]:
    dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    for texts in _batches(documents):
        encoded = tokenizer.encode_batch(texts)
        ids = np.concatenate([e.ids for e in encoded]).astype(dtype)
        lengths = np.array([len(e.ids) for e in encoded], dtype=np.int64)
        sentences = None
        if language is not None:
            sentences = np.concatenate(
                [starts_sentence(text, e, language) for text, e in zip(texts, encoded, strict=True)]
            )
        yield _Block(
            tokens=ids,
            starts_word=np.concatenate([e.starts_word for e in encoded]),
            starts_sentence=sentences,
            lengths=lengths if keep_empty else lengths[lengths > 0],
            n_bytes=sum(len(text.encode()) for text, n in zip(texts, lengths, strict=True) if n),
            n_unknown=int((ids == tokenizer.unk_id).sum()),
        )


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    n_characters = 0
    for text in documents:
        batch.append(text)
        n_characters += len(text)
        if n_characters >= _BATCH_CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch


def _write(blocks: Iterator[_Block], tokenizer: Tokenizer, aside: Path, has_sentences: bool) -> None:
    """Streams the blocks into the files; corpus.json comes last."""
    counts = {"n_tokens": 0, "n_bytes": 0, "n_unknown": 0}
    lengths = [np.zeros(0, dtype=np.int64)]
    dtype = "uint16"
    names = ("tokens", "starts_word", "starts_sentence") if has_sentences else ("tokens", "starts_word")
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(open(aside / f"{name}.bin", "wb")) for name in names}
        for block in blocks:
            for name, file in files.items():
                file.write(getattr(block, name).tobytes())
            lengths.append(block.lengths)
            dtype = block.tokens.dtype.name
            counts["n_tokens"] += len(block.tokens)
            counts["n_bytes"] += block.n_bytes
            counts["n_unknown"] += block.n_unknown
    _refuse_empty(counts["n_tokens"])
    starts = _starts(np.concatenate(lengths))
    (aside / "document_starts.bin").write_bytes(starts.tobytes())
    described: dict[str, Any] = {
        "version": _VERSION,
        "dtype": dtype,
        "n_documents": len(starts) - 1,
        "has_sentences": has_sentences,
        **counts,
    }
    described["tokenizer"] = tokenizer.identity
    (aside / "corpus.json").write_text(json.dumps(described), encoding="utf-8")


def _rename(aside: Path, folder: Path) -> None:
    """Puts the finished store in place, unless another process was faster. Its bytes reach the disk first: a
    power cut must not leave a store of the right size that is all zeros."""
    for file in aside.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    try:
        aside.rename(folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        if not _is_whole(folder):
            shutil.rmtree(folder)
            aside.rename(folder)


def _is_whole(folder: Path) -> bool:
    try:
        Corpus.open(folder)
    except GlassformerError:
        return False
    return True


def _remove_stale(folder: Path) -> None:
    for aside in folder.parent.glob(f"{glob.escape(folder.name)}.*.building"):
        with contextlib.suppress(FileNotFoundError):  # its process has just finished it
            if time.time() - aside.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(aside, ignore_errors=True)


def _map(file: Path, dtype: np.dtype[Any], n: int) -> np.ndarray:
    if file.stat().st_size != n * dtype.itemsize:
        raise ValueError(f"{file.name} has {file.stat().st_size} bytes instead of {n * dtype.itemsize}")
    return np.memmap(file, dtype=dtype, mode="r", shape=(n,))


def _starts(lengths: Int64[np.ndarray, "d"]) -> Int64[np.ndarray, "d_plus_1"]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _refuse_empty(n_tokens: int) -> None:
    if n_tokens == 0:
        raise UsageError("the corpus is empty: its documents give no token", "give a source that holds text")
