"""Products with a few rows, as generation has them, at the speed of reading the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from glassformer.model.layers import PartialLinear

ROWS = 32
"""Rows that the weights are laid out for; others are multiplied as correctly, and nearly as fast."""


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """While open, the linear layers of a model multiply with a copy of their weights that is laid out in blocks.

    A token at a time is a product of a few rows with each matrix, which takes as long as the matrix takes to be read;
    on a CPU in float32 oneDNN reads such blocks about twice as fast as rows. Modules, names, weights and hooks stay as
    they are, and whoever asks for gradients gets the layers as they were. The copy is kept until the weights change.
    Elsewhere nothing is done.
    """
    patched = []
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and can_pack(layer.weight) and "forward" not in vars(layer):
            layer.forward = _product(layer)  # type: ignore[method-assign]
            patched.append(layer)
    try:
        yield
    finally:
        for layer in patched:
            del layer.forward


def can_pack(weight: Tensor) -> bool:
    """Whether there is a kernel for it. Its operators are those of torch's compiler, which may rename them."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


_PACKED = WeakIdKeyDictionary()
"""By layer: which weights were packed, and what came of them. A short answer takes no longer than packing does."""


def _product(layer: nn.Linear) -> Any:
    """What the layer does, with packed weights; those of each part of its outputs when they are first asked for, and
    anew when the weights have changed."""
    whole: Any = layer.forward
    known = [(t.data_ptr(), None if t.is_inference() else t._version) for t in layer.parameters()]
    before, parts = _PACKED.get(layer, ([], {}))
    if before != known:
        parts = {}
        _PACKED[layer] = (known, parts)
    multiply, pack = torch.ops.mkldnn._linear_pointwise.default, torch.ops.mkldnn._reorder_linear_weight.default

    def forward(x: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        if torch.is_grad_enabled():
            return whole(x, first, last) if isinstance(layer, PartialLinear) else whole(x)
        if (first, last) not in parts:
            bias = None if layer.bias is None else layer.bias.detach()[first:last]
            parts[first, last] = (pack(layer.weight.detach()[first:last].contiguous(), ROWS), bias)
        return multiply(x, *parts[first, last], "none", [], "")

    return forward
