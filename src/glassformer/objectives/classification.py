"""Text classification: which of a few labels a text has (as BERT is tuned; Devlin et al. 2019, section 4.1).

    text       a moving and stately film        label   positive
    encoder    [CLS] a moving and stately film [SEP]
    asked      once, about the whole text: positive

The head has one output for each label, and reads the mean over all tokens, or [CLS].
"""

from functools import cached_property

import numpy as np
from jaxtyping import Int64

from glassformer.answers import PredictsLabels
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, sequence_targets
from glassformer.data.corpus import Corpus
from glassformer.data.labels import balanced_weights, class_weights
from glassformer.data.table import ValueColumn
from glassformer.errors import UsageError
from glassformer.losses import LossFunction
from glassformer.losses.cross_entropy import CrossEntropy
from glassformer.objective_configs import ClassificationConfig
from glassformer.objectives import Dataset, Objective, Prompt

HEAD = "label"


class Classification(Objective[ClassificationConfig], PredictsLabels):
    """Ask for the label of a text; see the module's example."""

    Config = ClassificationConfig
    question = "which label the whole text has"
    good_for = "topics, moods, spam; most often after pre-training"
    columns = ("text", "label")
    draws = False
    asks_with = "a text"

    def check(self) -> None:
        """Raises UsageError for weights of labels that there are not."""
        if self.labels is not None and isinstance(self.config.class_weights, tuple):
            class_weights(self.config.class_weights, self.label_names)

    def settled(self, data: Corpus) -> ClassificationConfig:
        """With the weights that balance the labels of the training data, where these are asked for."""
        labels = data.beside.get("label")
        if self.config.class_weights != "balanced" or not isinstance(labels, ValueColumn):
            return self.config
        counts = np.bincount(labels.values, minlength=len(self.label_names)).tolist()
        return self.config.model_copy(update={"class_weights": balanced_weights(counts, self.label_names)})

    @cached_property
    def losses(self) -> dict[str, LossFunction]:
        """Cross-entropy, with the weights of classes and label smoothing."""
        given = self.config.class_weights
        weights = class_weights(given, self.label_names) if isinstance(given, tuple) else None
        return {HEAD: CrossEntropy(self.config.label_smoothing, weights)}

    def for_evaluation(self) -> "Classification":
        """Without smoothing and weights, so that losses can be compared."""
        config = self.config.model_copy(update={"label_smoothing": 0.0, "class_weights": "none"})
        return Classification(config, self.tokenizer, self.max_length, labels=self.labels)

    @property
    def best_by(self) -> str:
        """Accuracy; where labels have weights, since rare ones matter, macro F1, which counts them alike."""
        return "accuracy" if self.config.class_weights == "none" else "macro_f1"

    @property
    def label_head(self) -> str:
        """Its only one."""
        return HEAD

    def outputs(self) -> list[OutputSpec]:
        """One head over the labels, which reads once for each text."""
        return [
            OutputSpec(HEAD, len(self.label_names), transform="pooler", read=self.config.read, labels=self.label_names)
        ]

    def dataset(self, corpus: Corpus) -> Dataset:
        """One text each."""
        return LabelledTexts(self, corpus)

    def example(self, ids: Int64[np.ndarray, "T"], label: int) -> Example:
        """A text, cut to what the model reads, and the number of its label."""
        framed = np.r_[self.tokenizer.cls_id, ids[: self.max_length - 2], self.tokenizer.sep_id]
        stream = Stream(framed.astype(np.int64))
        return Example({"encoder": stream}, {HEAD: sequence_targets(stream, label)})

    def prompt(self, text: str) -> Prompt:
        """A text, asked for its label. Raises UsageError for one that is empty or longer than the model reads."""
        ids, room = self.tokenizer.encode(text).ids, self.max_length - 2
        if len(ids) == 0 or not text.strip():
            raise UsageError("the text is empty", "give a sentence")
        if len(ids) > room:
            raise UsageError(
                f"the text has {len(ids)} tokens, the model reads at most {room} beside one before and one after it",
                "shorten it, or train with a larger model.max_length",
            )
        example = self.example(ids, IGNORE_INDEX)
        return Prompt(text, example, self.names_in("encoder", example.streams["encoder"]))

    def words_of(self, example: Example) -> tuple[int, int]:
        """No word is asked for, known or not."""
        return 0, 0


class LabelledTexts(Dataset):
    """One unit for each text. Raises UsageError where one is longer than the model reads, unless they may be cut."""

    def __init__(self, objective: Classification, corpus: Corpus) -> None:
        labels = corpus.beside.get("label")
        if not isinstance(labels, ValueColumn):
            raise UsageError("classification needs labels", "give data with a text and a label in each row")
        self.objective, self.texts, self.labels = objective, corpus, labels
        lengths, longest = corpus.lengths + 2, objective.max_length
        if int(lengths.max()) > longest and objective.config.too_long == "refuse":
            many = int((lengths > longest).sum())
            raise UsageError(
                f"text {int(lengths.argmax()) + 1} has {int(lengths.max())} tokens with [CLS] and [SEP], and the model "
                f"reads {longest}; {many} of {len(lengths)} texts are too long",
                f"use model.max_length={int(lengths.max())}, or cut them with objective.too_long=cut",
            )
        self.lengths = np.minimum(lengths, longest)

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Text `index` with its label."""
        return self.objective.example(self.texts.document(index).astype(np.int64), int(self.labels.values[index]))
