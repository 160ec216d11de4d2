"""Look inside while a model runs: named places, hooks in, hooks out, and nothing changed.

    with record(model, "encoder.blocks.3.self_attention") as tape:
        model(batch)
    tape["encoder.blocks.3.self_attention"].weights(heads=[0])

A place is the path of a module. A module that occurs at several paths (a layer shared across depth) is called once for
each; the n-th path is its n-th call. At an attention place the tape keeps q, k, mask, bias, not the weights: those
are computed on demand, for the heads and rows that somebody wants to see.
"""

import fnmatch
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils import _pytree

from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError, nearest
from glassformer.model.attention import Mechanism
from glassformer.model.kinds import refusal
from glassformer.model.softmax import repeat_kv


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
        self.mask = AttentionMask(*_copy(tuple(mask._replace(combined=None, penalty=None))))
        self.bias = None if bias is None else _copy(bias)

    def allowed(self) -> Bool[Tensor, "#B 1 #Q K"] | None:
        """The pairs that the mask allows and the mechanism uses; None: all."""
        mask, own = self.mask.dense(), self.mechanism.allowed(self.mask)
        return mask if own is None else own if mask is None else mask & own

    @torch.no_grad()
    def weights(
        self, heads: Sequence[int] | None = None, rows: Sequence[int] | None = None
    ) -> Float[Tensor, "B heads rows K"]:
        """The exact attention weights of the chosen heads and query rows (None: all), computed now. Raises UsageError
        where the mechanism has none."""
        if self.mechanism.no_weights is not None:
            raise refusal("attention_weights", self.mechanism.no_weights)
        q, bias, mask = self.q, self.bias, self.mask
        k = repeat_kv(self.k, q.shape[1])
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

    def __contains__(self, place: str) -> bool:
        """Whether something was recorded there."""
        return place in self._calls

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
    with hooked(model, [_recorded(modules, place) for place in places], _filing(tape)):
        yield tape


Hook = Callable[[str, nn.Module, dict[str, Any], Any], Any]
"""Called with the path, the module, its arguments by name, and its output; what it returns, unless None, goes on in the
place of the output."""


@contextmanager
def hooked(model: nn.Module, paths: Iterable[str], hook: Hook) -> Iterator[None]:
    """While open, `hook` is called after each module at one of `paths`: where a module has several, at its n-th call
    with its n-th path. The hooks are gone after the block, also after an error."""
    modules = dict(model.named_modules(remove_duplicate=False))
    paths_of: dict[nn.Module, list[str]] = {}
    for path, module in modules.items():
        paths_of.setdefault(module, []).append(path)
    wanted = set(paths)
    handles = []
    try:
        for module in {modules[path]: None for path in wanted}:
            at_its_turn = _at_its_turn(module, paths_of[module], wanted, hook)
            handles.append(module.register_forward_hook(at_its_turn, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _at_its_turn(module: nn.Module, paths: list[str], wanted: set[str], hook: Hook) -> Any:
    """The hook of one module, which is called at all of its paths in turn, and wanted at some."""
    turns, names = itertools.cycle(paths), list(inspect.signature(module.forward).parameters)

    def called(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
        path = next(turns)
        if path not in wanted:
            return None
        return hook(path, module, dict(zip(names, args, strict=False)) | kwargs, output)

    return called


def _matching(modules: dict[str, nn.Module], patterns: Sequence[str]) -> list[str]:
    """The paths that the patterns name, in the model's order."""
    for pattern in patterns:
        if not fnmatch.filter(modules, pattern):
            raise UsageError(f"the model has no place {pattern!r}", nearest(pattern, (m for m in modules if m)))
    return [path for path in modules if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)]


def _recorded(modules: dict[str, nn.Module], place: str) -> str:
    """At an attention layer the mechanism inside it is what sees q and k."""
    mechanism = getattr(modules[place], "mechanism", None)
    return f"{place}.mechanism".lstrip(".") if isinstance(mechanism, Mechanism) else place


def _filing(tape: Tape) -> Hook:
    """A hook that files each call under its path; that of a mechanism also under its attention layer's."""

    def file(path: str, module: nn.Module, given: dict[str, Any], output: Any) -> None:
        if not isinstance(module, Mechanism):
            tape._calls[path] = _copy(output)
            return
        recorded = RecordedAttention(
            module, given["q"], given["k"], given["v"], given["mask"], given.get("bias"), output
        )
        tape._calls[path] = tape._calls[path.removesuffix(".mechanism")] = recorded

    return file
