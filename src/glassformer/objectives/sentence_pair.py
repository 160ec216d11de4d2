"""Pairs of sentences: how two texts stand to each other (as BERT is tuned; Devlin et al. 2019, section 4.1).

    text       mars is red      second   the red planet is mars      label   same
    encoder    [CLS] mars is red [SEP] the red planet is mars [SEP]
    segments   0     0    0  0   0     1   1   1      1  1    1
    asked      once, about both: same

Paraphrases, what follows from what, whether an answer fits its question. Each token sees those of both texts. The head
has one output for each label, and reads [CLS], or the mean over all tokens.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from glassformer.answers import PredictsLabels
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, sequence_targets
from glassformer.data.corpus import Corpus
from glassformer.data.table import ValueColumn
from glassformer.data.two_texts import BETWEEN, framed, parted
from glassformer.errors import UsageError
from glassformer.objective_configs import SentencePairConfig
from glassformer.objectives import Dataset, Objective, Prompt

HEAD = "label"


class SentencePair(Objective[SentencePairConfig], PredictsLabels):
    """Ask for the label of two texts; see the module's example."""

    Config = SentencePairConfig
    question = "which label two texts have together"
    good_for = "paraphrases, what follows from what; most often after pre-training"
    columns = ("text", "second", "label")
    segments = 2
    draws = False
    asks_with = f"a text {BETWEEN} another text"

    def check(self) -> None:
        """Raises UsageError where two texts have no room."""
        if self.max_length < 5:
            raise UsageError(f"model.max_length={self.max_length} leaves no room for two texts", "use 16 or more")

    @property
    def label_head(self) -> str:
        """Its only one."""
        return HEAD

    def outputs(self) -> list[OutputSpec]:
        """One head over the labels, which reads once for each pair."""
        return [
            OutputSpec(HEAD, len(self.label_names), transform="pooler", read=self.config.read, labels=self.label_names)
        ]

    def dataset(self, corpus: Corpus) -> Dataset:
        """One pair each."""
        return LabelledPairs(self, corpus)

    def example(self, texts: Sequence[Int64[np.ndarray, "_"]], label: int) -> Example:
        """Two texts, cut to what the model reads, and the number of their label."""
        lengths = shortened(tuple(map(len, texts)), self.max_length - 3)
        cut = [text[:length] for text, length in zip(texts, lengths, strict=True)]
        stream = Stream(*framed(cut, self.tokenizer.cls_id, self.tokenizer.sep_id))
        return Example({"encoder": stream}, {HEAD: sequence_targets(stream, label)})

    def parted(self, text: str) -> list[str]:
        """The texts on both sides of |||."""
        return parted(text)

    def prompt(self, text: str) -> Prompt:
        """Two texts with ||| between them, asked for their label. Raises UsageError for anything else, and for what is
        longer than the model reads."""
        texts = self.parted(text)
        encoded, room = [self.tokenizer.encode(part).ids for part in texts], self.max_length - 3
        if sum(map(len, encoded)) > room:
            raise UsageError(
                f"the texts have {sum(map(len, encoded))} tokens, the model reads at most {room} beside one at the "
                "start and one behind each text",
                "shorten them, or train with a larger model.max_length",
            )
        if len(texts) != 2 or not all(map(len, encoded)):
            raise UsageError(f"{text!r} is not two texts", f"write A {BETWEEN} B")
        example = self.example(encoded, IGNORE_INDEX)
        return Prompt(text, example, self.names_in("encoder", example.streams["encoder"]))

    def words_of(self, example: Example) -> tuple[int, int]:
        """No word is asked for, known or not."""
        return 0, 0


def shortened(lengths: tuple[int, ...], room: int) -> tuple[int, int]:
    """The lengths of two texts when tokens are taken from the longer one's end until both fit."""
    one, other = lengths
    return min(one, max(room - other, room - room // 2)), min(other, max(room - one, room // 2))


class LabelledPairs(Dataset):
    """One unit for each pair. Raises UsageError where one is longer than the model reads, unless it may be cut."""

    def __init__(self, objective: SentencePair, corpus: Corpus) -> None:
        labels, second = corpus.beside.get("label"), corpus.beside.get("second")
        if not isinstance(labels, ValueColumn) or not isinstance(second, Corpus):
            raise UsageError(
                "sentence_pair needs two texts and a label", "give data with two texts and a label in each row"
            )
        self.objective, self.texts, self.second, self.labels = objective, corpus, second, labels
        lengths, longest = corpus.lengths + second.lengths + 3, objective.max_length
        if int(lengths.max()) > longest and objective.config.too_long == "refuse":
            many = int((lengths > longest).sum())
            raise UsageError(
                f"pair {int(lengths.argmax()) + 1} has {int(lengths.max())} tokens with [CLS] and two [SEP], and the "
                f"model reads {longest}; {many} of {len(lengths)} pairs are too long",
                f"use model.max_length={int(lengths.max())}, or cut the longer text first: objective.too_long=cut",
            )
        self.lengths = np.minimum(lengths, longest)

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Pair `index` with its label."""
        texts = [column.document(index).astype(np.int64) for column in (self.texts, self.second)]
        return self.objective.example(texts, int(self.labels.values[index]))
