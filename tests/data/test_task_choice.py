"""What a file is labelled for is seen from its columns; plain texts, and what a person says, stay as they are."""

import json
from pathlib import Path

import pytest

from glassformer.data.data_config import DataConfig
from glassformer.data.roles import Columns
from glassformer.data.task_choice import task_of

TEXTS = [f"the {colour} star number {n} is rather far away" for n, colour in enumerate(["red", "blue", "old"] * 12)]
OTHERS = [f"nobody has seen {n} of them so close before" for n in range(len(TEXTS))]


def write(folder: Path, name: str, lines: list[str]) -> DataConfig:
    file = folder / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return DataConfig(train=str(file))


def table(folder: Path, header: list[str], *columns: list, name: str = "a.tsv") -> DataConfig:
    rows = ["\t".join(map(str, cells)) for cells in zip(*columns, strict=True)]
    return write(folder, name, ["\t".join(header), *rows] if header else rows)


def found(data: DataConfig) -> str | None:
    task = task_of(data)
    return None if task is None else task.name


LABELS = ["good", "bad"] * 18
DIGITS = [0, 1, 1] * 12
NUMBERS = [n / 7 for n in range(36)]
IDS = list(range(36))


@pytest.mark.parametrize("labels", [LABELS, DIGITS, ["007", "NA", "true"] * 12])
def test_a_text_and_a_label_of_few_values(tmp_path, labels):
    assert found(table(tmp_path, ["sentence", "label"], TEXTS, labels)) == "classification"
    assert found(table(tmp_path, ["id", "words", "mood"], IDS, TEXTS, labels)) == "classification"
    assert found(table(tmp_path, [], TEXTS, labels)) == "classification"
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]
    assert found(write(tmp_path, "a.jsonl", list(map(json.dumps, rows)))) == "classification"


def test_two_texts_with_a_label_or_a_number(tmp_path):
    assert found(table(tmp_path, ["sentence1", "sentence2", "label"], TEXTS, OTHERS, LABELS)) == "sentence_pair"
    assert found(table(tmp_path, ["premise", "hypothesis", "kind"], TEXTS, OTHERS, LABELS)) == "sentence_pair"
    assert found(table(tmp_path, ["sentence1", "sentence2", "score"], TEXTS, OTHERS, NUMBERS)) == "similarity"


def test_a_source_and_its_target(tmp_path):
    assert found(table(tmp_path, ["source", "target"], TEXTS, OTHERS)) == "seq2seq"
    assert found(write(tmp_path, "a.txt", TEXTS).model_copy(update={"train_targets": "b.txt"})) == "seq2seq"


def test_words_with_tags_and_questions_with_answers(tmp_path):
    lines = [line for text in TEXTS for line in (*(f"{word}\tO" for word in text.split()), "")]
    for name in ("a.conll", "a.tsv", "a.txt"):
        assert found(write(tmp_path, name, lines)) == "tagging"
    squad = {"data": [{"paragraphs": [{"context": "Mars is red.", "qas": []}]}]}
    assert found(write(tmp_path, "a.json", [json.dumps(squad)])) == "span_extraction"


def test_plain_texts_are_no_task(tmp_path):
    assert found(write(tmp_path, "a.txt", TEXTS)) is None
    assert found(write(tmp_path, "a.jsonl", [json.dumps({"text": text}) for text in TEXTS])) is None
    assert found(table(tmp_path, ["id", "text"], IDS, TEXTS)) is None, "each number stands once"
    assert found(table(tmp_path, ["text", "label"], TEXTS, ["same"] * 36)) is None, "one value tells nothing apart"
    assert found(table(tmp_path, ["text", "price"], TEXTS, NUMBERS)) is None
    assert found(table(tmp_path, ["text", "a", "b"], TEXTS, LABELS, DIGITS)) is None, "which of the two?"
    assert found(DataConfig(train="builtin:facts/train")) is None


def test_what_a_person_says_wins(tmp_path):
    data = table(tmp_path, ["sentence", "label"], TEXTS, LABELS)
    assert found(data.model_copy(update={"column": "sentence"})) is None
    assert found(data.model_copy(update={"document": "line"})) is None
    named = {"label": "classification", "tags": "tagging", "number": "similarity", "spans": "span_extraction"}
    for role, name in named.items():
        assert found(data.model_copy(update={"columns": Columns(**{role: "x"})})) == name
    both = Columns(second="x", label="y")
    assert found(data.model_copy(update={"columns": both})) == "sentence_pair"
