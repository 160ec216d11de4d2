import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import unicodedata
from functools import cache
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glassformer.data import builtin
from glassformer.data.tokenizer import Encoded, Tokenizer, TokenizerConfig
from glassformer.data.tokenizer_config import SPECIALS
from glassformer.errors import GlassformerError, UsageError

KINDS = get_args(TokenizerConfig.model_fields["kind"].annotation)
EXACT = ("bpe", "byte")
TEXT = [*builtin.sentences("facts", "train"), "Naïve cafés, 東京 と 火星! [one] <two> MASK\n\tthree  \u00e9"]

any_text = st.text(st.characters(exclude_categories=["Cs"]))
# text in which special tokens, spaces and the data's own unknown word are frequent
tricky_text = st.lists(
    st.sampled_from([*SPECIALS, "<unk>", "[mask]", " ", "\n", "\u3000", "Mars", "planet", "e\u0301", "火", "[", "]"])
    | any_text
).map("".join)


@cache
def _tokenizer(kind: str, **settings) -> Tokenizer:
    return Tokenizer.train(TEXT, TokenizerConfig(kind=kind, **({"vocab_size": 499} | settings)))


def _tokens(tokenizer: Tokenizer, encoded: Encoded) -> list[str]:
    return [tokenizer.token(int(i)) for i in encoded.ids]


# --- vocabulary -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_special_tokens_come_first(kind):
    tokenizer = _tokenizer(kind)
    ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert ids == [0, 1, 2, 3, 4]
    assert [tokenizer.token(i) for i in ids] == list(SPECIALS)
    assert [tokenizer.id(special) for special in SPECIALS] == ids
    assert tokenizer.special_ids == frozenset(ids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocab_size", [277, 499])
def test_the_vocabulary_is_no_larger_than_asked_and_has_no_holes(kind, vocab_size):
    tokenizer = _tokenizer(kind, vocab_size=vocab_size)
    assert tokenizer.vocab_size <= vocab_size
    assert all(tokenizer.token(i) for i in range(tokenizer.vocab_size))
    if kind not in ("byte", "character"):
        assert tokenizer.vocab_size == vocab_size
    assert _tokenizer("byte").vocab_size == 256 + 5


@pytest.mark.parametrize("kind", ["word", "wordpiece", "character", "unigram"])
def test_a_small_vocabulary_keeps_the_frequent_characters(kind):
    text = ["e" * 50 + " " + "t" * 40 + " " + "a" * 30] + [chr(0x4E00 + i) for i in range(300)]
    tokenizer = Tokenizer.train(text, TokenizerConfig(kind=kind, vocab_size=61))
    assert tokenizer.vocab_size <= 61
    assert kind == "word" or tokenizer.unk_id not in tokenizer.encode("eta").ids


def test_bpe_needs_room_for_the_bytes():
    with pytest.raises(UsageError, match=r"vocab_size=260 cannot hold .* bpe\nset at least 261"):
        _tokenizer("bpe", vocab_size=260)
    assert _tokenizer("bpe", vocab_size=261).vocab_size == 261


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], ["", " \n "], ["[MASK][PAD]"]])
def test_nothing_to_train_on_is_an_error(kind, texts):
    with pytest.raises(UsageError, match="no text to train a tokenizer on"):
        Tokenizer.train(texts, TokenizerConfig(kind=kind))


@pytest.mark.parametrize("kind", ["word", "character"])
def test_rare_tokens_can_be_left_out(kind):
    texts = ["a a a b b c"]
    assert _count(texts, kind, 1) - _count(texts, kind, 2) == 1
    assert _count(texts, kind, 2) - _count(texts, kind, 3) == 1


def _count(texts: list[str], kind: str, min_frequency: int) -> int:
    return Tokenizer.train(texts, TokenizerConfig(kind=kind, min_frequency=min_frequency)).vocab_size


_TRAIN_ALL = """
import sys
from glassformer.data import builtin
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
for kind in sys.argv[1:]:
    config = TokenizerConfig(kind=kind, vocab_size=499)
    print(Tokenizer.train(builtin.sentences("facts", "train"), config).identity)
"""


def test_equal_texts_give_an_equal_tokenizer_in_every_process():
    """The hash tables of the library differ from process to process, hence the processes."""

    def identities(threads: int) -> str:
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", _TRAIN_ALL, *KINDS]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    seen = [identities(threads) for threads in (1, 2, 3)]
    assert len(seen[0].split()) == len(KINDS)
    assert seen[0] == seen[1] == seen[2]


# --- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXACT)
@settings(deadline=None)
@given(any_text | tricky_text)
@example("\x00 \ufeff\r\n\u2028 a  b \x7f \U0010ffff ")
@example("Ġ Ċ [MASK] Ā")
def test_bpe_and_bytes_round_trip_exactly(kind, text):
    tokenizer = _tokenizer(kind)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.unk_id not in tokenizer.encode(text).ids


@settings(deadline=None)
@given(st.text(st.sampled_from(sorted(set("".join(builtin.sentences("facts", "train")))))))
def test_known_characters_round_trip(text):
    tokenizer = _tokenizer("character")
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_training_sentences_round_trip(kind):
    tokenizer = _tokenizer(kind, vocab_size=8192)
    for sentence in builtin.sentences("facts", "train"):
        decoded = tokenizer.decode(tokenizer.encode(sentence).ids)
        assert _letters(decoded) == _letters(sentence)


def _letters(text: str) -> str:
    return "".join(text.split())


def test_equal_letters_are_equal_tokens_however_they_are_composed():
    for kind in set(KINDS) - set(EXACT):
        tokenizer = _tokenizer(kind)
        ids = tokenizer.encode("caf\u00e9").ids
        np.testing.assert_array_equal(ids, tokenizer.encode("cafe\u0301").ids)


# --- special tokens in a text are text ------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["punctuation", "whitespace"])
@settings(deadline=None, max_examples=50)
@given(text=tricky_text)
@example(text="[PAD] [CLS] [SEP] [MASK] x[MASK]y [mask] [UNK]")
def test_special_tokens_in_a_text_are_text(kind, split, text):
    for unknown in (None, "<unk>"):
        tokenizer = _tokenizer(kind, split=split, unknown=unknown)
        forbidden = tokenizer.special_ids - {tokenizer.unk_id}
        assert not forbidden & set(tokenizer.encode(text).ids.tolist())
        assert not forbidden & set(tokenizer.encode_batch([text])[0].ids.tolist())
        # the mask is let in where it is asked for, once per literal, and nothing else is
        ids = tokenizer.encode(text, allow_mask=True).ids
        assert (ids == tokenizer.mask_id).sum() == text.count("[MASK]")
        assert not (forbidden - {tokenizer.mask_id}) & set(ids.tolist())


def test_a_special_token_that_is_text_keeps_its_letters():
    for kind in set(KINDS) - {"word"}:
        tokenizer = _tokenizer(kind)
        assert _letters(tokenizer.decode(tokenizer.encode("[MASK]").ids)) == "[MASK]"
        assert len(tokenizer.encode("[MASK]").ids) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_around_a_blank_a_prompt_is_cut_as_running_text(kind):
    tokenizer = _tokenizer(kind, vocab_size=8192)
    whole = tokenizer.encode("Mars is called the red planet.", allow_mask=True).ids.tolist()
    blank = tokenizer.encode("Mars is called the [MASK] planet.", allow_mask=True).ids.tolist()
    place = blank.index(tokenizer.mask_id)
    after = len(blank) - place - 1
    assert blank[:place] == whole[:place]
    assert blank[place + 1 :] == whole[len(whole) - after :]
    hidden = tokenizer.decode(whole[place : len(whole) - after])
    assert hidden.strip() == "red"
    assert kind not in ("word", "wordpiece", "bpe") or len(whole) == len(blank)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_blank_a_prompt_is_any_text(kind):
    tokenizer = _tokenizer(kind)
    for text in TEXT[:20]:
        plain, prompt = tokenizer.encode(text), tokenizer.encode(text, allow_mask=True)
        np.testing.assert_array_equal(plain.ids, prompt.ids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [False, True])
def test_the_unknown_word_of_the_data_is_the_unknown_token(kind, lowercase):
    tokenizer = _tokenizer(kind, unknown="<unk>", lowercase=lowercase)
    text = "<unk> Mars <unk><unk> is a<unk>"
    encoded = tokenizer.encode(text)
    spans = [text[s:e] for i, (s, e) in zip(encoded.ids, encoded.offsets, strict=True) if i == tokenizer.unk_id]
    assert spans == ["<unk>"] * 4
    assert tokenizer.id("<unk>") is None
    assert encoded.starts_word[0]


@pytest.mark.parametrize("kind", EXACT)
def test_without_that_setting_it_is_text(kind):
    tokenizer = _tokenizer(kind)
    assert tokenizer.unk_id not in tokenizer.encode("<unk>").ids


# --- offsets and words ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=50)
@given(text=tricky_text)
def test_offsets_are_in_order_and_inside_the_text(kind, text):
    encoded = _tokenizer(kind).encode(text)
    assert len(encoded.ids) == len(encoded.offsets) == len(encoded.starts_word)
    assert all(0 <= start <= end <= len(text) for start, end in encoded.offsets)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(encoded.offsets))
    assert not len(encoded.ids) or encoded.starts_word[0]


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_cut_the_pieces_out_of_the_text(kind):
    tokenizer = _tokenizer(kind)
    text = "Mars, the planet of the naïve?"
    encoded = tokenizer.encode(text)
    for token, (start, end) in zip(_tokens(tokenizer, encoded), encoded.offsets, strict=True):
        piece = text[start:end].replace(" ", "▁")
        if token not in ("[UNK]", "▁") and "<0x" not in token:
            assert piece.removeprefix("▁") == token.removeprefix("##").removeprefix("▁")


def test_characters_of_several_code_points_keep_their_offsets():
    for kind in ("character", "wordpiece", "unigram"):
        text = "Mars e\u0301a \u1112\u1161\u11ab e\u0301"
        cut = [text[start:end] for start, end in _tokenizer(kind).encode(text).offsets]
        assert "".join(cut).replace(" ", "") == text.replace(" ", "")
        assert not any(unicodedata.combining(piece[0]) for piece in cut)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("word", ["Mars", "planet", "."]),
        ("wordpiece", ["Mars", "planet", "."]),
        ("bpe", ["Mars", " planet", "."]),
        ("unigram", ["Mars", " planet."]),
        ("character", ["Mars", "  planet."]),
        ("byte", ["Mars", "  planet."]),
    ],
)
def test_starts_word_marks_the_first_token_of_each_word(kind, expected):
    text = "Mars  planet." if kind in ("character", "byte") else "Mars planet."
    encoded = _tokenizer(kind, vocab_size=277).encode(text)
    starts = [start for (start, _), first in zip(encoded.offsets, encoded.starts_word, strict=True) if first]
    words = [text[a:b] for a, b in pairwise([*starts, len(text)])]
    assert [word.strip() for word in words] == [word.strip() for word in expected]
    if kind not in ("word", "unigram"):
        assert len(encoded.ids) > len(words)  # so that some tokens are not the first


def test_word_splits_at_white_space_only_if_asked():
    text = "a@-@b, c"
    assert len(_tokenizer("word", split="whitespace").encode(text).ids) == 2
    assert len(_tokenizer("word", split="punctuation").encode(text).ids) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_lowercase(kind):
    tokenizer = _tokenizer(kind, lowercase=True)
    np.testing.assert_array_equal(tokenizer.encode("MARS Is").ids, tokenizer.encode("mars is").ids)
    other = _tokenizer(kind)
    assert other.encode("MARS Is").ids.tolist() != other.encode("mars is").ids.tolist()


def test_wordpiece_strips_accents_only_with_lowercase():
    lower, cased = _tokenizer("wordpiece", lowercase=True), _tokenizer("wordpiece")
    np.testing.assert_array_equal(lower.encode("naïve").ids, lower.encode("naive").ids)
    assert cased.encode("naïve").ids.tolist() != cased.encode("naive").ids.tolist()


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20)
@given(st.lists(tricky_text))
def test_a_batch_is_its_texts_one_by_one(kind, texts):
    tokenizer = _tokenizer(kind, unknown="<unk>")
    for text, batched in zip(texts, tokenizer.encode_batch(texts), strict=True):
        single = tokenizer.encode(text)
        np.testing.assert_array_equal(batched.ids, single.ids)
        np.testing.assert_array_equal(batched.starts_word, single.starts_word)
        assert batched.offsets == single.offsets


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_surrogate_is_named_with_its_place(kind):
    tokenizer = _tokenizer(kind)
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch(["fine", text])):
        with pytest.raises(UsageError, match=r"lone surrogate, U\+D83D, at character 3"):
            encode("abc\ud83d")
    with pytest.raises(UsageError, match="lone surrogate"):
        Tokenizer.train(["abc\ud83d"], TokenizerConfig(kind=kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text(kind):
    text = "Mars is called the red planet. " * 10_000
    assert len(_tokenizer(kind).encode(text).ids) >= 60_000


# --- for display ----------------------------------------------------------------------------------


def test_tokens_are_readable():
    tokenizer = _tokenizer("bpe")
    assert _tokens(tokenizer, tokenizer.encode(" €\t")) == ["▁", "<0xE2>", "<0x82>", "<0xAC>", "⇥"]
    assert _tokens(tokenizer, tokenizer.encode("Mars is"))[-1] == "▁is"
    assert _tokens(_tokenizer("character"), _tokenizer("character").encode("a b\n")) == ["a", "▁", "b", "↵"]
    assert any(
        token.startswith("##")
        for token in _tokens(_tokenizer("wordpiece"), _tokenizer("wordpiece").encode("planetary"))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_is_found_again(kind):
    tokenizer = _tokenizer(kind)
    assert all(
        tokenizer.token(tokenizer.id(tokenizer.token(i))) == tokenizer.token(i) for i in range(tokenizer.vocab_size)
    )
    assert tokenizer.id("no such token") is None


@pytest.mark.parametrize("id", [-1, 499, 10**9])
def test_an_id_that_there_is_not_is_an_error(id):
    tokenizer = _tokenizer("bpe")
    with pytest.raises(UsageError, match=f"there is no token {id}\n.*0 to 498"):
        tokenizer.token(id)
    with pytest.raises(UsageError, match=f"there is no token {id}"):
        tokenizer.decode([5, id])


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_are_shown(kind):
    tokenizer = _tokenizer(kind, vocab_size=8192)
    prompt = "Mars is called the [MASK] planet"
    ids = tokenizer.encode(prompt, allow_mask=True).ids
    assert tokenizer.decode(ids) == prompt
    assert _letters(tokenizer.decode([2, *ids, 3])) == _letters(f"[CLS]{prompt}[SEP]")


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unknown", [None, "<unk>"])
def test_a_saved_tokenizer_is_the_same(kind, unknown, tmp_path):
    tokenizer = _tokenizer(kind, unknown=unknown)
    tokenizer.save(tmp_path / "tokenizer.json")
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]
    loaded = Tokenizer.train([], TokenizerConfig(path=str(tmp_path / "tokenizer.json")))
    for other in (loaded, pickle.loads(pickle.dumps(tokenizer))):  # noqa: S301 - our own bytes
        assert other.identity == tokenizer.identity
        for text in (*TEXT[-5:], "Mars [MASK] <unk>"):
            for allow_mask in (False, True):
                a, b = tokenizer.encode(text, allow_mask), other.encode(text, allow_mask)
                np.testing.assert_array_equal(a.ids, b.ids)
                np.testing.assert_array_equal(a.starts_word, b.starts_word)
                assert a.offsets == b.offsets
                assert tokenizer.decode(a.ids) == other.decode(a.ids)


def test_different_tokenizers_have_different_identities():
    seen = {_tokenizer(kind, unknown=unknown).identity for kind in KINDS for unknown in (None, "<unk>")}
    assert len(seen) == 2 * len(KINDS)


def test_a_tokenizer_made_elsewhere_can_be_used(tmp_path):
    """Special tokens at other ids, [MASK] not among the added ones, and a template that adds [CLS] and [SEP]."""
    vocabulary = {"mars": 0, "is": 1, "red": 2, "[CLS]": 3, "[UNK]": 4, "[SEP]": 5, "[PAD]": 6, "[MASK]": 7}
    other = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    other.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    other.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 5), ("[CLS]", 3))
    other.add_special_tokens(["[CLS]", "[SEP]"])
    other.enable_truncation(2)
    other.enable_padding(length=5)
    other.save(str(tmp_path / "t.json"))
    tokenizer = Tokenizer.load(tmp_path / "t.json")
    assert tokenizer.encode("mars is [MASK]", allow_mask=True).ids.tolist() == [0, 1, 7]
    assert tokenizer.encode("mars is [CLS]").ids.tolist()[:2] == [0, 1]
    assert 3 not in tokenizer.encode("mars is [CLS]").ids
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.mask_id, tokenizer.vocab_size) == (6, 4, 7, 8)


def test_what_is_broken_is_said_in_a_line(tmp_path):
    """The library quotes a token that a merge needs as it is, with its line ends."""
    settings = Tokenizer.train(["a text of some words"] * 3, TokenizerConfig(kind="bpe", vocab_size=270)).settings
    settings["model"]["merges"][0] = ["no such\ntoken", "a"]
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(settings))
    with pytest.raises(GlassformerError, match="no such token") as raised:
        Tokenizer.load(file)
    assert "\n" not in raised.value.what


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no tokenizer at .*missing\.json"):
        Tokenizer.load(tmp_path / "missing.json")
    whole = tmp_path / "whole.json"
    _tokenizer("word").save(whole)
    for name, content in {
        "half": whole.read_bytes()[:1000],
        "none": b"",
        "bytes": b"\xff",
        "other": b"{}",
    }.items():
        (tmp_path / f"{name}.json").write_bytes(content)
        with pytest.raises(GlassformerError, match=rf"{name}\.json"):
            Tokenizer.load(tmp_path / f"{name}.json")
    with pytest.raises(GlassformerError, match="is no plain file"):
        Tokenizer.load(tmp_path)


def test_missing_special_tokens_are_named(tmp_path):
    lacking = json.loads(_tokenizer("word")._description)
    lacking["added_tokens"] = [t for t in lacking["added_tokens"] if t["content"] not in ("[MASK]", "[SEP]")]
    for special in ("[MASK]", "[SEP]"):
        del lacking["model"]["vocab"][special]
    (tmp_path / "t.json").write_text(json.dumps(lacking))
    with pytest.raises(GlassformerError, match=r"t\.json: the tokenizer lacks \[SEP\] \[MASK\]"):
        Tokenizer.load(tmp_path / "t.json")


def _encode_in_child(texts: list[str]) -> int:
    return len(_tokenizer("word").encode_batch(texts))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_can_encode_and_nothing_is_warned(capfd):
    texts = TEXT[:50]
    _tokenizer("word").encode_batch(texts)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_encode_in_child, (texts,)).get(timeout=60) == 50
    assert "TOKENIZERS_PARALLELISM" not in capfd.readouterr().err


def test_normalisation_is_canonical_composition():
    tokenizer = _tokenizer("character")
    for text in TEXT:
        decoded = tokenizer.decode(tokenizer.encode(unicodedata.normalize("NFD", text)).ids)
        assert decoded == unicodedata.normalize("NFC", text)


def test_the_unknown_token_is_shown_by_its_name_where_letters_are_lowered() -> None:
    """The data's own word for unknown words, in a lower-casing tokenizer."""
    config = TokenizerConfig(kind="word", vocab_size=50, lowercase=True, unknown="<unk>", split="whitespace")
    tokenizer = Tokenizer.train(["The <unk> sat on the mat"], config)
    encoded = tokenizer.encode("the <unk> mat")
    assert encoded.ids.tolist()[1] == tokenizer.unk_id
    assert tokenizer.token(tokenizer.unk_id) == "[UNK]"
    assert tokenizer.decode(encoded.ids) == "the [UNK] mat"


# --- those of a stranger ---------------------------------------------------------------------------


def damaged(tmp_path, change):
    """The file of a small tokenizer, changed."""
    settings = json.loads(Tokenizer.train(["a b c d"], TokenizerConfig(kind="word", vocab_size=9))._description)
    change(settings)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(settings))
    return file


def test_an_absurd_id_is_refused_before_anything_of_that_size_is_made(tmp_path):
    file = damaged(tmp_path, lambda settings: settings["model"]["vocab"].update(a=4_000_000_000))
    with pytest.raises(GlassformerError, match=r"numbers its tokens up to 4,000,000,000"):
        Tokenizer.load(file)


def test_a_vocabulary_that_does_not_hold_together_is_said_when_it_is_asked(tmp_path):
    file = damaged(tmp_path, lambda settings: settings["model"].update(unk_token="no such token"))
    with pytest.raises(GlassformerError, match="the tokenizer is damaged: "):
        Tokenizer.load(file).encode("never seen")


def test_a_panic_of_the_library_is_no_panic_here(tmp_path, monkeypatch):
    class PanicException(BaseException):  # what a panic in Rust arrives as; no `except Exception` holds it
        pass

    class Panics:
        @staticmethod
        def from_str(description):
            raise PanicException("index out of bounds")

    monkeypatch.setattr(tokenizers, "Tokenizer", Panics)
    with pytest.raises(GlassformerError, match="the tokenizer is damaged: index out of bounds"):
        Tokenizer("{}")
