"""From a recipe to its parts: codecs, columns, objective, model. Used by training, prediction and doctor alike."""

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from glassformer.data.batch import StreamSpec
from glassformer.data.codecs import Codecs
from glassformer.data.corpus import Corpus, Wanted, WantedValues, all_cached, cached_labels, cached_tokenizer
from glassformer.data.data_config import DataConfig, decided
from glassformer.data.labels import Labels
from glassformer.data.layout import Layout
from glassformer.data.layout_choice import layout_for
from glassformer.data.roles import READ, TEXT, Role
from glassformer.data.rows import DataRow, plural, read_rows, rows_fingerprint
from glassformer.data.sample import sample_of
from glassformer.data.spans import Annotated
from glassformer.data.splitting import held_out, key_of, nested_draw, split_end
from glassformer.data.table import Arrays, Cell, Column, ValueColumn
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import GlassformerError, UsageError
from glassformer.formatting import percent
from glassformer.model.kinds import Model, find_kind
from glassformer.model.size import n_parameters, refuse_too_large
from glassformer.objectives import Dataset, Objective
from glassformer.recipe import Recipe, members, objective_class

Split = Literal["train", "validation", "test"]
SPLIT = 3
"""Raised whenever `sources.split` draws otherwise, so that no cached part of an older split is taken."""
LAYOUT = 1
"""Raised whenever equal settings make other texts of equal files."""


class Parts(NamedTuple):
    """What a recipe's data, tokenizer and objective come to."""

    recipe: Recipe
    codecs: Codecs
    objective: Objective
    train: Column
    validation: Column

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; of pairs, that of the sources."""
        return self.codecs.tokenizer

    @property
    def train_dataset(self) -> Dataset:
        """What an epoch runs over."""
        return self.objective.dataset(self.train)

    @property
    def validation_dataset(self) -> Dataset:
        """What the fixed questions are made of. Raises UsageError where the objective makes none of these texts."""
        try:
            return self.objective.for_evaluation().dataset(self.validation)
        except UsageError as error:
            mend = f"{error.mend}; or hold out more, or others: data.validation_share, data.validation"
            raise UsageError(f"the validation texts will not do: {error.what}", mend) from None


def assemble(recipe: Recipe, say: Callable[[str], None] = lambda text: None, codecs: Codecs | None = None) -> Parts:
    """Choose how the data are read and say so, read them, train the tokenizer and collect the labels (unless they are
    handed in), tokenise (or open what an earlier run tokenised). The recipe of the parts says how the data are read.

    Raises UsageError when the text is too short for one batch.
    """
    recipe = with_layout(recipe, say)
    reading = Reading()
    codecs = codecs or codecs_for(recipe, say, reading)
    objective = objective_for(recipe, codecs)
    train, validation = columns_for(recipe, codecs, ("train", "validation"), say, reading)
    settled = objective.settled(train)
    if settled != recipe.objective:
        recipe = recipe.model_copy(update={"objective": settled})
        objective = objective_for(recipe, codecs)
    parts = Parts(recipe, codecs, objective, train, validation)
    units = len(parts.train_dataset)
    if units < recipe.batch.size and recipe.batch.tokens is None and recipe.batch.layout != "packed":
        tokens = f"{train.n_tokens:,} tokens in " if isinstance(train, Corpus) else ""
        raise UsageError(
            f"the training text is too short for one batch: {tokens}{units} texts or windows, "
            f"and batch.size={recipe.batch.size}",
            f"use more text, or batch.size={units} or less",
        )
    return parts


def texts_of(data: Column) -> list[Corpus]:
    """The columns of texts, of every member of a mixture; the same texts come once."""
    columns = [column for member in data.members or (data,) for column in (member, *member.beside.values())]
    return list({column.identity: column for column in columns if isinstance(column, Corpus)}.values())


def unknown_shares(parts: Parts) -> dict[str, float]:
    """The share of the tokens that are [UNK], of the training and of the validation part."""
    shares = {}
    for name, corpus in (("train", parts.train), ("validation", parts.validation)):
        sides = texts_of(corpus)
        shares[name] = sum(side.n_unknown for side in sides) / max(1, sum(side.n_tokens for side in sides))
    return shares


UNKNOWN_FROM = 0.1
"""The share of unknown words from which on a person is warned."""


def describe_unknown_words(parts: Parts) -> list[str]:
    """A warning for each part of which many words are unknown."""
    names = {"train": "training", "validation": "validation"}
    return [
        f"warning: {percent(share)} of the {names[part]} words are not in the vocabulary: they are read as [UNK] and "
        "never asked, so that no score is over them; a tokenizer of pieces (tokenizer.kind=bpe) knows them, or perhaps "
        "a larger tokenizer.vocab_size"
        for part, share in unknown_shares(parts).items()
        if share >= UNKNOWN_FROM
    ]


def objective_for(recipe: Recipe, codecs: Codecs) -> Objective:
    """The recipe's objective. Raises UsageError where model, data or codecs are not what it needs."""
    for member in members(recipe):
        _refuse_what_does_not_fit(member, objective_class(member), member.model_dump()["objective"]["name"])
    return objective_class(recipe).from_codecs(recipe.objective, codecs, recipe.model.max_length)


def _refuse_what_does_not_fit(recipe: Recipe, kind: type[Objective], name: str) -> None:
    """Raises UsageError where model, data or tokenizers are not what the objective needs."""
    family = recipe.model.family
    if "encoder_decoder" in (kind.family, family) and kind.family != family:
        needs = "an encoder and a decoder" if kind.family == "encoder_decoder" else "one stack"
        raise UsageError(
            f"{name} needs {needs}, and model.family={family}", f"use model.family={kind.family}, or leave it out"
        )
    if recipe.model.positions == "relative" and kind.family == "encoder" and family == "decoder":
        raise UsageError(
            f"{name} looks both ways, and the relative positions of a decoder tell only what lies behind",
            "use model.family=encoder",
        )
    segments = recipe.model.segments
    if segments is not None and segments < kind.segments:
        raise UsageError(
            f"{name} tells {kind.segments} segments apart, and model.segments={segments}",
            f"use model.segments={kind.segments}, or leave it out",
        )
    if recipe.target_tokenizer is not None and "target" not in kind.columns:
        raise UsageError(
            f"target_tokenizer is for the targets of pairs, and {name} learns from single texts", "leave it out"
        )
    data = recipe.data
    of_pairs = (data.train_targets, data.validation_targets, data.test_targets, data.target_column)
    if kind.columns == TEXT and any(value is not None for value in of_pairs):
        raise UsageError(
            f"{name} learns from single texts, and the recipe says where their targets are",
            "use objective.name=seq2seq to learn from pairs, or leave out targets and target_column",
        )


def model_for(recipe: Recipe, objective: Objective) -> Model:
    """The recipe's model with fresh weights, a pure function of the recipe's seed. Raises UsageError for one that this
    machine has no memory for."""
    kind, sizes, heads = find_kind(recipe.model.kind), vocabularies(objective), objective.outputs()
    kind.check(recipe.model)
    refuse_too_large(recipe.model, sizes, heads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = kind(recipe.model, sizes, heads)
    if recipe.batch.layout == "packed" or any(member.texts_apart for member in objective.members):
        model.need("packed_rows")
    if any(member.pair_masks for member in objective.members):
        model.need("pair_masks")
    return model


def vocabularies(objective: Objective) -> int | dict[str, int] | dict[str, StreamSpec]:
    """The vocabulary size of a model for an objective, or one for each stack where they are different; of streams of
    features their sizes."""
    if objective.inputs():
        return objective.inputs()
    one, other = objective.tokenizer, objective.target_tokenizer
    return one.vocab_size if other is one else {"encoder": one.vocab_size, "decoder": other.vocab_size}


def parameters_of(recipe: Recipe, objective: Objective) -> int:
    """How many parameters the recipe's model has; it is not built for that."""
    return n_parameters(recipe.model, vocabularies(objective), objective.outputs())


def refuse_larger(recipe: Recipe, objective: Objective, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Raises GlassformerError where the recipe's model has more parameters than these weights have numbers: then they
    are not of one run, and the model might be of any size."""
    stored = sum({id(tensor): tensor.numel() for tensor in tensors.values()}.values())
    needed = parameters_of(recipe, objective)
    if needed > stored:
        raise GlassformerError(
            f"{file} describes a model of {needed:,} parameters, and the weights that lie beside it have {stored:,}",
            "put the file back as it was",
        )


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
    return (row.cells[0] for _, row in _rows_of_members(recipe, part, Reading()))


def rows_for(recipe: Recipe, part: Split) -> Iterator[DataRow]:
    """The rows of one part of the data as they were read, in the order of its stored columns. Of one objective. Raises
    what reading them raises."""
    return (row for _, row in _learned_rows(recipe, [part], Reading()))


def _rows_of_members(recipe: Recipe, part: Split, reading: "Reading") -> Iterator[tuple[tuple[Role, ...], DataRow]]:
    """Each with the roles of its cells. Of a mixture those of all members; data of several members come once."""
    different = {_key(member, part, reading): member for member in members(recipe)}
    for member in different.values():
        roles = objective_class(member).columns
        for _, row in _numbered_rows(member, [part], reading):
            yield roles, row


def _numbered_rows(recipe: Recipe, parts: Sequence[Split], reading: "Reading") -> Iterator[tuple[int, DataRow]]:
    """The rows of several parts, each with the place of its part among them. Parts of the same data are read in one
    pass. Raises UsageError where the data change meanwhile."""
    places = {part: files_of_split(recipe, part) for part in parts}
    for number, part in enumerate(parts):
        if not places[part].is_cut:
            yield from ((number, row) for row in _own_rows(recipe, places[part], reading))
    cut = [(part == "validation", number) for number, part in enumerate(parts) if places[part].is_cut]
    if cut:
        numbers = dict(cut)
        for is_held_out, row in reading.cut_rows(recipe):
            if is_held_out in numbers:
                yield numbers[is_held_out], row


def _learned_rows(recipe: Recipe, parts: Sequence[Split], reading: "Reading") -> Iterator[tuple[int, DataRow]]:
    """The same, of the training part only those rows that the recipe learns from (`data.train_rows`)."""
    chosen = reading.chosen(recipe) if "train" in parts else None
    if chosen is None:
        yield from _numbered_rows(recipe, parts, reading)
        return
    place = 0
    for number, row in _numbered_rows(recipe, parts, reading):
        if parts[number] != "train":
            yield number, row
            continue
        if place in chosen:
            yield number, row
        place += 1


def _own_rows(recipe: Recipe, place: "SplitFiles", reading: "Reading") -> Iterator[DataRow]:
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
        rows = _own_rows(recipe, place, self)
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
                "" if column is None else str(row.cells[column]) for _, row in _numbered_rows(recipe, ["train"], self)
            ]
            self._chosen[name] = nested_draw(labels, data.train_rows, data.rows_seed)
        return self._chosen[name]

    def _held_out(self, recipe: Recipe) -> Bool[np.ndarray, "n"]:
        """Of each row, whether it is held out. Of a single text this says nothing: its end is."""
        name = json.dumps(
            [self.content(recipe, files_of_split(recipe, "train")), recipe.seed, recipe.data.validation_share]
        )
        if name not in self._apart:
            keys = array(
                "Q", (key_of(row.cells[0]) for row in _own_rows(recipe, files_of_split(recipe, "train"), self))
            )
            if len(keys) == 1 and objective_class(recipe).columns == TEXT:
                return np.zeros(1, dtype=bool)
            self._apart[name] = held_out(np.array(keys, dtype=np.uint64), recipe.data.validation_share, recipe.seed)
        return self._apart[name]


def codecs_for(
    recipe: Recipe, say: Callable[[str], None] = lambda text: None, reading: Reading | None = None
) -> Codecs:
    """What reads the columns: the tokenizers that the recipe names, or those trained on its training texts, on a sample
    of them where they are many; the labels as they come in the data to train on; the shape of its pictures. Tokenizers
    and labels are kept in the cache."""
    known = reading or Reading()
    roles = {role for member in members(recipe) for role in objective_class(member).columns}
    labelled = [m for m in members(recipe) if {"label", "tags"} & set(objective_class(m).columns)]
    labels = labels_for(labelled[0], say, known) if labelled else None
    shape = next((_shape_of(m, known) for m in members(recipe) if "array" in objective_class(m).columns), None)
    arrays = None if shape is None else Arrays(shape)
    if not roles & set(READ):
        return Codecs(label=labels, array=arrays)
    return Codecs(*_tokenizers_for(recipe, say, known), labels, arrays)


def _tokenizers_for(recipe: Recipe, say: Callable[[str], None], known: Reading) -> tuple[Tokenizer, Tokenizer | None]:
    """Of pairs one tokenizer reads both sides, unless `target_tokenizer` says what the targets have. Where weights
    begin from a source whose tokenizer is kept, they are that one's."""
    if recipe.init_from is not None and recipe.init_from.tokenizer == "keep":
        from glassformer.init_from import codecs_of  # what asks a finished run has no need of it

        kept = codecs_of(recipe.init_from)
        return kept.tokenizer, kept.target
    prefixes = [objective_class(member).prefix_of(member.objective) for member in members(recipe)]

    def train(settings: TokenizerConfig, read: tuple[Role, ...], sides: str) -> Tokenizer:
        def texts() -> list[str]:
            rows = _rows_of_members(recipe, "train", known)
            sample = sample_of(
                text for roles, row in rows for role, text in zip(roles, row.cells, strict=True) if role in read
            )
            say(f"training a {settings.kind} tokenizer{sample}")
            # A prefix stands before every source: often enough that its words are in any vocabulary.
            put_before = [prefix for prefix in prefixes if prefix and "source" in read for _ in sample.texts]
            return put_before + sample.texts

        key = _key(recipe, "train", known) + sides + (json.dumps(prefixes) if any(prefixes) else "")
        return cached_tokenizer(key, texts, settings)

    if recipe.target_tokenizer is None:
        return train(recipe.tokenizer, READ, "01"), None
    return train(recipe.tokenizer, ("text", "second", "source"), "0"), train(recipe.target_tokenizer, ("target",), "1")


def labels_for(recipe: Recipe, say: Callable[[str], None], reading: Reading) -> Labels:
    """The labels that the recipe gives, or those of all rows in `data.train`, held out or not, in order of first sight.
    Raises UsageError."""
    if recipe.data.labels is not None:
        return Labels.given(recipe.data.labels)
    place = files_of_split(recipe, "train")
    roles = objective_class(recipe).columns
    column = roles.index("label" if "label" in roles else "tags")

    def cells() -> Iterator[Cell]:
        for row in _own_rows(recipe, place, reading):
            cell = row.cells[column]
            of_words = [span.label for span in cell.spans] if isinstance(cell, Annotated) else [cell]
            yield from (Cell(label, row.place) for label in of_words)

    labels = cached_labels(reading.content(recipe, place), cells)
    say(f"{len(labels)} labels: {', '.join(map(repr, labels.names[:12]))}{' ...' if len(labels) > 12 else ''}")
    return labels


def _shape_of(recipe: Recipe, reading: Reading) -> tuple[int, ...]:
    """That of the first picture."""
    first = next(iter(_own_rows(recipe, files_of_split(recipe, "train"), reading)))
    return tuple(first.cells[objective_class(recipe).columns.index("array")].shape)


def column_for(recipe: Recipe, codecs: Codecs, part: Split, say: Callable[[str], None] = lambda text: None) -> Column:
    """One part of the data as stored columns, opened from the cache if it has been made before."""
    return columns_for(recipe, codecs, (part,), say)[0]


def columns_for(
    recipe: Recipe,
    codecs: Codecs,
    parts: Sequence[Split],
    say: Callable[[str], None] = lambda text: None,
    reading: Reading | None = None,
) -> list[Column]:
    """Several parts of the data as stored columns: of each the first that the task takes, the others beside it. Those
    that are not in the cache are made in one pass over the data."""
    known = reading or Reading()
    own = members(recipe)
    if len(own) > 1:
        of_each = [columns_for(member, codecs, parts, say, known) for member in own]
        return [_mixed(of_one_part) for of_one_part in zip(*of_each, strict=True)]
    if len(parts) > 1 and not all(files_of_split(recipe, part).is_cut for part in parts):
        return [columns_for(recipe, codecs, (part,), say, known)[0] for part in parts]
    kind = objective_class(recipe)
    roles = kind.columns
    language = recipe.data.language if kind.needs_sentences(recipe.objective) else None
    wanted: list[Wanted | WantedValues] = []
    for part in parts:
        for number, role in enumerate(roles):
            key, codec = _key(recipe, part, known) + (str(number) if len(roles) > 1 else ""), codecs.of(role)
            if part == "train" and recipe.data.train_rows is not None:
                key += f" {recipe.data.train_rows} rows by {recipe.data.rows_seed}"
            if isinstance(codec, Tokenizer):
                wanted.append(Wanted(key, codec, len(roles) > 1, language))
            else:
                wanted.append(WantedValues(key, codec))

    def cells(missing: Sequence[int]) -> Iterator[tuple[int, str | Cell]]:
        stores = [divmod(number, len(roles)) for number in missing]
        for part, column in stores:
            doing = "reading and tokenising" if isinstance(wanted[column], Wanted) else "reading"
            say(f"{doing} the {parts[part]} {plural(roles[column])}")
        needed = sorted({part for part, _ in stores})
        for number, row in _learned_rows(recipe, [parts[part] for part in needed], known):
            for place, (part, column) in enumerate(stores):
                if part == needed[number]:
                    cell = row.cells[column]
                    yield place, cell if isinstance(wanted[column], Wanted) else Cell(cell, row.place)

    found = all_cached(wanted, cells)
    return [_beside(found[n : n + len(roles)], roles) for n in range(0, len(found), len(roles))]


def _beside(columns: Sequence[Column], roles: Sequence[Role]) -> Column:
    """The first column with the others beside it."""
    first, beside = columns[0], dict(zip(roles[1:], columns[1:], strict=True))
    if isinstance(first, Corpus):
        return first.with_beside(beside)
    assert isinstance(first, ValueColumn)
    return ValueColumn(first.values, beside)


def _mixed(members: Sequence[Column]) -> Corpus:
    texts = [member for member in members if isinstance(member, Corpus)]
    assert len(texts) == len(members)
    return Corpus.mixed(texts)


def _key(recipe: Recipe, part: Split, reading: Reading) -> str:
    """A name for everything that decides one part of the data: contents, settings, split."""
    own = members(recipe)
    if len(own) > 1:
        return hashlib.sha256(json.dumps([_key(member, part, reading) for member in own]).encode()).hexdigest()
    place = files_of_split(recipe, part)
    split_by = [SPLIT, part, recipe.data.validation_share, recipe.seed] if place.is_cut else None
    return hashlib.sha256(json.dumps([reading.content(recipe, place), split_by]).encode()).hexdigest()
