"""Which tokenizer suits a text: by its script, its size, and whether the model is to write."""

import unicodedata
from collections import Counter
from typing import Any

import numpy as np

from glassformer.data.kinds import config_of
from glassformer.data.scripts import is_without_spaces, sample, words_in
from glassformer.data.tokenizer import Tokenizer

SPACELESS = 15
"""Mean length of what stands between spaces from which on it is more than a word."""
LONGEST_WORD = 40
FEW_WORDS, FEW_CHARACTERS = 20_000, 200_000
MANY_UNSEEN = 0.3
"""Share of new words in further text from which on whole words miss too much."""


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
