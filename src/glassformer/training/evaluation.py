"""How good a model is on units whose corruption is fixed, so that every evaluation asks the same questions."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from glassformer.data.batch import Batch, BatchConfig, Example, Shapes, collate, plan
from glassformer.errors import UsageError, nearest
from glassformer.metrics import Terms, find_metric
from glassformer.objectives import Dataset, Objective
from glassformer.randomness import Purpose, generator
from glassformer.training.intervals import CLUSTERS, Interval, Sums, half_width, share_interval
from glassformer.training.processes import Processes

EVALUATION_SEED = 20_170_612
"""The same for every run, whatever its own seed: two runs on the same data answer the same questions."""


ENOUGH = 1000
"""Questions from which on one draw of what is hidden is enough; where there are fewer, words are asked in turn."""
TELLS_FROM = 100
"""Questions from which on one evaluation is held against another: to keep the better weights, or to stop."""


ALONE = Processes()


def is_better(name: str, value: float, than: float | None) -> bool:
    """Whether one value of the loss, or of a metric, is better than another, or there is no other. One that is not a
    number never is. Raises UsageError for a metric that there is not."""
    kind = name.split("/")[-1]
    higher = kind != "loss" and find_metric(kind).direction == "higher"
    if not math.isfinite(value):
        return False
    return than is None or (value > than if higher else value < than)


class Guess(NamedTuple):
    """The token that is guessed most often: in which share of the questions, and in which it would be right."""

    token: str
    share: float
    right: float


@dataclass(frozen=True)
class Evaluation:
    """The loss as training has it (the heads' means, added by their weights), and per name every mean (loss per head,
    accuracy, top-5 accuracy). Intervals hold 95% of what other texts of the kind would give."""

    loss: float
    means: dict[str, float]
    count: int
    where: str = ""
    """The texts, or rows of a stream of them, that were asked: `212 texts`."""
    loss_interval: Interval | None = None
    intervals: dict[str, Interval] = field(default_factory=dict)
    """Of accuracies, by their names in `means`."""
    of_all_words: dict[str, float] = field(default_factory=dict)
    """The same accuracies where every unknown word counts as a wrong answer; none where all words are known."""
    unknown: int | None = None
    """Words of these texts that are not in the vocabulary: they are never asked."""
    unknown_share: float = 0.0
    guess: Guess | None = None

    @property
    def tells(self) -> bool:
        """Whether enough was asked to hold this evaluation against another of the same questions."""
        return self.count >= TELLS_FROM

    @property
    def asked(self) -> str:
        """`4 questions in 2 texts`."""
        questions = f"{self.count:,} question{'' if self.count == 1 else 's'}"
        return f"{questions} in {self.where}" if self.where else questions

    @cached_property
    def by_name(self) -> dict[str, float]:
        """`means`, with one head without its name."""
        short = {name.split("/")[-1]: value for name, value in self.means.items()}
        return short if len(short) == len(self.means) else self.means

    def value(self, name: str) -> float:
        """The loss, or a metric by its name. Raises UsageError for one that is not measured."""
        found = {**self.by_name, "loss": self.loss}
        if name not in found:
            raise UsageError(
                f"this objective measures no {name!r} (an objective says in `metrics_of` what it does)",
                nearest(name, found),
            )
        return found[name]

    def record(self) -> dict[str, Any]:
        """As it is written to metrics.jsonl; with one head its name is left out."""
        alone = self.by_name is not self.means
        found: dict[str, Any] = {**self.by_name, "loss": self.loss, "count": self.count}
        if not self.where:
            return found
        found |= {"asked_in": self.where, "loss_interval": self.loss_interval and list(self.loss_interval)}
        for name, interval in self.intervals.items():
            key = name.split("/")[-1] if alone else name
            found[f"{key}_interval"] = list(interval)
            if name in self.of_all_words:
                found[f"{key}_of_all_words"] = self.of_all_words[name]
        found |= {"unknown": self.unknown, "unknown_share": self.unknown_share}
        if self.guess is not None:
            found["most_frequent_guess"] = self.guess._asdict()
        return found


def sample_units(dataset: Dataset, limit: int | None) -> Int64[np.ndarray, "n"]:
    """The units that are asked, at most `limit`, in order: the same ones every time. Of a mixture each member's share
    of the limit, rounded, and at least one of each."""
    order = generator(EVALUATION_SEED, Purpose.QUESTIONS).permutation(len(dataset))
    if limit is None or dataset.members is None:
        return np.sort(order[:limit])
    own = [order[dataset.members[order] == member] for member in range(len(dataset.shares))]
    few = [mine[: max(1, round(limit * share))] for mine, share in zip(own, dataset.shares, strict=True)]
    return np.sort(np.concatenate(few))


ROOM = 2048
"""Tokens of a batch of questions at least: small batches serve learning, and only cost time here."""


def evaluation_batch_config(config: BatchConfig, row_length: int) -> BatchConfig:
    """The batches of training, or larger ones where those are small: without gradients they take no more memory."""
    return config.model_copy(update={"size": max(config.size, ROOM // row_length)})


class Made(NamedTuple):
    """A batch of questions, and whose they are."""

    batch: Batch
    rows: list[list[int]]
    """Of each row, the units that lie in it, as places in `chosen`."""
    clusters: dict[str, Int64[np.ndarray, "_"]]
    """Of each question of a head the cluster (see `intervals`)."""


class EvaluationSet:
    """Units with their fixed corruption, collated once; at most `limit` units, drawn at random once; of a mixture each
    member's share of the limit, and at least one unit of each. Another `seed` hides other things in the same units.

    Where one draw of what is hidden asks less than `enough`, the words of the same units are asked in turn, each one
    once, until it is enough or all were asked.

    Collated when first asked, and kept: asking the same questions again then costs only the forward passes. Raises
    UsageError then, where there is nothing to ask, of a member too: a loss of 0 over 0 questions would look perfect.
    """

    def __init__(
        self,
        dataset: Dataset,
        objective: Objective,
        config: BatchConfig,
        limit: int | None = None,
        shapes: Shapes | None = None,
        seed: int = EVALUATION_SEED,
        enough: int = ENOUGH,
    ) -> None:
        self.objective = objective
        self.seed = seed
        self.dataset = dataset
        self.chosen = sample_units(dataset, limit)
        self.config = config
        self.shapes = shapes
        self.enough = enough
        self._several: dict[int, list[Example]] = {}
        self._counted = np.zeros(2, dtype=np.int64)

    @cached_property
    def made(self) -> list[Made]:
        """All batches."""
        batches = [made for member in np.unique(self._members[self.chosen]) for made in self._batches_of(int(member))]
        asked_members = {
            batch.member for batch, *_ in batches if any(targets.n_targets for targets in batch.targets.values())
        }
        if len(asked_members) < len(self.dataset.shares):
            raise UsageError(
                "nothing can be asked in the evaluation texts: every word of theirs is unknown",
                "use texts of the same language and kind as the training texts",
            )
        return batches

    def _batches_of(self, member: int) -> Iterator[Made]:
        """Those of one member of a mixture."""
        places = np.flatnonzero(self._members[self.chosen] == member)
        turns = [self.turns(int(self.chosen[place])) for place in places]
        asked = [(int(place), turn) for place, many in zip(places, turns, strict=True) for turn in range(many)]
        lengths = self.dataset.lengths[[int(self.chosen[place]) for place, _ in asked]]
        for rows in plan(lengths, self.config, self.objective.row_length, rng=None):
            mine = [[asked[i] for i in row] for row in rows]
            examples = [[self.examples(int(self.chosen[place]))[turn] for place, turn in row] for row in mine]
            batch = collate(examples, self.objective.pad_id, self.shapes)
            whose = [[place for place, _ in row] for row in mine]
            for example, (_, turn) in zip(chain(*examples), chain(*mine), strict=True):
                if turn == 0:  # the text is the same in every turn
                    self._counted += self.objective.words_of(example)
            yield Made(batch, whose, self._clusters(examples, whose))

    def _clusters(self, examples: list[list[Example]], whose: list[list[int]]) -> dict[str, Int64[np.ndarray, "_"]]:
        """Of everything asked, head by head, in the order of the batch."""
        found: dict[str, list[np.ndarray]] = {}
        for row, places in zip(examples, whose, strict=True):
            for example, place in zip(row, places, strict=True):
                for head, targets in example.targets.items():
                    stream = example.streams[targets.stream]
                    stands = targets.positions if stream.positions is None else stream.positions[targets.positions]
                    block = np.minimum(stands * self.blocks // max(1, stream.n_keys), self.blocks - 1)
                    found.setdefault(head, []).append(place * self.blocks + block)
        return {head: np.concatenate(parts) for head, parts in found.items()}

    @property
    def blocks(self) -> int:
        """Into how many clusters each unit is cut."""
        return -(-CLUSTERS // len(self.chosen))

    @cached_property
    def _members(self) -> Int64[np.ndarray, "units"]:
        return np.zeros(len(self.dataset), dtype=np.int64) if self.dataset.members is None else self.dataset.members

    @cached_property
    def _rounds(self) -> dict[int, int]:
        """Of each member, how many parts of what can be asked are asked one after another; 1: a draw is enough."""
        rounds = {}
        for member in np.unique(self._members[self.chosen]):
            found = 0
            for index in self.chosen[self._members[self.chosen] == member]:
                drawn = self.dataset.example(int(index), self._generator(int(index)))
                found += max((len(targets.values) for targets in drawn.targets.values()), default=0)
                if found >= self.enough:
                    break
            rounds[int(member)] = max(1, -(-self.enough // max(1, found)))
        return rounds

    def _generator(self, index: int) -> np.random.Generator:
        return generator(self.seed, Purpose.QUESTION, index)

    def turns(self, index: int) -> int:
        """As how many examples unit `index` is asked."""
        return 1 if self._rounds[int(self._members[index])] == 1 else len(self.examples(index))

    def examples(self, index: int) -> list[Example]:
        """Unit `index` with its fixed corruption: an example, or several that ask its words in turn."""
        rounds = self._rounds[int(self._members[index])]
        if rounds == 1:
            return [self.dataset.example(index, self._generator(index))]
        return self._in_turn(index)[:rounds]

    def _in_turn(self, index: int) -> list[Example]:
        """Kept, since they are few: units whose words are asked in turn have no more than about `enough`."""
        if index not in self._several:
            made = self.dataset.in_turn(index, self._generator(index))
            self._several[index] = made or [self.dataset.example(index, self._generator(index))]
        return self._several[index]

    def example(self, index: int) -> Example:
        """Unit `index` with its fixed corruption; of several examples the first."""
        return self.examples(index)[0]

    @cached_property
    def words(self) -> tuple[int, int]:
        """Tokens of the chosen texts, and how many of them are unknown words, which are never asked."""
        assert self.made
        words, unknown = self._counted.tolist()
        return words, unknown

    @cached_property
    def count(self) -> int:
        """How many questions there are."""
        return sum(sum(self.objective.counts(batch).values()) for batch in self)

    @property
    def where(self) -> str:
        """`212 texts`, or `9 rows` of a stream of texts."""
        what = "row" if self.objective.config.model_dump().get("units") == "stream" else "text"
        return f"{len(self.chosen):,} {what}{'' if len(self.chosen) == 1 else 's'}"

    def __iter__(self) -> Iterator[Batch]:
        return (batch for batch, *_ in self.made)


class OtherSources(EvaluationSet):
    """The questions of an encoder-decoder, each beside the source of the next one: what the decoder can say without
    reading what it was given. Raises UsageError where there is no other source.

    A decoder that has learned its targets as a language, and nothing of their sources, is as good at these.
    """

    @cached_property
    def _next(self) -> dict[int, int]:
        if len(self.chosen) < 2:
            raise UsageError("other sources need two texts, and there is one", "evaluate more texts")
        return dict(zip(self.chosen.tolist(), np.roll(self.chosen, -1).tolist(), strict=True))

    def examples(self, index: int) -> list[Example]:
        """Unit `index`, with the source of another."""
        other = super().examples(self._next[index])[0].streams["encoder"]
        return [own._replace(streams={**own.streams, "encoder": other}) for own in super().examples(index)]


@torch.no_grad()
def evaluate(
    model: Callable[[Batch], dict[str, torch.Tensor]],
    questions: EvaluationSet,
    to_device: Callable[[Batch], Batch] = lambda batch: batch,
    processes: Processes = ALONE,
) -> Evaluation:
    """Means over all questions, from sums and counts; of several `processes` each asks its share of the batches, and
    all know what came of it. `model` is put in evaluation mode and back."""
    objective = questions.objective
    module = model if isinstance(model, nn.Module) else None
    training = module is not None and module.training
    if module is not None:
        module.eval()
    losses: dict[str, list[float]] = {}
    statistics: dict[str, torch.Tensor] = {}
    spread = Spread(questions)
    for made in processes.own(questions.made):
        batch = to_device(made.batch)
        logits = model(batch)
        found = objective.terms(logits, batch)
        for name, terms in found.items():
            sums = losses.setdefault(name, [0.0, 0.0])
            sums[0] += float(terms.losses.double().sum())
            sums[1] += len(terms.losses)
            own = {f"{name}/{metric}": m.statistics(terms) for metric, m in objective.metrics[name].items()}
            statistics |= joined([{key: statistics[key] for key in own if key in statistics}, own], objective)
        spread.add(found, [made.clusters[head] for head in logits])
    if module is not None:
        module.train(training)
    if processes.world > 1:
        losses = _added(processes.told_by_all(losses))
        told = processes.told_by_all({key: values.tolist() for key, values in statistics.items()})
        statistics = joined(
            [{key: torch.tensor(said).double() for key, said in one.items()} for one in told], objective
        )
        spread.add_up(processes)
    weights, shares = objective.loss_weights(), objective.shares()
    loss = sum(weights[name] * shares[name] * total / max(1.0, number) for name, (total, number) in losses.items())
    count = sum(number for _, number in losses.values())
    means = {f"{name}/loss": total / max(1.0, number) for name, (total, number) in losses.items()}
    for key, values in statistics.items():
        name, _, metric = key.rpartition("/")
        means[key] = objective.metrics[name][metric].compute(values.double().cpu())
    words, unknown = questions.words
    of_all = {name: means[name] * (1 - unknown / words) for name in spread.of_words if name in means} if unknown else {}
    return Evaluation(
        loss,
        means,
        int(count),
        questions.where,
        spread.of_loss(loss),
        spread.of_shares(),
        of_all,
        unknown,
        unknown / max(1, words),
        spread.guess(),
    )


class Spread:
    """How losses and right answers scatter over the texts, and what is guessed most."""

    def __init__(self, questions: EvaluationSet) -> None:
        self.objective = questions.objective
        self.clusters = len(questions.chosen) * questions.blocks
        self.losses: dict[str, Sums] = {}
        self.right: dict[str, Sums] = {}
        self.of_words: set[str] = set()
        """The accuracies that are over words."""
        self.guesses: Counter[int] = Counter()
        self.truths: Counter[int] = Counter()

    def add(self, found: dict[str, Terms], clusters: list[Int64[np.ndarray, "_"]]) -> None:
        """The questions of a batch, head by head, and the cluster of each."""
        for (name, terms), whose in zip(found.items(), clusters, strict=True):
            scattered = [(self.losses, terms.losses)]
            if terms.guesses is not None:
                scattered.append((self.right, terms.guesses == terms.targets))
            for sums, values in scattered:
                sums.setdefault(name, Sums.empty(self.clusters)).add(values.double().cpu().numpy(), whose)
            if terms.words and terms.guesses is not None:
                self.of_words.add(f"{name}/accuracy")
                self.guesses.update(terms.guesses.tolist())
                self.truths.update(terms.targets.tolist())

    def add_up(self, processes: Processes) -> None:
        """From here on this is of what all processes have added."""
        said = processes.told_by_all(
            {
                "losses": {name: sums.plain() for name, sums in self.losses.items()},
                "right": {name: sums.plain() for name, sums in self.right.items()},
                "of_words": sorted(self.of_words),
                "guesses": list(self.guesses.items()),
                "truths": list(self.truths.items()),
            }
        )
        self.losses, self.right = ({}, {})
        self.guesses, self.truths = Counter(), Counter()
        for one in said:
            for sums, found in ((self.losses, one["losses"]), (self.right, one["right"])):
                for name, plain in found.items():
                    sums.setdefault(name, Sums.empty(self.clusters)).add_plain(plain)
            self.of_words.update(one["of_words"])
            self.guesses.update(dict(one["guesses"]))
            self.truths.update(dict(one["truths"]))

    def of_loss(self, loss: float) -> Interval | None:
        """None where a single question, or a loss that is not finite, tells nothing."""
        if not math.isfinite(loss):
            return None
        weights, shares = self.objective.loss_weights(), self.objective.shares()
        parts = [(weights[name] * shares[name], sums) for name, sums in self.losses.items() if sums.number]
        half = half_width([(weight, sums) for weight, sums in parts if weight])
        return (max(0.0, loss - half), loss + half) if math.isfinite(half) else None

    def of_shares(self) -> dict[str, Interval]:
        """Of the accuracy of each head that was asked."""
        return {f"{name}/accuracy": share_interval(sums) for name, sums in self.right.items() if sums.number}

    def guess(self) -> Guess | None:
        """None where no words were asked."""
        if not self.guesses:
            return None
        [(token, times)], number = self.guesses.most_common(1), self.guesses.total()
        return Guess(self.objective.target_tokenizer.token(token), times / number, self.truths[token] / number)


def joined(of_each: list[dict[str, torch.Tensor]], objective: Objective) -> dict[str, torch.Tensor]:
    """The statistics of several processes, or batches, as one."""
    found: dict[str, torch.Tensor] = {}
    for one in of_each:
        for key, values in one.items():
            name, _, metric = key.rpartition("/")
            found[key] = objective.metrics[name][metric].concat(found[key], values) if key in found else values
    return found


def _added(of_each: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Totals and counts of several processes as one."""
    sums: dict[str, list[float]] = {}
    for one in of_each:
        for name, (total, count) in one.items():
            before = sums.get(name, [0.0, 0.0])
            sums[name] = [before[0] + total, before[1] + count]
    return sums
