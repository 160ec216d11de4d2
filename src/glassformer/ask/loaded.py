"""A trained run, loaded from its directory, which is all that is needed: recipe, tokenizer, objective, model."""

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeVar

from glassformer.ask.undrawn import Undrawn
from glassformer.assemble import model_for, objective_for, refuse_larger
from glassformer.changes import Changes, listed
from glassformer.data.batch import Batch, collate
from glassformer.data.codecs import Codecs
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import GlassformerError, UsageError
from glassformer.model.kinds import Model
from glassformer.objectives import Objective, Prompt
from glassformer.reading import plain_text
from glassformer.recipe import Recipe, from_yaml, parse, with_changes
from glassformer.run import Calibration, RunDirectory
from glassformer.training.checkpoints import load_into, load_weights

L = TypeVar("L", bound="Loaded")
BATCH = 64
"""Texts that are asked at a time."""


def refuse_empty(text: str) -> None:
    """Raises UsageError for a text without a word."""
    if not text.strip():
        raise UsageError("the text is empty", "give a sentence")


class Loaded:
    """A trained model with its tokenizer and objective, loaded from a run directory."""

    def __init__(self, directory: RunDirectory, which: str | None = None) -> None:
        self.directory = directory
        self.path = directory.path
        self.which = which
        self.step: int | None = None
        """Of the weights, once they are loaded."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe that the run was made by. Raises GlassformerError when it is damaged."""
        file = self.directory.recipe_file
        try:
            return parse(from_yaml(plain_text(file, what="recipe"), str(file)), str(file))
        except (GlassformerError, RecursionError, ValueError) as error:
            why = " ".join(str(getattr(error, "what", error)).split())
            raise GlassformerError(f"the run's recipe is damaged: {why}", "put the file back as it was") from None

    def with_data(self: L, changes: Changes) -> L:
        """The same model with other data: `["data.test=new.txt"]`, or where the run's data lie now.

        Raises UsageError for a key that is not one of the data's, and where nobody reads them: see `with_changes`.
        """
        for change in listed(changes):
            if not change.key.startswith("data."):
                raise UsageError(
                    f"{str(change)!r} does not change the data; the rest of a run is settled",
                    "for example: data.test=new.txt",
                )
        other = copy.copy(self)
        other.recipe = with_changes(self.recipe.model_dump(mode="json"), changes)
        return other

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer; of pairs, that of the sources."""
        return self.codecs.tokenizer

    @cached_property
    def codecs(self) -> Codecs:
        """What reads the run's data: tokenizers, names of labels."""
        return self.directory.codecs()

    @cached_property
    def objective(self) -> Objective:
        """The run's objective, which knows how to ask the model."""
        return objective_for(self.recipe, self.codecs)

    @cached_property
    def model(self) -> Model:
        """The model with the weights of `which`, or those that `training.weights` names; evaluating, on the CPU."""
        newest = "last" if self.recipe.training.weights == "last" else None
        tensors, state = load_weights(self.directory, self.which or newest)
        refuse_larger(self.recipe, self.objective, tensors, self.directory.recipe_file)
        with Undrawn():
            model = model_for(self.recipe, self.objective)
        load_into(model, tensors)
        self.step = _step_of(state)
        return model.eval()

    @cached_property
    def temperature(self) -> float:
        """What the outputs over labels are divided by, so that probabilities are what they say: as fitted for these
        very weights at the end of training, else 1. Raises GlassformerError for a damaged file."""
        found = self._calibration
        return 1.0 if found is None else found.temperature

    @cached_property
    def no_answer_threshold(self) -> float | None:
        """By how much the best answer to a question must score above that there is none, to be given: as fitted for
        these very weights at the end of training; None where there was nothing to fit. Raises GlassformerError for a
        damaged file."""
        found = self._calibration
        return None if found is None else found.no_answer_threshold

    @property
    def _calibration(self) -> Calibration | None:
        assert self.model
        found = self.directory.calibration()
        return found if found is not None and found.step == self.step else None

    def recordable(self: L) -> L:
        """The same run with a model of the same weights that can be looked into everywhere; itself, where its own
        can."""
        model = self.model.recordable()
        if model is self.model:
            return self
        other = copy.copy(self)
        other.model = model
        return other

    def metrics(self) -> list[dict[str, Any]]:
        """Every record that training wrote."""
        return self.directory.metrics()

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the vocabulary lacks: the model reads them as unknown."""
        unknown: list[str] = []
        if self.codecs.text is None:
            return unknown
        for part in self.objective.texts_in(text):
            encoded = self.tokenizer.encode(part, allow_mask=True)
            spans = zip(encoded.ids, encoded.offsets, strict=True)
            unknown += [part[start:end].strip() for token, (start, end) in spans if token == self.tokenizer.unk_id]
        return unknown

    def collate(self, prompts: Sequence[Prompt]) -> Batch:
        """One row for each prompt."""
        return collate([[prompt.example] for prompt in prompts], self.objective.pad_id)


def _step_of(state: dict[str, Any]) -> int | None:
    """At which step weights were saved (beside an optimiser that is said one level deeper); None where nothing says."""
    own = state.get("training", state)
    step = own.get("step") if isinstance(own, dict) else None
    return step if isinstance(step, int) else None
