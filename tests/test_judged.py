"""What a run says of labelled rows is judged row by row, whatever the batches were; its probabilities are mended."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from sklearn import metrics
from trained import classifier_folder, command, generator_folder, refused, run_folder, tagger_folder

from glassformer import launch
from glassformer.ask.compared import compare_labels
from glassformer.ask.evaluation import calibrate
from glassformer.ask.judged import rows_of
from glassformer.ask.run import Run, load
from glassformer.errors import GlassformerError, UsageError
from glassformer.judging import calibration
from glassformer.run import Calibration

SCORES = ("accuracy", "macro_f1", "matthews_correlation")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A copy of a classifier, which may be changed."""
    return load(shutil.copytree(classifier_folder(), tmp_path / "topics"))


def test_every_row_is_what_classify_says_of_it(run: Run) -> None:
    """In the order of the data, though batches hold rows of one length."""
    judged = run.judged("train", baselines=False)
    rows, said = judged.rows, run.classify([str(row["text"]) for row in judged.rows])
    assert [row["row"] for row in rows] == list(range(1, len(rows) + 1))
    assert len({len(str(row["text"])) for row in rows}) > 5
    for row, one in zip(rows, said, strict=True):
        assert row["prediction"] == one.label
        assert row["probability"] == pytest.approx(one.labels[0].probability, abs=1e-5)
        of_truth = next(label.probability for label in one.labels if label.token == row["truth"])
        assert row["probability_of_truth"] == pytest.approx(of_truth, abs=1e-5)
    data = rows_of(run, "train")
    assert data.texts == [row["text"] for row in rows]
    assert [run.objective.label_names[n] for n in data.labels] == [row["truth"] for row in rows]


def test_the_scores_are_those_of_its_rows(run: Run) -> None:
    judged = run.judged("train")
    truths, guesses = ([row[key] for row in judged.rows] for key in ("truth", "prediction"))
    found = {score.name: score.value for score in judged.scores}
    assert found["accuracy"] == metrics.accuracy_score(truths, guesses)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truths, guesses, average="macro"))
    assert found["matthews_correlation"] == pytest.approx(metrics.matthews_corrcoef(truths, guesses))
    assert [score.name for line in judged.lines.values() for score in line] == [*SCORES, *SCORES]
    assert list(judged.lines) == ["majority_class", "bag_of_words"]


def test_the_hardest_rows_are_wrong_and_the_surest_first(run: Run) -> None:
    judged = run.judged("train", baselines=False)
    rows = [judged.rows[place] for place in judged.hardest]
    assert rows and all(row["prediction"] != row["truth"] for row in rows)
    assert len(rows) == sum(row["prediction"] != row["truth"] for row in judged.rows)
    sure = [row["probability"] for row in rows]
    assert sure == sorted(sure, reverse=True)


def test_evaluate_says_the_same_in_words_in_json_and_in_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    said = command("evaluate", run.path, "--split", "train", "--rows", file, "--json")
    judged = run.judged("train")
    assert [json.loads(line) for line in file.read_text().splitlines()] == [dict(row) for row in judged.rows]
    assert said.json["accuracy"] == pytest.approx(said.json["scores"]["accuracy"]["value"])
    assert said.json["scores"] == judged.record()["scores"]
    assert [line["baseline"] for line in said.json["baselines"]] == list(judged.lines)
    words = command("evaluate", run.path, "--split", "train", "--rows", file).out
    for expected in (
        "majority class",
        "bag of words",
        "macro F1",
        "topics less bag of words",
        "wrong, and surest of it",
    ):
        assert expected in words
    assert "bag of words" not in command("evaluate", run.path, "--no-baselines").out


def test_a_model_that_predicts_no_labels_has_no_rows(tmp_path: Path) -> None:
    for folder in (run_folder(), generator_folder()):
        assert "does not predict the labels" in refused("evaluate", folder, "--rows", tmp_path / "rows.jsonl")
        assert "scores" not in load(folder).evaluate()
        with pytest.raises(UsageError, match="does not predict the labels"):
            load(folder).judged()


def test_without_its_training_data_a_run_is_judged_all_the_same(run: Run, tmp_path: Path) -> None:
    lines = (classifier_folder().parents[1] / "facts.tsv").read_text().splitlines()
    (tmp_path / "new.tsv").write_text("\n".join(lines[:9]) + "\n")
    elsewhere = run.with_data([f"data.test={tmp_path / 'new.tsv'}", "data.train=nowhere.tsv"])
    found = elsewhere.evaluate("test")
    assert found["baselines"] == [] and "nowhere.tsv" in found["notes"][0]
    assert found["count"] == 8 and found["scores"]["accuracy"]["value"] == found["accuracy"]


# ------------------------------------------------------------------------------------------------------- two runs


def test_two_runs_on_the_same_rows_are_compared(run: Run) -> None:
    late, early = load(run.path), load(run.path, "step-10")
    [found], notes = compare_labels([late, early], ["late", "early"])
    assert (found["run"], found["less"], found["split"], notes) == ("late", "early", "validation", [])
    rows = [each.judged(baselines=False) for each in (late, early)]
    assert found["rows"] == len(rows[0].rows)
    for one, other in zip(*(judged.scores for judged in rows), strict=True):
        assert found["scores"][one.name]["value"] == pytest.approx(one.value - other.value)
    [same], _ = compare_labels([late, load(run.path)], ["a", "b"])
    assert all(score["value"] == 0 and not score["is_one"] for score in same["scores"].values())


def test_what_cannot_be_compared_is_said(run: Run, tmp_path: Path) -> None:
    lines = (classifier_folder().parents[1] / "facts.tsv").read_text().splitlines()
    (tmp_path / "new.tsv").write_text("\n".join(lines[:9]) + "\n")
    other = run.with_data([f"data.validation={tmp_path / 'new.tsv'}"])
    found, [note] = compare_labels([run, other], ["a", "b"])
    assert found == [] and note.startswith("a and b have other validation rows")
    found, [note] = compare_labels([run, run.with_data(["data.validation=gone.tsv"])], ["a", "b"])
    assert found == [] and note.startswith("b is not compared by its labels") and "gone.tsv" in note
    assert compare_labels([run, load(run_folder())], ["a", "b"]) == ([], [])


def test_compare_says_it(run: Run) -> None:
    said = command("compare", run.path, classifier_folder())
    assert said.code == 0 and "topics less classifier: accuracy +0.0 points" in said.out
    [found] = command("compare", run.path, classifier_folder(), "--json").json["differences"]
    assert (found["run"], found["less"]) == ("topics", "classifier")


# ------------------------------------------------------------------------------------------------- the temperature


def test_classify_divides_by_the_temperature_of_these_weights(run: Run) -> None:
    before = run.classify("The heart pumps blood")
    assert run.step is not None
    run.directory.save_calibration(Calibration(temperature=2.0, step=run.step, rows=100))
    after = load(run.path).classify("The heart pumps blood")
    softened = np.sqrt([label.probability for label in before.labels])
    assert [label.token for label in after.labels] == [label.token for label in before.labels]
    assert [label.probability for label in after.labels] == pytest.approx(
        (softened / softened.sum()).tolist(), abs=1e-5
    )
    evaluated = load(run.path).evaluate("train", baselines=False)["calibration"]
    assert evaluated["temperature"] == 2.0 and evaluated["error_before"] != evaluated["error_after"]


def test_of_other_weights_it_is_not_taken(run: Run) -> None:
    before = run.classify("The heart pumps blood")
    assert run.step is not None
    run.directory.save_calibration(Calibration(temperature=2.0, step=run.step + 1, rows=100))
    assert load(run.path).temperature == 1.0
    assert load(run.path).classify("The heart pumps blood") == before


def test_it_is_fitted_on_validation_and_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert calibrate(run) is None and not run.directory.calibration_file.exists(), "too few rows to fit it on"
    monkeypatch.setattr(calibration, "ENOUGH", 2)
    here = run.with_data([f"data.validation={run.recipe.data.train}"])
    found = calibrate(here)
    assert found is not None
    kept = run.directory.calibration()
    assert kept is not None and (kept.temperature, kept.rows, kept.step) == (found, 41, here.step)
    said = load(run.path).with_data([f"data.validation={run.recipe.data.train}"])
    evaluated = said.evaluate("validation", baselines=False)["calibration"]
    assert evaluated["temperature"] == found


def test_training_ends_with_it(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(calibration, "ENOUGH", 2)
    monkeypatch.setattr(launch, "draw_report", lambda run: None)
    file = classifier_folder().parents[1] / "facts.tsv"
    data = [f"data.train={file}", f"data.validation={file}", "objective.too_long=cut"]
    short = ["training.steps=20", "training.evaluate_every=10", "training.precision=32-true", "batch.size=8"]
    trained = launch.train("classification-demo", [*data, *short], run=tmp_path / "new")
    kept = trained.directory.calibration()
    assert kept is not None and trained.temperature == kept.temperature != 1


@pytest.mark.parametrize(
    "text", ["", "[]", '{"temperature": 0, "step": 1, "rows": 1}', '{"temperature": NaN, "step": 1, "rows": 1}', "{}"]
)
def test_a_damaged_file_is_an_error_with_its_mend(run: Run, text: str) -> None:
    run.directory.calibration_file.write_text(text)
    with pytest.raises(GlassformerError, match="calibration") as error:
        run.classify("The heart pumps blood")
    assert "remove it" in (error.value.mend or "")


# ------------------------------------------------------------------------------------------------- tags of words


def test_tags_are_judged_by_sentences_beside_the_most_frequent_tag_of_each_word() -> None:
    """Scores are those of the rows; the line to beat is counted on the training part."""
    judged = load(tagger_folder()).judged("validation")
    truths, guesses = ([row[key] for row in judged.rows] for key in ("true_tags", "tags"))
    found = {score.name: score.value for score in judged.scores}
    strict = {"mode": "strict", "scheme": IOB2}
    assert found["entity_f1_strict"] == pytest.approx(f1_score(truths, guesses, **strict))
    assert found["entity_f1_lenient"] == pytest.approx(f1_score(truths, guesses))
    right = [one == other for pair in zip(truths, guesses, strict=True) for one, other in zip(*pair, strict=True)]
    assert found["accuracy"] == pytest.approx(np.mean(right))
    [line] = judged.lines.values()
    assert list(judged.lines) == ["most_frequent_tag"] and [score.name for score in line] == list(found)
    assert line[0].rows == len(truths)
    assert {one["type"] for one in judged.more["types"]} <= {"PER", "LOC", "ORG"}


def test_the_hardest_sentences_are_those_with_a_wrong_word_that_it_was_sure_of() -> None:
    judged = load(tagger_folder()).judged("validation")
    rows = [judged.rows[place] for place in judged.hardest]
    assert rows and all(row["prediction"] != row["truth"] and row["word"] in row["text"].split() for row in rows)
    sure = [row["probability"] for row in rows]
    assert sure == sorted(sure, reverse=True)
    assert all(row["tags"] == row["true_tags"] for n, row in enumerate(judged.rows) if n not in judged.hardest)


def test_tags_that_are_no_names_are_judged_by_known_and_unknown_words(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    words = ["mars", "venus", "shines", "moves"]
    rows = [f"{words[n % 2]}\tNOUN\n{words[2 + n % 2]}\tVERB\n" for n in range(30)]
    rows += [f"planet{n}\tNOUN\nshines\tVERB\n" for n in range(10)]
    recipe = tiny_recipe.recipe(
        tiny_recipe.text_file(tmp_path, rows, "words.conll"),
        data={"document": "tagged", "validation_share": 0.3},
        objective={"name": "tagging"},
        training={"steps": 4, "evaluate_every": 4},
    )
    judged = tiny_recipe.train(recipe, tmp_path / "run").judged("validation")
    found = {score.name: score for score in judged.scores}
    assert list(found) == ["accuracy", "accuracy_of_known_words", "accuracy_of_unknown_words"]
    known, unknown = (found[f"accuracy_of_{which}_words"].counts[:, 1].sum() for which in ("known", "unknown"))
    assert known > 0 and unknown > 0 and known + unknown == found["accuracy"].counts[:, 1].sum()
    assert "types" not in judged.more
