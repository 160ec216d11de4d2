"""A recipe for a text of the person's own: tokenizer, sizes and minutes chosen from the data, and said aloud."""

import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from glassformer import recipe as recipes
from glassformer.data.kinds import changes, config_of
from glassformer.data.pairs import read_pairs
from glassformer.data.scripts import is_without_spaces, sample, words_in
from glassformer.data.sources import read_documents
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.objectives import find_objective
from glassformer.recipe import Recipe, parse

TEXT_SUFFIXES = (".txt", ".jsonl", ".csv", ".tsv", ".parquet", ".md")
SPACELESS = 15
"""Mean length of what stands between spaces from which on it is more than a word."""
LONGEST_WORD = 40
FEW_WORDS, FEW_CHARACTERS = 20_000, 200_000
MANY_UNSEEN = 0.3
"""Share of new words in further text from which on whole words miss too much."""


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
    kind, path = (tokenizer.get(key) if isinstance(tokenizer, dict) else None for key in ("kind", "path"))
    suggested = suggestion(source, texts, kind, find_objective(objective).family != "encoder", path)
    if objective != "masked_lm":
        suggested = for_another_objective(suggested, objective, texts)
    recipe = parse(merged(suggested, changes), where)
    for line in said(source, texts, recipe):
        say(line)
    return recipe


def suggestion(
    source: str, texts: list[str], kind: str | None = None, writes: bool = False, path: str | None = None
) -> dict[str, Any]:
    """The choices for these texts, as a recipe's tree; `kind` or `path` is a tokenizer that the person wants, `writes`
    says that the model is to write texts."""
    lengths = np.array([len(text.split()) for text in texts])
    words, characters = int(lengths.sum()), sum(map(len, texts))
    if words < 50 and characters < 400:
        raise UsageError(
            f"{source} is too short to learn from: {words} words in {counted(len(texts), 'text')}",
            "a few hundred words are the least; a few hundred thousand give a useful model",
        )
    tokenizer = choose_tokenizer(texts, kind, writes, path)
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
    if find_objective(str(recipe.objective.model_dump()["name"])).family != "encoder":
        composed = all(unicodedata.is_normalized("NFC", text) for text in texts)
        lines += [text for text in [changes(tokenizer, composed)] if text]
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
    """Whether the texts are in a script that puts no spaces between words, by their letters."""
    return is_without_spaces(texts)


def has_no_words(texts: list[str]) -> bool:
    """Whether what stands between spaces and signs is mostly too long to be a word, as in DNA; one long id among words
    is not that. Said of scripts with spaces."""
    lengths = [end - begin for text in sample(texts) for begin, end in words_in(text)]
    return bool(lengths) and float(np.median(lengths)) > LONGEST_WORD


def unseen_share(texts: list[str]) -> float:
    """The share of words of further text that these texts do not have: about that of the words that stand here once
    (Good 1953, equation 9)."""
    counts = Counter(text[begin:end].lower() for text in sample(texts) for begin, end in words_in(text))
    return sum(number == 1 for number in counts.values()) / max(1, counts.total())


def choose_tokenizer(
    texts: list[str], kind: str | None = None, writes: bool = False, path: str | None = None
) -> dict[str, Any]:
    """By script, size and objective. A model that `writes` gets a tokenizer that gives back what it read: characters
    for a small text and for one without words, byte-level pieces else. Other models get whole words for a small text
    (its words are few), unless too many of further text would be new; pieces of words for a larger one; unigram pieces
    for scripts without spaces; characters where there are no words. About a third as many pieces as there are different
    words, from 400 to 8,192. A `path` is taken as what it is. Raises what `Tokenizer.load` raises."""
    if path is not None:
        return config_of(Tokenizer.load(path)).model_dump(include={"kind", "vocab_size", "lowercase"}) | {"path": path}
    spaceless, characters, alphabet = is_spaceless(texts), sum(map(len, texts)), len(set().union(*texts))
    kind = kind or (writing_kind(texts) if writes else reading_kind(texts))
    if kind == "character":
        return {"kind": kind, "vocab_size": max(64, alphabet + 5)}
    if kind == "byte":
        return {"kind": kind, "vocab_size": 261}
    distinct = distinct_words(texts)
    if kind == "word":
        many = alphabet if spaceless else 0  # each Chinese character is a word
        return {"kind": kind, "vocab_size": max(64, min(8192, many + distinct + 5)), "lowercase": not writes}
    if spaceless:  # room for every character, inside a word too, and a piece for each 20 characters of the text
        return {"kind": kind, "vocab_size": int(min(8192, max(400, 2 * alphabet + 5, alphabet + characters // 20)))}
    if writes:
        return {"kind": kind, "vocab_size": int(min(4096, max(512, characters // 500)))}
    spelt = 2 * alphabet + 100 if kind != "bpe" else 0  # at the beginning of a word and inside one
    return {"kind": kind, "vocab_size": int(min(8192, max(400, spelt, distinct // 3)))}


def writing_kind(texts: list[str]) -> str:
    """The kind that gives back these texts: a small one teaches its characters, but hardly pieces of them."""
    small = sum(map(len, texts)) < FEW_CHARACTERS or (has_no_words(texts) and not is_spaceless(texts))
    return "character" if small and all(unicodedata.is_normalized("NFC", text) for text in texts) else "bpe"


def reading_kind(texts: list[str]) -> str:
    """The kind for a model that reads: what it is asked should be a word, or a good part of one."""
    if is_spaceless(texts):
        return "unigram"
    if has_no_words(texts):
        return "character"
    few = sum(len(text.split()) for text in texts) < FEW_WORDS
    return "word" if few and unseen_share(texts) <= MANY_UNSEEN else "wordpiece"


def tokens_per_word(kind: str, characters: float) -> float:
    """About how many tokens stand between two spaces, `characters` of text apart. A piece is two characters of what is
    longer than words are: a script without spaces, an id."""
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
