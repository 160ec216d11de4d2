"""Pairs of sentences: how often, from where, whole, fitting; and that the answers asked for are the right ones."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.batch import IGNORE_INDEX, Example
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.data.windows import SentenceRuns
from glassformer.errors import UsageError
from glassformer.objectives.next_sentence import FALSE_PAIR, PAIR, SHORTER, TRUE_PAIR, WORDS
from glassformer.objectives.next_sentence import NextSentence as Objective
from glassformer.objectives.next_sentence import NextSentenceConfig as Config

MAX_LENGTH = 31
LETTERS = "abcdefghijklm"


def story(number: int, sentences: int, seed: int = 0) -> list[str]:
    """Sentences of 3 to 8 words, each word of which says its document, its sentence and its place."""
    rng = random.Random(1000 * seed + number)
    return [
        " ".join(f"{LETTERS[number]}{n}{LETTERS[place]}" for place in range(rng.randint(3, 8)))
        for n in range(sentences)
    ]


STORIES = [story(number, 4 + number) for number in range(13)]


def made(stories: list[list[str]], max_length: int = MAX_LENGTH, **settings) -> tuple[Objective, Corpus]:
    """The objective and a corpus in which every line is a sentence."""
    texts = ["\n".join(lines) for lines in stories]
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind="word", vocab_size=2000))
    return Objective(Config(**settings), tokenizer, max_length), Corpus.from_texts(texts, tokenizer, language="en")


def examples(objective: Objective, corpus: Corpus, epochs: int = 1) -> list[Example]:
    dataset = objective.dataset(corpus)
    return [dataset.example(i, np.random.default_rng((e, i))) for e in range(epochs) for i in range(len(dataset))]


def restored(objective: Objective, example: Example) -> list[list[str]]:
    """The texts of an example, with every answer written where it is asked."""
    ids = example.streams["encoder"].values.copy()
    ids[example.targets[WORDS].positions] = example.targets[WORDS].values
    tokens = [objective.tokenizer.token(id) for id in ids]
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]"
    borders = [0, *(n for n, token in enumerate(tokens) if token == "[SEP]")]
    return [tokens[a + 1 : b] for a, b in itertools.pairwise(borders)]


def is_whole(text: list[str], stories: list[list[str]]) -> bool:
    """Whether a text is a run of whole sentences of one story."""
    joined = " ".join(text)
    return any(joined in (" ".join(lines[a:b]) for a in range(len(lines)) for b in range(a + 1, len(lines) + 1))
               for lines in stories)  # fmt: skip


# ------------------------------------------------------------------------------------------------------- the pairs


@pytest.mark.parametrize("pairs", ["next", "order"])
def test_half_and_half(pairs):
    """Within binomial limits, over many epochs."""
    objective, corpus = made(STORIES, pairs=pairs)
    answers = np.array([e.targets[PAIR].values[0] for e in examples(objective, corpus, 80)])
    assert len(answers) > 2000 and set(answers) == {TRUE_PAIR, FALSE_PAIR}
    assert abs((answers == FALSE_PAIR).sum() - len(answers) / 2) < 4.5 * math.sqrt(len(answers) / 4)


def test_what_follows_follows_and_what_does_not_is_from_elsewhere():
    """Every first and second text is a run of whole sentences; a true second one goes on in the very next sentence; a
    false one is of another document. Both fit, and both answers have the same lengths within two tokens."""
    objective, corpus = made(STORIES)
    follows = [" ".join(lines) for lines in STORIES]
    dataset = objective.dataset(corpus)
    for example in examples(objective, corpus, 20):
        first, second = restored(objective, example)
        assert is_whole(first, STORIES) and is_whole(second, STORIES)
        assert len(example.streams["encoder"].values) <= MAX_LENGTH
        same = first[0][0] == second[0][0]
        assert len({word[0] for word in second}) == 1
        assert same == (example.targets[PAIR].values[0] == TRUE_PAIR)
        if same:
            assert any(" ".join([*first, *second]) in text for text in follows)
    assert dataset.lengths.max() <= MAX_LENGTH


def test_swapped_texts_follow_each_other_the_other_way_round():
    objective, corpus = made(STORIES, pairs="order")
    follows = [" ".join(lines) for lines in STORIES]
    for example in examples(objective, corpus, 20):
        first, second = restored(objective, example)
        in_order = [*first, *second] if example.targets[PAIR].values[0] == TRUE_PAIR else [*second, *first]
        assert any(" ".join(in_order) in text for text in follows)
        assert is_whole(first, STORIES) and is_whole(second, STORIES)


def test_a_false_second_text_is_never_the_true_one():
    """Also where every document holds the same sentences again and again, or is a copy of another."""
    again = "the same old words again"
    stories = [[line for own in story(number, 5) for line in (own, again)] for number in range(5)]
    stories += [stories[0], stories[1]]  # copies, under another number
    objective, corpus = made(stories, max_length=23)
    after: dict[str, set[str]] = {}
    for lines in stories:
        for one, two in itertools.pairwise(lines):
            after.setdefault(one, set()).add(two)
    false = 0
    for example in examples(objective, corpus, 40):
        first, second = (" ".join(text) for text in restored(objective, example))
        if example.targets[PAIR].values[0] == FALSE_PAIR and not first.endswith(again):
            [true] = next(nexts for line, nexts in after.items() if first.endswith(line))
            assert not second.startswith(true)
            false += 1
    assert false > 100


def test_where_all_others_are_longer_one_is_cut():
    """Never is one of the same document taken for want of another as short."""
    long = [" ".join(f"x{n}{letter}" for letter in LETTERS) for n in range(2)]
    objective, corpus = made([[f"{letter}0 {letter}1" for letter in LETTERS], long], max_length=31)
    seen = set()
    for example in examples(objective, corpus, 40):
        first, second = restored(objective, example)
        if example.targets[PAIR].values[0] == FALSE_PAIR and first[0][0] != "x":
            assert second == long[1].split()[: len(second)]
            seen.add(len(second))
    assert min(seen) == 2


def test_the_length_of_the_second_text_tells_nothing():
    """True and false second texts are as long, on average within half a token, and nearly always within `SHORTER` of
    the one whose place they take: so are the lengths that batches are planned by."""
    stories = [story(number, 12, seed) for seed in range(3) for number in range(13)]
    stories = [[f"{line} {seed}" for line in lines] for seed, lines in enumerate(stories)]
    objective, corpus = made(stories, max_length=61)
    dataset = objective.dataset(corpus)
    lengths: dict[int, list[int]] = {TRUE_PAIR: [], FALSE_PAIR: []}
    for epoch in range(10):
        for index in range(len(dataset)):
            example = dataset.example(index, np.random.default_rng((epoch, index)))
            answer, length = int(example.targets[PAIR].values[0]), len(example.streams["encoder"].values)
            assert dataset.lengths[index] - (SHORTER if answer == FALSE_PAIR else 0) <= length <= dataset.lengths[index]
            lengths[answer].append(len(restored(objective, example)[1]))
    assert min(map(len, lengths.values())) > 300
    spread = np.std(lengths[TRUE_PAIR])
    assert abs(np.mean(lengths[TRUE_PAIR]) - np.mean(lengths[FALSE_PAIR])) < 4 * spread * math.sqrt(2 / 300)
    assert np.mean(lengths[TRUE_PAIR]) - np.mean(lengths[FALSE_PAIR]) < 3


def test_the_border_between_the_two_is_drawn_anew():
    """Every sentence of a run but the first begins a second text some day."""
    objective, corpus = made([story(0, 5), story(1, 5)], max_length=64)
    dataset = objective.dataset(corpus)
    drawn = {len(restored(objective, dataset.example(0, np.random.default_rng(seed)))[0]) for seed in range(80)}
    lines = [len(line.split()) for line in story(0, 5)]
    assert drawn == set(np.cumsum(lines)[:-1].tolist())


# ------------------------------------------------------------------------------------------------- what is read


def test_segments_and_special_tokens():
    """[CLS] and A with its [SEP] are segment 0, B and its [SEP] are 1; no special token is ever asked, or random."""
    objective, corpus = made(STORIES, mask_rate=0.5)
    special = objective.tokenizer.special_ids
    for example in examples(objective, corpus, 5):
        stream, words = example.streams["encoder"], example.targets[WORDS]
        [end] = np.flatnonzero(stream.values[:-1] == objective.tokenizer.sep_id)
        assert stream.segment_ids.tolist() == [0] * (end + 1) + [1] * (len(stream.values) - end - 1)
        assert stream.values[0] == objective.tokenizer.cls_id and stream.values[-1] == objective.tokenizer.sep_id
        assert not special & set(words.values.tolist())
        assert not {0, int(end), len(stream.values) - 1} & set(words.positions.tolist())
        assert example.targets[PAIR].positions.tolist() == [0]


def test_whole_words_are_hidden_in_both_texts():
    """All pieces of a word or none, behind the border too."""
    texts = ["\n".join(f"{first}tomato {second}potato" for second in "abcdef") for first in "uvwxyz"]
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind="wordpiece", vocab_size=40))
    objective = Objective(Config(whole_word=True, mask_rate=0.3), tokenizer, 61)
    corpus = Corpus.from_texts(texts, tokenizer, language="en")
    several = 0
    for example in examples(objective, corpus, 10):
        ids, words = example.streams["encoder"].values.copy(), example.targets[WORDS]
        ids[words.positions] = words.values
        begins = [n for n, id in enumerate(ids) if not tokenizer.token(id).startswith("##")]
        for begin, end in itertools.pairwise([*begins, len(ids)]):
            asked = set(range(begin, end)) & set(words.positions.tolist())
            assert len(asked) in (0, end - begin)
            several += len(asked) > 1
    assert several > 20


def test_a_document_of_one_sentence_is_read_alone():
    """Asked for its words, in segment 0, and for no pair."""
    objective, corpus = made([*STORIES[:3], ["only one here"]])
    dataset = objective.dataset(corpus)
    index = len(dataset) - 1
    for seed in range(20):
        example = dataset.example(index, np.random.default_rng(seed))
        assert restored(objective, example) == [["only", "one", "here"]]
        assert dataset.lengths[index] == len(example.streams["encoder"].values) == 5
        assert not example.streams["encoder"].segment_ids.any() and len(example.targets[PAIR].values) == 0
        assert len(example.targets[WORDS].values) >= 1


@settings(deadline=None, max_examples=100)
@given(
    lengths=st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=9), min_size=1, max_size=5),
    room=st.integers(2, 40),
)
def test_runs_cover_the_whole_text(lengths, room):
    """Every token is in a run, in order; a run fits, stays in its document and begins and ends with a sentence or a
    piece of one that was longer than half the room; only a document of one sentence has a run of one; only a last
    sentence comes twice."""
    flags = np.concatenate([np.arange(n) == 0 for lines in lengths for n in lines])
    starts = np.cumsum([0, *(sum(lines) for lines in lengths)])
    n = len(flags)
    corpus = Corpus(np.arange(n).astype(np.uint16), np.ones(n, bool), starts, n, 0, starts_sentence=flags)
    runs = SentenceRuns(corpus, room)
    sizes = np.diff(runs.starts)
    assert set(np.flatnonzero(flags)) <= set(runs.starts.tolist()) and sizes.max() <= max(room // 2, 1)
    assert all(size * 2 >= room // 2 for at, size in zip(runs.starts, sizes, strict=False) if not flags[at])
    read: list[int] = []
    for (begin, end), document, length in zip(runs.runs.tolist(), runs.documents, runs.lengths, strict=True):
        ids, _ = runs.sentences(begin, end)
        assert len(ids) == length <= room
        assert starts[document] <= ids[0] and ids[-1] < starts[document + 1]
        alone = end - begin == 1
        assert alone == (starts[document + 1] - starts[document] == length and alone)
        again = [token for token in ids if read and token <= read[-1]]
        assert len(again) in (0, sizes[begin]) and (not again or end - begin == 2)
        read += [token for token in ids if not read or token > read[-1]]
    assert read == list(range(n))


def test_sentences_that_do_not_fit_are_cut():
    """In pieces of nearly the same length, so that two of them fit."""
    words = " ".join(f"w{n}" for n in range(50))
    objective, corpus = made([[words, "and an end"], story(1, 4)], max_length=23)
    read = {word for e in examples(objective, corpus, 30) for text in restored(objective, e) for word in text}
    assert read >= set(words.split())
    assert all(len(e.streams["encoder"].values) <= 23 for e in examples(objective, corpus, 5))


# ------------------------------------------------------------------------------------------------- what is refused


def test_a_text_without_documents_is_refused():
    """Unless only the order is asked. Copies of one document are no others."""
    for stories in ([story(0, 9)], [story(0, 9)] * 3):
        objective, corpus = made(stories)
        with pytest.raises(UsageError, match=r"pair objective on one document: .* there is none") as raised:
            objective.dataset(corpus)
        assert "data.document=" in raised.value.mend and "data.document_start" in raised.value.mend
    in_order, corpus = made([story(0, 9)], pairs="order")
    assert len(in_order.dataset(corpus)) > 0


@pytest.mark.parametrize("pairs", ["next", "order"])
def test_texts_of_one_sentence_are_refused(pairs):
    objective, corpus = made([["a b c"], ["d e f"]], pairs=pairs)
    with pytest.raises(UsageError, match="texts of one sentence each") as raised:
        objective.dataset(corpus)
    assert "data.document=" in raised.value.mend


def test_one_document_of_two_sentences_is_refused():
    """The others have no end that could stand in a second text's place: every pair would be a true one, and a copy of
    that document brings none."""
    alone = [["only one here"], ["and one there"]]
    for stories in ([story(0, 9), *alone], [story(0, 2), *alone, story(0, 2)]):
        objective, corpus = made(stories)
        with pytest.raises(UsageError, match="only one of these documents has a second sentence") as raised:
            objective.dataset(corpus)
        assert "data.document=" in raised.value.mend and "pairs=order" in raised.value.mend
        in_order, corpus = made(stories, pairs="order")
        assert len(in_order.dataset(corpus)) > 2
    objective, corpus = made([story(0, 2), *alone, story(1, 2)])
    assert FALSE_PAIR in [
        e.targets[PAIR].values[0] for e in examples(objective, corpus, 9) if len(e.targets[PAIR].values)
    ]


def test_a_corpus_without_sentences_is_a_mistake_of_the_program(corpus, tokenizer):
    assert Objective.needs_sentences(Config())
    with pytest.raises(ValueError, match="does not know where sentences begin"):
        Objective(Config(), tokenizer, MAX_LENGTH).dataset(corpus)


def test_settings_that_cannot_be(tokenizer):
    with pytest.raises(UsageError, match="no room for two texts"):
        Objective(Config(), tokenizer, 4)
    with pytest.raises(UsageError, match="add up to more than 1"):
        Objective(Config(random_token_share=0.5), tokenizer, MAX_LENGTH)


# --------------------------------------------------------------------------------------------- heads and prompts


def test_the_heads_and_their_weights(tokenizer):
    words, pair = Objective(Config(next_sentence_weight=0.25), tokenizer, MAX_LENGTH).outputs()
    assert (words.name, words.size, words.tied, words.transform) == (WORDS, tokenizer.vocab_size, True, "dense")
    assert (pair.name, pair.size, pair.tied, pair.transform, pair.weight) == (PAIR, 2, False, "pooler", 0.25)


def test_evaluation_asks_at_its_own_rate(tokenizer):
    objective = Objective(Config(mask_rate=0.6, pairs="order"), tokenizer, MAX_LENGTH).for_evaluation()
    assert (objective.config.mask_rate, objective.config.pairs) == (0.15, "order")


def test_a_prompt_of_one_text_has_blanks_only(tokenizer):
    prompt = Objective(Config(), tokenizer, MAX_LENGTH).prompt("mars is [MASK]")
    assert prompt.tokens == ["[CLS]", "mars", "is", "[MASK]", "[SEP]"]
    assert prompt.example.targets[WORDS].positions.tolist() == [3] and len(prompt.example.targets[PAIR].values) == 0
    assert not prompt.example.streams["encoder"].segment_ids.any()


def test_a_prompt_of_two_texts_asks_for_the_pair_too(tokenizer):
    objective = Objective(Config(), tokenizer, MAX_LENGTH)
    prompt = objective.prompt("mars is red ||| the [MASK] turns")
    assert prompt.tokens == ["[CLS]", "mars", "is", "red", "[SEP]", "the", "[MASK]", "turns", "[SEP]"]
    assert prompt.example.streams["encoder"].segment_ids.tolist() == [0] * 5 + [1] * 4
    assert prompt.example.targets[WORDS].positions.tolist() == [6]
    assert prompt.example.targets[PAIR].positions.tolist() == [0]
    assert prompt.example.targets[PAIR].values.tolist() == [IGNORE_INDEX]
    assert objective.texts_in("a ||| b") == ["a", "b"] and objective.texts_in(" a [SEP] b") == [" a [SEP] b"]


@pytest.mark.parametrize("text", ["a ||| b ||| c", "||| b", "a |||", "|||"])
def test_what_is_not_two_texts_is_refused(tokenizer, text):
    with pytest.raises(UsageError, match="stands between two texts"):
        Objective(Config(), tokenizer, MAX_LENGTH).prompt(text)


def test_a_prompt_as_long_as_the_model_and_one_longer(tokenizer):
    objective = Objective(Config(), tokenizer, 9)
    assert (
        len(objective.prompt("mars " * 7).tokens)
        == len(objective.prompt("mars mars ||| mars " + "is " * 3).tokens)
        == 9
    )
    with pytest.raises(UsageError, match="the text has 8 tokens, the model reads at most 7"):
        objective.prompt("mars " * 8)
    with pytest.raises(UsageError, match="the texts have 7 tokens, the model reads at most 6"):
        objective.prompt("mars mars ||| mars " + "is " * 4)


def test_two_texts_have_no_score(tokenizer):
    objective = Objective(Config(), tokenizer, MAX_LENGTH)
    assert len(objective.scored("mars is red")) == 3
    with pytest.raises(UsageError, match="two texts have no score"):
        objective.scored("mars ||| is")


@pytest.mark.parametrize(
    ("pairs", "names"), [("next", ["follows", "does not follow"]), ("order", ["in order", "swapped"])]
)
def test_the_classes_have_names(tokenizer, pairs, names):
    objective = Objective(Config(pairs=pairs), tokenizer, MAX_LENGTH)
    assert [objective.class_name(PAIR, n) for n in (TRUE_PAIR, FALSE_PAIR)] == names
    assert objective.class_name(WORDS, tokenizer.mask_id) == "[MASK]"
