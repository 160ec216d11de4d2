"""The number of parameters by formula is that of the model as it is built, for every part that a recipe can choose."""

from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from glassformer.data.batch import OutputSpec
from glassformer.errors import UsageError
from glassformer.model.config import ModelConfig, check_sizes, preset, presets
from glassformer.model.kinds import find_kind
from glassformer.model.kinds.pytorch import TorchTransformer
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.size import count_parameters, n_parameters, refuse_too_large

SIZES: dict[str, Any] = {"n_layers": 3, "d_model": 12, "n_heads": 6, "d_ff": 7, "max_length": 11}
HEADS = [OutputSpec("tokens", 17, tied=True, transform="dense"), OutputSpec("next", 2, transform="pooler", bias=False)]

parts = some.fixed_dictionaries(
    {},
    optional={
        "family": some.sampled_from(["encoder", "decoder", "encoder_decoder"]),
        "n_decoder_layers": some.sampled_from([1, 5]),
        "n_kv_heads": some.sampled_from([1, 2, 3]),
        "d_embedding": some.sampled_from([5, 12]),
        "norm": some.sampled_from(["pre", "post"]),
        "norm_kind": some.sampled_from(["layer", "rms"]),
        "embedding_norm": some.booleans(),
        "activation": some.sampled_from(["gelu", "swiglu"]),
        "bias": some.booleans(),
        "positions": some.sampled_from(["none", "sinusoidal", "learned", "rotary", "alibi", "relative"]),
        "share_layers": some.booleans(),
        "segments": some.sampled_from([0, 2]),
        "tied": some.booleans(),
        "shared_embeddings": some.booleans(),
    },
)


@given(parts, some.sampled_from([17, {"encoder": 13, "decoder": 17}]))
@settings(max_examples=60)
def test_the_formula_counts_what_is_built(chosen: dict[str, Any], vocab: Any) -> None:
    config = ModelConfig(**(SIZES | chosen))
    if isinstance(vocab, dict) and len(config.stacks) == 1:
        vocab = 17
    heads = [HEADS[0]._replace(size=17), HEADS[1], OutputSpec("plain", 17, tied=True)]
    assert n_parameters(config, vocab, heads) == count_parameters(Transformer(config, vocab, heads))


@pytest.mark.parametrize("name", presets())
def test_of_every_preset(name: str) -> None:
    config = ModelConfig(**(SIZES | preset(name)))
    assert n_parameters(config, 17, HEADS) == count_parameters(Transformer(config, 17, HEADS))


def test_of_pytorchs_blocks() -> None:
    config = ModelConfig(**SIZES, kind="pytorch", dropout=0.0, activation="relu", positions="learned")
    assert n_parameters(config, 17, HEADS) == count_parameters(TorchTransformer(config, 17, HEADS))


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize(
    "chosen",
    [{}, {"bias": False, "norm": "post"}, {"share_layers": True, "d_embedding": 5, "segments": 2}, {"tied": False}],
)
def test_of_an_lstm(family: str, chosen: dict[str, Any]) -> None:
    config = ModelConfig(**(SIZES | {"kind": "lstm", "family": family, "embedding_norm": True} | chosen))
    assert n_parameters(config, 17, HEADS) == count_parameters(find_kind("lstm")(config, 17, HEADS))


@pytest.mark.parametrize(
    "absurd",
    [{"n_layers": 10**9}, {"n_layers": 10**9, "share_layers": True}, {"d_ff": 10**18}, {"max_length": 10**400}]
    + [{"positions": kind, "max_length": 10**12} for kind in ("sinusoidal", "rotary", "learned")],
)
def test_an_absurd_model_is_refused_before_it_is_built(absurd: dict[str, Any]) -> None:
    before = psutil.Process().memory_info().rss
    with pytest.raises(UsageError, match="GB of memory"):
        refuse_too_large(ModelConfig(**(SIZES | absurd)), 17, HEADS)
    assert psutil.Process().memory_info().rss - before < 100 * 2**20
    refuse_too_large(ModelConfig(**SIZES), 17, HEADS)


def test_absurd_sizes_that_do_not_fit_together_are_said_at_once() -> None:
    with pytest.raises(UsageError, match="does not divide") as error:
        check_sizes(ModelConfig(d_model=10**15, n_heads=7))
    assert error.value.mend.endswith("5, 8, 4") or "8" in error.value.mend
