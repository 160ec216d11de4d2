"""Places in characters become places in tokens, and nothing is lost on the way."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.data.corpus import WantedValues, all_cached
from glassformer.data.labels import Labels
from glassformer.data.span_columns import SpanColumn, Spans, tokens_at
from glassformer.data.spans import Annotated, Span
from glassformer.data.table import Cell
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError

SENTENCES = [
    "Mars is red , and Phobos is near .",
    "çok güzel bir gün , değil mi ?",
    "Это очень длинное предложение .",
    "यह एक छोटा वाक्य है ।",
    "هذه جملة قصيرة جدا .",
    "זה משפט קצר מאוד .",
    "我们 今天 去 公园 。",
    "今日 は いい 天気 です 。",
    "ეს არის მოკლე წინადადება .",
    "இது ஒரு சிறிய வாக்கியம் .",
]
"""Ten scripts, cut into words by spaces."""
KINDS = ("word", "wordpiece", "bpe", "unigram", "character", "byte")


def tokenizer_of(kind: str) -> Tokenizer:
    return Tokenizer.train(SENTENCES * 3, TokenizerConfig(kind=kind, vocab_size=600, lowercase=False))


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request) -> Tokenizer:
    return tokenizer_of(request.param)


def check_words(tokenizer: Tokenizer, words: list[str]) -> None:
    """Each word has tokens of its own, in order; together they are all tokens but for those of spaces; and each word's
    tokens are read off its characters alone."""
    sentence = Annotated.of_words(words)
    encoded = tokenizer.encode(sentence.text)
    places = tokens_at(encoded, [(span.start, span.end) for span in sentence.spans])
    assert len(places) == len(words)
    assert (places[:, 0] < places[:, 1]).all(), "a word without a token"
    assert (places[:-1, 1] <= places[1:, 0]).all(), "a token of two words"
    covered = {token for first, behind in places for token in range(first, behind)}
    for token in set(range(len(encoded.ids))) - covered:
        start, end = encoded.offsets[token]
        assert not sentence.text[start:end].strip(), "a token that is of no word"
    for span, (first, behind) in zip(sentence.spans, places, strict=True):
        begin, end = encoded.offsets[first][0], encoded.offsets[behind - 1][1]
        assert sentence.text[begin:end].strip() == sentence.text[span.start : span.end]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_every_word_has_its_own_tokens_in_ten_scripts(tokenizer, sentence):
    check_words(tokenizer, sentence.split())


LETTERS = st.text(st.sampled_from("abcxyzäßñ0189.,-'\"éжя中文ที่हि"), min_size=1, max_size=12)


@given(words=st.lists(LETTERS.filter(lambda word: word[0] not in "\u0e35\u0e48\u093f"), min_size=1, max_size=12))
@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "character"])
def test_every_word_has_its_own_tokens_whatever_it_is(kind, words):
    check_words(CACHED.setdefault(kind, tokenizer_of(kind)), words)


CACHED: dict[str, Tokenizer] = {}


def test_a_place_without_a_token_is_empty_and_says_where(tokenizer):
    encoded = tokenizer.encode("Mars is")
    [(first, behind)] = tokens_at(encoded, [(4, 4)])
    assert first == behind
    assert tokens_at(tokenizer.encode(""), [(0, 3)]).tolist() == [[0, 0]]


def test_labels_are_numbers_and_an_unknown_one_is_refused_with_its_place(tokenizer):
    codec = Spans(tokenizer, Labels(("O", "B-PER")))
    row = Annotated.of_words(["Mars", "is"], ["B-PER", "O"])
    assert codec.encode(Cell(row))[:, 2].tolist() == [1, 0]
    with pytest.raises(UsageError, match="line 7: the label 'B-LOC' does not occur"):
        codec.encode(Cell(Annotated.of_words(["Mars"], ["B-LOC"]), "line 7"))
    assert Spans(tokenizer).encode(Cell(Annotated("Mars is", (Span(5, 7),)))).tolist()[0][2] == 0


def test_a_stored_column_is_the_one_in_memory_and_a_damaged_one_is_made_anew(tokenizer, tmp_path):
    labels = Labels(("O", "X", "Y"))
    rows = [
        Annotated.of_words(text.split(), ["X", "O", "Y", "O", "X", "Y", "O", "X", "O"][: len(text.split())])
        for text in SENTENCES
    ]
    rows.insert(3, Annotated("nothing here", ()))
    codec = Spans(tokenizer, labels)
    memory = SpanColumn.of(rows, codec)
    wanted = [WantedValues("rows", codec)]

    def cells(missing):
        return ((0, Cell(row, f"row {n}")) for n, row in enumerate(rows))

    [stored] = all_cached(wanted, cells, tmp_path)
    assert isinstance(stored, SpanColumn) and stored.identity == memory.identity
    assert stored.n_rows == len(rows) and stored.row(3).shape == (0, 3)
    for n in range(len(rows)):
        assert np.array_equal(stored.row(n), memory.row(n))
    with pytest.raises(IndexError):
        stored.row(len(rows))
    [opened] = all_cached(wanted, lambda missing: pytest.fail("read again"), tmp_path)
    assert opened.identity == memory.identity
    folder = next((tmp_path / "columns").iterdir())
    described = json.loads((folder / "column.json").read_text())
    (folder / "row_starts.bin").write_bytes((folder / "row_starts.bin").read_bytes()[:-8])
    [again] = all_cached(wanted, cells, tmp_path)
    assert again.identity == memory.identity and described["n_rows"] == len(memory.places)
