"""Answer texts with one blank each and a known answer."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from glassformer.ask.fill import blanks_of
from glassformer.ask.loaded import BATCH, Loaded
from glassformer.data.builtin import Cloze
from glassformer.errors import UsageError


class Answered(NamedTuple):
    """One cloze question and what the model made of it."""

    text: str
    answer: str
    predicted: str
    probability: float
    """What the model gave its own prediction."""
    loss: float
    """-ln of what it gave the right answer."""

    @property
    def right(self) -> bool:
        """Whether the first candidate is the answer."""
        return self.predicted == self.answer


def cloze(run: Loaded, questions: Iterable[Cloze]) -> list[Answered]:
    """See `Run.cloze`."""
    answered: list[Answered] = []
    asked = list(questions)
    for start in range(0, len(asked), BATCH):
        answered += _cloze_batch(run, asked[start : start + BATCH])
    return answered


@torch.no_grad()
def _cloze_batch(run: Loaded, questions: Sequence[Cloze]) -> list[Answered]:
    prompts = [blanks_of(run, question.text) for question in questions]
    batch = run.collate(prompts)
    scores = run.model(batch)[next(head for head, targets in batch.targets.items() if targets.n_targets)]
    if len(scores) != len(questions):
        raise UsageError("a cloze question has more than one [MASK]", "one blank for each answer")
    log_probabilities = scores.float().log_softmax(-1)
    answers = []
    for question, row in zip(questions, log_probabilities, strict=True):
        encoded = run.tokenizer.encode(question.answer).ids
        if len(encoded) != 1 or int(encoded[0]) == run.tokenizer.unk_id:
            raise UsageError(f"the answer {question.answer!r} is no single word of this run's vocabulary")
        best = int(row.argmax())
        right = int(encoded[0])
        answers.append(
            Answered(
                question.text,
                run.tokenizer.token(right),
                run.tokenizer.token(best),
                math.exp(float(row[best])),
                -float(row[right]),
            )
        )
    return answers
