"""A long text in parts has the tokens of the whole."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glassformer.data import blocks, long_texts
from glassformer.data.blocks import Blocks
from glassformer.data.corpus import Corpus
from glassformer.data.known_words import KnownWords
from glassformer.data.long_texts import parts_of
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig

KINDS = ("word", "wordpiece", "bpe", "unigram", "character", "byte")
ALPHABET = "ab é\u0301\u0304 ß世界กำ नि\u200d\u200c.,!?'0123[]<>#▁\n\t\r\x0b\u00a0\u2003\u3000😀\x00\x1c"
SENTENCE = (
    "Mars is the fourth planet, and it's red: 1234567 km. <unk> [MASK] [UNK] निशान กำลัง café cafe\u0301 世界 \U0001f600"
)
WORDS = [*SENTENCE.split(), "a\tb"]
TEXTS = st.lists(
    st.one_of(st.sampled_from(WORDS), st.text(ALPHABET, max_size=5), st.sampled_from(" \n")), max_size=60
).flatmap(lambda words: st.sampled_from(["", " ", "  "]).map(lambda space: space.join(words)))


def tokenizer(kind: str, **more: object) -> Tokenizer:
    words = [*WORDS, *"abcdefghijklmnopqrstuvwxyz"]
    texts = [" ".join(random.Random(n).choices(words, k=30)) for n in range(60)]
    return Tokenizer.train(texts, TokenizerConfig(kind=kind, vocab_size=420, unknown="<unk>", **more))  # type: ignore[arg-type]


ALL = {(kind, lowercase): tokenizer(kind, lowercase=lowercase) for kind in KINDS for lowercase in (False, True)}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("character", "byte")])
def test_words_are_told_apart_at_spaces(kind: str) -> None:
    """Where this does not hold for a kind of ours, large texts take several times as long."""
    assert ALL[kind, False].cuts_at_spaces and ALL[kind, True].cuts_at_spaces


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(texts=st.lists(TEXTS, max_size=5), lowercase=st.booleans())
@example(texts=["a  b", "a \n b", " a\n\n  b \n", "", "  ", "\n a"], lowercase=False)
@example(texts=["a\x1c b", "\x00 b", "e \u0301 a", "x <unk>  <unk> [UNK]"], lowercase=True)
def test_each_word_cut_once_gives_the_tokens_of_the_text(kind: str, texts: list[str], lowercase: bool) -> None:
    """The library's word by word, remembered or not, and all texts in one row."""
    one = ALL[kind, lowercase]
    expected = [one.encode(text) for text in texts]
    known = KnownWords(one)
    for together in (one.encode_together(texts), known.encode_together(texts), known.encode_together(texts)):
        assert together.lengths.tolist() == [len(each.ids) for each in expected]
        if texts:
            np.testing.assert_array_equal(together.ids, np.concatenate([each.ids for each in expected]))
            np.testing.assert_array_equal(together.starts_word, np.concatenate([each.starts_word for each in expected]))


def test_words_are_forgotten_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """And cut anew: the tokens stay the same, and no more is held than the limit and one block."""
    monkeypatch.setattr("glassformer.data.known_words._MOST_PIECES", 20)
    known = KnownWords(ALL["wordpiece", False])
    for n in range(30):
        text = " ".join(f"a{n}b{m}" for m in range(10))
        np.testing.assert_array_equal(known.encode_together([text]).ids, ALL["wordpiece", False].encode(text).ids)
        assert len(known._numbers) <= 30


def long_text(kind: str, seed: int) -> str:
    """Words, or for `spaceless` letters without a space between them."""
    rng = random.Random(seed)
    if kind == "spaceless":
        return "".join(rng.choice(["世", "界", "กำ", "नि", "e\u0301", "ab", "acgt"]) for _ in range(3000))
    spaces = [" "] * 9 + ["\n", "  ", " \n", "\t", "\n\n"]
    return "".join(rng.choice(WORDS) + rng.choice(spaces) for _ in range(1500))


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("script", ["spaced", "spaceless"])
def test_a_document_in_parts_has_the_tokens_of_the_whole(
    kind: str, script: str, lowercase: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also its words, bytes and borders, with blocks that end inside it."""
    one = ALL[kind, lowercase]
    texts = [long_text(script, 1), "Mars", "", long_text(script, 2)]
    whole = Corpus.from_texts(texts, one)
    for text, each in zip([t for t in texts if t], map(one.encode, [t for t in texts if t]), strict=True):
        index = [t for t in texts if t].index(text)
        np.testing.assert_array_equal(whole.document(index), each.ids)
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", 1500)
    monkeypatch.setattr(blocks, "parts_of", lambda text, tokenize: parts_of(text, tokenize, size=700))
    parted = Corpus.from_texts(texts, one)
    assert parted.identity == whole.identity
    assert (parted.n_bytes, parted.n_unknown) == (whole.n_bytes, whole.n_unknown)


@settings(deadline=None, max_examples=200)
@given(text=st.text(ALPHABET, max_size=300), size=st.integers(2, 40))
def test_parts_are_the_text_and_none_is_too_long(text: str, size: int) -> None:
    parts = list(parts_of(text, size=size))
    assert "".join(part.text for part in parts) == text
    assert all(len(part.text) <= size for part in parts)
    assert [part.ends for part in parts] == [False] * (len(parts) - 1) + [True]


def test_no_part_begins_with_a_mark() -> None:
    """Not even where there are no spaces; a text of nothing but marks is cut all the same."""
    for part in itertools.islice(parts_of("निशा" * 400, size=50), 1, None):
        assert not long_texts._belongs_to_the_letter_before(part.text[0])
    assert len(list(parts_of("\u0301" * 400, size=50))) == 8


def test_sentences_are_found_across_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that begins in the middle of a sentence begins none."""
    text = " ".join("Mars is the red planet. It has two moons!" for _ in range(100))
    whole = Corpus.from_texts([text, text], ALL["word", False], language="en")
    monkeypatch.setattr(blocks, "parts_of", lambda text, tokenize: parts_of(text, tokenize, size=50))
    assert Corpus.from_texts([text, text], ALL["word", False], language="en").identity == whole.identity
    assert whole.starts_sentence is not None and int(whole.starts_sentence.sum()) == 400


def test_many_short_texts_are_blocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library holds about a thousand bytes for each, however short."""
    monkeypatch.setattr(blocks, "BLOCK_TEXTS", 7)
    made = Blocks(ALL["word", False])
    lengths = [len(block.lengths) for n in range(30) for block in made.add("a")]
    assert lengths == [7] * 4
    assert [len(block.lengths) for block in made.rest()] == [2]
