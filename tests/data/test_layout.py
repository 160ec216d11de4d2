"""One choice for a run: what a document is, and how a table is read; said, with the way to say otherwise."""

import json
from pathlib import Path

import pytest

from glassformer.data.data_config import DataConfig, decided
from glassformer.data.layout import Layout, all_have_cells, are_labelled, spread
from glassformer.data.layout_choice import layout_for, layout_of
from glassformer.data.roles import PAIR, TEXT
from glassformer.data.rows import Pair, read_pairs
from glassformer.data.sources import read_documents
from glassformer.data.splitting import split_end
from glassformer.errors import UsageError

TEXTS = ["the sun is red today", "a cold star", "far and near are words here", "the old moon was small", "so it is"] * 5


def write(folder: Path, name: str, lines: list[str]) -> str:
    file = folder / name
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


def read(source: str, pairs: bool = False, **settings) -> tuple[list, list[str]]:
    """What is read, and what is said."""
    layout = layout_for(DataConfig(train=source, **settings), PAIR if pairs else TEXT)
    return list(read_pairs(source, None, layout) if pairs else read_documents(source, layout)), layout.said()


# --- one choice -----------------------------------------------------------------------------------


def test_a_folder_of_short_files_is_cut_alike(tmp_path):
    """Paragraphs are counted over all files; files without a blank line are lines, however many there are."""
    for number in range(12):
        write(tmp_path / "essays", f"{number}.txt", ["one", "two", "", "three", "four", "", "five"])
        write(tmp_path / "lists", f"{number}.txt", ["one", "two"])
    assert len(read(str(tmp_path / "essays"))[0]) == 36
    documents, said = read(str(tmp_path / "lists"))
    assert len(documents) == 24
    assert said == [
        "0.txt and 11 more: a text is a line (say otherwise with data.document=blank_line or file, or "
        "data.document_start=PATTERN)"
    ]


def test_validation_has_the_columns_of_training(tmp_path):
    """Though by itself it would be read otherwise."""
    train = write(tmp_path, "train.csv", ["a,b", *(f"{n},{text}" for n, text in enumerate(TEXTS))])
    other = write(tmp_path, "valid.csv", ["a,b", "one two three four,5", "six seven eight nine,10"])
    layout = layout_for(DataConfig(train=train, validation=other))
    assert list(read_documents(other)) == ["one two three four", "six seven eight nine"]
    assert list(read_documents(other, layout)) == ["5", "10"]


def test_what_training_leaves_open_validation_decides(tmp_path):
    train = write(tmp_path, "train.txt", TEXTS)
    other = write(
        tmp_path, "valid.jsonl", [json.dumps({"id": f"r-{n}", "words": text}) for n, text in enumerate(TEXTS)]
    )
    layout = layout_for(DataConfig(train=train, validation=other))
    assert (layout.document, layout.column) == ("line", "words")
    assert list(read_documents(other, layout)) == list(read_documents(train, layout)) == TEXTS


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.txt", TEXTS),
        ("a.csv", ["n;words", *(f"{n};{text}" for n, text in enumerate(TEXTS))]),
        ("a.jsonl", [json.dumps({"id": "x", "words": text}) for text in TEXTS]),
        ("a.conll", [line for text in TEXTS for line in (*(f"{word}\tO" for word in text.split()), "")]),
        ("b.txt", [f"{text}\t{n % 2}" for n, text in enumerate(TEXTS)]),
    ],
)
def test_what_was_chosen_can_be_written_down(tmp_path, name, lines):
    """The section of the recipe with the choices reads the same, says nothing, and needs no look into the text."""
    file = write(tmp_path, name, lines)
    data = DataConfig(train=file)
    layout = layout_for(data)
    assert list(read_documents(file, layout)) == TEXTS
    assert len(layout.said()) == 1 and "say otherwise with data." in layout.said()[0]
    resolved = decided(data, layout)
    Path(file).rename(tmp_path / "away")
    again = layout_for(resolved)
    (tmp_path / "away").rename(file)
    assert again == layout and again.said() == []
    assert list(read_documents(file, again)) == TEXTS


def test_a_choice_is_not_made_from_one_file(tmp_path):
    """The first of the files is unlike the others: a null, a short list."""
    for number in range(5):
        rows = [{"id": f"r-{n}", "words": text if number else None} for n, text in enumerate(TEXTS)]
        write(tmp_path, f"{number}.jsonl", list(map(json.dumps, rows)))
    assert read(str(tmp_path))[0] == TEXTS * 4


def test_any_pattern_of_names_is_looked_into(tmp_path):
    """Also one that does not say what kind of files they are."""
    write(tmp_path, "a.csv", ["n,words", *(f"{n},{text}" for n, text in enumerate(TEXTS))])
    resolved = decided(DataConfig(train=str(tmp_path / "*.*")), Layout(document="line"))
    for name in ("*", "*.*", "a.c*", "*.csv", "?.csv"):
        assert read(str(tmp_path / name))[0] == TEXTS
        assert layout_for(resolved.model_copy(update={"train": str(tmp_path / name)})).column == "words"


def test_rows_without_any_text_are_an_error_in_words(tmp_path):
    for lines in (["{}", "{}"], ['{"n": 1}'], ['{"n": {}}'], ['{"n": null}']):
        with pytest.raises(UsageError, match="it is not clear which column holds the text"):
            read(write(tmp_path, "a.jsonl", lines))


def test_empty_files_between_others_do_no_harm(tmp_path):
    for number in range(9):
        write(tmp_path, f"{number}.csv", [] if number % 2 else ["n,words", *(f"{n},{t}" for n, t in enumerate(TEXTS))])
    assert read(str(tmp_path))[0] == TEXTS * 5


# --- tables ---------------------------------------------------------------------------------------


def test_a_header_is_one_for_documents_and_pairs_alike(tmp_path):
    """With an index that has no name; in csv and tsv; and what was taken as header is said."""
    for name, d in (("a.csv", ","), ("a.tsv", "\t")):
        file = write(tmp_path, name, [f"{d}english", *(f"{n}{d}{text}" for n, text in enumerate(TEXTS))])
        documents, said = read(file)
        assert documents == TEXTS and "column 'english' of '0', 'english'" in said[0]
        assert "the first row is taken as header (say otherwise with data.column=NAME, data.header=false)" in said[0]
        pairs = write(tmp_path, name, [f"english{d}french", *(f"{text}{d}{text[::-1]}" for text in TEXTS)])
        found, said = read(pairs, pairs=True)
        assert found == [Pair(text, text[::-1]) for text in TEXTS]
        assert "columns 'english' and 'french' of 'english', 'french', the first row is taken as header" in said[0]
        assert len(read(pairs, pairs=True, header=False)[0]) == len(TEXTS) + 1
        assert len(read(pairs, column="1", header=True)[0]) == len(TEXTS)


def test_files_with_and_without_a_header_are_refused_together(tmp_path):
    write(tmp_path, "a.csv", ["n,words", *(f"{n},{text}" for n, text in enumerate(TEXTS))])
    write(tmp_path, "b.csv", [f"{n},{text}" for n, text in enumerate(TEXTS)])
    with pytest.raises(UsageError, match=r"a\.csv looks like a header, and that of .*b\.csv does not") as raised:
        read(str(tmp_path))
    assert "data.header=false" in raised.value.mend
    write(tmp_path, "b.csv", [f"{n}\t{text}" for n, text in enumerate(TEXTS)])
    with pytest.raises(UsageError, match=r"a\.csv has ',' between its cells, and .*b\.csv has 'tab'"):
        read(str(tmp_path))


def test_the_delimiter_is_found_or_given(tmp_path):
    """A given one makes a table of any text."""
    rows = [f"F{n}|said, and said, {n}|{text}" for n, text in enumerate(TEXTS)]
    bars = write(tmp_path, "a.csv", rows)
    documents, said = read(bars, column="2")
    assert documents == TEXTS and "parted by '|', no header found" in said[0]
    notes = write(tmp_path, "a.txt", rows)
    assert read(notes)[0] == rows
    assert read(notes, delimiter="|", column="2")[0] == TEXTS
    tabs = write(tmp_path, "b.txt", [f"{text}\t{text[::-1]}" for text in TEXTS])
    assert read(tabs, delimiter="tab", column="0")[0] == TEXTS
    assert read(tabs, pairs=True)[0] == [Pair(text, text[::-1]) for text in TEXTS]
    for wrong in ("", ";;", "\n"):
        with pytest.raises(ValueError, match="delimiter"):
            DataConfig(train="a.csv", delimiter=wrong)


def test_one_row_of_another_length_is_an_error_with_its_line(tmp_path):
    file = write(tmp_path, "a.csv", [f"F{n}|{text}" for n, text in enumerate(TEXTS)] + ["F25|one|two"])
    with pytest.raises(UsageError, match=r"a\.csv, line 26 is broken: 3 columns, and most rows have 2"):
        read(file)


def test_lists_of_texts_are_joined_and_that_is_said(tmp_path):
    """Of several targets, which are all right ones, the first is taken."""
    rows = [{"source": text.split(" ", 1), "target": [text[::-1], "other"]} for text in TEXTS]
    file = write(tmp_path, "a.jsonl", list(map(json.dumps, rows)))
    assert read(file, column="source")[0] == TEXTS
    only = write(tmp_path, "b.jsonl", [json.dumps({"n": 1, "words": row["source"]}) for row in rows])
    documents, said = read(only)
    assert documents == TEXTS and "the texts of a list are joined with spaces" in said[0]
    found, said = read(file, pairs=True)
    assert found == [Pair(text, text[::-1]) for text in TEXTS]
    assert "of 'target' the first text is taken" in said[0]


# --- labels and tags ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv"])
@pytest.mark.parametrize("labels", [("0", "1"), ("good", "very bad"), ("POS", "NEG", "NEUTRAL")])
def test_labels_are_left_out_and_that_is_said(tmp_path, name, labels):
    file = write(tmp_path, name, [f"{text}\t{labels[n % len(labels)]}" for n, text in enumerate(TEXTS)])
    documents, said = read(file)
    assert documents == TEXTS
    assert "left out, since they look like labels: '1'" in said[0]
    file = write(tmp_path, name, [f"{labels[n % len(labels)]}\t{text}" for n, text in enumerate(TEXTS)])
    assert read(file)[0] == TEXTS
    if name == "a.txt":
        whole, said = read(file, document="line")
        assert whole[0] == f"{labels[0]}\t{TEXTS[0]}" and said == []


def test_plain_texts_with_tabs_are_not_labelled():
    """Indented, aligned, a list of words and what they mean, a label here and there."""
    assert are_labelled([f"{text}\t{n % 2}" for n, text in enumerate(TEXTS)])
    for lines in (
        [f"\t{text}" for text in TEXTS],
        [f"{text}\t{text[::-1]}" for text in TEXTS],
        [f"{text}\t{n % 2}" if n % 5 else text for n, text in enumerate(TEXTS)],
        [f"{text}\t\t{n % 2}" if n % 5 else f"{text}\t1" for n, text in enumerate(TEXTS)],
        [f"{n}\t{n % 2}" for n in range(50)],
        [f"{text}\t1" for text in TEXTS[:10]],
        ["def f(x):", "\treturn x"] * 20,
    ):
        assert not are_labelled(lines)
    assert not all_have_cells([]) and not all_have_cells(TEXTS)


def test_tagged_files_are_read_as_sentences_and_that_is_said(tmp_path):
    lines = [line for text in TEXTS for line in (*(f"{word}\tO" for word in text.split()), "")]
    for name in ("a.conll", "a.tsv", "a.txt"):
        documents, said = read(write(tmp_path, name, lines))
        assert documents == TEXTS
        assert "rows of tagged tokens (CoNLL)" in said[0] and "the tags are left out" in said[0]
    assert read(str(tmp_path / "a.txt"), document="line")[0] == [line for line in lines if line]
    write(tmp_path, "b.txt", TEXTS)
    with pytest.raises(UsageError, match=r"a\.txt looks like rows of tagged tokens \(CoNLL\), and b\.txt does not"):
        read(str(tmp_path / "*.txt"))


# --- a single text --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "border"),
    [("\n".join(["a b c d e f g h i"] * 20), "\n"), (" ".join(["words"] * 60), " "), ("前山鸟路楼" * 30, None)],
)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_the_end_of_a_text_is_held_out(text, border, share):
    """Where a line begins, else a word, else anywhere; nothing is lost, and the share is about what was asked."""
    train, validation = split_end(text, share)
    assert train + validation == text and train and validation
    assert abs(len(validation) / len(text) - share) <= max(0.25 * min(share, 1 - share), 0.02)
    assert border is None or (train.endswith(border) and not validation.startswith(border))


def test_a_text_too_short_to_cut_is_refused():
    assert split_end("ab", 0.1) == ("a", "b")
    for text in ("a", " a", "a "):
        with pytest.raises(UsageError, match="too short"):
            split_end(text, 0.1)


# --- the rest -------------------------------------------------------------------------------------


def test_samples_are_spread_evenly():
    assert spread(range(3), 5) == [0, 1, 2] and spread(range(1000), 3) == [0, 500, 999]
    assert len({*spread(range(100), 32)}) == 32


def test_a_large_file_is_looked_into_only_at_its_beginning(tmp_path, monkeypatch):
    """A million lines of one word are read once, when they are read."""
    file = tmp_path / "a.txt"
    file.write_text("word\n" * 1_000_000, encoding="utf-8")
    from glassformer.data import layout_choice

    taken = 0
    real = layout_choice.read_lines

    def counted(path):
        nonlocal taken
        for line in real(path):
            taken += 1
            yield line

    monkeypatch.setattr(layout_choice, "read_lines", counted)
    layout = layout_of(str(file), Layout())
    assert layout.document == "line" and 0 < taken <= 20_000
