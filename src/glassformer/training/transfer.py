"""Begin with the weights of another model: what is taken, and what that model had not.

    taken      a tensor of the same name and shape
    matched    a table with a row for each token or label, where these differ: rows are found by its text
    resized    a table of positions or segments that is longer or shorter: the rows that both have
    left       what the other model has and this one has no place for, or does not ask for
    anew       what only this model has; it keeps the weights that it was initialised with
    frozen     what training does not change

Everything is decided before anything is changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from glassformer.data.batch import OutputSpec
from glassformer.data.codecs import Codecs
from glassformer.errors import UsageError, nearest

Rows = dict[str, tuple[Sequence[str | None], Sequence[str | None]]]
"""By the name of a table: what its rows are called there, and here."""


class Transfer(NamedTuple):
    """What became of each tensor, by the names of `state_dict`."""

    taken: list[str]
    matched: dict[str, tuple[int, int]]
    """Of so many tokens or labels (the second number) so many were there."""
    resized: dict[str, tuple[int, int]]
    """Of so many rows (the second number) so many were there."""
    left: list[str]
    anew: list[str]
    frozen: Sequence[str] = ()

    def record(self) -> dict[str, Any]:
        """As environment.json keeps it."""
        return self._asdict()

    def lines(self) -> list[str]:
        """The table for people: names that differ in the number of the layer or in their last part are one."""
        rows = [
            ("taken", together(self.taken)),
            ("matched", [f"{name}: {n:,} of {of:,} rows, by their text" for name, (n, of) in self.matched.items()]),
            ("resized", [f"{name}: {n:,} of {of:,} rows" for name, (n, of) in self.resized.items()]),
            ("left", together(self.left)),
            ("made anew", together(self.anew)),
            ("frozen", together(self.frozen)),
        ]
        return [f"  {what:10} {name}" for what, names in rows for name in names]


def transfer(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    source: str,
    *,
    rows: Rows | None = None,
    take: Sequence[str] = ("*",),
) -> Transfer:
    """Copy what fits of another model's `tensors` into `model`, in place. `source` is what errors call the other one;
    `take` are patterns of names (`encoder.*`). `rows` are the tables whose rows have names, such as tokens, that
    differ: those there, and here, by their numbers.

    A head of another size is made anew: it has other classes. Raises UsageError for a tensor of another shape
    elsewhere, for a pattern that names nothing, and where nothing at all is taken.
    """
    rows = rows or {}
    ours = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    refuse_unmatched("init_from.take", take, [*tensors, *ours])
    grown = {f"{name}.weight" for name, part in model.named_modules() if isinstance(part, nn.Embedding)}
    result = Transfer([], {}, {}, [], [], frozen_in(model))
    copies: list[tuple[Tensor, Tensor]] = []
    done = dict[tuple[int, torch.Size], bool]()  # tied tensors have one storage: the first name decides
    for name, tensor in ours.items():
        place = (tensor.data_ptr(), tensor.shape)
        if place in done:
            (result.taken if done[place] else result.anew).append(name)
            continue
        wanted = name in tensors and _any_match(take, name)
        other = tensors[name] if wanted else None
        if other is not None and other.shape != tensor.shape and name.startswith("heads.") and name not in rows:
            other = None
        done[place] = other is not None
        if other is None:
            result.anew.append(name)
        elif name in rows and other.shape[1:] == tensor.shape[1:]:
            here, there = same_rows(*rows[name])
            result.matched[name] = len(here), len(tensor)
            copies.append((tensor, tensor.clone().index_copy(0, here, other[there].to(tensor))))
        elif other.shape == tensor.shape:
            result.taken.append(name)
            copies.append((tensor, other))
        elif name in grown and other.shape[1:] == tensor.shape[1:]:
            common = min(len(other), len(tensor))
            result.resized[name] = common, len(tensor)
            copies.append((tensor[:common], other[:common]))
        else:
            raise UsageError(
                f"{name} is {_sizes(other)} in {source}, and {_sizes(tensor)} here",
                "give the model the sizes that it has there, or take other parts alone: init_from.take=[...]",
            )
    moved = {*result.taken, *result.matched, *result.resized}
    if not moved:
        raise UsageError(
            f"nothing of {source} fits this model: it has {', '.join(together(tensors)[:3])} ..., and here there is "
            f"{', '.join(together(ours)[:3])} ...",
            "begin from a model of the same parts",
        )
    result.left.extend(name for name in tensors if name not in moved)
    with torch.no_grad():
        for target, value in copies:
            target.copy_(value)
    return result


def frozen_in(model: nn.Module) -> list[str]:
    """What no gradient changes."""
    named = model.named_parameters(remove_duplicate=False)
    return [name for name, parameter in named if not parameter.requires_grad]


def same_rows(there: Sequence[str | None], here: Sequence[str | None]) -> tuple[Tensor, Tensor]:
    """The numbers here, and there, of the tokens that both vocabularies have."""
    number = {text: n for n, text in reversed([*enumerate(there)]) if text is not None}
    pairs = [(n, number[text]) for n, text in enumerate(here) if text is not None and text in number]
    columns = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


def named_rows(names: Iterable[str], heads: Iterable[OutputSpec], there: Codecs, here: Codecs) -> Rows:
    """The tables of a model that have a row for each token or label, where these are others than there: the embeddings
    of each stack, and what heads end with. `names` are those of all its tensors."""
    vocabularies, labels = {}, None
    for stack in ("encoder", "decoder"):
        old, new = (each.target if stack == "decoder" and each.target else each.text for each in (there, here))
        if old and new and old.identity != new.identity:
            vocabularies[stack] = old.vocabulary, new.vocabulary
    if there.label and here.label and there.label.identity != here.label.identity:
        labels = there.label.names, here.label.names
    found: Rows = {}
    for name in names:
        stack = "encoder" if name.startswith("encoder.") else "decoder"
        if name.endswith("embeddings.token.weight") and stack in vocabularies:
            found[name] = vocabularies[stack]
    for spec in heads:
        known = vocabularies.get("decoder") if spec.tied else labels
        if known and len(known[1]) == spec.size:
            found |= {f"heads.{spec.name}.output.{part}": known for part in ("weight", "bias")}
    return found


def refuse_unmatched(key: str, patterns: Iterable[str], names: Iterable[str]) -> None:
    """Raises UsageError for a pattern that no name matches, naming the nearest."""
    known = [*names]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            near = nearest(pattern, [*known, *(name.rpartition(".")[0] + ".*" for name in known)])
            raise UsageError(f"{key}: no tensor is called {pattern!r}", near)


def _any_match(patterns: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _sizes(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def together(names: Iterable[str]) -> list[str]:
    """Names for people: those of all layers of a stack, and of one module, are one."""
    found: dict[str, set[int]] = {}
    for name in names:
        stack, blocks, rest = name.partition(".blocks.")
        if blocks:
            found.setdefault(f"{stack}.blocks.", set()).add(int(rest.partition(".")[0]))
        else:
            found.setdefault(name.rpartition(".")[0], set())
    return [name + _numbers(sorted(numbers)) if numbers else name for name, numbers in found.items()]


def _numbers(numbers: list[int]) -> str:
    whole = numbers == [*range(numbers[0], numbers[-1] + 1)] and len(numbers) > 1
    return f"{numbers[0]}-{numbers[-1]}" if whole else ",".join(map(str, numbers))
