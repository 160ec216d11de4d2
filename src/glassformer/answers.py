"""What a model can be asked for once it is trained: each kind of answer is a class of its own, which an objective that
teaches it has among its bases. Who wants an answer asks `isinstance(objective, Generates)`; of a mixture, whose members
can do different things, `objective.can(Generates)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64, UInt8

from glassformer.data.batch import Example, Stream, Targets
from glassformer.data.tokenizer import Tokenizer
from glassformer.data.two_texts import BETWEEN as BETWEEN


class Candidate(NamedTuple):
    """One possible answer and the probability that the model gives it."""

    token: str
    probability: float


class Blank(NamedTuple):
    """One asked position: its place among the tokens, the candidates (best first), and the truth where known."""

    position: int
    candidates: list[Candidate]
    true: str | None = None


class Prompt(NamedTuple):
    """A person's text as an example, with the tokens that the model reads (for pictures)."""

    text: str
    example: Example
    tokens: list[str]
    stream: str = "encoder"
    """The stream that the tokens are of."""


class FillsBlanks(ABC):
    """Says which token stands at each [MASK] of a text."""

    @abstractmethod
    def prompt(self, text: str) -> Prompt:
        """A text as an example that asks at each of its blanks; without a blank it asks nothing."""


class FillsInAnyOrder(FillsBlanks):
    """Fills one blank after another, each seen by the next: a text grows inside. What is asked stands behind the text,
    as queries, and not at the blanks themselves."""

    tokenizer: Tokenizer

    @abstractmethod
    def filled(self, prompt: Prompt, blank: int, token: int) -> Prompt:
        """A prompt of which one blank, counted from 0, is filled."""

    @abstractmethod
    def text_of(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The text whose tokens are `ids`."""


class Generates(ABC):
    """Goes on from a prompt, token by token."""

    target_tokenizer: Tokenizer
    max_length: int

    @abstractmethod
    def stop_tokens(self, prompt: Prompt) -> frozenset[int]:
        """The tokens at which what grows from the prompt is finished."""

    def taught(self, target: Int64[np.ndarray, "T"]) -> tuple[Stream, Targets]:
        """A target as the decoder learns it: it reads [CLS] and the target, and is asked the target and [SEP], at every
        place the next token (teacher forcing). Cut to what the model reads; unknown words are never asked."""
        tokenizer = self.target_tokenizer
        read = np.append(tokenizer.cls_id, target)[: self.max_length]
        targets = np.append(target, tokenizer.sep_id)[: self.max_length]
        positions = np.flatnonzero(targets != tokenizer.unk_id)
        return Stream(read, causal=True), Targets(positions, targets[positions], "decoder")

    def continued(self, prompt: Prompt, ids: Sequence[int]) -> Prompt:
        """A prompt that has grown by some tokens, as the decoder reads them."""
        [(head, targets)] = prompt.example.targets.items()
        stream = prompt.example.streams[targets.stream]
        grown = stream._replace(values=np.concatenate([stream.values, np.asarray(ids, dtype=np.int64)]))
        place = targets._replace(positions=np.array([len(grown.values) - 1]))
        return prompt._replace(example=Example(prompt.example.streams | {targets.stream: grown}, {head: place}))

    def text_of(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """What has been generated from a prompt, as a text, without the token that ended it."""
        return self.target_tokenizer.decode([i for i in ids if i not in self.target_tokenizer.special_ids])


class GeneratesInOrder(Generates):
    """Generates texts that only grow at their end, so that they can be shown as they come."""


class ScoresText(ABC):
    """Says how likely each token of a text is."""

    @abstractmethod
    def scored(self, text: str) -> list[Example]:
        """A text as examples that ask each of its tokens once, in order: from what stands before it, or from all the
        others. Raises UsageError where that cannot be asked."""


class PredictsLabels(ABC):
    """Says of what class a whole example is."""

    @property
    @abstractmethod
    def label_head(self) -> str:
        """The head that says it, whose `labels` name the classes."""


class TagsWords(ABC):
    """Says which tag each word of a text has."""

    @property
    @abstractmethod
    def tag_head(self) -> str:
        """The head that says it, whose `labels` name the tags."""

    @property
    @abstractmethod
    def names_entities(self) -> bool:
        """Whether its tags say where names of one or several words begin and end (IOB2)."""

    @abstractmethod
    def tagged_prompts(self, words: Sequence[str]) -> list[tuple[Prompt, list[int]]]:
        """Words as one prompt or several, each with the numbers of the words whose tags it asks for, in order: all that
        the tokenizer reads."""


class Similar(ABC):
    """Makes a vector of each text, whose cosines say how alike the texts are."""

    @property
    @abstractmethod
    def vector_head(self) -> str:
        """The head that makes them."""

    @property
    @abstractmethod
    def scale(self) -> float | None:
        """What a cosine is multiplied by for a number like those of the data; None where it learned none."""

    @abstractmethod
    def vectors_prompt(self, texts: Sequence[str], cut: bool = False) -> Prompt:
        """Texts as a prompt that asks for the vector of each. Raises UsageError for one that is empty, and for one that
        is longer than the model reads, unless it may be cut at its end."""


class Window(NamedTuple):
    """A question and a part of a text, as a model reads them."""

    prompt: Prompt
    place: int
    """Of the part's first token, in the stream."""
    first: int
    """Which token of the text that is."""
    number: int
    """Tokens of the text that are read."""


class AnswersQuestions(ABC):
    """Says where in a text the answer to a question stands, by two pointers; at [CLS], the first token, none."""

    @property
    @abstractmethod
    def span_heads(self) -> tuple[str, str]:
        """The heads that point at the first token of the answer and at its last."""

    @property
    @abstractmethod
    def max_answer_tokens(self) -> int:
        """Tokens of an answer that is given, at most."""

    @abstractmethod
    def windows(self, question: str, text: str) -> list[Window]:
        """A question and a text as one prompt or several, that together read every token of the text. Raises UsageError
        for a question that leaves no room, and where one of the two is empty."""


class ReadsPictures(ABC):
    """Reads pictures in patches, so that attention can be laid on them."""

    @abstractmethod
    def picture_of(self, example: Example) -> UInt8[np.ndarray, "height width *colours"]:
        """The pixels that an example was made of."""

    @abstractmethod
    def on_patches(self, weights: Float[np.ndarray, "n T T"]) -> Float[np.ndarray, "n rows columns"]:
        """The attention that decides the answer, over the patches in their places."""


COMMANDS: dict[type, str] = {
    Generates: "generate",
    FillsBlanks: "fill",
    PredictsLabels: "classify",
    TagsWords: "tag",
    Similar: "similarity",
    AnswersQuestions: "answer",
}
"""What the command is called that asks for each, the one that shows most first."""
