"""Use a trained run: fill blanks, evaluate, look at attention. The run directory is all that is needed."""

import copy
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from glassformer.assemble import Split, corpus_for, model_for, objective_for
from glassformer.data.batch import Batch, collate
from glassformer.data.builtin import Cloze
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import GlassformerError, UsageError
from glassformer.objectives import Blank, Objective, Prompt
from glassformer.recipe import Recipe, apply_changes, from_yaml, parse
from glassformer.record import attention_places, record
from glassformer.run import RunDirectory
from glassformer.training.checkpoints import load_into, load_weights
from glassformer.training.evaluation import FixedQuestions, evaluate

BATCH = 64


class Filled(NamedTuple):
    """A text with blanks, and the candidates of each."""

    text: str
    blanks: list[Blank]

    def record(self) -> dict[str, Any]:
        """The shape of `fill --json`."""
        return {
            "text": self.text,
            "blanks": [
                {
                    "position": blank.position,
                    "candidates": [{"token": c.token, "probability": c.probability} for c in blank.candidates],
                }
                for blank in self.blanks
            ],
        }


class Attention(NamedTuple):
    """The attention of one text, from the model's own queries and keys. layers x heads x query x key."""

    tokens: list[str]
    weights: Float[np.ndarray, "layers heads query key"]
    filled: Filled | None = None
    """The answers, where the text had blanks."""


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


class Run:
    """A trained model with its tokenizer and objective, loaded from a run directory."""

    def __init__(self, directory: RunDirectory, which: str | None = None) -> None:
        self.directory = directory
        self.path = directory.path
        self.which = which

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe that the run was made by. Raises GlassformerError when it is damaged."""
        file = self.directory.recipe_file
        try:
            return parse(from_yaml(file.read_text(encoding="utf-8"), str(file)), str(file))
        except (UsageError, UnicodeDecodeError) as error:
            why = error.what if isinstance(error, UsageError) else f"{file} is not UTF-8"
            raise GlassformerError(f"the run's recipe is damaged: {why}", "put the file back as it was") from None

    def with_data(self, changes: Sequence[str]) -> "Run":
        """The same model with other data: `["data.test=new.txt"]`, or where the run's data lie now.

        Raises UsageError for a key that is not one of the data's.
        """
        for change in changes:
            if not change.startswith("data."):
                raise UsageError(
                    f"{change!r} does not change the data; the rest of a run is settled",
                    "for example: data.test=new.txt",
                )
        other = copy.copy(self)
        other.recipe = parse(apply_changes(self.recipe.model_dump(mode="json"), changes))
        return other

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer."""
        return Tokenizer.load(self.directory.tokenizer_file)

    @cached_property
    def objective(self) -> Objective:
        """The run's objective, which knows how to ask the model."""
        return objective_for(self.recipe, self.tokenizer)

    @cached_property
    def model(self) -> nn.Module:
        """The model with the weights of `which`, or those that `training.weights` names; evaluating, on the CPU."""
        model = model_for(self.recipe, self.objective)
        newest = "last" if self.recipe.training.weights == "last" else None
        tensors, _ = load_weights(self.directory, self.which or newest)
        load_into(model, tensors)
        return model.eval()

    def metrics(self) -> list[dict[str, Any]]:
        """Every record that training wrote."""
        return self.directory.metrics()

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the vocabulary lacks: the model reads them as unknown."""
        encoded = self.tokenizer.encode(text, allow_mask=True)
        spans = [
            span for token, span in zip(encoded.ids, encoded.offsets, strict=True) if token == self.tokenizer.unk_id
        ]
        return [text[start:end].strip() for start, end in spans]

    @overload
    def fill(self, texts: str, top: int = 5) -> Filled: ...
    @overload
    def fill(self, texts: list[str], top: int = 5) -> list[Filled]: ...
    def fill(self, texts: str | list[str], top: int = 5) -> Filled | list[Filled]:
        """The candidates for each [MASK] in a text (Filled), or in several ([Filled, ...]).

        Raises UsageError for a text without a blank, or longer than the model reads.
        """
        if top < 1:
            raise UsageError(f"top={top} asks for no candidate", "give 1 or more")
        if isinstance(texts, str):
            return self.fill([texts], top)[0]
        filled: list[Filled] = []
        for start in range(0, len(texts), BATCH):
            prompts = [self._blanks_of(text) for text in texts[start : start + BATCH]]
            filled += [Filled(p.text, blanks) for p, blanks in zip(prompts, self._answer(prompts, top), strict=True)]
        return filled

    def _blanks_of(self, text: str) -> Prompt:
        prompt = self.objective.prompt(text)
        if not any(len(asked.positions) for asked in prompt.example.asked.values()):
            raise UsageError(f"there is no blank in {text!r}", "write [MASK] where a word is asked for")
        return prompt

    def _collate(self, prompts: Sequence[Prompt]) -> Batch:
        return collate([[prompt.example] for prompt in prompts], self.tokenizer.pad_id)

    @torch.no_grad()
    def _answer(self, prompts: Sequence[Prompt], top: int) -> list[list[Blank]]:
        """The blanks of each prompt: one forward pass, whose flat rows of logits are dealt out to the prompts."""
        logits = self.model(self._collate(prompts))
        taken = dict.fromkeys(logits, 0)
        answers = []
        for prompt in prompts:
            own = {}
            for head, asked in prompt.example.asked.items():
                own[head] = logits[head][taken[head] : taken[head] + len(asked.positions)]
                taken[head] += len(asked.positions)
            answers.append(self.objective.answer(prompt.example, own, top))
        return answers

    def evaluate(self, split: Split = "validation") -> dict[str, Any]:
        """Masked loss, perplexity, accuracy and top-5 accuracy on the fixed masks of one part of the run's data."""
        return {"split": split, **evaluate(self.model, self.questions(split)).record()}

    def questions(self, split: Split) -> FixedQuestions:
        """The units of one part of the run's data, with their fixed corruption."""
        units = self.objective.for_evaluation().units(self.corpus(split))
        return FixedQuestions(units, self.objective, self.recipe.batch)

    def corpus(self, split: Split) -> Corpus:
        """One part of the run's data, tokenised. Raises GlassformerError when the data are not where they were."""
        data = self.recipe.data
        own = {"train": data.train, "validation": data.validation, "test": data.test}[split]
        try:
            return corpus_for(self.recipe, self.tokenizer, split)
        except UsageError as error:
            if split == "test" and own is None:
                raise
            key = "train" if own is None else split
            raise GlassformerError(
                f"the data of this run (data.{key}) cannot be read from here: {error.what}",
                f"put them back, go to the folder you trained in, or say where they are: data.{key}=PLACE",
            ) from None

    def cloze(self, questions: Iterable[Cloze]) -> list[Answered]:
        """Answer texts that have one [MASK] each and a known answer.

        Raises UsageError when an answer is no single token of the vocabulary.
        """
        answered: list[Answered] = []
        asked = list(questions)
        for start in range(0, len(asked), BATCH):
            answered += self._cloze_batch(asked[start : start + BATCH])
        return answered

    @torch.no_grad()
    def _cloze_batch(self, questions: Sequence[Cloze]) -> list[Answered]:
        prompts = [self._blanks_of(question.text) for question in questions]
        logits = self.model(self._collate(prompts))
        [scores] = logits.values()
        if len(scores) != len(questions):
            raise UsageError("a cloze question has more than one [MASK]", "one blank for each answer")
        log_probabilities = scores.float().log_softmax(-1)
        answers = []
        for question, row in zip(questions, log_probabilities, strict=True):
            encoded = self.tokenizer.encode(question.answer).ids
            if len(encoded) != 1 or int(encoded[0]) == self.tokenizer.unk_id:
                raise UsageError(f"the answer {question.answer!r} is no single word of this run's vocabulary")
            best = int(row.argmax())
            right = int(encoded[0])
            answers.append(
                Answered(
                    question.text,
                    self.tokenizer.token(right),
                    self.tokenizer.token(best),
                    math.exp(float(row[best])),
                    -float(row[right]),
                )
            )
        return answers

    def attention(self, text: str) -> Attention:
        """The attention weights of every layer and head on a text, with or without blanks.

        Raises UsageError when the text is longer than the model reads, or the model's mechanism has no weights.
        """
        return self.attention_of(self.objective.prompt(text))

    @torch.no_grad()
    def attention_of(self, prompt: Prompt) -> Attention:
        """The attention weights on a prompt, see `attention`."""
        places = attention_places(self.model)
        if not places:
            raise UsageError(
                f"model.implementation={self.recipe.model.implementation} has no attention that can be recorded",
                "train with model.implementation=glassformer",
            )
        with record(self.model) as tape:
            logits = self.model(self._collate([prompt]))
        weights = torch.stack([tape[place].weights()[0] for place in places])
        blanks = self.objective.answer(prompt.example, logits)
        return Attention(prompt.tokens, weights.float().numpy(), Filled(prompt.text, blanks) if blanks else None)


def load(path: str | Path, which: str | None = None) -> Run:
    """A trained run. `which` is "best", "last" or "step-N"; None takes those that `training.weights` names, the
    best where there are such.

    Raises UsageError when the folder is no run.
    """
    return Run(RunDirectory.open(Path(path)), which)
