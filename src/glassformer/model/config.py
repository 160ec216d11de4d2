"""The sizes and parts of a model, each selectable in a recipe."""

import functools
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import Field

from glassformer.config import Config
from glassformer.errors import UsageError, nearest
from glassformer.model.attention_config import AnyAttention, MechanismConfig

Family = Literal["encoder", "decoder", "encoder_decoder"]
STACKS: dict[str, tuple[str, ...]] = {
    "encoder": ("encoder",),
    "decoder": ("decoder",),
    "encoder_decoder": ("encoder", "decoder"),
}
"""Which stacks of blocks a family has."""


class ModelConfig(Config):
    """The sizes and parts of a model."""

    preset: str | None = Field(
        None, description="parts as a known model has them (bert, gpt2, t5 ...); other keys of this section win over it"
    )
    family: Family | None = Field(None, description="which stacks there are; None: those that the objective needs")
    kind: str = Field(
        "transformer", description="what kind of model (a file in model/kinds): our own blocks, PyTorch's, an LSTM"
    )
    n_layers: int = Field(4, ge=1, description="blocks in a stack")
    n_decoder_layers: int | None = Field(None, ge=1, description="blocks in the decoder; None: as many as n_layers")
    d_model: int = Field(256, ge=1, description="width of the residual stream")
    n_heads: int = Field(8, ge=1, description="attention heads; must divide d_model")
    n_kv_heads: int | None = Field(
        None, ge=1, description="heads of keys and values, each shared by several of n_heads (grouped-query attention)"
    )
    d_ff: int = Field(1024, ge=1, description="width inside the feed-forward part")
    d_embedding: int | None = Field(
        None, ge=1, description="width of the token embeddings, where smaller than d_model (factorised, as in ALBERT)"
    )
    widen: Literal["first", "last"] = Field(
        "first",
        description="narrow token embeddings become d_model wide first, or last: behind positions, segments and norm "
        "(ALBERT)",
    )
    max_length: int = Field(128, ge=1, description="longest input in tokens, [CLS] and [SEP] counted")
    dropout: float = Field(0.1, ge=0, lt=1, description="on the embeddings and on what each part adds")
    attention_dropout: float = Field(0.0, ge=0, lt=1, description="on the attention weights")
    output_dropout: float = Field(0.0, ge=0, lt=1, description="on what comes out of a stack, behind its last norm")
    norm: Literal["pre", "post"] = Field("pre", description="a norm before each part, or after (first paper)")
    norm_kind: Literal["layer", "rms"] = Field("layer", description="LayerNorm or RMSNorm")
    norm_eps: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="added to a norm's variance; None: 1e-5 (LayerNorm), 1e-6 (RMSNorm); BERT has 1e-12",
    )
    embedding_norm: bool = Field(False, description="a norm after the embeddings too, as in BERT and BART")
    activation: Literal["relu", "gelu", "gelu_tanh", "silu", "swiglu", "geglu", "geglu_tanh"] = Field(
        "gelu", description="inside the feed-forward part; swiglu and geglu have a gate, a third matrix"
    )
    head_activation: Literal["relu", "gelu", "gelu_tanh", "silu"] = Field(
        "gelu", description="inside a head that has a layer of its own before the words, as BERT's"
    )
    bias: bool = Field(True, description="biases in attention and feed-forward")
    positions: Literal["none", "sinusoidal", "learned", "rotary", "alibi", "relative"] = Field(
        "learned", description="how places are told apart"
    )
    attention: AnyAttention = Field(
        "full",
        description="the attention mechanism (a file in model/attention), {name: ...} with its keys, or a list: "
        "of the first layer, the second, and so on again",
    )
    attention_scale: float | None = Field(
        None, gt=0, description="what scores are multiplied by; None: 1 / sqrt(width of a head); T5 has 1"
    )
    share_layers: bool = Field(False, description="one block, passed n_layers times (ALBERT)")
    segments: int | None = Field(
        None, ge=0, description="segments told apart by an embedding of their own; None: those that the objective needs"
    )
    tied: bool = Field(True, description="the output layer shares the token embedding's weight")
    tied_scale: bool = Field(
        False, description="a tied output layer reads hidden states divided by sqrt(d_model), as T5's does"
    )
    shared_embeddings: bool = Field(
        True, description="encoder and decoder share token embeddings, where they share the vocabulary"
    )

    @property
    def stacks(self) -> tuple[str, ...]:
        """The names of the stacks."""
        return STACKS[self.family or "encoder"]

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads

    def mechanism_of(self, layer: int) -> MechanismConfig:
        """The attention mechanism of a layer; those of a list follow one another again and again."""
        each = self.attention if isinstance(self.attention, tuple) else (self.attention,)
        one = each[layer % len(each)]
        return MechanismConfig(name=one) if isinstance(one, str) else one

    @property
    def summed_width(self) -> int:
        """Width at which embeddings of tokens, positions and segments are added."""
        return self.d_embedding or self.d_model if self.widen == "last" else self.d_model

    @property
    def epsilon(self) -> float:
        """What is added to a norm's variance."""
        return self.norm_eps if self.norm_eps is not None else {"layer": 1e-5, "rms": 1e-6}[self.norm_kind]

    def spelled_out(self) -> "ModelConfig":
        """Equal for configurations that make equal models: what None stands for is said, and a key without effect has
        its default."""
        two = len(self.stacks) > 1
        return self.model_copy(
            update={
                "family": self.family or "encoder",
                "n_layers": self.n_layers if two else self.layers_of(self.stacks[0]),
                "n_decoder_layers": self.layers_of("decoder") if two else None,
                "n_kv_heads": self.n_kv_heads or self.n_heads,
                "d_embedding": self.d_embedding or self.d_model,
                "norm_eps": self.epsilon,
                "attention_scale": None if self.attention_scale == self.d_head**-0.5 else self.attention_scale,
                "segments": self.segments or 0,
                "widen": self.widen if self.d_embedding not in (None, self.d_model) else "first",
                "tied_scale": self.tied_scale and self.tied,
                "shared_embeddings": self.shared_embeddings if two else True,
            }
        )

    def layers_of(self, stack: str) -> int:
        """Blocks in one stack."""
        return self.n_decoder_layers or self.n_layers if stack == "decoder" else self.n_layers


def preset(name: str) -> dict[str, Any]:
    """The parts of a known model, as a recipe's section has them. Raises UsageError naming the nearest."""
    known = presets()
    if name in _preset_file()["not_here"]:
        raise UsageError(f"there is no preset {name!r}: {_preset_file()['not_here'][name]}", nearest(name, known))
    if name not in known:
        raise UsageError(f"there is no preset {name!r}", nearest(name, known))
    return dict(known[name])


def presets() -> dict[str, dict[str, Any]]:
    """All presets by name, from presets.yaml beside this file."""
    return {name: parts for name, parts in _preset_file().items() if name not in ("differs", "not_here")}


def preset_notes() -> dict[str, str]:
    """What a preset has not of the model that it is named after, and why some models have none."""
    return {**_preset_file()["differs"], **_preset_file()["not_here"]}


@functools.cache
def _preset_file() -> dict[str, dict[str, Any]]:
    text = resources.files("glassformer.model").joinpath("presets.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def check_sizes(config: ModelConfig) -> None:
    """Raises UsageError for sizes that do not fit together, saying which would."""
    if config.d_model % config.n_heads:
        raise UsageError(
            f"model.n_heads={config.n_heads} does not divide model.d_model={config.d_model}",
            f"n_heads that do: {_nearest_divisors(config.d_model, config.n_heads)}",
        )
    kv_heads = config.n_kv_heads or config.n_heads
    if config.n_heads % kv_heads:
        raise UsageError(
            f"model.n_kv_heads={kv_heads} does not divide model.n_heads={config.n_heads}",
            f"n_kv_heads that do: {_nearest_divisors(config.n_heads, kv_heads)}",
        )
    listed = len(config.attention) if isinstance(config.attention, tuple) else 1
    fewest = 1 if config.share_layers else min(config.layers_of(stack) for stack in config.stacks)
    if listed > fewest:
        raise UsageError(
            f"model.attention lists {listed} mechanisms, and a stack has {fewest} blocks of its own",
            "list as many or fewer; a shorter list is repeated",
        )
    if config.positions == "rotary" and config.d_head % 2:
        raise UsageError(
            f"rotary positions turn pairs of features, and a head has {config.d_head}",
            "choose model.d_model and model.n_heads so that their quotient is even",
        )


def _nearest_divisors(number: int, wanted: int) -> str:
    small = [n for n in range(1, min(number, 10_000) + 1) if number % n == 0]
    fitting = {*small, *(number // n for n in small)}
    return ", ".join(map(str, sorted(sorted(fitting, key=lambda n: abs(n - wanted))[:3])))
