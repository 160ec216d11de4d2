"""Columns on disk: written aside block by block, put in place when they are whole, mapped into memory.

Of texts (see `Order`):
tokens.bin            uint16 (uint32 for more than 65,536 tokens), no special tokens
starts_word.bin       bool, True for the first token of each word
starts_sentence.bin   the same for sentences; only where they were asked for
document_starts.bin   int64, n_documents + 1
corpus.json           the counts, by which a damaged store is recognised

Of labels, numbers and arrays (see `ValueOrder`):
values.bin            one value of a fixed type and shape for each row; of places in texts any number of them
row_starts.bin        where those of each row begin, where their number differs: int64, n_rows + 1
column.json           how many, and of which type and shape
"""

import contextlib
import errno
import glob
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Int64

from glassformer.data.blocks import Block, Blocks
from glassformer.data.known_words import KnownWords
from glassformer.data.table import Cell, Codec
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import GlassformerError, UsageError

VERSION = 2
_STALE_SECONDS = 24 * 3600  # an unfinished store this old belongs to nobody


class Order(NamedTuple):
    """A store that is wanted: where it lies, and how its texts become tokens (see `Corpus.build`)."""

    folder: Path
    tokenizer: Tokenizer
    keep_empty: bool = False
    language: str | None = None


class ValueOrder(NamedTuple):
    """A column of values that is wanted: where it lies, and how its cells become values. A `ragged` one has any number
    of them for each row."""

    folder: Path
    codec: Codec
    ragged: bool = False


def write_stores(orders: Sequence[Order | ValueOrder], cells: Iterable[tuple[int, str | Cell]]) -> None:
    """Writes several stores in one pass over the rows. Each text, or cell of a value, comes with the number of its
    store.

    Each store comes into being only when it is whole: a kill leaves nothing that looks like one, and of two processes
    the loser uses the winner's (a whole store that is there stays). Raises UsageError if one has no token, and
    GlassformerError if the disk is full.
    """
    with contextlib.ExitStack() as stack:
        tokenizers = {o.tokenizer.identity: o.tokenizer for o in orders if isinstance(o, Order)}
        words = {identity: KnownWords(tokenizer) for identity, tokenizer in tokenizers.items()}
        writers: list[Any] = [stack.enter_context(_written(order, words)) for order in orders]
        for number, cell in cells:
            writers[number].add(cell)
        for writer in writers:
            writer.finish()


def read_store(folder: Path) -> dict[str, Any]:
    """The arrays and counts of a store. Raises OSError, ValueError, KeyError or TypeError if it is none."""
    described = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    counts = {name: int(described[name]) for name in ("n_tokens", "n_documents", "n_bytes", "n_unknown")}
    dtype = np.dtype(described["dtype"])
    if described["version"] != VERSION:
        raise ValueError(f"version {described['version']}, and {VERSION} is wanted")
    n, d = counts["n_tokens"], counts["n_documents"]
    has_sentences = described.get("has_sentences", False)
    return {
        "tokens": _map(folder / "tokens.bin", dtype, n),
        "starts_word": _map(folder / "starts_word.bin", np.dtype(bool), n),
        "starts_sentence": _map(folder / "starts_sentence.bin", np.dtype(bool), n) if has_sentences else None,
        "document_starts": _map(folder / "document_starts.bin", np.dtype(np.int64), d + 1),
        "n_bytes": counts["n_bytes"],
        "n_unknown": counts["n_unknown"],
    }


def read_values(folder: Path) -> np.ndarray:
    """A column of values, mapped. Raises OSError, ValueError, KeyError or TypeError if it is none."""
    described = json.loads((folder / "column.json").read_text(encoding="utf-8"))
    if described["version"] != VERSION:
        raise ValueError(f"version {described['version']}, and {VERSION} is wanted")
    shape = (int(described["n_rows"]), *map(int, described["shape"]))
    return _map(folder / "values.bin", np.dtype(described["dtype"]), math.prod(shape)).reshape(shape)


def read_row_starts(folder: Path) -> Int64[np.ndarray, "rows_plus_1"]:
    """Where the values of each row begin in a ragged column. Raises OSError, ValueError, KeyError or TypeError if it is
    none."""
    described = json.loads((folder / "column.json").read_text(encoding="utf-8"))
    starts = _map(folder / "row_starts.bin", np.dtype(np.int64), int(described["n_row_starts"]))
    if int(starts[-1]) != described["n_rows"]:
        raise ValueError(f"the rows end at {starts[-1]}, and there are {described['n_rows']} values")
    return starts


def is_store(folder: Path) -> bool:
    """Whether a whole store lies there."""
    readers: tuple[Callable[[Path], Any], ...] = (read_store,)
    if (folder / "column.json").exists():
        readers = (read_values, read_row_starts) if (folder / "row_starts.bin").exists() else (read_values,)
    try:
        for read in readers:
            read(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def starts_of(lengths: Int64[np.ndarray, "d"]) -> Int64[np.ndarray, "d_plus_1"]:
    """Where documents of these lengths begin, and at last where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def refuse_empty(n_tokens: int) -> None:
    """Raises UsageError for a corpus without a token."""
    if n_tokens == 0:
        raise UsageError("the corpus is empty: its documents give no token", "give a source that holds text")


@contextlib.contextmanager
def _written(order: Order | ValueOrder, words: dict[str, KnownWords]) -> Iterator["_Writer | _ValueWriter"]:
    """A writer whose files lie aside, and are removed where it does not come to an end."""
    with _readable_errors(order.folder):
        order.folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(order.folder)
        aside = Path(tempfile.mkdtemp(prefix=f"{order.folder.name}.", suffix=".building", dir=order.folder.parent))
    try:
        with contextlib.ExitStack() as files:
            if isinstance(order, Order):
                yield _Writer(order, words[order.tokenizer.identity], aside, files)
            else:
                yield _ValueWriter(order, aside, files)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _readable_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GlassformerError(
            f"the token store {folder} cannot be written: {error.strerror}",
            "make room, or set GLASSFORMER_CACHE to a folder on another disk",
        ) from None


class _Writer:
    """Streams blocks into the files of one store; corpus.json comes last."""

    def __init__(self, order: Order, words: KnownWords, aside: Path, files: contextlib.ExitStack) -> None:
        self.order, self.aside, self.files = order, aside, files
        self.blocks = Blocks(order.tokenizer, order.keep_empty, order.language, words)
        self.counts = {"n_tokens": 0, "n_bytes": 0, "n_unknown": 0}
        self.lengths = [np.zeros(0, dtype=np.int64)]
        self.dtype = "uint16"
        names = ("tokens", "starts_word") if order.language is None else ("tokens", "starts_word", "starts_sentence")
        with _readable_errors(order.folder):
            self.streams: dict[str, BinaryIO] = {
                name: files.enter_context((aside / f"{name}.bin").open("wb")) for name in names
            }

    def add(self, text: str) -> None:
        for block in self.blocks.add(text):
            self._write(block)

    def finish(self) -> None:
        """Raises UsageError where there is no token."""
        for block in self.blocks.rest():
            self._write(block)
        refuse_empty(self.counts["n_tokens"])
        with _readable_errors(self.order.folder):
            self.files.close()
            starts = starts_of(np.concatenate(self.lengths))
            (self.aside / "document_starts.bin").write_bytes(starts.tobytes())
            described: dict[str, Any] = {
                "version": VERSION,
                "dtype": self.dtype,
                "n_documents": len(starts) - 1,
                "has_sentences": self.order.language is not None,
                **self.counts,
                "tokenizer": self.order.tokenizer.identity,
            }
            (self.aside / "corpus.json").write_text(json.dumps(described), encoding="utf-8")
            _put_in_place(self.aside, self.order.folder)

    def _write(self, block: Block) -> None:
        with _readable_errors(self.order.folder):
            for name, stream in self.streams.items():
                stream.write(getattr(block, name).tobytes())
        self.lengths.append(block.lengths)
        self.dtype = block.tokens.dtype.name
        self.counts["n_tokens"] += len(block.tokens)
        self.counts["n_bytes"] += block.n_bytes
        self.counts["n_unknown"] += block.n_unknown


class _ValueWriter:
    """Streams values into one file; column.json comes last."""

    def __init__(self, order: ValueOrder, aside: Path, files: contextlib.ExitStack) -> None:
        self.order, self.aside, self.files = order, aside, files
        self.row_starts = [0]
        with _readable_errors(order.folder):
            self.stream = files.enter_context((aside / "values.bin").open("wb"))

    def add(self, cell: Cell) -> None:
        """Raises UsageError for a cell that is no value."""
        value = np.asarray(self.order.codec.encode(cell), dtype=self.order.codec.dtype)
        with _readable_errors(self.order.folder):
            self.stream.write(value.tobytes())
        self.row_starts.append(self.row_starts[-1] + (len(value) if self.order.ragged else 1))

    def finish(self) -> None:
        """Raises UsageError where there is no row."""
        codec = self.order.codec
        refuse_empty(len(self.row_starts) - 1)
        number = self.row_starts[-1]
        described = {"version": VERSION, "n_rows": number, "dtype": codec.dtype.str, "shape": list(codec.shape)}
        if self.order.ragged:
            described["n_row_starts"] = len(self.row_starts)
        with _readable_errors(self.order.folder):
            self.files.close()
            if self.order.ragged:
                (self.aside / "row_starts.bin").write_bytes(np.array(self.row_starts, dtype=np.int64).tobytes())
            (self.aside / "column.json").write_text(json.dumps(described), encoding="utf-8")
            _put_in_place(self.aside, self.order.folder)


def _put_in_place(aside: Path, folder: Path) -> None:
    """Renames the finished store, unless another process was faster. Its bytes reach the disk first: a power cut must
    not leave a store of the right size that is all zeros."""
    for file in aside.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    try:
        aside.rename(folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        if not is_store(folder):
            shutil.rmtree(folder)
            aside.rename(folder)


def _remove_stale(folder: Path) -> None:
    for aside in folder.parent.glob(f"{glob.escape(folder.name)}.*.building"):
        with contextlib.suppress(FileNotFoundError):  # its process has just finished it
            if time.time() - aside.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(aside, ignore_errors=True)


def _map(file: Path, dtype: np.dtype[Any], n: int) -> np.ndarray:
    if file.stat().st_size != n * dtype.itemsize:
        raise ValueError(f"{file.name} has {file.stat().st_size} bytes instead of {n * dtype.itemsize}")
    return np.memmap(file, dtype=dtype, mode="r", shape=(n,))
