"""What watches a training, handed in to the trainer: samples, entropy of attention, a verdict in words."""

import math
from collections import Counter
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glassformer.data.batch import Batch, collate, to_device
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.formatting import percent, without_marks
from glassformer.model.kinds import Model
from glassformer.objectives import Blank, Objective
from glassformer.record import RecordedAttention, record
from glassformer.run import RunDirectory
from glassformer.snapshot import write_text_durably
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.evaluation import Evaluation, EvaluationSet
from glassformer.training.verdicts import verdict


class EvaluationEvent(NamedTuple):
    """What callbacks see of an evaluation: the eager model, and how it has done so far."""

    step: int
    model: Model
    evaluation: Evaluation
    history: list[dict[str, Any]]
    """The records of all evaluations so far, this one not included."""
    train_loss: float | None = None
    """The loss of the training texts that are asked likewise, where there are such."""


class Callback:
    """What watches a training. The trainer calls each of these methods of each callback; what one does not care for it
    leaves as it is here."""

    def on_begin(self, step: int) -> None:
        """Training begins, or goes on, behind this step: what was seen later is to be forgotten."""

    def on_gradients(self, step: int, model: Model) -> None:
        """The gradients of this step are in the model, not yet clipped; the weights are those of the step before."""

    def on_step(self, step: int, model: Model, last: bool) -> None:
        """The step is taken, and not yet saved; the first call is for step 0, before any training."""

    def on_evaluation(self, event: EvaluationEvent) -> dict[str, Any]:
        """What it returns is merged into the evaluation's record. A list `warnings` and a text `verdict` are shown to
        the person."""
        return {}

    def on_record(self, record: dict[str, Any]) -> None:
        """A line was added to metrics.jsonl."""


@torch.no_grad()
def answer_examples(model: nn.Module, objective: Objective, questions: EvaluationSet, indices: list[int]) -> list:
    """The model's answers to some examples with fixed corruption: [(example, [Blank, ...]), ...]."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    answers: list[tuple[Any, list[Blank]]] = []
    for index in indices:
        example = questions.example(index)
        batch = to_device(collate([[example]], objective.pad_id), device)
        answers.append((example, objective.of(example).answer(example, model(batch))))
    model.train(training)
    return answers


class Samples(Callback):
    """Writes `true vs predicted` for the same few texts at every evaluation, so that one can watch the phases: random,
    collapse onto a frequent word, plausible, right."""

    def __init__(self, run: RunDirectory, objective: Objective, questions: EvaluationSet, number: int) -> None:
        self.run = run
        self.objective = objective
        self.questions = questions
        spread = max(1, len(questions.chosen) // max(1, number))
        self.indices = [int(i) for i in questions.chosen[spread // 2 :: spread][:number]]

    def on_evaluation(self, event: EvaluationEvent) -> dict[str, Any]:
        answers = answer_examples(event.model, self.objective, self.questions, self.indices)
        lines = [f"step {event.step}, validation loss {event.evaluation.loss:.3f}", ""]
        guesses: list[dict[str, Any]] = []
        for example, blanks in answers:
            objective = self.objective.of(example)
            shown = objective.as_prompt(example)
            if objective.asks_blanks:
                ids, tokenizer = example.streams[shown.stream].values, objective.tokenizer_of(shown.stream)
                lines.append(marked(ids, tokenizer, blanks))
            else:
                lines.append(shown.text)
            for blank in blanks:
                best = blank.candidates[0]
                guesses.append({"true": blank.true, "predicted": best.token, "probability": round(best.probability, 4)})
                mark = "right" if best.token == blank.true else "wrong"
                lines.append(
                    f"  true {blank.true!s:<16} predicted {best.token:<16} {percent(best.probability):>6}  {mark}"
                )
            lines.append("")
        write_text_durably(self.run.samples / f"step-{event.step:07d}.txt", without_marks("\n".join(lines)))
        # Before its first step a model may well say one word to everything.
        # Where all questions were counted, the verdict speaks of one guess for everything, and some texts cannot tell.
        told = event.step == 0 or event.evaluation.guess is not None
        return {"samples": guesses, "warnings": [] if told else one_word_warning(guesses)}


def marked(ids: Any, tokenizer: Tokenizer, blanks: list[Blank]) -> str:
    """The text as the model reads it, each asked place between > and <: not all of them are [MASK]."""
    parts, end = list[str](), 0
    for blank in sorted(blanks, key=lambda blank: blank.position):
        asked = tokenizer.decode(ids[blank.position : blank.position + 1])
        parts += [tokenizer.decode(ids[end : blank.position]), f">{asked}<"]
        end = blank.position + 1
    return " ".join(part.strip() for part in [*parts, tokenizer.decode(ids[end:])] if part.strip())


class AttentionEntropy(Callback):
    """The mean entropy of attention per layer and head, as a share of the most there can be: 1 looks everywhere alike,
    0 at one token. Warns where a whole layer has collapsed, which goes with stuck training (Zhai et al. 2023)."""

    COLLAPSED = 0.02

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def on_evaluation(self, event: EvaluationEvent) -> dict[str, Any]:
        model, training = event.model, event.model.training
        if model.why_not("attention_weights") is not None:
            return {}
        model.eval()
        with torch.no_grad(), record(model) as tape:
            model(to_device(self.batch, next(model.parameters()).device))
        model.train(training)
        entropy = {}
        for stack, place in model.attention_by_stack():
            stream = self.batch.streams.get(stack) or next(iter(self.batch.streams.values()))
            entropy[place] = normalised_entropy(tape[place].weights(), allowed(tape[place], stream.mask.key_mask))
        return {"attention_entropy": entropy, "warnings": collapse_warnings(entropy, self.COLLAPSED)}


def allowed(recorded: RecordedAttention, real: Bool[Tensor, "B T"] | None) -> Bool[Tensor, "B 1 Q K"]:
    """Which keys each query may see. Queries that are padding themselves (`real` False) see nothing: nobody reads what
    they mix."""
    batch, _, queries, _ = recorded.q.shape
    keys = recorded.k.shape[2]
    mask = recorded.allowed()
    pairs = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=recorded.q.device) if mask is None else mask
    pairs = pairs.expand(batch, 1, queries, keys)
    if real is not None and real.shape[1] == queries:
        pairs = pairs & real[:, None, :, None].to(pairs.device)
    return pairs


def normalised_entropy(weights: Float[Tensor, "B H Q K"], allowed: Bool[Tensor, "B 1 Q K"]) -> list[float]:
    """Entropy per head, each row divided by the ln of the number of keys that it may see, averaged over the rows that
    may see at least two. (Not the keys with a weight above zero: in a collapsed row most weights underflow.)"""
    seen = allowed.sum(-1)
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1)
    share = entropy / seen.clamp_min(2).log()
    counted = (seen >= 2).float().expand_as(share)
    per_head = (share * counted).sum((0, 2)) / counted.sum((0, 2)).clamp_min(1)
    return [round(float(value), 4) for value in per_head]


def collapse_warnings(entropy: dict[str, list[float]], threshold: float) -> list[str]:
    """A warning for each layer of which every head looks at single tokens only."""
    return [
        f"attention in {place} has collapsed: every head looks at single tokens (entropy below {threshold:.0%} of the "
        "most there can be); a lower learning rate or a longer warm-up usually helps"
        for place, heads in entropy.items()
        if heads and max(heads) < threshold
    ]


class Verdict(Callback):
    """Says in plain words where the loss stands, beside the lines that need no learning: ln V (all words alike) and
    unigram (how often each word occurs). Where there are no such lines it says nothing."""

    def __init__(self, references: dict[str, float], classes: Literal["words", "labels", "places"] = "words") -> None:
        self.references = references
        self.classes = classes

    def on_evaluation(self, event: EvaluationEvent) -> dict[str, Any]:
        if "uniform" not in self.references:
            return {"references": self.references} if self.references else {}
        course = [(record["loss"], record.get("train_loss")) for record in event.history]
        course.append((event.evaluation.loss, event.train_loss))
        validation, training = ([math.nan if x is None else x for x in losses] for losses in zip(*course, strict=True))
        newest = event.evaluation if event.step else None
        found = verdict(validation, self.references, training, newest, self.classes)
        return {"references": self.references, "verdict": found}


def one_word_warning(samples: list[dict[str, Any]]) -> list[str]:
    """A warning when nearly all sampled guesses are one word: models begin so, and some collapse so."""
    predicted = Counter(str(sample["predicted"]) for sample in samples)
    if len(samples) < 8:
        return []
    word, times = predicted.most_common(1)[0]
    true = sum(str(sample["true"]) == word for sample in samples)
    if times < 0.8 * len(samples) or true > 0.5 * len(samples):
        return []
    return [
        f"{times} of {len(samples)} sampled guesses are {word!r}: most models begin so; one that stays so has collapsed"
    ]


class TensorBoard(Callback):
    """Writes every number of every record for TensorBoard, under its event's name."""

    def __init__(self, run: RunDirectory) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError("TensorBoard is not installed", "pip install 'glassformer[tensorboard]'") from None
        self.run = run
        self._open = SummaryWriter
        self._writer: Any = None  # opened by the first record, so that a start that fails leaves no file

    def on_record(self, record: dict[str, Any]) -> None:
        if self._writer is None:
            seen = max(checkpoint_steps(self.run), default=-1)  # what was written after it, a resume writes again
            self._writer = self._open(str(self.run.path / "tensorboard"), purge_step=seen + 1)
        for key, value in record.items():
            if isinstance(value, int | float) and key != "step":
                self._writer.add_scalar(f"{record['event']}/{key}", value, record["step"])
        self._writer.flush()
