"""Where each parameter stands in a model, from the embeddings up: freezing and learning rates by layer go by it.

height 0       embeddings, positions, and whatever else a stack has below its first block
height n       block n of a stack, counted from 1
above          the norm behind the last block, and all heads: `below_top` is 0 here, and grows by 1 with each layer
               down to the embeddings (as the rates of BEiT are counted; Bao et al. 2022, appendix)
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from glassformer.errors import UsageError, nearest
from glassformer.model.kinds import Model
from glassformer.training.transfer import refuse_unmatched

EMBEDDINGS = "embeddings"
FIRST_BLOCKS = re.compile(r"blocks:([0-9]{1,6})")


class Place(NamedTuple):
    """Where a parameter stands in its stack."""

    height: int
    below_top: int

    @property
    def is_above(self) -> bool:
        """Whether it stands above all blocks."""
        return self.below_top == 0


def places(model: Model) -> dict[str, Place]:
    """The place of every parameter, by each of its names. A parameter of several layers, such as an embedding that is
    tied to a head, or a block that is shared, stands at the lowest of them."""
    found: dict[str, Place] = {}
    lowest: dict[int, Place] = {}
    named = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in named.items():
        found[name] = place = _place(model, name)
        known = lowest.get(id(parameter), place)
        lowest[id(parameter)] = max(place, known, key=lambda each: each.below_top)
    return {name: lowest[id(parameter)] for name, parameter in named.items()}


def _place(model: Model, name: str) -> Place:
    parts = model.parts.get(name.partition(".")[0])
    if parts is None:
        return Place(1 + max((len(each.blocks) for each in model.parts.values()), default=0), 0)
    top = len(parts.blocks) + 1
    for number, block in enumerate(parts.blocks, start=1):
        if name.startswith(f"{block}."):
            return Place(number, top - number)
    above = parts.norm is not None and name.startswith(f"{parts.norm}.")
    return Place(top, 0) if above else Place(0, top)


# -------------------------------------------------------------------------------------------------------- freezing


def freeze(model: Model, wanted: Sequence[str], key: str = "training.freeze") -> list[str]:
    """Let nothing change some parameters: `embeddings`, the first n blocks of each stack (`blocks:2`), and those whose
    names match a pattern (`encoder.blocks.0.*`); a tied one is frozen by either name. Returns their names.

    Raises UsageError for what the model has not, and where nothing is left to learn; `key` is what errors call it.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    chosen = {id(named[name]) for each in wanted for name in _named_by(each, model, named, key)}
    frozen = [name for name, parameter in named.items() if id(parameter) in chosen]
    for name in frozen:
        named[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in named.values()):
        raise UsageError(f"{key} leaves nothing to learn", "name fewer parameters")
    return frozen


def _named_by(wanted: str, model: Model, named: dict[str, nn.Parameter], key: str) -> list[str]:
    """The parameters that one entry names."""
    blocks = FIRST_BLOCKS.fullmatch(wanted)
    if blocks is None and wanted != EMBEDDINGS:
        refuse_unmatched(key, [wanted], named)
        return [name for name in named if fnmatchcase(name, wanted)]
    if blocks is not None:
        number, most = int(blocks[1]), max(len(parts.blocks) for parts in model.parts.values())
        if not 0 < number <= most:
            raise UsageError(f"{key}: {wanted!r}, and this model has {most} blocks", f"use blocks:1 to blocks:{most}")
    heights = range(1) if blocks is None else range(1, int(blocks[1]) + 1)
    by_name = {name: _place(model, name) for name in named}
    found = [name for name, place in by_name.items() if place.height in heights and not place.is_above]
    if not found:
        raise UsageError(f"{key}: this model has no {wanted}", nearest(wanted, named))
    return found


# --------------------------------------------------------------------------------------------------------- rates


class Rates(NamedTuple):
    """How the learning rates of a model's parts differ."""

    layer_decay: float = 1.0
    """What the rate is multiplied by from each layer to the one below it."""
    heads: float | None = None
    """AdamW's peak rate in heads; None: that of everything else."""

    def factors(self, model: Model) -> dict[int, float]:
        """Of each parameter, by its id, what a layer's rate is multiplied by."""
        stands = places(model)
        return {id(p): self.layer_decay ** stands[name].below_top for name, p in model.named_parameters()}

    def of_head(self, model: Model) -> set[int]:
        """The parameters, by their ids, that have the rate of heads: those that stand in nothing else."""
        if self.heads is None:
            return set()
        return {id(p) for name, p in model.named_parameters() if name.startswith("heads.")}
