"""Causal language modelling (GPT; Radford et al. 2018, section 3.1): from the words so far, the next one.

    text      mars is called the red planet
    input     [SEP] mars is     called the red planet
    asked     mars  is   called the    red planet [SEP]    at every position the next token

Documents stand one after another, [SEP] between. A model with causal attention learns to go on with a text.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from glassformer.answers import GeneratesInOrder, ScoresText
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, Targets
from glassformer.data.corpus import Corpus
from glassformer.data.windows import StreamWindows, all_pieces
from glassformer.errors import UsageError
from glassformer.objective_configs import CausalLMConfig
from glassformer.objectives import Dataset, Objective, Prompt

HEAD = "causal_lm"


class CausalLM(Objective[CausalLMConfig], GeneratesInOrder, ScoresText):
    """Ask for the next token everywhere; see the module's example. Unknown words are never asked."""

    Config = CausalLMConfig
    question = "at every place the next word"
    good_for = "writing: going on with a text, dialogue, code"
    family = "decoder"
    draws = False
    asks_with = "a text"

    overlap = 0
    """Tokens of a row that were asked in the row before it."""

    def check(self) -> None:
        """Overlap leaves something to be asked."""
        if self.config.evaluation_overlap >= self.max_length:
            raise UsageError(
                f"objective.evaluation_overlap={self.config.evaluation_overlap} leaves nothing of a row to be asked",
                f"use less than model.max_length={self.max_length}",
            )

    def for_evaluation(self) -> "CausalLM":
        """With rows that stay where they are, and overlap where the configuration says so."""
        config = self.config.model_copy(update={"shifted": False})
        other = CausalLM(config, self.tokenizer, self.max_length, self.target_tokenizer)
        other.overlap = self.config.evaluation_overlap
        return other

    def dataset(self, corpus: Corpus) -> Dataset:
        """Documents between two [SEP], or rows of one stream of tokens."""
        return CausalRows(self, corpus) if self.config.units == "stream" else CausalDocuments(self, corpus)

    def outputs(self) -> list[OutputSpec]:
        """One head over the vocabulary, read everywhere."""
        return [OutputSpec(HEAD, self.tokenizer.vocab_size, tied=True, bias=False)]

    def example(self, ids: Int64[np.ndarray, "T_plus_1"], known: int = 0) -> Example:
        """All tokens but the last are read, all but the first are asked, or of these all behind the first `known`."""
        targets = ids[1:]
        positions = np.flatnonzero(targets != self.tokenizer.unk_id)
        positions = positions[positions >= known]
        asked = Targets(positions, targets[positions], "decoder")
        return Example({"decoder": Stream(ids[:-1], causal=True)}, {HEAD: asked})

    def prompt(self, text: str) -> Prompt:
        """A beginning, asked for the token after it. Raises UsageError for one that is
        empty or leaves no room, and for a blank."""
        encoded = self.tokenizer.encode(text, allow_mask=True)
        if len(encoded.ids) == 0:
            raise UsageError("the text is empty", "give the beginning of one: a word is enough")
        if self.tokenizer.mask_id in encoded.ids:
            raise UsageError(
                f"there is a [MASK] in {text!r}, and this model has learned to go on with a text, from left to right",
                "give the beginning only; blanks are filled by a model trained with masked_lm",
            )
        ids = np.concatenate([[self.tokenizer.sep_id], encoded.ids])
        if len(ids) > self.max_length:
            raise UsageError(
                f"the text has {len(encoded.ids)} tokens, the model reads at most {self.max_length - 1} beside the one "
                "that begins a text",
                "shorten it, or train with a larger model.max_length",
            )
        targets = Targets(np.array([len(ids) - 1]), np.array([IGNORE_INDEX]), "decoder")
        tokens = [self.tokenizer.token(int(token)) for token in ids]
        return Prompt(text, Example({"decoder": Stream(ids, causal=True)}, {HEAD: targets}), tokens, "decoder")

    def scored(self, text: str) -> list[Example]:
        """One example: every token from those before it."""
        return [self.example(self.prompt(text).example.streams["decoder"].values)]

    def stop_tokens(self, prompt: Prompt) -> frozenset[int]:
        """A text ends where the separator comes."""
        return frozenset({self.tokenizer.sep_id})

    def text_of(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """What comes behind the prompt, beginning with the space between them where there is one."""
        special = self.tokenizer.special_ids
        before = [i for i in prompt.example.streams["decoder"].values.tolist() if i not in special]
        whole = self.tokenizer.decode([*before, *(i for i in ids if i not in special)])
        return whole[len(self.tokenizer.decode(before)) :]


class CausalDocuments(Dataset):
    """Each document between two separators; a long one becomes several windows of nearly equal length."""

    def __init__(self, objective: CausalLM, corpus: Corpus) -> None:
        self.objective = objective
        self.corpus = corpus
        self.windows = all_pieces(corpus.lengths + 1, objective.max_length).T
        self.lengths = self.windows[:, 2] - self.windows[:, 1]

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Window `index`: tokens begin to end are read, and the one behind them is asked too."""
        document, begin, end = self.windows[index].tolist()
        text, separator = self.corpus.document(document), [self.objective.tokenizer.sep_id]
        before = separator if begin == 0 else []  # the text's first token stands at 1
        behind = separator if end == len(text) + 1 else []
        return self.objective.example(np.concatenate([before, text[max(0, begin - 1) : end], behind]).astype(np.int64))


class CausalRows(Dataset):
    """Rows of one stream of all documents. Neighbouring rows share one token, the last asked being the next one read,
    and in an evaluation as many more as the objective says."""

    def __init__(self, objective: CausalLM, corpus: Corpus) -> None:
        self.objective = objective
        overlap = objective.overlap + 1
        self.windows = StreamWindows(corpus, objective.tokenizer.sep_id, objective.max_length + 1, overlap)
        self.lengths = self.windows.lengths - 1

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Row `index`, or one as long that begins within half a row of it."""
        if self.objective.config.shifted:
            return self.objective.example(self._shifted(index, rng))
        return self.objective.example(self.windows[index][0], self.objective.overlap if index else 0)

    def _shifted(self, index: int, rng: np.random.Generator) -> Int64[np.ndarray, "T_plus_1"]:
        length, half = int(self.windows.lengths[index]), self.objective.max_length // 2
        latest = int(self.windows.begins[-1] + self.windows.lengths[-1]) - length
        begin = int(self.windows.begins[index] + rng.integers(-half, half, endpoint=True))
        begin = min(max(begin, 0), latest)
        return self.windows.row(begin, begin + length)[0]
