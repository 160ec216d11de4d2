"""From labelled rows to `classify`: which columns are taken, what a run keeps, what is refused."""

import json
from pathlib import Path

import pytest
import tiny_recipe
from trained import command

from glassformer.ask.run import Run
from glassformer.assemble import assemble
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
    assert named.codecs.label.names == (LABELS[1], LABELS[0])  # as they come
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
