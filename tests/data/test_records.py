"""Rows with named cells: what is read from JSON and parquet, one at a time, and what is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data import records
from glassformer.data.records import json_rows, parquet_rows, text_in
from glassformer.errors import UsageError

FILE = Path("a.json")
ROWS = [{"id": n, "text": f"text {n}, with [ and ] and {{ in it"} for n in range(5)]


def read(text: str) -> list[dict]:
    return [row for _, row in json_rows(text.split("\n"), FILE)]


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_of_objects_is_rows(indent):
    """Also as the only list of an object, whatever single values stand beside it; or an object in each line."""
    assert read(json.dumps(ROWS, indent=indent)) == ROWS
    for inside in ({"data": ROWS}, {"version": "1", "data": ROWS}, {"data": ROWS, "version": 2, "note": None}):
        assert read(json.dumps(inside, indent=indent)) == ROWS
    assert read("\n".join(map(json.dumps, ROWS))) == read("\n\n".join(map(json.dumps, ROWS))) == ROWS
    assert read(json.dumps(["one", "two"], indent=indent)) == [{"text": "one"}, {"text": "two"}]
    assert read("[]") == read("") == read(" \n") == []


def test_the_place_of_a_row_is_its_line():
    lines = ["", "[", '{"text": "one"},', "", '{"text":', '"two"}', "]"]
    assert [place for place, _ in json_rows(lines, FILE)] == ["a.json, line 3", "a.json, line 5"]


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
any_cell = st.none() | st.booleans() | st.integers(-99, 99) | any_text | st.lists(st.integers() | any_text, max_size=3)


@settings(max_examples=50)
@given(st.lists(st.dictionaries(any_text, any_cell, max_size=3), max_size=5), st.none() | st.just(2))
def test_any_rows_come_back(rows, indent):
    assert read(json.dumps(rows, indent=indent)) == rows


def test_rows_are_read_one_at_a_time():
    """A file may be larger than memory: of 10,000 lines a few hundred are taken in for the first row."""
    taken = 0

    def lines():
        nonlocal taken
        yield "["
        for number in range(10_000):
            taken += 1
            yield json.dumps({"text": f"row {number} " + "x" * 300}) + ","
        yield '{"text": "last"}]'

    rows = json_rows(lines(), FILE)
    assert next(rows)[1]["text"].startswith("row 0 ") and taken < 1000
    assert sum(1 for _ in rows) == 10_000


TOKENIZER = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [{"content": "[UNK]"}], "model": {}}
SQUAD = {"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": []}]}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"text": "one"}), "holds no rows: it is one JSON object with 'text'"),
        (json.dumps({"a": {"b": 1}, "c": ROWS}), "holds no rows: it is one JSON object with 'a', 'c'"),
        (json.dumps({"c": ROWS, "a": {"b": 1}}), "holds no rows"),
        (json.dumps(TOKENIZER, indent=1), r"a\.json is a tokenizer and no text\nto use it: tokenizer\.path="),
        (json.dumps(SQUAD), "questions inside paragraphs, as SQuAD has them"),
        (json.dumps([{"a": "x", "b": [{"c": "d"}]}]), "are not flat: they hold objects in 'b'"),
        ("[1, 2]", "line 1: an item of the array is no object but a int"),
        ('[{"text": "one"},\n{"text": }]', "line 2 is broken JSON"),
        ('[{"text": "one"}\n{"text": "two"}]', "line 2 is broken JSON: ',' is expected"),
        ('[{"text": "one"},\n', "is broken JSON: "),
        ('[{"text": "one"}]\n3', "line 2 is broken JSON: something follows its end"),
        ("plain words", "line 1 is broken JSON: it begins with no"),
        ('[{"a": ' + "[" * 100_000, "nested too deeply"),
        ('[{"n": ' + "9" * 5000 + "}]", "is broken JSON: .*digits"),
    ],
)
def test_other_json_is_refused_in_words(text, message):
    with pytest.raises(UsageError, match=message) as raised:
        read(text)
    assert raised.value.mend


def test_a_row_without_an_end_is_refused(monkeypatch):
    """Before all of the file is in memory."""
    monkeypatch.setattr(records, "LONGEST_ROW", 2**17)
    taken = 0

    def lines():
        nonlocal taken
        yield '[{"text": "'
        for _ in range(10_000):
            taken += 1
            yield "x" * 100

    with pytest.raises(UsageError, match="one row has more than 131,072 characters"):
        list(json_rows(lines(), FILE))
    assert taken < 8000


def test_a_list_of_texts_is_one_text():
    assert text_in({"a": ["one.", "two."]}, "a", "place") == "one. two."
    assert text_in({"a": {"b": "inside"}}, "a.b", "place") == "inside"
    with pytest.raises(UsageError, match="holds no text but a list"):
        text_in({"a": ["one", 2]}, "a", "place")


def test_strings_of_parquet_are_strings(tmp_path):
    """Plain, large, as a view, as a dictionary of either; a list of them; what holds none is left out."""
    import pyarrow
    import pyarrow.parquet

    texts = pyarrow.array(["one", None, "two"])
    columns = {
        "plain": texts,
        "large": texts.cast(pyarrow.large_string()),
        "dictionary": texts.dictionary_encode(),
        "large_dictionary": texts.cast(pyarrow.large_string()).dictionary_encode(),
        "view": texts.cast(pyarrow.string_view()),
        "list": pyarrow.array([["one"], None, ["two"]]),
        "number": pyarrow.array([1, 2, 3]),
    }
    file = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    found = list(parquet_rows(file))
    assert [place.removeprefix(str(file)) for place, _ in found] == [", row 1", ", row 2", ", row 3"]
    assert set(found[0][1]) == {*columns} - {"number"}
    for name in found[0][1]:
        assert [text_in(row, name, "") for _, row in found] == ["one", None, "two"]
        assert [row for _, row in parquet_rows(file, name)] == [{name: row[name]} for _, row in found]
