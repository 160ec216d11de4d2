"""The contract of an attention mechanism: it mixes values, and can say with which weights. One file per mechanism.

Shapes: B batch, H heads, Q queries, K keys, E features of a head. Keys and values may have fewer heads, G, each for
H / G heads of the queries (grouped-query attention; Ainslie et al. 2023). MultiHeadAttention projects and splits; the
mechanism never sees a projection, and owns its scale.
"""

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.masks import AttentionMask
from glassformer.plugins import find_plugin


class Mechanism(nn.Module, ABC):
    """What every file in this folder provides."""

    no_weights: str | None = None
    """Why there are no weights to be shown, where a mechanism mixes in another way, in words that end a sentence. Then
    `weights` raises NotImplementedError, nothing asks for it, and pages show what there is without."""

    in_step_c = False
    """Whether `decoding/step.c` computes the same from the same state. Each class says so for itself: what it changes
    of another's, step.c does not know."""

    def __init__(self, d_head: int, scale: float | None = None) -> None:
        super().__init__()
        self.scale = d_head**-0.5 if scale is None else scale

    @abstractmethod
    def forward(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B G K E"],
        v: Float[Tensor, "B G K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
        dropout: float = 0.0,
    ) -> Float[Tensor, "B H Q E"]:
        """The context: for each query a mixture of the values. A query that may see nothing gets zeros."""

    @abstractmethod
    def weights(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B G K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
    ) -> Float[Tensor, "B H Q K"]:
        """The same numbers made explicit: `weights(q, k, mask) @ v` equals `forward(q, k, v, mask)`."""

    def new_state(self, k: Float[Tensor, "B G K E"], capacity: int) -> Any:
        """What the mechanism keeps while a text grows token by token, with room for so many; `k` says rows, heads,
        type and device. None where it keeps nothing: such a model cannot generate, and says so. What it keeps has the
        methods `keep_rows` and `joined` of KeyValueCache in model/cache.py."""
        return None

    def step(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B G Q E"],
        v: Float[Tensor, "B G Q E"],
        state: Any,
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
    ) -> Float[Tensor, "B H Q E"]:
        """`forward` for the newest tokens of a text, whose keys and values join those that `state` keeps. The mask is
        that of the newest queries over all K keys."""
        raise NotImplementedError(f"{type(self).__name__} keeps no state")


def find_mechanism(name: str) -> type[Mechanism]:
    """The mechanism in the file `name`.py of this folder. Raises UsageError naming the nearest one."""
    return find_plugin(__name__, name, Mechanism, "attention mechanism")  # type: ignore[type-abstract]
