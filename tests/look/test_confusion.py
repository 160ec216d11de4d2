"""`look confusion`: the matrix is that of the rows, and behind each cell stand its own texts."""

from pathlib import Path

import numpy as np
import pytest
from browser import browser, opened
from sklearn.metrics import confusion_matrix
from trained import classifier_folder, refused, run_folder

from glassformer import views
from glassformer.ask.run import load
from glassformer.look.views import confusion
from glassformer.look.views.confusion import behind, figure


def test_the_matrix_is_that_of_its_rows() -> None:
    run = load(classifier_folder())
    view, judged = views.confusion(run, "train"), run.judged("train", baselines=False)
    labels = view.numbers["labels"]
    assert labels == list(run.objective.label_names)
    truths, guesses = ([row[key] for row in judged.rows] for key in ("truth", "prediction"))
    assert view.numbers["counts"].tolist() == confusion_matrix(truths, guesses, labels=labels).tolist()


def test_behind_each_cell_are_its_rows_the_surest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    run = load(classifier_folder())
    judged, labels = run.judged("train", baselines=False), list(run.objective.label_names)
    cells = behind(judged, labels)
    assert sum(map(len, cells.values())) == len(judged.rows)
    for name, rows in cells.items():
        true, guessed = map(int, name.split(","))
        sure = [row["probability"] for row in rows]
        assert sure == sorted(sure, reverse=True)
        for row in rows:
            whole = judged.rows[row["row"] - 1]
            assert (whole["text"], whole["truth"], whole["prediction"]) == (row["text"], labels[true], labels[guessed])
    monkeypatch.setattr(confusion, "BEHIND", 1)
    assert {name: rows[:1] for name, rows in cells.items()} == behind(judged, labels)


def test_a_click_shows_the_texts(tmp_path: Path) -> None:
    view = views.confusion(load(classifier_folder()), "train")
    with browser() as chromium:
        shown = opened(chromium, view.save(tmp_path / "page.html"))
        counts = np.array(view.numbers["counts"])
        true, guessed = np.unravel_index(counts.argmax(), counts.shape)
        shown.page.locator("td button").nth(int(true * len(counts) + guessed)).click()
        rows = view.data["behind"][f"{true},{guessed}"]
        for row, text in zip(rows, shown.texts("li"), strict=True):
            assert text.endswith(row["text"])
        assert shown.complaints == []


@pytest.mark.parametrize("many", [2, 9, 120])
def test_it_is_drawn_whatever_the_number_of_classes(many: int) -> None:
    names = [f"a class with a long name {n}" for n in range(many)]
    drawn = figure(names, np.eye(many, dtype=np.int64), "title", "subtitle")
    assert max(drawn.get_size_inches()) < 25


def test_a_model_without_labels_has_none() -> None:
    assert "does not predict the labels" in refused("look", "confusion", run_folder())
