"""PyTorch's own nn.TransformerEncoder in the place of our blocks: same call, same trainer, same weights."""

from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.batch import HeadSpec, StreamBatch
from glassformer.errors import UsageError
from glassformer.model.transformer import Embeddings, ModelConfig, Transformer

NAMES = {
    "self_attention.query_key_value.weight": "self_attn.in_proj_weight",
    "self_attention.query_key_value.bias": "self_attn.in_proj_bias",
    "self_attention.output": "self_attn.out_proj",
    "feed_forward.expand": "linear1",
    "feed_forward.contract": "linear2",
    "attention_norm": "norm1",
    "feed_forward_norm": "norm2",
}
"""Our names of a block's parts, and PyTorch's."""


class TorchEncoder(nn.Module):
    """Our embeddings, then nn.TransformerEncoder, without its nested tensors (they change the shape of the output).

    Where no gradient is wanted, PyTorch's layers take a fused path: equal at every token, but NaN in rows of nothing
    but padding, where nothing is ever asked.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        if config.attention_dropout != config.dropout:
            raise UsageError(
                "nn.TransformerEncoder has one dropout for everything",
                "set model.attention_dropout equal to model.dropout, or use model.implementation=glassformer",
            )
        self.embeddings = Embeddings(config, vocab_size)
        layer = nn.TransformerEncoderLayer(
            config.d_model,
            config.n_heads,
            config.d_ff,
            config.dropout,
            config.activation,
            batch_first=True,
            norm_first=config.norm == "pre",
        )
        norm = nn.LayerNorm(config.d_model) if config.norm == "pre" else None
        self.stack = nn.TransformerEncoder(layer, config.n_layers, norm, enable_nested_tensor=False)

    def forward(self, stream: StreamBatch) -> Float[Tensor, "B T D"]:
        """Hidden states of one stream. PyTorch's masks have the other polarity: True = may not attend."""
        if stream.mask.query_documents is not None or stream.mask.pair_mask is not None:
            raise UsageError(
                "the nn.TransformerEncoder baseline supports padding only",
                "use batch.layout=grouped or padded, or model.implementation=glassformer",
            )
        padding = None if stream.mask.key_mask is None else ~stream.mask.key_mask
        x = self.embeddings(stream.input_ids, stream.positions)
        return self.stack(x, src_key_padding_mask=padding)


class TorchTransformer(Transformer):
    """The Transformer with PyTorch's blocks."""

    def __init__(self, config: ModelConfig, vocab_size: int, heads: list[HeadSpec]) -> None:
        super().__init__(config, vocab_size, heads)
        ours = self.state_dict()
        self.encoder = TorchEncoder(config, vocab_size)  # type: ignore[assignment]
        self.tie()
        self.load_state_dict(from_glassformer(ours))


def from_glassformer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a Transformer under the names that TorchTransformer has for them."""
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("encoder.blocks."):
            name = name.replace("encoder.blocks.", "encoder.stack.layers.")
            ours = next(part for part in NAMES if f".{part}" in name)
            name = name.replace(f".{ours}", f".{NAMES[ours]}")
        elif name.startswith("encoder.norm."):
            name = name.replace("encoder.norm.", "encoder.stack.norm.")
        renamed[name] = tensor
    return renamed
