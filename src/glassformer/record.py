"""Look inside while a model runs: named places, hooks in, hooks out, and nothing changed.

    with record(model, "encoder.blocks.3.self_attention") as tape:
        model(batch)
    tape["encoder.blocks.3.self_attention"].weights(heads=[0])

A place is the path of a module. A module that occurs at several paths (a layer shared across depth) is called once for
each; the n-th path is its n-th call. At an attention place the tape keeps q, k, mask, bias, not the weights: those
are computed on demand, for the heads and rows that somebody wants to see.
"""

import fnmatch
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import _pytree

from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError, nearest
from glassformer.model.attention import Mechanism, spread


class RecordedAttention:
    """What went into one call of an attention mechanism, copied, and the context that came out."""

    def __init__(
        self,
        mechanism: Mechanism,
        q: Float[Tensor, "B H Q E"],
        k: Float[Tensor, "B G K E"],
        v: Float[Tensor, "B G K E"],
        mask: AttentionMask,
        bias: Float[Tensor, "#B #H Q K"] | None,
        context: Float[Tensor, "B H Q E"],
    ) -> None:
        self.mechanism = mechanism
        self.q, self.k, self.v, self.context = (_copy(x) for x in (q, k, v, context))
        self.mask = AttentionMask(*_copy(tuple(mask._replace(combined=None))))
        self.bias = None if bias is None else _copy(bias)

    @torch.no_grad()
    def weights(
        self, heads: Sequence[int] | None = None, rows: Sequence[int] | None = None
    ) -> Float[Tensor, "B heads rows K"]:
        """The exact attention weights of the chosen heads and query rows (None: all), computed now."""
        q, bias, mask = self.q, self.bias, self.mask
        k = spread(self.k, q.shape[1])
        if heads is not None:
            q, k = q[:, list(heads)], k[:, list(heads)]
            bias = bias[:, list(heads)] if bias is not None and bias.shape[1] > 1 else bias
        if rows is not None:
            q = q[:, :, list(rows)]
            bias = None if bias is None else bias[:, :, list(rows)]
            mask = mask.for_rows(list(rows))
        precise = torch.promote_types(q.dtype, torch.float32)
        return self.mechanism.weights(q.to(precise), k.to(precise), mask, bias)


class Tape:
    """What was recorded, by place. Asking an empty tape raises."""

    def __init__(self, places: Sequence[str]) -> None:
        self.places = list(places)
        self._calls: dict[str, Any] = {}

    def __getitem__(self, place: str) -> Any:
        """RecordedAttention at an attention place, the module's output elsewhere. Raises UsageError when the model did
        not run inside the block, or the place was not asked for."""
        if place not in self.places:
            raise UsageError(f"{place!r} was not recorded", nearest(place, self.places))
        if place not in self._calls:
            raise UsageError(
                f"nothing was recorded at {place!r}",
                "call the model itself inside the `with record(...)` block; a compiled callable fires no hooks",
            )
        return self._calls[place]


def _copy(x: Any) -> Any:
    """A tensor, or whatever tree of tensors a module returns, detached and cloned."""
    return _pytree.tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), x)


def attention_places(model: nn.Module) -> list[str]:
    """The places of all attention layers, in order."""
    modules = model.named_modules(remove_duplicate=False)
    return [path.removesuffix(".mechanism") for path, module in modules if isinstance(module, Mechanism)]


@contextmanager
def record(model: nn.Module, *patterns: str) -> Iterator[Tape]:
    """Record at every place that one of `patterns` names (`*` as in file names; none: all attention layers).

    Outputs are bit-identical with and without. The hooks are gone after the block, also after an error.
    Raises UsageError when a pattern fits no place.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    places = _matching(modules, patterns) if patterns else attention_places(model)
    tape = Tape(places)
    paths_of: dict[nn.Module, list[str]] = {}
    for path, module in modules.items():
        paths_of.setdefault(module, []).append(path)
    handles = []
    try:
        for module in {_recorded_module(modules[place]): None for place in places}:
            handles.append(module.register_forward_hook(_hook(tape, paths_of[module]), with_kwargs=True))
        yield tape
    finally:
        for handle in handles:
            handle.remove()


def _matching(modules: dict[str, nn.Module], patterns: Sequence[str]) -> list[str]:
    """The paths that the patterns name, in the model's order."""
    for pattern in patterns:
        if not fnmatch.filter(modules, pattern):
            raise UsageError(f"the model has no place {pattern!r}", nearest(pattern, (m for m in modules if m)))
    return [path for path in modules if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)]


def _recorded_module(module: nn.Module) -> nn.Module:
    """At an attention layer the mechanism inside it is what sees q and k."""
    mechanism = getattr(module, "mechanism", None)
    return mechanism if isinstance(mechanism, Mechanism) else module


def _hook(tape: Tape, paths: list[str]) -> Any:
    """A hook that files the n-th call of a module under its n-th path."""
    calls = 0

    def hook(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        nonlocal calls
        place = paths[calls % len(paths)]
        calls += 1
        if not isinstance(module, Mechanism):
            tape._calls[place] = _copy(output)
            return
        bound = dict(zip(("q", "k", "v", "mask", "bias"), args, strict=False)) | kwargs
        recorded = RecordedAttention(
            module, bound["q"], bound["k"], bound["v"], bound["mask"], bound.get("bias"), output
        )
        tape._calls[place] = tape._calls[place.removesuffix(".mechanism")] = recorded

    return hook
