"""Sequence to sequence (the first Transformer; Vaswani et al. 2017): a source in, its target out, word by word.

    source    i love dogs
    encoder   i love dogs [SEP]
    decoder   [CLS] j' aime les chiens
    asked     j' aime les chiens [SEP]     at every position of the decoder the next token of the target

The decoder reads the true target while it learns (teacher forcing), and its own words afterwards.
"""

from functools import cached_property

import numpy as np
from jaxtyping import Int64

from glassformer.answers import GeneratesInOrder
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, Targets
from glassformer.data.corpus import Corpus
from glassformer.data.roles import PAIR
from glassformer.errors import UsageError
from glassformer.losses import LossFunction
from glassformer.losses.cross_entropy import CrossEntropy
from glassformer.objective_configs import Seq2SeqConfig
from glassformer.objectives import Dataset, Objective, Prompt

HEAD = "seq2seq"


class Seq2Seq(Objective[Seq2SeqConfig], GeneratesInOrder):
    """Ask for the target of a source; see the module's example. Unknown words are never asked."""

    Config = Seq2SeqConfig
    question = "the target that belongs to the source, word by word"
    good_for = "translation, summaries, answers: wherever there are pairs"
    family = "encoder_decoder"
    columns = PAIR
    draws = False
    asks_with = "a text"

    def check(self) -> None:
        """There is room for a source behind the prefix."""
        if self.max_length < len(self.prefix) + 2:
            raise UsageError(
                f"model.max_length={self.max_length} leaves no room for a source",
                f"use {len(self.prefix) + 8} or more",
            )

    @cached_property
    def prefix(self) -> Int64[np.ndarray, "P"]:
        """The tokens before every source."""
        return self.tokenizer.encode(self.config.prefix).ids

    @classmethod
    def prefix_of(cls, config: Seq2SeqConfig) -> str:
        """The prefix of every source."""
        return config.prefix

    def for_evaluation(self) -> "Seq2Seq":
        """Without smoothing, so that losses can be compared."""
        config = self.config.model_copy(update={"label_smoothing": 0.0})
        return Seq2Seq(config, self.tokenizer, self.max_length, self.target_tokenizer)

    def dataset(self, corpus: Corpus) -> Dataset:
        """One pair each."""
        return PairDataset(self, corpus)

    def outputs(self) -> list[OutputSpec]:
        """One head over the target's vocabulary, read everywhere in the decoder."""
        return [OutputSpec(HEAD, self.target_tokenizer.vocab_size, tied=True, bias=False)]

    def source(self, ids: Int64[np.ndarray, "S"]) -> Stream:
        """What the encoder reads: prefix, source, an end."""
        ids = np.concatenate([self.prefix, ids])[: self.max_length - 1]
        return Stream(np.append(ids, self.tokenizer.sep_id))

    def example(self, source: Int64[np.ndarray, "S"], target: Int64[np.ndarray, "T"]) -> Example:
        """A source and its target."""
        read, targets = self.taught(target)
        return Example({"encoder": self.source(source), "decoder": read}, {HEAD: targets})

    def prompt(self, text: str) -> Prompt:
        """A source, asked for the first token of its target. Raises UsageError for one that the model cannot read."""
        ids, room = self.tokenizer.encode(text).ids, self.max_length - 1 - len(self.prefix)
        if len(ids) == 0 or not text.strip():
            raise UsageError("the text is empty", "give a sentence")
        if len(ids) > room:
            raise UsageError(
                f"the text has {len(ids)} tokens, the model reads at most {room} beside the one at its end",
                "shorten it, or train with a larger model.max_length",
            )
        source = self.source(ids)
        begin = Stream(np.array([self.target_tokenizer.cls_id]), causal=True)
        targets = Targets(np.array([0]), np.array([IGNORE_INDEX]), "decoder")
        tokens = [self.tokenizer.token(int(token)) for token in source.values]
        return Prompt(text, Example({"encoder": source, "decoder": begin}, {HEAD: targets}), tokens)

    def stop_tokens(self, prompt: Prompt) -> frozenset[int]:
        """A target ends where [SEP] comes."""
        return frozenset({self.target_tokenizer.sep_id})

    @cached_property
    def losses(self) -> dict[str, LossFunction]:
        """Cross-entropy, with label smoothing."""
        return {HEAD: CrossEntropy(self.config.label_smoothing)}


class PairDataset(Dataset):
    """One unit for each pair. Raises UsageError where one is longer than the model reads, unless they may be cut."""

    def __init__(self, objective: Seq2Seq, corpus: Corpus) -> None:
        if corpus.targets is None:
            raise UsageError("seq2seq needs pairs", "give data with a source and a target in each row")
        self.objective = objective
        self.sources, self.targets = corpus, corpus.targets
        lengths = np.maximum(self.sources.lengths + len(objective.prefix), self.targets.lengths) + 1
        longest = int(lengths.max())
        if longest > objective.max_length and objective.config.too_long == "refuse":
            many = int((lengths > objective.max_length).sum())
            raise UsageError(
                f"pair {int(lengths.argmax()) + 1} needs {longest} tokens on one side, and the model reads "
                f"{objective.max_length}; {many} of {len(lengths)} pairs are too long",
                f"use model.max_length={longest}, or cut them with objective.too_long=cut",
            )
        self.lengths = np.minimum(lengths, objective.max_length)

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Pair `index`."""
        source, target = (side.document(index).astype(np.int64) for side in (self.sources, self.targets))
        return self.objective.example(source, target)
