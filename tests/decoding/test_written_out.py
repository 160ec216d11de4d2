"""The step that generation writes out. That its numbers are those of the modules, for every family, part and kind of
positions, is shown in test_families; here who is asked: hooks, and the weights of now."""

import numpy as np
import pytest
import torch

from glassformer.data.batch import Example, OutputSpec, Stream, Targets, collate
from glassformer.decoding.written_out import written_out
from glassformer.model.config import ModelConfig
from glassformer.model.decoding_state import DecodingState
from glassformer.model.kinds.transformer import Transformer

TOKEN = torch.tensor([[5], [6]])


def make() -> Transformer:
    torch.manual_seed(2)
    config = ModelConfig(family="decoder", n_layers=2, d_model=24, n_heads=4, d_ff=40, max_length=16, dropout=0.0)
    return Transformer(config, 31, [OutputSpec("tokens", 31, tied=True)]).eval()


def begun(model: Transformer) -> DecodingState:
    """Two rows of one token each."""
    asked = {"tokens": Targets(np.array([0]), np.array([0]), "decoder")}
    batch = collate([[Example({"decoder": Stream(np.array([n]), causal=True)}, asked)] for n in (3, 4)], 0)
    state = model.new_state(batch, 8)
    model.step(torch.tensor([[3], [4]]), torch.ones(2, 1, dtype=torch.bool), state, "tokens")
    return state


def by_modules(model: Transformer) -> torch.Tensor:
    return model.step(TOKEN, torch.ones_like(TOKEN, dtype=torch.bool), begun(model), "tokens")


MECHANISM = "decoder.blocks.1.self_attention.mechanism"


@pytest.mark.parametrize(
    "place", ["decoder.blocks.1.feed_forward", "heads.tokens.output", "decoder.embeddings", MECHANISM]
)
def test_hooks_are_called_and_may_change_what_comes(place):
    model, seen = make(), []

    def hook(module, given, output):
        seen.append(output.shape)
        return output * 0.5

    without = by_modules(model)
    handle = model.get_submodule(place).register_forward_hook(hook)
    state = begun(model)
    seen.clear()
    found = written_out(model, "tokens")(TOKEN, state)
    assert len(seen) == 1
    torch.testing.assert_close(found, by_modules(model))
    handle.remove()
    assert not torch.allclose(found, without)


def test_a_mechanism_is_called_where_only_a_hook_before_it_waits():
    model, seen = make(), []
    model.get_submodule(MECHANISM).register_forward_pre_hook(lambda module, given: seen.append(given[0].shape))
    state = begun(model)
    seen.clear()
    written_out(model, "tokens")(TOKEN, state)
    assert seen == [(2, 4, 1, 6)]


def test_it_has_the_weights_of_when_it_was_written():
    """Made anew after the weights have changed, it gives the new numbers."""
    model = make()
    before = written_out(model, "tokens")(TOKEN, begun(model))
    torch.testing.assert_close(before, by_modules(model), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    after = written_out(model, "tokens")(TOKEN, begun(model))
    torch.testing.assert_close(after, by_modules(model), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(before, after, atol=1e-2)
