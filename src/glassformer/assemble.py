"""From a recipe to its parts: tokenizer, corpora, objective, model. Used by training, prediction and doctor alike."""

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

from glassformer.baselines.torch_transformer import TorchTransformer
from glassformer.data.corpus import Corpus, Wanted, cached_tokenizer
from glassformer.data.data_config import DataConfig, decided
from glassformer.data.layout import Layout
from glassformer.data.layout_choice import layout_for
from glassformer.data.pairs import pairs_fingerprint, read_pairs
from glassformer.data.sample import sample_of
from glassformer.data.sources import fingerprint, read_documents
from glassformer.data.splitting import held_out, key_of, split_end
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig, Tokenizers
from glassformer.errors import GlassformerError, UsageError
from glassformer.model.config import check_sizes
from glassformer.model.size import n_parameters, refuse_too_large
from glassformer.model.transformer import Transformer
from glassformer.objectives import Objective, Units
from glassformer.recipe import Recipe, members, objective_class
from glassformer.wording import percent

Split = Literal["train", "validation", "test"]
Row = tuple[str, str | None]
"""A text, and of pairs its target."""
SPLIT = 3
"""Raised whenever `sources.split` draws otherwise, so that no cached part of an older split is taken."""
LAYOUT = 1
"""Raised whenever equal settings make other texts of equal files."""


class Parts(NamedTuple):
    """What a recipe's data, tokenizer and objective come to."""

    recipe: Recipe
    tokenizers: Tokenizers
    objective: Objective
    train: Corpus
    validation: Corpus

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; of pairs, that of the sources."""
        return self.tokenizers.source

    @property
    def train_units(self) -> Units:
        """What an epoch runs over."""
        return self.objective.units(self.train)

    @property
    def validation_units(self) -> Units:
        """What the fixed questions are made of. Raises UsageError where the objective makes none of these texts."""
        try:
            return self.objective.for_evaluation().units(self.validation)
        except UsageError as error:
            mend = f"{error.mend}; or hold out more, or others: data.validation_share, data.validation"
            raise UsageError(f"the validation texts will not do: {error.what}", mend) from None


def assemble(
    recipe: Recipe, say: Callable[[str], None] = lambda text: None, tokenizers: Tokenizers | None = None
) -> Parts:
    """Choose how the texts are read and say so, read them, train the tokenizer (unless it is handed in), tokenise (or
    open what an earlier run tokenised). The recipe of the parts says how the texts are read.

    Raises UsageError when the text is too short for one batch.
    """
    recipe = with_layout(recipe, say)
    reading = Reading()
    tokenizers = tokenizers or tokenizers_for(recipe, say, reading)
    objective = objective_for(recipe, tokenizers)
    train, validation = corpora_for(recipe, tokenizers, ("train", "validation"), say, reading)
    parts = Parts(recipe, tokenizers, objective, train, validation)
    units = len(parts.train_units)
    if units < recipe.batch.size and recipe.batch.tokens is None and recipe.batch.layout != "packed":
        raise UsageError(
            f"the training text is too short for one batch: {train.n_tokens:,} tokens in {units} texts or windows, "
            f"and batch.size={recipe.batch.size}",
            f"use more text, or batch.size={units} or less",
        )
    return parts


def sides_of(corpus: Corpus) -> list[Corpus]:
    """Sources and targets, of every member of a mixture; the same texts come once."""
    own = corpus.members or (corpus,)
    return list({side.identity: side for member in own for side in (member, member.targets) if side}.values())


def unknown_shares(parts: Parts) -> dict[str, float]:
    """The share of the tokens that are [UNK], of the training and of the validation part."""
    shares = {}
    for name, corpus in (("train", parts.train), ("validation", parts.validation)):
        sides = sides_of(corpus)
        shares[name] = sum(side.n_unknown for side in sides) / max(1, sum(side.n_tokens for side in sides))
    return shares


UNKNOWN_FROM = 0.1
"""The share of unknown words from which on a person is warned."""


def unknown_in_words(parts: Parts) -> list[str]:
    """A warning for each part of which many words are unknown."""
    names = {"train": "training", "validation": "validation"}
    return [
        f"warning: {percent(share)} of the {names[part]} words are not in the vocabulary: they are read as [UNK] and "
        "never asked, so that no score is over them; a tokenizer of pieces (tokenizer.kind=bpe) knows them, or perhaps "
        "a larger tokenizer.vocab_size"
        for part, share in unknown_shares(parts).items()
        if share >= UNKNOWN_FROM
    ]


def objective_for(recipe: Recipe, tokenizers: Tokenizers) -> Objective:
    """The recipe's objective. Raises UsageError where model, data or tokenizers are not what it needs."""
    for member in members(recipe):
        _refuse_what_does_not_fit(member, objective_class(member), member.model_dump()["objective"]["name"])
    return objective_class(recipe)(recipe.objective, tokenizers.source, recipe.model.max_length, tokenizers.target)


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
    if recipe.target_tokenizer is not None and not kind.pairs:
        raise UsageError(
            f"target_tokenizer is for the targets of pairs, and {name} learns from single texts", "leave it out"
        )
    data = recipe.data
    of_pairs = (data.train_targets, data.validation_targets, data.test_targets, data.target_column)
    if not kind.pairs and any(value is not None for value in of_pairs):
        raise UsageError(
            f"{name} learns from single texts, and the recipe says where their targets are",
            "use objective.name=seq2seq to learn from pairs, or leave out targets and target_column",
        )


def model_for(recipe: Recipe, objective: Objective) -> Transformer:
    """The recipe's model with fresh weights, a pure function of the recipe's seed. Raises UsageError for one that this
    machine has no memory for."""
    kinds = {"glassformer": Transformer, "torch": TorchTransformer}
    sizes, heads = vocabularies(objective), objective.heads()
    check_sizes(recipe.model)
    refuse_too_large(recipe.model, sizes, heads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return kinds[recipe.model.implementation](recipe.model, sizes, heads)


def vocabularies(objective: Objective) -> int | dict[str, int]:
    """The vocabulary size of a model for an objective, or one for each stack where they are different."""
    one, other = objective.tokenizer, objective.target_tokenizer
    return one.vocab_size if other is one else {"encoder": one.vocab_size, "decoder": other.vocab_size}


def parameters_of(recipe: Recipe, objective: Objective) -> int:
    """How many parameters the recipe's model has; it is not built for that."""
    return n_parameters(recipe.model, vocabularies(objective), objective.heads())


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


def documents_for(recipe: Recipe, part: Split) -> list[str]:
    """The texts of one part of the data; of pairs, the sources. Without a validation source, a share of the training
    texts is held out."""
    return [text for text, _ in rows_for(recipe, part)]


def rows_for(recipe: Recipe, part: Split) -> list[Row]:
    """The texts of one part of the data, each with its target, where the objective is over pairs. Of a mixture, those
    of all members; data of several members come once."""
    return list(_rows_of_members(recipe, part, Reading()))


def _rows_of_members(recipe: Recipe, part: Split, reading: "Reading") -> Iterator[Row]:
    different = {_key(member, part, reading): member for member in members(recipe)}
    for member in different.values():
        for _, row in _numbered_rows(member, [part], reading):
            yield row


def _numbered_rows(recipe: Recipe, parts: Sequence[Split], reading: "Reading") -> Iterator[tuple[int, Row]]:
    """The rows of several parts, each with the place of its part among them. Parts of the same data are read in one
    pass. Raises UsageError where the data change meanwhile."""
    places = {part: place_of(recipe, part) for part in parts}
    for number, part in enumerate(parts):
        if not places[part].is_cut:
            yield from ((number, row) for row in _own_rows(recipe, places[part], reading))
    cut = [(part == "validation", number) for number, part in enumerate(parts) if places[part].is_cut]
    if cut:
        numbers = dict(cut)
        for is_held_out, row in reading.cut_rows(recipe):
            if is_held_out in numbers:
                yield numbers[is_held_out], row


def _own_rows(recipe: Recipe, place: "DataPlace", reading: "Reading") -> Iterator[Row]:
    """All rows of a place, one by one."""
    layout = reading.layout(recipe)
    if objective_class(recipe).pairs:
        yield from read_pairs(place.source, place.targets, layout)
    else:
        for text in read_documents(place.source, layout):
            yield text, None


class DataPlace(NamedTuple):
    """Where one part of the data comes from, and whether that is cut into training and validation."""

    source: str | tuple[str, ...]
    targets: str | tuple[str, ...] | None
    is_cut: bool


def place_of(recipe: Recipe, part: Split) -> DataPlace:
    """Where a part comes from. Raises UsageError without test data."""
    data = recipe.data
    if part == "test":
        if data.test is None:
            raise UsageError("this recipe names no test data", "use --split validation, or give data.test=FILE")
        return DataPlace(data.test, data.test_targets, is_cut=False)
    if part == "validation" and data.validation is not None:
        return DataPlace(data.validation, data.validation_targets, is_cut=False)
    return DataPlace(data.train, data.train_targets, is_cut=data.validation is None)


class Reading:
    """What one start finds out about its data, so that it is found out once: what the files hold, how they are read,
    and which texts are held out. Of the texts themselves nothing is kept."""

    def __init__(self) -> None:
        self._contents: dict[str, str] = {}
        self._apart: dict[str, np.ndarray] = {}
        self._layouts: dict[tuple[DataConfig, bool], Layout] = {}

    def layout(self, recipe: Recipe) -> Layout:
        """How the texts of a recipe (of one objective) are read. Raises UsageError where it is not clear."""
        name = (recipe.data, objective_class(recipe).pairs)
        if name not in self._layouts:
            self._layouts[name] = layout_for(*name)
        return self._layouts[name]

    def content(self, recipe: Recipe, place: DataPlace) -> str:
        """A name for the texts of a place."""
        pairs, how = objective_class(recipe).pairs, self.layout(recipe).settings()
        name = json.dumps([place.source, place.targets, pairs])
        if name not in self._contents:
            if pairs:
                self._contents[name] = pairs_fingerprint(place.source, place.targets, None, None)
            else:
                self._contents[name] = fingerprint(place.source)
        return json.dumps([self._contents[name], how, LAYOUT])

    def cut_rows(self, recipe: Recipe) -> Iterator[tuple[bool, Row]]:
        """The rows of data that are cut into training and validation, each with whether it is held out."""
        place, apart = place_of(recipe, "train"), self._held_out(recipe)
        rows = _own_rows(recipe, place, self)
        if len(apart) == 1:
            [(text, _)] = rows
            train, validation = split_end(text, recipe.data.validation_share)
            yield from ((False, (train, None)), (True, (validation, None)))
            return
        for row, is_held_out in zip_longest(rows, apart):
            if row is None or is_held_out is None:
                raise UsageError(f"{place.source} has changed while it was read", "start again when it stays as it is")
            yield bool(is_held_out), row

    def _held_out(self, recipe: Recipe) -> Bool[np.ndarray, "n"]:
        """Of each row, whether it is held out. Of a single text this says nothing: its end is."""
        name = json.dumps([self.content(recipe, place_of(recipe, "train")), recipe.seed, recipe.data.validation_share])
        if name not in self._apart:
            keys = array("Q", (key_of(source) for source, _ in _own_rows(recipe, place_of(recipe, "train"), self)))
            if len(keys) == 1 and not objective_class(recipe).pairs:
                return np.zeros(1, dtype=bool)
            self._apart[name] = held_out(np.array(keys, dtype=np.uint64), recipe.data.validation_share, recipe.seed)
        return self._apart[name]


def tokenizers_for(
    recipe: Recipe, say: Callable[[str], None] = lambda text: None, reading: Reading | None = None
) -> Tokenizers:
    """The tokenizers that the recipe names, or those trained on its training texts, on a sample of them where they are
    many (kept in the cache). Of pairs one tokenizer reads both sides, unless `target_tokenizer` says what the targets
    have."""
    known = reading or Reading()
    prefixes = [objective_class(member).prefix_of(member.objective) for member in members(recipe)]

    def train(settings: TokenizerConfig, sides: tuple[int, ...]) -> Tokenizer:
        def texts() -> list[str]:
            rows = _rows_of_members(recipe, "train", known)
            sample = sample_of(text for row in rows for text in (row[n] for n in sides) if text is not None)
            say(f"training a {settings.kind} tokenizer{sample}")
            # A prefix stands before every source: often enough that its words are in any vocabulary.
            put_before = [prefix for prefix in prefixes if prefix and 0 in sides for _ in sample.texts]
            return put_before + sample.texts

        key = _key(recipe, "train", known) + "".join(map(str, sides)) + (json.dumps(prefixes) if any(prefixes) else "")
        return cached_tokenizer(key, texts, settings)

    if recipe.target_tokenizer is None:
        return Tokenizers(train(recipe.tokenizer, (0, 1)))
    return Tokenizers(train(recipe.tokenizer, (0,)), train(recipe.target_tokenizer, (1,)))


def corpus_for(
    recipe: Recipe, tokenizers: Tokenizers, part: Split, say: Callable[[str], None] = lambda text: None
) -> Corpus:
    """One part of the data as a token store, opened from the cache if it has been tokenised before."""
    return corpora_for(recipe, tokenizers, (part,), say)[0]


def corpora_for(
    recipe: Recipe,
    tokenizers: Tokenizers,
    parts: Sequence[Split],
    say: Callable[[str], None] = lambda text: None,
    reading: Reading | None = None,
) -> list[Corpus]:
    """Several parts of the data as token stores. Those that are not in the cache are made in one pass over the data."""
    known = reading or Reading()
    own = members(recipe)
    if len(own) > 1:
        of_each = [corpora_for(member, tokenizers, parts, say, known) for member in own]
        return [Corpus.mixed(of_one_part) for of_one_part in zip(*of_each, strict=True)]
    if len(parts) > 1 and not all(place_of(recipe, part).is_cut for part in parts):
        return [corpora_for(recipe, tokenizers, (part,), say, known)[0] for part in parts]
    kind = objective_class(recipe)
    sides = [tokenizers.source, tokenizers.target or tokenizers.source][: 2 if kind.pairs else 1]
    language = recipe.data.language if kind.needs_sentences(recipe.objective) else None
    wanted = [
        Wanted(_key(recipe, part, known) + (str(side) if kind.pairs else ""), tokenizer, kind.pairs, language)
        for part in parts
        for side, tokenizer in enumerate(sides)
    ]

    def texts(missing: Sequence[int]) -> Iterator[tuple[int, str]]:
        stores = [divmod(number, len(sides)) for number in missing]
        for part, side in stores:
            say(f"reading and tokenising the {parts[part]} {('sources', 'targets')[side] if kind.pairs else 'texts'}")
        needed = sorted({part for part, _ in stores})
        for number, row in _numbered_rows(recipe, [parts[part] for part in needed], known):
            for place, (part, side) in enumerate(stores):
                if part == needed[number]:
                    yield place, row[side] or ""

    corpora = Corpus.all_cached(wanted, texts)
    if not kind.pairs:
        return corpora
    return [source.paired(target) for source, target in zip(corpora[::2], corpora[1::2], strict=True)]


def _key(recipe: Recipe, part: Split, reading: Reading) -> str:
    """A name for everything that decides one part of the data: contents, settings, split."""
    own = members(recipe)
    if len(own) > 1:
        return hashlib.sha256(json.dumps([_key(member, part, reading) for member in own]).encode()).hexdigest()
    place = place_of(recipe, part)
    split_by = [SPLIT, part, recipe.data.validation_share, recipe.seed] if place.is_cut else None
    return hashlib.sha256(json.dumps([reading.content(recipe, place), split_by]).encode()).hexdigest()
