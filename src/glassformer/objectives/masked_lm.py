"""Masked language modelling (BERT; Devlin et al. 2019, section 3.1): hide some tokens, ask for them.

    before     transformers use self attention
    corrupted  [CLS] transformers use [MASK] attention [SEP]
    asked      position 3: self

Of the chosen tokens 80% become [MASK], 10% a random word and 10% stay as they are, all of them asked, and drawn anew
every time that a text is seen. Special tokens and unknown words are never asked.
"""

import numpy as np
from jaxtyping import Bool, Int64

from glassformer.answers import FillsBlanks, ScoresText
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, Targets
from glassformer.data.corpus import Corpus
from glassformer.data.masking import Masking
from glassformer.data.windows import DocumentWindows, StreamWindows
from glassformer.errors import UsageError
from glassformer.objective_configs import MaskedLMConfig
from glassformer.objectives import Dataset, Objective, Prompt

HEAD = "masked_lm"


class MaskedLM(Objective[MaskedLMConfig], FillsBlanks, ScoresText):
    """Hide tokens and ask for them; see the module's example."""

    Config = MaskedLMConfig
    question = "which words stand at the blanks, from both sides"
    good_for = "understanding: search, classification, tagging; a body for fine-tuning"

    def check(self) -> None:
        """A row has room, and is no longer than the model reads."""
        if self.max_length < 3:
            raise UsageError(
                f"model.max_length={self.max_length} leaves no room between [CLS] and [SEP]", "use 8 or more"
            )
        if self.row_length > self.max_length:
            raise UsageError(
                f"objective.row_length={self.row_length} is more than the model reads",
                f"use at most model.max_length={self.max_length}",
            )
        self.masking = Masking(self.config, self.tokenizer)

    @property
    def row_length(self) -> int:
        """What the recipe says, or all that the model reads."""
        return self.config.row_length or self.max_length

    def for_evaluation(self) -> "MaskedLM":
        """Asks at `evaluation_mask_rate`."""
        config = self.config.model_copy(update={"mask_rate": self.config.evaluation_mask_rate})
        return MaskedLM(config, self.tokenizer, self.max_length)

    def dataset(self, corpus: Corpus) -> Dataset:
        """Documents framed by [CLS] and [SEP], or rows of one stream of tokens."""
        if self.config.units == "stream":
            return MaskedRows(self, corpus)
        return MaskedDocuments(self, corpus)

    def outputs(self) -> list[OutputSpec]:
        """One head over the vocabulary, read where something was hidden."""
        return [OutputSpec(HEAD, self.tokenizer.vocab_size, tied=True, transform="dense")]

    def example(
        self, ids: Int64[np.ndarray, "T"], starts_word: Bool[np.ndarray, "T"], rng: np.random.Generator
    ) -> Example:
        """Hide part of `ids` and ask for it."""
        return self.hiding(ids, self.masking.choose(ids, starts_word, rng), rng)

    def in_turn(
        self, ids: Int64[np.ndarray, "T"], starts_word: Bool[np.ndarray, "T"], rng: np.random.Generator
    ) -> list[Example]:
        """Hide one part of `ids` after another, until all was asked."""
        parts = self.masking.choose_in_turn(ids, starts_word, rng)
        return [self.hiding(ids, positions, rng) for positions in parts]

    def hiding(
        self, ids: Int64[np.ndarray, "T"], positions: Int64[np.ndarray, "n"], rng: np.random.Generator
    ) -> Example:
        """`ids` with these positions hidden, and asked."""
        corrupted = self.masking.corrupt(ids, positions, rng)
        return Example({"encoder": Stream(corrupted)}, {HEAD: Targets(positions, ids[positions])})

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
        targets = Targets(blanks, np.full(len(blanks), IGNORE_INDEX, dtype=np.int64))
        tokens = [self.tokenizer.token(int(token)) for token in ids]
        return Prompt(text, Example({"encoder": Stream(ids)}, {HEAD: targets}), tokens)

    def scored(self, text: str) -> list[Example]:
        """An example for each token, in which that one is hidden (pseudo-likelihood; Salazar et al. 2020)."""
        ids = self.prompt(text).example.streams["encoder"].values
        places = np.flatnonzero(self.masking.is_ordinary[ids])
        hidden = [np.where(np.arange(len(ids)) == place, self.tokenizer.mask_id, ids) for place in places]
        return [
            Example({"encoder": Stream(read)}, {HEAD: Targets(np.array([place]), ids[[place]])})
            for read, place in zip(hidden, places, strict=True)
        ]


class MaskedDocuments(Dataset):
    """Each document by itself, framed by [CLS] and [SEP]; a long one becomes several windows of equal length."""

    def __init__(self, objective: MaskedLM, corpus: Corpus) -> None:
        self.objective = objective
        self.windows = DocumentWindows(corpus, objective.row_length - 2)
        self.lengths = self.windows.lengths + 2

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Window `index`, corrupted."""
        return self.objective.example(*self._framed(index), rng)

    def in_turn(self, index: int, rng: np.random.Generator) -> list[Example]:
        """Window `index`, each of its tokens hidden once."""
        return self.objective.in_turn(*self._framed(index), rng)

    def _framed(self, index: int) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
        ids, starts_word = self.windows[index]
        first, last = self.objective.frame
        return np.concatenate([[first], ids, [last]]), np.concatenate([[True], starts_word, [True]])


class MaskedRows(Dataset):
    """Rows of one stream of all documents: no padding, and attention across neighbours."""

    def __init__(self, objective: MaskedLM, corpus: Corpus) -> None:
        self.objective = objective
        self.windows = StreamWindows(corpus, objective.tokenizer.sep_id, objective.row_length)
        self.lengths = self.windows.lengths

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Row `index`, corrupted."""
        return self.objective.example(*self.windows[index], rng)

    def in_turn(self, index: int, rng: np.random.Generator) -> list[Example]:
        """Row `index`, each of its tokens hidden once."""
        return self.objective.in_turn(*self.windows[index], rng)
