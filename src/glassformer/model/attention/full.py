"""Scaled dot-product attention, every query over every key (Vaswani et al. 2017, equation 1)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from glassformer.data.masks import AttentionMask
from glassformer.model.attention import Mechanism
from glassformer.model.dropout import dropout as drop

EXPLICIT_UP_TO = 512
"""Keys up to which all scores are held in memory for the sake of speed."""


class FullAttention(Mechanism):
    """softmax(q k^T * scale + bias) v, masked. Any mask, bias and dropout."""

    def forward(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B H K E"],
        v: Float[Tensor, "B H K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
        dropout: float = 0.0,
    ) -> Float[Tensor, "B H Q E"]:
        """The context, through the fused kernel where that is the fast way."""
        if q.device.type == "cpu" and _explicit_is_faster(q, k, dropout):
            return drop(self.weights(q, k, mask, bias), dropout) @ v
        allowed = mask.dense()
        if allowed is None:
            return F.scaled_dot_product_attention(q, k, v, bias, dropout, scale=self.scale)
        sees = allowed.any(-1, keepdim=True)
        additive = _open_empty_rows(allowed, sees)
        attn_mask = additive if bias is None else bias.masked_fill(~additive, float("-inf"))
        context = F.scaled_dot_product_attention(q, k, v, attn_mask, dropout, scale=self.scale)
        return torch.where(sees, context, 0.0)

    def weights(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B H K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
    ) -> Float[Tensor, "B H Q K"]:
        """The attention weights, step by step as in the paper. Rows sum to 1, or to 0 where nothing may be seen."""
        scores = (q * self.scale) @ k.transpose(-2, -1)
        if bias is not None:
            scores = scores + bias
        allowed = mask.dense()
        if allowed is None:
            return scores.softmax(-1)
        sees = allowed.any(-1, keepdim=True)
        scores = scores.masked_fill(~_open_empty_rows(allowed, sees), float("-inf"))
        return torch.where(sees, scores.softmax(-1), 0.0)


def _explicit_is_faster(q: Float[Tensor, "B H Q E"], k: Float[Tensor, "B H K E"], dropout: float) -> bool:
    """On the CPU torch's fused kernel has no dropout, and falls back to something several times slower; in bfloat16 it
    takes three times as long as matrix products, which are taken where the scores fit in memory."""
    return dropout > 0.0 or (q.dtype == torch.bfloat16 and k.shape[-2] <= EXPLICIT_UP_TO)


def _open_empty_rows(
    allowed: Bool[Tensor, "B 1 Q_or_1 K"], sees: Bool[Tensor, "B 1 Q_or_1 1"]
) -> Bool[Tensor, "B 1 Q_or_1 K"]:
    """A row that may see nothing is opened wholly, so that its softmax is finite; its result is zeroed after."""
    return allowed | ~sees
