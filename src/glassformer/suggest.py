"""A recipe for a text of the person's own: tokenizer, sizes and minutes chosen from the data, and said aloud."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from glassformer.data.pairs import read_pairs
from glassformer.data.sources import read_documents
from glassformer.errors import UsageError
from glassformer.objectives import find_objective
from glassformer.own_text import is_own_text as is_own_text
from glassformer.recipe import Recipe, parse

SPACELESS = 15
"""Mean length of a word from which on a text is taken to be in a script without spaces between words."""


def recipe_for_text(source: str, changes: dict[str, Any], say: Callable[[str], None]) -> Recipe:
    """Choose everything from the data; `changes` (a tree) win over what is chosen. Raises UsageError for a text that
    cannot be read or is too short to learn from."""
    where = f"the recipe for {source}"
    data = parse(merged({"data": {"train": source}}, {"data": changes.get("data", {})}), where).data
    section = changes.get("objective")
    objective = str(section.get("name", "masked_lm")) if isinstance(section, dict) else "masked_lm"
    if find_objective(objective).pairs:
        pairs = list(read_pairs(source, data.train_targets, data.column, data.target_column))
        texts = [text for pair in pairs for text in pair]
    else:
        texts = list(read_documents(source, data.column, data.document, data.document_start))
    tokenizer = changes.get("tokenizer")
    kind = tokenizer.get("kind") if isinstance(tokenizer, dict) else None
    suggested = suggestion(source, texts, kind)
    if objective != "masked_lm":
        suggested = for_another_objective(suggested, objective, texts)
    recipe = parse(merged(suggested, changes), where)
    for line in said(source, texts, recipe):
        say(line)
    return recipe


def suggestion(source: str, texts: list[str], kind: str | None = None) -> dict[str, Any]:
    """The choices for these texts, as a recipe's tree; `kind` is a tokenizer that the person wants."""
    lengths = np.array([len(text.split()) for text in texts])
    words, characters = int(lengths.sum()), sum(map(len, texts))
    if words < 50 and characters < 400:
        raise UsageError(
            f"{source} is too short to learn from: {words} words in {counted(len(texts), 'text')}",
            "a few hundred words are the least; a few hundred thousand give a useful model",
        )
    tokenizer = choose_tokenizer(texts, kind)
    per_word = tokens_per_word(tokenizer["kind"], characters / max(1, words))
    tokens = int(words * per_word)
    max_length = choose_max_length(lengths, per_word)
    stream = bool(np.median(lengths) * per_word > 2 * max_length) or len(texts) < 20
    data: dict[str, Any] = {"train": source, "validation_share": 0.1 if tokens < 200_000 else 0.05}
    if len(texts) == 1:
        data["validation"] = source
    return {
        "description": f"made for {source if ':' in source else Path(source).name}",
        "data": data,
        "tokenizer": tokenizer,
        "objective": {"name": "masked_lm", "units": "stream" if stream else "documents"},
        "model": choose_size(tokens) | {"max_length": max_length},
        "batch": {"size": choose_batch(tokens, max_length, len(texts), stream)},
        "optimizer": {"learning_rate": 1e-3},
        "training": {"minutes": choose_minutes(tokens), "patience": 6},
    }


def for_another_objective(tree: dict[str, Any], name: str, texts: list[str]) -> dict[str, Any]:
    """The same choices for another objective. Pairs are not cut: their longest must fit."""
    kind = find_objective(name)
    units = {"units": tree["objective"]["units"]} if "units" in kind.Config.model_fields else {}
    tree = tree | {"objective": {"name": name, **units}}
    tree["tokenizer"] = tree["tokenizer"] | kind.tokenizer_settings(tree["model"]["max_length"])
    if kind.pairs:
        lengths = [len(text.split()) for text in texts]
        per_word = 2 * tokens_per_word(tree["tokenizer"]["kind"], sum(map(len, texts)) / max(1, sum(lengths)))
        tree["model"] = tree["model"] | {"max_length": int(-(-max(lengths) * per_word // 8) * 8 + 8)}
    return tree


def said(source: str, texts: list[str], recipe: Recipe) -> list[str]:
    """What was found and what was chosen, for people."""
    words = sum(len(text.split()) for text in texts)
    tokenizer, model, training = recipe.tokenizer, recipe.model, recipe.training
    lowered = ", all letters lowered" if tokenizer.lowercase else ""
    units = {"steps": training.steps, "epochs": training.epochs, "minutes": training.minutes}
    length = next((counted(number, unit[:-1]) for unit, number in units.items() if number is not None), "1 epoch")
    lines = [
        f"{source}: {counted(len(texts), 'text')}, {words:,} words, {distinct_words(texts):,} different ones",
        f"chosen: {tokenizer.kind} tokenizer, at most {tokenizer.vocab_size:,} tokens{lowered}; "
        f"the model reads {model.max_length} tokens at once, one before and one after the text included",
        f"chosen: {counted(model.n_layers, 'layer')} of width {model.d_model}, "
        f"{counted(recipe.batch.size, 'row')} in a batch, {length} of training",
    ]
    if recipe.data.validation == source:
        lines.append("there is only one text, so nothing is held out: the validation loss is that of the same text")
    elif recipe.data.validation is None:
        lines.append(f"chosen: {recipe.data.validation_share:.0%} of the texts are held out to measure on")
    return [*lines, "every choice can be changed, for example: training.minutes=30 model.d_model=384"]


def counted(number: int | float, what: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{number:,g} {what}{'' if number == 1 else 's'}" if number < 1e5 else f"{number:,.0f} {what}s"


def distinct_words(texts: list[str]) -> int:
    """How many different words there are between spaces."""
    return len({word for text in texts for word in text.split()})


def is_spaceless(texts: list[str]) -> bool:
    """Whether the texts are in a script that puts no spaces between words."""
    return sum(map(len, texts)) / max(1, sum(len(text.split()) for text in texts)) > SPACELESS


def choose_tokenizer(texts: list[str], kind: str | None = None) -> dict[str, Any]:
    """Whole words for a small text (its words are few), pieces of words for a larger one, unigram pieces for scripts
    without spaces. About a third as many pieces as there are different words, from 400 to 8,192."""
    words, distinct = sum(len(text.split()) for text in texts), distinct_words(texts)
    if kind is None:
        kind = "unigram" if is_spaceless(texts) else "word" if words < 20_000 else "wordpiece"
    if kind == "word":
        return {"kind": kind, "vocab_size": max(64, min(8192, distinct + 5)), "lowercase": True}
    if kind == "character":
        return {"kind": kind, "vocab_size": max(64, len(set().union(*texts)) + 5)}
    if kind == "byte":
        return {"kind": kind, "vocab_size": 261}
    if is_spaceless(texts):
        return {"kind": kind, "vocab_size": 4096}
    return {"kind": kind, "vocab_size": int(min(8192, max(400, distinct // 3)))}


def tokens_per_word(kind: str, characters: float) -> float:
    """About how many tokens stand between two spaces, `characters` of text apart. A piece is two characters of a
    script without spaces."""
    if kind in ("character", "byte"):
        return characters + 1
    return characters / 2 if characters > SPACELESS else 1.0 if kind == "word" else 1.4


def choose_max_length(lengths: np.ndarray, tokens_per_word: float) -> int:
    """Long enough for 99 of 100 texts, between 16 and 128, in eights."""
    wanted = float(np.quantile(lengths, 0.99)) * tokens_per_word + 2
    return int(min(128, max(16, -(-wanted // 8) * 8)))


def choose_size(tokens: int) -> dict[str, int]:
    """A model that the text can teach: parameters grow with it."""
    if tokens < 100_000:
        return {"n_layers": 2, "d_model": 128, "n_heads": 4, "d_ff": 512}
    if tokens < 1_000_000:
        return {"n_layers": 4, "d_model": 192, "n_heads": 6, "d_ff": 768}
    return {"n_layers": 4, "d_model": 256, "n_heads": 8, "d_ff": 1024}


def choose_batch(tokens: int, max_length: int, texts: int, stream: bool) -> int:
    """At least about thirty steps in an epoch, at most 32 rows."""
    units = tokens // max_length if stream else texts
    return int(min(32, max(1, units * 0.8 // 30)))


def choose_minutes(tokens: int) -> int:
    """From 1 minute for a page to 15 for a million words and more."""
    return int(min(15, max(1, round(tokens / 70_000))))


def merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` over `tree`, section by section; a length in other units replaces the chosen one."""
    result = dict(tree)
    for key, value in changes.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(value, dict) and isinstance(known, dict) else value
    if {"steps", "epochs"} & set(changes):
        result.pop("minutes", None)
    return result
