"""A vocabulary of each kind from texts, the same in every run: where the library's trainers depend on the order of a
hash table, what they leave open is settled here."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from glassformer.data.byte_level import N_BYTES, byte_characters
from glassformer.data.cutting import (
    ASCII_SIGNS,
    LONGEST_RUN,
    assembled,
    normalizer_for,
    pre_tokenizer_for,
    refuse_surrogates,
)
from glassformer.data.scripts import HAN
from glassformer.data.tokenizer_config import SPECIALS, UNK, TokenizerConfig
from glassformer.errors import UsageError


def trained(texts: Iterable[str], config: TokenizerConfig) -> tokenizers.Tokenizer:
    """A tokenizer of the given kind for these texts, which are held in memory. Raises UsageError if there is no text,
    or if `vocab_size` is too small for the kind."""
    normalizer = normalizer_for(config)
    cleaned = [normalizer.normalize_str(_without_specials(text, config)) for text in texts]
    if not any(text and not text.isspace() for text in cleaned):
        raise UsageError("there is no text to train a tokenizer on", "give a source that holds text")
    return assembled(_train_model(cleaned, config), config)


def _train_model(texts: list[str], config: TokenizerConfig) -> models.Model:
    """`texts` are normalised."""
    if config.kind == "byte":
        return _vocabulary_without_merges(byte_characters())
    if config.kind == "character":
        return _vocabulary_without_merges(_alphabet(texts, config, config.vocab_size - len(SPECIALS)))
    if config.kind == "word":
        return _train_with(trainers.WordLevelTrainer, models.WordLevel(unk_token=UNK), texts, None, config).model
    if config.kind == "bpe":
        return _train_bpe(texts, config)
    if config.kind == "unigram":
        return _train_unigram(texts, config)
    return _train_wordpiece(texts, config)


def _vocabulary_without_merges(characters: Iterable[str]) -> models.Model:
    """A BPE that has nothing to merge leaves single characters, at the library's speed."""
    vocabulary = {token: i for i, token in enumerate([*SPECIALS, *characters])}
    return models.BPE(vocab=vocabulary, merges=[], unk_token=UNK)


def _train_bpe(texts: list[str], config: TokenizerConfig) -> models.Model:
    """Reproducible as it is: the 256 bytes are known beforehand, and ties go to the lower ids."""
    least = N_BYTES + len(SPECIALS)
    if config.vocab_size < least:
        raise UsageError(
            f"tokenizer.vocab_size={config.vocab_size} cannot hold the 256 bytes and 5 special tokens of bpe",
            f"set at least {least}, or kind=byte",
        )
    bytes_first = pre_tokenizers.ByteLevel.alphabet()
    model = models.BPE(unk_token=UNK)
    return _train_with(trainers.BpeTrainer, model, texts, None, config, initial_alphabet=bytes_first).model


def _train_wordpiece(texts: list[str], config: TokenizerConfig) -> models.Model:
    """Every character of the alphabet is there at the beginning of a word and, as `##x`, inside one, so that what is
    made of them is never unknown. The library numbers those `##x` that it finds itself in the order of a hash table
    that differs from run to run, and breaks ties between merges by these numbers: two trainings on WikiText-2 gave
    different vocabularies (tokenizers 0.23.3). So it gets them all beforehand, sorted, as if special."""
    room = config.vocab_size - len(SPECIALS)
    ranked = _ranked_characters(texts, config)
    forms = np.cumsum([1 + _continues_a_word(c) for c in ranked])
    alphabet = sorted(ranked[: max(1, int(np.searchsorted(forms, room, side="right")))])
    inside = [f"##{c}" for c in alphabet if _continues_a_word(c)]
    return _train_with(
        trainers.WordPieceTrainer,
        models.WordPiece(unk_token=UNK, max_input_chars_per_word=LONGEST_RUN),
        *_cut_at_others(texts, alphabet),
        config=config,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        special_tokens=[*SPECIALS, *inside],
    ).model


def _train_unigram(texts: list[str], config: TokenizerConfig) -> models.Model:
    """The pieces come out equal in every run, but not the scores of those single characters that are kept
    only so that every text can be written: they step down by 0.0001 in the order of a hash table (seen with
    tokenizers 0.23.3). All of them get the lowest score; the other scores are rounded against the order of
    float sums."""
    alphabet = _alphabet(texts, config, max(1, (config.vocab_size - len(SPECIALS)) // 2))
    kept, border = _cut_at_others(texts, alphabet)
    trained = _train_with(trainers.UnigramTrainer, models.Unigram(), kept, border, config, unk_token=UNK)
    scores = dict(json.loads(trained.to_str())["model"]["vocab"][len(SPECIALS) :])
    lowest = min(scores.values())
    band = lowest + 0.0001 * (sum(len(piece) == 1 for piece in scores) + 1)
    scores = {p: round(lowest if len(p) == 1 and s < band else s, 6) for p, s in scores.items()}
    pieces = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    # a special token must lose against its letters: the trainer's score of 0 would make it win
    return models.Unigram([*((special, -1000.0) for special in SPECIALS), *pieces], SPECIALS.index(UNK), False)


def _train_with(
    trainer: type,
    model: models.Model,
    texts: list[str],
    border: str | None,
    config: TokenizerConfig,
    **settings: Any,
) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    cuts = [] if border is None else [pre_tokenizers.Split(border, "removed")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizer_for(config)])
    defaults: dict[str, Any] = {"vocab_size": config.vocab_size, "special_tokens": list(SPECIALS)}
    if trainer is not trainers.UnigramTrainer:
        defaults["min_frequency"] = config.min_frequency
    tokenizer.train_from_iterator(texts, trainer(show_progress=False, **(defaults | settings)))
    return tokenizer


def _cut_at_others(texts: list[str], alphabet: list[str]) -> tuple[list[str], str | None]:
    """The texts with one and the same sign for every character that is not in the alphabet, and the sign. The text is
    cut there: left out, such a character would bring together what does not stand together."""
    others = sorted(c for c in set().union(*texts) - set(alphabet) if not c.isspace())
    if not others:
        return texts, None
    border = others[0]
    table = str.maketrans(dict.fromkeys(others, border))
    return [text.translate(table) for text in texts], border


def _ranked_characters(texts: list[str], config: TokenizerConfig) -> list[str]:
    """The most frequent first; ties go to the lower code point."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    if config.kind != "character":
        return sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
    return sorted((c for c in counts if counts[c] >= config.min_frequency), key=lambda c: (-counts[c], c))


def _alphabet(texts: list[str], config: TokenizerConfig, limit: int) -> list[str]:
    """The most frequent characters, sorted."""
    return sorted(_ranked_characters(texts, config)[:limit])


def _continues_a_word(character: str) -> bool:
    """Whether it may stand inside a word; Chinese characters and punctuation are words of their own."""
    return re.match(f"[{HAN}{ASCII_SIGNS}]", character) is None and unicodedata.category(character)[0] != "P"


def _without_specials(text: str, config: TokenizerConfig) -> str:
    """A special token or the data's own unknown word is not learnt as a word."""
    for literal in (config.unknown, *SPECIALS):
        if literal is not None and literal in text:
            text = text.replace(literal, " ")
    refuse_surrogates([text])
    return text
