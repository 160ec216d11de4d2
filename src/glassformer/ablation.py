"""Take a part out of a model while it runs, to see what becomes of its answers: a part may look busy and be of no use.

    with without(model, part_in(model, "encoder.blocks.1.self_attention:2")):
        model(batch)

A part is a place as `record` names them: a whole layer, what attention or feed-forward adds to the residual stream,
the positions of a stack, or, behind a colon, one head. A layer that is shared across depth loses it at that place only.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from glassformer.errors import UsageError, nearest
from glassformer.model.kinds import Model
from glassformer.model.positions import NoPositions
from glassformer.record import hooked

PartKind = Literal["heads", "attention", "feed-forward", "layers", "positions"]
KINDS: tuple[PartKind, ...] = get_args(PartKind)


class Part(NamedTuple):
    """A place in a model, and a head where only that is meant."""

    place: str
    head: int | None = None

    def __str__(self) -> str:
        """`encoder.blocks.1.self_attention:2`, as `part_in` reads it."""
        return self.place if self.head is None else f"{self.place}:{self.head}"


def parts_of(model: Model, kinds: Sequence[PartKind] = KINDS) -> list[Part]:
    """All parts of these kinds, in the order of the model: those that it names itself."""
    found: list[Part] = []
    known = _kinds_of(model)
    for place, _ in model.named_modules(remove_duplicate=False):
        kind = known.get(place)
        if kind in kinds:
            found.append(Part(place))
        if kind == "attention" and "heads" in kinds:
            found += [Part(place, head) for head in range(model.config.n_heads)]
    return found


def _kinds_of(model: Model) -> dict[str, PartKind]:
    """What can be taken out, by its place."""
    found: dict[str, PartKind] = {}
    for parts in model.parts.values():
        found |= dict.fromkeys(parts.blocks, "layers")
        found |= dict.fromkeys([*parts.self_attention, *parts.cross_attention], "attention")
        found |= dict.fromkeys(parts.feed_forward, "feed-forward")
        if parts.positions is not None:
            found[parts.positions] = "positions"
    return found


def part_in(model: Model, text: str) -> Part:
    """The part that a person has written. Raises UsageError with the range, or the nearest name."""
    place, colon, head = text.partition(":")
    kinds = _kinds_of(model)
    if place not in kinds:
        _refuse_layer_behind_the_last(model, place)
        raise UsageError(f"the model has no part {place!r}", nearest(place, kinds))
    if not colon:
        return Part(place)
    if kinds[place] != "attention":
        raise UsageError(f"{place} has no heads", f"take it out whole: {place}")
    if not head.isdecimal() or int(head) >= model.config.n_heads:
        raise UsageError(f"{place} has no head {head!r}", f"its heads are 0 to {model.config.n_heads - 1}")
    return Part(place, int(head))


def _refuse_layer_behind_the_last(model: Model, place: str) -> None:
    """Raises UsageError with the range for a place in a layer whose number is too large."""
    for name, parts in model.parts.items():
        layers = parts.blocks[0].rpartition(".")[0] if parts.blocks else name
        layer = re.match(rf"{re.escape(layers)}\.(\d+)", place)
        if layer and int(layer[1]) >= len(parts.blocks):
            raise UsageError(f"there is no layer {layer[0]}", f"{name} has {layers}.0 to {len(parts.blocks) - 1}")


def chosen_parts(model: Model, words: str) -> list[Part]:
    """The parts that a person has asked for, commas between: kinds of them, `all`, or single ones. Raises UsageError
    for what is not there."""
    found: list[Part] = []
    for word in words.split(","):
        if "." in word:
            found.append(part_in(model, word))
        elif word not in (*KINDS, "all"):
            raise UsageError(f"there are no parts {word!r}", nearest(word, (*KINDS, "all")))
        else:
            found += parts_of(model, tuple(kind for kind in KINDS if word in (kind, "all")))
    if not found:
        there = list(dict.fromkeys(_kinds_of(model).values()))
        raise UsageError(f"this model has no {words} that can be taken out", f"what can: {', '.join(there)}")
    return list(dict.fromkeys(found))


@contextmanager
def without(model: Model, removed: Part | Sequence[Part | None]) -> Iterator[None]:
    """While open, the model runs without a part; or, of a sequence, row n of every batch without the n-th part (None:
    whole), so that one forward pass over a text repeated computes many ablations. Several blocks add up.

    Without a head, its context is zero before the output projection; without attention or feed-forward, nothing is
    added to the residual stream, no bias either; a layer passes on what it was given; without positions, none is added,
    turned or put on the scores. Everything is as it was after the block, also after an error. A compiled callable
    notices nothing.

    Raises UsageError for a part that the model has not, for positions of single rows, and for a batch of another number
    of rows.
    """
    rows = [removed] if isinstance(removed, Part) else list(removed)
    places = [part_in(model, str(part)).place for part in rows if part is not None]
    kinds = _kinds_of(model)
    positions = [place for place in places if kinds[place] == "positions"]
    if positions and not isinstance(removed, Part):
        raise UsageError(
            f"{positions[0]} belongs to all rows of a batch, and cannot be taken out of some",
            "take it out of all: without(model, part)",
        )
    if positions:
        with _without_positions(model, positions[0]):
            yield
        return
    gone: dict[str, Bool[Tensor, "rows parts"]] = {}
    for number, part in enumerate(rows):
        if part is not None:
            path, columns = _hooked_at(model, part)
            gone.setdefault(path, torch.zeros(len(rows), columns, dtype=torch.bool))[number, part.head or 0] = True

    def take_out(path: str, module: nn.Module, given: dict[str, Any], output: Tensor) -> Tensor:
        if not isinstance(removed, Part) and len(output) != len(rows):
            raise UsageError(
                f"a batch of {len(output)} rows, and {len(rows)} parts", "give a part, or None, for each row"
            )
        which = gone[path].to(output.device)
        which = which.view(*which.shape, *[1] * (output.dim() - 2))  # one column, or one for each head
        passed_on = next(iter(given.values())) if kinds.get(path) == "layers" else 0.0
        return torch.where(which, passed_on, output)

    with hooked(model, gone, take_out):
        yield


def _hooked_at(model: Model, part: Part) -> tuple[str, int]:
    """The module whose output loses something, and how many parts that has: of a head the mechanism, which has them
    all side by side (B x H x T x E)."""
    if part.head is None:
        return part.place, 1
    return f"{part.place}.mechanism", model.config.n_heads


@contextmanager
def _without_positions(model: Model, place: str) -> Iterator[None]:
    """Kinds of positions act through three methods, of which a hook sees one: the module gives way to one of none."""
    stack, _, name = place.rpartition(".")
    owner, own = model.get_submodule(stack), model.get_submodule(place)
    setattr(owner, name, NoPositions(max_length=0, d_model=0, n_heads=0, d_head=0, causal=False))
    try:
        yield
    finally:
        setattr(owner, name, own)
