"""Softmax over the keys that may be seen: the weights step by step, and the context by the fastest way to it.

Parts for any mechanism that compares queries with keys (Vaswani et al. 2017, equation 1). B batch, H heads, Q queries,
K keys, E features of a head; keys and values may have fewer heads, G.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from glassformer.data.masks import AttentionMask
from glassformer.model.dropout import dropout as drop

EXPLICIT_UP_TO = 512
"""Keys up to which all scores are held in memory for the sake of speed."""


def repeat_kv(k: Float[Tensor, "B G K E"], n_heads: int) -> Float[Tensor, "B H K E"]:
    """Each head of keys or values for the heads of queries that share it."""
    return k if k.shape[1] == n_heads else k.repeat_interleave(n_heads // k.shape[1], dim=1)


def masked_softmax(scores: Float[Tensor, "B H Q K"], mask: AttentionMask) -> Float[Tensor, "B H Q K"]:
    """Weights from scores. Rows sum to 1, or to 0 where nothing may be seen: no NaN, not in gradients either."""
    allowed = mask.dense()
    if allowed is None:
        return scores.softmax(-1)
    if mask.only_causal or mask.no_empty_rows:  # in a causal mask every token sees itself
        return scores.masked_fill(~allowed, float("-inf")).softmax(-1)
    sees = allowed.any(-1, keepdim=True)
    scores = scores.masked_fill(~_open_empty_rows(allowed, sees), float("-inf"))
    return torch.where(sees, scores.softmax(-1), 0.0)


def softmax_weights(
    q: Float[Tensor, "B H Q E"],
    k: Float[Tensor, "B G K E"],
    mask: AttentionMask,
    bias: Float[Tensor, "#B #H Q K"] | None,
    scale: float,
) -> Float[Tensor, "B H Q K"]:
    """softmax(q k^T * scale + bias), step by step as in the paper."""
    scores = (q * scale) @ repeat_kv(k, q.shape[1]).transpose(-2, -1)
    return masked_softmax(scores if bias is None else scores + bias, mask)


def softmax_attention(
    q: Float[Tensor, "B H Q E"],
    k: Float[Tensor, "B G K E"],
    v: Float[Tensor, "B G K E"],
    mask: AttentionMask,
    bias: Float[Tensor, "#B #H Q K"] | None,
    dropout: float,
    scale: float,
) -> Float[Tensor, "B H Q E"]:
    """`softmax_weights` times values, through the fused kernel where that is the fast way."""
    k, v = repeat_kv(k, q.shape[1]), repeat_kv(v, q.shape[1])
    if q.shape[2] == 1 and bias is None and dropout == 0.0 and mask.dense() is None:  # the newest token of one text
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    if q.device.type == "cpu" and _explicit_is_faster(q, k, dropout):
        return drop(softmax_weights(q, k, mask, bias, scale), dropout) @ v
    if mask.only_causal and bias is None and q.shape[-2] == k.shape[-2]:
        return F.scaled_dot_product_attention(q, k, v, None, dropout, is_causal=True, scale=scale)
    allowed = mask.dense()
    if allowed is None:
        return F.scaled_dot_product_attention(q, k, v, bias, dropout, scale=scale)
    if mask.no_empty_rows:
        attn_mask = allowed if mask.penalty is None else mask.penalty
        if bias is not None:
            attn_mask = bias.masked_fill(~allowed, float("-inf"))
        return F.scaled_dot_product_attention(q, k, v, attn_mask, dropout, scale=scale)
    sees = allowed.any(-1, keepdim=True)
    additive = _open_empty_rows(allowed, sees)
    attn_mask = additive if bias is None else bias.masked_fill(~additive, float("-inf"))
    context = F.scaled_dot_product_attention(q, k, v, attn_mask, dropout, scale=scale)
    return torch.where(sees, context, 0.0)


def _explicit_is_faster(q: Float[Tensor, "B H Q E"], k: Float[Tensor, "B H K E"], dropout: float) -> bool:
    """On the CPU torch's fused kernel has no dropout, and falls back to something several times slower; in bfloat16 it
    takes three times as long as matrix products, which are taken where the scores fit in memory."""
    return dropout > 0.0 or (q.dtype == torch.bfloat16 and k.shape[-2] <= EXPLICIT_UP_TO)


def _open_empty_rows(
    allowed: Bool[Tensor, "B 1 Q_or_1 K"], sees: Bool[Tensor, "B 1 Q_or_1 1"]
) -> Bool[Tensor, "B 1 Q_or_1 K"]:
    """A row that may see nothing is opened wholly, so that its softmax is finite; its result is zeroed after."""
    return allowed | ~sees
