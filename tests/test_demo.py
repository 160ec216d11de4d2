"""The demo's own arithmetic and care; that it learns its facts is what `make demo` shows."""

from pathlib import Path

import pytest
from rich.console import Console
from tiny_recipe import recipe, text_file

from glassformer.ask.cloze import Answered
from glassformer.data.builtin import cloze
from glassformer.data.rows import Pair, builtin_pairs
from glassformer.demo import (
    SHOWN,
    SHOWN_PAIRS,
    Said,
    guessing,
    keep_older,
    most_frequent,
    pairs_summary,
    share,
    was_stopped,
)
from glassformer.errors import UsageError
from glassformer.recipe import to_yaml
from glassformer.run import RunDirectory


def answered(answer: str, predicted: str) -> Answered:
    return Answered("a [MASK]", answer, predicted, 0.5, 0.7)


def test_an_earlier_run_is_kept_under_another_name(tmp_path: Path) -> None:
    """Twice: each time under the next free number."""
    path, console = tmp_path / "mlm-demo", Console()
    keep_older(path, console)
    for number in (1, 2):
        path.mkdir()
        (path / "recipe.yaml").write_text(str(number))
        keep_older(path, console)
        assert not path.exists()
        assert (tmp_path / f"mlm-demo-before-{number}" / "recipe.yaml").read_text() == str(number)


def test_a_run_that_is_being_trained_is_not_moved(tmp_path: Path) -> None:
    """Its process would go on writing under the old name."""
    path = tmp_path / "mlm-demo"
    path.mkdir()
    with RunDirectory(path).locked(), pytest.raises(UsageError, match="another process is training"):
        keep_older(path, Console())
    assert path.is_dir()


def test_a_stopped_demo_goes_on_and_a_finished_one_does_not(tmp_path: Path) -> None:
    """Saved at step 6 of 12: it goes on. Saved at 12 of 12, or without anything saved: a new one begins."""
    path = tmp_path / "mlm-demo"
    assert not was_stopped(path)
    path.mkdir()
    (path / "recipe.yaml").write_text(to_yaml(recipe(text_file(tmp_path))))
    assert not was_stopped(path)
    for saved, stopped in ((6, True), (12, False)):
        folder = path / "checkpoints" / f"step-{saved}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        assert was_stopped(path) is stopped


def test_shares() -> None:
    """Of right answers, and of those that the most frequent word would get right."""
    answers = [answered("red", "red"), answered(most_frequent(), "red"), answered("sun", "moon"), answered("a", "a")]
    assert share(answers) == 0.5
    assert guessing(answers) == 0.25


def test_what_is_shown_is_in_the_training_part() -> None:
    """Every sentence of the tables is one of the corpus."""
    assert set(SHOWN) <= {question.text for question in cloze("facts", "train")}
    assert set(SHOWN_PAIRS) <= {pair.source for pair in builtin_pairs("builtin:pairs/train")}


def test_exactly_right_is_exactly_the_target() -> None:
    pair = Pair("I love dogs", "J'aime les chiens")
    answers = [Said(pair, "J'aime les chiens"), Said(pair, "J'aime les chats"), Said(pair, "j'aime les chiens")]
    assert [one.mark for one in answers] == ["right", *["wrong: J'aime les chiens"] * 2]
    assert "33.3% of the 3 pairs" in pairs_summary(answers, answers[:1])
