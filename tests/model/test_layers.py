"""The parts of a block: held against PyTorch's own, against the definition, and against finite differences."""

import math

import pytest
import torch
from torch import nn

from glassformer.data.masks import AttentionMask
from glassformer.model.config import ModelConfig
from glassformer.model.layers import (
    Block,
    FeedForward,
    LayerContext,
    MultiHeadAttention,
    initialise,
    scale_residual_writers,
)

B, T, H, D, F = 2, 5, 3, 21, 13
KEY_MASK = torch.tensor([[True] * T, [True, True, True, False, False]])


def random_weights(module: nn.Module, seed: int = 1) -> nn.Module:
    """Every parameter random, biases and norms too: what is zero by default could hide a missing term."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5
    return module.eval()


def x(*shape: int, seed: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (B, T, D)), generator=generator, dtype=torch.float64)


def config(**changes) -> ModelConfig:
    return ModelConfig(**({"d_model": D, "n_heads": H, "d_ff": F, "dropout": 0.0, "attention_dropout": 0.0} | changes))


def block(**changes) -> Block:
    return random_weights(Block(config(**changes)))


# -------------------------------------------------------------------------------------------------------- attention


@pytest.mark.parametrize("masked", ["nothing", "padding", "pairs"])
def test_multi_head_attention_equals_pytorchs(masked):
    """On copied weights, in double, context and weights; PyTorch's masks are True where ours are False."""
    ours = random_weights(MultiHeadAttention(config()))
    theirs = nn.MultiheadAttention(D, H, batch_first=True, dtype=torch.float64).eval()
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.query_key_value.weight, ours.query_key_value.bias
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    pairs = (torch.rand(B, T, T, generator=torch.Generator().manual_seed(4)) < 0.7) | torch.eye(T, dtype=torch.bool)
    mask = {
        "nothing": AttentionMask.in_order(T),
        "padding": AttentionMask.in_order(T, key_mask=KEY_MASK),
        "pairs": AttentionMask.in_order(T, pair_mask=pairs),
    }[masked]
    expected, weights = theirs(
        *[x()] * 3,
        key_padding_mask=~KEY_MASK if masked == "padding" else None,
        attn_mask=~pairs.repeat_interleave(H, 0) if masked == "pairs" else None,
        average_attn_weights=False,
    )
    torch.testing.assert_close(ours(x(), LayerContext(mask)), expected, atol=1e-10, rtol=1e-10)
    q, k, _ = (ours.split(part) for part in ours.query_key_value(x()).chunk(3, -1))
    torch.testing.assert_close(ours.mechanism.weights(q, k, mask), weights, atol=1e-10, rtol=1e-10)


def test_split_and_join():
    """Head h holds features h * E to (h + 1) * E, and joining puts them back."""
    attention = MultiHeadAttention(config())
    heads = attention.split(x())
    assert heads.shape == (B, H, T, D // H)
    assert torch.equal(heads[1, 2, 3], x()[1, 3, 2 * (D // H) :])
    assert torch.equal(attention.join(heads), x())


@pytest.mark.parametrize("where", ["dropout", "attention_dropout"])
def test_dropout_only_while_training(where):
    """Each kind by itself makes training random and leaves evaluation alone."""
    one, without = block(**{where: 0.5}), block()
    mask = LayerContext(AttentionMask.in_order(T))
    assert torch.equal(one(x(), mask), without(x(), mask))
    one.train()
    torch.manual_seed(1)
    first, second = one(x(), mask), one(x(), mask)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(one(x(), mask), first)


def test_a_row_that_sees_nothing_still_gets_a_finite_block():
    """The block adds only the output's bias for it; gradients are finite, with dropout and in bf16 too."""
    nothing = LayerContext(AttentionMask.in_order(T, pair_mask=torch.zeros(B, T, T, dtype=torch.bool)))
    attention = random_weights(MultiHeadAttention(config()))
    torch.testing.assert_close(attention(x(), nothing), attention.output.bias.expand(B, T, D))
    for dtype, p in ((torch.float32, 0.0), (torch.float32, 0.3), (torch.bfloat16, 0.0), (torch.bfloat16, 0.3)):
        one = block(dropout=p, attention_dropout=p).to(dtype).train()
        inputs = x().to(dtype).requires_grad_()
        one(inputs, nothing).square().sum().backward()
        assert all(g.isfinite().all() for g in [inputs.grad, *(p.grad for p in one.parameters())])


# ---------------------------------------------------------------------------------------------------- feed-forward


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_feed_forward_by_hand(activation):
    """W2 f(W1 x + b1) + b2 with f = max(0, x), or x times the normal distribution's share below x."""
    part = random_weights(FeedForward(config(activation=activation)))
    inner = x() @ part.expand.weight.T + part.expand.bias
    bent = inner.clamp(min=0) if activation == "relu" else inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    expected = bent @ part.contract.weight.T + part.contract.bias
    torch.testing.assert_close(part(x()), expected, atol=1e-10, rtol=1e-10)


# ------------------------------------------------------------------------------------------------------------ block


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_order_of_norm_and_residual(norm):
    """post: x = norm(x + part(x)); pre: x = x + part(norm(x)), for attention and then for feed-forward."""
    one, mask = block(norm=norm), LayerContext(AttentionMask.in_order(T, key_mask=KEY_MASK))
    h = x()
    for part, normed in (
        (lambda y: one.self_attention(y, mask), one.attention_norm),
        (one.feed_forward, one.feed_forward_norm),
    ):
        h = h + part(normed(h)) if norm == "pre" else normed(h + part(h))
    torch.testing.assert_close(one(x(), mask), h, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_gradients_of_a_block_against_finite_differences(norm):
    """In double: with respect to the input and to every parameter, with padding."""
    one = block(d_model=6, n_heads=2, d_ff=5, norm=norm)
    names, values = zip(*one.named_parameters(), strict=True)
    mask = LayerContext(AttentionMask.in_order(T, key_mask=KEY_MASK))

    def run(inputs, *parameters):
        return torch.func.functional_call(one, dict(zip(names, parameters, strict=True)), (inputs, mask))

    inputs = [x(B, T, 6).requires_grad_(), *(v.detach().requires_grad_() for v in values)]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


# --------------------------------------------------------------------------------------------------- initialisation


def test_initialisation_has_the_variance_it_claims():
    """Linear: 1 / fan-in, embeddings: 0.02 squared, biases zero, norms one; within 4.5 standard errors."""
    torch.manual_seed(1)
    module = nn.ModuleList([nn.Linear(211, 307), nn.Linear(53, 1_009), nn.Embedding(997, 31), nn.LayerNorm(7)])
    initialise(module)
    for part, std in zip(module, (211**-0.5, 53**-0.5, 0.02), strict=False):
        n = part.weight.numel()
        assert abs(part.weight.std() / std - 1) < 4.5 / math.sqrt(2 * n)
        assert abs(part.weight.mean()) < 4.5 * std / math.sqrt(n)
    assert not module[0].bias.any() and (module[3].weight == 1).all()


def test_residual_writers_are_scaled_by_depth_and_nothing_else_is():
    """What attention and feed-forward write is divided by sqrt(2 * 3 layers)."""
    blocks = nn.ModuleList([block() for _ in range(3)])
    before = {name: tensor.clone() for name, tensor in blocks.state_dict().items()}
    scale_residual_writers(blocks)
    for name, tensor in blocks.state_dict().items():
        writer = name.endswith(("self_attention.output.weight", "feed_forward.contract.weight"))
        torch.testing.assert_close(tensor, before[name] * (6**-0.5 if writer else 1.0))
