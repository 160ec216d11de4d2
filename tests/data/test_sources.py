import json
import random
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.data import builtin
from glassformer.data.data_config import DataConfig
from glassformer.data.layout_choice import layout_for
from glassformer.data.sources import fingerprint, read_documents
from glassformer.data.splitting import split
from glassformer.errors import GlassformerError, UsageError


def _write(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def _read(source, **settings) -> list[str]:
    """The documents, where a recipe has these settings."""
    return list(read_documents(source, layout_for(DataConfig(train=source, **settings))))


# --- text -----------------------------------------------------------------------------------------


def test_a_text_is_cut_into_lines_paragraphs_or_nothing(tmp_path):
    source = _write(tmp_path / "a.txt", "\ufeffone\r\n two \r\n\r\n   \nthrée\n")
    assert _read(source, document="line") == ["one", " two ", "thrée"]
    assert _read(source, document="blank_line") == ["one\n two ", "thrée"]
    assert _read(source, document="file") == ["one\n two \n\n   \nthrée"]


@pytest.mark.parametrize(("n_paragraphs", "expected"), [(19, 38), (20, 20)])
def test_auto_takes_paragraphs_from_twenty_on(tmp_path, n_paragraphs, expected):
    source = _write(tmp_path / "a.txt", "\n \n".join(f"first {i}\nsecond {i}" for i in range(n_paragraphs)))
    assert len(_read(source)) == expected


def test_a_pattern_says_where_documents_begin(tmp_path):
    """Headings, as WikiText-2 has them. What stands before the first is a document; blank lines are none."""
    source = _write(tmp_path / "a.txt", " \nbefore\n = One = \n\n text \r\n = = Part = = \nmore\n = Two = \nend\n")
    found = ["before", " = One = \n text \n = = Part = = \nmore", " = Two = \nend"]
    assert _read(source, document_start="^ = [^=]+ = $") == found
    assert _read((source, source), document_start="^ = [^=]+ = $") == found * 2


def test_each_file_and_each_source_begins_a_document(tmp_path):
    """Also one in which the pattern is not found, as long as it is found in another of the same folder."""
    _write(tmp_path / "a.txt", "# a\none\n# b\ntwo")
    _write(tmp_path / "b.txt", "three\nfour")
    assert _read(str(tmp_path), document_start="^#") == ["# a\none", "# b\ntwo", "three\nfour"]
    assert _read(str(tmp_path), document_start="[ab]$") == ["# a\none", "# b\ntwo", "three\nfour"]


def test_rows_are_grouped_by_a_pattern_too(tmp_path, monkeypatch):
    """A row is a line, and one that holds several lines is several."""
    rows = [{"text": text} for text in (" = One = \n", "", "text\n", " = Two = \n", "more\n = Three = \nend\n")]
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda *args, **kwargs: rows))
    expected = [" = One = \ntext", " = Two = \nmore", " = Three = \nend"]
    assert _read("hub:a/b", document_start="^ = [^=]+ = $") == expected
    lines = _write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert _read(lines, document_start="^ = [^=]+ = $") == expected


def test_a_pattern_that_cannot_be_or_is_nowhere_is_an_error(tmp_path):
    source = _write(tmp_path / "a.txt", "Chapter 1\ntext\n")
    with pytest.raises(UsageError, match=r"data\.document_start='\(' is no regular expression: missing \)"):
        _read(source, document_start="(")
    with pytest.raises(UsageError, match=r"'\^Part ' is found in no line of .*a\.txt\nthe first line is 'Chapter 1'"):
        _read(source, document_start="^Part ")
    with pytest.raises(UsageError, match=r"data\.document=line and data\.document_start are both given"):
        _read(source, document="line", document_start="^Chapter ")
    with pytest.raises(UsageError, match="is empty: it holds no text"):
        _read(_write(tmp_path / "b.txt", " \n\n"), document_start="^Chapter ")


def test_an_unknown_suffix_is_text_and_no_final_newline_is_needed(tmp_path):
    assert _read(_write(tmp_path / "notes.md", "one\ntwo")) == ["one", "two"]


def test_a_missing_file_names_the_nearest(tmp_path):
    _write(tmp_path / "novel.txt", "x")
    with pytest.raises(UsageError, match=r"there is no file .*novell\.txt\ndid you mean '.*novel\.txt'"):
        _read(str(tmp_path / "novell.txt"))
    with pytest.raises(UsageError, match=r"holds: novel\.txt"):
        _read(str(tmp_path / "zzzzzz"))
    with pytest.raises(UsageError, match=r"no folder .* either"):
        _read(str(tmp_path / "nowhere" / "a.txt"))


@pytest.mark.parametrize("content", ["", "\n  \n\t\n"])
@pytest.mark.parametrize("suffix", ["txt", "json", "jsonl", "csv", "tsv"])
def test_an_empty_file_is_an_error(tmp_path, content, suffix):
    with pytest.raises(UsageError, match="is empty: it holds no text"):
        _read(_write(tmp_path / f"a.{suffix}", content))


def test_a_binary_file_is_named_with_the_byte(tmp_path):
    with pytest.raises(UsageError, match="binary: a NUL byte at byte 7"):
        _read(_write(tmp_path / "a.bin", b"abc\nabc\0abc"))


def test_a_file_that_is_not_utf_8_is_named_with_the_byte(tmp_path):
    with pytest.raises(UsageError, match="not UTF-8: byte 0xE9 at byte 7"):
        _read(_write(tmp_path / "a.txt", b"abc\ncaf" + "é\n".encode("latin-1")))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_utf_16_file_is_recognised(tmp_path, encoding):
    with pytest.raises(UsageError, match="begins with a UTF-16 mark"):
        _read(_write(tmp_path / "a.txt", "\ufeffabc\n".encode(encoding)))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1)))
def test_every_line_that_is_not_blank_comes_back(tmp_path_factory, lines):
    lines = [line.removeprefix("\ufeff") for line in lines]
    expected = [line for line in lines if line and not line.isspace()]
    source = _write(tmp_path_factory.mktemp("lines") / "a.txt", "\n".join(lines))
    if expected:
        assert _read(source, document="line") == expected


# --- folders and globs ----------------------------------------------------------------------------


def test_a_folder_is_read_in_order_and_only_what_is_known(tmp_path):
    _write(tmp_path / "b.txt", "b")
    _write(tmp_path / "a" / "z.jsonl", '{"text": "az"}')
    _write(tmp_path / "image.png", b"\0")
    _write(tmp_path / ".hidden" / "c.txt", "hidden")
    _write(tmp_path / "empty.txt", "")
    assert _read(str(tmp_path)) == ["az", "b"]
    assert _read(str(tmp_path / "*.txt")) == ["b"]
    assert _read(str(tmp_path / "**" / "z*")) == ["az"]
    assert _read((str(tmp_path / "b.txt"), str(tmp_path / "a"))) == ["b", "az"]


def test_a_folder_or_glob_without_text_is_an_error(tmp_path):
    _write(tmp_path / "image.png", b"\0")
    with pytest.raises(UsageError, match=r"holds no file ending in \.txt .*it holds: image\.png"):
        _read(str(tmp_path))
    with pytest.raises(UsageError, match=r"no file matches .*\*\.txt"):
        _read(str(tmp_path / "*.txt"))


# --- rows -----------------------------------------------------------------------------------------


def test_jsonl_takes_the_named_the_usual_or_the_only_text_column(tmp_path):
    rows = [{"title": "t1", "text": "one"}, {"title": "t2", "text": None}, {"title": "t3", "text": "two"}]
    source = _write(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert _read(source) == ["one", "two"]
    assert _read(source, column="title") == ["t1", "t2", "t3"]
    assert _read(_write(tmp_path / "b.jsonl", '{"id": 3, "quote": "q"}')) == ["q"]


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ('{"text": "x"', None, r"a\.jsonl, line 2 is broken JSON"),
        ("[" * 100_000, None, r"a\.jsonl, line 2 is broken JSON"),
        ('"x"', None, r"a\.jsonl, line 2 is no JSON object"),
        ('{"txt": "x"}', None, r"line 2 has no column 'text'\ndid you mean 'txt'"),
        ('{"text": ["x", 3]}', None, r"line 2: column 'text' holds no text but a list"),
        (
            r'{"text": "ab\ud800"}',
            None,
            r"line 2: column 'text' holds a lone surrogate, U\+D800, at character 2",
        ),
    ],
)
def test_a_broken_jsonl_line_is_named(tmp_path, line, column, message):
    with pytest.raises(UsageError, match=message):
        _read(_write(tmp_path / "a.jsonl", f'{{"text": "x"}}\n{line}\n'), column=column)


def test_columns_that_are_not_clear_are_listed(tmp_path):
    source = _write(tmp_path / "a.jsonl", '{"question": "x", "answer": "y", "id": 3}')
    with pytest.raises(UsageError, match=r"not clear .* 'question', 'answer', 'id'\nset data.column"):
        _read(source)
    with pytest.raises(UsageError, match="no column 'anwser'\ndid you mean 'answer'"):
        _read(source, column="anwser")


def test_csv_with_a_header_and_quotes(tmp_path):
    content = 'id,text\n1,"a, ""b"""\n2,"two\nlines"\n'
    assert _read(_write(tmp_path / "a.csv", content)) == ['a, "b"', "two\nlines"]
    assert _read(_write(tmp_path / "a.csv", content), column="id") == ["1", "2"]
    assert _read(_write(tmp_path / "b.csv", "review;label\nfilm, good;1\n")) == ["film, good"]


def test_tsv_without_a_header(tmp_path):
    source = _write(tmp_path / "a.tsv", 'a "good film\t1\na bad film\t0\n')
    assert _read(source) == ['a "good film', "a bad film"]
    assert _read(source, column="0") == ['a "good film', "a bad film"]
    assert _read(source, column="1") == ["1", "0"]
    assert _read(_write(tmp_path / "a.csv", 'a "good film\t1\n')) == ['a "good film']


def test_csv_columns_that_are_missing_or_not_clear_are_listed(tmp_path):
    source = _write(tmp_path / "a.csv", "left,right\nx,y\n")
    with pytest.raises(UsageError, match=r"not clear .* 'left', 'right'"):
        _read(source)
    with pytest.raises(UsageError, match="no column 'text'; the columns are 'left', 'right'"):
        _read(source, column="text")
    with pytest.raises(UsageError, match="no column '7'"):
        _read(source, column="7")


@pytest.mark.parametrize("broken", ["3", '"not closed,1\n', '"x"y,1'])
def test_a_broken_csv_row_is_named(tmp_path, broken):
    with pytest.raises(UsageError, match=r"a\.csv, line [34] is broken"):
        _read(_write(tmp_path / "a.csv", f"id,text\n1,one\n{broken}\n"))


def test_a_cell_may_be_as_long_as_an_article_but_not_endless(tmp_path):
    assert len(_read(_write(tmp_path / "a.csv", "text\n" + "x" * 200_000))[0]) == 200_000
    with pytest.raises(UsageError, match=r"line 2 is broken: field larger than field limit"):
        _read(_write(tmp_path / "a.csv", "text\n" + "x" * (2**24 + 1)))


def test_csv_is_checked_for_utf_8(tmp_path):
    with pytest.raises(UsageError, match="not UTF-8: byte 0xE9 at byte 5"):
        _read(_write(tmp_path / "a.csv", b"text\n\xe9\n"))


def test_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    def write(name: str, columns: dict) -> str:
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / name)
        return str(tmp_path / name)

    assert _read(write("a.parquet", {"n": [1, 2, 3], "words": ["x", None, "y"]})) == ["x", "y"]
    with pytest.raises(UsageError, match=r"not clear .* 'a', 'b'"):
        _read(write("b.parquet", {"a": ["x"], "b": ["y"]}))
    with pytest.raises(UsageError, match="no column 'c'; the columns are 'a', 'b'"):
        _read(str(tmp_path / "b.parquet"), column="c")
    with pytest.raises(UsageError, match="holds no text but a int"):
        _read(str(tmp_path / "a.parquet"), column="n")
    with pytest.raises(UsageError, match="no whole parquet file"):
        _read(_write(tmp_path / "c.parquet", b"PAR1 and no more"))


# --- not files ------------------------------------------------------------------------------------


def test_the_builtin_corpus():
    assert _read("builtin:facts/train") == builtin.sentences("facts", "train")
    assert _read("builtin:facts/heldout") == builtin.sentences("facts", "heldout")
    with pytest.raises(UsageError, match="write builtin:facts/train"):
        _read("builtin:facts")
    with pytest.raises(UsageError, match="did you mean 'facts'"):
        _read("builtin:fakts/train")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("hub:a/b", ("a/b", None, "train")),
        ("hub:a/b:c", ("a/b", "c", "train")),
        ("hub:a/b:validation", ("a/b", None, "validation")),
        ("hub:a/b:test[:10%]", ("a/b", None, "test[:10%]")),
        ("hub:a/b:c:d", ("a/b", "c", "d")),
        ("hub:a/b::d", ("a/b", None, "d")),
    ],
)
def test_a_hub_name_says_configuration_and_split(monkeypatch, name, asked):
    calls = []

    def load_dataset(path, config, split):
        calls.append((path, config, split))
        return [{"text": "one"}, {"text": ""}, {"text": "two"}]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert _read(name) == ["one", "two"]
    assert set(calls) == {asked}  # once to look into it, once to read it


@pytest.mark.parametrize("name", ["hub:", "hub:a", "hub:a/", "hub:a/b/c", "hub:a/b:c:d:e"])
def test_a_wrong_hub_name_is_an_error(name):
    with pytest.raises(UsageError, match=r"write hub:OWNER/NAME\[:CONFIG\]\[:SPLIT\]"):
        _read(name)


def test_a_hub_that_fails_says_why(monkeypatch):
    def load_dataset(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(GlassformerError, match="hub:a/b cannot be loaded from the hub: no route"):
        _read("hub:a/b")


# --- fingerprint and split ------------------------------------------------------------------------


def test_the_fingerprint_follows_content_and_settings_and_nothing_else(tmp_path):
    one, same, other = (_write(tmp_path / n, c) for n, c in [("1.txt", "x"), ("2.txt", "x"), ("3.txt", "y")])
    table = _write(tmp_path / "4.csv", "x")
    prints = [
        fingerprint(one),
        fingerprint(other),
        fingerprint(table),
        fingerprint(one, column="text"),
        fingerprint(one, document="file"),
        fingerprint(one, document_start="x"),
        fingerprint((one, other)),
        fingerprint((other, one)),
        fingerprint(str(tmp_path)),
        fingerprint("builtin:facts/train"),
        fingerprint("builtin:facts/heldout"),
        fingerprint("hub:a/b"),
        fingerprint("hub:a/b:test"),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint(one) == fingerprint(same) == fingerprint(str(tmp_path / "1*"))
    assert fingerprint("hub:a/b") == fingerprint("hub:a/b:train")
    with pytest.raises(UsageError, match="there is no file"):
        fingerprint(str(tmp_path / "missing"))


@given(st.integers(2, 60), st.floats(0.001, 0.999), st.integers(0, 2**32))
def test_a_split_loses_and_repeats_nothing(n, share, seed):
    documents = [f"document {i}" for i in range(n)]
    train, validation = split(documents, share, seed)
    assert train and validation
    assert sorted(train + validation) == sorted(documents)
    assert train == sorted(train, key=documents.index) and validation == sorted(validation, key=documents.index)
    assert abs(len(validation) - share * n) <= 1
    assert split(documents, share, seed) == (train, validation)


@given(st.lists(st.integers(0, 6), min_size=2, max_size=60), st.floats(0.05, 0.9), st.integers(0, 99))
def test_equal_documents_stay_on_one_side(numbers, share, seed):
    """Otherwise what is held out would have been trained on. Nothing is lost, and both sides have something."""
    documents = [f"document {n}" for n in numbers]
    if len(set(documents)) < 2:
        with pytest.raises(UsageError, match="at least 2 different ones"):
            split(documents, share, seed)
        return
    train, validation = split(documents, share, seed)
    assert train and validation and not set(train) & set(validation)
    assert Counter(train + validation) == Counter(documents)


def test_another_seed_holds_out_other_documents():
    documents = [str(i) for i in range(100)]
    assert split(documents, 0.1, 1) != split(documents, 0.1, 2)
    assert split(documents, 0.1, 1)[1] != documents[:10]  # not simply the beginning


@pytest.mark.parametrize("documents", [[], ["one"]])
def test_a_text_too_short_to_split_is_an_error(documents):
    with pytest.raises(UsageError, match=f"a text too short: {len(documents)} document"):
        split(documents, 0.1, 1)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_outside_0_to_1_is_an_error(share):
    with pytest.raises(UsageError, match="share of documents to hold out is"):
        split(["a", "b"], share, 1)


def test_the_configuration_takes_one_source_or_several():
    assert DataConfig(train="a.txt").train == "a.txt"
    assert DataConfig.model_validate({"train": ["a.txt", "b.txt"]}).train == ("a.txt", "b.txt")
    assert all(field.description for field in DataConfig.model_fields.values())


def test_any_bytes_are_either_text_or_a_clear_error(tmp_path):
    random.seed(7)
    for suffix in ("txt", "json", "jsonl", "csv", "tsv", "parquet"):
        for _ in range(20):
            source = _write(tmp_path / f"a.{suffix}", random.randbytes(31))
            try:
                _read(source)
            except UsageError as error:
                assert error.mend


def test_a_csv_row_with_more_cells_is_refused_and_not_cut(tmp_path: Path) -> None:
    """A comma outside quotation marks would lose what follows it; inside them it is text."""
    file = tmp_path / "a.csv"
    file.write_text("text\nOne, two, three\nfour\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 2 is broken: 3 columns") as raised:
        list(read_documents(str(file)))
    assert "quotation marks" in raised.value.mend
    file.write_text('text\n"One, two, three"\nfour\n', encoding="utf-8")
    assert list(read_documents(str(file))) == ["One, two, three", "four"]


def test_parquet_that_holds_no_utf_8_is_a_clear_error(tmp_path: Path) -> None:
    """Not a traceback."""
    import pyarrow
    import pyarrow.parquet

    bytes_as_text = pyarrow.array([b"good", b"\xff\xfe"]).cast(pyarrow.string(), safe=False)
    pyarrow.parquet.write_table(pyarrow.table({"text": bytes_as_text}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"a\.parquet is no whole parquet file"):
        list(read_documents(str(tmp_path / "a.parquet")))


def test_a_home_that_does_not_exist() -> None:
    """`~nobody/x` is an error in words."""
    with pytest.raises(UsageError, match=r"there is no such user"):
        list(read_documents("~no-such-user-here/a.txt"))
