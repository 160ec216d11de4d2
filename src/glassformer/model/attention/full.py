"""Scaled dot-product attention, every query over every key (Vaswani et al. 2017, equation 1)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glassformer.data.masks import AttentionMask
from glassformer.model.attention import Mechanism, laid_together, spread
from glassformer.model.dropout import dropout as drop

EXPLICIT_UP_TO = 512
"""Keys up to which all scores are held in memory for the sake of speed."""


class FullAttention(Mechanism):
    """softmax(q k^T * scale + bias) v, masked. Any mask, bias and dropout."""

    in_step_c = True

    def forward(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B G K E"],
        v: Float[Tensor, "B G K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
        dropout: float = 0.0,
    ) -> Float[Tensor, "B H Q E"]:
        """The context, through the fused kernel where that is the fast way."""
        k, v = spread(k, q.shape[1]), spread(v, q.shape[1])
        if q.shape[2] == 1 and bias is None and dropout == 0.0 and mask.dense() is None:  # the newest token of one text
            return F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        if q.device.type == "cpu" and _explicit_is_faster(q, k, dropout):
            return drop(self.weights(q, k, mask, bias), dropout) @ v
        if mask.only_causal and bias is None and q.shape[-2] == k.shape[-2]:
            return F.scaled_dot_product_attention(q, k, v, None, dropout, is_causal=True, scale=self.scale)
        allowed = mask.dense()
        if allowed is None:
            return F.scaled_dot_product_attention(q, k, v, bias, dropout, scale=self.scale)
        if mask.no_empty_rows:
            attn_mask = allowed if mask.penalty is None else mask.penalty
            if bias is not None:
                attn_mask = bias.masked_fill(~allowed, float("-inf"))
            return F.scaled_dot_product_attention(q, k, v, attn_mask, dropout, scale=self.scale)
        sees = allowed.any(-1, keepdim=True)
        additive = _open_empty_rows(allowed, sees)
        attn_mask = additive if bias is None else bias.masked_fill(~additive, float("-inf"))
        context = F.scaled_dot_product_attention(q, k, v, attn_mask, dropout, scale=self.scale)
        return torch.where(sees, context, 0.0)

    def weights(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B G K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
    ) -> Float[Tensor, "B H Q K"]:
        """The attention weights, step by step as in the paper. Rows sum to 1, or to 0 where nothing may be seen."""
        scores = (q * self.scale) @ spread(k, q.shape[1]).transpose(-2, -1)
        if bias is not None:
            scores = scores + bias
        allowed = mask.dense()
        if allowed is None:
            return scores.softmax(-1)
        if mask.only_causal or mask.no_empty_rows:  # in a causal mask every token sees itself
            return scores.masked_fill(~allowed, float("-inf")).softmax(-1)
        sees = allowed.any(-1, keepdim=True)
        scores = scores.masked_fill(~_open_empty_rows(allowed, sees), float("-inf"))
        return torch.where(sees, scores.softmax(-1), 0.0)

    def new_state(self, k: Float[Tensor, "B G K E"], capacity: int) -> "KeyValueCache":
        """Room for the keys and values of `capacity` tokens, in one piece."""
        return KeyValueCache(k, capacity)

    def step(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B G Q E"],
        v: Float[Tensor, "B G Q E"],
        state: "KeyValueCache",
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
    ) -> Float[Tensor, "B H Q E"]:
        """The newest queries over all keys so far."""
        call = self if self._forward_hooks or self._forward_pre_hooks else self.forward  # which costs less
        return call(q, *state.append(k, v), mask, bias)


class KeyValueCache:
    """Keys and values of the tokens so far, in preallocated blocks of B x G x capacity x E."""

    def __init__(self, like: Float[Tensor, "B G K E"], capacity: int) -> None:
        rows, heads, _, features = like.shape
        self.keys, self.values = (like.new_empty(rows, heads, capacity, features) for _ in range(2))
        self.spare: tuple[Tensor, Tensor] | None = None
        """Where the rows that are kept go; afterwards it is the blocks that they came from."""
        self.spare_common = 0
        """So many tokens of each row stand in the spare blocks as in the others."""
        self.length = 0

    @classmethod
    def joined(cls, parts: list["KeyValueCache"], rows: list[list[int]], capacity: int) -> "KeyValueCache":
        """One cache of several, each of which has the given rows of it; zeros where one is shorter than the others."""
        whole = cls(parts[0].keys, 0)
        whole.keys = laid_together([part.keys[:, :, : part.length] for part in parts], rows, 2, capacity)
        whole.values = laid_together([part.values[:, :, : part.length] for part in parts], rows, 2, capacity)
        whole.length = max(part.length for part in parts)
        return whole

    def append(
        self, k: Float[Tensor, "B G Q E"], v: Float[Tensor, "B G Q E"]
    ) -> tuple[Float[Tensor, "B G K E"], Float[Tensor, "B G K E"]]:
        """Add the newest; all keys and all values, as views."""
        start, newest = self.length, k.shape[2]
        self.length = start + newest
        self.keys.narrow(2, start, newest).copy_(k)
        self.values.narrow(2, start, newest).copy_(v)
        return self.keys.narrow(2, 0, self.length), self.values.narrow(2, 0, self.length)

    def keep_rows(self, rows: Int[Tensor, "rows"], common: int = 0) -> None:
        """Keep these rows, in this order; a row may be taken several times (beams) or not at all (finished). The first
        `common` tokens of each are those of the row whose place it takes.

        Each is copied once, into blocks that were there already, and without what stands there as it should: beams do
        this at every token, and all beams of a prompt begin with the prompt."""
        before, start = (self.keys, self.values), min(common, self.spare_common)
        if self.spare is None or len(self.spare[0]) < len(rows):
            shape = (len(rows), *self.keys.shape[1:])
            self.spare, start = (self.keys.new_empty(shape), self.values.new_empty(shape)), 0
        self.keys, self.values = (block[: len(rows)] for block in self.spare)
        for old, new in zip(before, (self.keys, self.values), strict=True):
            torch.index_select(old[:, :, start : self.length], 0, rows, out=new[:, :, start : self.length])
        self.spare, self.spare_common = before, common


def _explicit_is_faster(q: Float[Tensor, "B H Q E"], k: Float[Tensor, "B H K E"], dropout: float) -> bool:
    """On the CPU torch's fused kernel has no dropout, and falls back to something several times slower; in bfloat16 it
    takes three times as long as matrix products, which are taken where the scores fit in memory."""
    return dropout > 0.0 or (q.dtype == torch.bfloat16 and k.shape[-2] <= EXPLICIT_UP_TO)


def _open_empty_rows(
    allowed: Bool[Tensor, "B 1 Q_or_1 K"], sees: Bool[Tensor, "B 1 Q_or_1 1"]
) -> Bool[Tensor, "B 1 Q_or_1 K"]:
    """A row that may see nothing is opened wholly, so that its softmax is finite; its result is zeroed after."""
    return allowed | ~sees
