"""Where parameters stand, what is frozen by it, and the learning rates of layers."""

import pytest
import torch
from tiny_recipe import model_of, objective_of, sentences

from glassformer.errors import UsageError
from glassformer.model.kinds import Model
from glassformer.training.optimisers import OptimizerConfig, build_optimizers
from glassformer.training.places import Place, Rates, freeze, places


@pytest.fixture(params=["transformer", "pytorch", "lstm"])
def model(request: pytest.FixtureRequest) -> Model:
    """Three blocks, of each kind of model."""
    return model_of(objective_of(sentences()), n_layers=3, kind=request.param, norm="pre")


def still(model: Model) -> set[str]:
    return {name for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}


def test_every_parameter_has_its_place_from_the_embeddings_up(model: Model):
    found = places(model)
    assert {*found} == {name for name, _ in model.named_parameters(remove_duplicate=False)}
    assert found["encoder.embeddings.token.weight"] == Place(0, 4)
    blocks = model.parts["encoder"].blocks
    for name, place in found.items():
        inside = [n for n, block in enumerate(blocks, start=1) if name.startswith(f"{block}.")]
        if inside:
            assert place == Place(inside[0], 4 - inside[0])
        elif name.startswith("heads.") and "output.weight" not in name:
            assert place == Place(4, 0)
    norm = model.parts["encoder"].norm
    assert norm is not None and all(place.is_above for name, place in found.items() if name.startswith(norm + "."))


def test_a_shared_parameter_stands_at_the_lowest_of_its_places():
    tied = model_of(objective_of(sentences()), n_layers=2)
    assert places(tied)["heads.masked_lm.output.weight"] == places(tied)["encoder.embeddings.token.weight"] == (0, 3)
    shared = model_of(objective_of(sentences()), n_layers=3, share_layers=True)
    assert places(shared)["encoder.blocks.2.attention_norm.weight"] == Place(1, 3)


def test_embeddings_and_first_blocks_are_frozen_by_these_names(model: Model):
    freeze(model, ["embeddings"])
    below = {name for name, place in places(model).items() if place.height == 0}
    assert still(model) == below != set()
    freeze(model, ["blocks:2"])
    assert still(model) == {name for name, place in places(model).items() if place.height <= 2}


def test_patterns_are_frozen_and_a_tied_one_by_either_name():
    one = model_of(objective_of(sentences()))
    frozen = freeze(one, ["encoder.blocks.0.*"])
    assert frozen == [name for name, p in one.named_parameters() if not p.requires_grad]
    assert frozen and all(name.startswith("encoder.blocks.0.") for name in frozen)
    assert freeze(one, ()) == []
    freeze(one, ["heads.masked_lm.output.weight"])
    assert not one.encoder.embeddings.token.weight.requires_grad


def test_both_stacks_have_first_blocks(two_stacks: Model):
    freeze(two_stacks, ["blocks:1"])
    assert {name.rpartition(".blocks.")[0] for name in still(two_stacks)} == {"encoder", "decoder"}


@pytest.fixture
def two_stacks() -> Model:
    from glassformer.model.config import ModelConfig
    from glassformer.model.kinds import find_kind

    config = ModelConfig(family="encoder_decoder", n_layers=2, d_model=12, n_heads=3, d_ff=20, max_length=16)
    return find_kind("transformer")(config, 30, [])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("encoder.block.*", r"training.freeze: no tensor is called 'encoder.block.\*'\n."),
        ("blocks:3", r"training.freeze: 'blocks:3', and this model has 2 blocks\n.*use blocks:1 to blocks:2"),
        ("blocks:0", "has 2 blocks"),
        ("embedings", "no tensor is called 'embedings'"),
        ("*", "leaves nothing to learn"),
    ],
)
def test_what_cannot_be_frozen_is_a_line(wanted: str, said: str):
    with pytest.raises(UsageError, match=said):
        freeze(model_of(objective_of(sentences())), [wanted])


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_each_layer_has_the_rate_of_the_one_above_times_the_decay(name: str):
    """Every parameter in exactly one group; which group, is held against its name."""
    one = model_of(objective_of(sentences()), n_layers=3)
    config = OptimizerConfig(name=name, learning_rate=0.1, muon_learning_rate=0.5)
    optimizers = build_optimizers(one, config, rates=Rates(0.5, heads=0.7))
    peak = {id(p): group["peak"] for each in optimizers for group in each.param_groups for p in group["params"]}
    assert {*peak} == {id(p) for p in one.parameters()}
    assert sum(len(group["params"]) for each in optimizers for group in each.param_groups) == len(peak)
    named = {n: peak[id(p)] for n, p in one.named_parameters()}
    assert named["encoder.embeddings.token.weight"] == 0.1 * 0.5**4
    assert named["encoder.norm.weight"] == 0.1
    assert named["heads.masked_lm.transform.0.weight"] == named["heads.masked_lm.output.bias"] == 0.7
    assert [named[f"encoder.blocks.{n}.attention_norm.weight"] for n in range(3)] == [0.1 / 8, 0.1 / 4, 0.1 / 2]
    peak_of_matrices = 0.5 if name == "muon" else 0.1
    for n in range(3):
        assert named[f"encoder.blocks.{n}.self_attention.output.weight"] == peak_of_matrices * 0.5 ** (3 - n)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_without_a_decay_the_groups_are_those_that_were_always_there(name: str):
    """A checkpoint of before is restored by their order."""
    one = model_of(objective_of(sentences()))
    config = OptimizerConfig(name=name)
    plain, named = build_optimizers(one, config), build_optimizers(one, config, rates=Rates())
    of_each = [[[id(p) for p in g["params"]] for each in found for g in each.param_groups] for found in (plain, named)]
    assert of_each[0] == of_each[1] and len(of_each[0]) == (3 if name == "muon" else 2)


def test_a_smaller_rate_moves_the_lower_layers_less():
    """AdamW's first update is as large as the rate: of equal gradients each layer moves by its own."""
    one = model_of(objective_of(sentences()), n_layers=2)
    before = {n: p.detach().clone() for n, p in one.named_parameters()}
    [optimizer] = build_optimizers(one, OptimizerConfig(learning_rate=0.1, weight_decay=0.0), rates=Rates(0.5))
    for p in one.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    for name, place in places(one).items():
        if name in before:
            moved = (before[name] - dict(one.named_parameters())[name].detach()).abs().max()
            torch.testing.assert_close(float(moved), 0.1 * 0.5**place.below_top, rtol=1e-4, atol=1e-6)
