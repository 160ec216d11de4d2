"""Scaled dot-product attention, every query over every key (Vaswani et al. 2017, equation 1)."""

from jaxtyping import Float
from torch import Tensor

from glassformer.data.masks import AttentionMask
from glassformer.model.attention import Mechanism
from glassformer.model.attention_config import MechanismConfig
from glassformer.model.cache import KeyValueCache
from glassformer.model.softmax import softmax_attention, softmax_weights


class FullAttention(Mechanism[MechanismConfig]):
    """softmax(q k^T * scale + bias) v, masked. Any mask, bias and dropout."""

    can = frozenset({"bias", "dropout", "weights", "causal", "cross", "documents", "pair_mask", "decode"})

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
        return softmax_attention(q, k, v, mask, bias, dropout, self.scale)

    def weights(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B G K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
    ) -> Float[Tensor, "B H Q K"]:
        """The attention weights, step by step as in the paper. Rows sum to 1, or to 0 where nothing may be seen."""
        return softmax_weights(q, k, mask, bias, self.scale)

    def new_state(self, k: Float[Tensor, "B G K E"], capacity: int) -> KeyValueCache:
        """Room for the keys and values of `capacity` tokens, in one piece."""
        return KeyValueCache(k, capacity)

    def step(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B G Q E"],
        v: Float[Tensor, "B G Q E"],
        state: KeyValueCache,
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
    ) -> Float[Tensor, "B H Q E"]:
        """The newest queries over all keys so far."""
        call = self if self._forward_hooks or self._forward_pre_hooks else self.forward  # which costs less
        return call(q, *state.append(k, v), mask, bias)
