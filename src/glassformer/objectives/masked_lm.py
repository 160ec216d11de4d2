"""Masked language modelling (BERT; Devlin et al. 2019, section 3.1): hide some tokens, ask for them.

    before     transformers use self attention
    corrupted  [CLS] transformers use [MASK] attention [SEP]
    asked      position 3: self

Of the chosen tokens 80% become [MASK], 10% a random word and 10% stay as they are, all of them asked, and drawn anew
every time that a text is seen. Special tokens and unknown words are never asked.
"""

import itertools
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64
from pydantic import Field

from glassformer.config import Config
from glassformer.data.batch import NOT_ASKED, Asked, Example, HeadSpec
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.objectives import Objective, Prompt, Units

HEAD = "masked_lm"


class MaskedLMConfig(Config):
    """What is hidden, and how."""

    name: Literal["masked_lm"] = Field("masked_lm", description="the objective (a file in objectives)")
    mask_rate: float = Field(0.15, gt=0, lt=1, description="share of the tokens that are asked")
    evaluation_mask_rate: float = Field(
        0.15, gt=0, lt=1, description="the same in evaluation, so that runs with different rates can be compared"
    )
    mask_token_share: float = Field(0.8, ge=0, le=1, description="of those: share that becomes [MASK]")
    random_token_share: float = Field(0.1, ge=0, le=1, description="of those: share that becomes a random word")
    whole_word: bool = Field(False, description="choose whole words instead of single tokens")
    units: Literal["documents", "stream"] = Field(
        "documents",
        description="documents: each text by itself, [CLS] text [SEP], cut where too long; stream: all texts one "
        "after another, [SEP] between, cut into full rows of max_length",
    )


class MaskedLM(Objective[MaskedLMConfig]):
    """Hide tokens and ask for them; see the module's example."""

    Config = MaskedLMConfig

    def __init__(self, config: MaskedLMConfig, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__(config, tokenizer, max_length)
        if config.mask_token_share + config.random_token_share > 1:
            raise UsageError("objective.mask_token_share and objective.random_token_share add up to more than 1")
        if max_length < 3:
            raise UsageError(f"model.max_length={max_length} leaves no room between [CLS] and [SEP]", "use 8 or more")
        self.is_ordinary = np.ones(tokenizer.vocab_size, dtype=bool)
        self.is_ordinary[list(tokenizer.special_ids)] = False
        self.ordinary = np.flatnonzero(self.is_ordinary)

    def for_evaluation(self) -> "MaskedLM":
        """Asks at `evaluation_mask_rate`."""
        config = self.config.model_copy(update={"mask_rate": self.config.evaluation_mask_rate})
        return MaskedLM(config, self.tokenizer, self.max_length)

    def units(self, corpus: Corpus) -> Units:
        """Documents framed by [CLS] and [SEP], or rows of one stream of tokens."""
        if self.config.units == "stream":
            return StreamUnits(self, corpus)
        return DocumentUnits(self, corpus)

    def heads(self) -> list[HeadSpec]:
        """One head over the vocabulary, read where something was hidden."""
        return [HeadSpec(HEAD, "encoder", self.tokenizer.vocab_size)]

    def choose(
        self, ids: Int64[np.ndarray, "T"], starts_word: Bool[np.ndarray, "T"], rng: np.random.Generator
    ) -> Int64[np.ndarray, "n"]:
        """The positions to ask. Their number is the rate times the tokens that can be asked, a fraction being
        rounded up as often as it is large, so that the rate holds on average in short texts too; at least one."""
        can_be_asked = self.is_ordinary[ids]
        positions = np.flatnonzero(can_be_asked)
        if len(positions) == 0:
            return positions
        number = max(1, int(self.config.mask_rate * len(positions) + rng.random()))
        if not self.config.whole_word:
            return np.sort(rng.choice(positions, number, replace=False))
        word_of = np.cumsum(starts_word)
        words = rng.permutation(np.unique(word_of[positions]))
        lengths = np.bincount(word_of[positions], minlength=word_of[-1] + 1)[words]
        # The word that crosses the number is taken as often as it is needed to keep the rate on average.
        before = np.cumsum(lengths) - lengths
        taken = words[(before < number) & (rng.random() * lengths < number - before)]
        taken = words[:1] if len(taken) == 0 else taken
        return positions[np.isin(word_of[positions], taken)]

    def corrupt(
        self, ids: Int64[np.ndarray, "T"], positions: Int64[np.ndarray, "n"], rng: np.random.Generator
    ) -> Int64[np.ndarray, "T"]:
        """[MASK], a random word, or the word itself, at the chosen positions."""
        corrupted = ids.copy()
        lot = rng.random(len(positions))
        masked = lot < self.config.mask_token_share
        random = (lot >= self.config.mask_token_share) & (
            lot < self.config.mask_token_share + self.config.random_token_share
        )
        corrupted[positions[masked]] = self.tokenizer.mask_id
        corrupted[positions[random]] = rng.choice(self.ordinary, int(random.sum()))
        return corrupted

    def example(
        self, ids: Int64[np.ndarray, "T"], starts_word: Bool[np.ndarray, "T"], rng: np.random.Generator
    ) -> Example:
        """Hide part of `ids` and ask for it."""
        positions = self.choose(ids, starts_word, rng)
        corrupted = self.corrupt(ids, positions, rng)
        return Example({"encoder": corrupted}, {HEAD: Asked(positions, ids[positions])})

    @property
    def frame(self) -> tuple[int, int]:
        """The tokens around a text: as in training, so that a prompt looks like what the model has read."""
        tokenizer = self.tokenizer
        return (tokenizer.cls_id if self.config.units == "documents" else tokenizer.sep_id), tokenizer.sep_id

    def prompt(self, text: str) -> Prompt:
        """A text with [MASK] at its blanks, or with none. Raises UsageError when longer than `max_length`."""
        encoded = self.tokenizer.encode(text, allow_mask=True)
        first, last = self.frame
        ids = np.concatenate([[first], encoded.ids, [last]])
        if len(ids) > self.max_length:
            raise UsageError(
                f"the text has {len(encoded.ids)} tokens, the model reads at most {self.max_length - 2} "
                "beside one at each end",
                "shorten it, or train with a larger model.max_length",
            )
        blanks = np.flatnonzero(ids == self.tokenizer.mask_id)
        asked = Asked(blanks, np.full(len(blanks), NOT_ASKED, dtype=np.int64))
        tokens = [self.tokenizer.token(int(token)) for token in ids]
        return Prompt(text, Example({"encoder": ids}, {HEAD: asked}), tokens)


class DocumentUnits(Units):
    """Each document by itself, framed by [CLS] and [SEP]; a long one becomes several windows of equal length."""

    def __init__(self, objective: MaskedLM, corpus: Corpus) -> None:
        self.objective = objective
        self.tokens, self.starts_word = np.asarray(corpus.tokens), np.asarray(corpus.starts_word)
        room = objective.max_length - 2
        windows: list[tuple[int, int]] = []
        for start, length in zip(corpus.document_starts[:-1].tolist(), corpus.lengths.tolist(), strict=True):
            pieces = max(1, -(-length // room))
            cuts = [start + length * i // pieces for i in range(pieces + 1)]
            windows += [(a, b) for a, b in itertools.pairwise(cuts) if b > a]
        self.windows = np.array(windows, dtype=np.int64).reshape(-1, 2)
        self.lengths = self.windows[:, 1] - self.windows[:, 0] + 2

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Window `index`, corrupted."""
        start, end = self.windows[index]
        first, last = self.objective.frame
        ids = np.concatenate([[first], self.tokens[start:end].astype(np.int64), [last]])
        starts_word = np.concatenate([[True], self.starts_word[start:end], [True]])
        return self.objective.example(ids, starts_word, rng)


class StreamUnits(Units):
    """All documents one after another, [SEP] after each, cut into rows of exactly `max_length` tokens (the last one
    shorter): no padding, and attention across neighbours, as RoBERTa's full sentences (Liu et al. 2019, 4.2)."""

    def __init__(self, objective: MaskedLM, corpus: Corpus) -> None:
        self.objective = objective
        self.tokens, self.starts_word = np.asarray(corpus.tokens), np.asarray(corpus.starts_word)
        # In the stream, document d starts d separators later than in the store.
        self.starts = np.asarray(corpus.document_starts) + np.arange(corpus.n_documents + 1)
        total = corpus.n_tokens + corpus.n_documents
        edges = np.append(np.arange(0, total, objective.max_length), total)
        self.lengths = np.diff(edges)

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Row `index` of the stream, corrupted."""
        begin = index * self.objective.max_length
        ids, starts_word = self.row(begin, begin + int(self.lengths[index]))
        return self.objective.example(ids, starts_word, rng)

    def row(self, begin: int, end: int) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
        """Tokens `begin` to `end` of the stream, separators included."""
        document = int(np.searchsorted(self.starts, begin, side="right")) - 1
        ids: list[np.ndarray] = []
        flags: list[np.ndarray] = []
        at = begin
        while at < end:
            stop = min(end, int(self.starts[document + 1]) - 1)  # the separator's place
            ids.append(self.tokens[at - document : stop - document].astype(np.int64))
            flags.append(self.starts_word[at - document : stop - document])
            if stop < end:
                ids.append(np.array([self.objective.tokenizer.sep_id]))
                flags.append(np.array([True]))
            at = stop + 1
            document += 1
        return np.concatenate(ids), np.concatenate(flags)
