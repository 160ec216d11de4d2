"""BART (Lewis et al. 2020) as transformers' BartForConditionalGeneration has it: an encoder and a decoder whose norms
stand behind their parts, with one token table for encoder, decoder and head."""

from collections.abc import Mapping
from typing import Any, ClassVar

from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.exchange.contract import Architecture, Theirs, same
from glassformer.model.config import ModelConfig

UNUSED_POSITIONS = 2
"""Its tables of positions begin with two rows that no token has: they were meant for padding once."""


def _attention(ours: str, theirs: str, norm: str) -> dict[str, Theirs]:
    projections = [f"{theirs}.{part}_proj" for part in "qkv"]
    return {
        f"{ours}.query_key_value": same(*projections),
        f"{ours}.output": same(f"{theirs}.out_proj"),
        norm: same(f"{theirs}_layer_norm"),
    }


def _stack(name: str) -> dict[str, Theirs]:
    ours, theirs = name + ".blocks.{n}", f"model.{name}.layers" + ".{n}"
    return {
        f"{name}.embeddings.token": same("model.shared"),
        f"{name}.embeddings.norm": same(f"model.{name}.layernorm_embedding"),
        f"{name}.positions.table": Theirs((f"model.{name}.embed_positions",), unused=UNUSED_POSITIONS),
        **_attention(f"{ours}.self_attention", f"{theirs}.self_attn", f"{ours}.attention_norm"),
        f"{ours}.feed_forward.expand": same(f"{theirs}.fc1"),
        f"{ours}.feed_forward.contract": same(f"{theirs}.fc2"),
        f"{ours}.feed_forward_norm": same(f"{theirs}.final_layer_norm"),
    }


class Bart(Architecture):
    """Queries, keys and values have a matrix each, and the head a bias that is no parameter."""

    objective = "seq2seq"
    prefix = "model."
    classes: ClassVar = ["BartForConditionalGeneration"]
    sizes: ClassVar = {
        "n_layers": "encoder_layers",
        "n_decoder_layers": "decoder_layers",
        "d_model": "d_model",
        "n_heads": "encoder_attention_heads",
        "d_ff": "encoder_ffn_dim",
        "max_length": "max_position_embeddings",
        "activation": "activation_function",
        "dropout": "dropout",
        "attention_dropout": "attention_dropout",
    }
    parts: ClassVar = {
        "preset": "bart",
        "family": "encoder_decoder",
        "norm": "post",
        "embedding_norm": True,
        "positions": "learned",
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
    names: ClassVar = {
        **_stack("encoder"),
        **_stack("decoder"),
        **_attention(
            "decoder.blocks.{n}.cross_attention",
            "model.decoder.layers.{n}.encoder_attn",
            "decoder.blocks.{n}.cross_attention_norm",
        ),
        "heads.{head}.output.bias": Theirs(("final_logits_bias",), "row", optional=True),
    }
    repeats: ClassVar = {
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": "model.shared.weight",
    }
    token_defaults: ClassVar = {
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
    }

    def settings(self, model: ModelConfig, vocab_size: int) -> dict[str, Any]:
        """As BartConfig, which says the sizes of each stack."""
        return super().settings(model, vocab_size) | {
            "decoder_ffn_dim": model.d_ff,
            "decoder_attention_heads": model.n_heads,
            "activation_dropout": 0.0,
        }

    def model(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """As our preset bart. Raises UsageError where the stacks differ in more than their depth."""
        for size in ("ffn_dim", "attention_heads"):
            if settings[f"encoder_{size}"] != settings[f"decoder_{size}"]:
                raise UsageError(
                    f"encoder_{size} and decoder_{size} differ in config.json, and here the stacks have equal sizes"
                )
        return super().model(settings)

    def tokens(self, tokenizer: Tokenizer) -> dict[str, int | None]:
        """The decoder begins with [CLS], and texts end with [SEP]; BART itself would force an end at the longest."""
        return {
            "bos_token_id": tokenizer.cls_id,
            "eos_token_id": tokenizer.sep_id,
            "pad_token_id": tokenizer.pad_id,
            "decoder_start_token_id": tokenizer.cls_id,
            "forced_eos_token_id": None,
        }
