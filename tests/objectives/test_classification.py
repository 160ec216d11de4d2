"""From labelled rows to `classify`: which columns are taken, what a run keeps, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
import torch
from trained import command

from glassformer.ask.run import Run
from glassformer.assemble import assemble
from glassformer.data.batch import TargetsBatch
from glassformer.data.labels import class_weights
from glassformer.errors import UsageError
from glassformer.recipe import parse

GOOD, BAD = ("sun", "red", "warm"), ("moon", "blue", "cold")
LABELS = ("very good", "007")
"""One of two words, one that would be a number."""


def rows(number: int = 48) -> list[tuple[str, str]]:
    """Texts that a few words decide; rows of both labels, the shorter ones first."""
    return [
        (f"the {GOOD[n % 3]} star {'so ' * (n % 4)}is near {n}", LABELS[0])
        if n % 2
        else (f"a {BAD[n % 3]} star {'so ' * (n % 5)}is far {n}", LABELS[1])
        for n in range(number)
    ]


def table(folder: Path, name: str = "train.csv", cells: list[tuple[str, str]] | None = None) -> Path:
    file = folder / name
    lines = ["id,sentence,mood", *(f"{n},{text},{label}" for n, (text, label) in enumerate(cells or rows()))]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def recipe_for(file: Path, **sections):
    tree = tiny_recipe.tree(file, **sections)
    tree["data"] = {"train": str(file), "columns": {"text": "sentence", "label": "mood"}} | sections.get("data", {})
    tree["objective"] = {"name": "classification"} | sections.get("objective", {})
    return parse(tree)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """40 steps: enough to tell the labels apart."""
    folder = tmp_path_factory.mktemp("classified")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        changed = {"optimizer": {"learning_rate": 0.03}, "training": {"steps": 40, "evaluate_every": 20}}
        return tiny_recipe.train(recipe_for(table(folder), **changed), folder / "run")


def test_columns_are_taken_by_role(tmp_path):
    """As they are named, by either key; or as they are called and look."""
    named = assemble(recipe_for(table(tmp_path)))
    assert named.recipe.data.column == "sentence" and named.recipe.data.columns.label == "mood"
    old = assemble(recipe_for(table(tmp_path), data={"column": "sentence", "columns": {"label": "mood"}}))
    found = assemble(recipe_for(table(tmp_path), data={"columns": {}}))
    assert named.train.identity == old.train.identity == found.train.identity
    assert named.codecs.label.names == (LABELS[1], LABELS[0])  # sorted
    texts, labels = named.train, named.train.beside["label"]
    assert texts.n_rows == labels.n_rows > 30
    for n in range(texts.n_rows):
        text = named.tokenizer.decode(texts.document(n))
        assert ("near" in text.split()) == (labels.values[n] == 1)


def test_the_order_of_labels_can_be_given(tmp_path):
    given = assemble(recipe_for(table(tmp_path), data={"labels": ["very good", "none", "007"]}))
    assert given.codecs.label.names == ("very good", "none", "007")
    assert given.objective.outputs()[0].size == 3


def test_two_names_of_one_column_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"data\.column=a and data\.columns\.text=b"):
        recipe_for(table(tmp_path), data={"column": "a", "columns": {"text": "b"}})


def test_an_unknown_label_is_refused_with_file_row_and_the_known_ones(tmp_path):
    """Before any training."""
    other = table(tmp_path, "dev.csv", [("the sun is near", "very good"), ("the sun is far", "7")])
    with pytest.raises(UsageError, match=r"dev\.csv, line 3: the label '7' does not occur.*'007', 'very good'"):
        assemble(recipe_for(table(tmp_path), data={"validation": str(other)}))
    with pytest.raises(UsageError, match=r"line 4 has no label"):
        assemble(recipe_for(table(tmp_path, "gap.csv", [*rows(2), ("no label here", ""), *rows()])))
    with pytest.raises(UsageError, match="the only label is '1'"):
        assemble(recipe_for(table(tmp_path, "one.csv", [(text, "1") for text, _ in rows()])))


def test_a_run_keeps_its_labels_apart_from_its_tokens(run):
    """In JSON of their own; as many classes as labels."""
    assert json.loads((run.path / "labels.json").read_text())["names"] == [LABELS[1], LABELS[0]]
    assert run.objective.outputs()[0].size == 2
    assert not any(label in run.tokenizer.vocabulary for label in LABELS)


def test_texts_are_classified(run, tmp_path):
    """In Python and on the command line: every label with its probability, the likeliest first; a text alone as among
    others."""
    asked = ["the sun star is near", "a cold star so so so is far"]
    found = run.classify(asked)
    assert [one.label for one in found] == list(LABELS)
    for one in found:
        assert sum(label.probability for label in one.labels) == pytest.approx(1.0)
        assert {label.token for label in one.labels} == {*LABELS}
        assert run.classify(one.text).labels[0].probability == pytest.approx(one.labels[0].probability, abs=1e-6)
    said = command("classify", run.path, *asked, "--json")
    assert [json.loads(line)["label"] for line in said.out.splitlines()] == list(LABELS)
    (tmp_path / "texts.txt").write_text("\n".join(asked))
    assert "very good 9" in command("classify", run.path, "--file", tmp_path / "texts.txt").out
    for wrong in ("", "  ", "star " * 40):
        with pytest.raises(UsageError):
            run.classify(wrong)
    with pytest.raises(UsageError, match="this model fills no blanks"):
        run.fill("the [MASK] is near")


def test_evaluation_counts_right_labels(run):
    found = run.evaluate()
    assert found["accuracy"] == 1.0 and found["count"] == found["count"] > 0
    assert "top5_accuracy" not in found
    written = "".join(file.read_text() for file in run.directory.samples.iterdir())
    assert "true very good" in written and "true 007" in written


def test_the_command_line_says_which_label_is_unknown(tmp_path):
    file = table(tmp_path, "dev.csv", [("the sun is near", "maybe")])
    said = command("train", recipe_file(tmp_path), f"data.validation={file}", "--run", tmp_path / "run")
    assert said.code == 2 and "'maybe'" in said.err and "line 2" in said.err


def recipe_file(folder: Path) -> Path:
    from glassformer.recipe import to_yaml

    file = folder / "recipe.yaml"
    file.write_text(to_yaml(recipe_for(table(folder))))
    return file


def test_long_texts_are_refused_or_cut(tmp_path):
    long = table(tmp_path, "long.csv", [("so " * 30, "007"), *rows()])
    with pytest.raises(UsageError, match="text 1 has 32 tokens"):
        assemble(recipe_for(long)).train_dataset  # noqa: B018
    cut = assemble(recipe_for(long, objective={"too_long": "cut"}))
    assert cut.train_dataset.lengths.max() <= 16


# ------------------------------------------------------------------------ weights of labels, and what decides what is b


def unequal(folder, **sections):
    return recipe_for(table(folder, cells=rows()[:30] + [r for r in rows(60) if r[1] == LABELS[0]]), **sections)


def test_balanced_labels_count_alike(tmp_path):
    """Over the training data each label's weights add up to the same, and all of them to the number of texts."""
    parts = assemble(unequal(tmp_path, objective={"class_weights": "balanced"}))
    given = parts.recipe.objective.class_weights
    weights = class_weights(given, parts.codecs.label.names)
    counts = np.bincount(parts.train.beside["label"].values)
    assert counts[0] != counts[1]
    balanced = [weight * count for weight, count in zip(weights, counts, strict=True)]
    assert balanced == pytest.approx([counts.sum() / 2] * 2, rel=1e-4)
    assert given[0].rpartition("=")[0] == parts.codecs.label.names[0]
    assert assemble(unequal(tmp_path)).recipe.objective.class_weights == "none"


def loss_of(objective, outputs, numbers):
    targets = TargetsBatch(torch.arange(len(numbers)), torch.tensor(numbers), len(numbers))
    return objective.losses["label"](outputs, targets).total


def test_a_weight_multiplies_the_loss_of_its_label_in_training_only(tmp_path):
    plain = assemble(unequal(tmp_path)).objective
    weighted = assemble(unequal(tmp_path, objective={"class_weights": ["007=3"]})).objective
    outputs, of_007, other = (
        torch.randn(5, 2),
        [plain.label_names.index("007")] * 5,
        [plain.label_names.index(LABELS[0])] * 5,
    )
    torch.testing.assert_close(loss_of(weighted, outputs, of_007), 3 * loss_of(plain, outputs, of_007))
    torch.testing.assert_close(loss_of(weighted.for_evaluation(), outputs, of_007), loss_of(plain, outputs, of_007))
    torch.testing.assert_close(loss_of(weighted, outputs, other), loss_of(plain, outputs, other))


def test_smoothing_is_towards_all_labels_alike_in_training_only(tmp_path):
    objective = assemble(unequal(tmp_path, objective={"label_smoothing": 0.2, "class_weights": ["007=3"]})).objective
    outputs, number = torch.randn(1, 2), objective.label_names.index("007")
    logs = outputs.log_softmax(-1)[0]
    torch.testing.assert_close(loss_of(objective, outputs, [number]), 3 * -(0.8 * logs[number] + 0.2 * logs.mean()))
    torch.testing.assert_close(loss_of(objective.for_evaluation(), outputs, [number]), -logs[number])


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (["0007=2"], "'0007=2' begins with no label\n.*007"),
        (["007=2", "007=3"], "names the label '007' twice"),
        (["007=much"], "ends with no positive number\n.*007=2.5"),
        (["007=-1"], "ends with no positive number"),
        (["007"], "begins with no label"),
    ],
)
def test_weights_that_cannot_be_are_a_line(tmp_path, weights, said):
    with pytest.raises(UsageError, match=said):
        assemble(unequal(tmp_path, objective={"class_weights": weights}))


def test_balanced_weights_are_kept_and_a_stopped_run_goes_on_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    wanted = unequal(tmp_path, objective={"class_weights": "balanced"}, schedule={"name": "constant"})
    whole = tiny_recipe.train(wanted, tmp_path / "whole")
    assert whole.recipe.training.best == "macro_f1" and len(whole.recipe.objective.class_weights) == 2
    tiny_recipe.train(wanted, tmp_path / "halves", changes=("training.steps=6",))
    again = tiny_recipe.train(wanted, tmp_path / "halves", changes=("training.steps=12",), resume=True)
    for ours, theirs in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_accuracy_decides_and_ends_a_run_that_grows_no_better(tmp_path, monkeypatch):
    """The best weights are those of the first highest accuracy; patience counts the evaluations since."""
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    training = {"steps": 200, "evaluate_every": 10, "patience": 3}
    wanted = recipe_for(
        table(tmp_path, cells=rows(300)),
        data={"validation_share": 0.4},
        optimizer={"learning_rate": 0.03},
        training=training,
    )
    heard = tiny_recipe.Hearing()
    run = tiny_recipe.train(wanted, tmp_path / "run", display=heard)
    assert run.recipe.training.best == "accuracy"
    seen = [record for record in run.directory.metrics() if record["event"] == "evaluation" and record["step"]]
    best = max(record["accuracy"] for record in seen)
    first = next(record["step"] for record in seen if record["accuracy"] == best)
    assert seen[-1]["step"] == first + 30 < 200
    assert f"stopped early: no better accuracy since step {first}" in heard.said
    assert run.evaluate()["accuracy"] == pytest.approx(best)


def test_a_mixture_has_a_member_of_labels(tmp_path, monkeypatch):
    """Masked words and labels of the same texts, on one body; each is evaluated, and both can be asked for."""
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    tree = recipe_for(table(tmp_path)).model_dump(mode="json")
    labels = {"objective": {"name": "classification", "class_weights": "balanced"}, "weight": 2}
    tree |= {"objective": {"name": "mixture", "members": [labels, {"objective": {"name": "masked_lm"}}]}}
    tree["optimizer"]["learning_rate"] = 0.03
    tree["training"] |= {"steps": 120, "evaluate_every": 60}
    run = tiny_recipe.train(parse(tree), tmp_path / "both")
    assert run.recipe.training.best == "loss"
    found = run.evaluate()
    assert "classification/accuracy" in found and "masked_lm/accuracy" in found
    assert run.classify("the sun star is near 3").label == LABELS[0]
    assert run.fill("the sun star is [MASK] 3").blanks
