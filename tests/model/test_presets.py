"""Known models as data: each preset gives a model with its parts, which a recipe's own keys win over."""

import numpy as np
import pytest
import torch
from trained import command, refused

from glassformer.data.batch import Example, OutputSpec, Stream, Targets, collate
from glassformer.errors import UsageError
from glassformer.model.config import presets
from glassformer.model.kinds.transformer import Transformer
from glassformer.recipe import parse, read

SIZES = {"n_layers": 2, "d_model": 24, "n_heads": 2, "d_ff": 13, "max_length": 17, "dropout": 0.0}
OBJECTIVES = {"encoder": "masked_lm", "decoder": "causal_lm", "encoder_decoder": "denoising"}
ALL = {
    "bert", "roberta", "albert", "distilbert", "gpt", "gpt2", "llama", "mistral", "transformer", "bart", "marian", "t5",
    "mt5", "xlnet",
}  # fmt: skip


def test_all_that_must_be_there_are():
    assert set(presets()) == ALL


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_is_a_model_that_learns(name):
    """It has the parts that it names, reads a batch, and each of its weights gets a gradient."""
    family = presets()[name]["family"]
    tree = {"data": {"train": "x"}, "objective": {"name": OBJECTIVES[family]}, "model": SIZES | {"preset": name}}
    config = parse(tree).model
    assert {key: getattr(config, key) for key in presets()[name]} == presets()[name]
    torch.manual_seed(1)
    model = Transformer(config, 23, [OutputSpec("tokens", 23, tied=True)])
    ids = np.arange(1, 18)
    streams = {
        name: Stream(ids, segment_ids=ids % (config.segments or 1), causal=name == "decoder") for name in config.stacks
    }
    where = config.stacks[-1]
    batch = collate([[Example(streams, {"tokens": Targets(ids - 1, ids, where)})]], 0)
    model(batch)["tokens"].logsumexp(-1).square().sum().backward()
    unused = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def test_a_recipes_own_keys_win():
    tree = {"data": {"train": "x"}, "model": SIZES | {"preset": "bert", "norm": "pre", "segments": 3}}
    model = parse(tree).model
    assert (model.norm, model.segments, model.embedding_norm) == ("pre", 3, True)


def test_a_run_of_before_a_key_was_added_stays_as_it_was_trained():
    """Its recipe names a preset and has every key of its time: what the preset says since then is not put in."""
    tree = {"data": {"train": "x"}, "model": SIZES | {"preset": "bert"}}
    whole = parse(tree).model.model_dump(mode="json")
    assert whole["norm_eps"] == 1e-12
    before = {key: value for key, value in whole.items() if key not in ("norm_eps", "head_activation", "widen")}
    assert parse(tree | {"model": before}).model.epsilon == 1e-5


def test_a_preset_that_a_person_names_wins_over_what_the_recipe_had():
    model = read("mlm-demo", ["model.preset=bert"]).model
    assert (model.positions, model.norm, model.segments, model.n_layers) == ("learned", "post", 2, 2)


def test_a_model_that_cannot_be_said_says_why():
    with pytest.raises(UsageError, match="there is no preset 'falcon': its attention and its feed-forward part"):
        parse({"data": {"train": "x"}, "model": {"preset": "falcon"}})


def test_recipes_says_what_a_preset_lacks():
    assert "two rows more" in command("recipes", "roberta").out
    assert "norm_eps" in command("recipes", "bert").out
    assert "side by side" in refused("recipes", "falcon")


def test_a_misspelt_preset_names_the_nearest():
    with pytest.raises(UsageError, match=r"there is no preset 'lama'.*\n.*llama"):
        parse({"data": {"train": "x"}, "model": {"preset": "lama"}})
