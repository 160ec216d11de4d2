"""Masked words and pairs of texts (BERT; Devlin et al. 2019, sections 3.1 and A.2): does the second follow the first?

    before     mars is called the red planet . it has two moons . phobos is the larger one .
    read       [CLS] mars is called the [MASK] planet . [SEP] it has two moons . [SEP]
    segments   0     0    0  0      0   0      0      0 0     1  1   1   1     1 1
    asked      position 6: red, and at [CLS]: follows

Half the time the second text, B, is what stands behind the first, A; half the time it is from another document, and
nearly as long, so that its length tells nothing. With `pairs: order` nothing is from elsewhere: half the time the two
change places (ALBERT; Lan et al. 2020, section 3.1). A and B are runs of whole sentences that together fill what the
model reads; where one ends and the other begins is drawn anew every time. Words are hidden as in masked language
modelling. A document of a single sentence has no pair: it is read alone, and only asked for its words.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from glassformer.answers import FillsBlanks, PredictsLabels, ScoresText
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, Targets
from glassformer.data.corpus import Corpus
from glassformer.data.masking import Masking
from glassformer.data.two_texts import BETWEEN, framed, parted
from glassformer.data.windows import SentenceRuns
from glassformer.errors import UsageError
from glassformer.objective_configs import NextSentenceConfig
from glassformer.objectives import Dataset, Objective, Prompt

WORDS, PAIR = "masked_lm", "next_sentence"
"""The two heads."""
TRUE_PAIR, FALSE_PAIR = 0, 1
NAMES = {"next": ("follows", "does not follow"), "order": ("in order", "swapped")}
SHORTER = 2
"""Tokens by which a second text from elsewhere may be shorter than the one in whose place it stands."""
TRIES = 20
"""How often one is drawn at random before all are looked through."""

Segment = tuple[Int64[np.ndarray, "_"], Bool[np.ndarray, "_"]]
"""Tokens, and which of them begin a word."""


class NextSentence(Objective[NextSentenceConfig], FillsBlanks, ScoresText, PredictsLabels):
    """Hide tokens and ask for them, and ask whether a second text follows; see the module's example."""

    Config = NextSentenceConfig
    question = "which words stand at the blanks, and whether the second text follows the first"
    good_for = "tasks over two texts, such as entailment or answers to questions; what it adds to masked words is small"
    segments = 2

    def check(self) -> None:
        """There is room for two texts."""
        if self.max_length < 5:
            raise UsageError(f"model.max_length={self.max_length} leaves no room for two texts", "use 16 or more")
        self.masking = Masking(self.config, self.tokenizer)

    @classmethod
    def needs_sentences(cls, config: NextSentenceConfig) -> bool:
        """Always."""
        return True

    def for_evaluation(self) -> "NextSentence":
        """Asks at `evaluation_mask_rate`."""
        config = self.config.model_copy(update={"mask_rate": self.config.evaluation_mask_rate})
        return NextSentence(config, self.tokenizer, self.max_length)

    def dataset(self, corpus: Corpus) -> Dataset:
        """Runs of whole sentences, each to be parted into two texts."""
        return Pairs(self, corpus)

    def outputs(self) -> list[OutputSpec]:
        """One over the vocabulary, read where something was hidden, and one over two classes, read at [CLS]."""
        return [
            OutputSpec(WORDS, self.tokenizer.vocab_size, tied=True, transform="dense"),
            OutputSpec(
                PAIR,
                2,
                transform="pooler",
                weight=self.config.next_sentence_weight,
                read="first",
                labels=NAMES[self.config.pairs],
            ),
        ]

    @property
    def label_head(self) -> str:
        """Does the second text follow?"""
        return PAIR

    def example(self, texts: list[Segment], answer: int | None, rng: np.random.Generator) -> Example:
        """One text or two, with some tokens hidden. `answer` is the class of a pair, None of a single text."""
        ids, segment_ids, starts_word = self.joined(texts)
        positions = self.masking.choose(ids, starts_word, rng)
        return self.hiding(ids, segment_ids, positions, answer, rng)

    def in_turn(self, texts: list[Segment], answer: int | None, rng: np.random.Generator) -> list[Example]:
        """The same with one part of the tokens hidden after another, until all were asked; the pair is asked once."""
        ids, segment_ids, starts_word = self.joined(texts)
        parts = self.masking.choose_in_turn(ids, starts_word, rng) or [np.zeros(0, dtype=np.int64)]
        return [
            self.hiding(ids, segment_ids, positions, None if turn else answer, rng)
            for turn, positions in enumerate(parts)
        ]

    def joined(
        self, texts: list[Segment]
    ) -> tuple[Int64[np.ndarray, "T"], Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
        """Tokens, segments, and which tokens begin a word."""
        ids, segment_ids = self.framed([text for text, _ in texts])
        starts_word = np.ones(len(ids), dtype=bool)
        begin = 1
        for _, flags in texts:
            starts_word[begin : begin + len(flags)] = flags
            begin += len(flags) + 1
        return ids, segment_ids, starts_word

    def hiding(
        self,
        ids: Int64[np.ndarray, "T"],
        segment_ids: Int64[np.ndarray, "T"],
        positions: Int64[np.ndarray, "n"],
        answer: int | None,
        rng: np.random.Generator,
    ) -> Example:
        """`ids` with these positions hidden, and asked."""
        stream = Stream(self.masking.corrupt(ids, positions, rng), segment_ids)
        return Example({"encoder": stream}, {WORDS: Targets(positions, ids[positions]), PAIR: at_first(answer)})

    def framed(self, texts: list[Int64[np.ndarray, "_"]]) -> tuple[Int64[np.ndarray, "T"], Int64[np.ndarray, "T"]]:
        """[CLS] A [SEP] or [CLS] A [SEP] B [SEP], and the segment of each token."""
        return framed(texts, self.tokenizer.cls_id, self.tokenizer.sep_id)

    def parted(self, text: str) -> list[str]:
        """The texts on both sides of |||, or the one."""
        return parted(text)

    def prompt(self, text: str) -> Prompt:
        """A text with [MASK] at its blanks, or with none; or two texts with ||| between them, which asks whether the
        second follows the first. Raises UsageError for more than two, for an empty one of two, and for what is longer
        than `max_length`."""
        texts = self.parted(text)
        if len(texts) > 2 or (len(texts) == 2 and not all(texts)):
            raise UsageError(
                f"{BETWEEN} stands between two texts, and {text!r} is not two of them", f"write A {BETWEEN} B"
            )
        encoded = [self.tokenizer.encode(part, allow_mask=True).ids for part in texts]
        ids, segment_ids = self.framed(encoded)
        if len(ids) > self.max_length:
            raise UsageError(
                f"{'the text has' if len(texts) == 1 else 'the texts have'} {sum(map(len, encoded))} tokens, the model "
                f"reads at most {self.max_length - len(texts) - 1} beside one at the start and one behind each text",
                "shorten it, or train with a larger model.max_length",
            )
        blanks = np.flatnonzero(ids == self.tokenizer.mask_id)
        words = Targets(blanks, np.full(len(blanks), IGNORE_INDEX, dtype=np.int64))
        pair = at_first(IGNORE_INDEX if len(texts) == 2 else None)
        tokens = [self.tokenizer.token(int(token)) for token in ids]
        return Prompt(text, Example({"encoder": Stream(ids, segment_ids)}, {WORDS: words, PAIR: pair}), tokens)

    def scored(self, text: str) -> list[Example]:
        """An example for each token, in which that one is hidden (pseudo-likelihood; Salazar et al. 2020)."""
        if BETWEEN in text:
            raise UsageError("two texts have no score of their own", f"score one text, without {BETWEEN}")
        [stream] = self.prompt(text).example.streams.values()
        places = np.flatnonzero(self.masking.is_ordinary[stream.values])
        hidden = [
            np.where(np.arange(len(stream.values)) == place, self.tokenizer.mask_id, stream.values) for place in places
        ]
        return [
            Example(
                {"encoder": stream._replace(values=read)}, {WORDS: Targets(np.array([place]), stream.values[[place]])}
            )
            for read, place in zip(hidden, places, strict=True)
        ]


def at_first(answer: int | None) -> Targets:
    """A question at [CLS]; of a single text none."""
    asked = [] if answer is None else [answer]
    return Targets(np.zeros(len(asked), dtype=np.int64), np.array(asked, dtype=np.int64))


class Pairs(Dataset):
    """Runs of whole sentences, each parted into two texts anew every time; a run of one sentence is read alone.

    Raises UsageError for one document, and where fewer than two (of pairs=order: none) have two sentences.
    """

    def __init__(self, objective: NextSentence, corpus: Corpus) -> None:
        self.objective = objective
        self.runs = SentenceRuns(corpus, objective.max_length - 3)
        is_pair = np.diff(self.runs.runs)[:, 0] > 1
        self.lengths = self.runs.lengths + np.where(is_pair, 3, 2)
        is_next = objective.config.pairs == "next"
        if is_next and are_alike(corpus, range(corpus.n_documents)):
            raise UsageError(
                "a pair objective on one document: what does not follow is from another one, and there is none",
                "say what a document is: data.document=blank_line, line or file, or data.document_start=PATTERN; or "
                "ask for the order of two texts: objective.pairs=order",
            )
        if not is_pair.any():
            raise UsageError(
                "a pair objective on texts of one sentence each: none has a second text that follows",
                "let a document be more: data.document=blank_line or file, or data.document_start=PATTERN",
            )
        if is_next and are_alike(corpus, np.unique(self.runs.documents[is_pair]).tolist()):
            raise UsageError(
                "only one of these documents has a second sentence: what does not follow is the end of another one",
                "let a document be more: data.document=blank_line or file, or data.document_start=PATTERN; or ask for "
                "the order of two texts: objective.pairs=order",
            )
        if is_next:
            self.elsewhere = Elsewhere(self.runs)

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Run `index`, parted and corrupted."""
        return self.objective.example(*self._parted(index, rng), rng)

    def in_turn(self, index: int, rng: np.random.Generator) -> list[Example]:
        """Run `index`, parted, each of its tokens hidden once."""
        return self.objective.in_turn(*self._parted(index, rng), rng)

    def _parted(self, index: int, rng: np.random.Generator) -> tuple[list[Segment], int | None]:
        """One text or two, and the class of the pair."""
        begin, end = self.runs.runs[index].tolist()
        if end - begin == 1:
            return [self.runs.sentences(begin, end)], None
        border = begin + int(rng.integers(1, end - begin))
        first, second = self.runs.sentences(begin, border), self.runs.sentences(border, end)
        if rng.random() < 0.5:
            return [first, second], TRUE_PAIR
        if self.objective.config.pairs == "order":
            return [second, first], FALSE_PAIR
        other = self.elsewhere.instead_of(border, end, int(self.runs.documents[index]), rng)
        return ([first, second], TRUE_PAIR) if other is None else ([first, other], FALSE_PAIR)


def are_alike(corpus: Corpus, documents: Sequence[int]) -> bool:
    """Whether these documents are one, or copies of one: then nothing can be from another."""
    first = corpus.document(documents[0])
    return all(np.array_equal(first, corpus.document(n)) for n in documents)


class Elsewhere:
    """Second texts that do not follow: the ends of runs, as true second texts are, by their lengths."""

    def __init__(self, runs: SentenceRuns) -> None:
        self.runs = runs
        number = np.diff(runs.runs)[:, 0] - 1  # borders in each run
        run = np.repeat(np.arange(len(number)), number)
        nth = np.arange(len(run)) - np.repeat(np.cumsum(number) - number, number)
        ends = np.stack([runs.runs[run, 0] + 1 + nth, runs.runs[run, 1], runs.documents[run]], axis=1)
        lengths = runs.starts[ends[:, 1]] - runs.starts[ends[:, 0]]
        by_length = np.argsort(lengths, kind="stable")
        self.lengths, self.ends = lengths[by_length], ends[by_length]

    def instead_of(self, border: int, end: int, document: int, rng: np.random.Generator) -> Segment | None:
        """A text of another document that is as long as the sentences `border` to `end`, or a little shorter; cut where
        all others are longer. None where every other begins with the very sentence that follows."""
        length = int(self.runs.starts[end] - self.runs.starts[border])
        low, high = np.searchsorted(self.lengths, [length - SHORTER, length + 1])
        drawn = rng.integers(low, high, TRIES) if low < high else np.zeros(0, dtype=np.int64)
        for n in drawn[self.ends[drawn, 2] != document].tolist():
            if self.differs(n, border):
                return self.text(n, length)
        others = rng.permutation(np.flatnonzero(self.ends[:, 2] != document))
        shorter_by = length - self.lengths[others]
        nearest_first = np.argsort(np.where(shorter_by < 0, length - shorter_by, shorter_by), kind="stable")
        for n in others[nearest_first].tolist():
            if self.differs(n, border):
                return self.text(n, length)
        return None

    def differs(self, number: int, border: int) -> bool:
        """Whether one of them begins with other words than the sentence `border`: documents may repeat each other."""
        begin = int(self.ends[number, 0])
        (one, _), (two, _) = self.runs.sentences(begin, begin + 1), self.runs.sentences(border, border + 1)
        return not np.array_equal(one, two)

    def text(self, number: int, length: int) -> Segment:
        """One of them, of at most `length` tokens."""
        ids, starts_word = self.runs.sentences(*self.ends[number, :2].tolist())
        return ids[:length], starts_word[:length]
