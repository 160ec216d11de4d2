"""From a recipe to its parts: codecs, columns, objective, model. Used by training, prediction and doctor alike."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.data.batch import StreamSpec
from glassformer.data.codecs import Codecs
from glassformer.data.corpus import Corpus
from glassformer.data.roles import TEXT
from glassformer.data.table import Column
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import GlassformerError, UsageError
from glassformer.formatting import percent
from glassformer.model.kinds import Model, find_kind
from glassformer.model.size import n_parameters, refuse_too_large
from glassformer.objectives import Dataset, Objective
from glassformer.recipe import Recipe, members, objective_class
from glassformer.recipe_columns import codecs_for, columns_for
from glassformer.recipe_rows import Reading, with_layout


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
