"""Denoising and span corruption: what is damaged, how often, and that nothing is lost that the target needs."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer import recipe as recipes
from glassformer.assemble import assemble
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError
from glassformer.objectives import denoising, span_corruption
from glassformer.objectives.denoising import Denoising, DenoisingConfig, infilled, permuted
from glassformer.objectives.span_corruption import SpanCorruption, SpanCorruptionConfig, numbers_of, partition, spans

MASK = 4
MORE = "One one. two! Three three? Dr saw"
NOTHING = {"infill_rate": 0.0, "mask_rate": 0.0, "delete_rate": 0.0}


@pytest.fixture(scope="module")
def with_sentinels(texts) -> Tokenizer:
    return Tokenizer.train([*texts, MORE], TokenizerConfig(kind="word", vocab_size=150, sentinels=9))


def words(number: int) -> np.ndarray:
    """Ids that all differ, none special."""
    return np.arange(10, 10 + number)


# -------------------------------------------------------------------------------------------------------- denoising


@settings(deadline=None, max_examples=200)
@given(length=st.integers(1, 40), rate=st.floats(0.05, 0.9), mean=st.floats(0.3, 6.0), seed=st.integers(0, 2**32))
def test_infilling_keeps_the_rest_in_order(length, rate, mean, seed):
    """What is left stands in its order; a mask for each span, never two side by side; the rate of tokens is gone."""
    ids = words(length)
    damaged = infilled(ids, rate, mean, MASK, np.random.default_rng(seed))
    kept = damaged[damaged != MASK]
    assert (np.diff(kept) > 0).all() and set(kept) <= set(ids)
    assert len(damaged) <= length
    gone = length - len(kept)
    assert gone in (int(rate * length), int(rate * length) + 1)
    masks = np.flatnonzero(damaged == MASK)
    assert (np.diff(masks) > 1).all()
    # between two masks something is left, and at each place where something is gone there is a mask
    gaps = np.flatnonzero(np.diff(np.concatenate([[9], kept, [10 + length]])) > 1)
    assert len(masks) >= len(gaps)


def test_spans_have_poisson_lengths():
    """Mean and share of empty spans over many long texts, within a few standard errors (the last span of a text is cut
    to the rate, hence the wide limits)."""
    lengths = []
    for seed in range(300):
        damaged = infilled(words(400), 0.3, 3.0, MASK, np.random.default_rng(seed))
        edges = np.flatnonzero(damaged == MASK)
        for at in edges:
            left = damaged[at - 1] if at else 9
            right = damaged[at + 1] if at + 1 < len(damaged) else 410
            lengths.append(right - left - 1)
    lengths = np.array(lengths)
    assert np.mean(lengths) == pytest.approx(3.0, abs=0.1)
    assert np.mean(lengths == 0) == pytest.approx(np.exp(-3), abs=0.01)
    assert np.mean(lengths == 2) == pytest.approx(9 / 2 * np.exp(-3), abs=0.02)


def test_each_kind_of_damage_does_what_it_says(with_sentinels):
    """One at a time on one text; seeded: the same generator, the same damage."""
    ids = words(60)
    starts = np.arange(60) % 3 == 0

    def damaged(seed: int = 1, **config) -> np.ndarray:
        objective = Denoising(DenoisingConfig(**(NOTHING | config)), with_sentinels, 128)
        return objective.damage(ids, starts, None, np.random.default_rng(seed))

    assert np.array_equal(damaged(), ids)
    masked = damaged(mask_rate=0.4)
    assert len(masked) == 60 and set(masked) - set(ids) == {MASK} and 10 < (masked == MASK).sum() < 40
    deleted = damaged(delete_rate=0.4)
    assert 20 < len(deleted) < 50 and (np.diff(deleted) > 0).all()
    turned = damaged(rotate=1.0)
    begin = int(np.flatnonzero(turned == 10)[0])
    assert np.array_equal(np.roll(turned, -begin), ids) and damaged(2, rotate=1.0)[0] != turned[0]
    shuffled = damaged(shuffle_words=1.0)
    assert sorted(shuffled) == ids.tolist() and not np.array_equal(shuffled, ids)
    assert all(
        (word % 3 == 1) and list(shuffled[n : n + 3]) == [word, word + 1, word + 2]
        for n, word in enumerate(shuffled)
        if n % 3 == 0
    )
    for config in ({"infill_rate": 0.3}, {"mask_rate": 0.4}, {"shuffle_words": 0.5}):
        assert np.array_equal(damaged(5, **config), damaged(5, **config))


def test_sentences_change_places_whole(with_sentinels):
    """Each ends where it ended; all orders come. A full stop behind a title ends no sentence."""
    encode = with_sentinels.encode
    parts = ("One moon .", "Dr. one saw two .", "Three three three !")
    text = Corpus.from_texts([" ".join(parts)], with_sentinels, language="en")
    objective = Denoising(DenoisingConfig(**NOTHING, permute_sentences=1.0), with_sentinels, 128)
    assert objective.needs_sentences(objective.config) and not objective.needs_sentences(DenoisingConfig())
    sentences = [encode(s).ids.tolist() for s in parts]
    dataset, seen = objective.dataset(text), set()
    for seed in range(60):
        damaged = dataset.example(0, np.random.default_rng(seed)).streams["encoder"].values[1:-1].tolist()
        orders = {
            order
            for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
            if [token for n in order for token in sentences[n]] == damaged
        }
        assert len(orders) == 1
        seen |= orders
    assert len(seen) == 6


def test_in_a_stream_a_separator_goes_with_the_sentence_that_it_ends(with_sentinels):
    """Rows over several texts: each sentence keeps its own."""
    config = DenoisingConfig(**NOTHING, permute_sentences=1.0, units="stream")
    objective = Denoising(config, with_sentinels, 16)
    texts = ["One moon . two moons .", "Three moons !", "One sun . Three three ."]
    corpus = Corpus.from_texts(texts, with_sentinels, language="en")
    dataset = objective.dataset(corpus)
    sep = with_sentinels.sep_id
    assert [dataset.windows.starts_sentence(n).sum() for n in range(len(dataset))] == [4, 1]
    ids, flags = dataset.windows[0][0], dataset.windows.starts_sentence(0)
    assert not flags[ids == sep].any() and flags[0]
    with pytest.raises(ValueError, match="does not know where sentences begin"):
        objective.dataset(Corpus.from_texts(texts, with_sentinels)).example(0, np.random.default_rng(1))


def test_pieces_are_permuted_whole():
    ids, starts = words(5), np.array([True, False, True, True, False])
    orders = {tuple(permuted(ids, starts, starts, np.random.default_rng(seed))[0]) for seed in range(60)}
    assert orders == {
        (10, 11, 12, 13, 14), (10, 11, 13, 14, 12), (12, 10, 11, 13, 14),
        (12, 13, 14, 10, 11), (13, 14, 10, 11, 12), (13, 14, 12, 10, 11),
    }  # fmt: skip


def test_the_target_is_the_whole_text(tokenizer, corpus):
    """Whatever was damaged: the decoder reads [CLS] and the text, and is asked the text and [SEP]."""
    objective = Denoising(DenoisingConfig(delete_rate=0.3, shuffle_words=0.5), tokenizer, 13)
    dataset = objective.dataset(corpus)
    for index in range(len(dataset)):
        ids, _ = dataset.windows[index]
        example = dataset.example(index, np.random.default_rng(index))
        assert example.streams["decoder"].values.tolist() == [tokenizer.cls_id, *ids]
        assert example.targets[denoising.HEAD].values.tolist() == [*ids, tokenizer.sep_id]
        assert example.streams["decoder"].causal and not example.streams["encoder"].causal


# -------------------------------------------------------------------------------------------------- span corruption


@settings(deadline=None, max_examples=200)
@given(length=st.integers(2, 60), rate=st.floats(0.05, 0.9), mean=st.floats(1.0, 6.0), seed=st.integers(0, 2**32))
def test_spans_have_the_number_and_the_sum_they_should(length, rate, mean, seed):
    """In order, apart from each other, never everything."""
    taken, number = numbers_of(length, rate, mean)
    found = spans(length, rate, mean, np.random.default_rng(seed))
    assert len(found) == number >= 1 and sum(stop - start for start, stop in found) == taken < length
    edges = [edge for span in found for edge in span]
    assert all(a < b for a, b in itertools.pairwise(edges)) and edges[0] >= 0 and edges[-1] <= length


def test_every_place_of_a_span_is_as_likely():
    """One token of five, taken out alone: each of them."""
    drawn = [spans(5, 0.2, 1.0, np.random.default_rng(seed))[0][0] for seed in range(3_000)]
    assert (np.abs(np.bincount(drawn, minlength=5) - 600) < 4.5 * np.sqrt(600 * 4 / 5)).all()


def test_every_partition_is_as_likely():
    """4 as a sum of 2 and of 3 positive numbers."""
    n = 3_000
    for parts, every in ((2, {(1, 3), (2, 2), (3, 1)}), (3, {(1, 1, 2), (1, 2, 1), (2, 1, 1)})):
        drawn = [tuple(partition(4, parts, np.random.default_rng(seed)).tolist()) for seed in range(n)]
        assert set(drawn) == every
        for each in every:
            assert abs(drawn.count(each) - n / 3) < 4.5 * np.sqrt(n * 2 / 9)


def test_text_and_spans_together_are_the_whole(with_sentinels, texts):
    """Putting the asked spans where their sentinels stand gives the text back, for every text and several draws."""
    objective = SpanCorruption(SpanCorruptionConfig(corruption_rate=0.4, span_length=2), with_sentinels, 29)
    for text, seed in ((text, seed) for text in texts for seed in range(5)):
        ids = with_sentinels.encode(text).ids
        example = objective.example(ids, np.random.default_rng(seed))
        target = example.targets[span_corruption.HEAD].values
        assert target[-1] == with_sentinels.sep_id and example.streams["decoder"].values[0] == with_sentinels.cls_id
        assert np.array_equal(example.streams["decoder"].values[1:], target[:-1])
        prompt = objective.as_prompt(example)
        assert objective.text_of(prompt, target.tolist()) == with_sentinels.decode(ids)
        used = [int(i) for i in example.streams["encoder"].values if i in with_sentinels.sentinel_ids]
        assert used == with_sentinels.sentinel_ids[: len(used)] and used


def test_in_a_stream_no_gap_holds_the_end_of_a_text(with_sentinels):
    """A [SEP] within a target would end what is generated there. The texts still come back whole, and of each gap the
    longest part between two ends is taken out."""
    objective = SpanCorruption(
        SpanCorruptionConfig(corruption_rate=0.5, span_length=4, units="stream"), with_sentinels, 20
    )
    texts = ["One moon two moons", "Three", "Three moons", "One sun Three three Dr saw two moons"] * 6
    dataset = objective.dataset(Corpus.from_texts(texts, with_sentinels))
    cut = 0
    for index, seed in ((index, seed) for index in range(len(dataset)) for seed in range(20)):
        ids = dataset.windows[index][0]
        example = dataset.example(index, np.random.default_rng(seed))
        target = example.targets[span_corruption.HEAD].values
        assert (target == with_sentinels.sep_id).sum() == 1 and target[-1] == with_sentinels.sep_id
        assert objective.text_of(objective.as_prompt(example), target.tolist()) == with_sentinels.decode(ids)
        shapes = "".join("|" if id == with_sentinels.sep_id else "x" for id in ids)
        drawn = [shapes[start:stop] for start, stop in spans(len(ids), 0.5, 4.0, np.random.default_rng(seed))]
        longest = sum(max(map(len, shape.split("|"))) for shape in drawn)
        assert sum(int(id) not in with_sentinels.sentinel_ids for id in target[:-1]) == longest
        cut += sum("|" in shape for shape in drawn)
    assert cut > 100


def test_gaps_of_a_prompt_are_sentinels(with_sentinels):
    objective = SpanCorruption(SpanCorruptionConfig(), with_sentinels, 29)
    prompt = objective.prompt("mars [MASK] the [MASK] planet")
    assert prompt.tokens == ["mars", "[S0]", "the", "[S1]", "planet", "[SEP]"]
    said = with_sentinels.encode("is called").ids.tolist()
    first, second = with_sentinels.sentinel_ids[:2]
    red = with_sentinels.encode("red").ids.tolist()
    answer = [first, *said, second, *red, with_sentinels.sep_id]
    assert objective.text_of(prompt, answer) == "mars is called the red planet"
    assert objective.text_of(prompt, [first, *said]) == "mars is called the [S1] planet"
    with pytest.raises(UsageError, match="there is no gap"):
        objective.prompt("mars is red")


def test_a_text_of_spans_ends_at_a_gap_that_its_prompt_has_not(with_sentinels):
    """As the sentinel behind the last span would in a target of T5's; those of the prompt's own gaps go on."""
    objective = SpanCorruption(SpanCorruptionConfig(), with_sentinels, 32)
    _, second, *others = with_sentinels.sentinel_ids
    ends = objective.stop_tokens(objective.prompt("mars is [MASK] red [MASK]"))
    assert ends == {with_sentinels.sep_id, *others} and others
    assert objective.stop_tokens(objective.prompt("[MASK] is red")) == {*ends, second}


def test_a_tokenizer_without_sentinels_is_refused_with_how_many_are_needed(tokenizer):
    with pytest.raises(UsageError, match=r"makes up to (\d+) gaps .* 0 sentinels.*\n.*tokenizer.sentinels=\1"):
        SpanCorruption(SpanCorruptionConfig(), tokenizer, 128)


def test_sentinels_lie_behind_the_vocabulary_and_are_never_found_in_a_text(with_sentinels, texts):
    """Ids of their own; text that looks like one is text; saved and loaded they are the same."""
    plain = Tokenizer.train([*texts, MORE], TokenizerConfig(kind="word", vocab_size=150))
    assert with_sentinels.sentinel_ids == list(range(plain.vocab_size, plain.vocab_size + 9))
    assert not set(with_sentinels.encode("mars [S0] is [S8]").ids) & set(with_sentinels.sentinel_ids)
    assert not set(with_sentinels.encode("mars [S0] is [MASK]", allow_mask=True).ids) & set(with_sentinels.sentinel_ids)
    assert plain.sentinel_ids == []


def test_the_demo_masks_deletes_and_shuffles_and_asks_the_text_as_it_was():
    """Each kind of damage at the rate that `denoise-demo` names, within four standard errors, over many draws of its
    own texts; whatever was done, the decoder is asked the whole text."""
    parts = assemble(recipes.read("denoise-demo"))
    config, mask = parts.objective.config, parts.tokenizer.mask_id
    assert min(config.mask_rate, config.delete_rate, config.shuffle_words) > 0
    tokens = masked = deleted = texts = shuffled = 0
    for index in range(len(parts.train_dataset)):
        original = parts.train.document(index)
        for draw in range(12):
            example = parts.train_dataset.example(index, np.random.default_rng((index, draw)))
            damaged, [asked] = example.streams["encoder"].values[1:-1], example.targets.values()
            assert asked.values.tolist() == [*original, parts.tokenizer.sep_id]
            tokens, masked = tokens + len(original), masked + int((damaged == mask).sum())
            deleted += len(original) - len(damaged)
            once = [token for token in original if (original == token).sum() == 1]
            kept = [once.index(token) for token in damaged if token in once]
            if len(kept) > 5:  # so many are next to never in order by chance
                texts, shuffled = texts + 1, shuffled + (sorted(kept) != kept)
    assert texts > 500
    for found, many, rate in (
        (masked, tokens - deleted, config.mask_rate),
        (deleted, tokens, config.delete_rate),
        (shuffled, texts, config.shuffle_words),
    ):
        assert found / many == pytest.approx(rate, abs=4 * (rate * (1 - rate) / many) ** 0.5)


def test_the_demo_of_denoising_is_asked_with_words_masked_left_out_and_moved():
    """Its probe is read as it is typed: no word is unknown or cut in pieces."""
    parts = assemble(recipes.read("denoise-demo"))
    prompt = parts.objective.prompt("The [MASK] on mat cat the.")
    assert prompt.tokens == ["[CLS]", "The", "[MASK]", "on", "mat", "cat", "the", ".", "[SEP]"]
