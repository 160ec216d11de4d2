"""Pairs of texts: where they come from, which belong together, and what is wrong with a source."""

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from glassformer.data.layout import Layout
from glassformer.data.rows import Pair, builtin_pairs, read_pairs, rows_fingerprint
from glassformer.errors import UsageError

PAIRS = [Pair("ein Hund", "a dog"), Pair("zwei Katzen", "two cats"), Pair("drei, vier", "three, four")]


def write(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_parallel_files_belong_together_line_by_line(tmp_path):
    """A pair of which one half is blank is left out, and the others stay together."""
    source = write(tmp_path, "a.de", "ein Hund\n\nzwei Katzen\nohne\ndrei, vier\n")
    target = write(tmp_path, "a.en", "a dog\nalone\ntwo cats\n \nthree, four\n")
    assert list(read_pairs(source, target)) == PAIRS
    assert list(read_pairs((source, source), (target, target))) == PAIRS * 2


@pytest.mark.parametrize("longer", ["a.de", "a.en"])
def test_the_line_without_a_partner_is_named(tmp_path, longer):
    """Whichever of the files is the longer one."""
    for name in ("a.de", "a.en"):
        write(tmp_path, name, "eins\nzwei\n" + ("drei\nvier\n" if name == longer else ""))
    shorter = {"a.de": "a.en", "a.en": "a.de"}[longer]
    with pytest.raises(UsageError, match=f"line 3 of {longer} has no partner, since {shorter} has only 2 lines"):
        list(read_pairs(str(tmp_path / "a.de"), str(tmp_path / "a.en")))


def test_rows_have_two_columns(tmp_path):
    """tsv without a header, tsv and csv with one, jsonl with known names, with others, and with a field in a field."""
    plain = write(tmp_path, "plain.tsv", "".join(f"{a}\t{b}\n" for a, b in PAIRS))
    noted = write(tmp_path, "noted.tsv", "".join(f"{a}\t{b}\tnote\n" for a, b in PAIRS))
    headed = write(tmp_path, "headed.tsv", "source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS))
    table = write(tmp_path, "named.csv", "n,de,en\n" + "".join(f'1,"{a}","{b}"\n' for a, b in PAIRS))
    lines = write(tmp_path, "a.jsonl", "".join(json.dumps({"n": 1, "en": b, "de": a}) + "\n" for a, b in PAIRS))
    inner = write(
        tmp_path, "b.jsonl", "".join(json.dumps({"translation": {"de": a, "en": b}}) + "\n" for a, b in PAIRS)
    )
    known = write(tmp_path, "c.jsonl", "".join(json.dumps({"answer": b, "question": a}) + "\n" for a, b in PAIRS))
    assert list(read_pairs(plain)) == list(read_pairs(headed)) == PAIRS
    assert list(read_pairs(noted, layout=Layout(column="1", target_column="0"))) == [Pair(b, a) for a, b in PAIRS]
    for place in (table, lines):
        assert list(read_pairs(place, layout=Layout(column="de", target_column="en"))) == PAIRS
    assert list(read_pairs(lines)) == [Pair(b, a) for a, b in PAIRS]  # the only two texts, in their order
    assert list(read_pairs(inner, layout=Layout(column="translation.de", target_column="translation.en"))) == PAIRS
    assert list(read_pairs(known)) == PAIRS


@pytest.mark.parametrize(
    "name, text, columns, message",
    [
        ("a.txt", "one\ntwo\n", (None, None), "a text without targets\n.*data.train_targets"),
        ("a.tsv", "one\ttwo\nthree\n", (None, None), "line 2 is broken: 1 column, and most rows have 2"),
        (
            "a.csv",
            "n,de,en\n1,a,b\n",
            ("de", "eng"),
            "no column 'eng'; the columns are 'n', 'de', 'en'\n.*'en'",
        ),
        ("a.jsonl", '{"a": "x", "b": "y", "c": "z"}\n', (None, None), "not clear which columns .*'a', 'b', 'c'"),
        ("a.jsonl", '{"a": "x", "b": "y"}\n', ("a", "d"), "has no column 'd'|not clear which columns"),
        ("a.tsv", "one\ttwo\tnote\n", (None, None), "not clear which columns hold source and target"),
        ("a.tsv", "one\t \n", (None, None), "holds no pair of texts"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, name, text, columns, message):
    with pytest.raises(UsageError, match=message):
        list(read_pairs(write(tmp_path, name, text), None, Layout(column=columns[0], target_column=columns[1])))


def test_as_many_files_of_targets_as_of_sources(tmp_path):
    file = write(tmp_path, "a.de", "eins\n")
    with pytest.raises(UsageError, match="2 files of sources and 1 of targets"):
        list(read_pairs((file, file), file))


def test_the_fingerprint_changes_when_the_pairs_do(tmp_path):
    """Either side, either column, or a built-in part."""
    one, other = write(tmp_path, "a.de", "eins\n"), write(tmp_path, "a.en", "one\n")
    third = write(tmp_path, "b.en", "won\n")
    seen = [
        rows_fingerprint(one, other),
        rows_fingerprint(one, third),
        rows_fingerprint(third, other),
        rows_fingerprint(one, None),
        rows_fingerprint("builtin:pairs/train", None),
        rows_fingerprint("builtin:pairs/heldout", None),
    ]
    assert len(set(seen)) == len(seen)
    assert seen[0] == rows_fingerprint(one, other)


# ----------------------------------------------------------------------------------------------- the built-in pairs


def builtin(part: str, kind: str = "") -> list[Pair]:
    return list(builtin_pairs(f"builtin:pairs/{part}" + (f"/{kind}" if kind else "")))


def test_there_are_as_many_as_promised():
    """And the kinds together are all."""
    least = {"paraphrase": 200, "answer": 100, "translation": 100}
    for part in ("train", "heldout"):
        assert sum(len(builtin(part, kind)) for kind in least) == len(builtin(part))
    for kind, number in least.items():
        assert len(builtin("train", kind)) >= number and len(builtin("heldout", kind)) >= 20


def test_the_two_pairs_that_the_demo_asks_for_are_in_training():
    assert Pair("AI improves healthcare", "AI enhances medical diagnosis and treatment") in builtin(
        "train", "paraphrase"
    )
    assert Pair("I love dogs", "J'aime les chiens") in builtin("train", "translation")


def test_a_source_occurs_once_and_says_what_is_wanted():
    """No task is named: questions end in a question mark, everything else does not; nothing held out is trained on."""
    everything = builtin("train") + builtin("heldout")
    sources = Counter(pair.source.lower().rstrip("?") for pair in everything)
    assert max(sources.values()) == 1
    for part in ("train", "heldout"):
        questions = set(builtin(part, "answer"))
        for pair in builtin(part):
            assert pair.source.endswith("?") == (pair in questions)


def test_every_word_of_what_is_held_out_occurs_in_training():
    """So that it can be answered from what was learned."""
    for side in (0, 1):
        known, asked = (
            {word for pair in builtin(part) for word in re.findall(r"\w+", pair[side].lower())}
            for part in ("train", "heldout")
        )
        assert asked <= known


def test_the_texts_are_plain():
    """One line, no space too many, no full stop, composed characters; at most 14 words."""
    for text in (text for part in ("train", "heldout") for pair in builtin(part) for text in pair):
        assert text == " ".join(text.split()) == unicodedata.normalize("NFC", text)
        assert len(text.split()) <= 14 and not text.endswith(".")


@pytest.mark.parametrize(
    "name", ["builtin:pairs", "builtin:pair/train", "builtin:pairs/test", "builtin:pairs/train/song"]
)
def test_a_part_that_there_is_not_is_refused(name):
    with pytest.raises(UsageError, match="names no built-in pairs"):
        list(builtin_pairs(name))
