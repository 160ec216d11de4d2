"""GPT-2 (Radford et al. 2019) as transformers' GPT2LMHeadModel has it: a decoder whose norms stand before its parts."""

from collections.abc import Mapping
from typing import Any, ClassVar

from glassformer.data.tokenizer import Tokenizer
from glassformer.exchange.contract import Architecture, same, transposed
from glassformer.model.config import ModelConfig


class GPT2(Architecture):
    """Its linear layers are stored as inputs x outputs, queries, keys and values in one matrix as ours."""

    objective = "causal_lm"
    prefix = "transformer."
    classes: ClassVar = ["GPT2LMHeadModel"]
    sizes: ClassVar = {
        "n_layers": "n_layer",
        "d_model": "n_embd",
        "n_heads": "n_head",
        "d_ff": "n_inner",
        "max_length": "n_positions",
        "activation": "activation_function",
        "dropout": "resid_pdrop",
        "attention_dropout": "attn_pdrop",
        "norm_eps": "layer_norm_epsilon",
        "tied": "tie_word_embeddings",
    }
    parts: ClassVar = {"preset": "gpt2", "family": "decoder", "norm": "pre", "positions": "learned"}
    defaults: ClassVar = {
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_inner": None,
        "activation_function": "gelu_new",
        "resid_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
    }
    fixed: ClassVar = {
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }
    names: ClassVar = {
        "decoder.embeddings.token": same("transformer.wte"),
        "decoder.positions.table": same("transformer.wpe"),
        "decoder.blocks.{n}.attention_norm": same("transformer.h.{n}.ln_1"),
        "decoder.blocks.{n}.self_attention.query_key_value": transposed("transformer.h.{n}.attn.c_attn"),
        "decoder.blocks.{n}.self_attention.output": transposed("transformer.h.{n}.attn.c_proj"),
        "decoder.blocks.{n}.feed_forward_norm": same("transformer.h.{n}.ln_2"),
        "decoder.blocks.{n}.feed_forward.expand": transposed("transformer.h.{n}.mlp.c_fc"),
        "decoder.blocks.{n}.feed_forward.contract": transposed("transformer.h.{n}.mlp.c_proj"),
        "decoder.norm": same("transformer.ln_f"),
        "heads.{head}.output.weight": same("lm_head.weight"),
    }
    repeats: ClassVar = {"lm_head.weight": "transformer.wte.weight"}
    no_weights: ClassVar = (".attn.bias", ".attn.masked_bias")
    """Older files hold the causal mask of each layer."""
    token_defaults: ClassVar = {"bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": None}

    def settings(self, model: ModelConfig, vocab_size: int) -> dict[str, Any]:
        """As GPT2Config, which has one more dropout."""
        return super().settings(model, vocab_size) | {"embd_pdrop": model.dropout}

    def model(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """As our preset gpt2; the feed-forward part is four times as wide where nothing is said."""
        return super().model({**settings, "n_inner": settings["n_inner"] or 4 * settings["n_embd"]})

    def tokens(self, tokenizer: Tokenizer) -> dict[str, int | None]:
        """A separator begins a text, and ends it."""
        return {
            "bos_token_id": tokenizer.sep_id,
            "eos_token_id": tokenizer.sep_id,
            "pad_token_id": tokenizer.pad_id,
        }
