"""The contract of an objective: what is hidden, what is asked, how it is scored. One file per objective.

An objective never sees a model: it makes examples, names the heads that it needs, and scores their logits. Trainer,
prediction and views ask every objective through the methods below and know none by name.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glassformer.config import Config
from glassformer.data.batch import NOT_ASKED, Asked, Batch, Example, HeadSpec, Stream
from glassformer.data.codecs import Codecs
from glassformer.data.roles import TEXT, Role
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.losses import Loss as Loss
from glassformer.losses import LossFunction, find_loss
from glassformer.objective_configs import AnyObjective as AnyObjective
from glassformer.objective_configs import Member as Member
from glassformer.plugins import find_plugin
from glassformer.randomness import Purpose, generator


class Units(ABC):
    """What one epoch runs over: documents, windows, pairs, whatever the objective needs."""

    lengths: Int64[np.ndarray, "units"]
    """Tokens in each unit's longest stream, or a little more where corruption decides; for batching."""
    members: Int64[np.ndarray, "units"] | None = None
    """Of a mixture: which of its objectives each unit is of. A batch holds units of one."""
    shares: tuple[float, ...] = (1.0,)
    """How much of the batches each objective has."""

    def __len__(self) -> int:
        return len(self.lengths)

    @abstractmethod
    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Unit `index` with fresh corruption: a pure function of the index and the generator's state."""

    def in_turn(self, index: int, rng: np.random.Generator) -> list[Example]:
        """Unit `index` as examples that together ask each of its tokens once, each as much as `example` asks. One
        example, unless a draw decides what is asked."""
        return [self.example(index, rng)]


class Terms(NamedTuple):
    """What one head was asked, question by question: the terms of its loss, its guesses, and the truth."""

    losses: Float[Tensor, "N"]
    guesses: Int64[Tensor, "N"] | None
    """None of a head whose targets are no classes."""
    targets: Int64[Tensor, "N"] | Float[Tensor, "N *numbers"]
    words: bool
    """Whether the classes are the tokens of the vocabulary."""


class Candidate(NamedTuple):
    """One possible answer and the probability that the model gives it."""

    token: str
    probability: float


class Blank(NamedTuple):
    """One asked position: its place among the tokens, the candidates (best first), and the truth where known."""

    position: int
    candidates: list[Candidate]
    true: str | None = None


class Prompt(NamedTuple):
    """A person's text as an example, with the tokens that the model reads (for pictures)."""

    text: str
    example: Example
    tokens: list[str]
    stream: str = "encoder"
    """The stream that the tokens are of."""


C = TypeVar("C", bound=Config)


class Objective(ABC, Generic[C]):
    """One pretraining objective. Subclasses live one per file in this folder and are found by the file's name."""

    Config: ClassVar[type[Config]]
    family: ClassVar[Literal["encoder", "decoder", "encoder_decoder"]] = "encoder"
    """The stacks that its streams need."""
    columns: ClassVar[tuple[Role, ...]] = TEXT
    """The roles of the columns that it takes. `units` is given the first, with the others beside it."""
    segments: ClassVar[int] = 0
    """How many segments its streams tell apart; a model without an embedding for each cannot see them."""
    appends: ClassVar[bool] = True
    """Whether a generated text only grows at its end, so that it can be shown as it comes."""
    any_order: ClassVar[bool] = False
    """Whether a text can grow inside too: one blank is filled after another (`filled`), each seen by the next."""
    asks_blanks: ClassVar[bool] = True
    """Whether what is asked belongs to the asked place itself, and not behind it."""

    def __init__(
        self, config: C, tokenizer: Tokenizer, max_length: int, target_tokenizer: Tokenizer | None = None
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.target_tokenizer = target_tokenizer or tokenizer
        """Of the decoder's stream, where that has a vocabulary of its own."""
        self.max_length = max_length

    @classmethod
    def from_codecs(cls, config: C, codecs: Codecs, max_length: int) -> "Objective[C]":
        """One that reads by these codecs."""
        return cls(config, codecs.tokenizer, max_length, codecs.target)

    @property
    def row_length(self) -> int:
        """Tokens of a row of a batch at most; a prompt may have `max_length`."""
        return self.max_length

    @classmethod
    def members_of(cls, config: Any) -> "Sequence[Member]":
        """The objectives that a mixture's configuration names, each perhaps with data of its own; none of any other."""
        return ()

    @classmethod
    def prefix_of(cls, config: Any) -> str:
        """What is put before every text that this objective reads."""
        return ""

    @property
    def opening(self) -> str:
        """How a text must begin that a person asks with: of several tasks told apart by a prefix, the first one's."""
        return ""

    @classmethod
    def needs_sentences(cls, config: C) -> bool:
        """Whether its corpus must know where sentences begin."""
        return False

    @classmethod
    def tokenizer_settings(cls, max_length: int) -> dict[str, Any]:
        """What a tokenizer must have for this objective, where a recipe is made for a text."""
        return {}

    @abstractmethod
    def units(self, corpus: Any) -> Units:
        """Cut a corpus into the units of this objective."""

    @abstractmethod
    def heads(self) -> list[HeadSpec]:
        """The output heads that a model needs for this objective."""

    @property
    def generates(self) -> bool:
        """Whether a text can grow from its prompts, token by token; if not, its prompts have blanks."""
        return self.family != "encoder"

    @property
    def fills(self) -> bool:
        """Whether its prompts may have blanks."""
        return not self.generates

    def weights(self) -> dict[str, float]:
        """What the mean loss of each name in `loss` is multiplied by, where several are added."""
        return {head.name: head.weight for head in self.heads()}

    def shares(self) -> dict[str, float]:
        """In how much of the batches each of them is asked."""
        return dict.fromkeys(self.weights(), 1.0)

    def counts(self, batch: Batch) -> dict[str, int]:
        """How many terms each of them has in a batch, known before the forward pass."""
        return {name: asked.number for name, asked in batch.asked.items()}

    def of(self, made: Example | Batch) -> "Objective":
        """The objective that made an example, or a batch of them: of a mixture the member."""
        return self

    def prompt_for(self, what: Literal["fill", "generate", "read"], text: str) -> Prompt:
        """A person's text as a prompt for what is wanted of it; `prompt`, but in a mixture the member that can do it is
        asked. Raises UsageError where it cannot be asked."""
        return self.prompt(text)

    def for_evaluation(self) -> "Objective[C]":
        """The objective that asks the fixed questions: this one, unless its settings would make the questions of two
        runs differ that are to be compared."""
        return self

    @abstractmethod
    def prompt(self, text: str) -> Prompt:
        """A person's text as an example that asks the model: for its blanks, or for the token after it. Raises
        UsageError where it cannot be asked."""

    def texts_in(self, text: str) -> list[str]:
        """The texts that a person's text holds: itself, unless the objective reads several that were typed as one."""
        return [text]

    def tokenizer_of(self, stream: str) -> Tokenizer:
        """What a stream's tokens come from."""
        return self.target_tokenizer if stream == "decoder" else self.tokenizer

    def as_prompt(self, example: Example) -> Prompt:
        """An example of this objective's own as a prompt, shown by the stream in which it asks."""
        stream = next(iter(example.asked.values())).stream
        ids, tokenizer = example.streams[stream].ids, self.tokenizer_of(stream)
        return Prompt(tokenizer.decode(ids), example, [tokenizer.token(int(token)) for token in ids], stream)

    def scored(self, text: str) -> list[Example]:
        """A text as examples that ask each of its tokens once, in order: from what stands before it, or from all the
        others. Raises UsageError where that cannot be asked."""
        name = self.config.model_dump()["name"]
        raise UsageError(
            f"a model trained by {name} gives a single text no probability",
            "score texts with causal_lm, masked_lm, next_sentence or permutation_lm",
        )

    def ends(self, prompt: Prompt) -> frozenset[int]:
        """The tokens at which a text that grows from the prompt, token by token, is finished. Raises UsageError where
        this objective does not teach a model to go on with a text."""
        name = self.config.model_dump()["name"]
        raise UsageError(
            f"a model trained by {name} does not generate: it has learned to fill blanks, seeing both sides of them",
            'ask it with `fill RUN "... [MASK] ..."`; causal_lm, denoising, permutation_lm, seq2seq and '
            "span_corruption models generate",
        )

    def taught(self, target: Int64[np.ndarray, "T"]) -> tuple[Stream, Asked]:
        """A target as the decoder learns it: it reads [CLS] and the target, and is asked the target and [SEP], at every
        place the next token (teacher forcing). Cut to what the model reads; unknown words are never asked."""
        tokenizer = self.target_tokenizer
        read = np.append(tokenizer.cls_id, target)[: self.max_length]
        targets = np.append(target, tokenizer.sep_id)[: self.max_length]
        positions = np.flatnonzero(targets != tokenizer.unk_id)
        return Stream(read, causal=True), Asked(positions, targets[positions], "decoder")

    def continued(self, prompt: Prompt, ids: Sequence[int]) -> Prompt:
        """A prompt that has grown by some tokens, as the decoder reads them."""
        [(head, asked)] = prompt.example.asked.items()
        stream = prompt.example.streams[asked.stream]
        grown = stream._replace(ids=np.concatenate([stream.ids, np.asarray(ids, dtype=np.int64)]))
        place = asked._replace(positions=np.array([len(grown.ids) - 1]))
        return prompt._replace(example=Example(prompt.example.streams | {asked.stream: grown}, {head: place}))

    def filled(self, prompt: Prompt, blank: int, token: int) -> Prompt:
        """A prompt of which one blank, counted from 0, is filled; where `any_order` says that there are such."""
        raise NotImplementedError

    def text_of(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """What has been generated from a prompt, as a text, without the token that ended it."""
        return self.target_tokenizer.decode([i for i in ids if i not in self.target_tokenizer.special_ids])

    def loss(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Loss]:
        """The loss that each head names, summed over all that it is asked."""
        return {name: self.losses[name](outputs, batch.asked[name]) for name, outputs in logits.items()}

    @cached_property
    def losses(self) -> dict[str, LossFunction]:
        """The loss of each head."""
        return {head.name: find_loss(head.loss) for head in self.heads()}

    def scores(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Loss]:
        """What people want to read beside the loss, also as sums and counts: accuracy of heads over classes, and top-5
        accuracy where there are more than five."""
        hits: dict[str, Loss] = {}
        for name, values in logits.items():
            if self.losses[name].targets != "classes":
                continue
            targets, count = batch.asked[name].targets, batch.asked[name].number
            best = values.topk(min(5, values.shape[-1]), dim=-1).indices
            right = (best == targets[:, None]).float()  # NOT_ASKED equals no class
            hits[f"{name}/accuracy"] = Loss(right[:, 0].sum(), count)
            if values.shape[-1] > 5:
                hits[f"{name}/top5_accuracy"] = Loss(right.sum(), count)
        return hits

    def terms(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Terms]:
        """Every question by itself, by the names that `loss` has: its sum and the terms' agree in an evaluation."""
        found: dict[str, Terms] = {}
        for name, values in logits.items():
            number = batch.asked[name].number
            values, targets = values[:number], batch.asked[name].targets[:number]
            words = values.shape[-1] == self.target_tokenizer.vocab_size
            guesses = values.argmax(-1) if self.losses[name].targets == "classes" else None
            found[name] = Terms(self.losses[name].of_each(values, targets), guesses, targets, words)
        return found

    def words_of(self, example: Example) -> tuple[int, int]:
        """How many tokens of its text an example could ask about, and how many of them are unknown words, which are
        never asked."""
        streams = {asked.stream for asked in example.asked.values()}
        return self._words_in(example, streams)

    def _words_in(self, example: Example, streams: Iterable[str]) -> tuple[int, int]:
        """The same, of some streams. What is hidden is a word that was there."""
        words = unknown = 0
        for name in streams:
            tokenizer, stream = self.tokenizer_of(name), example.streams[name]
            ids = stream.ids[: stream.content]
            hidden = np.isin(ids, list(tokenizer.special_ids - {tokenizer.unk_id, tokenizer.mask_id}))
            words += int((~hidden).sum())
            unknown += int((ids == tokenizer.unk_id).sum())
        return words, unknown

    def answer(self, example: Example, logits: dict[str, Float[Tensor, "_ _"]], top: int = 5) -> list[Blank]:
        """The model's candidates at every asked position of one example, best first, with real probabilities.
        Where a target is known (not NOT_ASKED), it is given as the truth."""
        blanks: list[Blank] = []
        for name, asked in example.asked.items():
            probabilities = logits[name].float().softmax(-1)
            best = probabilities.topk(min(top, probabilities.shape[-1]), dim=-1)
            positions = example.streams[asked.stream].positions
            stands = asked.positions if positions is None else positions[asked.positions]
            for n, (position, target) in enumerate(zip(stands, asked.targets, strict=True)):
                pairs = zip(best.indices[n].tolist(), best.values[n].tolist(), strict=True)
                candidates = [Candidate(self.class_name(name, token), p) for token, p in pairs]
                true = None if target == NOT_ASKED else self.class_name(name, int(target))
                blanks.append(Blank(int(position), candidates, true))
        return blanks

    def class_name(self, head: str, number: int) -> str:
        """What class `number` of a head is called: a token."""
        return self.target_tokenizer.token(number)

    def target_counts(self, units: Units, seed: int, limit: int = 20_000) -> dict[str, Float[Tensor, "_"]]:
        """How often each class is the target where every token is asked in turn, in up to `limit` examples (of the last
        unit all): what the unigram line is made of. A single draw of a small text would count too few."""
        chosen = generator(seed, Purpose.COUNTS).permutation(len(units))[:limit]
        turns = (units.in_turn(int(index), generator(seed, Purpose.COUNT, int(index))) for index in chosen)
        targets: dict[str, list[np.ndarray]] = {head.name: [] for head in self.heads()}
        made = 0
        for examples in turns:
            for name, asked in (item for example in examples for item in example.asked.items()):
                targets[name].append(asked.targets)
            made += len(examples)
            if made >= limit:
                break
        return {
            head.name: torch.from_numpy(np.bincount(_joined(targets[head.name]), minlength=head.size)).float()
            for head in self.heads()
        }

    def asked_share(self, units: Units, seed: int, limit: int = 256) -> float:
        """How many tokens of a stream are asked, as a share of all: of the head that asks most, in up to `limit`
        examples."""
        chosen = generator(seed, Purpose.COUNTS).permutation(len(units))[:limit]
        examples = [units.example(int(index), generator(seed, Purpose.COUNT, int(index))) for index in chosen]
        shares = [
            sum(len(e.asked[head].targets) for e in examples)
            / sum(len(e.streams[e.asked[head].stream].ids) for e in examples)
            for head in examples[0].asked
        ]
        return max(shares)


def find_objective(name: str) -> type[Objective]:
    """The objective class in the file `name`.py of this folder. Raises UsageError naming the nearest one."""
    return find_plugin(__name__, name, Objective, "objective")  # type: ignore[type-abstract]


def _joined(parts: list[np.ndarray]) -> Int64[np.ndarray, "n"]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
