"""From a recipe to its parts: tokenizer, corpora, objective, model. Used by training, prediction and doctor alike."""

import hashlib
import json
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from glassformer.baselines.torch_transformer import TorchTransformer
from glassformer.data.corpus import Corpus, cached_tokenizer
from glassformer.data.pairs import pairs_fingerprint, read_pairs
from glassformer.data.sources import fingerprint, read_documents, split
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig, Tokenizers
from glassformer.errors import UsageError
from glassformer.model.transformer import Transformer
from glassformer.objectives import Objective, Units
from glassformer.recipe import Recipe, members, objective_class
from glassformer.wording import percent

Split = Literal["train", "validation", "test"]
SPLIT = 2
"""Raised whenever `sources.split` draws otherwise, so that no cached part of an older split is taken."""


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
    """Read the data, train the tokenizer (unless it is handed in), tokenise (or open what an earlier run tokenised).

    Raises UsageError when the text is too short for one batch.
    """
    tokenizers = tokenizers or tokenizers_for(recipe, say)
    objective = objective_for(recipe, tokenizers)
    train, validation = (corpus_for(recipe, tokenizers, part, say) for part in ("train", "validation"))
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
    """The recipe's model with fresh weights, a pure function of the recipe's seed."""
    kinds = {"glassformer": Transformer, "torch": TorchTransformer}
    one, other = objective.tokenizer, objective.target_tokenizer
    sizes: int | dict[str, int] = one.vocab_size
    if other is not one:
        sizes = {"encoder": one.vocab_size, "decoder": other.vocab_size}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return kinds[recipe.model.implementation](recipe.model, sizes, objective.heads())


def documents_for(recipe: Recipe, part: Split) -> list[str]:
    """The texts of one part of the data; of pairs, the sources. Without a validation source, a share of the training
    texts is held out."""
    return [text for text, _ in rows_for(recipe, part)]


def rows_for(recipe: Recipe, part: Split) -> list[tuple[str, str | None]]:
    """The texts of one part of the data, each with its target, where the objective is over pairs. Of a mixture, those
    of all members; data of several members come once."""
    different = {_key(member, part): member for member in members(recipe)}
    return [row for member in different.values() for row in _own_rows(member, part)]


def _own_rows(recipe: Recipe, part: Split) -> list[tuple[str, str | None]]:
    place = place_of(recipe, part)
    rows: list[tuple[str, str | None]]
    if objective_class(recipe).pairs:
        data = recipe.data
        rows = list(read_pairs(place.source, place.targets, data.column, data.target_column))
    else:
        data = recipe.data
        texts = read_documents(place.source, data.column, data.document, data.document_start)
        rows = [(text, None) for text in texts]
    if place.is_cut and recipe.data.document == "file" and len(rows) == 1:
        text = rows[0][0]
        border = int(len(text) * (1 - recipe.data.validation_share))
        return [(text[:border] if part == "train" else text[border:], None)]
    if place.is_cut:
        parts = split(rows, recipe.data.validation_share, recipe.seed, key=lambda row: row[0])
        return parts[0 if part == "train" else 1]
    return rows


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


def tokenizers_for(recipe: Recipe, say: Callable[[str], None] = lambda text: None) -> Tokenizers:
    """The tokenizers that the recipe names, or those trained on its training texts (kept in the cache). Of pairs one
    tokenizer reads both sides, unless `target_tokenizer` says what the targets have."""
    prefixes = [objective_class(member).prefix_of(member.objective) for member in members(recipe)]

    def train(settings: TokenizerConfig, sides: tuple[int, ...]) -> Tokenizer:
        def texts() -> list[str]:
            say(f"training a {settings.kind} tokenizer")
            rows = rows_for(recipe, "train")
            # A prefix stands before every source: often enough that its words are in any vocabulary.
            put_before = [prefix for prefix in prefixes if 0 in sides for _ in rows]
            return put_before + [text for row in rows for text in (row[n] for n in sides) if text is not None]

        key = _key(recipe, "train") + "".join(map(str, sides)) + (json.dumps(prefixes) if any(prefixes) else "")
        return cached_tokenizer(key, texts, settings)

    if recipe.target_tokenizer is None:
        return Tokenizers(train(recipe.tokenizer, (0, 1)))
    return Tokenizers(train(recipe.tokenizer, (0,)), train(recipe.target_tokenizer, (1,)))


def corpus_for(
    recipe: Recipe, tokenizers: Tokenizers, part: Split, say: Callable[[str], None] = lambda text: None
) -> Corpus:
    """One part of the data as a token store, opened from the cache if it has been tokenised before."""
    own = members(recipe)
    if len(own) > 1:
        return Corpus.mixed([corpus_for(member, tokenizers, part, say) for member in own])
    key, kind = _key(recipe, part), objective_class(recipe)
    pairs = kind.pairs
    language = recipe.data.language if kind.needs_sentences(recipe.objective) else None

    def side(number: int, tokenizer: Tokenizer) -> Corpus:
        def documents() -> list[str]:
            say(f"reading and tokenising the {part} {('sources', 'targets')[number] if pairs else 'texts'}")
            return [row[number] or "" for row in rows_for(recipe, part)]

        name = f"{key}{number}" if pairs else key
        return Corpus.cached(name, documents, tokenizer, keep_empty=pairs, language=language)

    corpus = side(0, tokenizers.source)
    return corpus.paired(side(1, tokenizers.target or tokenizers.source)) if pairs else corpus


def _key(recipe: Recipe, part: Split) -> str:
    """A name for everything that decides one part of the data: contents, settings, split."""
    own = members(recipe)
    if len(own) > 1:
        return hashlib.sha256(json.dumps([_key(member, part) for member in own]).encode()).hexdigest()
    place = place_of(recipe, part)
    split_by = [SPLIT, part, recipe.data.validation_share, recipe.seed] if place.is_cut else None
    data = recipe.data
    if objective_class(recipe).pairs:
        content = pairs_fingerprint(place.source, place.targets, data.column, data.target_column)
    else:
        content = fingerprint(place.source, data.column, data.document, data.document_start)
    return hashlib.sha256(json.dumps([content, split_by]).encode()).hexdigest()
