"""What a recipe says about its tokenizer, and the special tokens that every tokenizer has."""

from typing import Literal

from pydantic import Field

from glassformer.config import Config

PAD, UNK, CLS, SEP, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SENTINEL = "[S{}]".format


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
