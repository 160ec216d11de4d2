"""Units become batches: every unit once, budgets respected, and every asked position at the right token."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from lightning_fabric.utilities import move_data_to_device
from lightning_utilities.core.apply_func import apply_to_collection
from torch.utils import _pytree

from glassformer.data.batch import IGNORE_INDEX, BatchConfig, Example, Shapes, Stream, Targets, collate, pack, plan

PAD = 0
LONGEST = 13
SHAPES = Shapes(rows=5, lengths=(17, 29, 5 * LONGEST), asked_share=0.02, packed=True)

configs = st.builds(
    BatchConfig,
    size=st.integers(1, 7),
    tokens=st.none() | st.integers(LONGEST, 5 * LONGEST),
    layout=st.sampled_from(["padded", "grouped", "packed"]),
)
unit_lengths = st.lists(st.integers(1, LONGEST), min_size=1, max_size=60).map(lambda n: np.array(n, dtype=np.int64))
generators = st.none() | st.integers(0, 2**32).map(np.random.default_rng)


@st.composite
def rows_of_examples(draw: st.DrawFn, streams: tuple[str, ...] = ("encoder",)) -> list[list[Example]]:
    """Rows of one or more examples. No token occurs twice, and each target is the token that stands there."""
    fresh = iter(range(1, 10_000))
    rows = []
    for members in draw(st.lists(st.integers(1, 4), min_size=1, max_size=SHAPES.rows)):
        row = []
        for _ in range(members):
            lengths = draw(st.tuples(*[st.integers(1, LONGEST) for _ in streams]))
            ids = {name: np.array([next(fresh) for _ in range(n)]) for name, n in zip(streams, lengths, strict=True)}
            asked = np.array(sorted(draw(st.sets(st.integers(0, lengths[-1] - 1)))), dtype=np.int64)
            sequences = {name: Stream(tokens) for name, tokens in ids.items()}
            row.append(Example(sequences, {"head": Targets(asked, ids[streams[-1]][asked], streams[-1])}))
        rows.append(row)
    return rows


# ---------------------------------------------------------------------------------------------------------- collate


@pytest.mark.parametrize("streams", [("encoder",), ("encoder", "decoder")])
@settings(deadline=None, max_examples=60)
@given(data=st.data(), shapes=st.sampled_from([None, SHAPES]))
def test_asked_rows_point_at_the_right_tokens(streams, data, shapes):
    """Padded or packed, one stream or two: the flat index of every target finds that very token."""
    rows = data.draw(rows_of_examples(streams))
    batch = collate(rows, PAD, shapes)
    targets = batch.targets["head"]
    wanted = [int(t) for row in rows for example in row for t in example.targets["head"].values]
    assert targets.n_targets == len(wanted)
    assert targets.values[: targets.n_targets].tolist() == wanted
    found = batch.streams[streams[-1]].input_ids.flatten()[targets.flat_index]
    assert found[: targets.n_targets].tolist() == wanted
    assert (targets.values[targets.n_targets :] == IGNORE_INDEX).all()


@settings(deadline=None, max_examples=60)
@given(rows=rows_of_examples(), shapes=st.sampled_from([None, SHAPES]))
def test_every_token_comes_back(rows, shapes):
    """The tokens of each example lie together in their row, their positions restart, and the rest is padding."""
    batch = collate(rows, PAD, shapes)
    stream = batch.streams["encoder"]
    real = stream.input_ids != PAD
    for r, row in enumerate(rows):
        ids = np.concatenate([example.streams["encoder"].values for example in row])
        positions = np.concatenate([np.arange(len(example.streams["encoder"].values)) for example in row])
        assert stream.input_ids[r, : len(ids)].tolist() == ids.tolist()
        assert stream.positions.expand_as(stream.input_ids)[r, : len(ids)].tolist() == positions.tolist()
        assert not real[r, len(ids) :].any()
    assert batch.tokens == real.sum()
    assert not real[len(rows) :].any()


@settings(deadline=None, max_examples=60)
@given(rows=rows_of_examples(), shapes=st.sampled_from([None, SHAPES]))
def test_a_token_sees_exactly_the_tokens_of_its_example(rows, shapes):
    """The collated mask against the examples, pair by pair (what padding itself sees is nobody's business)."""
    stream = collate(rows, PAD, shapes).streams["encoder"]
    height, width = stream.input_ids.shape
    example_of = {int(t): e for e, one in enumerate(e for r in rows for e in r) for t in one.streams["encoder"].values}
    dense = stream.mask.dense()
    allowed = torch.ones(height, 1, width, width).bool() if dense is None else dense.expand(height, 1, width, width)
    for r, ids in enumerate(stream.input_ids.tolist()):
        owners = np.array([example_of.get(token, -1) for token in ids])
        expected = (owners[:, None] == owners[None, :])[owners >= 0]
        np.testing.assert_array_equal(allowed[r, 0].numpy()[owners >= 0], expected)


def test_a_mask_always_knows_where_queries_and_keys_stand():
    """In order, packed, permuted, behind queries: those of the stream, which alone forbid nothing."""
    pairs = np.ones((4, 3), dtype=bool)
    cases = [
        [[example(3, 4, 5)]],
        [[example(3, 4, 5)], [example(3)]],
        [[example(3, 4, 5), example(6, 7)]],
        [[Example({"encoder": Stream(np.array([3, 4, 5]), positions=np.array([2, 0, 1]))}, {})]],
        [[Example({"encoder": Stream(np.array([3, 4, 5]), causal=True)}, {})]],
        [[Example({"encoder": Stream(np.array([3, 4, 5, 2]), n_query_only=1, pair_mask=pairs)}, {})]],
    ]
    for rows in cases:
        stream = collate(rows, pad_id=0).streams["encoder"]
        assert torch.equal(stream.mask.query_positions, stream.positions)
        assert torch.equal(stream.mask.key_positions, stream.positions[:, : stream.n_keys])
        assert stream.mask.causal == rows[0][0].streams["encoder"].causal
    assert collate(cases[0], pad_id=0).streams["encoder"].mask.dense() is None
    assert collate(cases[2], pad_id=0).streams["encoder"].mask.key_positions.tolist() == [[0, 1, 2, 0, 1]]


def example(*ids: int) -> Example:
    return Example({"encoder": Stream(np.array(ids))}, {"head": Targets(np.array([0]), np.array([ids[0]]))})


def test_the_mask_is_the_leanest_that_is_right():
    """None for full rows, keys for padding, documents for packed rows; with fixed shapes always a tensor."""
    full = collate([[example(1, 2)], [example(3, 4)]], PAD).streams["encoder"].mask
    padded = collate([[example(1, 2)], [example(3)]], PAD).streams["encoder"].mask
    packed = collate([[example(1), example(2)], [example(3, 4)]], PAD).streams["encoder"].mask
    fixed = collate([[example(1, 2)]], PAD, Shapes(1, (2,), 0.5)).streams["encoder"].mask
    assert full.dense() is None
    assert padded.key_mask.tolist() == [[True, True], [True, False]] and padded.query_documents is None
    assert packed.key_mask is None and packed.query_documents.tolist() == [[1, 2], [1, 1]]
    assert fixed.key_mask is not None and fixed.key_mask.all()


@settings(deadline=None, max_examples=60)
@given(rows=rows_of_examples())
def test_fixed_shapes_are_the_only_shapes(rows):
    """Whatever the examples: the rows, one of the lengths (the shortest that fits), a multiple of the asked number."""
    free, fixed = collate(rows, PAD), collate(rows, PAD, SHAPES)
    width = free.streams["encoder"].input_ids.shape[1]
    assert fixed.streams["encoder"].input_ids.shape == (SHAPES.rows, min(n for n in SHAPES.lengths if n >= width))
    number = len(fixed.targets["head"].flat_index)
    room = SHAPES.asked(fixed.streams["encoder"].input_ids.shape[1])
    assert number > 0 and number % room == 0
    assert number - room < max(1, fixed.targets["head"].n_targets)
    assert fixed.streams["encoder"].mask.key_mask is not None
    assert fixed.streams["encoder"].mask.query_documents is not None
    assert len(free.targets["head"].flat_index) == max(1, free.targets["head"].n_targets)


# ------------------------------------------------------------------------------------------------------------- plan


@settings(deadline=None, max_examples=150)
@given(lengths=unit_lengths, config=configs, rng=generators)
def test_every_unit_exactly_once_and_the_budget_respected(lengths, config, rng):
    """Every layout, by rows or by tokens, in training and in evaluation."""
    batches = plan(lengths, config, LONGEST, rng)
    assert sorted(unit for rows in batches for row in rows for unit in row) == list(range(len(lengths)))
    for rows in batches:
        filled = [int(lengths[row].sum()) for row in rows]
        assert max(filled) <= LONGEST
        if config.tokens is None:
            assert len(rows) <= config.size
        else:
            assert len(rows) * max(filled) <= config.tokens
        if config.layout != "packed":
            assert all(len(row) == 1 for row in rows)
    if config.tokens is None:
        assert sum(len(rows) < config.size for rows in batches) <= 1


@settings(deadline=None, max_examples=60)
@given(lengths=unit_lengths, tokens=st.integers(LONGEST, 5 * LONGEST))
def test_a_token_budget_is_used(lengths, tokens):
    """Where rows come one after another, a batch ends only where the next row would have gone beyond the budget."""
    batches = plan(lengths, BatchConfig(tokens=tokens, layout="padded"), LONGEST, np.random.default_rng(1))
    for rows, following in itertools.pairwise(batches):
        assert (len(rows) + 1) * max(int(lengths[row].sum()) for row in [*rows, following[0]]) > tokens


def wikitext_like(number: int = 5_000, longest: int = 128) -> np.ndarray:
    """Lengths of paragraphs: many short headings, a broad middle, long ones cut at `longest`."""
    drawn = np.random.default_rng(7).lognormal(3.6, 0.9, number).astype(np.int64) + 3
    return np.minimum(drawn, longest)


def padding_share(batches: list, lengths: np.ndarray) -> float:
    area = sum(len(rows) * max(int(lengths[row].sum()) for row in rows) for rows in batches)
    return 1 - lengths.sum() / area


def test_grouping_and_packing_save_padding():
    """On lengths like WikiText's: at random half is padding, grouped and packed waste less than a tenth."""
    lengths = wikitext_like()
    share = {
        layout: padding_share(plan(lengths, BatchConfig(layout=layout), 128, np.random.default_rng(1)), lengths)
        for layout in ("padded", "grouped", "packed")
    }
    assert share["padded"] > 0.4
    assert share["grouped"] < 0.1
    assert share["packed"] < 0.1


def best_fit_slowly(lengths: np.ndarray, row_length: int) -> list[int]:
    """How full the rows get: look through all open rows for the one that has least room left, but enough."""
    filled: list[int] = []
    for length in lengths:
        fitting = [r for r, used in enumerate(filled) if used + length <= row_length]
        if fitting:
            filled[max(fitting, key=lambda r: filled[r])] += int(length)
        else:
            filled.append(int(length))
    return filled


@settings(deadline=None, max_examples=60)
@given(lengths=unit_lengths)
def test_packing_is_best_fit(lengths):
    """The rows are as full as those of the slow twin."""
    rows = pack(np.arange(len(lengths)), lengths, LONGEST)
    assert sorted(int(lengths[row].sum()) for row in rows) == sorted(best_fit_slowly(lengths, LONGEST))


@pytest.mark.parametrize("layout", ["padded", "grouped", "packed"])
def test_the_order_is_the_generators(layout):
    """Equal generators give equal batches, others give each unit other company; evaluation has one order."""
    lengths, config = wikitext_like(500), BatchConfig(size=5, layout=layout)
    first, again, other = (plan(lengths, config, 128, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again

    def company(batches):
        return {frozenset(unit for row in rows for unit in row) for rows in batches}

    assert len(company(first) & company(other)) < len(first) / 10
    assert plan(lengths, config, 128, None) == plan(lengths, config, 128, None)


def test_grouped_batches_come_in_no_order_of_length():
    """Short batches must not come before long ones all through an epoch."""
    lengths = wikitext_like(500)
    batches = plan(lengths, BatchConfig(size=10), 128, np.random.default_rng(1))
    longest = [max(lengths[row].sum() for row in rows) for rows in batches]
    assert abs(np.corrcoef(longest, np.arange(50))[0, 1]) < 0.5


# ------------------------------------------------------------------------------------------------------- plain tree


def test_a_batch_is_a_plain_tree(batch):
    """PyTorch's and Lightning's tree walks rebuild it: every tensor visited, every number and None kept."""
    leaves, structure = _pytree.tree_flatten(batch)
    rebuilt = _pytree.tree_unflatten(leaves, structure)
    assert type(rebuilt) is type(batch) and type(rebuilt.streams["encoder"]) is type(batch.streams["encoder"])
    doubled = apply_to_collection(batch, torch.Tensor, lambda x: x * 2)
    moved = move_data_to_device(batch, torch.device("meta"))
    mask = batch.streams["encoder"].mask
    assert mask.key_mask is not None and moved.streams["encoder"].mask.key_mask.device.type == "meta"
    assert torch.equal(doubled.targets["masked_lm"].flat_index, batch.targets["masked_lm"].flat_index * 2)
    for copy in (rebuilt, doubled, moved):
        assert (copy.tokens, copy.targets["masked_lm"].n_targets) == (
            batch.tokens,
            batch.targets["masked_lm"].n_targets,
        )
        assert copy.streams["encoder"].mask.pair_mask is None


def test_mixed_precision_leaves_integers_alone(batch):
    """Fabric converts what goes into a model; ids, positions and masks must stay what they are."""
    converted = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")._precision.convert_input(batch)
    for before, after in zip(_pytree.tree_leaves(batch), _pytree.tree_leaves(converted), strict=True):
        assert type(before) is type(after)
        if isinstance(before, torch.Tensor):
            assert before.dtype == after.dtype and torch.equal(before, after)


def test_a_unit_longer_than_a_row_is_refused() -> None:
    """Packing never makes a row longer than it may be."""
    with pytest.raises(ValueError, match="fits in no row of 8"):
        pack([0, 1, 2], np.array([12, 3, 5]), 8)
    assert sorted(map(sum, pack([0, 1, 2], np.array([8, 3, 5]), 8))) == [0, 3]
