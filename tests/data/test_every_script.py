"""Texts of many scripts through every kind of tokenizer: what is learnt stands in the text, what can be spelt is known,
and what is read comes back."""

import json
import os
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glassformer.data.byte_level import BYTES
from glassformer.data.cutting import count_words
from glassformer.data.scripts import marks
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.data.tokenizer_config import SPECIALS

UDHR = Path(os.environ.get("GLASSFORMER_DATA") or "absent") / "udhr"
KINDS = get_args(TokenizerConfig.model_fields["kind"].annotation)
LANGUAGES = sorted(file.stem for file in UDHR.glob("*.txt")) or ["absent"]

OWN = {
    "hindi": "गीता ने कहा कि वह हिन्दी में किताब पढ़ती है।\nमोहन चिट्ठी लिखता है, और ड़ व ढ़ भी।",
    "tamil": "தமிழ் மொழி பேசுகிறாள்.\nஅவன் புத்தகத்தை படித்தான்; கொடுத்தான்.",
    "thai": "ฉันเห็นแมวสีขาวที่บ้าน\nน้ำใสไหลเย็น เห็นตัวปลา ที่นี่",
    "chinese": "小红说她今天在图书馆看见了一只松鼠。\n我用Python写了3行,葛\U000e0100城〇。",
    "japanese": "私は昨日、図書館で本を読みました。\nカメラとパーティー、人々が時々。ｶﾒﾗ",
    "korean": "나는 어제 도서관에서 책을 읽었다.\n\u1112\u1161\u11ab글 책",
    "persian": "من کتاب‌ها را می‌نویسم و او نمی‌آید.\nخانه‌ها، ۱۲۳ گل‌ها",
    "arabic": "كَتَبَ الوَلَدُ الدَّرْسَ.\nقرأ الكتاب؟",
    "hebrew": "בְּרֵאשִׁית בָּרָא.\nהילד קרא ספר",
    "turkish": "İki kedi IRMAK kıyısında, İyi bir gün.\niki ırmak iyi I\u0307ki",
    "vietnamese": unicodedata.normalize("NFD", "Tiếng Việt rất hay.\nTôi đã đọc quyển sách ấy."),
    "greek": "Ο ΟΔΟΣ και ο δρόμος, ΣΟΦΟΣ σοφός.\nΣίσυφος",
    "emoji": "👨‍👩‍👧 ate 1️⃣ pie ❤️ and #️⃣ 👩🏽‍🚀!\nok 🇩🇪 👍🏿",
    "code": "def f(x):\n    if x > 0:\n\t\treturn x  # Naïve\n\n",
    "long": "see " + "a1b2c3d4e5" * 60 + " and " + "GATTACA" * 50 + "\nMars 🪐" + "e\u0301" * 130,
    "odd": "a\u00adb \ufeffc x\u0301\u0327 J\u030c H\u0331 \u0301d ̈e co\u2060op \x07f ǅ ẞ K",
}


ALL = "\n".join(OWN.values())


def lines_of(text: str) -> list[str]:
    return [line for line in text.split("\n") if line and not line.isspace()]


@cache
def trained(text: str, kind: str, lowercase: bool, vocab_size: int) -> Tokenizer:
    config = TokenizerConfig(kind=kind, lowercase=lowercase, vocab_size=vocab_size)
    return Tokenizer.train(lines_of(text), config)


def expected(text: str, kind: str, lowercase: bool) -> str:
    """What a kind makes of a text before it is cut, by Python's own rules for letters."""
    is_exact = kind in ("bpe", "byte")
    if lowercase and kind == "wordpiece":
        text = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", text))
    text = text if is_exact else unicodedata.normalize("NFC", text)
    if lowercase:
        text = "".join(c.lower() for c in text).replace("i\u0307", "i")
        letter = rf"[^\W\d_〇{marks()}]"
        text = re.sub(rf"({letter}[{marks()}]{{0,2}})σ(?![{marks()}]*[^\W\d_〇])", r"\1ς", text)
    return text if is_exact else unicodedata.normalize("NFC", text)


def pieces(tokenizer: Tokenizer, kind: str) -> list[str]:
    """The tokens that are no special ones, without the signs for the inside of a word and for a space."""
    tokens = [token for id, token in enumerate(tokenizer.vocabulary) if token and id not in tokenizer.special_ids]
    if kind == "wordpiece":
        return [token.removeprefix("##") if len(token) > 2 else token for token in tokens]
    return [token.replace("▁", " ") for token in tokens] if kind == "unigram" else tokens


def stands_in(piece: str, text: str, kind: str) -> bool:
    if kind in ("bpe", "byte"):  # the 256 bytes are known without a text
        return len(piece) == 1 or bytes(BYTES[c] for c in piece) in text.encode()
    return piece in text


def is_spelt(text: str, alphabet: set[str]) -> bool:
    return all(c in alphabet or c.isspace() for c in text)


def squeezed(text: str) -> str:
    return "".join(text.split())


def check(tokenizer: Tokenizer, line: str, kind: str, lowercase: bool) -> None:
    """One text through one tokenizer: known where it can be spelt, given back, covered, and its marks left alone."""
    text, encoded = expected(line, kind, lowercase), tokenizer.encode(line)
    has_unknown = tokenizer.unk_id in encoded.ids
    if kind in ("bpe", "byte"):
        assert not has_unknown
    elif kind != "word" and is_spelt(text, {piece for piece in pieces(tokenizer, kind) if len(piece) == 1}):
        assert not has_unknown, text
    if not has_unknown:
        given_back = tokenizer.decode(encoded.ids)
        if kind in ("word", "wordpiece"):
            assert squeezed(given_back) == squeezed(text)
        else:
            assert given_back == (text.removeprefix(" ") if kind == "unigram" else text)
    covered = {place for start, end in encoded.offsets for place in range(start, end)}
    left_out = "".join(c for place, c in enumerate(line) if place not in covered and not c.isspace())
    assert not left_out or (kind == "wordpiece" and lowercase and not re.sub("[\u0300-\u036f]", "", left_out))
    for (start, _), first in zip(encoded.offsets, encoded.starts_word, strict=True):
        if first and start and not line[start - 1].isspace():
            assert not unicodedata.category(line[start]).startswith("M"), (line, start)


def check_all(source: str, kind: str, lowercase: bool, vocab_size: int) -> None:
    tokenizer = trained(source, kind, lowercase, vocab_size)
    lines = lines_of(source)
    read = [expected(line, kind, lowercase) for line in lines]
    if kind == "unigram":  # a text begins as if a space stood there
        read = [line if line.startswith(" ") else f" {line}" for line in read]
    whole = "\n".join(read)
    assert [piece for piece in pieces(tokenizer, kind) if not stands_in(piece, whole, kind)] == []
    for line in lines:
        check(tokenizer, line, kind, lowercase)


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OWN)
def test_texts_of_our_own(name: str, kind: str, lowercase: bool) -> None:
    for vocab_size in (300, 1000):  # in the smaller one there is no room for all characters
        check_all(OWN[name], kind, lowercase, vocab_size)
    if kind not in ("word", "byte"):
        assert len(pieces(trained(OWN[name], kind, lowercase, 1000), kind)) > 10


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_all_of_them_in_one_vocabulary_with_and_without_room(kind: str, lowercase: bool) -> None:
    for vocab_size in (270, 700, 3000):
        check_all(ALL, kind, lowercase, vocab_size)


@pytest.mark.data
@pytest.mark.skipif(not UDHR.is_dir(), reason="GLASSFORMER_DATA is not set")
@pytest.mark.parametrize("language", LANGUAGES)
def test_twenty_languages(language: str) -> None:
    text = (UDHR / f"{language}.txt").read_text(encoding="utf-8")[:6000]
    for kind in KINDS:
        for lowercase in (False, True):
            check_all(text, kind, lowercase, 400)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"word"}))
@settings(deadline=None, max_examples=60)
@given(text=st.text(st.sampled_from(sorted(set(ALL) - {"\n"})), max_size=30), lowercase=st.booleans())
@example(text="\u0301 \u0301a", lowercase=False)
@example(text="é" * 250, lowercase=True)
@example(text="ก" * 99 + "ี" * 3 + "ก", lowercase=False)
@example(text="葛" + "\U000e0100" * 150, lowercase=False)
def test_any_text_of_known_characters_is_known_and_comes_back(kind: str, text: str, lowercase: bool) -> None:
    check(trained(ALL, kind, lowercase, 3000), text, kind, lowercase)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["हिन्दी में किताब", "می‌نویسم کتاب‌ها", "ภาษา", "e\u0301te\u0301 a\u0302", "كَتَبَ الوَلَدُ", "தமிழ் மொழி"]
)
def test_a_word_is_one_word_with_all_its_marks(kind: str, text: str) -> None:
    encoded = trained(ALL, kind, False, 3000).encode(text)
    first = [start for (start, _), starts in zip(encoded.offsets, encoded.starts_word, strict=True) if starts]
    if text != "ภาษา":
        assert len(first) == len(text.split())
    else:  # without spaces each token is a word, but a vowel sign above or below is none
        assert first == sorted(set(first))


@pytest.mark.parametrize("kind", KINDS)
def test_without_spaces_each_token_is_a_word(kind: str) -> None:
    encoded = trained(ALL, kind, False, 700).encode("小红说她看见了一只松鼠")
    starts = [start for start, _ in encoded.offsets]
    assert len(starts) >= 2
    assert encoded.starts_word.tolist() == [start not in starts[:n] for n, start in enumerate(starts)]
    assert kind not in ("bpe", "byte") or len(set(starts)) < len(starts)  # some tokens are parts of one character


@pytest.mark.parametrize("kind", KINDS)
def test_one_word_however_its_letters_were_lowered(kind: str) -> None:
    tokenizer = trained(ALL, kind, True, 3000)
    alike = [["İki", "I\u0307ki", "iki", "i\u0307ki"], ["ΟΔΟΣ", "οδος", "Οδοσ"]]
    if kind not in ("bpe", "byte"):  # which leave apart what is written apart
        alike.append(["J\u030c", "j\u030c", "\u01f0"])
    for forms in alike:
        ids = [tokenizer.encode(form).ids.tolist() for form in forms]
        assert all(each == ids[0] for each in ids), forms
    if kind != "word":  # where both are unknown
        assert tokenizer.encode("ısı").ids.tolist() != tokenizer.encode("isi").ids.tolist()


def test_every_letter_and_its_capital_are_one_word() -> None:
    """All letters that have a single capital: as the library lowers them, the dot and the sigma mended."""
    tokenizer = Tokenizer.train(["a"], TokenizerConfig(kind="bpe", vocab_size=261, lowercase=True))
    letters = [chr(n) for n in range(0x20000) if chr(n).islower()]
    pairs = [(c, c.upper()) for c in letters if len(c.upper()) == 1 and c.upper().lower() == c]
    assert len(pairs) > 1000
    different = [c for c, capital in pairs if tokenizer.decode(tokenizer.encode(capital).ids) != c]
    assert different == []


def test_a_run_of_any_length_is_cut_into_pieces_in_about_the_same_time() -> None:
    """The library looks for the longest piece from each place on: over a whole run of n characters that would be n
    times n; so it sees at most 100 at once."""
    tokenizer = trained(ALL, "wordpiece", False, 700)
    run = "GATTACA" * 6000
    encoded = tokenizer.encode(f"see {run} end")
    assert tokenizer.unk_id not in encoded.ids
    assert squeezed(tokenizer.decode(encoded.ids)) == f"see{run}end"
    assert tokenizer.settings["model"]["max_input_chars_per_word"] == 100


def test_accents_go_only_where_they_are_no_vowels() -> None:
    tokenizer = trained(ALL, "wordpiece", True, 3000)
    assert squeezed(tokenizer.decode(tokenizer.encode("Tiếng ที่ दी בְ").ids)) == squeezed("tieng ที่ दी בְ")


def test_a_rare_character_is_a_border_for_what_is_learnt() -> None:
    """Without it "ab" would be the most frequent pair."""
    texts = ["".join(f"a{chr(0xAC00 + n)}b" for n in range(300)), "c d e " * 20]
    for kind in ("wordpiece", "unigram"):
        tokenizer = Tokenizer.train(texts, TokenizerConfig(kind=kind, vocab_size=30))
        assert [piece for piece in pieces(tokenizer, kind) if "ab" in piece] == []
        assert {"a", "b"} <= set(pieces(tokenizer, kind))


def test_a_mark_that_is_written_apart_is_not_taken_for_a_rare_character() -> None:
    tokenizer = Tokenizer.train(["e\u0301te\u0301 " * 30], TokenizerConfig(kind="unigram", vocab_size=40))
    assert "".join(pieces(tokenizer, "unigram")).count("e") == 0
    assert tokenizer.unk_id not in tokenizer.encode("été").ids


@pytest.mark.parametrize("text", ["हिन्दी में", "e\u0301te\u0301"])
def test_an_older_file_of_pieces_keeps_marks_with_their_letters_too(text: str) -> None:
    """GPT-2's own pattern cuts at marks; the words are put together again."""
    settings_of_old = trained(ALL, "bpe", False, 700).settings
    settings_of_old["pre_tokenizer"] = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True
    }  # fmt: skip
    old = Tokenizer(json.dumps(settings_of_old))
    encoded = old.encode(text)
    assert encoded.starts_word.sum() == len(text.split())
    assert old.decode(encoded.ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_file_cuts_texts_alike_elsewhere(kind: str, tmp_path: Path) -> None:
    """The file as transformers reads it: runs of any length, marks and joiners too."""
    transformers = pytest.importorskip("transformers")
    tokenizer = trained(ALL, kind, False, 3000)
    tokenizer.save(tmp_path / "tokenizer.json")
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIALS, strict=True))
    other = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), **names)
    for text in (*lines_of(ALL), "GATTACA" * 500):
        ids = other(text, add_special_tokens=False)["input_ids"]
        assert ids == tokenizer.encode(text).ids.tolist()
        assert kind == "word" or tokenizer.unk_id not in ids


def test_words_are_counted_as_the_word_kind_cuts_them() -> None:
    texts = ["İyi हिन्दी, iyi!", "小红 e\u0301t J\u030c"]
    counts = count_words(texts, TokenizerConfig(kind="bpe", lowercase=True))
    assert counts == {"iyi": 2, "हिन्दी": 1, ",": 1, "!": 1, "小": 1, "红": 1, "ét": 1, "\u01f0": 1}
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind="word", lowercase=True))
    assert set(pieces(tokenizer, "word")) == set(counts)
