"""Similarity: each of two texts becomes a vector by itself, and their cosine says how alike they are (Sentence-BERT;
Reimers and Gurevych 2019).

    text       a cat sits on a mat      second   a kitten is on the rug      number   4.2 (of 0 to 5)
    encoder    [CLS] a cat sits on a mat [SEP] [CLS] a kitten is on the rug [SEP]
    sees       the tokens of its own text alone, whose positions begin at 0
    asked      the mean over each text, as a vector: cosine 0.84

Since neither text sees the other, the vectors of many texts are computed once, and compared in no time. With
`loss: contrastive` the second text of a row should be nearer to the first than all other texts of the batch (SimCSE;
Gao et al. 2021): rows whose number is at least `positive_from` are such pairs, the texts of all others only stand by.
Both texts share a row of a batch, so each may be half as long as the model reads.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from glassformer.answers import Prompt, Similar
from glassformer.data.batch import Example, OutputSpec, Stream, Targets
from glassformer.data.corpus import Corpus
from glassformer.data.table import ValueColumn
from glassformer.data.two_texts import BETWEEN, parted
from glassformer.errors import UsageError
from glassformer.objective_configs import SimilarityConfig
from glassformer.objectives import Dataset, Objective

HEAD = "vector"


class Similarity(Objective[SimilarityConfig], Similar):
    """Ask for the vectors of two texts; see the module's example."""

    Config = SimilarityConfig
    question = "how alike two texts are, each read by itself"
    good_for = "search, near doubles, groups of like texts; most often after pre-training"
    direction = "both sides of its own text"
    columns = ("text", "second", "number")
    draws = False
    texts_apart = True
    asks_with = f"a text {BETWEEN} another text"

    def check(self) -> None:
        """Raises UsageError where two texts have no room."""
        if self.max_length < 6:
            raise UsageError(f"model.max_length={self.max_length} leaves no room for two texts", "use 16 or more")

    @property
    def vector_head(self) -> str:
        """Its only one."""
        return HEAD

    @property
    def room(self) -> int:
        """Tokens of a text, beside [CLS] and [SEP]."""
        return self.max_length // 2 - 2

    @property
    def scale(self) -> float | None:
        """What a cosine is multiplied by for a number like those of the data; None where it learned none."""
        return self.config.scale if self.config.loss == "squared" else None

    def outputs(self) -> list[OutputSpec]:
        """One head, which makes a vector of the mean over each text."""
        loss = "cosine_squared_error" if self.config.loss == "squared" else "in_batch_contrastive"
        return [OutputSpec(HEAD, self.config.vector_size, bias=False, read="span", loss=loss)]

    def metrics_of(self, head: OutputSpec) -> Sequence[str]:
        """How well the cosines are in the order of the numbers, and how well on a line with them."""
        return ("spearman_correlation", "pearson_correlation") if self.config.loss == "squared" else ()

    def dataset(self, corpus: Corpus) -> Dataset:
        """One pair each."""
        return NumberedPairs(self, corpus)

    def example(
        self, texts: Sequence[Int64[np.ndarray, "_"]], targets: Int64[np.ndarray, "n"] | Float[np.ndarray, "n"]
    ) -> Example:
        """Texts, cut to what the model reads, none of which sees another; each is asked for its vector."""
        cut = [np.r_[self.tokenizer.cls_id, text[: self.room], self.tokenizer.sep_id] for text in texts]
        lengths = [len(text) for text in cut]
        ends = np.cumsum(lengths)
        stream = Stream(
            np.concatenate(cut).astype(np.int64),
            positions=np.concatenate([np.arange(length) for length in lengths]),
            documents=np.repeat(np.arange(len(cut)), lengths),
        )
        return Example({"encoder": stream}, {HEAD: Targets(ends - lengths, targets, ends=ends)})

    def parted(self, text: str) -> list[str]:
        """The texts on both sides of |||."""
        return parted(text)

    def prompt(self, text: str) -> Prompt:
        """Two texts with ||| between them, asked for their vectors. Raises UsageError for anything else, and for what
        is longer than the model reads."""
        texts = self.parted(text)
        prompt = self.vectors_prompt(texts)
        if len(texts) != 2:
            raise UsageError(f"{text!r} is not two texts", f"write A {BETWEEN} B")
        return prompt._replace(text=text)

    def vectors_prompt(self, texts: Sequence[str], cut: bool = False) -> Prompt:
        """See Similar."""
        encoded = [self.tokenizer.encode(text).ids for text in texts]
        if not all(map(len, encoded)):
            raise UsageError("a text is empty", "give a sentence")
        longest = max(map(len, encoded))
        if longest > self.room and not cut:
            raise UsageError(
                f"a text has {longest} tokens, the model reads at most {self.room} of each beside [CLS] and [SEP]",
                "shorten it, or train with a larger model.max_length",
            )
        example = self.example(encoded, np.full(len(encoded), np.nan))
        return Prompt(
            f" {BETWEEN} ".join(texts), example, self.names_in("encoder", example.streams["encoder"]), "encoder"
        )

    def words_of(self, example: Example) -> tuple[int, int]:
        """No word is asked for, known or not."""
        return 0, 0


class NumberedPairs(Dataset):
    """One unit for each pair. Raises UsageError where a text is longer than the model reads, unless it may be cut."""

    def __init__(self, objective: Similarity, corpus: Corpus) -> None:
        numbers, second = corpus.beside.get("number"), corpus.beside.get("second")
        if not isinstance(numbers, ValueColumn) or not isinstance(second, Corpus):
            raise UsageError(
                "similarity needs two texts and a number", "give data with two texts and a number in each row"
            )
        self.objective, self.texts, self.second = objective, corpus, second
        self.numbers = np.asarray(numbers.values)
        config = objective.config
        highest = float(np.abs(self.numbers).max())
        if config.loss == "squared" and highest > config.scale:
            raise UsageError(
                f"the numbers go up to {highest:g}, and objective.scale={config.scale:g}: no cosine is above 1",
                f"use objective.scale={highest:g}",
            )
        if config.loss == "contrastive" and float(self.numbers.max()) < config.positive_from:
            raise UsageError(
                f"no number is at least {config.positive_from:g}, so that no two texts belong together",
                f"use objective.positive_from={float(self.numbers.max()):g} or less",
            )
        sides = [corpus.lengths, second.lengths]
        longest = int(max(side.max() for side in sides))
        if longest > objective.room and config.too_long == "refuse":
            many = int(sum((side > objective.room).sum() for side in sides))
            raise UsageError(
                f"the longest text has {longest} tokens, and the model reads {objective.room} of each beside [CLS] and "
                f"[SEP]; {many} of {2 * len(self.numbers)} texts are too long",
                f"use model.max_length={2 * longest + 4}, or cut them at the end: objective.too_long=cut",
            )
        self.lengths = sum(np.minimum(side, objective.room) + 2 for side in sides)

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Pair `index` with its number."""
        texts = [column.document(index).astype(np.int64) for column in (self.texts, self.second)]
        config, number = self.objective.config, float(self.numbers[index])
        if config.loss == "squared":
            return self.objective.example(texts, np.full(2, number / config.scale))
        own = 2 * index + np.arange(2)
        return self.objective.example(texts, np.full(2, own[0]) if number >= config.positive_from else own)
