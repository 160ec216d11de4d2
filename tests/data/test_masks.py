"""The one mask type: every part that is there must allow a pair."""

import itertools

import pytest
import torch

from glassformer.data.masks import AttentionMask

B, Q, K = 3, 5, 7


def random_mask(keys: bool, documents: bool, pairs: bool) -> AttentionMask:
    generator = torch.Generator().manual_seed(11)

    def draw(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape, generator=generator)

    return AttentionMask(
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
    return not (padding or other or forbidden)


@pytest.mark.parametrize("parts", list(itertools.product([False, True], repeat=3))[1:])
def test_dense_equals_the_definition_pair_by_pair(parts):
    """For each combination of parts, every (batch, query, key); some pairs are allowed and some are not."""
    mask = random_mask(*parts)
    dense = mask.dense()
    allowed = dense.expand(B, 1, Q, K)
    assert allowed.any() and not allowed.all()
    for b, i, j in itertools.product(range(B), range(Q), range(K)):
        assert allowed[b, 0, i, j] == may_attend(mask, b, i, j)


def test_no_part_forbids_nothing():
    """None stands for "everything may attend to everything", so that a mechanism can take its fastest path."""
    assert AttentionMask().dense() is None


def test_padding_alone_stays_small():
    """A key mask needs no row for each query: Q stays 1."""
    assert random_mask(keys=True, documents=False, pairs=False).dense().shape == (B, 1, 1, K)
    assert random_mask(keys=True, documents=True, pairs=False).dense().shape == (B, 1, Q, K)
