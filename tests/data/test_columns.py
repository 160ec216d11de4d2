"""Which column holds the text: from many rows, and an error where that is not clear."""

import pytest

from glassformer.data.columns import columns_of, labels_beside, pair_columns, text_column
from glassformer.errors import UsageError

TEXTS = ["the sun is red today", "a cold star", "far and near are words here", "the old moon was small", "so it is"]


def table(**columns) -> list:
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return columns_of([rows])


IDS = [f"r-{n}" for n in range(5)]
CLEAR = {
    "the only text": {"n": [1, 2, 3, 4, 5], "words": TEXTS},
    "null comes first": {"id": IDS, "words": [None, *TEXTS[1:]]},
    "an empty cell comes first": {"id": IDS, "words": ["", *TEXTS[1:]]},
    "numbers as text": {"id": ["1", "2", "3", "4", "5"], "words": TEXTS},
    "labels beside": {"words": TEXTS * 4, "kind": ["good", "bad"] * 10, "stars": [1, 2] * 10},
    "no spaces between words": {"id": IDS, "words": ["前山鸟路楼，人天听鸟桥。"] * 4 + ["心门桥秋白，前鸟来门风。"]},
    "lists of texts": {"id": IDS, "words": [[text, text] for text in TEXTS]},
}


@pytest.mark.parametrize("columns", CLEAR.values(), ids=CLEAR)
def test_the_column_of_the_text_is_found(columns):
    assert text_column(table(**columns), "a.csv") == "words"


def test_usual_names_come_first():
    for name in ("text", "sentence", "content", "body", "Text"):
        assert text_column(table(**{"title": TEXTS, name: TEXTS[::-1]}), "a.csv") == name


UNCLEAR = {
    "two texts": {"one": TEXTS, "two": TEXTS[::-1]},
    "single words": {"one": IDS, "two": IDS[::-1]},
    "perhaps a text that the sample missed": {"id": IDS, "review": [None] * 5},
    "numbers only": {"n": [1, 2, 3, 4, 5]},
}


@pytest.mark.parametrize("columns", UNCLEAR.values(), ids=UNCLEAR)
def test_what_is_not_clear_is_an_error_that_names_all(columns):
    with pytest.raises(UsageError, match="it is not clear which column holds the text") as raised:
        text_column(table(**columns), "a.csv")
    assert ", ".join(map(repr, columns)) in raised.value.what and "data.column" in raised.value.mend


def test_a_column_must_be_in_all_files():
    assert [c.name for c in columns_of([[{"a": "x", "b": "y"}], [{"b": "z", "c": "w"}]])] == ["b"]
    with pytest.raises(UsageError, match="no column in common: one has 'a', another 'c'"):
        columns_of([[{"a": "x"}], [{"c": "w"}]])


def test_pairs_have_usual_names_or_are_the_only_two_texts():
    columns = table(id=IDS, de=TEXTS, en=TEXTS[::-1])
    assert pair_columns(columns, None, None, "a") == ("de", "en")
    assert pair_columns(columns, "en", None, "a") == ("en", "de")
    assert pair_columns(columns, None, "de", "a") == ("en", "de")
    assert pair_columns(table(title=TEXTS, output=TEXTS, instruction=TEXTS), None, None, "a") == (
        "instruction",
        "output",
    )
    assert pair_columns(table(output=IDS, input=IDS), None, None, "a") == ("input", "output")
    for columns in (
        table(instruction=TEXTS, input=TEXTS, output=TEXTS),  # the input belongs to the source
        table(one=TEXTS, two=TEXTS, three=TEXTS),
        table(one=TEXTS, label=[0, 1, 0, 1, 0]),
    ):
        with pytest.raises(UsageError, match="not clear which columns hold source and target"):
            pair_columns(columns, None, None, "a")


def test_labels_are_named_that_are_left_out():
    columns = table(words=TEXTS * 4, kind=["good", "bad"] * 10, stars=[1, 2] * 10)
    assert labels_beside(columns, ["words"]) == ["kind", "stars"]
    assert labels_beside(table(id=IDS, n=[1, 2, 3, 4, 5], words=TEXTS), ["words"]) == []
