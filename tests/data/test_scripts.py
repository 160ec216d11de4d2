"""What a text's characters say: spaceless scripts, marks and joiners, words."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.data.scripts import (
    cut_at,
    is_without_spaces,
    marks,
    occurrences,
    sample,
    share_without_spaces,
    words_in,
)

SPACELESS = [
    "小红说她看见了松鼠",
    "ひらがなとカタカナ",
    "ﾊﾝｶｸ",
    "ฉันเห็นแมว",
    "ຂ້ອຍເຫັນແມວ",
    "ខ្ញុំឃើញឆ្មា",
    "ကျွန်တော်ကြောင်",
    "ངས་ཞི་མི་མཐོང",
    "𠀀𠀁",
]
SPACED = [
    "Mars is red",
    "Ω δρόμος",
    "кот",
    "חתול",
    "قطة",
    "बिल्ली",
    "பூனை",
    "고양이",
    "ድመት",
    "კატა",
    "mèo",
    "١٢٣ 123 !? 😀",
]


@pytest.mark.parametrize("text", SPACELESS)
def test_scripts_without_spaces(text: str) -> None:
    assert share_without_spaces([text]) == 1
    assert is_without_spaces([text])


@pytest.mark.parametrize("text", SPACED)
def test_scripts_with_spaces(text: str) -> None:
    assert share_without_spaces([text]) == 0
    assert not is_without_spaces([text])


def test_long_runs_are_no_script_and_short_lines_no_words() -> None:
    assert not is_without_spaces(["GATTACA" * 100, "see " + "a1b2" * 50])
    assert is_without_spaces(["春风\n秋月\n"] * 3)
    assert is_without_spaces(["我用 Python 写了一个程序，看见了很多东西"])
    assert not is_without_spaces(["The word 猫 means cat, and the word 犬 means dog."])


def test_every_mark_of_unicode_is_known() -> None:
    inside = f"[{marks()}]"
    for number in (*range(0x20000), *range(0xE0100, 0xE01F0)):
        is_mark = unicodedata.category(chr(number)).startswith("M") or chr(number) in "\u200c\u200d"
        assert (re.match(inside, chr(number)) is not None) == is_mark, hex(number)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat's mat, l’été: 3 ok.", ["The", "cat's", "mat", "l’été", "3", "ok"]),
        ("गीता ने हिन्दी में कहा।", ["गीता", "ने", "हिन्दी", "में", "कहा"]),
        ("می‌نویسم و کتاب‌ها", ["می‌نویسم", "و", "کتاب‌ها"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("e\u0301te\u0301 İki", ["e\u0301te\u0301", "İki"]),
        ("小红,看", ["小红", "看"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [text[begin:end] for begin, end in words_in(text)] == words


@given(st.text(st.sampled_from("aि्ा\u0301\u200cक ,9ก้")))
def test_no_word_begins_or_ends_at_a_mark_of_its_own(text: str) -> None:
    for begin, end in words_in(text):
        assert not unicodedata.category(text[begin]).startswith("M")
        assert end == len(text) or not unicodedata.category(text[end]).startswith("M")


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("हिन्दी हि", "हि", [7]),
        ("小红说他今天,小红来", "小红", [0, 7]),
        ("我用Python写", "python", [2]),
        ("นี่ดี นีดี", "นี", [6]),
        ("the theme", "the", [0]),
        ("cafe\u0301 caf\u00e9", "caf\u00e9", [0, 6]),
        ("کتاب‌ها کتاب", "کتاب", [8]),
        ("a - b", "-", [2]),
        ("a-b", "-", []),
        ("abc", "", []),
    ],
)
def test_where_a_word_stands(text: str, word: str, found: list[int]) -> None:
    assert [begin for begin, _ in occurrences(text, word)] == found


def test_only_open_places_are_cut_at() -> None:
    text = "ab小红นี่cd"
    cut = cut_at(text, (0, len(text)), range(len(text)))
    assert [text[begin:end] for begin, end in cut] == ["ab", "小", "红", "นี่", "cd"]
    assert cut_at("abc", (0, 3), range(3)) == [(0, 3)]


def test_a_sample_is_bounded_and_from_everywhere() -> None:
    texts = [chr(0x4E00 + n) * 50 for n in range(100)]
    assert list(sample(texts, 5000)) == texts
    some = list(sample(texts, 1000))
    assert sum(map(len, some)) == 1000
    assert {text[0] for text in some} == {text[0] for text in texts}
    some = list(sample(["a" * 500_000 + "b" * 500_000], 40_000))
    assert sum(map(len, some)) <= 40_000
    assert {"a" * len(some[0]), "b" * len(some[0])} <= set(some)
