import errno
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data import blocks, builtin, store
from glassformer.data.corpus import Corpus, cache_folder, cached_tokenizer
from glassformer.data.sources import fingerprint, read_documents
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import GlassformerError, UsageError

TEXTS = builtin.sentences("facts", "train")


@cache
def _tokenizer(kind: str = "wordpiece") -> Tokenizer:
    return Tokenizer.train(TEXTS, TokenizerConfig(kind=kind, vocab_size=499))


def _assert_equal(a: Corpus, b: Corpus) -> None:
    for name in ("tokens", "starts_word", "document_starts"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), strict=True)
    assert (a.n_bytes, a.n_unknown) == (b.n_bytes, b.n_unknown)


def _never() -> list[str]:
    raise AssertionError("the cache should have been used")


@pytest.mark.parametrize("kind", ["wordpiece", "character", "bpe"])
@settings(deadline=None, max_examples=30)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_the_documents_come_back(tmp_path_factory, kind, texts):
    tokenizer = _tokenizer(kind)
    encoded = [e for e in map(tokenizer.encode, texts) if len(e.ids)]
    if not encoded:
        return
    small = Corpus.from_texts(texts, tokenizer)
    assert small.n_documents == len(encoded)
    assert small.n_tokens == sum(len(e.ids) for e in encoded) == small.document_starts[-1]
    assert small.lengths.tolist() == [len(e.ids) for e in encoded]
    for i, one in enumerate(encoded):
        np.testing.assert_array_equal(small.document(i), one.ids)
        start, end = small.document_starts[i : i + 2]
        np.testing.assert_array_equal(small.starts_word[start:end], one.starts_word)
    assert small.n_unknown == sum((e.ids == tokenizer.unk_id).sum() for e in encoded)
    assert small.n_bytes == sum(len(t.encode()) for t in texts if len(tokenizer.encode(t).ids))
    _assert_equal(small, Corpus.build(texts, tokenizer, tmp_path_factory.mktemp("c") / "store"))


def test_documents_are_streamed_in_batches_without_a_seam(tmp_path, monkeypatch):
    whole = Corpus.from_texts(TEXTS, _tokenizer())
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", 997)
    _assert_equal(whole, Corpus.build(iter(TEXTS), _tokenizer(), tmp_path / "store"))
    _assert_equal(whole, Corpus.from_texts(iter(TEXTS), _tokenizer()))


def test_the_types_are_small_and_the_arrays_are_mapped(tmp_path):
    store = Corpus.build(TEXTS, _tokenizer(), tmp_path / "store")
    assert (store.tokens.dtype, store.starts_word.dtype, store.document_starts.dtype) == (
        np.uint16,
        np.bool_,
        np.int64,
    )
    assert isinstance(store.tokens, np.memmap)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


def test_a_large_vocabulary_gets_larger_integers():
    words = " ".join(f"w{i}" for i in range(66_000))
    tokenizer = Tokenizer.train([words], TokenizerConfig(kind="word", vocab_size=70_000))
    large = Corpus.from_texts([words], tokenizer)
    assert large.tokens.dtype == np.uint32
    assert large.tokens.max() > 2**16


def test_no_special_token_lies_inside():
    tokens = Corpus.from_texts(["Mars [MASK] [SEP] red [PAD]"], _tokenizer()).tokens
    assert not set(tokens.tolist()) & (_tokenizer().special_ids - {_tokenizer().unk_id})


@pytest.mark.parametrize("texts", [[], ["", " \n"]])
def test_an_empty_corpus_is_an_error_and_leaves_nothing(tmp_path, texts):
    with pytest.raises(UsageError, match="the corpus is empty"):
        Corpus.from_texts(texts, _tokenizer())
    with pytest.raises(UsageError, match="the corpus is empty"):
        Corpus.build(texts, _tokenizer(), tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_a_document_beyond_the_last_is_an_error():
    small = Corpus.from_texts(["Mars"], _tokenizer())
    for index in (-1, 1):
        with pytest.raises(IndexError, match=f"document {index} of 1"):
            small.document(index)


# --- the cache ------------------------------------------------------------------------------------


def test_the_second_start_reads_nothing(tmp_path):
    first = Corpus.cached("key", lambda: TEXTS, _tokenizer(), tmp_path)
    _assert_equal(first, Corpus.cached("key", _never, _tokenizer(), tmp_path))


def test_another_key_or_tokenizer_is_another_store(tmp_path):
    Corpus.cached("key", lambda: TEXTS, _tokenizer(), tmp_path)
    assert Corpus.cached("other", lambda: TEXTS[:3], _tokenizer(), tmp_path).n_documents == 3
    by_character = Corpus.cached("key", lambda: TEXTS, _tokenizer("character"), tmp_path)
    assert by_character.n_tokens == sum(map(len, TEXTS))


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    Corpus.cached("key", lambda: TEXTS, _tokenizer())
    assert len(list((tmp_path / "corpora").iterdir())) == 1
    monkeypatch.delenv("GLASSFORMER_CACHE")
    assert "glassformer" in str(cache_folder())


@pytest.mark.parametrize("file", ["tokens.bin", "starts_word.bin", "document_starts.bin", "corpus.json"])
@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_damaged_store_is_recognised_and_built_anew(tmp_path, file, damage):
    whole = Corpus.from_texts(TEXTS, _tokenizer())
    Corpus.cached("key", lambda: TEXTS, _tokenizer(), tmp_path)
    (folder,) = (tmp_path / "corpora").iterdir()
    if damage == "removed":
        (folder / file).unlink()
    else:
        os.truncate(folder / file, (folder / file).stat().st_size // 2)
    with pytest.raises(GlassformerError, match="no whole token store"):
        Corpus.open(folder)
    _assert_equal(whole, Corpus.cached("key", lambda: TEXTS, _tokenizer(), tmp_path))
    assert list((tmp_path / "corpora").iterdir()) == [folder]


def test_a_store_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(GlassformerError, match=r"nowhere is no whole token store"):
        Corpus.open(tmp_path / "nowhere")


def test_of_two_builders_the_loser_uses_the_store_of_the_winner(tmp_path):
    def documents():
        yield from TEXTS
        Corpus.build(TEXTS, _tokenizer(), tmp_path / "store")  # the other one finishes first
        (tmp_path / "store" / "winner").touch()

    store = Corpus.build(documents(), _tokenizer(), tmp_path / "store")
    _assert_equal(store, Corpus.from_texts(TEXTS, _tokenizer()))
    assert (tmp_path / "store" / "winner").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from glassformer.data import blocks, builtin, corpus, store
from glassformer.data.tokenizer import Tokenizer
blocks.BLOCK_CHARACTERS = 997
def documents():
    for i, text in enumerate(builtin.sentences("facts", "train")):
        if i == 100:
            os.kill(os.getpid(), signal.SIGKILL)
        yield text
corpus.Corpus.cached("key", documents, Tokenizer.load(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_leaves_nothing_that_looks_like_a_store(tmp_path):
    _tokenizer().save(tmp_path / "t.json")
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "t.json"), str(tmp_path)]
    assert subprocess.run(command).returncode == -9
    (left,) = (tmp_path / "corpora").iterdir()
    assert (left / "tokens.bin").exists()  # it was killed while building
    assert left.suffix == ".building"
    whole = Corpus.from_texts(TEXTS, _tokenizer())
    _assert_equal(whole, Corpus.cached("key", lambda: TEXTS, _tokenizer(), tmp_path))
    assert left.exists()  # it might belong to another process that still works
    (store,) = (p for p in (tmp_path / "corpora").iterdir() if p != left)
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(left, (long_ago, long_ago))
    (store / "corpus.json").unlink()
    _assert_equal(whole, Corpus.cached("key", lambda: TEXTS, _tokenizer(), tmp_path))
    assert not left.exists()


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "_put_in_place", full)
    with pytest.raises(GlassformerError, match="No space left on device\nmake room, or set GLASSFORMER_CACHE"):
        Corpus.build(TEXTS, _tokenizer(), tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(GlassformerError, match="cannot be written"):
        Corpus.cached("key", lambda: TEXTS, _tokenizer(), tmp_path / "file")


def test_a_tokenizer_is_trained_once(tmp_path):
    config = TokenizerConfig(kind="word")
    first = cached_tokenizer("key", lambda: TEXTS, config, tmp_path)
    assert cached_tokenizer("key", _never, config, tmp_path).identity == first.identity
    other = cached_tokenizer("key", lambda: TEXTS, TokenizerConfig(kind="word", lowercase=True), tmp_path)
    assert other.identity != first.identity
    for file in (tmp_path / "tokenizers").iterdir():
        file.write_text("{")
    assert cached_tokenizer("key", lambda: TEXTS, config, tmp_path).identity == first.identity
    first.save(tmp_path / "own.json")
    own = TokenizerConfig(path=str(tmp_path / "own.json"))
    assert cached_tokenizer("key", _never, own, tmp_path).identity == first.identity


# --- sentences ------------------------------------------------------------------------------------

STORY = ["Mars is red. It has two moons.", "Dr. Mars came.\nHe left"]


def test_sentences_are_marked_where_a_language_is_named(tmp_path, monkeypatch):
    """In memory, in a store, and across the batches in which texts are tokenized."""
    tokenizer = Tokenizer.train(STORY, TokenizerConfig(kind="character", vocab_size=60))
    marked = Corpus.from_texts(STORY, tokenizer, language="en")
    pieces = [tokenizer.decode(piece) for piece in np.split(marked.tokens, np.flatnonzero(marked.starts_sentence)[1:])]
    assert [piece.strip() for piece in pieces] == ["Mars is red.", "It has two moons.", "Dr. Mars came.", "He left"]
    assert marked.starts_sentence[marked.document_starts[:-1]].all()
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", 5)
    stored = Corpus.build(STORY, tokenizer, tmp_path / "store", language="en")
    np.testing.assert_array_equal(stored.starts_sentence, marked.starts_sentence, strict=True)
    assert stored.identity == marked.identity
    assert isinstance(stored.starts_sentence, np.memmap)


def test_without_a_language_sentences_cost_nothing(tmp_path, monkeypatch):
    """Nothing is looked for, written or hashed."""
    monkeypatch.setattr(blocks, "sentence_starts", lambda *args: _never())
    plain = Corpus.build(STORY, _tokenizer(), tmp_path / "store")
    assert plain.starts_sentence is None and Corpus.from_texts(STORY, _tokenizer()).starts_sentence is None
    assert not (tmp_path / "store" / "starts_sentence.bin").exists()
    assert plain.identity == Corpus.from_texts(STORY, _tokenizer()).identity


def test_stores_with_and_without_sentences_are_told_apart(tmp_path):
    """In both orders, and by language; a damaged array is made anew."""
    plain = Corpus.cached("key", lambda: STORY, _tokenizer(), tmp_path)
    english = Corpus.cached("key", lambda: STORY, _tokenizer(), tmp_path, language="en")
    Corpus.cached("key", lambda: STORY, _tokenizer(), tmp_path, language="de")
    assert len(list((tmp_path / "corpora").iterdir())) == 3
    assert plain.starts_sentence is None and english.starts_sentence is not None
    assert Corpus.cached("key", _never, _tokenizer(), tmp_path).starts_sentence is None
    assert plain.identity != english.identity
    marked = np.array(english.starts_sentence)
    for file in (tmp_path / "corpora").glob("*/starts_sentence.bin"):
        os.truncate(file, 1)
    with pytest.raises(AssertionError, match="the cache should have been used"):
        Corpus.cached("key", _never, _tokenizer(), tmp_path, language="en")
    again = Corpus.cached("key", lambda: STORY, _tokenizer(), tmp_path, language="en")
    np.testing.assert_array_equal(again.starts_sentence, marked)


# --- real data ------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("GLASSFORMER_DATA"), reason="GLASSFORMER_DATA is not set: no public data")
def test_wikitext_2_in_seconds_and_again_at_once(tmp_path):
    source = str(Path(os.environ["GLASSFORMER_DATA"]) / "wikitext-2" / "valid.txt")
    key = fingerprint(source)
    config = TokenizerConfig(vocab_size=8192, unknown="<unk>")
    tokenizer = cached_tokenizer(key, lambda: read_documents(source), config, tmp_path)
    first = Corpus.cached(key, lambda: read_documents(source), tokenizer, tmp_path)
    words = " ".join(read_documents(source)).split()
    assert first.n_unknown >= words.count("<unk>") > 0
    assert first.n_unknown < 1.01 * words.count("<unk>")
    started = time.perf_counter()
    tokenizer = cached_tokenizer(fingerprint(source), _never, config, tmp_path)
    _assert_equal(first, Corpus.cached(fingerprint(source), _never, tokenizer, tmp_path))
    assert time.perf_counter() - started < 0.5
