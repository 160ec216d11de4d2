"""The one mask type: every part that is there must allow a pair."""

import itertools

import pytest
import torch

from glassformer.data.masks import AttentionMask, across

B, Q, K = 3, 5, 7


def random_mask(keys: bool, documents: bool, pairs: bool, causal: bool = False) -> AttentionMask:
    generator = torch.Generator().manual_seed(11)

    def draw(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape, generator=generator)

    return AttentionMask(
        draw(9, B, Q),
        draw(9, B, K),
        causal,
        key_mask=draw(2, B, K).bool() if keys else None,
        query_documents=draw(3, B, Q) if documents else None,
        key_documents=draw(3, B, K) if documents else None,
        pair_mask=draw(2, B, Q, K).bool() if pairs else None,
    )


def may_attend(mask: AttentionMask, b: int, i: int, j: int) -> bool:
    """The definition, for one query and one key."""
    padding = mask.key_mask is not None and not mask.key_mask[b, j]
    other = mask.query_documents is not None and mask.query_documents[b, i] != mask.key_documents[b, j]
    forbidden = mask.pair_mask is not None and not mask.pair_mask[b, i, j]
    later = mask.causal and mask.query_positions[b, i] < mask.key_positions[b, j]
    return not (padding or other or forbidden or later)


@pytest.mark.parametrize("parts", list(itertools.product([False, True], repeat=4))[1:])
def test_dense_equals_the_definition_pair_by_pair(parts):
    """For each combination of parts, every (batch, query, key); some pairs are allowed and some are not."""
    mask = random_mask(*parts)
    dense = mask.dense()
    allowed = dense.expand(B, 1, Q, K)
    assert allowed.any() and not allowed.all()
    for b, i, j in itertools.product(range(B), range(Q), range(K)):
        assert allowed[b, 0, i, j] == may_attend(mask, b, i, j)


def test_positions_alone_forbid_nothing():
    """None stands for "everything may attend to everything", so that a mechanism can take its fastest path."""
    assert random_mask(False, False, False).dense() is None
    assert AttentionMask.in_order(Q, K, aligned=True).dense() is None


def test_the_newest_token_of_a_growing_text_needs_no_mask():
    """It is causal, and nothing stands behind it; two at a time are not alike."""
    places = torch.arange(K)[None]
    newest = AttentionMask(places[:, -1:], places, causal=True, aligned=True)
    assert newest.dense() is None and newest.prepared(torch.float32).penalty is None
    two = AttentionMask(places[:, -2:], places, causal=True, aligned=True)
    assert two.dense()[0, 0].tolist() == [[True] * (K - 1) + [False], [True] * K]


def test_padding_alone_stays_small():
    """A key mask needs no row for each query: Q stays 1."""
    assert random_mask(keys=True, documents=False, pairs=False).dense().shape == (B, 1, 1, K)
    assert random_mask(keys=True, documents=True, pairs=False).dense().shape == (B, 1, Q, K)


def test_causality_of_whole_rows_is_made_once_for_all():
    """One row of positions stands for every row; padding at the end needs no mask, since nobody sees behind himself."""
    padded = torch.tensor([[True] * Q, [True] * 3 + [False] * 2, [True] + [False] * 4])
    mask = AttentionMask.in_order(Q, causal=True, key_mask=padded, aligned=True)
    assert mask.only_causal and torch.equal(mask.dense(), torch.ones(Q, Q, dtype=torch.bool).tril()[None, None])
    unaligned = mask._replace(aligned=False)
    assert not unaligned.only_causal and unaligned.dense().shape == (B, 1, Q, Q)
    for b in range(B):  # for the real queries both say the same
        real = padded[b]
        assert torch.equal(unaligned.dense()[b, 0][real], mask.dense()[0, 0][real])


@pytest.mark.parametrize("parts", list(itertools.product([False, True], repeat=4))[1:])
def test_prepared_and_cut_masks_say_the_same(parts):
    """Combined once for all layers, and of some rows only."""
    mask = random_mask(*parts)
    assert mask.prepared().combined is not None and torch.equal(mask.prepared().dense(), mask.dense())
    some = mask.prepared().for_rows([4, 1]).dense()
    assert torch.equal(some.expand(B, 1, 2, K), mask.dense().expand(B, 1, Q, K)[:, :, [4, 1]])
    penalty = mask.prepared(torch.float64).penalty
    assert penalty.dtype == torch.float64 and penalty.shape == mask.dense().shape
    assert torch.equal(penalty, torch.zeros(penalty.shape).double().masked_fill(~mask.dense(), float("-inf")))
    assert mask.prepared(torch.float64).for_rows([4, 1]).penalty is None


def test_the_first_keys_of_padding_as_a_text_grows():
    padded = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True, False, False, True, True]])
    places = (padded.long().cumsum(1) - 1).clamp(min=0)
    whole = AttentionMask(places, places, key_mask=padded, no_empty_rows=True).prepared(torch.float32)
    for number in (1, 4, 5):
        cut = whole.newest(number)
        wanted = AttentionMask.in_order(1, number, key_mask=padded[:, :number]).prepared(torch.float32)
        assert cut.no_empty_rows and torch.equal(cut.query_positions, places[:, [number - 1]])
        assert torch.equal(cut.key_positions, places[:, :number])
        for name in ("key_mask", "combined", "penalty"):
            assert torch.equal(getattr(cut, name), getattr(wanted, name))


def test_within_some_pairs_only():
    """Both must allow a pair; what was made of the whole is left behind."""
    near = torch.rand(B, 1, Q, K, generator=torch.Generator().manual_seed(2)) < 0.5
    for parts in itertools.product([False, True], repeat=4):
        mask = random_mask(*parts).prepared(torch.float32)
        found, whole = mask.within(near), mask.dense()
        assert torch.equal(found.dense(), near if whole is None else near & whole) and found.penalty is None
        assert mask.within(None) is mask
    causal = AttentionMask.in_order(Q, causal=True, aligned=True)
    found = causal.within(torch.eye(Q, dtype=torch.bool)[None, None])
    assert not found.only_causal and found.no_empty_rows


def test_across_two_streams_only_padding_and_documents_count():
    """Order plays no part between source and target, and a target sees the source of its own document."""
    queries = random_mask(True, True, True, True)
    keys = random_mask(True, True, False, True)
    found = across(queries, keys)
    expected = AttentionMask.in_order(
        Q, K, key_mask=keys.key_mask, query_documents=queries.query_documents, key_documents=keys.key_documents
    )
    assert torch.equal(found.dense(), expected.dense())
    assert found.query_positions is queries.query_positions and found.key_positions is keys.key_positions
    assert across(AttentionMask.in_order(Q), AttentionMask.in_order(K)).dense() is None
