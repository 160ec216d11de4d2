"""Units become batches: what one example is, which examples share a batch, and how they become tensors.

An objective makes an `Example` (plain arrays); `plan` decides which examples lie together; `collate` turns them
into a `Batch`, a plain tree of tensors. B batch, T tokens in a row, N positions where something is asked.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Int64
from pydantic import Field
from torch import Tensor

from glassformer.config import Config
from glassformer.data.masks import AttentionMask

NOT_ASKED = -100
"""The target of a padded entry in a list of asked positions; cross-entropy ignores it."""


class BatchConfig(Config):
    """How many examples lie in a batch, and how they share it."""

    size: int = Field(32, ge=1, description="rows in a batch (one micro-batch on one device)")
    tokens: int | None = Field(
        None, ge=1, description="a token budget instead: rows x longest row <= tokens, or one longer row"
    )
    layout: Literal["padded", "grouped", "packed"] = Field(
        "grouped",
        description="padded: at random; grouped: similar lengths together; packed: several units share a row, "
        "none sees another. Rows are padded only to the longest of their batch",
    )


class HeadSpec(NamedTuple):
    """What an objective asks of a model: one output head. The model builds it without knowing why."""

    name: str
    stream: str
    """The stream whose hidden states are read: "encoder" or "decoder"."""
    size: int
    """Number of classes; the vocabulary size for a head over tokens."""
    tied: bool = True
    """Share the weight with the token embedding (only where `size` is the vocabulary's)."""
    transform: bool = True
    """A dense layer, an activation and a norm before the output layer, as in BERT."""


class Asked(NamedTuple):
    """Where one head is asked in one example, and what the right answer is. n positions."""

    positions: Int64[np.ndarray, "n"]
    targets: Int64[np.ndarray, "n"]


class Example(NamedTuple):
    """One unit, ready to be collated: token ids per stream, and what is asked per head."""

    streams: dict[str, Int64[np.ndarray, "_"]]
    asked: dict[str, Asked]


class StreamBatch(NamedTuple):
    """One stream of a batch: the tokens, where each stands in its own unit, and who may see whom."""

    input_ids: Int[Tensor, "B T"]
    positions: Int[Tensor, "B T"]
    mask: AttentionMask


class AskedBatch(NamedTuple):
    """What one head is asked in a whole batch: flat indices into B x T, padded with NOT_ASKED targets."""

    rows: Int[Tensor, "N"]
    targets: Int[Tensor, "N"]
    number: int
    """Entries that count; known before the forward pass, so that the loss of a step can be normalised exactly."""


class Batch(NamedTuple):
    """A plain tree of tensors and static numbers. `tokens` counts real tokens, padding left out."""

    streams: dict[str, StreamBatch]
    asked: dict[str, AskedBatch]
    tokens: int


class Shapes(NamedTuple):
    """The fixed list of shapes for compiled training: every batch is padded up to one of these.

    Which tensors a batch has depends on nothing but its length: a compiler that has seen every length has seen
    everything, whatever came first.
    """

    rows: int
    lengths: tuple[int, ...]
    asked_share: float
    """How much of the tokens is asked, on average."""
    packed: bool = False

    def length(self, filled: int) -> int:
        """The shortest length that holds so many tokens."""
        return min(length for length in self.lengths if length >= filled)

    def asked(self, length: int) -> int:
        """Room for what is asked in a batch of this length: the mean and five standard deviations, in eights."""
        mean = self.asked_share * self.rows * length
        return min(self.rows * length, 8 * math.ceil((mean + 5 * math.sqrt(mean) + 1) / 8))


Row = list[int]
"""The units that share one row of a batch; a single one unless packed."""


def plan(
    lengths: Int64[np.ndarray, "units"], config: BatchConfig, row_length: int, rng: np.random.Generator | None
) -> list[list[Row]]:
    """Which units lie in which row of which batch, for one pass over all units.

    `lengths` are the units' lengths in tokens; `rng` None keeps a fixed order (evaluation), sorted by length.
    Every unit appears exactly once.
    """
    order = np.argsort(lengths, kind="stable") if rng is None else rng.permutation(len(lengths))
    if config.layout == "packed":
        rows = pack(order, lengths, row_length)
    else:
        rows = [[int(unit)] for unit in order]
    filled = np.array([lengths[row].sum() for row in rows])
    if rng is None or config.layout == "padded":
        return list(_cut(range(len(rows)), rows, filled, config))
    by_length = _group(filled, config, rng)
    batches = list(_cut(by_length, rows, filled, config))
    return [batches[i] for i in rng.permutation(len(batches))]


def pack(order: Sequence[int] | np.ndarray, lengths: Int64[np.ndarray, "units"], row_length: int) -> list[Row]:
    """Best fit: each unit goes into the open row that it fills best; a full row is closed.

    Open rows are kept by the space left in them, so that a unit finds its row in O(row_length). Raises ValueError for
    a unit that is longer than a row.
    """
    if len(lengths) and int(lengths.max()) > row_length:
        raise ValueError(f"a unit of {int(lengths.max())} tokens fits in no row of {row_length}")
    open_rows: list[list[Row]] = [[] for _ in range(row_length + 1)]
    rows: list[Row] = []
    for unit in order:
        length = int(lengths[unit])
        space = next((s for s in range(length, row_length + 1) if open_rows[s]), None)
        if space is None:
            row: Row = []
            rows.append(row)
            space = row_length
        else:
            row = open_rows[space].pop()
        row.append(int(unit))
        open_rows[space - length].append(row)
        open_rows[0].clear()
    return rows


def _group(filled: np.ndarray, config: BatchConfig, rng: np.random.Generator) -> np.ndarray:
    """Sort by length inside pools of about fifty batches: little padding, yet other company every epoch."""
    pool = 50 * (config.size if config.tokens is None else max(1, config.tokens // max(1, int(filled.mean()))))
    order = np.arange(len(filled))
    pools = [order[start : start + pool] for start in range(0, len(order), pool)]
    return np.concatenate([members[np.argsort(filled[members], kind="stable")] for members in pools])


def _cut(
    order: Sequence[int] | np.ndarray, rows: list[Row], filled: np.ndarray, config: BatchConfig
) -> Iterator[list[Row]]:
    """Cut a sequence of rows into batches of `size` rows, or of at most `tokens` tokens with the padding."""
    batch: list[Row] = []
    longest = 0
    for i in order:
        longest_with = max(longest, int(filled[i]))
        full = len(batch) == config.size if config.tokens is None else longest_with * (len(batch) + 1) > config.tokens
        if batch and full:
            yield batch
            batch, longest_with = [], int(filled[i])
        batch.append(rows[i])
        longest = longest_with
    if batch:
        yield batch


def collate(rows: Sequence[Sequence[Example]], pad_id: int, shapes: Shapes | None = None) -> Batch:
    """Examples, grouped into rows, become one batch.

    A row of several examples is packed: positions restart, and no example sees another. With `shapes` the batch
    is padded up to one of the fixed shapes, and the masks are always tensors, so that nothing recompiles.
    """
    streams: dict[str, StreamBatch] = {}
    starts: dict[str, list[list[int]]] = {}
    for name in rows[0][0].streams:
        streams[name], starts[name] = _collate_stream(name, rows, pad_id, shapes)
    asked = {}
    for head in rows[0][0].asked:
        stream = _stream_of(rows[0][0])
        asked[head] = _collate_asked(head, rows, starts[stream], streams[stream].input_ids.shape[1], shapes)
    tokens = sum(len(ids) for row in rows for example in row for ids in example.streams.values())
    return Batch(streams, asked, tokens)


def _stream_of(example: Example) -> str:
    """The stream that is asked: the decoder where there is one."""
    return "decoder" if "decoder" in example.streams else "encoder"


def _collate_stream(
    name: str, rows: Sequence[Sequence[Example]], pad_id: int, shapes: Shapes | None
) -> tuple[StreamBatch, list[list[int]]]:
    """One stream as padded tensors, and where in its row each example starts."""
    filled = [sum(len(example.streams[name]) for example in row) for row in rows]
    height, width = len(rows), max(filled)
    if shapes is not None:
        height, width = shapes.rows, shapes.length(width)
    input_ids = np.full((height, width), pad_id, dtype=np.int64)
    positions = np.zeros((height, width), dtype=np.int64)
    documents = np.zeros((height, width), dtype=np.int64)  # 0 = padding
    starts: list[list[int]] = []
    for r, row in enumerate(rows):
        starts.append([])
        end = 0
        for number, example in enumerate(row, 1):
            ids = example.streams[name]
            start, end = end, end + len(ids)
            input_ids[r, start:end] = ids
            positions[r, start:end] = np.arange(len(ids))
            documents[r, start:end] = number
            starts[-1].append(start)
    packed = any(len(row) > 1 for row in rows) if shapes is None else shapes.packed
    mask = _mask(torch.from_numpy(documents), packed, always=shapes is not None)
    return StreamBatch(torch.from_numpy(input_ids), torch.from_numpy(positions), mask), starts


def _mask(documents: Int[Tensor, "B T"], packed: bool, always: bool) -> AttentionMask:
    """The leanest mask that is right: none for full rows, keys for padding, documents for packed rows."""
    real = documents > 0
    key_mask = real if always or not bool(real.all()) else None
    if packed:
        return AttentionMask(key_mask, query_documents=documents, key_documents=documents)
    return AttentionMask(key_mask)


def _collate_asked(
    head: str, rows: Sequence[Sequence[Example]], starts: list[list[int]], width: int, shapes: Shapes | None
) -> AskedBatch:
    """Where a head is asked, as flat indices into B x T. Padded entries read row 0 and never count."""
    flat: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for r, row in enumerate(rows):
        for example, start in zip(row, starts[r], strict=True):
            flat.append(example.asked[head].positions + (r * width + start))
            targets.append(example.asked[head].targets)
    count = sum(len(part) for part in flat)
    room = 1 if shapes is None else shapes.asked(width)
    padding = -count % room if count else room
    rows_padded = np.concatenate([*flat, np.zeros(padding, dtype=np.int64)])
    targets_padded = np.concatenate([*targets, np.full(padding, NOT_ASKED, dtype=np.int64)])
    return AskedBatch(torch.from_numpy(rows_padded), torch.from_numpy(targets_padded), count)
