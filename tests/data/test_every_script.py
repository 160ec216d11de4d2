"""Texts of many scripts through every kind of tokenizer: what is learnt stands in the text, what can be spelt is known,
and what is read comes back."""

import os
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from glassformer.data.tokenizer import SPECIALS, Tokenizer, TokenizerConfig

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


@cache
def tokenizer_for(text: str, kind: str, lowercase: bool, vocab_size: int = 600) -> Tokenizer:
    return Tokenizer.train(text.split("\n"), TokenizerConfig(kind=kind, lowercase=lowercase, vocab_size=vocab_size))


def expected(text: str, kind: str, lowercase: bool) -> str:
    """What a text is for a kind of tokenizer, by Python's rules."""
    if kind not in ("bpe", "byte"):
        text = unicodedata.normalize("NFC", text)
    if lowercase:
        if kind == "wordpiece":
            text = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", text))
        text = "".join(lower(c) for c in text)
        text = re.sub(r"(?<=[^\W\d_])σ(?!\w)", "ς", text)
        text = unicodedata.normalize("NFC", text) if kind not in ("bpe", "byte") else text
    return text


def lower(character: str) -> str:
    return character


def learnt(tokenizer: Tokenizer) -> list[str]:
    return [token for id, token in enumerate(tokenizer.vocabulary) if token and id not in tokenizer.special_ids]


def visible(text: str) -> str:
    return "".join(text.split())
