"""GPT-2 (Radford et al. 2019) as transformers' GPT2LMHeadModel has it: a decoder whose norms stand before its parts."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from glassformer.data.tokenizer import Tokenizer
from glassformer.exchange import ACTIVATIONS, SYNONYMS, Architecture, Pair, layer
from glassformer.model.config import ModelConfig


class GPT2(Architecture):
    """Its linear layers are stored as inputs x outputs."""

    family = "decoder"
    objective = "causal_lm"
    prefix = "transformer."
    parts: ClassVar = {
        "family": ("decoder", "one stack, which is a decoder"),
        "norm": ("pre", "norms before each part"),
        "embedding_norm": (False, "no norm after the embeddings"),
    }
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
        "tie_word_embeddings": True,
    }
    fixed: ClassVar = {
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }

    token_defaults: ClassVar = {"bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": None}

    def settings(self, model: ModelConfig, vocab_size: int) -> dict[str, Any]:
        """As GPT2Config."""
        return self.fixed | {
            "architectures": ["GPT2LMHeadModel"],
            "vocab_size": vocab_size,
            "n_positions": model.max_length,
            "n_embd": model.d_model,
            "n_layer": model.layers_of("decoder"),
            "n_head": model.n_heads,
            "n_inner": model.d_ff,
            "activation_function": ACTIVATIONS[model.activation],
            "embd_pdrop": model.dropout,
            "resid_pdrop": model.dropout,
            "attn_pdrop": model.attention_dropout,
            "tie_word_embeddings": model.tied,
        }

    def model(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """As our preset gpt2."""
        return {
            "preset": "gpt2",
            "family": "decoder",
            "norm": "pre",
            "positions": "learned",
            "n_layers": settings["n_layer"],
            "d_model": settings["n_embd"],
            "n_heads": settings["n_head"],
            "d_ff": settings["n_inner"] or 4 * settings["n_embd"],
            "max_length": settings["n_positions"],
            "activation": SYNONYMS[settings["activation_function"]],
            "dropout": settings["resid_pdrop"],
            "attention_dropout": settings["attn_pdrop"],
            "tied": settings["tie_word_embeddings"],
        }

    def tokens(self, tokenizer: Tokenizer) -> dict[str, int | None]:
        """A separator begins a text, and ends it."""
        return {
            "bos_token_id": tokenizer.sep_id,
            "eos_token_id": tokenizer.sep_id,
            "pad_token_id": tokenizer.pad_id,
        }

    def pairs(self, model: ModelConfig, head: str) -> Iterator[Pair]:
        """From the embeddings to the head."""
        tokens = "transformer.wte.weight"
        yield Pair("decoder.embeddings.token.weight", (tokens,))
        yield Pair("decoder.positions.table.weight", ("transformer.wpe.weight",))
        for n in range(model.layers_of("decoder")):
            ours, theirs = f"decoder.blocks.{n}", f"transformer.h.{n}"
            yield from layer(f"{ours}.attention_norm", f"{theirs}.ln_1")
            yield from layer(f"{ours}.self_attention.query_key_value", f"{theirs}.attn.c_attn", transposed=True)
            yield from layer(f"{ours}.self_attention.output", f"{theirs}.attn.c_proj", transposed=True)
            yield from layer(f"{ours}.feed_forward_norm", f"{theirs}.ln_2")
            yield from layer(f"{ours}.feed_forward.expand", f"{theirs}.mlp.c_fc", transposed=True)
            yield from layer(f"{ours}.feed_forward.contract", f"{theirs}.mlp.c_proj", transposed=True)
        yield from layer("decoder.norm", "transformer.ln_f")
        yield Pair(f"heads.{head}.output.weight", (tokens if model.tied else "lm_head.weight",))

    def copies(self, model: ModelConfig) -> dict[str, str]:
        """A tied head is sometimes stored a second time."""
        return {"lm_head.weight": "transformer.wte.weight"} if model.tied else {}

    def is_no_weight(self, name: str) -> bool:
        """Older files hold the causal mask of each layer."""
        return name.endswith((".attn.bias", ".attn.masked_bias"))
