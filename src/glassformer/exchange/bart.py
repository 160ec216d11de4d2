"""BART (Lewis et al. 2020) as transformers' BartForConditionalGeneration has it: an encoder and a decoder whose norms
stand behind their parts, with one token table for encoder, decoder and head."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.exchange import ACTIVATIONS, SYNONYMS, Architecture, Pair, layer
from glassformer.model.config import ModelConfig

UNUSED_POSITIONS = 2
"""Its tables of positions begin with two rows that no token has: they were meant for padding once."""


class Bart(Architecture):
    """Queries, keys and values have a matrix each, and the head a bias that is no parameter."""

    family = "encoder_decoder"
    objective = "seq2seq"
    prefix = "model."
    parts: ClassVar = {
        "family": ("encoder_decoder", "an encoder and a decoder"),
        "norm": ("post", "norms behind each part"),
        "embedding_norm": (True, "a norm after the embeddings"),
        "tied": (True, "a head tied to the embeddings"),
        "shared_embeddings": (True, "one token table for both stacks"),
    }
    defaults: ClassVar = {
        "vocab_size": 50265,
        "max_position_embeddings": 1024,
        "encoder_layers": 12,
        "decoder_layers": 12,
        "encoder_ffn_dim": 4096,
        "decoder_ffn_dim": 4096,
        "encoder_attention_heads": 16,
        "decoder_attention_heads": 16,
        "d_model": 1024,
        "activation_function": "gelu",
        "dropout": 0.1,
        "attention_dropout": 0.0,
    }
    fixed: ClassVar = {
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
        "normalize_before": False,  # this and the next one only in older files; other readers still ask for them
        "normalize_embedding": True,
    }

    token_defaults: ClassVar = {
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
    }

    def settings(self, model: ModelConfig, vocab_size: int) -> dict[str, Any]:
        """As BartConfig."""
        return self.fixed | {
            "architectures": ["BartForConditionalGeneration"],
            "vocab_size": vocab_size,
            "max_position_embeddings": model.max_length,
            "encoder_layers": model.layers_of("encoder"),
            "decoder_layers": model.layers_of("decoder"),
            "encoder_ffn_dim": model.d_ff,
            "decoder_ffn_dim": model.d_ff,
            "encoder_attention_heads": model.n_heads,
            "decoder_attention_heads": model.n_heads,
            "d_model": model.d_model,
            "activation_function": ACTIVATIONS[model.activation],
            "dropout": model.dropout,
            "attention_dropout": model.attention_dropout,
            "activation_dropout": 0.0,
        }

    def model(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """As our preset bart. Raises UsageError where the stacks differ in more than their depth."""
        for size in ("ffn_dim", "attention_heads"):
            if settings[f"encoder_{size}"] != settings[f"decoder_{size}"]:
                raise UsageError(
                    f"encoder_{size} and decoder_{size} differ in config.json, and here the stacks have equal sizes"
                )
        return {
            "preset": "bart",
            "family": "encoder_decoder",
            "norm": "post",
            "embedding_norm": True,
            "positions": "learned",
            "n_layers": settings["encoder_layers"],
            "n_decoder_layers": settings["decoder_layers"],
            "d_model": settings["d_model"],
            "n_heads": settings["encoder_attention_heads"],
            "d_ff": settings["encoder_ffn_dim"],
            "max_length": settings["max_position_embeddings"],
            "activation": SYNONYMS[settings["activation_function"]],
            "dropout": settings["dropout"],
            "attention_dropout": settings["attention_dropout"],
        }

    def tokens(self, tokenizer: Tokenizer) -> dict[str, int | None]:
        """The decoder begins with [CLS], and texts end with [SEP]; BART itself would force an end at the longest."""
        return {
            "bos_token_id": tokenizer.cls_id,
            "eos_token_id": tokenizer.sep_id,
            "pad_token_id": tokenizer.pad_id,
            "decoder_start_token_id": tokenizer.cls_id,
            "forced_eos_token_id": None,
        }

    def pairs(self, model: ModelConfig, head: str) -> Iterator[Pair]:
        """Both stacks, and the head."""
        tokens = ("model.shared.weight",)
        for stack in ("encoder", "decoder"):
            yield Pair(f"{stack}.embeddings.token.weight", tokens)
            yield from layer(f"{stack}.embeddings.norm", f"model.{stack}.layernorm_embedding")
            positions = f"model.{stack}.embed_positions.weight"
            yield Pair(f"{stack}.positions.table.weight", (positions,), unused=UNUSED_POSITIONS)
            for n in range(model.layers_of(stack)):
                yield from self._block(f"{stack}.blocks.{n}", f"model.{stack}.layers.{n}", cross=stack == "decoder")
        yield Pair(f"heads.{head}.output.weight", tokens)
        yield Pair(f"heads.{head}.output.bias", ("final_logits_bias",), "row", optional=True)

    def _block(self, ours: str, theirs: str, cross: bool) -> Iterator[Pair]:
        kinds = [("self_attention", "self_attn", "attention_norm")]
        if cross:
            kinds.append(("cross_attention", "encoder_attn", "cross_attention_norm"))
        for name, other, norm in kinds:
            projections = [f"{theirs}.{other}.{part}_proj" for part in "qkv"]
            yield from layer(f"{ours}.{name}.query_key_value", *projections)
            yield from layer(f"{ours}.{name}.output", f"{theirs}.{other}.out_proj")
            yield from layer(f"{ours}.{norm}", f"{theirs}.{other}_layer_norm")
        yield from layer(f"{ours}.feed_forward.expand", f"{theirs}.fc1")
        yield from layer(f"{ours}.feed_forward.contract", f"{theirs}.fc2")
        yield from layer(f"{ours}.feed_forward_norm", f"{theirs}.final_layer_norm")

    def copies(self, model: ModelConfig) -> dict[str, str]:
        """The one token table is sometimes stored under all its names."""
        names = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
        return dict.fromkeys(names, "model.shared.weight")
