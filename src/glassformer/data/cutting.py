"""How each kind of tokenizer cleans a text, cuts it, and joins what it has cut. The steps are those of the library
`tokenizers`; words keep their marks and joiners (`scripts`)."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from glassformer.data.scripts import HAN, JOINERS
from glassformer.data.tokenizer_config import MASK, SENTINEL, SPECIALS, UNK, TokenizerConfig
from glassformer.errors import UsageError

_CARRIES_SPACE = ("bpe", "unigram")  # kinds whose pieces hold the space before the word
LONGEST_RUN = 100
"""Characters of a run without a space that wordpiece reads at once. The library's own limit, beyond which it gives
[UNK]; the time for a run grows with its square."""


def assembled(model: models.Model, config: TokenizerConfig) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    replaced = [] if config.unknown is None else [normalizers.Replace(config.unknown, UNK)]
    tokenizer.normalizer = normalizers.Sequence([*replaced, normalizer_for(config)])
    tokenizer.pre_tokenizer = pre_tokenizer_for(config)
    tokenizer.decoder = _decoder(config)
    carries_space = config.kind in _CARRIES_SPACE
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(s, normalized=False, lstrip=carries_space and s == MASK) for s in SPECIALS]
    )
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(SENTINEL(n), normalized=False) for n in range(config.sentinels)]
    )
    if config.unknown is not None:  # [UNK] then stands in the normalised text, and is found there
        tokenizer.add_tokens([tokenizers.AddedToken(UNK, special=False, normalized=True, lstrip=carries_space)])
    return tokenizer


def untrained(config: TokenizerConfig) -> dict[str, Any]:
    """The tokenizer.json of these settings, its vocabulary empty: how it normalises, cuts and joins."""
    return dict(json.loads(assembled(models.WordLevel({UNK: 0}, UNK), config).to_str()))


def normalizer_for(config: TokenizerConfig) -> normalizers.Normalizer:
    if config.kind in ("bpe", "byte"):  # exact: what is decoded is what was encoded
        return normalizers.Sequence(_lowered() if config.lowercase else [])
    if not config.lowercase:
        return normalizers.NFC()
    if config.kind != "wordpiece":
        return normalizers.Sequence([normalizers.NFC(), *_lowered(), normalizers.NFC()])
    accents = normalizers.Replace(tokenizers.Regex(ACCENTS), "")
    return normalizers.Sequence([normalizers.NFD(), accents, *_lowered(), normalizers.NFC()])


ACCENTS = "[\u0300-\u036f]"
"""Those of Latin, Greek and Cyrillic letters. The marks of other scripts are vowels: another word without them."""


def _lowered() -> list[normalizers.Normalizer]:
    """The library lowers character by character. What that leaves: the dot of İ, which is no letter of its own, and
    the sigma that has another form at the end of a word (Unicode 3.13, Final_Sigma)."""
    mark = rf"[\p{{M}}{JOINERS}]"
    letter = "|".join(rf"\p{{L}}{marks}" for marks in ("", mark, mark * 2))  # a lookbehind has a fixed length
    final = rf"(?<={letter})σ(?!{mark}*\p{{L}})"
    return [
        normalizers.Lowercase(),
        normalizers.Replace(tokenizers.Regex("(?<=i)\u0307"), ""),  # so that i keeps its place
        normalizers.Replace(tokenizers.Regex(final), "ς"),
    ]


_MARKS = rf"\p{{M}}{JOINERS}"
ASCII_SIGNS = "$+<=>^`|~"
_SIGNS = rf"\p{{P}}{ASCII_SIGNS}"
"""What BERT takes for punctuation."""


def _words(longest: int | None = None) -> str:
    """Words as BERT's basic tokenizer finds them: between white space, around punctuation and Chinese characters; but
    a mark stays with what stands before it. A run longer than `longest` is several."""
    often = "+" if longest is None else f"{{1,{longest}}}"
    other = rf"[^\s{_SIGNS}{HAN}]{often}"
    return rf"[{HAN}{_SIGNS}][{_MARKS}]{{0,20}}|{other}(?![{_MARKS}])|{other}"


_BYTE_LEVEL_WORDS = (
    rf"'(?:s|t|re|ve|m|ll|d)(?![\p{{L}}{_MARKS}])"
    rf"| ?\p{{L}}[\p{{L}}{_MARKS}]*| ?\p{{N}}[\p{{N}}{_MARKS}]*| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
)
"""GPT-2's words (Radford et al. 2019), but a mark or joiner stays with the letter or digit before it."""


def pre_tokenizer_for(config: TokenizerConfig) -> pre_tokenizers.PreTokenizer:
    if config.kind == "byte":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if config.kind == "bpe":
        words = pre_tokenizers.Split(tokenizers.Regex(_BYTE_LEVEL_WORDS), "isolated")
        return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    if config.kind == "unigram":
        return pre_tokenizers.Metaspace(prepend_scheme="first")
    if config.kind == "character":
        return pre_tokenizers.Sequence([])
    if config.kind == "word" and config.split == "whitespace":
        return pre_tokenizers.WhitespaceSplit()
    pattern = _words(LONGEST_RUN if config.kind == "wordpiece" else None)
    return pre_tokenizers.Split(tokenizers.Regex(pattern), "removed", invert=True)


def count_words(texts: Iterable[str], config: TokenizerConfig) -> Counter[str]:
    """How often each word stands in the texts, as kind=word cuts and writes it."""
    config = config.model_copy(update={"kind": "word"})
    normalizer, cut = normalizer_for(config), pre_tokenizer_for(config)
    return Counter(word for text in texts for word, _ in cut.pre_tokenize_str(normalizer.normalize_str(text)))


def _decoder(config: TokenizerConfig) -> decoders.Decoder | None:
    if config.kind in ("bpe", "byte"):
        return decoders.ByteLevel()
    if config.kind == "unigram":
        return decoders.Metaspace(prepend_scheme="first")
    if config.kind == "wordpiece":
        return decoders.WordPiece()
    return decoders.Fuse() if config.kind == "character" else None


def refuse_surrogates(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"a text with a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}",
                "it is half of a character and cannot be written as UTF-8: mend or remove it",
            ) from None
