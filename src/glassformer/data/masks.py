"""Who may look at whom: the one mask type of the package. One polarity, said once: True = may attend."""

from typing import NamedTuple

from jaxtyping import Bool, Int
from torch import Tensor


class AttentionMask(NamedTuple):
    """Which query position may attend to which key position, kept structured so that a mechanism can take a
    fast path; every part that is present must allow a pair. No part at all: everything may attend to everything.

    B batch, Q queries, K keys. For self-attention queries and keys are the same tokens.
    """

    key_mask: Bool[Tensor, "B K"] | None = None
    """False at padding."""
    query_documents: Int[Tensor, "B Q"] | None = None
    """With `key_documents`: several documents share a row, and a token sees only its own document."""
    key_documents: Int[Tensor, "B K"] | None = None
    pair_mask: Bool[Tensor, "B Q K"] | None = None
    """Any other pattern, pair by pair."""

    def dense(self) -> Bool[Tensor, "B 1 Q_or_1 K"] | None:
        """The parts combined into one tensor that broadcasts over heads (and over queries, where only the keys
        matter); None when nothing is forbidden."""
        allowed = None if self.key_mask is None else self.key_mask[:, None, None, :]
        if self.query_documents is not None and self.key_documents is not None:
            same = self.query_documents[:, None, :, None] == self.key_documents[:, None, None, :]
            allowed = same if allowed is None else allowed & same
        if self.pair_mask is not None:
            pairs = self.pair_mask[:, None, :, :]
            allowed = pairs if allowed is None else allowed & pairs
        return allowed
