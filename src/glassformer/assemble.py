"""From a recipe to its parts: tokenizer, corpora, objective, model. Used by training, prediction and doctor alike."""

import hashlib
import json
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from glassformer.baselines.torch_encoder import TorchTransformer
from glassformer.data.corpus import Corpus, cached_tokenizer
from glassformer.data.sources import fingerprint, read_documents, split
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.model.transformer import Transformer
from glassformer.objectives import Objective, Units, find_objective
from glassformer.recipe import Recipe

Split = Literal["train", "validation", "test"]
SPLIT = 2
"""Raised whenever `sources.split` draws otherwise, so that no cached part of an older split is taken."""


class Parts(NamedTuple):
    """What a recipe's data, tokenizer and objective come to."""

    recipe: Recipe
    tokenizer: Tokenizer
    objective: Objective
    train: Corpus
    validation: Corpus

    @property
    def train_units(self) -> Units:
        """What an epoch runs over."""
        return self.objective.units(self.train)

    @property
    def validation_units(self) -> Units:
        """What the fixed questions are made of."""
        return self.objective.for_evaluation().units(self.validation)


def assemble(
    recipe: Recipe, say: Callable[[str], None] = lambda text: None, tokenizer: Tokenizer | None = None
) -> Parts:
    """Read the data, train the tokenizer (unless it is handed in), tokenise (or open what an earlier run tokenised).

    Raises UsageError when the text is too short for one batch.
    """
    tokenizer = tokenizer or tokenizer_for(recipe, say)
    objective = objective_for(recipe, tokenizer)
    train, validation = (corpus_for(recipe, tokenizer, part, say) for part in ("train", "validation"))
    parts = Parts(recipe, tokenizer, objective, train, validation)
    units = len(parts.train_units)
    if units < recipe.batch.size and recipe.batch.tokens is None and recipe.batch.layout != "packed":
        raise UsageError(
            f"the training text is too short for one batch: {train.n_tokens:,} tokens in {units} texts or windows, "
            f"and batch.size={recipe.batch.size}",
            f"use more text, or batch.size={units} or less",
        )
    return parts


def objective_for(recipe: Recipe, tokenizer: Tokenizer) -> Objective:
    """The recipe's objective."""
    name = recipe.model_dump()["objective"]["name"]
    return find_objective(name)(recipe.objective, tokenizer, recipe.model.max_length)


def model_for(recipe: Recipe, objective: Objective) -> Transformer:
    """The recipe's model with fresh weights, a pure function of the recipe's seed."""
    kinds = {"glassformer": Transformer, "torch": TorchTransformer}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return kinds[recipe.model.implementation](recipe.model, objective.tokenizer.vocab_size, objective.heads())


def documents_for(recipe: Recipe, part: Split) -> list[str]:
    """The texts of one part of the data. Without a validation source, a share of the training texts is held out."""
    source, is_cut = source_of(recipe, part)
    documents = list(read_documents(source, recipe.data.column, recipe.data.document))
    if is_cut:
        return split(documents, recipe.data.validation_share, recipe.seed)[0 if part == "train" else 1]
    return documents


def source_of(recipe: Recipe, part: Split) -> tuple[str | tuple[str, ...], bool]:
    """Where a part comes from, and whether that is cut into training and validation. Raises UsageError without test
    data."""
    data = recipe.data
    if part == "test":
        if data.test is None:
            raise UsageError("this recipe names no test data", "use --split validation, or give data.test=FILE")
        return data.test, False
    if part == "validation" and data.validation is not None:
        return data.validation, False
    return data.train, data.validation is None


def tokenizer_for(recipe: Recipe, say: Callable[[str], None] = lambda text: None) -> Tokenizer:
    """The tokenizer that the recipe names, or one trained on its training texts (kept in the cache)."""

    def texts() -> list[str]:
        say(f"training a {recipe.tokenizer.kind} tokenizer")
        return documents_for(recipe, "train")

    return cached_tokenizer(_key(recipe, "train"), texts, recipe.tokenizer)


def corpus_for(
    recipe: Recipe, tokenizer: Tokenizer, part: Split, say: Callable[[str], None] = lambda text: None
) -> Corpus:
    """One part of the data as a token store, opened from the cache if it has been tokenised before."""

    def documents() -> list[str]:
        say(f"reading and tokenising the {part} texts")
        return documents_for(recipe, part)

    return Corpus.cached(_key(recipe, part), documents, tokenizer)


def _key(recipe: Recipe, part: Split) -> str:
    """A name for everything that decides one part of the data: contents, settings, split."""
    source, is_cut = source_of(recipe, part)
    split_by = [SPLIT, part, recipe.data.validation_share, recipe.seed] if is_cut else None
    content = fingerprint(source, recipe.data.column, recipe.data.document)
    return hashlib.sha256(json.dumps([content, split_by]).encode()).hexdigest()
