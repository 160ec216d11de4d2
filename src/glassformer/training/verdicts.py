"""Where a training stands, in plain words, from its validation and training losses and how much was asked."""

import math
from collections.abc import Sequence
from typing import Literal

from glassformer.formatting import percent
from glassformer.training.evaluation import Evaluation, Guess

RISE = 0.1
"""Nats by which a loss must have risen before it is said to rise."""
TRAINING_RISE = 0.5
"""The same of the training loss, above which training goes apart."""
TOO_WIDE = 0.25
"""Half of an interval of the loss, in nats, that tells the unigram line from what is near it."""
FEW = 30
"""Questions below which nothing good is said, however near each other their losses are."""
ONE_WORD = 0.8
"""The share of the guesses that are one token, from which on a model has collapsed onto it."""
LEVELS = {
    "words": (
        "hardly anything learned yet: near ln V, where all words are alike",
        "knows how often words occur, but does not use the context yet",
        "begins to use the context",
        "uses the context: clearly better than word frequencies",
        "predicts most words from their context",
    ),
    "labels": (
        "hardly anything learned yet: near ln K of K labels, where all are alike",
        "knows how often labels occur, but does not use what it reads yet",
        "begins to tell the labels apart",
        "tells the labels apart: clearly better than label frequencies",
        "tells the labels apart nearly always",
    ),
    "places": (
        "hardly anything learned yet: near ln T of T tokens, where all are alike",
        "knows where answers often stand, but does not use what it reads yet",
        "begins to use what it reads",
        "uses what it reads: clearly better than where answers often stand",
        "finds the place nearly always",
    ),
}
"""How good a loss is, from bad to good."""
Classes = Literal["words", "labels", "places"]


def verdict(
    losses: Sequence[float],
    references: dict[str, float],
    training: Sequence[float] = (),
    evaluation: Evaluation | None = None,
    classes: Classes = "words",
) -> str:
    """Where the newest of the validation losses stands.

    uniform and unigram are in nats, as the losses are; held-out words that training saw rarely can put unigram above
    uniform; the lower one counts. `training` are the losses of training texts at the same evaluations, NaN where there
    are none: they tell a model that learns by heart from one that goes apart. `evaluation` is the newest one, with its
    interval and its guesses.

    What is wrong is said before how good the loss is: broken, diverging, too few questions, overfitting, collapsed, one
    guess for everything.
    """
    newest = losses[-1]
    if not math.isfinite(newest):
        return "broken: the loss is not a finite number"
    both = zip(losses, list(training) or [math.nan] * len(losses), strict=True)
    losses, training = zip(*(pair for pair in both if math.isfinite(pair[0])), strict=True)
    return (
        _diverging(losses, training, references)
        or _too_small(newest, references, evaluation, classes, by_number=True)
        or _overfitting(losses, training, references, evaluation)
        or _collapsed(newest, references, evaluation)
        or (len(losses) > 1 and _worse_than_random(newest, training[-1], references))
        or _too_small(newest, references, evaluation, classes, by_number=False)
        or _one_word(newest, references, evaluation, classes)
        or level(newest, references, classes)
    )


def level(loss: float, references: dict[str, float], classes: Classes = "words") -> str:
    """How good a loss is, beside the lines."""
    nothing, frequencies, begins, uses, most = LEVELS[classes]
    uniform, unigram = references["uniform"], min(references.values())
    if loss > min(uniform - 0.02, unigram + 0.5 * (uniform - unigram)):
        return nothing
    if loss > unigram - 0.02:
        return frequencies
    if loss > 0.9 * unigram:
        return begins
    if loss > 0.5 * unigram:
        return uses
    return most


def _diverging(losses: Sequence[float], training: Sequence[float], references: dict[str, float]) -> str:
    """The training loss itself is worse than guessing, or has risen for two evaluations, far above its best."""
    newest, uniform = training[-1], references["uniform"]
    known = [loss for loss in training if not math.isnan(loss)]
    if len(known) < 2 or math.isnan(newest):
        return ""
    if newest > max(uniform * 1.05, known[0] + RISE):
        what = f"the training loss is {newest:.2f}, and guessing at random has {uniform:.2f}"
    elif len(known) >= 3 and min(known[-2:]) > min(known) + TRAINING_RISE:
        what = f"the training loss itself has risen, by {newest - min(known):.2f} since its best"
    else:
        return ""
    return f"diverging: {what}; the learning rate is probably too high"


def _too_small(
    newest: float, references: dict[str, float], asked: Evaluation | None, classes: Classes, by_number: bool
) -> str:
    """Too few questions, or so wide an interval, that the loss may as well be the unigram line or above it."""
    if asked is None or not asked.where or (by_number and asked.tells):
        return ""
    unigram = min(references.values())
    low, high = asked.loss_interval or (0.0, math.inf)
    unclear = high >= unigram or asked.count < FEW if by_number else low < unigram < high and high - newest > TOO_WIDE
    if not unclear:
        return ""
    loss = f"between {low:.2f} and {high:.2f}" if math.isfinite(high) else "anywhere"
    return (
        f"this text is too small to tell: {asked.asked}, whose loss lies {loss}, and counting {classes} has "
        f"{unigram:.2f}; more text, or more of it held out (data.validation_share), would tell"
    )


def _overfitting(
    losses: Sequence[float], training: Sequence[float], references: dict[str, float], asked: Evaluation | None
) -> str:
    """The validation loss rises while the training loss does not. Without a training loss: it rises twice in a row."""
    newest, best = losses[-1], min(losses)
    at_best = training[list(losses).index(best)]
    interval = asked.loss_interval if asked else None
    # The same questions are asked again: their losses scatter less from one evaluation to another than from each other.
    noise = RISE if interval is None else max(RISE, (interval[1] - newest) / 2)
    unseen = math.isnan(training[-1])
    steady = len(losses) >= 4 and losses[-1] > losses[-2] > losses[-3]
    twice = len(losses) >= 3 and losses[-2] > best + noise and training[-1] < at_best + RISE
    if newest > best + noise and (steady if unseen else twice):
        return _risen(newest, best, references, unseen)
    if fallen_far(newest, training, references):
        return (
            f"overfitting: the training texts are learned by heart (loss {training[-1]:.2f}), and on others the loss "
            f"is {newest:.2f}, worse than guessing at random ({references['uniform']:.2f})"
        )
    return ""


def fallen_far(newest: float, training: Sequence[float], references: dict[str, float]) -> bool:
    """Whether training texts are well known by a model that is worse than guessing on others."""
    return newest > references["uniform"] * 1.05 and training[-1] < 0.9 * min(references.values())


def _risen(newest: float, best: float, references: dict[str, float], unseen: bool) -> str:
    if unseen and newest > references["uniform"] * 1.05 and best >= min(references.values()):
        return ""  # nothing of the context was ever used: what rose was not learned by heart
    since = f"the validation loss has risen for some time, by {newest - best:.2f} since its best"
    return f"overfitting: {since}" + ("" if unseen else ", while the training loss has not")


def _one_wrong_guess(asked: Evaluation | None) -> Guess | None:
    """The token that nearly all guesses are, where it is mostly wrong."""
    guess = None if asked is None else asked.guess
    return guess if guess is not None and guess.share >= ONE_WORD and guess.right <= 0.5 else None


def _collapsed(newest: float, references: dict[str, float], asked: Evaluation | None) -> str:
    """Nearly all guesses are one token that is mostly wrong, and the loss is no better than counting."""
    guess = _one_wrong_guess(asked)
    if guess is None or newest < 0.9 * min(references.values()):
        return ""
    token, share, right = guess
    return (
        f"collapsed on a frequent word: {percent(share)} of all guesses are {token!r}, which is right in "
        f"{percent(right)}; most models begin so, and more steps or a lower learning rate lead out of it"
    )


def _one_word(newest: float, references: dict[str, float], asked: Evaluation | None, classes: Classes) -> str:
    """The loss is below counting, and yet nearly all guesses are one token that is mostly wrong: the probabilities move
    with the context, and the best guess does not. Nothing is praised."""
    guess = _one_wrong_guess(asked)
    if guess is None or newest > min(references.values()) - 0.02:
        return ""
    token, share, right = guess
    return (
        f"nearly one guess for everything: {percent(share)} of all guesses are {token!r}, which is right in "
        f"{percent(right)}; the loss alone is better than counting {classes} ({newest:.2f} beside "
        f"{min(references.values()):.2f})"
    )


def _worse_than_random(newest: float, training: float, references: dict[str, float]) -> str:
    """Of texts that were held out; where training texts are better known, the learning rate is not the cause. A first
    evaluation, before any step, tells nothing of either."""
    if newest <= references["uniform"] * 1.05:
        return ""
    if training < references["uniform"]:
        return (
            "worse than guessing at random on the held-out texts, though not on the training texts "
            f"(loss {training:.2f}): these are learned by heart, or those are of another kind"
        )
    return "worse than guessing at random: the learning rate is probably too high"
