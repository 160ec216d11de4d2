"""Text -> tokens. The work is done by the library `tokenizers`; this file decides how each kind cuts a text,
makes training reproducible, and keeps one promise: a special token inside a person's text is text, never a
special id.

Words keep their marks and joiners (`scripts`), so no kind cuts a vowel sign from its letter.

    "Mars is red."  word       Mars | is | red | .
                    wordpiece  Mars | is | red | .         rare words in pieces: photo | ##sphere
                    bpe        Mars | ▁is | ▁red | .       pieces carry the space before them
                    unigram    ▁Mars | ▁is | ▁red .
                    character  M | a | r | s | ▁ | i ...
                    byte       the same for ASCII; other characters are 2 to 4 tokens

Ids 0 to 4 are [PAD] [UNK] [CLS] [SEP] [MASK] in every tokenizer trained here."""

import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tokenizers
from jaxtyping import Bool, Int64, Integer
from pydantic import Field
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from glassformer.config import Config
from glassformer.data.scripts import HAN, JOINERS, has_plain_words, word_starts
from glassformer.errors import GlassformerError, UsageError
from glassformer.reading import LARGE, NoSuchFile, plain_text

PAD, UNK, CLS, SEP, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SENTINEL = "[S{}]".format
MOST_TOKENS = 10_000_000
"""The largest vocabulary that is read."""
_N_BYTES = 256
_CARRIES_SPACE = ("bpe", "unigram")  # kinds whose pieces hold the space before the word
_LONGEST_RUN = 100
"""Characters of a run without a space that wordpiece reads at once. The library's own limit, beyond which it gives
[UNK]; the time for a run grows with its square."""


class TokenizerConfig(Config):
    """How a text is cut into tokens."""

    kind: Literal["word", "wordpiece", "bpe", "unigram", "character", "byte"] = Field(
        "wordpiece", description="what a token is: a word, a piece of a word, a character or a byte"
    )
    vocab_size: int = Field(
        8192, ge=6, description="at most this many tokens, the 5 special ones included (byte: always 261)"
    )
    lowercase: bool = Field(
        False, description="lower all letters (wordpiece: and strip the accents of é, as BERT does)"
    )
    unknown: str | None = Field(
        None,
        min_length=1,
        description="a word of the data that already stands for an unknown word, such as <unk>",
    )
    split: Literal["punctuation", "whitespace"] = Field(
        "punctuation",
        description="kind=word: cut at white space and around punctuation, or at white space only",
    )
    min_frequency: int = Field(1, ge=1, description="leave out tokens seen less often (unigram and byte: no effect)")
    sentinels: int = Field(
        0, ge=0, description="special tokens [S0], [S1] and so on behind the vocabulary, which stand for gaps in a text"
    )
    path: str | None = Field(None, description="use this tokenizer.json instead of training one")


class Encoded(NamedTuple):
    """A text as n tokens. `offsets` are characters of the given text: `text[start:end]` is the token's piece
    of it (in bpe and unigram with the space before it). `starts_word` marks the first token of each word; in
    the kinds character and byte a word begins with the white space before it."""

    ids: Int64[np.ndarray, "n"]
    offsets: list[tuple[int, int]]
    starts_word: Bool[np.ndarray, "n"]


class Together(NamedTuple):
    """The n tokens of d texts in one row; see `Encoded`."""

    ids: Int64[np.ndarray, "n"]
    starts_word: Bool[np.ndarray, "n"]
    lengths: Int64[np.ndarray, "d"]
    """Tokens of each text."""


class Tokenizer:
    """A trained tokenizer. Make one with `Tokenizer.train` or `Tokenizer.load`."""

    def __init__(self, description: str) -> None:
        """`description` is the content of a tokenizer.json. Raises GlassformerError if it is none, or if one
        of the five special tokens is missing."""
        self._base = _from_json(description)
        self._description = self._base.to_str(pretty=True)
        settings = json.loads(self._description)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = _special_ids(self._base)
        self._names = dict(zip(_special_ids(self._base), SPECIALS, strict=True))
        self.special_ids = frozenset(_special_ids(self._base)) | {
            added["id"] for added in settings["added_tokens"] if added["special"]
        }
        self._prompts = _from_json(json.dumps(_with_mask_let_in(settings, self.mask_id)))
        numbered = takewhile(lambda id: id is not None, map(self._base.token_to_id, map(SENTINEL, count())))
        self.sentinel_ids = [id for id in numbered if id is not None]
        self.vocab_size = 1 + max(self._base.get_vocab(with_added_tokens=True).values())
        self._unknown = _unknown_word(settings)
        self._byte_level = (settings["decoder"] or {}).get("type") == "ByteLevel"
        self._space = _space_mark(settings)
        self._space_ids = self._white_space() if _is_one_word(settings) else None
        self.cuts_at_spaces = _cuts_at_spaces(settings)
        """Whether a text's tokens are those of its pieces, cut before each space that stands behind a word."""
        # whatever special id slips through (a word-level vocabulary finds "[PAD]" in a text) becomes unknown
        self._allowed = np.arange(self.vocab_size)
        self._allowed[sorted(self.special_ids)] = self.unk_id
        self._allowed_in_prompts = self._allowed.copy()
        self._allowed_in_prompts[self.mask_id] = self.mask_id

    @classmethod
    def train(cls, texts: Iterable[str], config: TokenizerConfig) -> "Tokenizer":
        """A tokenizer of the given kind for these texts; equal texts give an equal tokenizer. The texts are
        held in memory. Raises UsageError if there is no text, or if `vocab_size` is too small for the
        kind."""
        if config.path is not None:
            return cls.load(config.path)
        normalizer = _normalizer(config)
        cleaned = [normalizer.normalize_str(_without_specials(text, config)) for text in texts]
        if not any(text and not text.isspace() for text in cleaned):
            raise UsageError("there is no text to train a tokenizer on", "give a source that holds text")
        return cls(_assemble(_train_model(cleaned, config), config).to_str())

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Reads a tokenizer.json. Raises UsageError if there is no such file and GlassformerError if it is
        broken."""
        try:
            description = plain_text(Path(path), LARGE, "tokenizer.json")
        except NoSuchFile:
            raise UsageError(f"there is no tokenizer at {path}", "give the path of a tokenizer.json") from None
        try:
            return cls(description)
        except GlassformerError as error:
            raise GlassformerError(f"{path}: {error.what}", error.mend) from None

    def save(self, path: str | Path) -> None:
        """Writes tokenizer.json, aside first and then renamed, so that a kill leaves no half file."""
        aside = Path(f"{path}.{os.getpid()}.part")
        with open(aside, "w", encoding="utf-8") as file:
            file.write(self._description)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[str]]:
        return Tokenizer, (self._description,)

    @cached_property
    def identity(self) -> str:
        """The sha256 of the tokenizer.json: equal for tokenizers that do the same."""
        return hashlib.sha256(self._description.encode()).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """The content of its tokenizer.json."""
        return dict(json.loads(self._description))

    @property
    def vocabulary(self) -> list[str | None]:
        """The tokens by their numbers, as the tokenizer.json has them; None where there is none."""
        return [self._base.id_to_token(id) for id in range(self.vocab_size)]

    def encode(self, text: str, allow_mask: bool = False) -> Encoded:
        """The tokens of one text, no special ones added. With `allow_mask` the literal [MASK] is the mask
        token; the text around it is cut as if a word stood there. Raises UsageError for a lone surrogate."""
        tokenizer = self._prompts if allow_mask else self._base
        try:
            encoding = tokenizer.encode(text, add_special_tokens=False)
        except TypeError:
            _refuse_surrogates([text])
            raise
        except BaseException as error:
            raise _in_words(error) from None
        return self._to_encoded(encoding, text, self._allowed_in_prompts if allow_mask else self._allowed)

    def encode_batch(self, texts: Sequence[str]) -> list[Encoded]:
        """Many texts at once, on all cores; each as `encode` would. Raises UsageError for a lone
        surrogate."""
        try:
            encodings = self._base.encode_batch(texts, add_special_tokens=False)
        except TypeError:
            _refuse_surrogates(texts)
            raise
        except BaseException as error:
            raise _in_words(error) from None
        return [
            self._to_encoded(encoding, text, self._allowed) for encoding, text in zip(encodings, texts, strict=True)
        ]

    def encode_together(self, texts: Sequence[str]) -> "Together":
        """The tokens of many texts in one row, each text's as `encode` gives them, without their places in the text:
        most of the time that reading a large corpus takes goes into those. Raises UsageError for a lone surrogate."""
        mended = [number for number, text in enumerate(texts) if not has_plain_words(text)]
        no_places = self._space_ids is not None and not mended
        encode = self._base.encode_batch_fast if no_places else self._base.encode_batch
        try:
            encodings = encode(texts, add_special_tokens=False)
        except TypeError:
            _refuse_surrogates(texts)
            raise
        lengths = np.array([len(encoding) for encoding in encodings], dtype=np.int64)
        ids = self._allowed[_in_one_row((encoding.ids for encoding in encodings), int(lengths.sum()))]
        places = np.cumsum(lengths) - lengths
        begins = np.zeros(len(ids) + 1, dtype=bool)  # one more, for empty texts at the end
        begins[places] = True
        begins = begins[:-1]
        if self._space_ids is not None:
            is_space = self._space_ids[ids]
            starts_word = is_space & ~np.append(False, is_space[:-1])
        else:
            groups = _in_one_row((encoding.word_ids for encoding in encodings), len(ids))
            starts_word = np.diff(groups, prepend=-1) != 0
        starts_word |= begins
        for number in mended:
            place, one = places[number], self._to_encoded(encodings[number], texts[number], self._allowed)
            starts_word[place : place + lengths[number]] = one.starts_word
        return Together(ids, starts_word, lengths)

    def decode(self, ids: Sequence[int | np.integer] | Integer[np.ndarray, "n"]) -> str:
        """The text of the tokens, special ones shown. Exact for bpe and byte; the other kinds lose some
        spaces. Raises UsageError for an id that the vocabulary does not have."""
        special = {self._raw(i) for i in self.special_ids}
        tokens = [self._raw(i) for i in ids]
        shown = [self._space + token if token in special and i else token for i, token in enumerate(tokens)]
        if self._base.decoder is None:
            return " ".join(shown)
        try:
            return self._base.decoder.decode(shown)
        except BaseException as error:
            raise _in_words(error) from None

    def frame(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer.json itself sets before and behind a text. Ours set none: objectives
        do. Raises GlassformerError for one that cannot be used."""
        try:
            framed = self._base.encode("a", add_special_tokens=True)
        except BaseException as error:
            raise _in_words(error) from None
        added = list(zip(framed.ids, framed.special_tokens_mask, strict=True))
        before = [id for id, _ in takewhile(lambda token: token[1], added)]
        behind = [id for id, _ in takewhile(lambda token: token[1], reversed(added[len(before) :]))]
        return before, behind[::-1]

    def token(self, id: int | np.integer) -> str:
        """One token for display: white space is visible (▁ ↵ ⇥), half a character is its bytes, such as
        <0xE2>. Raises UsageError for an id that the vocabulary does not have."""
        raw = self._raw(id)
        if self._byte_level:
            raw = _show_bytes(raw)
        return raw.translate(_VISIBLE)

    def id(self, token: str) -> int | None:
        """The id of a token as `token` shows it, or None."""
        return self._ids.get(token)

    @cached_property
    def _ids(self) -> dict[str, int]:
        vocabulary = self._base.get_vocab(with_added_tokens=True)
        shown = {self.token(i): i for i in sorted(vocabulary.values(), reverse=True)}  # the lowest id wins
        return shown if self._byte_level else shown | vocabulary

    def _raw(self, id: int | np.integer) -> str:
        if id in self._names:  # the library lowers [UNK] where the data's word for it is lowered
            return self._names[int(id)]
        raw = self._base.id_to_token(int(id)) if 0 <= id < self.vocab_size else None
        if raw is None:
            raise UsageError(f"there is no token {id}", f"this vocabulary has the ids 0 to {self.vocab_size - 1}")
        return raw

    def _to_encoded(self, encoding: tokenizers.Encoding, text: str, allowed: Int64[np.ndarray, "vocab"]) -> Encoded:
        ids = allowed[np.asarray(encoding.ids, dtype=np.int64)]
        offsets = encoding.offsets
        if self._unknown is not None:
            offsets = [_whole_unknown(text, self._unknown, span) for span in offsets]
        if not text.isascii() and (not unicodedata.is_normalized("NFC", text) or re.search(_ACCENTS, text)):
            offsets = _with_combining_marks(text, offsets)
        groups = np.asarray(encoding.word_ids, dtype=np.int64)
        if self._space_ids is not None:
            groups = np.cumsum(_first_spaces(self._space_ids[ids]))
        return Encoded(ids, offsets, word_starts(text, offsets, np.diff(groups, prepend=-1) != 0))

    def _white_space(self) -> Bool[np.ndarray, "vocab"]:
        raw = [token or "" for token in self.vocabulary]
        return np.array([(_show_bytes(token) if self._byte_level else token).isspace() for token in raw])


def _whole_unknown(text: str, unknown: str, span: tuple[int, int]) -> tuple[int, int]:
    """The library gives the data's own unknown word, once replaced, the offsets of its last letters only."""
    whole = span[1] - len(unknown)
    return (whole, span[1]) if whole >= 0 and text[whole : span[1]] == unknown else span


def _with_combining_marks(text: str, offsets: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The library gives a composed character the offsets of its first code point: e + accent became e alone. An accent
    that lower-casing drops is of the token before it."""
    next_starts = [start for start, _ in offsets[1:]] + [len(text)]
    return [
        (start, end + _letters_before_space(text[end:following]))
        for (start, end), following in zip(offsets, next_starts, strict=False)
    ]


def _letters_before_space(gap: str) -> int:
    return next((i for i, c in enumerate(gap) if c.isspace()), len(gap))


def _in_one_row(lists: Iterable[Sequence[Any]], number: int) -> Int64[np.ndarray, "n"]:
    return np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=number)


def _first_spaces(is_space: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Where white space begins."""
    return is_space & ~np.concatenate([[False], is_space[:-1]])


# --- training -------------------------------------------------------------------------------------


def _train_model(texts: list[str], config: TokenizerConfig) -> models.Model:
    """`texts` are normalised."""
    if config.kind == "byte":
        return _vocabulary_without_merges(_byte_characters())
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
    least = _N_BYTES + len(SPECIALS)
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
        models.WordPiece(unk_token=UNK, max_input_chars_per_word=_LONGEST_RUN),
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
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, _pre_tokenizer(config)])
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
    return re.match(f"[{HAN}{_ASCII_SIGNS}]", character) is None and unicodedata.category(character)[0] != "P"


def _without_specials(text: str, config: TokenizerConfig) -> str:
    """A special token or the data's own unknown word is not learnt as a word."""
    for literal in (config.unknown, *SPECIALS):
        if literal is not None and literal in text:
            text = text.replace(literal, " ")
    _refuse_surrogates([text])
    return text


# --- how each kind cuts a text --------------------------------------------------------------------


def _assemble(model: models.Model, config: TokenizerConfig) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    replaced = [] if config.unknown is None else [normalizers.Replace(config.unknown, UNK)]
    tokenizer.normalizer = normalizers.Sequence([*replaced, _normalizer(config)])
    tokenizer.pre_tokenizer = _pre_tokenizer(config)
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
    return dict(json.loads(_assemble(models.WordLevel({UNK: 0}, UNK), config).to_str()))


def _normalizer(config: TokenizerConfig) -> normalizers.Normalizer:
    if config.kind in ("bpe", "byte"):  # exact: what is decoded is what was encoded
        return normalizers.Sequence(_lowered() if config.lowercase else [])
    if not config.lowercase:
        return normalizers.NFC()
    if config.kind != "wordpiece":
        return normalizers.Sequence([normalizers.NFC(), *_lowered(), normalizers.NFC()])
    accents = normalizers.Replace(tokenizers.Regex(_ACCENTS), "")
    return normalizers.Sequence([normalizers.NFD(), accents, *_lowered(), normalizers.NFC()])


_ACCENTS = "[\u0300-\u036f]"
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
_ASCII_SIGNS = "$+<=>^`|~"
_SIGNS = rf"\p{{P}}{_ASCII_SIGNS}"
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


def _pre_tokenizer(config: TokenizerConfig) -> pre_tokenizers.PreTokenizer:
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
    pattern = _words(_LONGEST_RUN if config.kind == "wordpiece" else None)
    return pre_tokenizers.Split(tokenizers.Regex(pattern), "removed", invert=True)


def count_words(texts: Iterable[str], config: TokenizerConfig) -> Counter[str]:
    """How often each word stands in the texts, as kind=word cuts and writes it."""
    config = config.model_copy(update={"kind": "word"})
    normalizer, cut = _normalizer(config), _pre_tokenizer(config)
    return Counter(word for text in texts for word, _ in cut.pre_tokenize_str(normalizer.normalize_str(text)))


def _decoder(config: TokenizerConfig) -> decoders.Decoder | None:
    if config.kind in ("bpe", "byte"):
        return decoders.ByteLevel()
    if config.kind == "unigram":
        return decoders.Metaspace(prepend_scheme="first")
    if config.kind == "wordpiece":
        return decoders.WordPiece()
    return decoders.Fuse() if config.kind == "character" else None


# --- what a tokenizer.json says about itself ------------------------------------------------------


def _from_json(description: str) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_str(description)
    except Exception as error:  # the library raises bare Exception
        raise GlassformerError(f"this is no tokenizer.json: {error}", "give a whole tokenizer.json") from None
    except BaseException as error:
        raise _in_words(error) from None
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= MOST_TOKENS:  # a single absurd id makes it so, and the library counts up to it where it writes itself
        raise GlassformerError(
            f"the tokenizer numbers its tokens up to {largest:,}, and at most {MOST_TOKENS:,} are read",
            "give a whole tokenizer.json",
        )
    tokenizer.encode_special_tokens = True  # special tokens in a text are text
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _in_words(error: BaseException) -> BaseException:
    """What the library raises where a vocabulary does not hold together, as our own: it raises bare Exception, or a
    panic, which is none."""
    if type(error) is Exception or type(error).__name__ == "PanicException":
        return GlassformerError(f"the tokenizer is damaged: {str(error)[:200]}", "give a whole tokenizer.json")
    return error


def _special_ids(tokenizer: tokenizers.Tokenizer) -> list[int]:
    ids = {special: tokenizer.token_to_id(special) for special in SPECIALS}
    missing = [special for special, id in ids.items() if id is None]
    if missing:
        raise GlassformerError(
            f"the tokenizer lacks {' '.join(missing)}", f"its vocabulary must hold {' '.join(SPECIALS)}"
        )
    return [id for id in ids.values() if id is not None]


def _with_mask_let_in(settings: dict[str, Any], mask_id: int) -> dict[str, Any]:
    """The same tokenizer, in which [MASK] is no longer special and therefore found in a text."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = {token["id"]: token for token in settings["added_tokens"]}
    added[mask_id] = plain | added.get(mask_id, {}) | {"id": mask_id, "content": MASK, "special": False}
    return settings | {"added_tokens": [added[i] for i in sorted(added)]}


def _unknown_word(settings: dict[str, Any]) -> str | None:
    normalizer = settings["normalizer"] or {}
    for step in normalizer.get("normalizers", [normalizer]):
        if step.get("type") == "Replace" and step["content"] == UNK:
            return step["pattern"].get("String")
    return None


def _space_mark(settings: dict[str, Any]) -> str:
    """What stands for the space inside a token of a kind whose pieces carry it; else empty."""
    decoder = (settings["decoder"] or {}).get("type", "")
    marks = {"Metaspace": "▁", "ByteLevel": "Ġ"}
    return "" if _is_one_word(settings) else marks.get(decoder, "")


def _is_one_word(settings: dict[str, Any]) -> bool:
    """Whether the tokenizer never cuts a text into words (character and byte)."""
    pre_tokenizer = settings["pre_tokenizer"] or {}
    return not pre_tokenizer.get("pretokenizers", pre_tokenizer) or pre_tokenizer.get("use_regex") is False


_CHARACTER_BY_CHARACTER = ("NFC", "NFD", "Lowercase", "StripAccents", "BertNormalizer")
_CUT_AT_SPACES = ("BertPreTokenizer", "WhitespaceSplit", "Whitespace")
_CUT_FURTHER = ("Punctuation", "Digits", "Split", *_CUT_AT_SPACES)


def _cuts_at_spaces(settings: dict[str, Any]) -> bool:
    """True only where every step is known to leave the two sides of a space alone: a step that is not known here may
    look across it."""
    steps, cuts = _steps(settings, "normalizer"), _steps(settings, "pre_tokenizer", "pretokenizers")
    added = [token for token in settings["added_tokens"] if not token["special"]]
    return (
        all(step["type"] in _CHARACTER_BY_CHARACTER or _replaces_in_words(step) or _is_own(step) for step in steps)
        and bool(cuts)
        and (_cuts_first(cuts[0]) or _is_own(cuts[0]))
        and all(cut["type"] in _CUT_FURTHER or _is_plain_bytes(cut) for cut in cuts[1:])
        and not any(token["rstrip"] or " " in token["content"] for token in added)
    )


def _is_own(step: dict[str, Any]) -> bool:
    """Whether it is one of the steps by which a kind that cuts at spaces is made here."""
    return step["type"] in ("Replace", "Split") and json.dumps(step, sort_keys=True) in _own_steps()


@cache
def _own_steps() -> frozenset[str]:
    kinds: tuple[Literal["word", "wordpiece", "bpe"], ...] = ("word", "wordpiece", "bpe")
    made = [untrained(TokenizerConfig(kind=kind, lowercase=lowered)) for kind in kinds for lowered in (False, True)]
    steps = [s for m in made for s in [*_steps(m, "normalizer"), *_steps(m, "pre_tokenizer", "pretokenizers")[:1]]]
    return frozenset(json.dumps(step, sort_keys=True) for step in steps)


def _steps(settings: dict[str, Any], kind: str, inner: str = "normalizers") -> list[dict[str, Any]]:
    step = settings[kind]
    return [] if step is None else list(step.get(inner, [step]))


def _replaces_in_words(step: dict[str, Any]) -> bool:
    """Of white space in what stands in a word's place, a cut before a space would be another one."""
    if step["type"] != "Replace":
        return False
    pattern, content = step["pattern"].get("String"), step["content"]
    return bool(pattern and content) and not any(c.isspace() for c in pattern + content)


def _cuts_first(cut: dict[str, Any]) -> bool:
    if cut["type"] == "Metaspace":  # before the first word it puts a space, and before no other
        return cut["prepend_scheme"] in ("first", "never") and cut["split"] is not False
    return cut["type"] in _CUT_AT_SPACES or (_is_plain_bytes(cut) and cut["use_regex"] is not False)


def _is_plain_bytes(cut: dict[str, Any]) -> bool:
    return cut["type"] == "ByteLevel" and not cut["add_prefix_space"]


# --- small parts ----------------------------------------------------------------------------------

_VISIBLE = str.maketrans({" ": "▁", "\n": "↵", "\t": "⇥"})


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte (Radford et al. 2019, GPT-2's `bytes_to_unicode`):
    itself where it is printable, else one from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(_N_BYTES) if b not in printable]
    return [chr(b) if b in printable else chr(_N_BYTES + others.index(b)) for b in range(_N_BYTES)]


_BYTES = {character: byte for byte, character in enumerate(_byte_characters())}


def _show_bytes(raw: str) -> str:
    """A token of a byte-level vocabulary as text; bytes that are no whole character as <0xE2>."""
    if not all(c in _BYTES for c in raw):  # a token that somebody added to the vocabulary
        return raw
    text = bytes(_BYTES[c] for c in raw).decode("utf-8", errors="surrogateescape")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)


def _refuse_surrogates(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"a text with a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}",
                "it is half of a character and cannot be written as UTF-8: mend or remove it",
            ) from None
