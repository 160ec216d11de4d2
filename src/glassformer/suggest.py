"""A recipe for a text of the person's own: tokenizer, sizes and minutes chosen from the data, and said aloud."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from glassformer import recipe as recipes
from glassformer.data.sources import DataConfig, read_documents
from glassformer.errors import UsageError
from glassformer.recipe import Recipe, parse

TEXT_SUFFIXES = (".txt", ".jsonl", ".csv", ".tsv", ".parquet", ".md")
SPACELESS = 15
"""Mean length of a word from which on a text is taken to be in a script without spaces between words."""


def is_own_text(name: str) -> bool:
    """Whether RECIPE is no recipe but a text: an existing folder, a glob, or a file that is not YAML."""
    path = Path(name)
    if name in recipes.shipped() or path.suffix in (".yaml", ".yml"):
        return False
    looks_like_a_file = path.suffix in TEXT_SUFFIXES or "/" in name
    return path.exists() or name.startswith(("hub:", "builtin:")) or "*" in name or looks_like_a_file


def recipe_for_text(source: str, changes: dict[str, Any], say: Callable[[str], None]) -> Recipe:
    """Choose everything from the data; `changes` (a tree) win over what is chosen. Raises UsageError for a text that
    cannot be read or is too short to learn from."""
    data = changes.get("data", {})
    config = DataConfig.model_validate({"train": source} | {k: v for k, v in data.items() if k == "column"})
    document = data.get("document", "auto")
    texts = list(read_documents(source, config.column, document))
    tree = suggestion(source, texts, say)
    return parse(merged(tree, changes), f"the recipe for {source}")


def suggestion(source: str, texts: list[str], say: Callable[[str], None]) -> dict[str, Any]:
    """The choices for these texts, as a recipe's tree."""
    lengths = np.array([len(text.split()) for text in texts])
    words = int(lengths.sum())
    if words < 50 and sum(map(len, texts)) < 400:
        raise UsageError(
            f"{source} is too short to learn from: {words} words in {len(texts)} texts",
            "a few hundred words are the least; a few hundred thousand give a useful model",
        )
    distinct = len({word for text in texts for word in text.split()})
    spaceless = sum(map(len, texts)) / max(1, words) > SPACELESS
    tokenizer = choose_tokenizer(words, distinct, spaceless)
    tokens = sum(map(len, texts)) // 2 if spaceless else int(words * (1 if tokenizer["kind"] == "word" else 1.4))
    max_length = choose_max_length(lengths, tokens / max(1, words))
    stream = bool(np.median(lengths) * tokens / max(1, words) > 2 * max_length) or len(texts) < 20
    size = choose_size(tokens)
    minutes = choose_minutes(tokens)
    chosen = {
        "description": f"made for {Path(source).name}",
        "data": {"train": source, "validation_share": 0.1 if tokens < 200_000 else 0.05},
        "tokenizer": tokenizer,
        "objective": {"name": "masked_lm", "units": "stream" if stream else "documents"},
        "model": size | {"max_length": max_length},
        "batch": {"size": choose_batch(tokens, max_length, len(texts), stream)},
        "optimizer": {"learning_rate": 1e-3},
        "training": {"minutes": minutes, "patience": 6},
    }
    say(f"{source}: {len(texts):,} texts, {words:,} words, {distinct:,} different ones")
    say(f"chosen: {tokenizer['kind']} tokenizer of at most {tokenizer['vocab_size']:,} tokens, max_length {max_length}")
    say(f"chosen: {size['n_layers']} layers of width {size['d_model']}, {minutes} minutes")
    say("every choice can be changed, for example: training.minutes=30 model.d_model=384")
    return chosen


def choose_tokenizer(words: int, distinct: int, spaceless: bool) -> dict[str, Any]:
    """Whole words for a small text (its words are few), pieces of words for a larger one, unigram pieces for scripts
    without spaces. About a third as many pieces as there are different words, from 400 to 8,192."""
    if spaceless:
        return {"kind": "unigram", "vocab_size": 4096}
    if words < 20_000:
        return {"kind": "word", "vocab_size": max(64, min(8192, distinct + 5)), "lowercase": True}
    return {"kind": "wordpiece", "vocab_size": int(min(8192, max(400, distinct // 3)))}


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
