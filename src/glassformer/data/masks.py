"""Who may look at whom: the one mask type of the package. One polarity, said once: True = may attend."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class AttentionMask(NamedTuple):
    """Where queries and keys stand, and which query may attend to which key, kept structured so that a mechanism can
    take a fast path. Every part that forbids something must allow a pair; positions by themselves forbid nothing.

    B batch, Q queries, K keys; a 1 in the place of B stands for every row. For self-attention queries and keys are the
    same tokens; in generation the queries are the newest of them.
    """

    query_positions: Int[Tensor, "#B Q"]
    """Where each token stands in its own document. They are always there: a window, say, goes by them."""
    key_positions: Int[Tensor, "#B K"]
    causal: bool = False
    """A token sees itself and what stands before it."""
    key_mask: Bool[Tensor, "B K"] | None = None
    """False at padding."""
    query_documents: Int[Tensor, "B Q"] | None = None
    """With `key_documents`: several documents share a row, and a token sees only its own document."""
    key_documents: Int[Tensor, "B K"] | None = None
    pair_mask: Bool[Tensor, "B Q K"] | None = None
    """Any other pattern, pair by pair."""
    aligned: bool = False
    """The queries are the last Q of the keys, in the same order; inside a document positions ascend by one from column
    to column, and padding stands at the end. Then a mechanism may read causality and distances from the columns, and a
    causal mask needs none for padding: no token sees behind itself."""
    no_empty_rows: bool = False
    """Every query is known to see something, so that nobody needs to look for those that see nothing."""
    combined: Bool[Tensor, "#B 1 #Q K"] | None = None
    """What `dense` has found, where it was asked before; see `prepared`."""
    penalty: Float[Tensor, "#B 1 #Q K"] | None = None
    """The same as numbers to add to the scores, 0 or minus infinity: what fused kernels make of it at every call."""

    @classmethod
    def in_order(cls, n_queries: int, n_keys: int | None = None, **parts: Any) -> "AttentionMask":
        """Queries and keys that stand at 0, 1, 2 and so on (None: as many keys as queries), with these parts."""
        places = torch.arange(max(n_queries, n_keys or 0))[None]
        return cls(places[:, :n_queries], places[:, : n_keys or n_queries], **parts)

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
        newest = self.aligned and self.query_positions.shape[1] == 1  # behind which there is nothing to hide
        if self.causal and not newest:
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

    def within(self, pairs: Bool[Tensor, "#B 1 #Q K"] | None) -> "AttentionMask":
        """The same for a mechanism that only uses these pairs, among which each token's with itself."""
        if pairs is None:
            return self
        return self._replace(
            combined=_both(self.dense(), pairs),
            penalty=None,
            aligned=False,
            no_empty_rows=self.no_empty_rows or self.only_causal,
        )

    def newest(self, length: int) -> "AttentionMask":
        """Of a prepared mask that hides the padding of growing texts: that of their newest token, the `length`-th."""
        assert self.key_mask is not None and self.combined is not None and self.penalty is not None
        return self._replace(
            query_positions=self.key_positions[:, length - 1 : length],
            key_positions=self.key_positions[:, :length],
            key_mask=self.key_mask[:, :length],
            combined=self.combined[..., :length],
            penalty=self.penalty[..., :length],
        )

    def for_rows(self, rows: list[int]) -> "AttentionMask":
        """The mask of some of the queries."""

        def cut(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[:, rows]

        return self._replace(
            query_positions=self.query_positions[:, rows],
            query_documents=cut(self.query_documents),
            pair_mask=cut(self.pair_mask),
            aligned=False,
            combined=None,
            penalty=None,
        )


def _both(one: Tensor | None, other: Tensor) -> Tensor:
    return other if one is None else one & other


def across(queries: AttentionMask, keys: AttentionMask) -> AttentionMask:
    """The mask of cross-attention between two streams, from the masks of each: padding of the keys, and where
    documents share a row, its own document only. Order plays no part; positions are those of each stream."""
    return AttentionMask(
        queries.query_positions,
        keys.key_positions,
        key_mask=keys.key_mask,
        query_documents=queries.query_documents,
        key_documents=keys.key_documents,
    )
