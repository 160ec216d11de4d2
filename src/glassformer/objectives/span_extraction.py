"""Extractive question answering: where in a text the answer to a question stands (Devlin et al. 2019, section 4.2).

    question   what is red?      text   the sun is a star, and mars is red      answer   mars
    encoder    [CLS] what is red ? [SEP] the sun is a star , and mars is red [SEP]        segments 0 and 1
    asked      twice, about the whole row: at which token the answer begins, at which it ends: at mars, and at mars

A text that is longer than the model reads beside the question becomes several windows that overlap. A window is asked
for the first answer that stands whole in it, and one without an answer for [CLS]; so is a question that has none.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64

from glassformer.answers import BETWEEN, AnswersQuestions, Prompt, Window
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, sequence_targets
from glassformer.data.corpus import Corpus
from glassformer.data.span_columns import SpanColumn
from glassformer.errors import UsageError
from glassformer.objective_configs import SpanExtractionConfig
from glassformer.objectives import Dataset, Objective

START, END = "start", "end"
"""The two heads."""


class SpanExtraction(Objective[SpanExtractionConfig], AnswersQuestions):
    """Ask where the answer begins and ends; see the module's example."""

    Config = SpanExtractionConfig
    question = "where in the text the answer to a question begins and ends"
    good_for = "answers out of texts that are given; most often after pre-training"
    columns = ("text", "second", "spans")
    segments = 2
    draws = False
    asks_with = f"what is red? {BETWEEN} mars is red"

    def check(self) -> None:
        """Raises UsageError where no question fits."""
        if self.max_length < 5:
            raise UsageError("there is no room for a question and a text", "use model.max_length=5 or more")

    @property
    def span_heads(self) -> tuple[str, str]:
        """Its two."""
        return START, END

    @property
    def max_answer_tokens(self) -> int:
        """As the recipe says."""
        return self.config.max_answer_tokens

    def outputs(self) -> list[OutputSpec]:
        """Two pointers at the tokens of a row; the loss is the mean of both."""
        return [OutputSpec(name, self.max_length, read="pointer", weight=0.5) for name in self.span_heads]

    def dataset(self, corpus: Corpus) -> Dataset:
        """One window each."""
        return Windows(self, corpus)

    # ------------------------------------------------------------------------------------------------- windows

    def cuts(self, question: int, text: int) -> Iterator[tuple[int, int]]:
        """The windows of a text of so many tokens, from which token up to which, beside a question of so many. Raises
        UsageError where the question leaves no room."""
        room = self.max_length - 3 - question
        if room < 1:
            raise UsageError(
                f"the question has {question} tokens, and the model reads at most {self.max_length - 4} beside a text",
                "shorten it, or train with a larger model.max_length",
            )
        step = min(self.config.stride, -(-room // 2))
        for begin in range(0, max(1, text - room + step), step):
            yield begin, min(begin + room, text)

    def example(
        self, question: Int64[np.ndarray, "q"], text: Int64[np.ndarray, "t"], answers: Int64[np.ndarray, "n 3"] | None
    ) -> Example:
        """A question and a window of a text. `answers` say from which token of the window up to which they stand, and
        those that are not whole in it count nothing; None: not known."""
        tokenizer = self.tokenizer
        ids = np.r_[tokenizer.cls_id, question, tokenizer.sep_id, text, tokenizer.sep_id].astype(np.int64)
        before = len(question) + 2
        stream = Stream(ids, (np.arange(len(ids)) >= before).astype(np.int64))
        first = last = 0  # [CLS]: no answer
        if answers is None:
            first = last = IGNORE_INDEX
        else:
            whole = (answers[:, 0] >= 0) & (answers[:, 1] <= len(text)) & (answers[:, 1] > answers[:, 0])
            for begin, end, _ in answers[whole][:1].tolist():
                first, last = before + begin, before + end - 1
        return Example(
            {"encoder": stream}, {START: sequence_targets(stream, first), END: sequence_targets(stream, last)}
        )

    # ----------------------------------------------------------------------------------------- asked by a person

    def parted(self, text: str) -> list[str]:
        """The question and the text on both sides of |||."""
        return [part.strip() for part in text.split(BETWEEN, 1)] if BETWEEN in text else [text]

    def prompt(self, text: str) -> Prompt:
        """A question and a text with ||| between them. Raises UsageError for anything else, and for what is longer than
        `max_length`."""
        parts = self.parted(text)
        tokens = sum(len(self.tokenizer.encode(part).ids) for part in parts)
        if tokens > self.max_length - 3:
            raise UsageError(
                f"question and text have {tokens} tokens, the model reads at most {self.max_length - 3} at a time",
                "shorten the text, or train with a larger model.max_length; `answer` reads it in windows",
            )
        if len(parts) == 1:
            raise UsageError(f"{text!r} is not a question and a text", f"write QUESTION {BETWEEN} TEXT")
        [window] = self.windows(*parts)
        return window.prompt._replace(text=text)

    def windows(self, question: str, text: str) -> list[Window]:
        """As many as the text needs, in their order."""
        if not question.strip() or not text.strip():
            raise UsageError(f"the {'text' if question.strip() else 'question'} is empty", "give both")
        asked, read = self.tokenizer.encode(question).ids, self.tokenizer.encode(text).ids
        found: list[Window] = []
        for begin, end in self.cuts(len(asked), len(read)):
            example = self.example(asked, read[begin:end], None)
            names = self.names_in("encoder", example.streams["encoder"])
            prompt = Prompt(f"{question} {BETWEEN} {text}", example, names)
            found.append(Window(prompt, len(asked) + 2, begin, end - begin))
        return found

    def words_of(self, example: Example) -> tuple[int, int]:
        """No word is asked for, known or not."""
        return 0, 0


class Windows(Dataset):
    """One unit for each window of each row. Raises UsageError where there are no questions, and for a question
    that leaves no room for a text."""

    def __init__(self, objective: SpanExtraction, corpus: Corpus) -> None:
        questions, answers = corpus.beside.get("second"), corpus.beside.get("spans")
        if not isinstance(questions, Corpus) or not isinstance(answers, SpanColumn):
            raise UsageError(
                "span_extraction needs questions and answers", "give rows of a text, a question and its answers"
            )
        self.objective, self.texts, self.questions, self.answers = objective, corpus, questions, answers
        asked = questions.lengths
        longest = int(asked.argmax())
        if asked[longest] > objective.max_length - 4:
            raise UsageError(
                f"question {longest + 1} has {int(asked[longest])} tokens, and the model reads at most "
                f"{objective.max_length - 4} beside a text",
                f"use model.max_length={int(asked[longest]) + 4} or more, better twice that",
            )
        cuts = [
            (row, *cut)
            for row, (one, other) in enumerate(zip(asked.tolist(), corpus.lengths.tolist(), strict=True))
            for cut in objective.cuts(one, other)
        ]
        self.units = np.array(cuts, dtype=np.int64).reshape(-1, 3)
        """Of each its row, its first token of the text, and the one behind its last."""
        self.lengths = self.units[:, 2] - self.units[:, 1] + asked[self.units[:, 0]] + 3

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Window `index` with its answer."""
        row, begin, end = self.units[index].tolist()
        text, question = self.texts.document(row)[begin:end], self.questions.document(row)
        answers = self.answers.row(row) - np.array([begin, begin, 0])
        return self.objective.example(question.astype(np.int64), text.astype(np.int64), answers)
