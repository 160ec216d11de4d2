"""Causal language modelling: every token asked once, from what stands before it."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError
from glassformer.objectives.causal_lm import HEAD, CausalLM, CausalLMConfig


def make(tokenizer: Tokenizer, max_length: int, units: str) -> CausalLM:
    return CausalLM(CausalLMConfig(units=units), tokenizer, max_length)


def test_the_example_of_the_module(tokenizer):
    """Read from [SEP] on, asked one token later."""
    corpus = Corpus.from_texts(["mars is called the red planet"], tokenizer)
    example = make(tokenizer, 13, "documents").dataset(corpus).example(0, np.random.default_rng(1))
    ids = corpus.document(0).tolist()
    assert example.streams["decoder"].values.tolist() == [tokenizer.sep_id, *ids]
    assert example.targets[HEAD].values.tolist() == [*ids, tokenizer.sep_id]
    assert example.targets[HEAD].positions.tolist() == list(range(7)) and example.streams["decoder"].causal


@settings(deadline=None, max_examples=40)
@given(max_length=st.integers(2, 29), units=st.sampled_from(["documents", "stream"]))
def test_every_token_is_asked_once_and_from_the_one_before_it(tokenizer, corpus, max_length, units):
    """Over all windows: each token of each document and its end (in a stream all but the first, which nothing stands
    before), and what is read at the asked place is the token before."""
    found = make(tokenizer, max_length, units).dataset(corpus)
    separator = tokenizer.sep_id
    documents = [corpus.document(n).tolist() for n in range(corpus.n_documents)]
    asked, before = [], []
    for index in range(len(found)):
        example = found.example(index, np.random.default_rng(1))
        assert len(example.streams["decoder"].values) == found.lengths[index] <= max_length
        asked += example.targets[HEAD].values.tolist()
        before += example.streams["decoder"].values[example.targets[HEAD].positions].tolist()
    framed = [token for ids in documents for token in [*ids, separator]]
    assert asked == (framed if units == "documents" else framed[1:])
    assert before == ([separator, *framed[:-1]] if units == "documents" else framed[:-1])


def test_unknown_words_are_read_and_never_asked(tokenizer):
    corpus = Corpus.from_texts(["mars qwertz red"], tokenizer)
    example = make(tokenizer, 13, "documents").dataset(corpus).example(0, np.random.default_rng(1))
    assert (
        tokenizer.unk_id in example.streams["decoder"].values and tokenizer.unk_id not in example.targets[HEAD].values
    )


def test_what_is_generated_stands_behind_the_prompt(texts):
    """With the space between, where tokens carry it; without special tokens."""
    for kind, joined in (("word", " the red planet"), ("bpe", " the red planet")):
        tokenizer = Tokenizer.train(texts, TokenizerConfig(kind=kind, vocab_size=400))
        objective = make(tokenizer, 29, "documents")
        prompt = objective.prompt("mars is called")
        whole = tokenizer.encode("mars is called the red planet").ids.tolist()
        rest = whole[len(tokenizer.encode("mars is called").ids) :]
        assert objective.text_of(prompt, [*rest, tokenizer.sep_id]) == joined
    with pytest.raises(UsageError, match="from left to right"):
        objective.prompt("mars is [MASK]")


@pytest.mark.parametrize("overlap", [0, 1, 5, 9])
def test_an_evaluation_may_read_again_what_stood_before(tokenizer, corpus, overlap):
    """Each token is asked once, behind at least `overlap` others; training does not read anything twice."""
    config = CausalLMConfig(units="stream", evaluation_overlap=overlap)
    objective = CausalLM(config, tokenizer, 13)
    plain = objective.dataset(corpus)
    units = objective.for_evaluation().dataset(corpus)
    examples = [units.example(n, np.random.default_rng(1)) for n in range(len(units))]
    targets = [example.targets[HEAD].values.tolist() for example in examples]
    whole = [plain.example(n, np.random.default_rng(1)).targets[HEAD].values.tolist() for n in range(len(plain))]
    assert list(chain.from_iterable(targets)) == list(chain.from_iterable(whole))
    for index, example in enumerate(examples):
        assert len(example.streams["decoder"].values) == units.lengths[index] <= 13
        assert index == 0 or example.targets[HEAD].positions.min() >= overlap
    assert (len(units) > len(plain)) == (overlap > 0)
    with pytest.raises(UsageError, match="nothing of a row"):
        CausalLM(CausalLMConfig(evaluation_overlap=13), tokenizer, 13)


def test_shifted_rows_are_cut_elsewhere_every_time_and_those_of_an_evaluation_are_not():
    """Of a text in which no word comes twice: each row is a piece of it, as long as the row and at most half a row away
    from it, and in time it begins everywhere there."""
    text = " ".join(f"word{n}" for n in range(61))
    tokenizer = Tokenizer.train([text], TokenizerConfig(kind="word", vocab_size=97))
    corpus = Corpus.from_texts([text], tokenizer)
    stream = [*corpus.document(0).tolist(), tokenizer.sep_id]
    objective = CausalLM(CausalLMConfig(units="stream", shifted=True), tokenizer, 12)
    found, last = objective.dataset(corpus), len(stream) - 1 - 12
    assert len(found) == 6 and found.lengths[-1] == 1
    for index in range(5):
        begins = set()
        for draw in range(300):
            example = found.example(index, np.random.default_rng(draw))
            ids = example.streams["decoder"].values.tolist()
            begin = stream.index(ids[0])
            assert [*ids, example.targets[HEAD].values[-1]] == stream[begin : begin + 13]
            begins.add(begin)
        assert begins == {*range(max(0, 12 * index - 6), min(12 * index + 6, last) + 1)}
    asking = objective.for_evaluation().dataset(corpus)
    for index in range(len(asking)):
        row = asking.example(index, np.random.default_rng(index)).streams["decoder"].values.tolist()
        assert row == stream[12 * index : 12 * index + 12][: asking.lengths[index]]
