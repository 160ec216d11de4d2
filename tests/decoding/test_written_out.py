"""Blocks written out for single tokens: only while the context is open, and only where nobody looks in or learns.
That the numbers stay the same is shown in test_families, for every family, part and kind of positions."""

import pytest
import torch
from torch import nn

from glassformer.data.batch import Asked, Batch, Example, HeadSpec, Stream, collate
from glassformer.data.masks import AttentionMask
from glassformer.decoding.written_out import written_out
from glassformer.model.config import ModelConfig
from glassformer.model.layers import Block, Surroundings
from glassformer.model.transformer import Transformer


def make(**changes) -> Transformer:
    torch.manual_seed(2)
    config = ModelConfig(family="decoder", n_layers=2, d_model=24, n_heads=4, d_ff=40, max_length=16, **changes)
    return Transformer(config, 31, [HeadSpec("tokens", 31, tied=True)]).eval()


def changed(model: nn.Module) -> set[str]:
    return {name for name, part in model.named_modules() if "forward" in vars(part)}


def test_everything_is_as_it_was_afterwards():
    """Blocks, norms and tables inside; nothing afterwards, after an error either; an inner one does not end the
    outer one."""
    model = make()
    wanted = {name for name, part in model.named_modules() if isinstance(part, Block | nn.LayerNorm | nn.Embedding)}
    with pytest.raises(ZeroDivisionError), written_out(model):
        assert changed(model) == wanted
        with written_out(model):
            pass
        assert changed(model) == wanted
        raise ZeroDivisionError
    assert changed(model) == set()


def test_hooks_in_a_block_are_called():
    """The block with a hook stays as it is, the other one is written out; both while a token at a time is made."""
    model, seen = make(), []
    model.decoder.blocks[1].feed_forward.register_forward_hook(lambda module, given, output: seen.append(output.shape))
    token = torch.tensor([[5]])
    with written_out(model):
        assert "forward" in vars(model.decoder.blocks[0]) and "forward" not in vars(model.decoder.blocks[1])
        state = model.new_state(collated(token), 4)
        for _ in range(3):
            model.step(token, token > 0, state, "tokens")
    assert seen == [(1, 1, 24)] * 3


@pytest.mark.parametrize("training", [False, True])
def test_learning_goes_through_the_modules(training):
    """Gradients reach everything while the context is open, and dropout drops."""
    model = make(dropout=0.5).train(training)
    x = torch.randn(2, 1, 24)
    with written_out(model):
        out = model.decoder.norm(model.decoder.blocks[0](x, Surroundings(AttentionMask())))
        (out.sum() + model.decoder.embeddings.token(torch.tensor([3])).sum()).backward()
        again = model.decoder.norm(model.decoder.blocks[0](x, Surroundings(AttentionMask())))
    learned = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {n for n, _ in model.named_parameters() if "blocks.0" in n or n.startswith("decoder.norm")} <= learned
    assert "decoder.embeddings.token.weight" in learned
    assert torch.equal(out, again) is not training


def collated(token: torch.Tensor) -> Batch:
    asked = {"tokens": Asked(token[0].numpy(), token[0].numpy(), "decoder")}
    return collate([[Example({"decoder": Stream(token[0].numpy(), causal=True)}, asked)]], 0)
