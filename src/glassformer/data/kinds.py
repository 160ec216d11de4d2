"""What a tokenizer is and what it does not give back of a text, read from its settings."""

from collections.abc import Iterator
from typing import Any, Literal

from glassformer.data.cutting import untrained
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig

Kind = Literal["word", "wordpiece", "bpe", "unigram", "character", "byte"]
_DROP_SPACES = ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")


def changes(config: TokenizerConfig, composed: bool = False) -> str:
    """What of a text is not as it was once it has been encoded and decoded, in one sentence; empty where everything is.
    Words and characters that the vocabulary does not have are [UNK] and not meant here. `composed` says that the texts
    are in Unicode's composed form (NFC) already. Raises what `Tokenizer.load` raises, for a `path`."""
    settings = untrained(config) if config.path is None else Tokenizer.load(config.path).settings
    lost = [what for what in _losses(settings) if not (composed and what == _COMPOSITION)]
    if not lost:
        return ""
    listed = ", ".join(lost[:-1]) + " and " * (len(lost) > 1) + lost[-1]
    kind = config.kind if config.path is None else _kind(settings)
    mend = "tokenizer.lowercase=false" if lost == [_CAPITALS] else "tokenizer.kind=bpe tokenizer.lowercase=false"
    return f"this {kind} tokenizer does not give back {listed}; {mend} does"


def config_of(tokenizer: Tokenizer) -> TokenizerConfig:
    """The settings that say what a tokenizer.json is, made here or elsewhere: its kind, the number of its tokens, and
    whether it lowers letters."""
    settings = tokenizer.settings
    return TokenizerConfig(
        kind=_kind(settings), vocab_size=max(6, tokenizer.vocab_size), lowercase=_CAPITALS in _losses(settings)
    )


def kind_of(tokenizer: Tokenizer) -> Kind:
    """What a token of it is."""
    return _kind(tokenizer.settings)


def _kind(settings: dict[str, Any]) -> Kind:
    model = settings["model"]
    named: dict[str, Kind] = {"WordLevel": "word", "WordPiece": "wordpiece", "Unigram": "unigram"}
    if model["type"] in named:
        return named[model["type"]]
    if model["merges"]:
        return "bpe"
    is_bytes = any(step["type"] == "ByteLevel" for step in _steps(settings["pre_tokenizer"]))
    return "byte" if is_bytes else "character"


_SPACES = "line ends, indents, rows of spaces"
_CAPITALS = "capital letters"
_COMPOSITION = "whether é is one character or two"


def _losses(settings: dict[str, Any]) -> list[str]:
    """What a text loses, by the steps that a tokenizer.json names."""
    cuts, steps = list(_steps(settings["pre_tokenizer"])), list(_steps(settings["normalizer"]))
    types = {step["type"] for step in steps}
    bert: dict[str, Any] = next((step for step in steps if step["type"] == "BertNormalizer"), {})
    strips = bert.get("lowercase") if bert.get("strip_accents") is None else bert["strip_accents"]
    replaces = [str(step["pattern"].get("Regex", "")) for step in steps if step["type"] == "Replace"]
    found = {
        _SPACES: any(cut["type"] in _DROP_SPACES or cut.get("behavior") == "Removed" for cut in cuts),
        "a space at the beginning, the sign ▁": any(cut["type"] == "Metaspace" for cut in cuts),
        _CAPITALS: "Lowercase" in types or bert.get("lowercase"),
        "the accents of é, ü, й": strips or "StripAccents" in types or any("\u0300" in each for each in replaces),
        "the invisible joiners of Persian and of emoji": bert.get("clean_text"),
        "characters that are another form of one, such as ﬁ": types & {"NFKC", "NFKD", "Precompiled"},
        _COMPOSITION: types & {"NFC", "NFD", "NFKC", "NFKD", "Precompiled"},
    }
    return [what for what, is_lost in found.items() if is_lost]


def _steps(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, those inside a sequence one by one."""
    if part is None:
        return
    inner = part.get("normalizers") or part.get("pretokenizers")
    if part["type"] != "Sequence":
        yield part
    for each in inner or []:
        yield from _steps(each)
