"""How a table is written: delimiter, quotation marks, header; and rows that do not fit."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.data.tables import DELIMITERS, Style, column_names, find_style, header_votes, is_label, table_rows
from glassformer.errors import UsageError

CSV, TSV = Path("a.csv"), Path("a.tsv")


def rows(lines: list[str], style: Style, header: bool = False, file: Path = CSV) -> list[list[str]]:
    return [list(row.values()) for _, row in table_rows(lines, style, header, file)]


# --- delimiter and quotation marks ----------------------------------------------------------------


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("file", [CSV, TSV])
def test_the_delimiter_is_found_from_many_rows(delimiter, file):
    """Also where another one stands in the texts, not in each of them equally often."""
    others = [d for d in DELIMITERS if d != delimiter]
    texts = ["all of it", f"a{others[0]} b{others[1]}", f"and{others[2]} so{others[2]} on", "so"] * 3
    lines = [f"{n}{delimiter}{text}" for n, text in enumerate(texts)]
    style = find_style(lines, file, None, None)
    assert style.delimiter == delimiter
    assert [row[1] for row in rows(lines, style)] == texts


def test_commas_and_spaces_in_every_text_are_no_delimiter():
    """As many commas in each row as in the others, and the bar is it."""
    lines = [f"LJ{n}|well, this is {n}, and so on|well, this is {n}, and so on" for n in range(9)]
    assert find_style(lines, CSV, None, None) == Style("|", False)


@pytest.mark.parametrize(("file", "usual"), [(CSV, ","), (TSV, "\t")])
def test_without_any_the_usual_one_of_the_suffix_is_taken(file, usual):
    lines = ["one", "two, and three", "four; five", "six | seven"]
    assert find_style(lines, file, None, None).delimiter == usual
    assert find_style(lines, file, ";", None).delimiter == ";"  # what a person said stays


@pytest.mark.parametrize("delimiter", ["\t", "|"])
def test_a_lone_quotation_mark_costs_no_row(delimiter):
    """Where it stands at the beginning of a cell, a reader of quotation marks would run to the end of the file."""
    texts = ["plain", '"open and never closed', 'a "word" inside', 'closed only"', "plain"] * 2
    lines = [f"{n}{delimiter}{text}" for n, text in enumerate(texts)]
    style = find_style(lines, CSV, None, None)
    assert style == Style(delimiter, False)
    assert [row[1] for row in rows(lines, style)] == texts


@pytest.mark.parametrize("delimiter", ["\t", "|"])
def test_quotation_marks_enclose_cells_where_the_rows_show_it(delimiter):
    """All texts stand in them; or only so all rows are equally long."""
    all_in = [f'"{n} is"{delimiter}"text {n}"' for n in "abcdef"]
    assert find_style(all_in, CSV, None, None) == Style(delimiter, True)
    assert rows(all_in, Style(delimiter, True))[0] == ["a is", "text a"]
    needed = [f'{n}{delimiter}"one{delimiter}two"' if n % 2 else f"{n}{delimiter}one" for n in range(8)]
    assert find_style(needed, CSV, None, None) == Style(delimiter, True)
    assert find_style(needed, CSV, delimiter, False) == Style(delimiter, False)  # what a person said stays


any_cell = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(st.lists(st.lists(any_cell, min_size=2, max_size=2), min_size=1, max_size=9))
def test_what_was_written_with_quotation_marks_comes_back(table):
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(table)
    found = rows(written.getvalue().split("\n"), Style(",", True))
    assert found == [row for row in table if any(cell and not cell.isspace() for cell in row)]


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", [Style(d, d in ",;") for d in DELIMITERS])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("cells", [1, 3])
def test_a_row_of_another_length_is_named_with_its_line(style, header, cells):
    d = style.delimiter
    lines = [f"a{d}b", f"1{d}one", "", f"2{d}two", d.join("x" * cells), f"3{d}three"]
    usual = "the header has 2" if header else "most rows have 2"
    with pytest.raises(UsageError, match=rf"a\.csv, line 5 is broken: {cells} columns?, and {usual}") as raised:
        rows(lines, style, header)
    assert raised.value.mend
    assert len(rows(lines[:4], style, header)) == 3 - header


def test_a_row_far_behind_the_sample_is_named_too():
    """Most rows are those of the beginning."""
    lines = ["x,y"] * 5000 + ["x,y,z"]
    with pytest.raises(UsageError, match="line 5001 is broken: 3 columns, and most rows have 2"):
        rows(lines, Style(",", True))


def test_a_column_without_a_name_or_with_one_twice_has_its_number():
    assert column_names(["", "text", " label ", "text"]) == ["0", "text", "label", "3"]


# --- header ---------------------------------------------------------------------------------------

TEXTS = ["the sun is red today", "a cold star", "far and near are words here", "the old moon was small", "so it is"]
HEADERS = {
    "a usual name": [["text"], *([text] for text in TEXTS)],
    "an unnamed index": [["", "words"], *([str(n), text] for n, text in enumerate(TEXTS))],
    "no number above numbers": [["words", "stars"], *([text, "3.5"] for text in TEXTS)],
    "a short name above texts": [["english", "french"], *([text, text[::-1]] for text in TEXTS)],
    "a name above labels": [["what", "kind"], *([text, ("good", "bad")[n % 2]] for n, text in enumerate(TEXTS * 4))],
    "one that is not Latin": [["文本", "标签"], *([text, str(n)] for n, text in enumerate(TEXTS))],
}
NO_HEADERS = {
    "a number above numbers": [[text, "1"] for text in TEXTS],
    "a text above texts": [[text, text[::-1]] for text in TEXTS],
    "a label that comes again": [[text, ("good", "bad")[n % 2]] for n, text in enumerate(TEXTS)],
    "lists of words": [[word, word[::-1]] for word in ("sun", "moon", "star", "house", "tree", "ox", "boat")],
    "sorted by length": [["Go.", "Va !"], ["Hi.", "Salut !"], ["Run!", "Cours !"], ["Wait!", "Attends !"]] * 2,
    "a first text that ends in a full stop": [["Yes."], *([text] for text in TEXTS)],
    "file numbers": [["LJ001", TEXTS[0]], ["LJ002", TEXTS[1]]],
}


@pytest.mark.parametrize("table", HEADERS.values(), ids=HEADERS)
def test_a_header_is_seen(table):
    assert header_votes(table) == 1


@pytest.mark.parametrize("table", NO_HEADERS.values(), ids=NO_HEADERS)
def test_what_is_no_header_is_none(table):
    assert header_votes(table) <= 0


def test_labels_are_few_values_that_come_again():
    assert is_label(["good", "bad"] * 8) and is_label([f"{n % 5}" for n in range(40)])
    assert not is_label(TEXTS * 2) and not is_label(["x" * 50, "y" * 50] * 20)
