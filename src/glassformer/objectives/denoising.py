"""Denoising (BART; Lewis et al. 2020, section 2.2): a text is damaged, and the decoder writes it as it was.

    text      mars is called the red planet
    encoder   [CLS] mars is [MASK] red planet [SEP]      text infilling: `called the` became one [MASK]
    decoder   [CLS] mars is called the red planet
    asked     mars is called the red planet [SEP]        at every position of the decoder the next token

Kinds of damage, each as often as its rate says, one after the other: sentences change places, the text is turned to
begin at another token, words change places, spans become one [MASK] each, tokens are masked, tokens are deleted.
"""

import numpy as np
from jaxtyping import Bool, Int64

from glassformer.answers import GeneratesInOrder
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, Targets
from glassformer.data.corpus import Corpus
from glassformer.data.windows import windows_of
from glassformer.errors import UsageError
from glassformer.objective_configs import DenoisingConfig
from glassformer.objectives import Dataset, Objective, Prompt

HEAD = "denoising"


class Denoising(Objective[DenoisingConfig], GeneratesInOrder):
    """Restore a damaged text; see the module's example. Unknown words are never asked."""

    Config = DenoisingConfig
    question = "the whole text as it was before it was damaged"
    good_for = "writing from a text: corrections, summaries"
    family = "encoder_decoder"

    def check(self) -> None:
        """A row has room."""
        if self.max_length < 4:
            raise UsageError(
                f"model.max_length={self.max_length} leaves no room between [CLS] and [SEP]", "use 8 or more"
            )

    @classmethod
    def needs_sentences(cls, config: DenoisingConfig) -> bool:
        """Only where they change places."""
        return config.permute_sentences > 0

    def dataset(self, corpus: Corpus) -> Dataset:
        """Documents, or rows of one stream of tokens."""
        return DamagedTexts(self, corpus)

    def outputs(self) -> list[OutputSpec]:
        """One head over the vocabulary, read everywhere in the decoder."""
        return [OutputSpec(HEAD, self.tokenizer.vocab_size, tied=True, bias=False)]

    @property
    def room(self) -> int:
        """Tokens of a text that fit beside [CLS] and [SEP]. An empty span makes a text longer by its [MASK]; what no
        longer fits is cut from the damaged text only."""
        return self.max_length - 2

    def example(
        self,
        ids: Int64[np.ndarray, "T"],
        starts_word: Bool[np.ndarray, "T"],
        starts_sentence: Bool[np.ndarray, "T"] | None,
        rng: np.random.Generator,
    ) -> Example:
        """A damaged text, and the whole one to be written."""
        return self.restoring(self.damage(ids, starts_word, starts_sentence, rng), ids)

    def restoring(self, damaged: Int64[np.ndarray, "D"], ids: Int64[np.ndarray, "T"]) -> Example:
        """What the encoder reads, and what the decoder is asked."""
        tokenizer = self.tokenizer
        source = np.concatenate([[tokenizer.cls_id], damaged[: self.room], [tokenizer.sep_id]])
        read, targets = self.taught(ids)
        return Example({"encoder": Stream(source), "decoder": read}, {HEAD: targets})

    def damage(
        self,
        ids: Int64[np.ndarray, "T"],
        starts_word: Bool[np.ndarray, "T"],
        starts_sentence: Bool[np.ndarray, "T"] | None,
        rng: np.random.Generator,
    ) -> Int64[np.ndarray, "D"]:
        """All kinds of damage, one after the other. Where sentences begin need only be known where they change
        places."""
        config = self.config
        if rng.random() < config.permute_sentences:
            assert starts_sentence is not None
            ids, starts_word = permuted(ids, starts_word, starts_sentence, rng)
        if rng.random() < config.rotate:
            turn = int(rng.integers(len(ids)))
            ids, starts_word = np.roll(ids, -turn), np.roll(starts_word, -turn)
        if rng.random() < config.shuffle_words:
            ids, starts_word = permuted(ids, starts_word, starts_word, rng)
        if config.infill_rate:
            ids = infilled(ids, config.infill_rate, config.span_length, self.tokenizer.mask_id, rng)
        if config.mask_rate:
            ids = np.where(rng.random(len(ids)) < config.mask_rate, self.tokenizer.mask_id, ids)
        if config.delete_rate:
            ids = ids[rng.random(len(ids)) >= config.delete_rate]
        return ids

    def prompt(self, text: str) -> Prompt:
        """A damaged text, with [MASK] where words are missing. Raises UsageError for one that the model cannot read."""
        ids = self.tokenizer.encode(text, allow_mask=True).ids
        if len(ids) == 0 or not text.strip():
            raise UsageError("the text is empty", "give a text, with [MASK] where words are missing")
        if len(ids) > self.room:
            raise UsageError(
                f"the text has {len(ids)} tokens, the model reads at most {self.room} beside one at each end",
                "shorten it, or train with a larger model.max_length",
            )
        streams = self.restoring(ids, ids[:0]).streams
        targets = Targets(np.array([0]), np.array([IGNORE_INDEX]), "decoder")
        tokens = [self.tokenizer.token(int(token)) for token in streams["encoder"].values]
        return Prompt(text, Example(streams, {HEAD: targets}), tokens)

    def stop_tokens(self, prompt: Prompt) -> frozenset[int]:
        """A restored text ends where [SEP] comes."""
        return frozenset({self.tokenizer.sep_id})


def permuted(
    ids: Int64[np.ndarray, "T"],
    starts_word: Bool[np.ndarray, "T"],
    starts: Bool[np.ndarray, "T"],
    rng: np.random.Generator,
) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
    """The pieces that begin where `starts` is True, in a random order."""
    cuts = np.flatnonzero(starts[1:]) + 1
    pieces = np.split(np.arange(len(ids)), cuts)
    order = np.concatenate([pieces[n] for n in rng.permutation(len(pieces))])
    return ids[order], starts_word[order]


def infilled(
    ids: Int64[np.ndarray, "T"], rate: float, mean: float, mask_id: int, rng: np.random.Generator
) -> Int64[np.ndarray, "D"]:
    """Spans of Poisson length, drawn until they hold the rate of all tokens, become one mask each; an empty span puts a
    mask between two tokens. Spans never touch: each mask stands for one gap."""
    number = rate * len(ids)
    number = int(number) + (rng.random() < number % 1)
    lengths: list[int] = []
    while sum(lengths) < number:
        lengths.append(min(int(rng.poisson(mean)), number - sum(lengths)))
    free = len(ids) - number
    most = min(free + 1, number)  # with more of them there is no place between, or the text becomes longer
    if len(lengths) > most:
        filled = [n for n in lengths if n]
        lengths = [*filled[: most - 1], sum(filled[most - 1 :])]
    # Spans lie behind `place` of the free tokens, each at a place of its own.
    places = np.sort(rng.choice(free + 1, len(lengths), replace=False))
    parts: list[np.ndarray] = []
    at = taken = 0
    for place, length in zip(places.tolist(), lengths, strict=True):
        parts += [ids[at : place + taken], np.array([mask_id])]
        at = place + taken + length
        taken += length
    return np.concatenate([*parts, ids[at:]])


class DamagedTexts(Dataset):
    """One text or window for each unit, damaged anew every time."""

    def __init__(self, objective: Denoising, corpus: Corpus) -> None:
        self.objective = objective
        separator = objective.tokenizer.sep_id
        self.windows = windows_of(corpus, objective.config.units, separator, objective.room)
        self.lengths = self.windows.lengths + 2

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Window `index`, damaged."""
        needed = self.objective.needs_sentences(self.objective.config)
        starts_sentence = self.windows.starts_sentence(index) if needed else None
        return self.objective.example(*self.windows[index], starts_sentence, rng)
