"""Find the answers to questions in texts that are given.

A text may be several windows (`AnswersQuestions.windows`). In each, any run of at most so many tokens is scored by what
the model says of its first and of its last, added up: these numbers, before any softmax, are compared over all windows
of all texts (Devlin et al. 2019, section 4.3). That there is no answer scores what is said of [CLS], in the window
where that is least.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from glassformer.answers import AnswersQuestions, Window
from glassformer.ask.loaded import BATCH, Loaded
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError

Pointed = tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]]
"""What is said of each token of a window: that the answer begins there, that it ends there."""


class FoundAnswer(NamedTuple):
    """An answer: characters `start` up to and without `end` of a text."""

    text: str
    start: int
    end: int
    context: str
    """The name of the text that it stands in."""
    score: float
    """Outputs of its first and last token, added up."""
    probability: float
    """That of its first token times that of its last, in its window."""


class Answers(NamedTuple):
    """A question and the answers that were found, best first."""

    question: str
    answer: str | None
    """The best one's text; None where no answer is likelier (see `threshold`)."""
    candidates: list[FoundAnswer]
    no_answer_score: float
    threshold: float | None
    """By how much the best answer must score above that there is none, to be given; None: the model was not taught when
    there is none, and the best is always given."""

    def record(self) -> dict[str, Any]:
        """The shape of `answer --json`."""
        found = [one._asdict() for one in self.candidates]
        return {**self._asdict(), "candidates": found}


def answer(run: Loaded, question: str, contexts: str | Mapping[str, str], top: int = 1) -> Answers:
    """See `Run.answer`."""
    texts = {"": contexts} if isinstance(contexts, str) else contexts
    if not texts:
        raise UsageError("there is no text to look for the answer in", "give one")
    return answer_each(run, [(question, texts)], top)[0]


def answer_each(run: Loaded, asked: Sequence[tuple[str, Mapping[str, str]]], top: int = 1) -> list[Answers]:
    """The answers to several questions, each with texts by their names."""
    member = answering(run)
    windows = [
        [(name, window) for name, text in texts.items() for window in member.windows(question, text)]
        for question, texts in asked
    ]
    said = _said(run, member, [window for of_one in windows for _, window in of_one])
    found: list[Answers] = []
    for (question, texts), of_one in zip(asked, windows, strict=True):
        heard = [next(said) for _ in of_one]
        best: list[FoundAnswer] = []
        for name, text in texts.items():
            own = [(window, one) for (whose, window), one in zip(of_one, heard, strict=True) if whose == name]
            best += best_in(run.tokenizer, text, own, member.max_answer_tokens, top, name)
        best = sorted(best, key=lambda one: -one.score)[:top]
        found.append(decided(question, best, no_answer_score(heard), run.no_answer_threshold))
    return found


def answering(run: Loaded) -> AnswersQuestions:
    """What says where answers stand. Raises UsageError for a model that does not."""
    for member in run.objective.members:
        if isinstance(member, AnswersQuestions):
            return member
    command, what = run.objective.to_try
    raise UsageError("this model answers no questions", f'glassformer {command} {run.path} "{what}"')


def decided(question: str, found: list[FoundAnswer], none: float, threshold: float | None) -> Answers:
    """The best answer, or that there is none."""
    given = bool(found) and (threshold is None or found[0].score - none >= threshold)
    return Answers(question, found[0].text if given else None, found, none, threshold)


def no_answer_score(said: Sequence[Pointed]) -> float:
    """The least of what the windows say of [CLS]: only where none has an answer there is none."""
    return min(float(start[0] + end[0]) for start, end in said)


def _said(run: Loaded, member: AnswersQuestions, windows: Sequence[Window]) -> Iterator[Pointed]:
    for begin in range(0, len(windows), BATCH):
        prompts = [window.prompt for window in windows[begin : begin + BATCH]]
        with torch.no_grad():
            outputs = run.model(run.collate(prompts))
        starts, ends = (outputs[head].float().numpy() for head in member.span_heads)
        yield from zip(starts, ends, strict=True)


def best_in(
    tokenizer: Tokenizer,
    text: str,
    windows: Sequence[tuple[Window, Pointed]],
    longest: int,
    top: int = 1,
    name: str = "",
) -> list[FoundAnswer]:
    """The best answers of at most `longest` tokens that stand in one text, each once, best first."""
    offsets = tokenizer.encode(text).offsets
    found: dict[tuple[int, int], FoundAnswer] = {}
    for window, (start, end) in windows:
        log_probabilities = [values - np.logaddexp.reduce(values) for values in (start, end)]
        for first, last in _best_pairs(window, start, end, longest, top):
            begin, behind = offsets[window.first + first][0], offsets[window.first + last][1]
            piece = text[begin:behind]
            begin, behind = begin + len(piece) - len(piece.lstrip()), behind - len(piece) + len(piece.rstrip())
            if behind <= begin:
                continue
            places = window.place + first, window.place + last
            score = float(start[places[0]] + end[places[1]])
            chance = float(np.exp(log_probabilities[0][places[0]] + log_probabilities[1][places[1]]))
            if (begin, behind) not in found or found[begin, behind].score < score:
                found[begin, behind] = FoundAnswer(text[begin:behind], begin, behind, name, score, chance)
    return sorted(found.values(), key=lambda one: -one.score)[:top]


def _best_pairs(
    window: Window, start: Float[np.ndarray, "T"], end: Float[np.ndarray, "T"], longest: int, top: int
) -> list[tuple[int, int]]:
    """First and last token (of the window's text) of the answers of at most `longest` tokens that score highest."""
    if not window.number:
        return []
    inside = slice(window.place, window.place + window.number)
    scores = start[inside, None] + end[None, inside]
    numbers = np.arange(window.number)
    length = numbers[None] - numbers[:, None] + 1
    scores = np.where((length >= 1) & (length <= longest), scores, -np.inf).ravel()
    many = min(3 * top, len(scores))  # more than are wanted: some may be white space alone
    some = np.sort(np.argpartition(scores, len(scores) - many)[len(scores) - many :])
    in_order = some[np.argsort(-scores[some], kind="stable")]
    return [divmod(int(place), window.number) for place in in_order if np.isfinite(scores[place])]
