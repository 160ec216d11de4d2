"""BERT (Devlin et al. 2019) as transformers' BertForMaskedLM has it: an encoder whose norms stand behind its parts,
with segments, and a head with a layer of its own."""

from collections.abc import Mapping
from typing import Any, ClassVar

from glassformer.data.tokenizer import Tokenizer
from glassformer.exchange.contract import Architecture, same


class Bert(Architecture):
    """Queries, keys and values have a matrix each; the head's activation is that of the blocks."""

    objective = "masked_lm"
    prefix = "bert."
    transform = "dense"
    classes: ClassVar = ["BertForMaskedLM"]
    sizes: ClassVar = {
        "n_layers": "num_hidden_layers",
        "d_model": "hidden_size",
        "n_heads": "num_attention_heads",
        "d_ff": "intermediate_size",
        "max_length": "max_position_embeddings",
        "segments": "type_vocab_size",
        "activation": "hidden_act",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
        "norm_eps": "layer_norm_eps",
    }
    parts: ClassVar = {
        "preset": "bert",
        "family": "encoder",
        "norm": "post",
        "embedding_norm": True,
        "positions": "learned",
    }
    defaults: ClassVar = {
        "vocab_size": 30522,
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12,
    }
    fixed: ClassVar = {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
    }
    names: ClassVar = {
        "encoder.embeddings.token": same("bert.embeddings.word_embeddings"),
        "encoder.positions.table": same("bert.embeddings.position_embeddings"),
        "encoder.embeddings.segment": same("bert.embeddings.token_type_embeddings"),
        "encoder.embeddings.norm": same("bert.embeddings.LayerNorm"),
        "encoder.blocks.{n}.self_attention.query_key_value": same(
            "bert.encoder.layer.{n}.attention.self.query",
            "bert.encoder.layer.{n}.attention.self.key",
            "bert.encoder.layer.{n}.attention.self.value",
        ),
        "encoder.blocks.{n}.self_attention.output": same("bert.encoder.layer.{n}.attention.output.dense"),
        "encoder.blocks.{n}.attention_norm": same("bert.encoder.layer.{n}.attention.output.LayerNorm"),
        "encoder.blocks.{n}.feed_forward.expand": same("bert.encoder.layer.{n}.intermediate.dense"),
        "encoder.blocks.{n}.feed_forward.contract": same("bert.encoder.layer.{n}.output.dense"),
        "encoder.blocks.{n}.feed_forward_norm": same("bert.encoder.layer.{n}.output.LayerNorm"),
        "heads.{head}.transform.0": same("cls.predictions.transform.dense"),
        "heads.{head}.transform.2": same("cls.predictions.transform.LayerNorm"),
        "heads.{head}.output.bias": same("cls.predictions.bias"),
    }
    repeats: ClassVar = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    no_weights: ClassVar = (".embeddings.position_ids",)
    """Older files hold the numbers from 0 on."""
    token_defaults: ClassVar = {"pad_token_id": 0}

    def model(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """As our preset bert."""
        found = super().model(settings)
        return found | {"head_activation": found["activation"]}

    def tokens(self, tokenizer: Tokenizer) -> dict[str, int | None]:
        """What begins and ends a text, its tokenizer says."""
        return {"pad_token_id": tokenizer.pad_id}
