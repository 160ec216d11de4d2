"""What the characters of a text say about its script: which put no spaces between words, which are marks that belong
to the letter before them, and what a word is.

    हिन्दी          one word: the vowel signs are marks of their letters, not letters
    می‌خواهم        one word: U+200C joins its halves
    我今天看见了    no spaces: where a word ends is not written
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool, UInt8

JOINERS = "\u200c\u200d"
"""ZERO WIDTH NON-JOINER and JOINER: inside a word of Persian or Malayalam, inside one emoji of several."""
HAN = "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
"""The ranges of Chinese characters, as in a set of a regular expression."""
SPACELESS = (
    f"{HAN}\u3031-\u3035\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"
    "\u0e00-\u0e3e\u0e40-\u0eff"  # Thai, but for the sign of its money; Lao
    "\u0f00-\u0fff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Tibetan, Myanmar
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai Le, New Tai Lue, Tai Tham, Tai Viet
    "\ua980-\ua9df\u1b00-\u1b7f"  # Javanese, Balinese
)
"""Scripts that put no space between words (Unicode's annexes 14 and 29: words are found by a dictionary there)."""
MOSTLY = 0.3
"""Share of the letters from which on a text is without spaces: such a letter says about as much as three of an
alphabet."""
_SAMPLE = 2_000_000
"""Characters that are looked at, spread over all texts."""
_LETTER, _MARK, _SPACELESS_LETTER, _SPACE = 1, 2, 3, 4
_LAST = 0x20000  # beyond are Chinese characters, and the marks of U+E0100


def share_without_spaces(texts: Sequence[str]) -> float:
    """The share of letters in scripts that put no space between words; 0 for texts without letters."""
    counts = np.bincount(_classes("\n".join(sample(texts))), minlength=5)
    return float(counts[_SPACELESS_LETTER] / max(1, counts[_LETTER] + counts[_SPACELESS_LETTER]))


def is_without_spaces(texts: Sequence[str]) -> bool:
    """Whether these texts, by most of what their letters say, are in a script that puts no space between words."""
    return share_without_spaces(texts) > MOSTLY


def sample(texts: Sequence[str], characters: int = _SAMPLE) -> Iterable[str]:
    """About so many characters of them, from all over: of a text its share, in pieces from its beginning on; all where
    there are no more."""
    total = sum(map(len, texts))
    if total <= characters:
        yield from texts
        return
    every = max(1, len(texts) // 10_000)
    share = characters / total * every
    for text in texts[::every]:
        wanted = max(1, int(len(text) * min(1.0, share)))
        pieces = 1 + wanted // 10_000
        for number in range(pieces):
            begin = number * (len(text) // pieces)
            yield text[begin : begin + wanted // pieces]


def words_in(text: str) -> list[tuple[int, int]]:
    """The words of a text, as characters `text[begin:end]`: letters and digits with their marks and joiners, an
    apostrophe inside one included. In a script without spaces: what stands between two signs."""
    return [match.span() for match in _word_pattern().finditer(text)]


def words_and_signs(text: str) -> list[tuple[int, int]]:
    """The words of a text, and every sign that stands between them by itself, as `text[begin:end]`; spaces are left
    out. In a script without spaces, what stands between two signs is one word."""
    found: list[tuple[int, int]] = []
    at = 0
    for begin, end in [*words_in(text), (len(text), len(text))]:
        found += [(place, place + 1) for place in range(at, begin) if not text[place].isspace()]
        found += [(begin, end)] if end > begin else []
        at = end
    return found


def occurrences(text: str, word: str) -> list[tuple[int, int]]:
    """Everywhere that a word stands in a text, upper and lower case alike, composed or not. A part of a word is none;
    in a script without spaces, any part is. Marks are never cut off."""
    if not word:
        return []
    m = rf"\w{marks()}"
    begins = "" if _is_spaceless(word[:1]) else rf"(?:(?<![{m}])|(?<=[{SPACELESS}]))"
    ends = rf"(?![{marks()}])"
    if not _is_spaceless(word[-1:]):
        ends += rf"(?:(?![{m}])|(?=[{SPACELESS}]))"
    forms = dict.fromkeys([word, unicodedata.normalize("NFC", word), unicodedata.normalize("NFD", word)])
    either = "|".join(map(re.escape, forms))
    return [match.span() for match in re.finditer(f"{begins}(?:{either}){ends}", text, re.IGNORECASE)]


def cut_at(text: str, span: tuple[int, int], places: Iterable[int]) -> list[tuple[int, int]]:
    """A span of a text, cut at those of the places where a script without spaces leaves open whether a word begins."""
    begin, end = span
    is_open = _open_places(_classes(text))
    inside = sorted({place for place in places if begin < place < end and is_open[place]})
    return list(zip([begin, *inside], [*inside, end], strict=True))


def word_starts(text: str, offsets: Sequence[tuple[int, int]], found: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Which tokens begin a word: what the tokenizer `found`, mended by the characters at which they start. No word
    begins at a mark, or behind one that stands between two letters. In a script without spaces nothing says where a
    word begins: each token is one there, but for those that are parts of one character."""
    if not offsets or has_plain_words(text):
        return found
    starts = np.array([start for start, _ in offsets], dtype=np.int64)
    kinds = np.append(_classes(text), np.uint8(_SPACE))  # a token may stand behind the text
    before = np.maximum(starts - 1, 0)
    joined = (starts > 0) & (kinds[before] != _SPACE)
    behind_mark = (kinds[before] == _MARK) & (_bases(kinds)[before] == _LETTER)
    inside = (kinds[starts] == _MARK) | ((kinds[starts] == _LETTER) & behind_mark)
    is_open = _open_places(kinds)[starts] & (np.diff(starts, prepend=-1) != 0)
    return np.where(joined, (found & ~inside) | is_open, found)


def has_plain_words(text: str) -> bool:
    """Whether a text has neither marks nor letters of a script without spaces: then `word_starts` mends nothing."""
    return text.isascii() or not _special_pattern().search(text)


def _open_places(kinds: UInt8[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Characters at which, in a script without spaces or at its border, a word may begin: all but marks and spaces."""
    previous = np.roll(_bases(kinds), 1)
    previous[:1] = 0
    touches = (kinds == _SPACELESS_LETTER) | (previous == _SPACELESS_LETTER)
    return touches & (kinds != _MARK) & (kinds != _SPACE)


def _bases(kinds: UInt8[np.ndarray, "n"]) -> UInt8[np.ndarray, "n"]:
    """For a mark what the character is to which it belongs, for others what they are."""
    places = np.where(kinds != _MARK, np.arange(len(kinds), dtype=np.int32), 0)
    return kinds[np.maximum.accumulate(places)]


def _is_spaceless(character: str) -> bool:
    return re.match(f"[{SPACELESS}]", character) is not None


@cache
def marks() -> str:
    """The combining marks and joiners, as in a set of a regular expression."""
    table = _table()
    borders = np.flatnonzero(np.diff(np.concatenate([[0], table == _MARK, [0]]).astype(np.int8)))
    ranges = [f"{chr(a)}-{chr(b - 1)}" for a, b in borders.reshape(-1, 2).tolist()]
    return "".join(ranges) + "\U000e0100-\U000e01ef"


@cache
def _word_pattern() -> re.Pattern[str]:
    return re.compile(rf"\w[\w{marks()}]*(?:['’]\w[\w{marks()}]*)*")


@cache
def _special_pattern() -> re.Pattern[str]:
    return re.compile(f"[{SPACELESS}{marks()}]")


@cache
def _table() -> UInt8[np.ndarray, "n"]:
    """What each of the first characters is."""
    table = np.zeros(_LAST, dtype=np.uint8)
    spaceless = re.compile(f"[{SPACELESS}]")
    for number in range(_LAST):
        character = chr(number)
        category = unicodedata.category(character)[0]
        if category == "M" or character in JOINERS:
            table[number] = _MARK
        elif category == "L" or (category == "N" and spaceless.match(character) and not character.isdecimal()):
            table[number] = _SPACELESS_LETTER if spaceless.match(character) else _LETTER
        elif character.isspace():
            table[number] = _SPACE
    return table


def _classes(text: str) -> UInt8[np.ndarray, "n"]:
    """What each character is: a letter, a mark or joiner, a letter of a script without spaces, white space, or none."""
    numbers = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    kinds = _table()[np.minimum(numbers, _LAST - 1)]
    kinds[(numbers >= _LAST) & (numbers < 0x3FFFE)] = _SPACELESS_LETTER
    kinds[(numbers >= 0xE0100) & (numbers <= 0xE01EF)] = _MARK
    return kinds
