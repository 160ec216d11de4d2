"""What a tokenizer.json says about itself: read with care, since it may be anybody's."""

import json
from functools import cache
from typing import Any, Literal

import tokenizers

from glassformer.data.cutting import untrained
from glassformer.data.tokenizer_config import MASK, SPECIALS, UNK, TokenizerConfig
from glassformer.errors import GlassformerError

MOST_TOKENS = 10_000_000
"""The largest vocabulary that is read."""


def from_json(description: str) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_str(description)
    except Exception as error:  # the library raises bare Exception
        raise GlassformerError(f"this is no tokenizer.json: {_line(error)}", "give a whole tokenizer.json") from None
    except BaseException as error:
        raise readable(error) from None
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


def readable(error: BaseException) -> BaseException:
    """What the library raises where a vocabulary does not hold together, as our own: it raises bare Exception, or a
    panic, which is none."""
    if type(error) is Exception or type(error).__name__ == "PanicException":
        return GlassformerError(f"the tokenizer is damaged: {_line(error)}", "give a whole tokenizer.json")
    return error


def _line(error: BaseException) -> str:
    """The library's words in a line: it quotes tokens as they are, with their line ends."""
    return " ".join(str(error).split())[:200]


def special_ids(tokenizer: tokenizers.Tokenizer) -> list[int]:
    ids = {special: tokenizer.token_to_id(special) for special in SPECIALS}
    missing = [special for special, id in ids.items() if id is None]
    if missing:
        raise GlassformerError(
            f"the tokenizer lacks {' '.join(missing)}", f"its vocabulary must hold {' '.join(SPECIALS)}"
        )
    return [id for id in ids.values() if id is not None]


def with_mask_let_in(settings: dict[str, Any], mask_id: int) -> dict[str, Any]:
    """The same tokenizer, in which [MASK] is no longer special and therefore found in a text."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = {token["id"]: token for token in settings["added_tokens"]}
    added[mask_id] = plain | added.get(mask_id, {}) | {"id": mask_id, "content": MASK, "special": False}
    return settings | {"added_tokens": [added[i] for i in sorted(added)]}


def unknown_word(settings: dict[str, Any]) -> str | None:
    normalizer = settings["normalizer"] or {}
    for step in normalizer.get("normalizers", [normalizer]):
        if step.get("type") == "Replace" and step["content"] == UNK:
            return step["pattern"].get("String")
    return None


def space_mark(settings: dict[str, Any]) -> str:
    """What stands for the space inside a token of a kind whose pieces carry it; else empty."""
    decoder = (settings["decoder"] or {}).get("type", "")
    marks = {"Metaspace": "▁", "ByteLevel": "Ġ"}
    return "" if is_one_word(settings) else marks.get(decoder, "")


def is_one_word(settings: dict[str, Any]) -> bool:
    """Whether the tokenizer never cuts a text into words (character and byte)."""
    pre_tokenizer = settings["pre_tokenizer"] or {}
    return not pre_tokenizer.get("pretokenizers", pre_tokenizer) or pre_tokenizer.get("use_regex") is False


_CHARACTER_BY_CHARACTER = ("NFC", "NFD", "Lowercase", "StripAccents", "BertNormalizer")
_CUT_AT_SPACES = ("BertPreTokenizer", "WhitespaceSplit", "Whitespace")
_CUT_FURTHER = ("Punctuation", "Digits", "Split", *_CUT_AT_SPACES)


def cuts_at_spaces(settings: dict[str, Any]) -> bool:
    """True only where every step is known to leave the two sides of a space alone: a step that is not known here may
    look across it."""
    steps, cuts = _steps(settings, "normalizer"), _steps(settings, "pre_tokenizer", "pretokenizers")
    added = [token for token in settings["added_tokens"] if not token["special"]]
    return (
        all(step["type"] in _CHARACTER_BY_CHARACTER or _replaces_within_words(step) or _is_own(step) for step in steps)
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


def _replaces_within_words(step: dict[str, Any]) -> bool:
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
