"""Tagged texts: which files are, and what sentences they hold."""

from pathlib import Path

import pytest

from glassformer.data.tagged import is_tagged, tagged_sentences
from glassformer.errors import UsageError

FILE = Path("a.conll")
SENTENCES = ["Mars is the red planet .", "The sun sets in the west .", "# is a sign , too .", "Ann saw Venus twice ."]


def bio(separator: str, blank: str = "") -> list[str]:
    tags = {"Mars": "B-LOC", "Venus": "B-LOC", "Ann": "B-PER"}
    lines = ["-DOCSTART- O", ""]
    for sentence in SENTENCES:
        lines += [f"{word}{separator}{tags.get(word, 'O')}" for word in sentence.split()] + [blank]
    return lines


def conllu(comments: bool) -> list[str]:
    lines = []
    for sentence in SENTENCES:
        lines += ["# sent_id = 1", f"# text = {sentence.replace(' .', '.')}"] if comments else []
        words = sentence.split()
        lines += [f"{n}\t{word}\t{word}\tX\t_\t_\t0\tdep\t_\t_" for n, word in enumerate(words, 1)] + [""]
    return lines


@pytest.mark.parametrize(
    "lines", [bio("\t"), bio(" "), bio("\t", "\t"), bio("\t_\tN\t"), bio(" _ N "), conllu(False)], ids=range(6)
)
def test_the_tokens_of_a_sentence_are_a_text(lines):
    assert is_tagged(lines)
    assert list(tagged_sentences(lines, FILE)) == SENTENCES


def test_what_the_text_was_before_it_was_cut_is_taken():
    assert is_tagged(conllu(True))
    assert list(tagged_sentences(conllu(True), FILE)) == [text.replace(" .", ".") for text in SENTENCES]


def test_a_word_that_is_taken_apart_comes_once():
    """As the text has it; and a word that the text leaves out does not come."""
    rest = "\t_" * 8
    rows = ["1-2\tdel", "1\tde", "2\tel", "3\tsol", "3.1\tes", "4\trojo"]
    assert list(tagged_sentences([row + rest for row in rows], FILE)) == ["del sol rojo"]


NOT_TAGGED = {
    "prose": SENTENCES * 9,
    "paragraphs": [line for sentence in SENTENCES * 9 for line in (sentence, "")],
    "verses of two words": [line for n in range(9) for line in ("red sun", "old moon", "cold star", "")],
    "indented prose": [line for sentence in SENTENCES * 9 for line in (f"\t{sentence}", "")],
    "a labelled table": [f"{sentence}\tGOOD" for sentence in SENTENCES * 9],
    "a table with blank lines": [line for s in SENTENCES * 9 for line in (f"{s}\tGOOD", f"{s}\tBAD", "")],
    "words of two languages": [line for w in "abcdefghij" for line in (f"{w}\t{w}a", f"{w}b\t{w}c", f"{w}d\t{w}e", "")],
    "too little": ["Mars\tO", "", "sun\tO"],
    "code": ["def f(x):", "\treturn x", "", "def g(y):", "\tif y:", "\t\treturn y", ""] * 5,
}


@pytest.mark.parametrize("lines", NOT_TAGGED.values(), ids=NOT_TAGGED)
def test_other_texts_are_not_tagged(lines):
    assert not is_tagged(lines)


def test_a_token_without_a_tag_is_named_with_its_line():
    with pytest.raises(UsageError, match=r"a\.conll, line 2 is broken: 'is' is no token with its tags"):
        list(tagged_sentences(["Mars\tB-LOC", "is", "red\tO"], FILE))
