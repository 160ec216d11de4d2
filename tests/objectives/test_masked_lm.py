"""Masked language modelling: who is hidden, how often and how, and that the answers asked for are the right ones."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.batch import IGNORE_INDEX, BatchConfig, Shapes, collate, plan
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError
from glassformer.objectives.masked_lm import HEAD, MaskedLM, MaskedLMConfig
from glassformer.training.order import TrainingOrder

MAX_LENGTH = 13
SIGMAS = 4.5


def assert_share(hits: int, trials: int, expected: float) -> None:
    """Within binomial limits: wrong by chance once in 150,000 times, and the seed is fixed."""
    assert abs(hits - trials * expected) < SIGMAS * math.sqrt(trials * expected * (1 - expected)) + 1


def make(tokenizer: Tokenizer, max_length: int = MAX_LENGTH, **settings) -> MaskedLM:
    return MaskedLM(MaskedLMConfig(**settings), tokenizer, max_length)


def wordlike(objective: MaskedLM, number: int) -> np.ndarray:
    """So many ordinary tokens, at random."""
    return np.random.default_rng(2).choice(objective.masking.ordinary, number)


def restored(batch) -> torch.Tensor:
    """The batch's tokens with every answer written where it is asked."""
    targets, ids = batch.targets[HEAD], batch.streams["encoder"].input_ids
    flat = ids.flatten().clone()
    flat[targets.flat_index[: targets.n_targets]] = targets.values[: targets.n_targets]
    return flat.view(ids.shape)


# ------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("masked, random", [(0.8, 0.1), (0.5, 0.3), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_of_the_chosen_80_10_10(tokenizer, masked, random):
    """Shares of [MASK], random word and the word itself, over 100,000 tokens (a random word can be the word itself)."""
    objective = make(tokenizer, mask_token_share=masked, random_token_share=random)
    ids, n = wordlike(objective, 100_000), 100_000
    corrupted = objective.masking.corrupt(ids, np.arange(n), np.random.default_rng(3))
    by_chance = random / len(objective.masking.ordinary)
    is_mask, is_same = corrupted == tokenizer.mask_id, corrupted == ids
    assert_share(is_mask.sum(), n, masked)
    assert_share(is_same.sum(), n, 1 - masked - random + by_chance)
    assert_share((~is_mask & ~is_same).sum(), n, random - by_chance)


def test_evaluation_asks_the_same_whatever_the_rate_in_training(tokenizer: Tokenizer, corpus: Corpus) -> None:
    """Two runs that hide 15% and 40% while training answer the same questions; while training they do not."""
    few, many = (MaskedLM(MaskedLMConfig(mask_rate=rate), tokenizer, 13) for rate in (0.15, 0.4))

    def asked(objective: MaskedLM) -> list[list[int]]:
        units = objective.dataset(corpus)
        examples = [units.example(i, np.random.default_rng((7, i))) for i in range(len(units))]
        return [example.targets[HEAD].positions.tolist() for example in examples]

    assert asked(few.for_evaluation()) == asked(many.for_evaluation())
    assert asked(few) != asked(many)


def test_only_the_chosen_are_corrupted(objective):
    """Every other token is as it was, and the text given is not written to."""
    ids = wordlike(objective, 5_000)
    before, chosen = ids.copy(), np.arange(0, 5_000, 3)
    corrupted = objective.masking.corrupt(ids, chosen, np.random.default_rng(3))
    assert (ids == before).all()
    assert set(np.flatnonzero(corrupted != ids)) <= set(chosen)


def test_random_words_are_all_the_ordinary_words_alike(tokenizer):
    """Never a special token, and each word about as often as any other."""
    objective = make(tokenizer, mask_token_share=0.0, random_token_share=1.0)
    n = 200 * len(objective.masking.ordinary)
    drawn = objective.masking.corrupt(np.zeros(n, dtype=np.int64), np.arange(n), np.random.default_rng(3))
    counts = np.bincount(drawn, minlength=tokenizer.vocab_size)
    assert not counts[list(tokenizer.special_ids)].any()
    assert np.abs(counts[objective.masking.ordinary] - 200).max() < 5 * math.sqrt(200)


@pytest.mark.parametrize("whole_word", [False, True])
@pytest.mark.parametrize("length", [7, 9, 10, 31, 200])
def test_the_mask_rate_holds_on_average_in_short_texts_too(tokenizer, length, whole_word):
    """0.15 of 9 tokens is neither 1 nor 2 tokens; whole words of 1 and 2 pieces overshoot and undershoot alike."""
    rate, n = (0.3, 1_500) if whole_word else (0.15, 1_500)
    objective = make(tokenizer, whole_word=whole_word, mask_rate=rate)
    starts_word = np.arange(length) % 3 != 2
    rng = np.random.default_rng(4)
    numbers = np.array([len(objective.masking.choose(wordlike(objective, length), starts_word, rng)) for _ in range(n)])
    assert abs(numbers.mean() - rate * length) < SIGMAS * max(0.5, numbers.std()) / math.sqrt(n)


@pytest.mark.parametrize("whole_word", [False, True])
def test_every_place_is_asked_about_equally_often(tokenizer, whole_word):
    """Neither the first nor the last word of a text is favoured."""
    objective, n, length = make(tokenizer, whole_word=whole_word), 2_000, 20
    rng, counts = np.random.default_rng(5), np.zeros(length)
    for _ in range(n):
        counts[objective.masking.choose(wordlike(objective, length), np.ones(length, dtype=bool), rng)] += 1
    assert np.abs(counts / n - 0.15).max() < SIGMAS * math.sqrt(0.15 * 0.85 / n)


# ------------------------------------------------------------------------------------------------------ who is asked


@st.composite
def texts_with_specials(draw: st.DrawFn, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Any ids at all, special and unknown ones among them, and where words start; those that frame start their own."""
    ids = np.array(draw(st.lists(st.integers(0, vocab_size - 1), min_size=1, max_size=30)), dtype=np.int64)
    starts_word = np.array(draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))), dtype=bool)
    return ids, starts_word


@settings(deadline=None, max_examples=150)
@given(data=st.data(), whole_word=st.booleans(), rate=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_never_a_special_token_and_always_something(tokenizer, data, whole_word, rate, seed):
    """Targets are ordinary words, each place once, in order; a text with an ordinary word is never left unasked."""
    objective = make(tokenizer, whole_word=whole_word, mask_rate=rate)
    ids, starts_word = data.draw(texts_with_specials(tokenizer.vocab_size))
    example = objective.example(ids, starts_word, np.random.default_rng(seed))
    positions, targets, *_ = example.targets[HEAD]
    assert not set(targets.tolist()) & tokenizer.special_ids
    assert (np.diff(positions) > 0).all()
    assert (len(positions) > 0) == bool(objective.masking.is_ordinary[ids].any())
    assert targets.tolist() == ids[positions].tolist()


@settings(deadline=None, max_examples=150)
@given(data=st.data(), rate=st.floats(0.05, 0.95), seed=st.integers(0, 99))
def test_all_pieces_of_a_word_or_none(tokenizer, data, rate, seed):
    """A word goes from one start to the next, also around a character that the vocabulary lacks."""
    objective = make(tokenizer, whole_word=True, mask_rate=rate)
    ids, starts_word = data.draw(texts_with_specials(tokenizer.vocab_size))
    asked = np.isin(np.arange(len(ids)), objective.masking.choose(ids, starts_word, np.random.default_rng(seed)))
    for word in np.split(np.arange(len(ids)), np.flatnonzero(starts_word)):
        pieces = word[objective.masking.is_ordinary[ids[word]]]
        assert asked[pieces].all() or not asked[pieces].any()


def test_whole_words_of_a_real_tokenizer(texts):
    """With WordPiece: of 'transformers' either each piece is asked or none, and single tokens do split it."""
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind="wordpiece", vocab_size=60))
    corpus = Corpus.from_texts(texts, tokenizer)
    assert corpus.starts_word.mean() < 0.7

    def splits(whole_word: bool) -> int:
        units = make(tokenizer, 128, whole_word=whole_word).dataset(corpus)
        number = 0
        for i in range(len(units)):
            targets = units.example(i, np.random.default_rng(i)).targets[HEAD].positions
            start, end = corpus.document_starts[i : i + 2]
            words = np.cumsum(np.concatenate([[True], corpus.starts_word[start:end], [True]]))
            number += sum(0 < np.isin(np.flatnonzero(words == w), targets).mean() < 1 for w in set(words[targets]))
        return number

    assert splits(whole_word=False) > 0
    assert splits(whole_word=True) == 0


# -------------------------------------------------------------------------------------------- equal seeds, equal masks


def batches(objective: MaskedLM, corpus: Corpus, seed: int, epoch: int, **config) -> list:
    order = TrainingOrder(objective.dataset(corpus), objective, BatchConfig(**config), seed)
    return [order.batch(epoch, rows) for step in order.epoch(epoch) for rows in step]


def corruption(objective: MaskedLM, corpus: Corpus, seed: int, epoch: int, **config) -> dict:
    """Each text, restored, with its corrupted tokens: whatever row of whatever batch it came in."""
    found = {}
    for batch in batches(objective, corpus, seed, epoch, **config):
        original, stream = restored(batch), batch.streams["encoder"]
        for r, ids in enumerate(original):
            starts = [*(ids == objective.tokenizer.cls_id).nonzero().flatten().tolist(), len(ids)]
            for start, end in itertools.pairwise(starts):
                length = int((ids[start:end] != objective.tokenizer.pad_id).sum())
                text = tuple(ids[start : start + length].tolist())
                found[text] = tuple(stream.input_ids[r, start : start + length].tolist())
    return found


def test_equal_masks_for_equal_seed_epoch_and_index(objective, corpus):
    """Not in whose company a text comes: other batch sizes, layouts and budgets corrupt it alike."""
    first = corruption(objective, corpus, 1, 0, size=3, layout="padded")
    assert len(first) == len(objective.dataset(corpus))
    assert first == corruption(objective, corpus, 1, 0, size=5, layout="packed")
    assert first == corruption(objective, corpus, 1, 0, tokens=41, layout="grouped")


@pytest.mark.parametrize("seed, epoch", [(1, 1), (2, 0)])
def test_other_masks_in_another_epoch_or_with_another_seed(objective, corpus, seed, epoch):
    """Most texts are corrupted otherwise (a short one may meet the same lot twice)."""
    first, other = corruption(objective, corpus, 1, 0, size=3), corruption(objective, corpus, seed, epoch, size=3)
    assert set(first) == set(other)
    assert sum(first[text] != other[text] for text in first) > len(first) / 2


# ------------------------------------------------------------------------------------------------------ never a shift


@pytest.mark.parametrize("layout", ["padded", "grouped", "packed"])
@pytest.mark.parametrize("units", ["documents", "stream"])
def test_answers_written_where_they_are_asked_give_the_text_back(tokenizer, corpus, layout, units):
    """After collation, packed or padded: restoring the asked places gives every unit back (what the units are is
    held against the documents below)."""
    objective = make(tokenizer, units=units)
    found = []
    for batch in batches(objective, corpus, 1, 0, size=3, layout=layout):
        ids = restored(batch)
        found += [ids[row][ids[row] != tokenizer.pad_id] for row in range(len(ids))]
        assert not (batch.streams["encoder"].input_ids == ids).all()
    joined = [token for row in found for token in row.tolist()]
    starts = [i for i, token in enumerate(joined) if token == tokenizer.cls_id] if units == "documents" else []
    texts = [joined[a:b] for a, b in zip(starts, [*starts[1:], len(joined)], strict=False)] or [
        r.tolist() for r in found
    ]
    assert sorted(texts) == sorted(unit.tolist() for unit in originals(objective, corpus))


# ------------------------------------------------------------------------------------------------------------ units


def corpus_of(lengths: list[int], tokenizer: Tokenizer) -> Corpus:
    """Documents of these lengths; no two neighbouring tokens are equal."""
    ordinary = [i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids]
    tokens = np.resize(ordinary, sum(lengths)).astype(np.uint16)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Corpus(tokens, np.arange(len(tokens)) % 3 != 2, starts, 0, 0)


def originals(objective: MaskedLM, corpus: Corpus) -> list[np.ndarray]:
    """Every unit with its answers written in."""
    units, found = objective.dataset(corpus), []
    for i in range(len(units)):
        example = units.example(i, np.random.default_rng(i))
        ids = example.streams["encoder"].values.copy()
        ids[example.targets[HEAD].positions] = example.targets[HEAD].values
        assert len(ids) == units.lengths[i]
        found.append(ids)
    return found


document_lengths = st.lists(st.integers(1, 60), min_size=1, max_size=9)


@settings(deadline=None, max_examples=60)
@given(lengths=document_lengths, max_length=st.integers(3, 29))
def test_long_documents_become_windows(tokenizer, lengths, max_length):
    """Framed windows of nearly equal length, as few as can be, whose concatenation is the document."""
    corpus = corpus_of(lengths, tokenizer)
    windows = iter(originals(make(tokenizer, max_length), corpus))
    for index, length in enumerate(lengths):
        mine = [next(windows) for _ in range(-(-length // (max_length - 2)))]
        assert all((w[0], w[-1]) == (tokenizer.cls_id, tokenizer.sep_id) for w in mine)
        assert max(map(len, mine)) <= max_length and max(map(len, mine)) - min(map(len, mine)) <= 1
        np.testing.assert_array_equal(np.concatenate([w[1:-1] for w in mine]), corpus.document(index))
    assert next(windows, None) is None


@settings(deadline=None, max_examples=60)
@given(lengths=document_lengths, max_length=st.integers(3, 29))
def test_stream_rows_are_the_documents_with_separators(tokenizer, lengths, max_length):
    """One after another they are all documents, [SEP] after each; every row but the last is full."""
    corpus = corpus_of(lengths, tokenizer)
    objective = make(tokenizer, max_length, units="stream")
    rows = originals(objective, corpus)
    whole = np.concatenate([[*corpus.document(i), tokenizer.sep_id] for i in range(len(lengths))])
    np.testing.assert_array_equal(np.concatenate(rows), whole)
    assert {len(row) for row in rows[:-1]} <= {max_length}


@pytest.mark.parametrize("units", ["documents", "stream"])
def test_texts_in_training_may_be_shorter_than_what_the_model_reads(tokenizer, units):
    """Cut as for a model that reads no more; a prompt may still be as long as the model reads."""
    corpus = corpus_of([40, 3, 25], tokenizer)
    short = make(tokenizer, 29, units=units, row_length=9)
    found, wanted = originals(short, corpus), originals(make(tokenizer, 9, units=units), corpus)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert max(map(len, found)) == 9
    long = " ".join([tokenizer.decode(corpus.tokens[:1])] * 20)
    assert len(short.for_evaluation().prompt(long).tokens) == 22
    with pytest.raises(UsageError, match="row_length=30 is more than the model reads"):
        make(tokenizer, 29, row_length=30)


@settings(deadline=None, max_examples=60)
@given(lengths=document_lengths, max_length=st.integers(3, 29))
def test_stream_rows_know_where_words_start(tokenizer, lengths, max_length):
    """The flags lie beside their tokens, and each separator is a word of its own."""
    corpus = corpus_of(lengths, tokenizer)
    units = make(tokenizer, max_length, units="stream").dataset(corpus)
    edges = np.concatenate([[0], np.cumsum(units.lengths)])
    flags = np.concatenate([units.windows.row(int(a), int(b))[1] for a, b in itertools.pairwise(edges)])
    starts = corpus.document_starts
    whole = [[*corpus.starts_word[a:b], True] for a, b in itertools.pairwise(starts)]
    np.testing.assert_array_equal(flags, np.concatenate(whole))


# ------------------------------------------------------------------------------------------------- shapes and the loss


@pytest.mark.parametrize("layout", ["grouped", "packed"])
def test_fixed_shapes_have_the_same_loss(objective, corpus, model, layout):
    """Padding up to the shapes of a compiled model changes nothing that is counted."""
    units = objective.dataset(corpus)
    shapes = Shapes(rows=7, lengths=(5, 11, MAX_LENGTH), asked_share=0.1, packed=layout == "packed")
    for rows in plan(units.lengths, BatchConfig(size=5, layout=layout), MAX_LENGTH, np.random.default_rng(1)):
        examples = [[units.example(u, np.random.default_rng((1, u))) for u in row] for row in rows]
        free, fixed = (collate(examples, objective.tokenizer.pad_id, s) for s in (None, shapes))
        assert fixed.streams["encoder"].input_ids.shape != free.streams["encoder"].input_ids.shape
        with torch.no_grad():
            a, b = (objective.loss(model(batch), batch)[HEAD] for batch in (free, fixed))
        assert a.count == b.count and fixed.tokens == free.tokens
        torch.testing.assert_close(a.total, b.total)


def test_scores_against_counting_by_hand(objective):
    """Right at the first place, among the five at the second, below them at the third; padding never counts."""
    units_asked = [(2, 2), (3, 1), (7, 0)]
    logits = torch.zeros(8, objective.tokenizer.vocab_size)
    for row, (target, _) in enumerate(units_asked):
        logits[row, 20:26] = torch.arange(6.0, 0.0, -1.0)
        logits[row, target] = [9.0, 2.5, -1.0][row]
    example = objective.prompt("[MASK] [MASK] [MASK]").example
    batch = collate([[example]], 0, Shapes(1, (MAX_LENGTH,), 0.01))
    targets = torch.tensor([target for target, _ in units_asked] + 5 * [IGNORE_INDEX])
    batch = batch._replace(targets={HEAD: batch.targets[HEAD]._replace(values=targets)})
    scores = objective.sums({HEAD: logits}, batch)
    assert (int(scores[f"{HEAD}/accuracy"].total), scores[f"{HEAD}/accuracy"].count) == (1, 3)
    assert int(scores[f"{HEAD}/top5_accuracy"].total) == 2


def test_a_text_of_unknown_words_asks_nothing_and_costs_nothing(objective):
    """A batch in which nothing is asked has a loss of zero with a gradient of zero, not NaN."""
    encoded = objective.tokenizer.encode("qqq zzz")
    batch = collate([[objective.example(encoded.ids, encoded.starts_word, np.random.default_rng(1))]], 0)
    logits = torch.randn(len(batch.targets[HEAD].flat_index), objective.tokenizer.vocab_size, requires_grad=True)
    loss = objective.loss({HEAD: logits}, batch)[HEAD]
    loss.total.backward()
    assert (loss.total.item(), loss.count) == (0.0, 0)
    assert not logits.grad.any()


def test_target_counts_are_the_targets(objective, corpus):
    """One count for each word of the texts, whatever a single draw would ask; special and unknown ones have none."""
    counts = objective.target_counts(objective.dataset(corpus), seed=1)[HEAD]
    expected = np.bincount(corpus.tokens, minlength=objective.tokenizer.vocab_size)
    expected[list(objective.tokenizer.special_ids)] = 0
    assert counts.tolist() == expected.tolist()
    few = objective.target_counts(objective.dataset(corpus), seed=1, limit=1)[HEAD]
    assert 0 < few.sum() < counts.sum()


# ---------------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize("units, first", [("documents", "[CLS]"), ("stream", "[SEP]")])
def test_a_prompt_is_framed_as_in_training(tokenizer, units, first):
    """[MASK] in a person's text is a blank, and nothing is known about its answer."""
    prompt = make(tokenizer, units=units).prompt("mars is called the [MASK] planet")
    assert prompt.tokens == [first, "mars", "is", "called", "the", "[MASK]", "planet", "[SEP]"]
    positions, targets, *_ = prompt.example.targets[HEAD]
    assert positions.tolist() == [5] and targets.tolist() == [IGNORE_INDEX]


def test_other_special_tokens_in_a_text_are_text(objective):
    """Nobody's text can end the sentence for the model."""
    ids = make(objective.tokenizer, 29).prompt("mars [SEP] [CLS] [PAD] is [MASK]").example.streams["encoder"].values
    assert not {objective.tokenizer.sep_id, objective.tokenizer.cls_id, objective.tokenizer.pad_id} & set(ids[1:-1])


def test_a_prompt_may_have_no_blank(objective):
    """Attention can be looked at without asking anything."""
    assert len(objective.prompt("mars is red").example.targets[HEAD].positions) == 0


def test_a_prompt_as_long_as_the_model_and_one_longer(objective):
    """The limit counts [CLS] and [SEP]; the error says both numbers."""
    assert len(objective.prompt("mars " * (MAX_LENGTH - 2)).tokens) == MAX_LENGTH
    with pytest.raises(UsageError, match=r"the text has 12 tokens, the model reads at most 11"):
        objective.prompt("mars " * (MAX_LENGTH - 1))


def test_settings_that_cannot_be(tokenizer):
    """Shares above one, and a model that has no room for a word between [CLS] and [SEP]."""
    with pytest.raises(UsageError, match="add up to more than 1"):
        make(tokenizer, mask_token_share=0.8, random_token_share=0.3)
    with pytest.raises(UsageError, match="leaves no room"):
        make(tokenizer, max_length=2)
    assert make(tokenizer, mask_token_share=0.9, random_token_share=0.1) and make(tokenizer, max_length=3)
