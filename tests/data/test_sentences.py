"""Where sentences begin, against texts cut by hand, in characters and in tokens."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.sentences import sentence_starts, starts_sentence
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig

# `/` stands where a sentence begins; it is taken out before the text is asked.
BY_HAND = [
    ("en", "/Mars is red. /It has two moons."),
    ("en", "/Dr. Smith came at 3.5 p.m. today. /He left!  /Did he? /Yes."),
    ("en", "  /A line without an end\n/and another one\n\n \n\t/One. /Two."),
    ("en", "/a length of 0 @.@ 7 metres ( 1 @,@ 000 in ) . /It is <unk> . /<unk> is not ."),
    ("en", "/See example.org for more. /Then go.\r\n/Go."),
    ("en", '/"Is it?" he asked. /"Yes." /Then he left.'),
    ("en", "/né en été. /🙂 Emoji. /Next\u2028/line\x85/and\u00a0A\u2028."),
    ("de", "/Wir sahen z. B. den Mars. /Er ist rot."),
    ("zh", "/火星是红色的。/它有两个卫星。/真的?"),
    ("en", "/no end"),
    ("en", " \n "),
    ("en", ""),
]


@pytest.mark.parametrize(("language", "cut"), BY_HAND)
def test_sentences_begin_where_a_person_cuts(language, cut):
    # The last character of the seventh is a full stop behind an initial and white space of three bytes, which the
    # library alone cannot count with.
    marks = [n for n, character in enumerate(cut) if character == "/"]
    expected = [mark - number for number, mark in enumerate(marks)]
    expected += [len(cut.replace("/", "")) - 1] if cut.endswith("A\u2028.") else []
    assert sentence_starts(cut.replace("/", ""), language) == expected


@settings(deadline=None, max_examples=300)
@given(text=st.text(st.sampled_from(list("abA. \n!?\"'()é。\x85\u2028\u3000\u0301🙂@")), max_size=40))
def test_any_text_is_cut_whole(text):
    """In order, never at white space, the first where the text begins; each line begins one."""
    starts = sentence_starts(text, "en")
    assert starts == sorted(set(starts)) and all(not text[at].isspace() for at in starts)
    assert len(starts) >= sum(bool(line.strip()) for line in text.split("\n"))
    assert text[: starts[0] if starts else None].strip() == ""


@pytest.mark.parametrize("kind", ["word", "wordpiece", "bpe", "unigram", "character", "byte"])
def test_tokens_that_begin_a_sentence(kind):
    """Whatever a token is, what stands between two marks is a sentence."""
    sentences = ["Dr. Smith saw Mars.", "It is é red !", "Two moons"]
    text = f" {sentences[0]} {sentences[1]}\n {sentences[2]} "
    tokenizer = Tokenizer.train([text] * 3, TokenizerConfig(kind=kind, vocab_size=300))
    encoded = tokenizer.encode(text)
    flags = starts_sentence(text, encoded, "en")
    assert flags.sum() == 3 and flags[0] and len(flags) == len(encoded.ids)
    cuts = [*np.flatnonzero(flags), len(flags)]
    spans = [encoded.offsets[a:b] for a, b in itertools.pairwise(cuts)]
    assert [text[span[0][0] : span[-1][1]].strip() for span in spans] == sentences


def test_where_nothing_stands_between_two_sentences():
    """The token behind the mark begins one, not the mark."""
    tokenizer = Tokenizer.train(["你好。再见。"], TokenizerConfig(kind="character", vocab_size=20))
    flags = starts_sentence("你好。再见。", tokenizer.encode("你好。再见。"), "zh")
    assert np.flatnonzero(flags).tolist() == [0, 3]


def test_a_text_without_tokens_or_with_one():
    tokenizer = Tokenizer.train(["a b"], TokenizerConfig(kind="word", vocab_size=10))
    for text, expected in (("", []), ("  ", []), (" a", [True]), ("a\n\nb", [True, True])):
        assert starts_sentence(text, tokenizer.encode(text), "en").tolist() == expected


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("GLASSFORMER_DATA"), reason="GLASSFORMER_DATA is not set: no public data")
def test_wikitext_2_is_cut_into_sentences_of_usual_length():
    """8,384 sentences were seen, 23 words in the middle one, and of 60 read by a person one was cut in two. A number
    such as 0 @.@ 7 is never cut."""
    text = (Path(os.environ["GLASSFORMER_DATA"]) / "wikitext-2" / "valid.txt").read_text(encoding="utf-8")
    starts = sentence_starts(text, "en")
    words = [len(text[a:b].split()) for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    assert 8000 < len(words) < 8800 and np.median(words) == pytest.approx(23, abs=2)
    assert not any(text[at] == "@" for at in starts)
