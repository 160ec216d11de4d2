"""Who may look at whom: the one mask type of the package. One polarity, said once: True = may attend."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class AttentionMask(NamedTuple):
    """Which query position may attend to which key position, kept structured so that a mechanism can take a
    fast path; every part that is present must allow a pair. No part at all: everything may attend to everything.

    B batch, Q queries, K keys; a 1 in the place of B stands for every row. For self-attention queries and keys are the
    same tokens.
    """

    key_mask: Bool[Tensor, "B K"] | None = None
    """False at padding."""
    query_documents: Int[Tensor, "B Q"] | None = None
    """With `key_documents`: several documents share a row, and a token sees only its own document."""
    key_documents: Int[Tensor, "B K"] | None = None
    pair_mask: Bool[Tensor, "B Q K"] | None = None
    """Any other pattern, pair by pair."""
    query_positions: Int[Tensor, "#B Q"] | None = None
    """With `key_positions`: causal, a token sees what stands before it and itself."""
    key_positions: Int[Tensor, "#B K"] | None = None
    aligned: bool = False
    """Of a causal mask: query n and key n are the same token, positions ascend along the row, and padding stands at its
    end. Then a mechanism may read causality from the columns, and padding needs no mask: no token sees behind itself.
    """
    no_empty_rows: bool = False
    """Every query is known to see something, so that nobody needs to look for those that see nothing."""
    combined: Bool[Tensor, "#B 1 #Q K"] | None = None
    """What `dense` has found, where it was asked before; see `prepared`."""
    penalty: Float[Tensor, "#B 1 #Q K"] | None = None
    """The same as numbers to add to the scores, 0 or minus infinity: what fused kernels make of it at every call."""

    @property
    def causal(self) -> bool:
        """Whether positions decide who is seen."""
        return self.query_positions is not None

    @property
    def only_causal(self) -> bool:
        """Causality and nothing else, to be read from the columns."""
        return self.causal and self.aligned and self.query_documents is None and self.pair_mask is None

    def dense(self) -> Bool[Tensor, "#B 1 #Q K"] | None:
        """The parts combined into one tensor that broadcasts over heads (over queries, where only the keys matter, and
        over rows, where all are alike); None when nothing is forbidden."""
        if self.combined is not None:
            return self.combined
        allowed = None
        if self.key_mask is not None and not self.only_causal:
            allowed = self.key_mask[:, None, None, :]
        if self.query_documents is not None and self.key_documents is not None:
            allowed = _both(allowed, self.query_documents[:, None, :, None] == self.key_documents[:, None, None, :])
        if self.pair_mask is not None:
            allowed = _both(allowed, self.pair_mask[:, None, :, :])
        if self.query_positions is not None and self.key_positions is not None:
            allowed = _both(allowed, self.query_positions[:, None, :, None] >= self.key_positions[:, None, None, :])
        return allowed

    def prepared(self, dtype: torch.dtype | None = None) -> "AttentionMask":
        """The same, combined once for all the layers that will ask; with a type also as numbers of it to add."""
        allowed = self.dense()
        if allowed is None or (dtype is None and allowed is self.combined):
            return self
        if dtype is None:
            return self._replace(combined=allowed)
        nothing = torch.zeros((), dtype=dtype, device=allowed.device)
        return self._replace(combined=allowed, penalty=torch.where(allowed, nothing, float("-inf")))

    def first_keys(self, number: int) -> "AttentionMask":
        """A mask that only hides padding, of the first so many keys."""
        assert self.key_mask is not None and self.combined is not None and self.penalty is not None
        return self._replace(
            key_mask=self.key_mask[:, :number],
            combined=self.combined[..., :number],
            penalty=self.penalty[..., :number],
        )

    def for_rows(self, rows: list[int]) -> "AttentionMask":
        """The mask of some of the queries."""

        def cut(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[:, rows]

        return self._replace(
            query_documents=cut(self.query_documents),
            pair_mask=cut(self.pair_mask),
            query_positions=cut(self.query_positions),
            aligned=False,
            combined=None,
            penalty=None,
        )


def _both(one: Tensor | None, other: Tensor) -> Tensor:
    return other if one is None else one & other


def across(queries: AttentionMask, keys: AttentionMask) -> AttentionMask:
    """The mask of cross-attention between two streams, from the masks of each: padding of the keys, and where
    documents share a row, its own document only. Order plays no part."""
    return AttentionMask(keys.key_mask, queries.query_documents, keys.key_documents)
