"""The columns of a data set. One decides what a row is (the texts, the sources, the pictures); the others stand beside
it, by role: the label of row n belongs to text n.

    Corpus              texts as tokens; see corpus.py
    ValueColumn         labels, numbers, arrays: one value of a fixed shape for each row

How a cell becomes a value is said by a codec, which is fixed by the training data and kept with the run.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped, UInt8

from glassformer.data.roles import Role
from glassformer.errors import UsageError

_HASHED_AT_ONCE = 2**22
"""Bytes, so that hashing a large column does not read it into memory."""


class Cell(NamedTuple):
    """What one row has in one column, and where that stands: `train.csv, line 7`."""

    value: Any
    place: str = ""


@runtime_checkable
class Codec(Protocol):
    """How the cells of a column become values of one type and shape."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def identity(self) -> str:
        """Another one for other values of the same cells."""

    def encode(self, cell: Cell) -> Any:
        """The value of one cell. Raises UsageError, naming its place, for one that is none."""


class Column(ABC):
    """n rows, and other columns of the same rows by role."""

    beside: "Mapping[Role, Column]"
    members: "tuple[Column, ...]" = ()
    """Of a mixture of objectives: the data of each; what stands here itself are the first one's."""

    @property
    @abstractmethod
    def n_rows(self) -> int: ...

    @abstractmethod
    def _digest(self) -> "hashlib._Hash":
        """What has taken in everything that stands in this column alone."""

    @cached_property
    def identity(self) -> str:
        """A hash of this column and those beside it: other data have another one."""
        digest = self._digest()
        for column in (*self.beside.values(), *self.members[1:]):
            digest.update(column.identity.encode())
        return digest.hexdigest()

    def refuse_unequal(self, beside: "Mapping[Role, Column]") -> None:
        """Raises ValueError for columns of another number of rows."""
        for role, column in beside.items():
            if column.n_rows != self.n_rows:
                raise ValueError(f"{self.n_rows} rows, and {column.n_rows} of the role {role}")


@dataclass(frozen=True, eq=False)
class ValueColumn(Column):
    """One value for each row, mapped from a file or in memory."""

    values: Shaped[np.ndarray, "n *shape"]
    beside: Mapping[Role, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.refuse_unequal(self.beside)

    @classmethod
    def of(cls, cells: Sequence[Any], codec: Codec, beside: Mapping[Role, Column] | None = None) -> "ValueColumn":
        """A small one in memory. Raises what the codec raises."""
        encoded = [codec.encode(Cell(value, f"row {n}")) for n, value in enumerate(cells, start=1)]
        return cls(np.array(encoded, dtype=codec.dtype).reshape(-1, *codec.shape), beside or {})

    @property
    def n_rows(self) -> int:
        return len(self.values)

    def _digest(self) -> "hashlib._Hash":
        """Over type, shape and values."""
        digest = hashlib.sha256(f"{self.values.dtype.str} {self.values.shape}".encode())
        step = max(1, _HASHED_AT_ONCE // max(1, self.values[:1].nbytes))
        for start in range(0, len(self.values), step):
            digest.update(np.ascontiguousarray(self.values[start : start + step]).tobytes())
        return digest


class Numbers:
    """Real numbers, as they are written."""

    dtype = np.dtype(np.float64)
    shape: tuple[int, ...] = ()
    identity = "numbers 1"

    def encode(self, cell: Cell) -> float:
        """Raises UsageError for a cell that holds no finite number."""
        try:
            if isinstance(cell.value, bool):
                raise ValueError
            number = float(cell.value)
        except (TypeError, ValueError):
            number = np.nan
        if not np.isfinite(number):
            raise UsageError(
                f"{cell.place}: {str(cell.value)[:40]!r} is no number",
                "mend or remove the row, or name the column of the number: data.columns.number=NAME",
            )
        return number


class Arrays:
    """Arrays of unsigned bytes, all of one shape: pictures."""

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    @property
    def identity(self) -> str:
        return f"arrays 1 {self.shape}"

    def encode(self, cell: Cell) -> UInt8[np.ndarray, "*shape"]:
        """Raises UsageError for an array of another shape."""
        if cell.value.shape != self.shape:
            wanted, found = (" x ".join(map(str, shape)) for shape in (self.shape, cell.value.shape))
            raise UsageError(
                f"{cell.place} is a picture of {found}, and {wanted} are read", "give pictures of one size"
            )
        return cell.value
