"""Packed weights: the same products, only while the block is open, and never where gradients are wanted."""

import pytest
import torch
from torch import nn

from glassformer.data.batch import OutputSpec
from glassformer.decoding import packed as module
from glassformer.decoding.packed import can_pack, packed
from glassformer.model.config import ModelConfig
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.layers import PartialLinear

needs_kernels = pytest.mark.skipif(
    not can_pack(torch.zeros(1, 1)), reason="this build of torch has no packed products for the CPU"
)


def patched(model: nn.Module) -> set[str]:
    """The layers that multiply otherwise than their class says."""
    return {name for name, part in model.named_modules() if "forward" in vars(part)}


def make(family: str) -> Transformer:
    torch.manual_seed(2)
    config = ModelConfig(family=family, n_layers=2, d_model=24, n_heads=4, d_ff=40, max_length=16, dropout=0.0)
    return Transformer(config, 31, [OutputSpec("tokens", 31, tied=True)]).eval()


@needs_kernels
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 24), (32, 24), (3, 5, 24), (70, 24)])
def test_products_and_parts_of_them_are_the_same(bias, shape):
    torch.manual_seed(1)
    layer, x = PartialLinear(24, 72, bias=bias), torch.randn(shape)
    with torch.no_grad():
        wanted = [layer(x), layer(x, 0, 24), layer(x, 24)]
        with packed(layer):
            assert patched(layer)
            found = [layer(x), layer(x, 0, 24), layer(x, 24)]
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(wanted[0], torch.cat(wanted[1:], -1))


@needs_kernels
@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
def test_the_block_leaves_everything_as_it_was(family):
    """All linear layers inside; none afterwards, not after an error either; weights and names are not touched, and an
    inner block does not end the outer one."""
    model = make(family)
    names, linear = set(model.state_dict()), {n for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    with pytest.raises(ZeroDivisionError), packed(model):
        assert patched(model) == linear
        assert set(model.state_dict()) == names
        with packed(model):
            assert patched(model) == linear
        assert patched(model) == linear
        raise ZeroDivisionError
    assert patched(model) == set()


@needs_kernels
def test_weights_are_packed_once_and_anew_when_they_change():
    torch.manual_seed(1)
    layer, x = PartialLinear(24, 72), torch.randn(3, 24)
    with torch.no_grad():
        for change in (lambda: None, lambda: layer.weight.mul_(2), lambda: layer.bias.add_(1)):
            change()
            wanted = layer(x)
            for _ in range(2):
                with packed(layer):
                    torch.testing.assert_close(layer(x), wanted)
                [(weight, _)] = module._PACKED[layer][1].values()
        with packed(layer):
            layer(x)
        assert next(iter(module._PACKED[layer][1].values()))[0] is weight
        layer.weight = nn.Parameter(torch.randn(72, 24))
        with packed(layer):
            torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


@needs_kernels
def test_gradients_flow_and_hooks_fire_inside():
    layer, x, fired = PartialLinear(24, 72), torch.randn(3, 24), []
    layer.register_forward_hook(lambda module, given, output: fired.append(output.shape))
    with packed(layer):
        layer(x, 24).sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad[24:].abs().sum() > 0
        with torch.inference_mode():
            layer(x)
    assert fired == [(3, 48), (3, 72)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_left_alone(dtype):
    model = make("decoder").to(dtype)
    with packed(model):
        assert patched(model) == set()


@pytest.mark.parametrize("maker", ["Intel(R) Xeon(R) Processor", "AMD EPYC"])
@pytest.mark.parametrize("rows", [1, 4, 5, 32])
@pytest.mark.parametrize("last", [None, 24])
def test_the_product_of_single_tokens_is_that_of_the_layer(monkeypatch, maker, rows, last):
    """Whichever kernel the processor and the number of rows call for; with the weights of when it was made."""
    monkeypatch.setattr(module, "processor", lambda: maker)
    torch.manual_seed(1)
    layer, x, plain = PartialLinear(24, 72), torch.randn(rows, 24), []
    linear = module.F.linear
    with torch.inference_mode():
        multiply, wanted = module.product(layer, last), layer(x, 0, last)
        with monkeypatch.context() as patch:
            patch.setattr(module.F, "linear", lambda *given: plain.append(given) or linear(*given))
            torch.testing.assert_close(multiply(x), wanted, rtol=1e-5, atol=1e-5)
        assert bool(plain) == (not can_pack(layer.weight) or ("Intel" in maker and rows <= 4))
        layer.weight.mul_(2)
        changed = module.product(layer, last)(x)
    torch.testing.assert_close(changed, 2 * wanted - layer.bias[:last], rtol=1e-5, atol=1e-5)
