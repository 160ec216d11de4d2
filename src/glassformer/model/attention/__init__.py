"""The contract of an attention mechanism: it mixes values, and can say with which weights. One file per mechanism.

Shapes: B batch, H heads, Q queries, K keys, E features of a head. Keys and values may have fewer heads, G, each for
H / G heads of the queries (grouped-query attention; Ainslie et al. 2023). MultiHeadAttention projects and splits; the
mechanism never sees a projection, and owns its scale. What several need is in model/softmax.py and model/cache.py:
mechanisms never import each other.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError
from glassformer.model.attention_config import MechanismConfig
from glassformer.model.config import ModelConfig
from glassformer.model.positions import POSITIONS
from glassformer.plugins import find_plugin, plugin_names

Ability = Literal["bias", "dropout", "weights", "causal", "cross", "documents", "pair_mask", "decode"]
ABILITIES: dict[Ability, str] = {
    "bias": "numbers added to its scores (model.positions=alibi, relative)",
    "dropout": "dropout of its weights (model.attention_dropout)",
    "weights": "weights that can be shown",
    "causal": "queries that see only what stands before them",
    "cross": "queries of one stack and keys of another (encoder-decoders)",
    "documents": "several texts in a row (batch.layout=packed)",
    "pair_mask": "masks pair by pair (objective.name=permutation_lm)",
    "decode": "texts that grow token by token (generation)",
}
"""What a mechanism may be able to do beside mixing the keys that are not padding."""


class Shape(NamedTuple):
    """Where a mechanism stands in a model."""

    d_head: int
    n_heads: int = 1
    n_kv_heads: int = 1
    max_length: int = 128
    causal: bool = False
    """In a decoder. Who sees whom is said by each batch's mask."""
    cross: bool = False
    """Queries and keys are of two streams, and their positions have nothing to do with each other."""
    layer: int = 0
    """Blocks below it in its stack."""
    scale: float | None = None
    """What scores are multiplied by; None: 1 / sqrt(d_head)."""


C = TypeVar("C", bound=MechanismConfig)


class Mechanism(nn.Module, ABC, Generic[C]):
    """What every file in this folder provides."""

    Config: ClassVar[type[MechanismConfig]] = MechanismConfig
    """The keys that a recipe may give it beside its name."""

    can: ClassVar[frozenset[Ability]] = frozenset()
    """What it can do. A model that needs more is refused before training, with the names of those that can."""

    no_weights: str | None = None
    """Why there are no weights to be shown, where a mechanism mixes in another way, in words that end a sentence. Then
    `weights` raises NotImplementedError, nothing asks for it, and pages show what there is without."""

    def __init__(self, config: C, shape: Shape) -> None:
        super().__init__()
        self.name = config.name
        self.scale = shape.d_head**-0.5 if shape.scale is None else shape.scale

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

    def allowed(self, mask: AttentionMask) -> Bool[Tensor, "#B 1 #Q K"] | None:
        """Which pairs the mechanism uses at all, of those that the mask allows; None: all of them. A window, say."""
        return None

    def new_state(self, k: Float[Tensor, "B G K E"], capacity: int) -> Any:
        """What the mechanism keeps while a text grows token by token, with room for so many; `k` says rows, heads,
        type and device. It has the methods `reorder` and `concat` of KeyValueCache in model/cache.py."""
        raise NotImplementedError(f"{type(self).__name__} keeps no state")

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


def find_mechanism(name: str) -> type[Mechanism[Any]]:
    """The mechanism in the file `name`.py of this folder. Raises UsageError naming the nearest one."""
    return find_plugin(__name__, name, Mechanism, "attention mechanism")  # type: ignore[type-abstract]


def able(ability: Ability) -> list[str]:
    """The names of the mechanisms that can."""
    return [name for name in plugin_names(__name__) if ability in find_mechanism(name).can]


def refusal(name: str, ability: Ability) -> UsageError:
    """What a mechanism cannot do, and the names of those that can."""
    return UsageError(
        f"model.attention={name} has no {ABILITIES[ability]}", f"mechanisms that have: {', '.join(able(ability))}"
    )


def mechanism_for(config: ModelConfig, layer: int = 0, causal: bool = False, cross: bool = False) -> Mechanism[Any]:
    """The mechanism of one layer of a stack. Raises UsageError for one that there is not, and where the model needs
    what it cannot do."""
    own = config.mechanism_of(layer)
    kind = find_mechanism(own.name)
    needed: dict[Ability, bool] = {
        "bias": POSITIONS[config.positions].adds_bias and not cross,
        "dropout": config.attention_dropout > 0,
        "causal": causal and not cross,
        "cross": cross,
    }
    for ability, is_needed in needed.items():
        if is_needed and ability not in kind.can:
            raise refusal(own.name, ability)
    kv_heads = config.n_kv_heads or config.n_heads
    shape = Shape(
        config.d_head, config.n_heads, kv_heads, config.max_length, causal, cross, layer, config.attention_scale
    )
    return kind(own, shape)
