"""The contract of an attention mechanism: it mixes values, and can say with which weights. One file per mechanism.

Shapes: B batch, H heads, Q queries, K keys, E features of a head. MultiHeadAttention projects and splits; the
mechanism never sees a projection, and owns its scale.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.masks import AttentionMask
from glassformer.plugins import find_plugin


class Mechanism(nn.Module, ABC):
    """What every file in this folder provides."""

    def __init__(self, d_head: int) -> None:
        super().__init__()
        self.scale = d_head**-0.5

    @abstractmethod
    def forward(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B H K E"],
        v: Float[Tensor, "B H K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
        dropout: float = 0.0,
    ) -> Float[Tensor, "B H Q E"]:
        """The context: for each query a mixture of the values. A query that may see nothing gets zeros."""

    @abstractmethod
    def weights(
        self,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B H K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None = None,
    ) -> Float[Tensor, "B H Q K"]:
        """The same numbers made explicit: `weights(q, k, mask) @ v` equals `forward(q, k, v, mask)`."""


def find_mechanism(name: str) -> type[Mechanism]:
    """The mechanism in the file `name`.py of this folder. Raises UsageError naming the nearest one."""
    return find_plugin(__name__, name, Mechanism, "attention mechanism")  # type: ignore[type-abstract]
