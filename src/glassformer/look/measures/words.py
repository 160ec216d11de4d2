"""Which tokens of what a model reads are which word of a text, and attention between words instead of tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from glassformer.ask.run import Run
from glassformer.data.scripts import cut_at, is_without_spaces, occurrences, words_in
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.look.measures.heads import visible_pairs
from glassformer.objectives import Prompt

Span = tuple[int, int]
"""Characters of a text, as in text[begin:end]."""


class Reading(NamedTuple):
    """A text as the stack reads it that `Run.attention` shows."""

    text: str
    prompt: Prompt
    spans: list[Span]
    """The characters of each token; (0, 0) of one that is no part of the text."""
    unknown: Bool[np.ndarray, "tokens"]

    def tokens_of(self, span: Span) -> list[int]:
        """The tokens that hold at least one of these characters; none where the tokenizer has dropped them."""
        begin, end = span
        return [n for n, (a, b) in enumerate(self.spans) if max(a, begin) < min(b, end)]

    def words(self) -> list[Span]:
        """The words of the text. Where its script puts no space between words, its tokens stand for them."""
        starts = [begin for begin, _ in self.spans]
        return [part for span in words_in(self.text) for part in cut_at(self.text, span, starts)]


def reading(run: Run, text: str) -> Reading:
    """Raises UsageError for a text that the model cannot read, or whose words it does not read in their order."""
    prompt = run.objective.prompt(text)
    stream = prompt.example.streams[prompt.stream]
    encoded = run.tokenizer.encode(text, allow_mask=True)
    starts = [
        n for n in range(len(stream.values)) if np.array_equal(stream.values[n : n + len(encoded.ids)], encoded.ids)
    ]
    if not len(encoded.ids) or not starts or stream.n_keys < len(stream.values):
        raise UsageError(
            f"{text!r} is not read as it stands, word for word", "give a plain text without blanks or a prefix"
        )
    before, after = starts[-1], len(stream.values) - starts[-1] - len(encoded.ids)
    spans = [(0, 0)] * before + encoded.offsets + [(0, 0)] * after
    return Reading(text, prompt, spans, stream.values == run.tokenizer.unk_id)


def said_unknown(unknown: Sequence[str]) -> str:
    """What pictures and pages say where a vocabulary lacks words of a text; nothing where it lacks none."""
    return f"not in the vocabulary, read as [UNK]: {', '.join(dict.fromkeys(unknown))}" if unknown else ""


def find(text: str, word: str, nth: int | None = None) -> Span:
    """Where a word stands in a text, upper and lower case alike; `nth` counts from 1 where it stands there more than
    once. Raises UsageError for a word that is not there, and where it is not said which."""
    found = find_all(text, word)
    if nth is None and len(found) > 1:
        raise UsageError(f"{word!r} stands {len(found)} times in {text!r}", f"say which: --nth 1 to {len(found)}")
    if not 1 <= (nth or 1) <= len(found):
        raise UsageError(f"there is no {word!r} number {nth} in {text!r}", f"it stands there {len(found)} times")
    return found[(nth or 1) - 1]


def find_all(text: str, word: str) -> list[Span]:
    """Everywhere that a word stands; in a script without spaces between words, any part of the text is one. Raises
    UsageError naming the words that there are, where it is nowhere."""
    found = occurrences(text, word)
    if not found and is_without_spaces([text]):
        raise UsageError(f"{word!r} is not in {text!r}", "name any part of the text: its script has no spaces")
    if not found:
        there = dict.fromkeys(text[begin:end] for begin, end in words_in(text))
        raise UsageError(f"{word!r} is not in {text!r}", f"its words are: {', '.join(there) or 'none'}")
    return found


def between_words(
    weights: Float[np.ndarray, "layers heads query key"], words: Sequence[Sequence[int]]
) -> Float[np.ndarray, "layers heads words words"]:
    """Attention from word to word, each given as its tokens (at least one): to a word the sum over its tokens, from a
    word the mean over them (Clark et al. 2019, section 4.1). Rows sum to what goes to these words."""
    member = np.zeros((len(words), weights.shape[-1]))
    for number, tokens in enumerate(words):
        member[number, list(tokens)] = 1
    return np.einsum("aq,lhqk,bk->lhab", member / member.sum(1, keepdims=True), weights, member, optimize=True)


def attention_between(
    run: Run, text: Reading, words: Sequence[Sequence[int]]
) -> tuple[Float[np.ndarray, "layers heads words words"], Float[np.ndarray, "words words"]]:
    """Attention from word to word, and what a uniform head would give; NaN in both where no token of a word may see any
    of the other."""
    pairs = visible_pairs(text.prompt.example.streams[text.prompt.stream])
    weights = between_words(run.attention_of(text.prompt).weights, words)
    even = between_words((pairs / pairs.sum(1, keepdims=True))[None, None], words)[0, 0]
    return np.where(even > 0, weights, np.nan), np.where(even > 0, even, np.nan)


def as_token(tokenizer: Tokenizer, word: str) -> str:
    """A word as a person types it, as the token that a blank inside a sentence is filled with: lower-cased where the
    vocabulary is, with the mark of a space before it (▁red) where tokens carry one. A word of several tokens stays."""
    for text in (f"{tokenizer.decode([tokenizer.mask_id])} {word}", f" {word}", word):
        ids = tokenizer.encode(text, allow_mask=True).ids
        tokens = [int(i) for i in ids if i != tokenizer.mask_id]
        if len(tokens) == 1 and tokens[0] not in tokenizer.special_ids:
            return tokenizer.token(tokens[0])
    return word
