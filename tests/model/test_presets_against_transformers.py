"""A preset is the model that it is named after: as many parameters as the class of transformers of the same sizes, and
the same logits from the same weights, in float64."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from glassformer.data.batch import Batch, Example, OutputSpec, Stream, Targets, collate
from glassformer.exchange.contract import Theirs, find_architecture, our_names, rules, same, transposed
from glassformer.model.config import ModelConfig, preset, preset_notes, presets
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.size import n_parameters

VOCAB, LENGTH, D, HEADS, INNER = 23, 17, 12, 3, 7
SIZES = {"n_layers": 2, "d_model": D, "n_heads": HEADS, "d_ff": INNER, "max_length": LENGTH, "dropout": 0.0}


def encoder(stem: str, layer: str, head: list[str], **own: str) -> dict[str, Theirs]:
    """Names of BERT's kin."""
    inner = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"}
    inner |= {"o": "attention.output.dense", "n1": "attention.output.LayerNorm", "up": "intermediate.dense"}
    inner |= {"down": "output.dense", "n2": "output.LayerNorm"}
    part = {key: f"{layer}.{name}" for key, name in (inner | own).items()}
    return {
        "encoder.embeddings.token": same(f"{stem}.word_embeddings"),
        "encoder.embeddings.segment": same(f"{stem}.token_type_embeddings"),
        "encoder.embeddings.norm": same(f"{stem}.LayerNorm"),
        "encoder.positions.table": same(f"{stem}.position_embeddings"),
        "encoder.blocks.{n}.self_attention.query_key_value": same(part["q"], part["k"], part["v"]),
        "encoder.blocks.{n}.self_attention.output": same(part["o"]),
        "encoder.blocks.{n}.attention_norm": same(part["n1"]),
        "encoder.blocks.{n}.feed_forward.expand": same(part["up"]),
        "encoder.blocks.{n}.feed_forward.contract": same(part["down"]),
        "encoder.blocks.{n}.feed_forward_norm": same(part["n2"]),
        "heads.{head}.transform.0": same(head[0]),
        "heads.{head}.transform.2": same(head[1]),
        "heads.{head}.output.bias": same(head[2]),
    }


ROBERTA = encoder(
    "roberta.embeddings", "roberta.encoder.layer.{n}", ["lm_head.dense", "lm_head.layer_norm", "lm_head.bias"]
)
ROBERTA["encoder.positions.table"] = Theirs(("roberta.embeddings.position_embeddings",), unused=2)
DISTILBERT = encoder(
    "distilbert.embeddings",
    "distilbert.transformer.layer.{n}",
    ["vocab_transform", "vocab_layer_norm", "vocab_projector.bias"],
    q="attention.q_lin",
    k="attention.k_lin",
    v="attention.v_lin",
    o="attention.out_lin",
    n1="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    n2="output_layer_norm",
)
ALBERT = encoder(
    "albert.embeddings",
    "albert.encoder.albert_layer_groups.0.albert_layers.0",
    ["predictions.dense", "predictions.LayerNorm", "predictions.bias"],
    q="attention.query",
    k="attention.key",
    v="attention.value",
    o="attention.dense",
    n1="attention.LayerNorm",
    up="ffn",
    down="ffn_output",
    n2="full_layer_layer_norm",
) | {"encoder.embeddings.widen": same("albert.encoder.embedding_hidden_mapping_in")}
GPT = {
    "decoder.embeddings.token": same("transformer.tokens_embed"),
    "decoder.positions.table": same("transformer.positions_embed"),
    "decoder.blocks.{n}.self_attention.query_key_value": transposed("transformer.h.{n}.attn.c_attn"),
    "decoder.blocks.{n}.self_attention.output": transposed("transformer.h.{n}.attn.c_proj"),
    "decoder.blocks.{n}.attention_norm": same("transformer.h.{n}.ln_1"),
    "decoder.blocks.{n}.feed_forward.expand": transposed("transformer.h.{n}.mlp.c_fc"),
    "decoder.blocks.{n}.feed_forward.contract": transposed("transformer.h.{n}.mlp.c_proj"),
    "decoder.blocks.{n}.feed_forward_norm": same("transformer.h.{n}.ln_2"),
}
LLAMA = {
    "decoder.embeddings.token": same("model.embed_tokens"),
    "decoder.blocks.{n}.attention_norm": same("model.layers.{n}.input_layernorm"),
    "decoder.blocks.{n}.self_attention.query_key_value": same(
        *(f"model.layers.{{n}}.self_attn.{part}_proj" for part in "qkv")
    ),
    "decoder.blocks.{n}.self_attention.output": same("model.layers.{n}.self_attn.o_proj"),
    "decoder.blocks.{n}.feed_forward_norm": same("model.layers.{n}.post_attention_layernorm"),
    "decoder.blocks.{n}.feed_forward.expand": same("model.layers.{n}.mlp.gate_proj", "model.layers.{n}.mlp.up_proj"),
    "decoder.blocks.{n}.feed_forward.contract": same("model.layers.{n}.mlp.down_proj"),
    "decoder.norm": same("model.norm"),
    "heads.{head}.output.weight": same("lm_head.weight"),
}


def t5(*expand: str) -> dict[str, Theirs]:
    """Names of T5's kin."""
    found = {"heads.{head}.output.weight": same("lm_head.weight")}
    for stack, layers in (("encoder", ("self", "ff")), ("decoder", ("self", "cross", "ff"))):
        for number, layer in enumerate(layers):
            stem, ours = f"{stack}.block.{{n}}.layer.{number}", f"{stack}.blocks.{{n}}"
            if layer == "ff":
                found[f"{ours}.feed_forward_norm"] = same(f"{stem}.layer_norm")
                found[f"{ours}.feed_forward.expand"] = same(*(f"{stem}.DenseReluDense.{name}" for name in expand))
                found[f"{ours}.feed_forward.contract"] = same(f"{stem}.DenseReluDense.wo")
                continue
            inner = f"{stem}.{'SelfAttention' if layer == 'self' else 'EncDecAttention'}"
            found[f"{ours}.{layer}_attention.query_key_value"] = same(*(f"{inner}.{part}" for part in "qkv"))
            found[f"{ours}.{layer}_attention.output"] = same(f"{inner}.o")
            found[f"{ours}.{'attention' if layer == 'self' else 'cross_attention'}_norm"] = same(f"{stem}.layer_norm")
        found[f"{stack}.embeddings.token"] = same("shared")
        found[f"{stack}.positions.table"] = same(f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias")
        found[f"{stack}.norm"] = same(f"{stack}.final_layer_norm")
    return found


BERT_SIZES = {
    "hidden_size": D,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": LENGTH,
}
GPT_SIZES = {"n_positions": LENGTH, "n_embd": D, "n_layer": 2, "n_head": HEADS}
T5_SIZES = {"d_model": D, "d_kv": D // HEADS, "d_ff": INNER, "num_layers": 2, "num_heads": HEADS, "dropout_rate": 0.0}
BOTH = ("encoder", "decoder")
BART_SIZES = {f"{s}_{k}": n for s in BOTH for k, n in (("ffn_dim", INNER), ("attention_heads", HEADS), ("layers", 2))}
BART_SIZES |= {"d_model": D, "max_position_embeddings": LENGTH, "pad_token_id": 0}
DISTILBERT_SIZES = {"dim": D, "n_layers": 2, "n_heads": HEADS, "hidden_dim": INNER, "max_position_embeddings": LENGTH}
ROBERTA_SIZES = BERT_SIZES | {"max_position_embeddings": LENGTH + 2, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
CASES: dict[str, tuple[str, dict[str, Any], Mapping[str, Theirs], dict[str, Any]]] = {
    # class, its sizes, our names -> theirs, our sizes where they are not SIZES
    "bert": ("Bert/ForMaskedLM", BERT_SIZES, find_architecture("bert").names, {}),
    "roberta": ("Roberta/ForMaskedLM", ROBERTA_SIZES, ROBERTA, {}),
    "distilbert": ("DistilBert/ForMaskedLM", DISTILBERT_SIZES, DISTILBERT, {}),
    "albert": ("Albert/ForMaskedLM", BERT_SIZES | {"embedding_size": 5}, ALBERT, {"d_embedding": 5}),
    "gpt": ("OpenAIGPT/LMHeadModel", GPT_SIZES, GPT, {"d_ff": 4 * D}),
    "gpt2": ("GPT2/LMHeadModel", GPT_SIZES | {"n_inner": INNER}, find_architecture("gpt2").names, {}),
    "llama": ("Llama/ForCausalLM", BERT_SIZES | {"rms_norm_eps": 1e-6}, LLAMA, {}),
    "mistral": (
        "Mistral/ForCausalLM",
        BERT_SIZES | {"num_key_value_heads": 1, "rms_norm_eps": 1e-5},
        LLAMA,
        {"n_kv_heads": 1},
    ),
    "bart": ("Bart/ForConditionalGeneration", BART_SIZES, find_architecture("bart").names, {}),
    "t5": ("T5/ForConditionalGeneration", T5_SIZES, t5("wi"), {}),
    "mt5": ("MT5/ForConditionalGeneration", T5_SIZES | {"tie_word_embeddings": False}, t5("wi_0", "wi_1"), {}),
}
ROTARY = ("llama", "mistral")


def their_model(name: str) -> Any:
    kind, sizes, _, _ = CASES[name]
    stem, _, end = kind.partition("/")
    config = getattr(transformers, f"{stem}Config")(vocab_size=VOCAB, **sizes)
    model = getattr(transformers, stem + end)(config)
    if name == "mt5":  # the class ties its head whatever is said; the models that were published do not
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
    generator = torch.Generator().manual_seed(5)
    for tensor in model.parameters():
        tensor.data = 0.4 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    return model.double().eval()


def our_config(name: str) -> ModelConfig:
    return ModelConfig(**(preset(name) | SIZES | CASES[name][3]))


def our_model(name: str, tensors: Mapping[str, Tensor]) -> Transformer:
    config, names = our_config(name), CASES[name][2]
    model = Transformer(config, VOCAB, [spec_of(name)]).double()
    found = rules(names, our_names(config, spec_of(name)), "tokens", config.tied)
    model.load_state_dict({rule.ours: rule.read(tensors) for rule in found})
    model.tie()
    return model.eval()


def spec_of(name: str) -> OutputSpec:
    encodes = preset(name)["family"] == "encoder"
    return OutputSpec("tokens", VOCAB, tied=True, bias=encodes, transform="dense" if encodes else "none")


def batch_for(name: str) -> Batch:
    """Texts of 3, 11 and 7 tokens, asked everywhere; sources are two tokens longer."""
    rng, rows, family = np.random.default_rng(2), [], preset(name)["family"]
    for length in (3, 11, 7):
        ids = rng.integers(2, VOCAB, length)
        segments = np.arange(length) % 2 if preset(name).get("segments") == 2 else None
        streams = {"encoder": Stream(ids, segment_ids=segments)}
        if family != "encoder":
            streams = {"decoder": Stream(ids, causal=True)}
        if family == "encoder_decoder":
            streams = {"encoder": Stream(rng.integers(2, VOCAB, length + 2)), **streams}
        rows.append([Example(streams, {"tokens": Targets(np.arange(length), ids, [*streams][-1])})])
    return collate(rows, 0)


@torch.no_grad()
def their_logits(name: str, model: nn.Module, batch: Batch) -> Tensor:
    ids = {stream: part.input_ids for stream, part in batch.streams.items()}
    real = {stream: (part != 0).long() for stream, part in ids.items()}
    more: dict[str, Any] = {}
    if name == "roberta":  # what is its padding, it takes from the numbers
        ids = {stream: part.masked_fill(part == 0, model.config.pad_token_id) for stream, part in ids.items()}
    if preset(name).get("segments") == 2:
        more = {"token_type_ids": batch.streams["encoder"].segment_ids}
    if len(ids) == 2:
        more = {"decoder_input_ids": ids["decoder"], "decoder_attention_mask": real["decoder"]}
    first = next(iter(ids))
    logits = model(input_ids=ids[first], attention_mask=real[first], **more).logits
    return logits.flatten(0, 1)[batch.targets["tokens"].flat_index]


def turn_exactly(ours: Transformer, theirs: Any) -> None:
    """Both keep the sines of their rotations in float32: put those of float64 into both."""
    d_head = D // HEADS
    angles = torch.arange(LENGTH)[:, None] * (10_000.0 ** (-torch.arange(0, d_head, 2).double() / d_head)).repeat(2)
    positions = ours.decoder.positions
    for kept, exact in ((positions.cos, angles.cos()), (positions.sin, angles.sin())):
        torch.testing.assert_close(kept, exact, atol=1e-6, rtol=0)
    positions.cos, positions.sin = angles.cos(), angles.sin()
    places = torch.arange(LENGTH)[None]
    for one, exact in zip(theirs.model.rotary_emb(angles, places), (angles.cos(), angles.sin()), strict=True):
        torch.testing.assert_close(one[0].double(), exact, atol=1e-5, rtol=0)
    theirs.model.rotary_emb.forward = lambda x, position_ids: (angles.cos()[position_ids], angles.sin()[position_ids])


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name: str, monkeypatch: pytest.MonkeyPatch):
    theirs = their_model(name)
    ours = our_model(name, theirs.state_dict())
    # Some of their norms and softmaxes go through float32, whatever the model is in.
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    if name in ROTARY:
        turn_exactly(ours, theirs)
    batch = batch_for(name)
    with torch.no_grad():
        a, b = ours(batch)["tokens"], their_logits(name, theirs, batch)
    assert a.dtype == b.dtype == torch.float64 and len(a) == 21 and a.std() > 0.1
    torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_as_many(name: str):
    """Rows of positions that no word ever reads are said in `recipes`, and are not counted."""
    theirs = sum(parameter.numel() for parameter in their_model(name).parameters())
    unused = {"roberta": 2 * D, "bart": 2 * 2 * D}.get(name, 0)
    assert n_parameters(our_config(name), VOCAB, [spec_of(name)]) == theirs - unused
    assert (unused > 0) == ("two rows more" in preset_notes().get(name, ""))


def test_every_preset_is_compared_or_its_difference_is_said():
    assert {*presets()} - {*CASES} == {"transformer", "marian", "xlnet"}
    assert {"marian", "xlnet", "falcon", "codegen"} <= {*preset_notes()}
