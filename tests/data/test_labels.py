"""Label names: strings as the data have them, sorted; what is wrong is said with its row."""

import json

import pytest

from glassformer.data.labels import Labels
from glassformer.data.table import Cell, Numbers, ValueColumn
from glassformer.errors import GlassformerError, UsageError

STRANGE = ["007", "NA", "true", "very good", "[MASK]", " 7", "né", "7"]


def seen(*values) -> Labels:
    return Labels.seen(Cell(value, f"a.csv, line {n}") for n, value in enumerate(values, start=2))


def test_names_are_kept_as_they_are_written(tmp_path):
    """Each once: no number, truth value or special token is made of them. JSON's own numbers and truth values are
    called as they are written there."""
    labels = seen(*STRANGE, *reversed(STRANGE))
    assert labels.names == tuple(sorted(STRANGE))
    labels.save(tmp_path / "labels.json")
    again = Labels.load(tmp_path / "labels.json")
    assert again.names == labels.names and again.identity == labels.identity
    assert [again.encode(Cell(name)) for name in sorted(STRANGE)] == list(range(len(STRANGE)))
    assert seen(1, True, 0.5).names == ("0.5", "1", "true")


def test_their_order_is_not_that_of_the_rows():
    """Whole numbers by their value, `007` before `7`; all else as texts."""
    assert seen("9", "10", "0", "-1").names == seen("-1", "0", "10", "9").names == ("-1", "0", "9", "10")
    assert seen("7", "007").names == seen("007", "7").names == ("007", "7")
    assert seen("good", "bad", "10").names == seen("10", "bad", "good").names == ("10", "bad", "good")


def test_the_identity_is_of_names_and_order():
    assert len({Labels(names).identity for names in (("a", "b"), ("b", "a"), ("a", "bb"))}) == 3


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_row_without_a_label_is_named(value):
    with pytest.raises(UsageError, match=r"a\.csv, line 3 has no label"):
        seen("a", value, "b")


def test_one_label_is_refused():
    """There is nothing to tell apart."""
    with pytest.raises(UsageError, match="the only label is 'a'"):
        seen("a", "a")
    with pytest.raises(UsageError, match="names the label 'a' twice"):
        Labels.given(("a", "b", "a"))


def test_an_unknown_label_is_refused_with_its_row():
    """And the known ones, the nearest among them."""
    with pytest.raises(
        UsageError, match=r"dev\.csv, line 9: the label 'Positive' does not occur.*'positive', 'no'"
    ) as e:
        Labels(("positive", "no")).encode(Cell("Positive", "dev.csv, line 9"))
    assert "did you mean 'positive'?" in e.value.mend


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"names": ["a"]}', '{"names": ["a", "a"]}', '{"names": ["a", 1]}']
)
def test_a_damaged_file_is_an_error_in_words(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(GlassformerError):
        Labels.load(tmp_path / "labels.json")


def test_numbers_are_numbers():
    """From text and from JSON; anything else is refused with its row."""
    column = ValueColumn.of(["2.5", 3, "-1e3"], Numbers())
    assert column.values.tolist() == [2.5, 3.0, -1000.0]
    for value in ("", "two", "nan", "inf", None, True, [1]):
        with pytest.raises(UsageError, match=r"b\.csv, line 4.*is no number"):
            Numbers().encode(Cell(value, "b.csv, line 4"))


def test_columns_have_as_many_rows():
    numbers = ValueColumn.of([1, 2], Numbers())
    with pytest.raises(ValueError, match="2 rows, and 3"):
        ValueColumn.of([1, 2], Numbers(), {"label": ValueColumn.of([1, 2, 3], Numbers())})
    other = ValueColumn.of([1, 2], Numbers(), {"label": ValueColumn.of(["a", "b"], Labels(("a", "b")))})
    assert numbers.identity != other.identity
    assert json.dumps(other.values.tolist()) == "[1.0, 2.0]"
