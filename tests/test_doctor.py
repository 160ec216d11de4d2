"""What doctor says before any training: counted exactly where it can be counted, measured where it cannot."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_recipe

from glassformer import doctor
from glassformer.assemble import assemble, describe_unknown_words, model_for
from glassformer.build import training_order
from glassformer.errors import GlassformerError, UsageError
from glassformer.recipe import Recipe
from glassformer.recipe_rows import documents_for

D, FF, LAYERS, LENGTH = 12, 20, 2, 16
"""The sizes of tiny_recipe."""


def vocabulary(recipe: Recipe) -> int:
    """The different words of the training part, and the 5 special tokens."""
    return 5 + len({word for line in documents_for(recipe, "train") for word in line.split()})


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_recipe.text_file(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def recipe(text: Path) -> Recipe:
    return tiny_recipe.recipe(text)


@pytest.fixture(scope="module")
def report(recipe: Recipe) -> dict[str, Any]:
    return doctor.examine(recipe)


def test_parameters_are_counted_exactly(recipe: Recipe, report: dict[str, Any]) -> None:
    """Tied output, pre-norm, learned positions, counted by hand from the sizes."""
    v, norm = vocabulary(recipe), 2 * D
    attention = 4 * (D * D + D)
    feed_forward = D * FF + FF + FF * D + D
    block = attention + feed_forward + 2 * norm
    embedding = v * D + LENGTH * D
    head = D * D + D + norm + v  # dense, norm, and the bias of the output, whose matrix is the embedding
    assert report["parameters"] == embedding + LAYERS * block + norm + head  # pre-norm ends with one more norm


def test_parameters_are_those_of_the_model_that_is_trained(recipe: Recipe, report: dict[str, Any]) -> None:
    model = model_for(recipe, assemble(recipe).objective)
    assert report["parameters"] == sum(p.numel() for p in model.parameters())


def test_the_data_are_counted(text: Path, recipe: Recipe, report: dict[str, Any]) -> None:
    lines = text.read_text().splitlines()
    data = report["data"]
    assert data["texts"] + data["validation_texts"] == len(lines)
    assert data["validation_texts"] == round(0.2 * len(lines))
    assert data["tokens"] + data["validation_tokens"] == sum(len(line.split()) for line in lines)
    assert data["vocabulary"] == vocabulary(recipe)
    assert data["length_percentiles"]["100"] == 9
    assert data["unknown_share"] == 0
    assert data["cut_share"] == 0


def test_unknown_words_and_cut_texts_are_shares(text: Path) -> None:
    recipe = tiny_recipe.recipe(text, tokenizer={"vocab_size": 11}, model={"max_length": 8})
    found = doctor.describe_data(assemble(recipe))
    lines = list(documents_for(recipe, "train"))
    known = {word for word, _ in Counter(w for line in lines for w in line.split()).most_common(6)}
    words = [word for line in lines for word in line.split()]
    assert found["unknown_share"] == pytest.approx(sum(w not in known for w in words) / len(words), abs=0.03)
    assert found["unknown_share"] > 0.3
    assert found["cut_share"] == sum(len(line.split()) > 6 for line in lines) / len(lines)


@pytest.fixture
def strange(text: Path, tmp_path: Path) -> Recipe:
    """A recipe whose validation texts hold six words of which training has two."""
    other = tiny_recipe.text_file(tmp_path, ["sun zorblax quux frobnicate moon spam"] * 3, "other.txt")
    return tiny_recipe.recipe(text, data={"validation": str(other)})


def test_unknown_words_of_the_validation_part_count(strange: Recipe) -> None:
    """They are not in the training part's share, and no question is about them."""
    found = doctor.describe_data(assemble(strange))
    assert found["unknown_share"] == 0
    assert found["validation_unknown_share"] == pytest.approx(4 / 6)
    assert (found["validation_questions"], found["validation_asked_in"]) == (6, "3 texts")


def test_training_warns_of_unknown_words(strange: Recipe, text: Path, tmp_path: Path) -> None:
    """From one in ten on, of either part; with how many are asked. Where all are known nothing is said."""
    hearing = tiny_recipe.Hearing()
    tiny_recipe.train(strange, tmp_path / "strange", display=hearing)
    [warning] = [line for line in hearing.said if line.startswith("warning: ")]
    assert "66.7% of the validation words are not in the vocabulary" in warning
    assert any("asks 6 questions in 3 texts, none about the 12 of 18 words" in line for line in hearing.said)
    small = tiny_recipe.recipe(text, tokenizer={"vocab_size": 11})
    assert [line.split(" words")[0].split()[-1] for line in describe_unknown_words(assemble(small))] == [
        "training",
        "validation",
    ]
    assert describe_unknown_words(assemble(tiny_recipe.recipe(text))) == []


@pytest.mark.parametrize("layout", ["padded", "grouped", "packed"])
def test_the_share_of_padding_is_that_of_an_epoch(text: Path, layout: Any) -> None:
    """Count zeros in every batch that a training would really see."""
    recipe = tiny_recipe.recipe(text, batch={"layout": layout, "size": 4})
    parts = assemble(recipe)
    order = training_order(recipe, parts)
    pads = places = 0
    for micro_batches in order.epoch(0):
        for rows in micro_batches:
            ids = order.batch(0, rows).streams["encoder"].input_ids
            pads += int((ids == parts.tokenizer.pad_id).sum())
            places += ids.numel()
    assert pads > 0
    found = doctor.describe_padding(parts)
    assert found["share"] == pytest.approx(pads / places)
    assert found["by_layout"][layout] == found["share"]
    assert found["by_layout"]["padded"] > found["by_layout"]["grouped"]


def test_memory_and_time_are_there_and_sane(recipe: Recipe, report: dict[str, Any]) -> None:
    assert 2**27 < report["memory_bytes"] < 2**31
    assert report["steps"] == 12
    assert 0 < report["seconds_per_step"] < 5
    assert 0 < report["minutes"] < 5
    assert report["minutes"] * 60 >= report["steps"] * report["seconds_per_step"]
    assert report["tokens_per_second"] > 0
    assert report["settled"] == {"device": "cpu", "precision": "32-true", "compile": False, "threads": 1}


def test_the_report_is_plain_data(report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report)) == report


def test_the_suggested_vocabulary_knows_98_of_100_words(tmp_path: Path) -> None:
    """Words as the tokenizer cuts them: `Sun,` is `sun` and a comma."""
    lines = ["Sun, moon sun, Moon"] * 49 + ["rare1 rare2 rare3 rare4"]
    recipe = tiny_recipe.recipe(tiny_recipe.text_file(tmp_path, lines), tokenizer={"lowercase": True})
    parts = assemble(recipe)
    texts = list(documents_for(recipe, "train"))
    words = Counter(w for line in texts for w in line.lower().replace(",", " ,").split())
    needed = 5 + next(n for n in range(1, 9) if sum(c for _, c in words.most_common(n)) >= 0.98 * sum(words.values()))
    assert doctor.suggest(parts)["vocab_size"] == needed


def test_suggestions_fit_the_kind_of_tokenizer(text: Path) -> None:
    for kind, size in (("byte", 261), ("wordpiece", 400)):
        recipe = tiny_recipe.recipe(text, tokenizer={"kind": kind, "vocab_size": 300})
        assert doctor.suggest(assemble(recipe))["vocab_size"] == size


def test_a_suggested_max_length_holds_the_texts(text: Path, recipe: Recipe) -> None:
    suggested = doctor.suggest(assemble(recipe))["max_length"]
    assert suggested == 16
    lengths = np.array([len(line.split()) + 2 for line in text.read_text().splitlines()])
    assert (lengths <= suggested).mean() >= 0.99


def test_as_text(recipe: Recipe, report: dict[str, Any]) -> None:
    lines = "\n".join(doctor.as_text(report, recipe))
    for expected in (f"{report['parameters']:,}", "MiB", "ms each", "[PAD]", "[UNK]", "suggested 16", "12 steps"):
        assert expected in lines
    assert "longer and become several windows" in lines
    stream = recipe.model_copy(update={"objective": recipe.objective.model_copy(update={"units": "stream"})})
    assert "become several windows" not in "\n".join(doctor.as_text(report, stream))


@pytest.mark.parametrize(
    ("minutes", "words"), [(0.2, "12 seconds"), (1.04, "1.0 minutes"), (119.0, "119.0 minutes"), (180.0, "3.0 hours")]
)
def test_minutes_in_words(minutes: float, words: str) -> None:
    assert doctor.describe_minutes(minutes) == words


def test_what_is_wrong_is_said_as_training_would(text: Path) -> None:
    with pytest.raises(UsageError, match="too short for one batch"):
        doctor.examine(tiny_recipe.recipe(text, batch={"size": 400}))


def test_what_is_wrong_in_the_child_is_said_as_training_would(text: Path) -> None:
    with pytest.raises(UsageError, match=r"too short for one batch.*\nuse more text, or batch.size="):
        doctor.measured_in_child(tiny_recipe.recipe(text, batch={"size": 400}))


def test_a_child_that_dies_is_said(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(*arguments: Any, **more: Any) -> Any:
        return doctor.subprocess.CompletedProcess([], -9, "", "")

    monkeypatch.setattr(doctor.subprocess, "run", dead)
    with pytest.raises(GlassformerError, match=r"signal 9; most often the memory was not enough\nlower batch.size"):
        doctor.measured_in_child(recipe)
