"""Verdicts: each on losses of which it must be said and on losses of which it must not."""

import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_recipe import recipe, records, text_file, train

from glassformer.look.report import describe_run
from glassformer.training.evaluation import Evaluation, Guess
from glassformer.training.verdicts import level, verdict

LINES = {"uniform": 7.6, "unigram": 6.0}


@pytest.mark.parametrize(
    ("losses", "phrase"),
    [
        ([7.6, math.nan], "broken"),
        ([7.6, math.inf], "broken"),
        ([8.2], "hardly anything learned yet"),  # before any step: no learning rate is to blame
        ([8.2, 8.2], "worse than guessing at random"),
        ([7.6, 6.5, 7.7, 8.5, 9.9], "worse than guessing at random"),
        ([7.6], "hardly anything learned yet"),
        ([7.6, 7.0], "hardly anything learned yet"),
        ([7.6, 6.3], "knows how often words occur"),
        ([7.6, 5.99], "knows how often words occur"),
        ([7.6, 5.7], "begins to use the context"),
        ([7.6, 4.0], "uses the context: clearly better"),
        ([7.6, 2.9], "predicts most words"),
        ([7.6, 5.0, 4.0, 4.1, 4.3], "overfitting"),
        ([7.6, 2.0, 2.1, 2.5], "overfitting"),
        ([7.6, 5.0, 6.5, 7.5, 8.5], "overfitting"),
    ],
)
def test_the_verdict(losses: list[float], phrase: str) -> None:
    """Each phrase where it must be said; all others begin otherwise, so none is said where it must not."""
    assert verdict(losses, LINES).startswith(phrase)


@pytest.mark.parametrize(
    "losses",
    [
        [7.6, 4.0, 4.3],
        [7.6, 5.0, 4.0, 4.02, 4.05],
        [7.6, 4.0, 4.3, 4.2],
        [7.6, 4.0, 4.5, 4.1, 4.2],
        [7.6, 5.0, 4.5, 4.0],
    ],
    ids=["too early to say", "by a hair", "falling again", "up and down", "falling"],
)
def test_overfitting_is_not_said_too_early(losses: list[float]) -> None:
    """It takes a rise twice in a row, by more than noise."""
    assert "overfitting" not in verdict(losses, LINES)


def test_the_overfitting_verdict_gives_the_amount() -> None:
    """How much has been lost since the best."""
    assert "by 0.50 since its best" in verdict([7.6, 5.0, 4.0, 4.1, 4.5], LINES)


def test_a_unigram_line_above_ln_v_earns_no_praise() -> None:
    """Held-out words that training has rarely seen put the unigram line above ln V; being below it proves nothing."""
    lines = {"uniform": 5.0, "unigram": 6.5}
    assert verdict([5.0], lines).startswith("hardly anything")
    assert verdict([5.0, 5.2], lines).startswith("hardly anything")
    assert verdict([5.0, 2.4], lines).startswith("predicts most")


# ------------------------------------------------------------------------------------- with training losses


def kind(
    losses: Sequence[float], training: Sequence[float] = (), asked: Evaluation | None = None, lines: Any = None
) -> str:
    """The first word of a verdict, which tells its kind."""
    return verdict(losses, lines or LINES, training, asked).split(":")[0].split()[0]


def asking(count: int, low: float, high: float, guess: Guess | None = None) -> Evaluation:
    return Evaluation((low + high) / 2, {}, count, "9 texts", (low, high), guess=guess)


@pytest.mark.parametrize(
    ("losses", "training", "expected"),
    [
        ([7.6, 5.0, 4.0, 4.2, 4.4], [7.6, 4.9, 3.5, 2.0, 1.0], "overfitting"),
        ([7.6, 5.0, 6.5, 6.4], [7.6, 4.0, 2.0, 1.0], "overfitting"),
        ([7.6, 7.9, 8.4], [7.6, 2.0, 0.1], "overfitting"),
        ([7.6, 8.4], [7.6, 2.0], "overfitting"),
        ([7.6, 5.0, 5.0, 5.05, 5.02], [7.6, 4.0, 2.0, 1.0, 0.5], "uses"),
        ([7.6, 4.0, 4.3], [7.6, 3.9, 3.5], "uses"),
        ([7.6, 5.0, 8.0, 9.0], [7.6, 5.0, 7.5, 8.5], "diverging"),
        ([7.6, 9.5], [7.6, 9.0], "diverging"),
        ([7.6, 5.0, 5.9, 6.0], [7.6, 4.9, 5.8, 5.9], "diverging"),
        ([7.6, 5.0, 5.2, 5.3], [7.6, 4.9, 5.1, 5.2], "uses"),
        ([9.5], [9.5], "hardly"),
        ([7.6, 7.55], [7.6, 7.5], "hardly"),
        ([7.6, 8.2], [7.6, 6.8], "worse"),
    ],
    ids=[
        "training falls, validation rises",
        "risen, and not falling back",
        "learned by heart from the start",
        "by heart at once",
        "flat",
        "risen once",
        "both rise, beyond guessing",
        "both beyond guessing",
        "both rise, below the line",
        "both rise by a little",
        "not trained yet",
        "nothing yet",
        "other texts",
    ],
)
def test_learned_by_heart_is_told_from_going_apart(losses: list[float], training: list[float], expected: str) -> None:
    """By the training loss: where it falls a higher learning rate is not the cause."""
    assert kind(losses, training) == expected
    assert ("learning rate" in verdict(losses, LINES, training)) == (
        expected == "diverging" or (len(losses) > 1 and training[-1] > 7.6)
    )


def test_losses_that_were_not_finite_are_passed_over() -> None:
    """One evaluation of NaN, or a resumed run of which some have no training loss, does not hide what came of it."""
    assert kind([7.6, math.nan, 5.0, 6.5, 6.6], [7.6, math.nan, 4.0, 2.0, 1.0]) == "overfitting"
    assert kind([7.6, 5.0, 8.0, 9.0], [math.nan, 5.0, 7.5, 8.5]) == "diverging"
    assert kind([math.nan, 4.0], [math.nan, 4.0]) == "uses"


def test_a_rise_within_the_noise_is_no_overfitting() -> None:
    """The same rise, with an interval that leaves room for it and with one that does not."""
    losses, training = [7.6, 5.0, 5.3, 5.4], [7.6, 4.5, 4.3, 4.2]
    assert kind(losses, training, asking(400, 5.3, 5.5)) == "overfitting"
    assert kind(losses, training, asking(120, 3.9, 6.9)) == "this"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (asking(28, 4.2, 6.8), "this"),
        (asking(40, 4.2, 5.9), "begins"),
        (asking(6, 5.4, 5.6), "this"),
        (asking(99, 5.4, 6.0), "this"),
        (asking(150, 5.0, 6.4), "this"),
        (asking(5000, 5.65, 5.75), "begins"),
        (Evaluation(5.5, {}, 4, "2 texts", None), "this"),
    ],
    ids=[
        "few and wide",
        "few, but clearly below",
        "a handful",
        "few, and touching",
        "wide",
        "many",
        "a single question",
    ],
)
def test_what_cannot_be_told_is_not_told(asked: Evaluation, expected: str) -> None:
    """Few questions, or an interval that holds the unigram line; and the reason is given."""
    loss = 5.5 if asked.count < 5000 else 5.7
    assert kind([7.6, 6.5, loss], [7.6, 6.4, 5.4], asked) == expected
    said = verdict([7.6, 6.5, loss], LINES, [7.6, 6.4, 5.4], asked)
    assert ("this text is too small to tell: " in said) == (expected == "this")
    if expected == "this":
        assert asked.asked in said
        assert "6.00" in said


@pytest.mark.parametrize(
    ("loss", "guess", "expected"),
    [
        (6.1, Guess("the", 0.98, 0.06), "collapsed"),
        (5.6, Guess("the", 0.85, 0.3), "collapsed"),
        (6.1, Guess("the", 0.6, 0.06), "knows"),
        (6.1, Guess("the", 0.98, 0.9), "knows"),
        (4.0, Guess("the", 0.9, 0.4), "nearly"),
        (2.0, Guess("the", 0.9, 0.4), "nearly"),
        (4.0, Guess("the", 0.6, 0.4), "uses"),
        (4.0, Guess("the", 0.9, 0.6), "uses"),
    ],
    ids=["one word", "nearly one word", "often", "it is right", "good loss", "best loss", "good, often", "good, right"],
)
def test_a_collapse_onto_one_word(loss: float, guess: Guess, expected: str) -> None:
    """One guess for nearly everything, mostly wrong, and a loss no better than counting."""
    asked = asking(2000, loss - 0.05, loss + 0.05, guess)
    assert kind([7.6, loss], [7.6, loss], asked) == expected
    assert kind([7.6, loss], [7.6, loss], replace(asked, guess=None)) != "collapsed"


def test_levels_are_in_order() -> None:
    """From nothing learned to most words: a lower loss is never called worse."""
    said = [level(loss / 100, LINES) for loss in range(760, 0, -1)]
    assert len(dict.fromkeys(said)) == 5
    assert [phrase for n, phrase in enumerate(said) if n == 0 or phrase != said[n - 1]] == list(dict.fromkeys(said))


# ----------------------------------------------------------------------------------------------- real trainings


def final(folder: Path, texts: list[str], **changes: Any) -> dict[str, Any]:
    """The last evaluation of a short training."""
    sizes = {"n_layers": 1, "d_model": 32, "n_heads": 4, "d_ff": 64, "dropout": 0.0}
    training = {"steps": 120, "evaluate_every": 30, "checkpoint_every": 120, "samples": 0}
    wanted = recipe(
        text_file(folder, texts),
        model=sizes | changes.get("model", {}),
        data={"validation_share": 0.5} | changes.get("data", {}),
        batch={"size": 16},
        optimizer={"learning_rate": 1e-2} | changes.get("optimizer", {}),
        schedule={"name": "constant", "warmup_steps": 1},
        training=training | changes.get("training", {}),
    )
    run = train(wanted, folder / "run")
    last = records(run.path, "evaluation")[-1]
    in_use = next(r for r in reversed(records(run.path, "evaluation")) if r["kept"])
    assert describe_run(run)["verdict"] == in_use["verdict"]
    return last


def random_texts(number: int, words: int = 40, seed: int = 2) -> list[str]:
    """Words without any order: nothing can be learned but by heart."""
    rng = random.Random(seed)
    return [" ".join(f"w{rng.randrange(words)}" for _ in range(8)) for _ in range(number)]


def test_a_tiny_text_for_many_steps_overfits(tmp_path: Path) -> None:
    """Twenty texts of random words are learned by heart; on the other twenty the loss rises."""
    found = final(tmp_path, random_texts(40), training={"steps": 180, "evaluate_every": 30})
    assert found["verdict"].startswith("overfitting"), found["verdict"]
    assert found["train_loss"] < found["loss"] - 1


def test_an_absurd_learning_rate_diverges(tmp_path: Path) -> None:
    """The loss of the training texts is worse than guessing."""
    found = final(tmp_path, random_texts(80), optimizer={"learning_rate": 3.0})
    assert found["verdict"].startswith("diverging"), found["verdict"]


def test_a_model_that_learns_is_said_to(tmp_path: Path) -> None:
    """Each word tells the next."""
    texts = [" ".join(f"w{(start + step * n) % 20}" for n in range(8)) for start in range(20) for step in (1, 3, 7)]
    found = final(tmp_path, texts, training={"steps": 240, "evaluate_every": 120})
    assert found["verdict"].startswith(("uses the context", "predicts most")), found["verdict"]


def test_one_word_for_everything_is_a_collapse(tmp_path: Path) -> None:
    """Half of the words are one; a model that has just begun says it to everything."""
    rng = random.Random(4)
    texts = [" ".join("the" if rng.random() < 0.4 else f"w{rng.randrange(30)}" for _ in range(9)) for _ in range(80)]
    found = final(tmp_path, texts, training={"steps": 60, "evaluate_every": 30})
    assert found["verdict"].startswith("collapsed on a frequent word"), found["verdict"]
    assert "'the'" in found["verdict"]


def test_two_held_out_texts_tell_nothing(tmp_path: Path) -> None:
    """Said by the verdict, and by the run, which keeps its last weights."""
    found = final(tmp_path, random_texts(20), data={"validation_share": 0.1}, training={"patience": 1})
    assert re.match(r"this text is too small to tell: 1\d questions in 2 texts", found["verdict"]), found["verdict"]
    assert (found["step"], found["kept"], found["tells"]) == (120, True, False)
    assert not (tmp_path / "run" / "best").exists()
