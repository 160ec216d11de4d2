"""Local attention: each query sees the keys near it, a window that slides along the text (Beltagy et al. 2020, section
3.1). What stands farther off reaches a token through several layers, each of which looks a window farther."""

from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from glassformer.data.masks import AttentionMask
from glassformer.model.attention import Mechanism, Shape
from glassformer.model.attention_config import MechanismConfig
from glassformer.model.cache import KeyValueCache
from glassformer.model.softmax import softmax_attention, softmax_weights


class LocalConfig(MechanismConfig):
    """How far it sees."""

    window: int = Field(
        128,
        ge=1,
        description="positions that a token sees, itself and those before it; without causality as many after it",
    )


class LocalAttention(Mechanism[LocalConfig]):
    """softmax(q k^T * scale + bias) v over the keys whose position is less than `window` away. Any mask, bias and
    dropout.

    Distances go by positions and not by columns: padding, and other documents in a row, do not count. Cross-attention
    sees the whole memory, as in Longformer's encoder-decoder (section 7): positions of source and target have nothing
    to do with each other. All scores are computed, and those outside the window thrown away; only the newest token of
    texts without padding reads no more keys than it sees.
    """

    Config = LocalConfig
    can = frozenset({"bias", "dropout", "weights", "causal", "cross", "documents", "pair_mask", "decode"})

    def __init__(self, config: LocalConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.window = None if shape.cross else config.window

    def allowed(self, mask: AttentionMask) -> Bool[Tensor, "#B 1 #Q K"] | None:
        """True where query and key stand less than a window apart."""
        if self.window is None:
            return None
        distance = mask.query_positions[:, None, :, None] - mask.key_positions[:, None, None, :]
        return distance.abs() < self.window

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
        size = self.window or k.shape[2]
        if q.shape[2] == 1 and k.shape[2] > size and mask.only_causal:  # the newest token: its window is at the end
            k, v, bias = k[:, :, -size:], v[:, :, -size:], None if bias is None else bias[..., -size:]
            mask = mask._replace(key_positions=mask.key_positions[:, -size:])
        return softmax_attention(q, k, v, mask.within(self.allowed(mask)), bias, dropout, self.scale)

    def weights(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B G K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
    ) -> Float[Tensor, "B H Q K"]:
        """The attention weights. Rows sum to 1, or to 0 where nothing may be seen."""
        return softmax_weights(q, k, mask.within(self.allowed(mask)), bias, self.scale)

    def new_state(self, k: Float[Tensor, "B G K E"], capacity: int) -> KeyValueCache:
        """Room for the keys and values of `capacity` tokens."""
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
        """The newest queries over the keys so far."""
        return self(q, *state.append(k, v), mask, bias)
