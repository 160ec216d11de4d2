"""The contract of an objective: what is hidden, what is asked, how it is scored. One file per objective.

An objective never sees a model: it makes examples, and names the heads that it needs, each with what it reads and its
loss. What its models can be asked for afterwards it says by its further bases, the classes of `answers`: trainer,
prediction and views know no objective by name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glassformer.answers import COMMANDS, FillsBlanks, FillsInAnyOrder, Generates, ScoresText
from glassformer.answers import Blank as Blank
from glassformer.answers import Candidate as Candidate
from glassformer.answers import Prompt as Prompt
from glassformer.config import Config
from glassformer.data.batch import IGNORE_INDEX, Batch, Example, OutputSpec, Stream, StreamSpec
from glassformer.data.codecs import Codecs
from glassformer.data.labels import Labels
from glassformer.data.roles import TEXT, Role
from glassformer.data.table import Arrays
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.losses import Loss as Loss
from glassformer.losses import LossFunction, find_loss
from glassformer.metrics import Mean, Metric, Terms, find_metric
from glassformer.objective_configs import AnyObjective as AnyObjective
from glassformer.objective_configs import Member as Member
from glassformer.plugins import find_plugin, plugin_names
from glassformer.randomness import Purpose, generator


class Dataset(ABC):
    """What one epoch runs over. Its units are documents, windows, pairs, whatever the objective needs."""

    lengths: Int64[np.ndarray, "units"]
    """Tokens in each unit's longest stream, or a little more where corruption decides; for batching."""
    members: Int64[np.ndarray, "units"] | None = None
    """Of a mixture: which of its objectives each unit is of. A batch holds units of one."""
    shares: tuple[float, ...] = (1.0,)
    """How much of the batches each objective has."""

    @property
    def parts(self) -> "Sequence[Dataset]":
        """Of a mixture: the units of each of its objectives."""
        return (self,)

    def __len__(self) -> int:
        return len(self.lengths)

    @abstractmethod
    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Unit `index` with fresh corruption: a pure function of the index and the generator's state."""

    def in_turn(self, index: int, rng: np.random.Generator) -> list[Example]:
        """Unit `index` as examples that together ask each of its tokens once, each as much as `example` asks. One
        example, unless a draw decides what is asked."""
        return [self.example(index, rng)]


C = TypeVar("C", bound=Config)


class Objective(ABC, Generic[C]):
    """One pretraining objective. Subclasses live one per file in this folder and are found by the file's name.

    What a subclass must write: `dataset`, `outputs`, `prompt`, and its configuration. What it may say otherwise stands
    in the first two parts; the third is for whoever trains, evaluates and asks, and no subclass touches it.
    """

    Config: ClassVar[type[Config]]
    family: ClassVar[Literal["encoder", "decoder", "encoder_decoder"]] = "encoder"
    """The stacks that its streams need."""
    columns: ClassVar[tuple[Role, ...]] = TEXT
    """The roles of the columns that it takes. `dataset` is given the first, with the others beside it."""
    segments: ClassVar[int] = 0
    """How many segments its streams tell apart; a model without an embedding for each cannot see them."""
    draws: ClassVar[bool] = True
    """Whether examples are drawn: another generator makes other examples of the same unit."""
    pair_masks: ClassVar[bool] = False
    """Whether its streams say for each pair of tokens who sees whom; not every kind of model can be told so."""
    texts_apart: ClassVar[bool] = False
    """Whether a stream holds several texts that do not see each other; not every kind of model can keep them apart."""
    direction: ClassVar[str] = ""
    """Where a token may look, in words; empty: where its family lets it (`look/strategies.py`)."""
    question: ClassVar[str] = ""
    """What a model is asked while it learns, in words."""
    good_for: ClassVar[str] = ""
    """What such a model is used for."""
    asks_with: ClassVar[str] = "a text with a [MASK]"
    """What a person asks with, in words that could be asked themselves."""

    def __init__(
        self,
        config: C,
        tokenizer: Tokenizer | None,
        max_length: int,
        target_tokenizer: Tokenizer | None = None,
        labels: Labels | None = None,
        arrays: Arrays | None = None,
    ) -> None:
        self.config = config
        if tokenizer is not None:  # an objective that reads no text has none
            self.tokenizer = tokenizer
            self.target_tokenizer = target_tokenizer or tokenizer
            """Of the decoder's stream, where that has a vocabulary of its own."""
        self.max_length = max_length
        self.labels = labels
        """The names of the classes, where it takes a column of labels."""
        self.arrays = arrays
        """The shape of its pictures, where it takes a column of those."""
        self.members: Sequence[Objective] = (self,)
        """Of a mixture its objectives; of any other itself."""
        self.check()

    @classmethod
    def from_codecs(cls, config: C, codecs: Codecs, max_length: int) -> "Objective[C]":
        """One that reads by the codecs of a run."""
        return cls(config, codecs.text, max_length, codecs.target, codecs.label, codecs.array)

    def check(self) -> None:
        """Called once, when all of the above is there. Raises UsageError for settings that do not fit together."""

    # -------------------------------------------------------------------------------- what it takes, and what it asks

    @classmethod
    def prefix_of(cls, config: Any) -> str:
        """What is put before every text that this objective reads."""
        return ""

    @classmethod
    def needs_sentences(cls, config: C) -> bool:
        """Whether its corpus must know where sentences begin."""
        return False

    @classmethod
    def tokenizer_settings(cls, max_length: int) -> dict[str, Any]:
        """What a tokenizer must have for this objective, where a recipe is made for a text."""
        return {}

    @property
    def row_length(self) -> int:
        """Tokens of a row of a batch at most; a prompt may have `max_length`."""
        return self.max_length

    def for_evaluation(self) -> "Objective[C]":
        """The objective that asks the fixed questions: this one, unless its settings would make the questions of two
        runs differ that are to be compared."""
        return self

    @abstractmethod
    def dataset(self, corpus: Any) -> Dataset:
        """Cut a corpus into the units of this objective."""

    def settled(self, data: Any) -> C:
        """The configuration with everything in it that the training data decide. What it was before is recorded."""
        return self.config

    @abstractmethod
    def outputs(self) -> list[OutputSpec]:
        """The output heads that a model needs for this objective."""

    @cached_property
    def losses(self) -> dict[str, LossFunction]:
        """The loss of each head, as its OutputSpec names it."""
        return {head.name: find_loss(head.loss) for head in self.outputs()}

    def metrics_of(self, head: OutputSpec) -> Sequence[str]:
        """What is measured of a head, beside its loss: names of files in `metrics`. Of tokens it is how often the right
        one is the first or among the first five, and where there is one loss only, the perplexity; of labels, which may
        be rare, also what counts all of them alike."""
        targets = self.losses[head.name].targets
        if targets == "numbers" and head.loss == "squared_error":
            return ("mean_squared_error", "pearson_correlation", "spearman_correlation")
        if targets != "classes":
            return ()
        if head.read == "pointer":
            return ("accuracy",)
        if head.labels is not None:
            return ("accuracy", "macro_f1", "matthews_correlation")
        among = ("accuracy", "top5_accuracy") if head.size > 5 else ("accuracy",)
        return (*among, "perplexity") if len(self.outputs()) == 1 else among

    @property
    def best_by(self) -> str:
        """What decides which weights are better where a recipe leaves it open: of one head over labels the first of its
        metrics, of one over numbers their order, else the loss."""
        heads = self.outputs()
        if len(heads) > 1 or len(self.members) > 1:
            return "loss"
        if heads[0].labels is not None:
            return self.metrics_of(heads[0])[0]
        return "spearman_correlation" if "spearman_correlation" in self.metrics_of(heads[0]) else "loss"

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the classes. Raises ValueError where it was made without."""
        if self.labels is None:
            raise ValueError(f"{self._name} is made from codecs with labels")
        return self.labels.names

    @property
    def pad_id(self) -> int:
        """What streams of tokens are padded with."""
        return self.tokenizer.pad_id

    def inputs(self) -> dict[str, StreamSpec]:
        """What its streams consist of, where that is no tokens: by their names."""
        return {}

    # ----------------------------------------------------------------------------------------------- asked by a person

    @abstractmethod
    def prompt(self, text: str) -> Prompt:
        """A person's text as an example that asks the model: for its blanks, for the token after it, or for its class.
        Raises UsageError where it cannot be asked."""

    def prompt_for(self, what: Literal["fill", "generate", "label", "read"], text: str) -> Prompt:
        """A person's text as a prompt for what is wanted of it: `prompt`, but a mixture asks the member that can do it.
        Raises UsageError where it cannot be asked."""
        return self.prompt(text)

    def parted(self, text: str) -> list[str]:
        """The texts that a person's text holds: itself, unless the objective reads several that were typed as one."""
        return [text]

    def tokenizer_of(self, stream: str) -> Tokenizer:
        """What a stream's tokens come from. Raises UsageError where nothing is read as text."""
        if "tokenizer" not in vars(self):
            raise UsageError("this model reads no text, and has no words", "ask it for shapes, heads and its labels")
        return self.target_tokenizer if stream == "decoder" else self.tokenizer

    def names_in(self, name: str, stream: Stream) -> list[str]:
        """What people read at each place of a stream: its tokens."""
        token = self.tokenizer_of(name).token
        return [token(int(id)) for id in stream.values]

    def as_prompt(self, example: Example) -> Prompt:
        """An example of this objective's own as a prompt, shown by the stream in which it asks."""
        name = next(iter(example.targets.values())).stream
        stream = example.streams[name]
        return Prompt(self.tokenizer_of(name).decode(stream.values), example, self.names_in(name, stream), name)

    @property
    def asks_blanks(self) -> bool:
        """Whether what is asked belongs to the asked place itself: not behind it, nor to the example as a whole."""
        return isinstance(self, FillsBlanks) and not isinstance(self, FillsInAnyOrder)

    def words_of(self, example: Example) -> tuple[int, int]:
        """How many tokens of its text an example could ask about, and how many of them are unknown words, which are
        never asked."""
        streams = {targets.stream for targets in example.targets.values()}
        return self._words_in(example, streams)

    def _words_in(self, example: Example, streams: Iterable[str]) -> tuple[int, int]:
        """The same, of some streams. What is hidden is a word that was there."""
        words = unknown = 0
        for name in streams:
            tokenizer, stream = self.tokenizer_of(name), example.streams[name]
            ids = stream.values[: stream.n_keys]
            hidden = np.isin(ids, list(tokenizer.special_ids - {tokenizer.unk_id, tokenizer.mask_id}))
            words += int((~hidden).sum())
            unknown += int((ids == tokenizer.unk_id).sum())
        return words, unknown

    def answer(self, example: Example, logits: dict[str, Float[Tensor, "_ _"]], top: int = 5) -> list[Blank]:
        """The model's candidates at every asked position of one example, best first, with real probabilities. Heads
        whose targets are no classes have none.
        Where a target is known (not IGNORE_INDEX), it is given as the truth."""
        blanks: list[Blank] = []
        for name, targets in example.targets.items():
            if self.losses[name].targets != "classes":
                continue
            probabilities = logits[name].float().softmax(-1)
            best = probabilities.topk(min(top, probabilities.shape[-1]), dim=-1)
            positions = example.streams[targets.stream].positions
            stands = targets.positions if positions is None else positions[targets.positions]
            for n, (position, target) in enumerate(zip(stands, targets.values, strict=True)):
                pairs = zip(best.indices[n].tolist(), best.values[n].tolist(), strict=True)
                candidates = [Candidate(self.class_in(example, name, n, token), p) for token, p in pairs]
                true = None if target == IGNORE_INDEX else self.class_in(example, name, n, int(target))
                blanks.append(Blank(int(position), candidates, true))
        return blanks

    def class_name(self, head: str, number: int) -> str:
        """What class `number` of a head is called: by its label, or a token."""
        labels = self.specs[head].labels
        return labels[number] if labels is not None else self.target_tokenizer.token(number)

    def class_in(self, example: Example, head: str, question: int, number: int) -> str:
        """The same for one question of an example: of a pointer the token that it points at."""
        if self.specs[head].read != "pointer":
            return self.class_name(head, number)
        targets = example.targets[head]
        place = int(targets.positions[question]) + number
        return self.names_in(targets.stream, example.streams[targets.stream])[place]

    def target_in(self, example: Example, head: str, question: int, target: int | float) -> str:
        """What a target is called: its class, or the number that it is."""
        if self.losses[head].targets != "classes":
            return f"{target:.3g}"
        return self.class_in(example, head, question, int(target))

    @cached_property
    def specs(self) -> dict[str, OutputSpec]:
        """Its heads by their names."""
        return {head.name: head for head in self.outputs()}

    # ------------------------------------------------------------- for all who train, evaluate, ask; of a mixture too

    names: Sequence[str] = ("",)
    """Of a mixture: what the numbers of each member are called."""
    proportions: Sequence[float] = (1.0,)
    """Of a mixture: in how much of the batches each member asks."""

    def of(self, made: Example | Batch) -> "Objective":
        """The objective that made an example, or a batch of them: of a mixture the member."""
        return self.members[made.member] if len(self.members) > 1 else self

    def named(self, member: int, head: str) -> str:
        """What the numbers of a member's head are called: of a mixture by the member, and the head where it has
        several."""
        if len(self.members) == 1:
            return head
        name = self.names[member]
        return name if len(self.members[member].outputs()) == 1 else f"{name}.{head}"

    def _by_name(self, found: Callable[[int, OutputSpec], float]) -> dict[str, float]:
        specs = [(number, head) for number, member in enumerate(self.members) for head in member.outputs()]
        return {self.named(number, head.name): found(number, head) for number, head in specs}

    def loss_weights(self) -> dict[str, float]:
        """What the mean loss of each name in `loss` is multiplied by, where several are added."""
        return self._by_name(lambda member, head: head.weight)

    def shares(self) -> dict[str, float]:
        """In how much of the batches each of them is asked."""
        return self._by_name(lambda member, head: self.proportions[member])

    def counts(self, batch: Batch) -> dict[str, int]:
        """How many terms each of them has in a batch, known before the forward pass."""
        return {self.named(batch.member, head): targets.n_targets for head, targets in batch.targets.items()}

    def loss(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Loss]:
        """The loss of each head, summed over all that it is asked."""
        losses = self.of(batch).losses
        return {
            self.named(batch.member, head): losses[head](outputs, batch.targets[head])
            for head, outputs in logits.items()
        }

    def terms(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Terms]:
        """Every question by itself, by the names that `loss` has: its sum and the terms' agree in an evaluation."""
        found: dict[str, Terms] = {}
        member = self.of(batch)
        for head, outputs in logits.items():
            loss, number = member.losses[head], batch.targets[head].n_targets
            values, targets = outputs[:number], batch.targets[head].values[:number]
            classes, labels = loss.targets == "classes", member.specs[head].labels
            guesses = values.argmax(-1) if classes else None
            of_words = classes and member.specs[head].over_tokens
            sequences = _sequences(batch, head)
            terms = Terms(
                loss.said(values), loss.of_each(values, targets), guesses, targets, of_words, labels, sequences
            )
            found[self.named(batch.member, head)] = terms
        return found

    def sums(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Loss]:
        """Losses, and all metrics that are means, as sums and counts."""
        found: dict[str, Loss] = {}
        for name, terms in self.terms(logits, batch).items():
            each = {"loss": terms.losses}
            each |= {key: m.of_each(terms) for key, m in self.metrics[name].items() if isinstance(m, Mean)}
            found |= {f"{name}/{key}": Loss(values.float().sum(), len(values)) for key, values in each.items()}
        return found

    @cached_property
    def metrics(self) -> dict[str, dict[str, Metric]]:
        """By the names that `loss` has, the metrics of each."""
        return {
            self.named(number, head.name): {name: find_metric(name) for name in member.metrics_of(head)}
            for number, member in enumerate(self.members)
            for head in member.outputs()
        }

    @property
    def measured(self) -> list[str]:
        """What an evaluation has a number for, by the names that `training.best` takes: the loss, and all metrics;
        those of several heads with the head before them."""
        full = [f"{name}/{key}" for name, found in self.metrics.items() for key in ("loss", *found)]
        short = [name.split("/")[-1] for name in full]
        return list(dict.fromkeys(["loss", *(short if len(set(short)) == len(short) else full)]))

    def all_targets(self, dataset: Dataset, seed: int, limit: int = 20_000) -> dict[str, np.ndarray]:
        """All that each head is asked where every token is asked in turn, in up to `limit` examples (of the last unit
        all): what the lines of those who only count are made of. A single draw of a small text would count too few."""
        chosen = generator(seed, Purpose.COUNTS).permutation(len(dataset))[:limit]
        turns = (dataset.in_turn(int(index), generator(seed, Purpose.COUNT, int(index))) for index in chosen)
        targets: dict[str, list[np.ndarray]] = {head.name: [] for head in self.outputs()}
        made = 0
        for examples in turns:
            for name, asked in (item for example in examples for item in example.targets.items()):
                targets[name].append(asked.values)
            made += len(examples)
            if made >= limit:
                break
        return {name: _joined(found) for name, found in targets.items()}

    def target_counts(self, dataset: Dataset, seed: int, limit: int = 20_000) -> dict[str, Float[Tensor, "_"]]:
        """How often each class of each head over classes is the target in these (see `targets`)."""
        found = self.all_targets(dataset, seed, limit)
        return {
            head.name: torch.from_numpy(np.bincount(found[head.name], minlength=head.size)).float()
            for head in self.outputs()
            if self.losses[head.name].targets == "classes"
        }

    def asked_share(self, dataset: Dataset, seed: int, limit: int = 256) -> float:
        """How many tokens of a stream are asked, as a share of all: of the head that asks most, in up to `limit`
        examples of each member."""
        return max(_asked_share(part, seed, limit) for part in dataset.parts)

    @property
    def to_try(self) -> tuple[str, str]:
        """A command that a model can be asked with, and what for: `("fill", "a text with a [MASK]")`."""
        for answer, command in COMMANDS.items():
            for member in self.members:
                if isinstance(member, answer):
                    return command, self.prompt_prefix + member.asks_with
        return "evaluate", ""

    @property
    def prompt_prefix(self) -> str:
        """How a text must begin that a person asks with: of several tasks told apart by a prefix, the first one's."""
        if len(self.members) == 1:
            return ""
        return next((prefix for member in self.members if (prefix := member.prefix_of(member.config))), "")

    def can(self, answer: type) -> bool:
        """Whether it, or of a mixture a member, has the given class of `answers`."""
        return any(isinstance(member, answer) for member in self.members)

    def generator_of(self, prompt: Prompt) -> Generates:
        """The objective that made a prompt, as one that goes on from it. Raises UsageError where it does not."""
        member = self.of(prompt.example)
        if not isinstance(member, Generates):
            raise UsageError(
                f"a model trained by {member._name} does not generate: it was not taught to go on with a text",
                f'ask it with `fill RUN "... [MASK] ..."`; {_all_who(Generates, FillsInAnyOrder)} models generate',
            )
        return member

    def scoring(self, text: str) -> list[Example]:
        """A text as examples that ask each of its tokens once (`ScoresText.scored`), of the first member that can.
        Raises UsageError where none can."""
        for number, member in enumerate(self.members):
            if isinstance(member, ScoresText):
                return [example._replace(member=number) for example in member.scored(text)]
        raise UsageError(
            f"a model trained by {self.members[0]._name} gives a single text no probability",
            f"score texts with {_all_who(ScoresText)}",
        )

    def texts_in(self, text: str) -> list[str]:
        """The texts that a person's text holds, as the first member has it that finds several."""
        found = (member.parted(text) for member in self.members)
        return next((texts for texts in found if len(texts) > 1), [text])

    @property
    def _name(self) -> str:
        return str(self.config.model_dump()["name"])


def find_objective(name: str) -> type[Objective]:
    """The objective class in the file `name`.py of this folder. Raises UsageError naming the nearest one."""
    return find_plugin(__name__, name, Objective, "objective")  # type: ignore[type-abstract]


def _all_who(*answers: type) -> str:
    """The objectives that can be asked so: `causal_lm, masked_lm and permutation_lm`."""
    able = [name for name in plugin_names(__name__) if issubclass(find_objective(name), answers)]
    return " and ".join([", ".join(able[:-1]), able[-1]])


def _asked_share(dataset: Dataset, seed: int, limit: int) -> float:
    chosen = generator(seed, Purpose.COUNTS).permutation(len(dataset))[:limit]
    examples = [dataset.example(int(index), generator(seed, Purpose.COUNT, int(index))) for index in chosen]
    shares = [
        sum(len(e.targets[head].values) for e in examples)
        / sum(len(e.streams[e.targets[head].stream].values) for e in examples)
        for head in examples[0].targets
    ]
    return max(shares)


def _sequences(batch: Batch, head: str) -> Int64[Tensor, "N"]:
    """Of each question of a head a number for the example that it is of."""
    targets = batch.targets[head]
    stream, index = batch.streams[targets.stream], targets.flat_index[: targets.n_targets]
    width, documents = stream.input_ids.shape[1], stream.mask.query_documents
    row = index // width
    return row if documents is None else row * (width + 1) + documents.flatten()[index]


def _joined(parts: list[np.ndarray]) -> Int64[np.ndarray, "n"]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
