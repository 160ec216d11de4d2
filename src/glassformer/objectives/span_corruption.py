"""Span corruption (T5; Raffel et al. 2020, section 3.1.4): spans are taken out, and the decoder says only those.

    text      mars is called the red planet
    encoder   mars is [S0] red planet [SEP]
    decoder   [CLS] [S0] called the
    asked     [S0] called the [SEP]        at every position of the decoder the next token

A sentinel stands for each gap, in the text and before what was there. Targets are short: a seventh of the text or so.
In a stream of texts the [SEP] between two stays where it is: in a target it would be an end before the end.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64

from glassformer.answers import Generates
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, Targets
from glassformer.data.corpus import Corpus
from glassformer.data.windows import windows_of
from glassformer.errors import UsageError
from glassformer.objective_configs import SpanCorruptionConfig
from glassformer.objectives import Dataset, Objective, Prompt

HEAD = "span_corruption"


class SpanCorruption(Objective[SpanCorruptionConfig], Generates):
    """Say what stood in the gaps; see the module's example. Unknown words are never asked."""

    Config = SpanCorruptionConfig
    question = "only the words that stood in the gaps"
    good_for = "many text-to-text tasks by one model; its short targets make training cheap"
    family = "encoder_decoder"

    def check(self) -> None:
        """There is room for gaps, and a sentinel for each."""
        if self.max_length < 4:
            raise UsageError(f"model.max_length={self.max_length} leaves no room for a gap", "use 8 or more")
        needed = max(numbers_of(self.max_length - 1, self.config.corruption_rate, self.config.span_length)[1], 1)
        if len(self.sentinels) < needed:
            raise UsageError(
                f"span_corruption makes up to {needed} gaps in a text, and the tokenizer has "
                f"{len(self.sentinels)} sentinels for them",
                f"use tokenizer.sentinels={needed}",
            )

    @cached_property
    def sentinels(self) -> Int64[np.ndarray, "sentinels"]:
        """The tokens that stand for gaps."""
        return np.array(self.tokenizer.sentinel_ids, dtype=np.int64)

    @classmethod
    def tokenizer_settings(cls, max_length: int) -> dict[str, Any]:
        """As many sentinels as a full text has gaps at the usual rate."""
        usual = SpanCorruptionConfig()
        return {"sentinels": max(1, numbers_of(max_length - 1, usual.corruption_rate, usual.span_length)[1])}

    def dataset(self, corpus: Corpus) -> Dataset:
        """Documents, or rows of one stream of tokens."""
        return GappedTexts(self, corpus)

    def outputs(self) -> list[OutputSpec]:
        """One head over the vocabulary, read everywhere in the decoder."""
        return [OutputSpec(HEAD, self.tokenizer.vocab_size, tied=True, bias=False)]

    def example(self, ids: Int64[np.ndarray, "T"], rng: np.random.Generator) -> Example:
        """A text with gaps, and what stood in them."""
        return self.with_gaps(ids, spans(len(ids), self.config.corruption_rate, self.config.span_length, rng))

    def in_turn(self, ids: Int64[np.ndarray, "T"], rng: np.random.Generator) -> list[Example]:
        """A text with other gaps each time, until each of its tokens stood in one."""
        turns = spans_in_turn(len(ids), self.config.corruption_rate, self.config.span_length, rng)
        return [self.with_gaps(ids, drawn) for drawn in turns]

    def words_of(self, example: Example) -> tuple[int, int]:
        """What is not in the one stream is in the other."""
        return self._words_in(example, example.streams)

    def with_gaps(self, ids: Int64[np.ndarray, "T"], drawn: Sequence[tuple[int, int]]) -> Example:
        """A text with gaps at these spans."""
        gaps = [gap for start, stop in drawn if (gap := self.in_one_text(ids, start, stop))]
        source: list[np.ndarray] = []
        target: list[np.ndarray] = []
        end = 0
        for (start, stop), sentinel in zip(gaps, self.sentinels, strict=False):
            source += [ids[end:start], np.array([sentinel])]
            target += [np.array([sentinel]), ids[start:stop]]
            end = stop
        return self.asking(np.concatenate([*source, ids[end:]]), np.concatenate([ids[:0], *target]))

    def in_one_text(self, ids: Int64[np.ndarray, "T"], start: int, stop: int) -> tuple[int, int] | None:
        """The longest part of a gap that holds no end of a text; None for a gap that is nothing else."""
        ends = (start + np.flatnonzero(ids[start:stop] == self.tokenizer.sep_id)).tolist()
        parts = zip([start, *(end + 1 for end in ends)], [*ends, stop], strict=True)
        first, last = max(parts, key=lambda part: part[1] - part[0])
        return (first, last) if first < last else None

    def asking(self, source: Int64[np.ndarray, "S"], target: Int64[np.ndarray, "G"]) -> Example:
        """What the encoder reads, and what the decoder is asked."""
        read, targets = self.taught(target)
        encoder = Stream(np.append(source, self.tokenizer.sep_id))
        return Example({"encoder": encoder, "decoder": read}, {HEAD: targets})

    def prompt(self, text: str) -> Prompt:
        """A text with [MASK] at its gaps, each of one or more words. Raises UsageError for one without a gap, with too
        many, or too long."""
        ids = self.tokenizer.encode(text, allow_mask=True).ids
        gaps = np.flatnonzero(ids == self.tokenizer.mask_id)
        if len(ids) > self.max_length - 1:
            raise UsageError(
                f"the text has {len(ids)} tokens, the model reads at most {self.max_length - 1} "
                "beside the one at its end",
                "shorten it, or train with a larger model.max_length",
            )
        if len(gaps) == 0:
            raise UsageError(f"there is no gap in {text!r}", "write [MASK] where one or more words are missing")
        if len(gaps) > len(self.sentinels):
            raise UsageError(f"{len(gaps)} gaps, and this model knows {len(self.sentinels)}", "ask in several texts")
        ids[gaps] = self.sentinels[: len(gaps)]
        streams = self.asking(ids, ids[:0]).streams
        targets = Targets(np.array([0]), np.array([IGNORE_INDEX]), "decoder")
        tokens = [self.tokenizer.token(int(token)) for token in streams["encoder"].values]
        return Prompt(text, Example(streams, {HEAD: targets}), tokens)

    def stop_tokens(self, prompt: Prompt) -> frozenset[int]:
        """The gaps are all said where [SEP] comes, or the sentinel of a gap that the text has not."""
        gaps = {*self.tokenizer.sentinel_ids} & {*prompt.example.streams["encoder"].values.tolist()}
        return frozenset({self.tokenizer.sep_id, *self.tokenizer.sentinel_ids} - gaps)

    def text_of(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The text with its gaps filled; a gap of which nothing was said stays as its sentinel."""
        said: dict[int, list[int]] = {}
        at: list[int] = []
        for token in ids:
            if token in self.tokenizer.sentinel_ids:
                at = said.setdefault(int(token), [])
            elif token not in self.tokenizer.special_ids:
                at.append(int(token))
        whole: list[int] = []
        for token in prompt.example.streams["encoder"].values[:-1].tolist():
            whole += said.get(token, [token])
        return self.tokenizer.decode(whole)


def numbers_of(length: int, rate: float, mean: float) -> tuple[int, int]:
    """How many tokens of a text are taken out, and in how many spans: as near to the rate and the mean as whole numbers
    allow, at least one, and always something left."""
    taken = min(max(round(length * rate), 1), length - 1)
    return taken, min(max(round(taken / mean), 1), taken, length - taken)


def spans(length: int, rate: float, mean: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(start, end) of the spans of a text, in order; at least one token is left between two of them. Their lengths are
    a random partition, their places are as likely as each other (in T5's own code a text ends with a span, which for a
    short text is always the same one). None for a single token."""
    if length < 2:
        return []
    taken, number = numbers_of(length, rate, mean)
    inside = partition(taken, number, rng)
    places = np.sort(rng.choice(length - taken + 1, number, replace=False))  # tokens that are left before each
    starts = places + np.cumsum(inside) - inside
    return [(int(start), int(start + n)) for start, n in zip(starts, inside, strict=True)]


def spans_in_turn(length: int, rate: float, mean: float, rng: np.random.Generator) -> list[list[tuple[int, int]]]:
    """Spans of a text, one choice after another, until each token is in one of them; in each choice about as much as
    `spans` has, and spread over the text. The text is cut into spans, and neighbours go to different choices."""
    if length < 2:
        return []
    taken, number = numbers_of(length, rate, mean)
    pieces = min(length, max(2, -(-length * number // taken)))
    turns = min(pieces, max(2, -(-pieces // number)))  # never more gaps than there are sentinels for
    # As long as gaps are on average in training: a model that never saw others would be asked what it has not learned.
    ends = np.cumsum(rng.permutation(np.diff(np.arange(pieces + 1) * length // pieces)))
    cut = [(int(end - n), int(end)) for end, n in zip(ends, np.diff(ends, prepend=0), strict=True)]
    return [cut[turn::turns] for turn in range(turns)]


def partition(total: int, parts: int, rng: np.random.Generator) -> Int64[np.ndarray, "parts"]:
    """`total` as a sum of so many positive numbers, every such sum as likely."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


class GappedTexts(Dataset):
    """One text or window for each unit, with other gaps every time."""

    def __init__(self, objective: SpanCorruption, corpus: Corpus) -> None:
        self.objective = objective
        room, separator = objective.max_length - 1, objective.tokenizer.sep_id
        self.windows = windows_of(corpus, objective.config.units, separator, room)
        self.lengths = self.windows.lengths + 1

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Window `index`, with gaps."""
        return self.objective.example(self.windows[index][0], rng)

    def in_turn(self, index: int, rng: np.random.Generator) -> list[Example]:
        """Window `index`, with other gaps each time."""
        return self.objective.in_turn(self.windows[index][0], rng)
