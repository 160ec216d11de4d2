"""Products with a few rows, as generation has them, at the speed of reading the weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from glassformer.machine import keep_freed_memory, processor
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

    The process keeps the memory that it frees from then on (`keep_freed_memory`): the next texts need as much again.
    """
    patched = []
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and can_pack(layer.weight) and "forward" not in vars(layer):
            layer.forward = _forward(layer)  # type: ignore[method-assign]
            patched.append(layer)
    if patched:
        keep_freed_memory()
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


def parts_of(layer: nn.Linear) -> dict[tuple[Any, int | None], Any]:
    """What has been made of a layer's weights, by what it is; nothing when they have changed since."""
    known = [(t.data_ptr(), None if t.is_inference() else t._version) for t in layer.parameters()]
    before, parts = _PACKED.get(layer, ([], {}))
    if before != known:
        parts = {}
        _PACKED[layer] = (known, parts)
    return parts


def rows_for_mkl() -> int:
    """Up to so many rows torch's own product, which is MKL's, is faster: on its maker's processors it reads the weights
    as fast and is called twice as fast. A rule and no measurement, so that the same prompt gives the same bits."""
    return 4 if "Intel" in processor() else 0


def product(layer: nn.Linear, last: int | None = None) -> Callable[[Float[Tensor, "B D"]], Float[Tensor, "B _"]]:
    """The outputs of a layer before `last` (None: all) as a function, for the weights that it has now and without
    gradients; with packed weights, where they can be and are faster."""
    weight, bias = layer.weight.detach()[:last], None if layer.bias is None else layer.bias.detach()[:last]
    if not can_pack(weight):
        return lambda x: F.linear(x, weight, bias)
    multiply, few = torch.ops.mkldnn._linear_pointwise.default, rows_for_mkl()
    blocks, _ = _part(layer, parts_of(layer), 0, last)
    return lambda x: F.linear(x, weight, bias) if x.shape[0] <= few else multiply(x, blocks, bias, "none", [], "")


def _part(layer: nn.Linear, parts: dict[tuple[Any, int | None], Any], first: int, last: int | None) -> Any:
    """Packed weights and the bias of some of the outputs; packed when they are first asked for."""
    if (first, last) not in parts:
        bias = None if layer.bias is None else layer.bias.detach()[first:last]
        weight = layer.weight.detach()[first:last].contiguous()
        parts[first, last] = (torch.ops.mkldnn._reorder_linear_weight.default(weight, ROWS), bias)
    return parts[first, last]


def _forward(layer: nn.Linear) -> Any:
    """What the layer does, with packed weights."""
    whole: Any = layer.forward
    parts = parts_of(layer)
    multiply = torch.ops.mkldnn._linear_pointwise.default

    def forward(x: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        if torch.is_grad_enabled():
            return whole(x, first, last) if isinstance(layer, PartialLinear) else whole(x)
        return multiply(x, *_part(layer, parts, first, last), "none", [], "")

    return forward
