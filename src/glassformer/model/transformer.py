"""The Transformer: embeddings, a stack of blocks, heads where an objective asks. One class for every family."""

import math
from typing import Literal

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from glassformer.config import Config
from glassformer.data.batch import Batch, HeadSpec, StreamBatch
from glassformer.errors import UsageError
from glassformer.model.dropout import Dropout
from glassformer.model.heads import Head
from glassformer.model.layers import Block, initialise, scale_residual_writers
from glassformer.model.positions import POSITIONS


class ModelConfig(Config):
    """The sizes and parts of a model."""

    family: Literal["encoder"] = Field("encoder", description="which stacks there are")
    implementation: Literal["glassformer", "torch"] = Field(
        "glassformer", description="our own blocks, or PyTorch's nn.TransformerEncoder as a baseline"
    )
    n_layers: int = Field(4, ge=1, description="blocks in the stack")
    d_model: int = Field(256, ge=1, description="width of the residual stream")
    n_heads: int = Field(8, ge=1, description="attention heads; must divide d_model")
    d_ff: int = Field(1024, ge=1, description="width inside the feed-forward part")
    max_length: int = Field(128, ge=1, description="longest input in tokens, [CLS] and [SEP] counted")
    dropout: float = Field(0.1, ge=0, lt=1, description="on the embeddings and on what each part adds")
    attention_dropout: float = Field(0.0, ge=0, lt=1, description="on the attention weights")
    norm: Literal["pre", "post"] = Field("pre", description="LayerNorm before each part, or after (first paper)")
    activation: Literal["relu", "gelu"] = Field("gelu", description="inside the feed-forward part")
    positions: Literal["sinusoidal", "learned"] = Field("learned", description="how places are told apart")
    attention: str = Field("full", description="the attention mechanism (a file in model/attention)")
    tied: bool = Field(True, description="the output layer shares the token embedding's weight")


def check_sizes(config: ModelConfig) -> None:
    """Raises UsageError for sizes that do not fit together, saying which would."""
    if config.d_model % config.n_heads:
        fitting = [n for n in range(1, config.d_model + 1) if config.d_model % n == 0]
        near = sorted(fitting, key=lambda n: abs(n - config.n_heads))[:3]
        raise UsageError(
            f"model.n_heads={config.n_heads} does not divide model.d_model={config.d_model}",
            f"n_heads that do: {', '.join(map(str, sorted(near)))}",
        )


class Embeddings(nn.Module):
    """A vector for each token, plus one for its place."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab_size, config.d_model)
        self.position = POSITIONS[config.positions](config.max_length, config.d_model)
        # Sine waves have amplitude 1, which would drown embeddings of the usual size: the first paper (section 3.4)
        # multiplies these by sqrt(d_model). Learned positions start as small as the tokens.
        self.scale = math.sqrt(config.d_model) if config.positions == "sinusoidal" else 1.0
        self.dropout = Dropout(config.dropout)

    def forward(self, input_ids: Int[Tensor, "B T"], positions: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Look up and add."""
        return self.dropout(self.token(input_ids) * self.scale + self.position(positions))


class Encoder(nn.Module):
    """Embeddings and a stack of blocks, in which every token may look both ways."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(config, vocab_size)
        self.blocks = nn.ModuleList(
            Block(
                config.d_model,
                config.n_heads,
                config.d_ff,
                mechanism=config.attention,
                activation=config.activation,
                norm=config.norm,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
            )
            for _ in range(config.n_layers)
        )
        # In a post-norm stack the last block ends with a norm already.
        self.norm = nn.LayerNorm(config.d_model) if config.norm == "pre" else nn.Identity()

    def forward(self, stream: StreamBatch) -> Float[Tensor, "B T D"]:
        """Hidden states of one stream."""
        x = self.embeddings(stream.input_ids, stream.positions)
        for block in self.blocks:
            x = block(x, stream.mask)
        return self.norm(x)


class Transformer(nn.Module):
    """The model: one call, `model(batch) -> {head: logits}`, and heads run only where something is asked."""

    def __init__(self, config: ModelConfig, vocab_size: int, heads: list[HeadSpec]) -> None:
        super().__init__()
        check_sizes(config)
        self.config = config
        self.encoder = Encoder(config, vocab_size)
        self.specs = {spec.name: spec for spec in heads}
        self.heads = nn.ModuleDict({spec.name: Head(spec, config.d_model) for spec in heads})
        initialise(self)
        scale_residual_writers(self.encoder.blocks)
        self.tie()

    def tie(self) -> None:
        """Let the heads over tokens share the embedding's weight, where the configuration says so."""
        for name, spec in self.specs.items():
            embedding = self.encoder.embeddings.token
            if self.config.tied and spec.tied and spec.size == embedding.num_embeddings:
                head = self.heads[name]
                assert isinstance(head, Head)
                head.output.weight = embedding.weight

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, "N size"]]:
        """Logits of each head at the positions that the batch asks, in the batch's order."""
        hidden = {"encoder": self.encoder(batch.streams["encoder"]).flatten(0, 1)}  # B*T D
        return {
            name: self.heads[name](hidden[spec.stream].index_select(0, batch.asked[name].rows))
            for name, spec in self.specs.items()
        }


def count_parameters(model: nn.Module) -> int:
    """Numbers that training can change; a shared tensor counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
