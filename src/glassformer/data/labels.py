"""The names of classes: strings exactly as the data have them (`007`, `NA`, `true`, `very good`), each with a number.

They are kept beside a run as JSON of their own, never among a tokenizer's tokens: a label that spells like a word or a
special token is still a label, and what reads the texts knows none of them.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from glassformer.data.table import Cell
from glassformer.durable import write_text_durably
from glassformer.errors import GlassformerError, UsageError, nearest
from glassformer.reading import Unreadable, json_object

MOST = 100_000
"""More labels than this are no classes but texts."""
_SHOWN = 12


class Labels:
    """Label names; class n is called `names[n]`."""

    dtype = np.dtype(np.int32)
    shape: tuple[int, ...] = ()

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    @classmethod
    def seen(cls, cells: Iterable[Cell]) -> "Labels":
        """The labels of the training data, sorted: whole numbers by their value, all else as texts. Which row stands
        first never matters. Raises UsageError for a row without one, and where they are too few or too many to be told
        apart."""
        found: set[str] = set()
        last = ""
        for cell in cells:
            found.add(_label_in(cell))
            last = cell.place
            if len(found) > MOST:
                raise UsageError(
                    f"{last}: more than {MOST:,} different labels", "name the column of the label: data.columns.label"
                )
        numbers = all(re.fullmatch(r"-?\d{1,18}", label) for label in found)
        names = sorted(found, key=lambda label: (int(label) if numbers else 0, label))
        return cls.given(names, f"the training data (up to {last})")

    @classmethod
    def given(cls, names: Sequence[str], where: str = "data.labels") -> "Labels":
        """These labels, in this order. Raises UsageError where they are not two or more different ones."""
        if len(set(names)) != len(names):
            twice = next(name for n, name in enumerate(names) if name in names[:n])
            raise UsageError(f"{where} names the label {twice!r} twice", "name each once")
        if len(names) < 2:
            only = f"the only label is {names[0]!r}" if names else "there is no label"
            raise UsageError(
                f"{where}: {only}, and classes are told apart from two on",
                "name the column of the label (data.columns.label=NAME), or give data with two labels or more",
            )
        return cls(names)

    @classmethod
    def load(cls, file: Path) -> "Labels":
        """What `save` wrote. Raises GlassformerError for a file that is damaged."""
        try:
            names: Any = json_object(file, what="labels").get("names")
        except Unreadable as error:
            raise GlassformerError(error.what, "put the file back as it was") from None
        is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not is_list or len(names) < 2 or len(set(names)) != len(names):
            raise GlassformerError(f"{file} holds no list of different label names", "put the file back as it was")
        return cls(names)

    def save(self, file: Path) -> None:
        """Write them as JSON."""
        write_text_durably(file, json.dumps({"names": self.names}, ensure_ascii=False, indent=1) + "\n")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def identity(self) -> str:
        """A hash of names and order."""
        return hashlib.sha256(json.dumps(["labels 1", self.names]).encode()).hexdigest()

    def encode(self, cell: Cell) -> int:
        """The number of the label in one cell. Raises UsageError, with file and row, for one that is not known."""
        label = _label_in(cell)
        number = self._numbers.get(label)
        if number is None:
            known = ", ".join(map(repr, self.names[:_SHOWN])) + (" ..." if len(self) > _SHOWN else "")
            raise UsageError(
                f"{cell.place}: the label {label!r} does not occur in the training data; known are {known}",
                f"mend or remove the row, or train with it; {nearest(label, self.names)}",
            )
        return number


def class_weights(given: Sequence[str], names: Sequence[str]) -> list[float]:
    """The weights of classes from texts such as `good=2.5`; of labels that are not given it is 1. Raises UsageError for
    a label that there is not, for one that is given twice, and for what is no positive number."""
    found: dict[str, float] = {}
    for text in given:
        name, _, weight = text.rpartition("=")
        if name not in names:
            raise UsageError(f"objective.class_weights: {text!r} begins with no label", nearest(name or text, names))
        if name in found:
            raise UsageError(f"objective.class_weights names the label {name!r} twice", "name each once")
        try:
            found[name] = float(weight)
        except ValueError:
            found[name] = math.nan
        if not 0 < found[name] < math.inf:
            raise UsageError(f"objective.class_weights: {text!r} ends with no positive number", f"write {name}=2.5")
    return [found.get(name, 1.0) for name in names]


def balanced_weights(counts: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """Weights with which every label counts alike, and the rows 1 each on average: rows / (labels * rows of the label)
    (King and Zeng 2001). A label without a row has 1."""
    rows, seen = sum(counts), sum(1 for count in counts if count)
    weights = [rows / (seen * count) if count else 1.0 for count in counts]
    return tuple(f"{name}={weight:.6g}" for name, weight in zip(names, weights, strict=True))


def _label_in(cell: Cell) -> str:
    value = cell.value
    if isinstance(value, bool):  # JSON's own: as it is written there
        value = json.dumps(value)
    elif isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        what = "no label" if value is None or isinstance(value, str) else f"a {type(value).__name__} for a label"
        raise UsageError(f"{cell.place} has {what}", "give each row a label, or remove the row")
    return value
