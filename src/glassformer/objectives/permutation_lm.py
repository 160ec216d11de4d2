"""Permutation language modelling (XLNet; Yang et al. 2019, sections 2.2 and 2.3): words are learned in a random order,
and the last of that order are asked, each from all that came before it.

    text      [CLS] mars is called the red planet [SEP]
    order     [CLS] is the planet mars [SEP] | called red        the last part is asked
    queries   at position 3, seeing what comes before `called` in the order: called
              at position 5, seeing that and `called` too: red

One stack reads the text and, behind it, a query for each asked word: a [MASK] at the word's position, which sees the
words before it in the order, and which nothing sees. A word itself sees what comes before it and itself; what is not
asked sees everything that is not asked. There is no memory of earlier texts (that is Transformer-XL's part of XLNet).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from glassformer.answers import FillsInAnyOrder, ScoresText
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, Targets
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer_config import MASK
from glassformer.data.windows import windows_of
from glassformer.errors import UsageError
from glassformer.objective_configs import PermutationLMConfig
from glassformer.objectives import Dataset, Objective, Prompt

HEAD = "permutation_lm"


class PermutationLM(Objective[PermutationLMConfig], FillsInAnyOrder, ScoresText):
    """Ask for the last words of a random order; see the module's example. Special tokens and unknown words are never
    asked."""

    Config = PermutationLMConfig
    direction = "both sides, in a random order"
    question = "some words, each from all that come before it in a random order"
    good_for = "understanding, with answers that depend on each other and no [MASK] among the words that it reads"

    def check(self) -> None:
        """A row has room."""
        if self.max_length < 4:
            raise UsageError(
                f"model.max_length={self.max_length} leaves no room between [CLS] and [SEP]", "use 8 or more"
            )

    def dataset(self, corpus: Corpus) -> Dataset:
        """Documents framed by [CLS] and [SEP], or rows of one stream of tokens."""
        return OrderedTexts(self, corpus)

    def outputs(self) -> list[OutputSpec]:
        """One head over the vocabulary, read at the queries."""
        return [OutputSpec(HEAD, self.tokenizer.vocab_size, tied=True)]

    def example(self, ids: Int64[np.ndarray, "T"], rng: np.random.Generator) -> Example:
        """A text in a random order, the last of which is asked."""
        can_be_asked = np.flatnonzero(~np.isin(ids, list(self.tokenizer.special_ids)))
        number = min(len(can_be_asked), max(1, int(self.config.asked_share * len(ids) + rng.random())))
        return self.asking(ids, rng.permutation(can_be_asked)[:number])

    def in_turn(self, ids: Int64[np.ndarray, "T"], rng: np.random.Generator) -> list[Example]:
        """A text in several orders, until each of its words was among the last of one."""
        can_be_asked = np.flatnonzero(~np.isin(ids, list(self.tokenizer.special_ids)))
        number = max(1, round(self.config.asked_share * len(ids)))
        groups = np.array_split(rng.permutation(can_be_asked), -(-len(can_be_asked) // number) or 1)
        return [self.asking(ids, group) for group in groups if len(group)]

    def asking(self, ids: Int64[np.ndarray, "T"], asked: Int64[np.ndarray, "n"]) -> Example:
        """The words at `asked`, in this order, each from those before it and from all that is not asked."""
        rank = np.zeros(len(ids), dtype=np.int64)  # 0: not asked
        rank[asked] = np.arange(1, len(asked) + 1)
        queries = np.full(len(asked), self.tokenizer.mask_id)
        stream = Stream(
            np.concatenate([ids, queries]),
            positions=np.concatenate([np.arange(len(ids)), asked]),
            n_query_only=len(asked),
            pair_mask=np.concatenate([rank[:, None] >= rank[None, :], rank[asked][:, None] > rank[None, :]]),
        )
        places = np.arange(len(ids), len(ids) + len(asked))
        return Example({"encoder": stream}, {HEAD: Targets(places, ids[asked])})

    @property
    def frame(self) -> tuple[int, int]:
        """The tokens around a text: as in training, so that a prompt looks like what the model has read."""
        tokenizer = self.tokenizer
        return (tokenizer.cls_id if self.config.units == "documents" else tokenizer.sep_id), tokenizer.sep_id

    def prompt(self, text: str) -> Prompt:
        """A text with [MASK] at its blanks, or with none, each asked from the words that are there. Raises UsageError
        for one that is longer than the model reads."""
        encoded = self.tokenizer.encode(text, allow_mask=True).ids
        first, last = self.frame
        ids = np.concatenate([[first], encoded, [last]])
        if len(ids) > self.max_length:
            raise UsageError(
                f"the text has {len(encoded)} tokens, the model reads at most {self.max_length - 2} "
                "beside one at each end",
                "shorten it, or train with a larger model.max_length",
            )
        return self.with_blanks(text, ids)

    def with_blanks(self, text: str, ids: Int64[np.ndarray, "T"]) -> Prompt:
        """The same of a text's tokens, a [MASK] at each blank."""
        blanks = np.flatnonzero(ids == self.tokenizer.mask_id)
        known = np.flatnonzero(ids != self.tokenizer.mask_id)
        stream = Stream(
            np.concatenate([ids[known], ids[blanks]]),
            positions=np.concatenate([known, blanks]),
            n_query_only=len(blanks),
            pair_mask=np.ones((len(ids), len(known)), dtype=bool),
        )
        targets = Targets(np.arange(len(known), len(ids)), np.full(len(blanks), IGNORE_INDEX))
        tokens = [self.tokenizer.token(int(token)) for token in stream.values]
        return Prompt(text, Example({"encoder": stream}, {HEAD: targets}), tokens)

    def filled(self, prompt: Prompt, blank: int, token: int) -> Prompt:
        """The prompt with the word `token` at one of its blanks, which is no longer asked, and seen by all."""
        stream = prompt.example.streams["encoder"]
        assert stream.positions is not None
        ids = stream.values[np.argsort(stream.positions)]
        ids[np.flatnonzero(ids == self.tokenizer.mask_id)[blank]] = token
        return self.with_blanks(prompt.text, ids)

    def text_of(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The text as the person wrote it, with what `ids`, all of its tokens in their frame, have at its blanks."""
        encoded = self.tokenizer.encode(prompt.text, allow_mask=True)
        blanks = np.flatnonzero(encoded.ids == self.tokenizer.mask_id)
        text, end = "", 0
        for run in np.split(blanks, np.flatnonzero(np.diff(blanks) > 1) + 1):  # neighbours may share a character
            before = encoded.offsets[run[0] - 1][1] if run[0] else 0
            gap = prompt.text[before : encoded.offsets[run[0]][1]].removesuffix(MASK)
            text += prompt.text[end:before] + self._behind(gap, [ids[n + 1] for n in run])
            end = encoded.offsets[run[-1]][1]
        return text + prompt.text[end:]

    def _behind(self, gap: str, written: list[int]) -> str:
        """Tokens as text, behind the white space that the person left before them, unless they go on with a word."""
        decode, before = self.tokenizer.decode, self.tokenizer.cls_id
        text = decode([before, *written]).removeprefix(decode([before]))
        if text.startswith(" ") and gap:
            return gap + text[1:]
        return text if decode(written).startswith(" ") else text.removeprefix(" ") or text

    def scored(self, text: str) -> list[Example]:
        """An example for each token, which is asked from all the others."""
        prompt = self.prompt(text).example.streams["encoder"]
        if prompt.n_query_only:
            raise UsageError(f"there is a [MASK] in {text!r}", "score a whole text; `fill` asks for its blanks")
        ids = prompt.values
        places = np.flatnonzero(~np.isin(ids, list(self.tokenizer.special_ids)))
        return [self.asking(ids, np.array([place])) for place in places]


class OrderedTexts(Dataset):
    """One text or window for each unit, in another order every time."""

    def __init__(self, objective: PermutationLM, corpus: Corpus) -> None:
        self.objective = objective
        self.framed = objective.config.units == "documents"
        room = objective.max_length - 2 * self.framed
        self.windows = windows_of(corpus, objective.config.units, objective.tokenizer.sep_id, room)
        self.lengths = self.windows.lengths + 2 * self.framed

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Window `index`, ordered."""
        return self.objective.example(self._framed(index), rng)

    def in_turn(self, index: int, rng: np.random.Generator) -> list[Example]:
        """Window `index`, in several orders."""
        return self.objective.in_turn(self._framed(index), rng)

    def _framed(self, index: int) -> Int64[np.ndarray, "T"]:
        ids, _ = self.windows[index]
        return np.concatenate([self.objective.frame[:1], ids, self.objective.frame[1:]]) if self.framed else ids
