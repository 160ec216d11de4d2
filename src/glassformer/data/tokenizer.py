"""Text -> tokens. The work is done by the library `tokenizers`; how each kind cuts a text is said in `cutting`, how
its vocabulary is found in `tokenizer_training`. One promise is kept here: a special token inside a person's text is
text, never a special id.

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
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from jaxtyping import Bool, Int64, Integer

from glassformer.data.byte_level import show_bytes
from glassformer.data.cutting import ACCENTS, refuse_surrogates
from glassformer.data.scripts import has_plain_words, word_starts
from glassformer.data.tokenizer_config import SENTINEL, SPECIALS
from glassformer.data.tokenizer_config import TokenizerConfig as TokenizerConfig
from glassformer.data.tokenizer_json import (
    cuts_at_spaces,
    from_json,
    is_one_word,
    readable,
    space_mark,
    special_ids,
    unknown_word,
    with_mask_let_in,
)
from glassformer.data.tokenizer_training import trained
from glassformer.errors import GlassformerError, UsageError
from glassformer.reading import LARGE, NoSuchFile, plain_text

_VISIBLE = str.maketrans({" ": "▁", "\n": "↵", "\t": "⇥"})


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
        self._base = from_json(description)
        self._description = self._base.to_str(pretty=True)
        settings = json.loads(self._description)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = special_ids(self._base)
        self._names = dict(zip(special_ids(self._base), SPECIALS, strict=True))
        self.special_ids = frozenset(special_ids(self._base)) | {
            added["id"] for added in settings["added_tokens"] if added["special"]
        }
        self._prompts = from_json(json.dumps(with_mask_let_in(settings, self.mask_id)))
        numbered = takewhile(lambda id: id is not None, map(self._base.token_to_id, map(SENTINEL, count())))
        self.sentinel_ids = [id for id in numbered if id is not None]
        self.vocab_size = 1 + max(self._base.get_vocab(with_added_tokens=True).values())
        self._unknown = unknown_word(settings)
        self._byte_level = (settings["decoder"] or {}).get("type") == "ByteLevel"
        self._space = space_mark(settings)
        self._space_ids = self._white_space() if is_one_word(settings) else None
        self.cuts_at_spaces = cuts_at_spaces(settings)
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
        return cls(trained(texts, config).to_str())

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
            refuse_surrogates([text])
            raise
        except BaseException as error:
            raise readable(error) from None
        return self._to_encoded(encoding, text, self._allowed_in_prompts if allow_mask else self._allowed)

    def encode_batch(self, texts: Sequence[str]) -> list[Encoded]:
        """Many texts at once, on all cores; each as `encode` would. Raises UsageError for a lone
        surrogate."""
        try:
            encodings = self._base.encode_batch(texts, add_special_tokens=False)
        except TypeError:
            refuse_surrogates(texts)
            raise
        except BaseException as error:
            raise readable(error) from None
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
            refuse_surrogates(texts)
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
            raise readable(error) from None

    def frame(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer.json itself sets before and behind a text. Ours set none: objectives
        do. Raises GlassformerError for one that cannot be used."""
        try:
            framed = self._base.encode("a", add_special_tokens=True)
        except BaseException as error:
            raise readable(error) from None
        added = list(zip(framed.ids, framed.special_tokens_mask, strict=True))
        before = [id for id, _ in takewhile(lambda token: token[1], added)]
        behind = [id for id, _ in takewhile(lambda token: token[1], reversed(added[len(before) :]))]
        return before, behind[::-1]

    def token(self, id: int | np.integer) -> str:
        """One token for display: white space is visible (▁ ↵ ⇥), half a character is its bytes, such as
        <0xE2>. Raises UsageError for an id that the vocabulary does not have."""
        raw = self._raw(id)
        if self._byte_level:
            raw = show_bytes(raw)
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
        if not text.isascii() and (not unicodedata.is_normalized("NFC", text) or re.search(ACCENTS, text)):
            offsets = _with_combining_marks(text, offsets)
        groups = np.asarray(encoding.word_ids, dtype=np.int64)
        if self._space_ids is not None:
            groups = np.cumsum(_first_spaces(self._space_ids[ids]))
        return Encoded(ids, offsets, word_starts(text, offsets, np.diff(groups, prepend=-1) != 0))

    def _white_space(self) -> Bool[np.ndarray, "vocab"]:
        raw = [token or "" for token in self.vocabulary]
        return np.array([(show_bytes(token) if self._byte_level else token).isspace() for token in raw])


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
