"""Units become batches: what one example is, which examples share a batch, and how they become tensors.

An objective makes an `Example` (plain arrays); `plan` decides which examples lie together; `collate` turns them
into a `Batch`, a plain tree of tensors. B batch, T tokens in a row, N positions where something is asked.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int64
from torch import Tensor

from glassformer.data.batch_config import BatchConfig
from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError

T = TypeVar("T")

IGNORE_INDEX = -100
"""The target of a padded entry, which every loss ignores; PyTorch and others have the same number. Among targets that
are numbers a padded entry is NaN."""


class OutputSpec(NamedTuple):
    """What an objective asks of a model: one output head. The model builds it without knowing why."""

    name: str
    size: int
    """Number of classes; the vocabulary size for a head over tokens; of a pointer the most tokens it chooses of."""
    tied: bool = False
    """A head over tokens, which may share its weight with the token embedding (as the model's configuration says)."""
    transform: Literal["none", "dense", "pooler"] = "none"
    """What comes before the output layer. dense: a layer, an activation and a norm, as BERT has it before its words;
    pooler: a layer and tanh, as BERT has it before its classes."""
    bias: bool = True
    """Whether the output layer has one."""
    weight: float = 1.0
    """What the head's mean loss is multiplied by, where several are added."""
    read: Literal["position", "first", "mean", "span", "pointer"] = "position"
    """Which hidden states it reads. position: that of each asked position; first: that of an example's first token, as
    BERT reads its [CLS]; mean: the mean over all tokens of an example; span: the mean over each asked span of one;
    pointer: each token of an asked span by itself, and it chooses one of them (Vinyals et al. 2015): class n is token n
    of the span."""
    loss: str = "cross_entropy"
    """A file in `losses`: what its outputs are held against its targets by."""
    labels: tuple[str, ...] | None = None
    """The names of its classes, where these are not the tokens of the vocabulary."""

    @property
    def width(self) -> int:
        """Numbers that its output layer makes of one hidden state."""
        return 1 if self.read == "pointer" else self.size

    @property
    def over_tokens(self) -> bool:
        """Whether its classes are the tokens of the vocabulary."""
        return self.labels is None and self.read != "pointer"


class Targets(NamedTuple):
    """What one output head should say in one example: where it is asked, and the right answers. n positions."""

    positions: Int64[np.ndarray, "n"]
    values: Int64[np.ndarray, "n"] | Float[np.ndarray, "n *numbers"]
    """Classes, or numbers: one for each question, or one for each of the head's outputs."""
    stream: str = "encoder"
    """The stream whose hidden states are read."""
    ends: Int64[np.ndarray, "n"] | None = None
    """Of heads that read more than one token: the position behind the last of each question; `positions` has the
    first."""


class StreamSpec(NamedTuple):
    """What a stream consists of: tokens of a vocabulary of `size`, or vectors of `size` features."""

    kind: Literal["tokens", "features"]
    size: int


class Stream(NamedTuple):
    """One sequence of an example. T tokens, of which the last `n_query_only` ask, and are seen by none."""

    values: Int64[np.ndarray, "T"] | Float32[np.ndarray, "T F"]
    """The number of each token; or of a stream of features (such as the pixels of patches) a vector for each place."""
    segment_ids: Int64[np.ndarray, "T"] | None = None
    """Which part of a pair each token belongs to."""
    positions: Int64[np.ndarray, "T"] | None = None
    """Where each token stands; None: 0, 1, 2 and so on."""
    causal: bool = False
    """A token sees only itself and what stands before it."""
    n_query_only: int = 0
    """Tokens at the end that no token attends to (XLNet's query stream); what they see is said by `pair_mask`."""
    pair_mask: Bool[np.ndarray, "T K"] | None = None
    """Which token may see which of the K = T - n_query_only others; None: every one, or where causal every one before
    it. Where there are queries it is needed."""

    documents: Int64[np.ndarray, "T"] | None = None
    """Which of several texts each token is of, counted from 0: no text sees another. None: all are of one."""

    @property
    def n_keys(self) -> int:
        """Tokens that can be attended to."""
        return len(self.values) - self.n_query_only


def sequence_targets(
    stream: Stream, target: int | float | Float[np.ndarray, "*numbers"], name: str = "encoder"
) -> Targets:
    """One question about a whole example, for heads that read its first token or the mean over all: a class where the
    target is an integer, one number or several where it is not. `name` is the stream's."""
    content = np.array([stream.n_keys], dtype=np.int64)
    return Targets(np.zeros(1, dtype=np.int64), np.asarray(target)[None], name, content)


class Example(NamedTuple):
    """One unit, ready to be collated: a sequence per stream ("encoder", "decoder"), and the targets of each head."""

    streams: dict[str, Stream]
    targets: dict[str, Targets]
    member: int = 0
    """Of a mixture of objectives: the number of the one that made it."""


class StreamBatch(NamedTuple):
    """One stream of a batch: the tokens, where each stands in its own unit, and who may see whom."""

    input_ids: Int[Tensor, "B T"] | Float[Tensor, "B T F"]
    """Or features, where the stream consists of those."""
    positions: Int[Tensor, "#B T"]
    """One row for all where they are alike, so that whatever is made of them is made once."""
    mask: AttentionMask
    segment_ids: Int[Tensor, "B T"] | None = None
    n_keys: int | None = None
    """The first so many columns can be attended to; None: all."""


class TargetsBatch(NamedTuple):
    """The targets of one head in a whole batch, and where it reads: flat indices into B x T of one stream. Padded with
    values that are IGNORE_INDEX, or among numbers NaN."""

    flat_index: Int[Tensor, "N"]
    values: Int[Tensor, "N"] | Float[Tensor, "N *numbers"]
    n_targets: int
    """Entries that count, the first so many; known before the forward pass, so that the loss of a step can be
    normalised exactly."""
    stream: str = "encoder"
    ends: Int[Tensor, "N"] | None = None
    """Where a question is about several tokens: the flat index behind its last; `flat_index` has that of its first."""


class Batch(NamedTuple):
    """A plain tree of tensors and static numbers. `tokens` counts real tokens, padding left out."""

    streams: dict[str, StreamBatch]
    targets: dict[str, TargetsBatch]
    tokens: int
    member: int = 0
    """Of a mixture of objectives: the number of the one that made all its examples."""


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
        filled = np.array([lengths[row].sum() for row in rows])
    else:
        rows = [[unit] for unit in order.tolist()]
        filled = lengths[order]
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


class Offsets(NamedTuple):
    """Where an example lies in its row of a batch: its keys from column `start`, what only asks from `asking`."""

    start: int
    asking: int


def collate(rows: Sequence[Sequence[Example]], pad_id: int, shapes: Shapes | None = None) -> Batch:
    """Examples, grouped into rows, become one batch.

    A row of several examples is packed: positions restart, and no example sees another. With `shapes` the batch
    is padded up to one of the fixed shapes, and the masks are always tensors, so that nothing recompiles.
    """
    streams: dict[str, StreamBatch] = {}
    places: dict[str, list[list[Offsets]]] = {}
    sequences = {name: [[example.streams[name] for example in row] for row in rows] for name in rows[0][0].streams}
    length = None
    if shapes is not None:  # one length for all streams: with two of them, pairs of lengths would be many more shapes
        length = shapes.length(max(filled_by(row) for members in sequences.values() for row in members))
    for name, members in sequences.items():
        streams[name], places[name] = _collate_stream(members, pad_id, shapes, length)
    heads = {head: targets.stream for row in rows for example in row for head, targets in example.targets.items()}
    targets = {
        head: _collate_targets(head, stream, rows, places[stream], streams[stream].input_ids.shape[1], shapes)
        for head, stream in heads.items()
    }
    tokens = sum(stream.n_keys for row in rows for example in row for stream in example.streams.values())
    return Batch(streams, targets, tokens, rows[0][0].member)


def _collate_stream(
    rows: list[list[Stream]], pad_id: int, shapes: Shapes | None, length: int | None
) -> tuple[StreamBatch, list[list[Offsets]]]:
    """One stream as padded tensors, content first and queries behind it, and where each example lies."""
    height, content = len(rows), max(filled_by(row) for row in rows)
    if shapes is not None and length is not None:
        height, content = shapes.rows, length
        if any(stream.n_query_only for row in rows for stream in row):
            raise UsageError("an objective with queries has no fixed shapes", "use training.compile=false")
    width = content + max(sum(s.n_query_only for s in row) for row in rows)
    columns = {name: np.zeros((height, width), dtype=np.int64) for name in ("positions", "segment_ids", "documents")}
    input_ids = _empty((height, width), rows[0][0].values, pad_id)
    places: list[list[Offsets]] = []
    for r, row in enumerate(rows):
        places.append([])
        start, asking, before = 0, content, 0
        for stream in row:
            own = (
                np.zeros(stream.n_keys + stream.n_query_only, np.int64)
                if stream.documents is None
                else stream.documents
            )
            here = np.r_[start : start + stream.n_keys, asking : asking + stream.n_query_only]
            if stream.values.dtype.kind != rows[0][0].values.dtype.kind:
                raise _neither(stream.values)
            input_ids[r, here] = stream.values
            columns["positions"][r, here] = np.arange(len(here)) if stream.positions is None else stream.positions
            columns["documents"][r, here] = before + 1 + own  # 0 = padding
            if stream.segment_ids is not None:
                columns["segment_ids"][r, here] = stream.segment_ids
            places[-1].append(Offsets(start, asking))
            start, asking = start + stream.n_keys, asking + stream.n_query_only
            before += int(own.max(initial=0)) + 1
    first = rows[0][0]
    if first.n_query_only and first.pair_mask is None:
        raise ValueError("queries need a pair_mask that says what they see")
    packed = any(len(row) > 1 for row in rows) if shapes is None else shapes.packed
    packed = packed or first.documents is not None
    alike = not packed and all(stream.positions is None for row in rows for stream in row)
    positions = torch.arange(width)[None] if alike else torch.from_numpy(columns["positions"])
    documents = torch.from_numpy(columns["documents"])
    mask = AttentionMask(positions, positions[:, :content])
    if first.pair_mask is not None:
        pair_mask = _pair_mask(rows, places, (height, width, content))
        mask = mask._replace(key_mask=documents[:, :content] > 0, pair_mask=pair_mask)
    else:
        real, in_order = documents > 0, all(stream.positions is None for row in rows for stream in row)
        mask = mask._replace(causal=first.causal, aligned=in_order)
        if shapes is not None or not bool(real.all()):  # the leanest mask that is right: none for full rows
            mask = mask._replace(key_mask=real)
        if packed:
            mask = mask._replace(query_documents=documents, key_documents=documents)
    batch = StreamBatch(
        torch.from_numpy(input_ids),
        positions,
        mask,
        None if first.segment_ids is None else torch.from_numpy(columns["segment_ids"]),
        None if content == width else content,
    )
    return batch, places


def _empty(size: tuple[int, int], like: np.ndarray, pad_id: int) -> np.ndarray:
    """Room for a stream: of tokens filled with padding, of features with zeros. Raises UsageError for values that are
    neither: to put floats in the place of token ids would cut them to integers without a word."""
    if like.ndim == 1 and like.dtype.kind in "iu":
        return np.full(size, pad_id, dtype=np.int64)
    if like.ndim == 2 and like.dtype.kind == "f":
        return np.zeros((*size, like.shape[1]), dtype=np.float32)
    raise _neither(like)


def _neither(values: np.ndarray) -> UsageError:
    return UsageError(
        f"values of type {values.dtype} in {values.ndim} dimensions are no token ids here, and no features either",
        "give token ids as integers (T), or features as floats (T x F), in all examples alike",
    )


def filled_by(row: list[Stream]) -> int:
    """Tokens of a row that can be attended to."""
    return sum(stream.n_keys for stream in row)


def _pair_mask(
    rows: list[list[Stream]], places: list[list[Offsets]], size: tuple[int, int, int]
) -> Bool[Tensor, "B T K"]:
    """The examples' own masks, each in its place; between examples, and at padding, nothing is seen."""
    allowed = np.zeros(size, dtype=bool)
    for r, row in enumerate(rows):
        for stream, (start, asking) in zip(row, places[r], strict=True):
            assert stream.pair_mask is not None
            end = start + stream.n_keys
            allowed[r, start:end, start:end] = stream.pair_mask[: stream.n_keys]
            allowed[r, asking : asking + stream.n_query_only, start:end] = stream.pair_mask[stream.n_keys :]
    return torch.from_numpy(allowed)


def _collate_targets(
    head: str,
    stream: str,
    rows: Sequence[Sequence[Example]],
    places: list[list[Offsets]],
    width: int,
    shapes: Shapes | None,
) -> TargetsBatch:
    """Where a head is asked, as flat indices into B x T. Padded entries read row 0 and never count."""
    flat: list[np.ndarray] = []
    ends: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for r, row in enumerate(rows):
        for example, (start, asking) in zip(row, places[r], strict=True):
            if head not in example.targets:
                continue
            asked, content = example.targets[head], example.streams[stream].n_keys
            columns = np.where(asked.positions < content, asked.positions + start, asked.positions - content + asking)
            flat.append(columns + r * width)
            targets.append(asked.values)
            if asked.ends is not None:  # columns of an example stand side by side, also in a packed row
                ends.append(asked.ends + start + r * width)
    count = sum(len(part) for part in flat)
    room = 1 if shapes is None else shapes.asked(width)
    padding = -count % room if count else room
    rows_padded = np.concatenate([*flat, np.zeros(padding, dtype=np.int64)])
    ends_padded = np.concatenate([*ends, np.ones(padding, dtype=np.int64)]) if ends else None
    return TargetsBatch(
        torch.from_numpy(rows_padded),
        _padded_targets(targets, padding),
        count,
        stream,
        None if ends_padded is None else torch.from_numpy(ends_padded),
    )


def _padded_targets(targets: list[np.ndarray], padding: int) -> Int[Tensor, "N"] | Float[Tensor, "N *numbers"]:
    """Classes, padded with IGNORE_INDEX, or numbers in float32, padded with NaN."""
    found = np.concatenate(targets)
    found = found.astype(np.float32 if found.dtype.kind == "f" else np.int64)
    filler = np.full((padding, *found.shape[1:]), np.nan if found.dtype.kind == "f" else IGNORE_INDEX, found.dtype)
    return torch.from_numpy(np.concatenate([found, filler]))


def to_device(tree: T, device: torch.device) -> T:
    """A batch, or any part of one, with its tensors on a device."""
    if isinstance(tree, torch.Tensor):
        return cast(T, tree.to(device))
    if isinstance(tree, dict):
        return cast(T, {name: to_device(part, device) for name, part in tree.items()})
    if isinstance(tree, tuple):
        return cast(T, type(tree)(*(to_device(part, device) for part in tree)))
    return tree
