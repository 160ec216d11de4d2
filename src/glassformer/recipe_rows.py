"""From a recipe to the rows of its data: how its files are read, which rows are training, validation or test, and which
are held out or drawn."""

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool

from glassformer.data.data_config import DataConfig, decided
from glassformer.data.layout import Layout
from glassformer.data.layout_choice import layout_for
from glassformer.data.roles import TEXT, Role
from glassformer.data.rows import DataRow, read_rows, rows_fingerprint
from glassformer.data.splitting import held_out, key_of, nested_draw, split_end
from glassformer.errors import UsageError
from glassformer.recipe import Recipe, members, objective_class

Split = Literal["train", "validation", "test"]
SPLIT = 3
"""Raised whenever `sources.split` draws otherwise, so that no cached part of an older split is taken."""
LAYOUT = 1
"""Raised whenever equal settings make other texts of equal files."""


def with_layout(recipe: Recipe, say: Callable[[str], None] = lambda text: None) -> Recipe:
    """The recipe with everything in its section `data` that was left open as the texts decide it: what a document is,
    which column, delimiter, header. A mixture, whose members may read the same texts in different ways, stays as it is:
    it is decided anew, and alike, each time that they are read. Raises UsageError where it is not clear."""
    reading = Reading()
    layouts = [reading.layout(member) for member in members(recipe)]
    for line in dict.fromkeys(line for layout in layouts for line in layout.said()):
        say(line)
    if len(layouts) > 1:
        return recipe
    return recipe.model_copy(update={"data": decided(recipe.data, layouts[0])})


def documents_for(recipe: Recipe, part: Split) -> Iterator[str]:
    """The texts of one part of the data, one by one; of pairs, the sources. Without a validation source, a share of the
    training texts is held out."""
    return (row.cells[0] for _, row in rows_of_members(recipe, part, Reading()))


def rows_for(recipe: Recipe, part: Split) -> Iterator[DataRow]:
    """The rows of one part of the data as they were read, in the order of its stored columns. Of one objective. Raises
    what reading them raises."""
    return (row for _, row in learned_rows(recipe, [part], Reading()))


def rows_of_members(recipe: Recipe, part: Split, reading: "Reading") -> Iterator[tuple[tuple[Role, ...], DataRow]]:
    """Each with the roles of its cells. Of a mixture those of all members; data of several members come once."""
    different = {key_of_part(member, part, reading): member for member in members(recipe)}
    for member in different.values():
        roles = objective_class(member).columns
        for _, row in numbered_rows(member, [part], reading):
            yield roles, row


def numbered_rows(recipe: Recipe, parts: Sequence[Split], reading: "Reading") -> Iterator[tuple[int, DataRow]]:
    """The rows of several parts, each with the place of its part among them. Parts of the same data are read in one
    pass. Raises UsageError where the data change meanwhile."""
    places = {part: files_of_split(recipe, part) for part in parts}
    for number, part in enumerate(parts):
        if not places[part].is_cut:
            yield from ((number, row) for row in own_rows(recipe, places[part], reading))
    cut = [(part == "validation", number) for number, part in enumerate(parts) if places[part].is_cut]
    if cut:
        numbers = dict(cut)
        for is_held_out, row in reading.cut_rows(recipe):
            if is_held_out in numbers:
                yield numbers[is_held_out], row


def learned_rows(recipe: Recipe, parts: Sequence[Split], reading: "Reading") -> Iterator[tuple[int, DataRow]]:
    """The same, of the training part only those rows that the recipe learns from (`data.train_rows`)."""
    chosen = reading.chosen(recipe) if "train" in parts else None
    if chosen is None:
        yield from numbered_rows(recipe, parts, reading)
        return
    place = 0
    for number, row in numbered_rows(recipe, parts, reading):
        if parts[number] != "train":
            yield number, row
            continue
        if place in chosen:
            yield number, row
        place += 1


def own_rows(recipe: Recipe, place: "SplitFiles", reading: "Reading") -> Iterator[DataRow]:
    """All rows of a place, one by one."""
    return read_rows(place.source, objective_class(recipe).columns, place.targets, reading.layout(recipe))


class SplitFiles(NamedTuple):
    """Where one part of the data comes from, and whether that is cut into training and validation."""

    source: str | tuple[str, ...]
    targets: str | tuple[str, ...] | None
    is_cut: bool


def files_of_split(recipe: Recipe, part: Split) -> SplitFiles:
    """Where a part comes from. Raises UsageError without test data."""
    data = recipe.data
    if part == "test":
        if data.test is None:
            raise UsageError("this recipe names no test data", "use --split validation, or give data.test=FILE")
        return SplitFiles(data.test, data.test_targets, is_cut=False)
    if part == "validation" and data.validation is not None:
        return SplitFiles(data.validation, data.validation_targets, is_cut=False)
    return SplitFiles(data.train, data.train_targets, is_cut=data.validation is None)


class Reading:
    """What one start finds out about its data, so that it is found out once: what the files hold, how they are read,
    and which rows are held out. Of the rows themselves nothing is kept."""

    def __init__(self) -> None:
        self._contents: dict[str, str] = {}
        self._apart: dict[str, np.ndarray] = {}
        self._chosen: dict[tuple[DataConfig, tuple[Role, ...], int], frozenset[int]] = {}
        self._layouts: dict[tuple[DataConfig, tuple[Role, ...]], Layout] = {}

    def layout(self, recipe: Recipe) -> Layout:
        """How the data of a recipe (of one objective) are read. Raises UsageError where it is not clear."""
        name = (recipe.data, objective_class(recipe).columns)
        if name not in self._layouts:
            self._layouts[name] = layout_for(*name)
        return self._layouts[name]

    def content(self, recipe: Recipe, place: SplitFiles) -> str:
        """A name for the rows of a place."""
        roles, how = objective_class(recipe).columns, self.layout(recipe).settings()
        name = json.dumps([place.source, place.targets, roles])
        if name not in self._contents:
            self._contents[name] = rows_fingerprint(place.source, place.targets, roles)
        return json.dumps([self._contents[name], how, LAYOUT])

    def cut_rows(self, recipe: Recipe) -> Iterator[tuple[bool, DataRow]]:
        """The rows of data that are cut into training and validation, each with whether it is held out."""
        place, apart = files_of_split(recipe, "train"), self._held_out(recipe)
        rows = own_rows(recipe, place, self)
        if len(apart) == 1:
            [row] = rows
            train, validation = split_end(row.cells[0], recipe.data.validation_share)
            yield from ((False, DataRow((train,))), (True, DataRow((validation,))))
            return
        for row_or_none, is_held_out in zip_longest(rows, apart):
            if row_or_none is None or is_held_out is None:
                raise UsageError(f"{place.source} has changed while it was read", "start again when it stays as it is")
            yield bool(is_held_out), row_or_none

    def chosen(self, recipe: Recipe) -> frozenset[int] | None:
        """The places of the training rows that the recipe learns from, where these are not all."""
        data, roles = recipe.data, objective_class(recipe).columns
        if data.train_rows is None:
            return None
        name = (data, roles, recipe.seed)
        if name not in self._chosen:
            column = roles.index("label") if "label" in roles else None
            labels = [
                "" if column is None else str(row.cells[column]) for _, row in numbered_rows(recipe, ["train"], self)
            ]
            self._chosen[name] = nested_draw(labels, data.train_rows, data.rows_seed)
        return self._chosen[name]

    def _held_out(self, recipe: Recipe) -> Bool[np.ndarray, "n"]:
        """Of each row, whether it is held out. Of a single text this says nothing: its end is."""
        name = json.dumps(
            [self.content(recipe, files_of_split(recipe, "train")), recipe.seed, recipe.data.validation_share]
        )
        if name not in self._apart:
            keys = array("Q", (key_of(row.cells[0]) for row in own_rows(recipe, files_of_split(recipe, "train"), self)))
            if len(keys) == 1 and objective_class(recipe).columns == TEXT:
                return np.zeros(1, dtype=bool)
            self._apart[name] = held_out(np.array(keys, dtype=np.uint64), recipe.data.validation_share, recipe.seed)
        return self._apart[name]


def key_of_part(recipe: Recipe, part: Split, reading: Reading) -> str:
    """A name for everything that decides one part of the data: contents, settings, split."""
    own = members(recipe)
    if len(own) > 1:
        return hashlib.sha256(json.dumps([key_of_part(member, part, reading) for member in own]).encode()).hexdigest()
    place = files_of_split(recipe, part)
    split_by = [SPLIT, part, recipe.data.validation_share, recipe.seed] if place.is_cut else None
    return hashlib.sha256(json.dumps([reading.content(recipe, place), split_by]).encode()).hexdigest()
