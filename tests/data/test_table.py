"""Columns beside texts: chosen by role, stored once, mapped, and made anew where the store is damaged."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from glassformer.data.corpus import Corpus, Wanted, WantedValues, all_cached
from glassformer.data.data_config import DataConfig
from glassformer.data.labels import Labels
from glassformer.data.layout_choice import layout_for
from glassformer.data.roles import Columns
from glassformer.data.rows import read_rows
from glassformer.data.table import Arrays, Cell, Numbers, ValueColumn
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError

TEXTS = ["mars is called the red planet", "bees make honey", "ice is frozen water", "the heart pumps blood"]


@pytest.mark.parametrize(
    ("codec", "cells"),
    [
        (Numbers(), ["1.5", 2, "-3"]),
        (Labels(("no", "yes")), ["yes", "no", "yes"]),
        (Arrays((2, 3)), list(np.arange(18, dtype=np.uint8).reshape(3, 2, 3))),
    ],
    ids=["numbers", "labels", "arrays"],
)
def test_values_are_stored_once_and_mapped(tmp_path: Path, codec, cells):
    """The second time no cell is asked for; a store of another size is made anew."""
    asked = 0

    def given(missing: Sequence[int]) -> Iterable[tuple[int, Cell]]:
        nonlocal asked
        asked += 1
        return ((0, Cell(cell, f"row {n}")) for n, cell in enumerate(cells))

    def column() -> ValueColumn:
        [found] = all_cached([WantedValues("key", codec)], given, tmp_path)
        assert isinstance(found, ValueColumn) and isinstance(found.values, np.memmap)
        assert np.array_equal(found.values, ValueColumn.of(cells, codec).values)
        return found

    assert column().identity == column().identity == ValueColumn.of(cells, codec).identity
    assert asked == 1
    [values] = tmp_path.glob("columns/*/values.bin")
    values.write_bytes(b"short")
    column()
    assert asked == 2
    assert not list(tmp_path.glob("columns/*.building"))


def test_texts_and_values_are_made_in_one_pass(tmp_path: Path, tokenizer: Tokenizer):
    """Rows stay together, also where a text gives no token."""
    passes = 0
    rows = [*zip(TEXTS, ["a", "b", "b", "a"], strict=True), ("", "b")]

    def given(missing: Sequence[int]) -> Iterable[tuple[int, str | Cell]]:
        nonlocal passes
        passes += 1
        for n, (text, label) in enumerate(rows):
            yield 0, text
            yield 1, Cell(label, f"row {n}")

    texts, labels = all_cached(
        [Wanted("key", tokenizer, keep_empty=True), WantedValues("key", Labels(("a", "b")))], given, tmp_path
    )
    assert passes == 1 and isinstance(texts, Corpus)
    assert texts.n_rows == labels.n_rows == 5
    assert labels.values.tolist() == [0, 1, 1, 0, 1]
    assert texts.with_beside({"label": labels}).identity != texts.identity


def test_a_cell_that_is_no_value_leaves_no_store(tmp_path: Path):
    with pytest.raises(UsageError, match="'four' is no number"):
        all_cached([WantedValues("key", Numbers())], lambda missing: [(0, Cell("four", "a.csv, line 2"))], tmp_path)
    assert not list(tmp_path.glob("columns/*"))


def test_three_roles_of_one_table(tmp_path: Path):
    """Two texts and a number: the texts as pairs are chosen, the number by its name, or as the only one."""
    file = tmp_path / "pairs.jsonl"
    rows = [{"n": n, "one": text, "other": text[::-1], "score": n / 2} for n, text in enumerate(TEXTS * 3)]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    data = DataConfig(train=str(file), columns=Columns(source="one", target="other"))
    layout = layout_for(data, ("source", "target", "number"))
    assert layout.column_of("number") == "score"
    found = list(read_rows(str(file), ("source", "target", "number"), None, layout))
    assert [row.cells for row in found] == [(row["one"], row["other"], row["score"]) for row in rows]
    assert found[3].place == f"{file}, line 4"
    named = layout_for(data.model_copy(update={"columns": Columns(number="n")}), ("source", "target", "number"))
    assert named.column_of("number") == "n"


def test_a_label_that_cannot_be_found_names_the_key(tmp_path: Path):
    """Of several columns that look like labels none is guessed."""
    file = tmp_path / "a.csv"
    lines = [f"{text},{('low', 'high')[n % 2]},{'ab'[n % 2]}" for n, text in enumerate(TEXTS * 3)]
    file.write_text("\n".join(["words,stars,kind", *lines]) + "\n")
    with pytest.raises(UsageError, match="not clear which column holds the label") as error:
        layout_for(DataConfig(train=str(file)), ("text", "label"))
    assert "data.columns.label" in error.value.mend
    layout = layout_for(DataConfig(train=str(file), columns=Columns(label="stars")), ("text", "label"))
    assert (layout.column_of("text"), layout.column_of("label")) == ("words", "stars")
    assert any("'stars' is the label" in line for line in layout.said())


def test_labelled_rows_are_not_learned_as_texts_without_a_word(tmp_path: Path):
    """The way to learn them is named."""
    file = tmp_path / "a.csv"
    file.write_text("\n".join(["sentence,mood", *(f"{text},{'ab'[n % 2]}" for n, text in enumerate(TEXTS * 3))]) + "\n")
    [said] = layout_for(DataConfig(train=str(file))).said()
    assert "left out, since they look like labels: 'mood'" in said and "objective.name=classification" in said


def test_labels_may_lie_in_a_file_of_their_own(tmp_path: Path):
    """Line by line, as targets do; the line without a partner is named."""
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    (tmp_path / "a.labels").write_text("a\nb\nb\na\n")
    found = list(read_rows(str(tmp_path / "a.txt"), ("text", "label"), str(tmp_path / "a.labels")))
    assert [row.cells for row in found] == list(zip(TEXTS, "abba", strict=True))
    (tmp_path / "a.labels").write_text("a\nb\n")
    with pytest.raises(UsageError, match=r"line 3 of a\.txt has no partner"):
        list(read_rows(str(tmp_path / "a.txt"), ("text", "label"), str(tmp_path / "a.labels")))
