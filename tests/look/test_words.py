"""Words found among tokens, whatever the tokenizer; attention between words; the probes that stand on it."""

from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
import torch
from matplotlib.figure import Figure
from trained import generator_folder, run_folder

from glassformer.ask.run import Run, load
from glassformer.data.batch import collate
from glassformer.data.scripts import words_in
from glassformer.errors import UsageError
from glassformer.look.measures.words import attention_between, between_words, find, find_all, reading
from glassformer.look.pictures.figures import rendered
from glassformer.look.views import pronoun as pronoun_view
from glassformer.look.views import word as apart_view
from glassformer.look.views.pronoun import pronoun
from glassformer.look.views.word import apart
from glassformer.model.layers import LayerContext
from glassformer.model.stack import Stack

TEXT = "Mars is called the red planet"


@pytest.fixture(scope="module")
def encoder() -> Run:
    return load(run_folder())


@pytest.fixture(scope="module")
def decoder() -> Run:
    """In pieces of words, each with the space before it."""
    return load(generator_folder())


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("pairs")
    file = folder / "pairs.tsv"
    file.write_text("".join(f"{line}\t{line[::-1]}\n" for line in tiny_recipe.sentences()))
    short = {"steps": 2, "evaluate_every": 2, "checkpoint_every": 2}
    wanted = tiny_recipe.recipe(file, objective={"name": "seq2seq"}, training=short)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        return tiny_recipe.train(wanted, folder / "run")


# ------------------------------------------------------------------------------------------------ words in texts


def test_words_of_a_text() -> None:
    text = "The cat's mat, l’été: 3 ok."
    assert [text[a:b] for a, b in words_in(text)] == ["The", "cat's", "mat", "l’été", "3", "ok"]


def test_a_word_is_found_whole_and_in_either_case() -> None:
    text = "It bit the bitter bit"
    assert find(text, "it") == (0, 2)
    assert find(text, "BITTER") == (11, 17)
    assert find_all(text, "bit") == [(3, 6), (18, 21)]
    assert find(text, "bit", 2) == (18, 21)


def test_a_word_that_is_not_there_or_not_clear_is_refused() -> None:
    text = "It bit the bitter bit"
    with pytest.raises(UsageError, match=r"'she' is not in .*\nits words are: It, bit, the, bitter"):
        find(text, "she")
    with pytest.raises(UsageError, match=r"'bit' stands 2 times in .*\nsay which: --nth 1 to 2"):
        find(text, "bit")
    with pytest.raises(UsageError, match=r"there is no 'bit' number 3 in .*\nit stands there 2 times"):
        find(text, "bit", 3)
    with pytest.raises(UsageError, match="its words are: none"):
        find("...", "")


def test_a_word_keeps_its_marks_and_is_found_in_a_text_without_spaces() -> None:
    hindi = "गीता ने हिन्दी में कहा"
    assert [hindi[a:b] for a, b in words_in(hindi)] == hindi.split()
    assert find(hindi, "हिन्दी") == (8, 14)
    with pytest.raises(UsageError, match="its words are: गीता, ने, हिन्दी"):
        find(hindi, "हि")
    assert find_all("小红说小红来", "小红") == [(0, 2), (3, 5)]
    with pytest.raises(UsageError, match=r"'猫' is not in .*\nname any part of the text"):
        find("小红说小红来", "猫")


def test_tokens_stand_for_words_where_there_are_no_spaces(tmp_path: Path) -> None:
    """Chinese, in pieces of several characters: what is asked is covered by tokens, all others are candidates."""
    file = tmp_path / "t.txt"
    people, places = ("小红", "小明", "阿华"), ("学校", "公园", "车站")
    file.write_text("".join(f"{who}说他今天在{where}看见了一只小鸟\n" for who in people for where in places))
    short = {"steps": 2, "evaluate_every": 2, "checkpoint_every": 2}
    tokenizer = {"kind": "unigram", "vocab_size": 80}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
        run = tiny_recipe.train(tiny_recipe.recipe(file, tokenizer=tokenizer, training=short), tmp_path / "run")
    text = "小红说他今天在学校看见了一只小鸟"
    read = reading(run, text)
    words = read.words()
    assert "".join(text[a:b] for a, b in words) == text
    assert 2 < len(words) < len(text)
    assert pronoun(run, text, "他", ["小鸟"]).candidates == ["小鸟"]
    with pytest.raises(UsageError, match=r"one token of this model holds '他' and '小红'"):
        pronoun(run, text, "他", ["小红"])
    others = pronoun(run, text, "他")
    assert "他" not in "".join(others.candidates)
    assert apart(run, "小红", text, "小红说他今天在公园看见了").word == "小红"


@pytest.mark.parametrize("name", ["encoder", "decoder", "pairs"])
def test_tokens_of_each_word_say_that_word(name: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(name)
    text = "sun moon star" if name == "pairs" else TEXT
    read = reading(run, text)
    assert len(read.spans) == run.attention(text).weights.shape[-1]
    found = []
    for span in words_in(text):
        tokens = read.tokens_of(span)
        ids = read.prompt.example.streams[read.prompt.stream].values[tokens]
        assert run.tokenizer.decode(ids).strip().lower() == text[slice(*span)].lower()
        found += tokens
    assert len(found) == len(set(found)) == sum(span != (0, 0) for span in read.spans)


def test_what_is_not_read_word_for_word_is_refused(encoder: Run) -> None:
    with pytest.raises(UsageError, match="is not read as it stands"):
        reading(encoder, "")
    assert reading(encoder, "zzz red").unknown.tolist() == [False, True, False, False]


def test_to_a_split_word_the_sum_and_from_it_the_mean() -> None:
    weights = np.array([[[[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.0, 0.6, 0.2, 0.2], [1.0, 0.0, 0.0, 0.0]]]])
    found = between_words(weights, [[1, 2], [3]])
    np.testing.assert_allclose(found, [[[[(0.3 + 0.2 + 0.6 + 0.2) / 2, (0.1 + 0.2) / 2], [0.0, 0.0]]]])


def test_a_causal_word_does_not_see_what_comes_after_it(encoder: Run, decoder: Run) -> None:
    for run, sees_ahead in ((encoder, True), (decoder, False)):
        read = reading(run, TEXT)
        words = [read.tokens_of(span) for span in words_in(TEXT)]
        weights, even = attention_between(run, read, words)
        ahead = np.triu(np.ones((len(words), len(words)), bool), 1)
        assert np.isfinite(even[~ahead]).all()
        assert np.isfinite(weights[:, :, ahead]).all() == np.isfinite(even[ahead]).all() == sees_ahead
        assert sees_ahead or np.isnan(weights[:, :, ahead]).all()
    [first, *_] = reading(decoder, TEXT).tokens_of((0, 4))
    assert even[0, 0] <= 1 - first / (first + len(words[0]))  # the tokens before it take their part


# -------------------------------------------------------------------------------------------------- the pronoun


def test_a_pronoun_and_its_candidates_are_cells_of_the_attention(encoder: Run) -> None:
    found = pronoun(encoder, TEXT, "red", ["planet", "mars"])
    weights = encoder.attention(TEXT).weights  # [CLS] mars is called the red planet [SEP]
    assert (found.word, found.candidates) == ("red", ["mars", "planet"])
    np.testing.assert_allclose(found.to, weights[:, :, 5, [1, 6]], rtol=1e-6)
    np.testing.assert_allclose(found.back, weights[:, :, [1, 6], 5], rtol=1e-6)
    np.testing.assert_allclose([found.uniform_to, found.uniform_back], 1 / 8)


def test_of_a_causal_model_only_what_came_before(decoder: Run) -> None:
    found = pronoun(decoder, TEXT, "the", ["Mars", "planet"])
    assert np.isfinite(found.to[:, :, 0]).all()
    assert np.isnan(found.to[:, :, 1]).all()
    assert np.isnan(found.back[:, :, 0]).all()
    assert np.isfinite(found.back[:, :, 1]).all()
    before, after = pronoun_view.rows(found)
    assert before["to_mean"] == pytest.approx(found.to[:, :, 0].mean())
    assert before["to_most"] == found.to[:, :, 0].max()
    layer, head = np.argwhere(found.to[:, :, 0] == found.to[:, :, 0].max())[0]
    assert before["to_head"] == f"layer {layer} head {head}"
    assert before["back_mean"] is None is after["to_mean"]


def test_without_candidates_all_other_words_in_order(encoder: Run) -> None:
    found = pronoun(encoder, "the red planet is the planet", "is")
    assert found.candidates == ["the (1)", "red", "planet (1)", "the (2)", "planet (2)"]
    twice = pronoun(encoder, "the red planet is the planet", "is", ["planet"])
    assert twice.candidates == ["planet (1)", "planet (2)"]
    assert pronoun(encoder, "the red planet is the planet", "planet", ["red"], 2).word == "planet (2)"
    np.testing.assert_array_equal(twice.to, found.to[:, :, [2, 4]])


@pytest.mark.parametrize(
    ("text", "word", "candidates", "message"),
    [
        (TEXT, "it", [], "its words are: Mars, is, called"),
        (TEXT, "red", ["cat"], "'cat' is not in"),
        (TEXT, "red", ["red"], "'red' is its own candidate"),
        ("red red", "red", [], "--nth 1 to 2"),
        ("red", "red", [], "has no other word"),
    ],
)
def test_wrong_words_are_refused(encoder: Run, text: str, word: str, candidates: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pronoun(encoder, text, word, candidates)


# ------------------------------------------------------------------------------------------ a word in two texts


def naive_apart(run: Run, texts: list[str], rows: list[list[int]]) -> np.ndarray:
    """Block by block, without hooks: the cosine of the means of some rows."""
    vectors = []
    for text, tokens in zip(texts, rows, strict=True):
        [(name, stream)] = collate([[run.objective.prompt(text).example]], run.tokenizer.pad_id).streams.items()
        stack = run.model.get_submodule(name)
        assert isinstance(stack, Stack)
        states = []
        with torch.no_grad():
            x = stack.embeddings(stream.input_ids, stack.positions(stream.positions), stream.segment_ids)
            states.append(x)
            for block in stack.blocks:
                x = block(x, LayerContext(stream.mask.prepared()))
                states.append(x)
        vectors.append([state[0, tokens].double().mean(0) for state in states])
    return np.array([float(torch.cosine_similarity(a, b, dim=0)) for a, b in zip(*vectors, strict=True)])


def test_a_word_in_two_texts(encoder: Run, decoder: Run) -> None:
    texts = ["Mars is called the red planet", "the red star"]
    found = apart(encoder, "red", *texts)
    assert found.places == ["embedding", "block 0", "block 1"]
    np.testing.assert_allclose(found.cosine, naive_apart(encoder, texts, [[5], [2]]), atol=1e-6)
    rows = [reading(decoder, text).tokens_of(find(text, "red")) for text in texts]
    np.testing.assert_allclose(apart(decoder, "red", *texts).cosine, naive_apart(decoder, texts, rows), atol=1e-6)


def test_in_one_text_a_word_is_not_apart(encoder: Run, decoder: Run, pairs: Run) -> None:
    """Also of an encoder-decoder. In a causal model what follows changes nothing; in an encoder it does."""
    for run, text, word in ((encoder, TEXT, "red"), (decoder, TEXT, "red"), (pairs, "sun moon star", "moon")):
        found = apart(run, word, text, text)
        np.testing.assert_allclose(found.cosine, 1.0, atol=1e-9)
        assert (found.baseline < 0.999).all()
    longer = f"{TEXT} and the sun"
    np.testing.assert_allclose(apart(decoder, "red", TEXT, longer).cosine, 1.0, atol=1e-6)
    changed = apart(encoder, "red", TEXT, longer).cosine
    assert changed[0] == pytest.approx(1.0)
    assert (changed[1:] < 1 - 1e-6).all()


def test_the_baseline_is_the_mean_of_different_words(encoder: Run) -> None:
    """mars-red, mars-planet, planet-red: of equal words none."""
    a, b = "mars planet", "red planet"
    found = apart(encoder, "planet", a, b)
    cells = [((1,), (1,)), ((1,), (2,)), ((2,), (1,))]
    by_hand = [naive_apart(encoder, [a, b], [list(x), list(y)]) for x, y in cells]
    np.testing.assert_allclose(found.baseline, np.mean(by_hand, 0), atol=1e-6)


def test_which_of_several(encoder: Run) -> None:
    text = "red planet red"
    second = apart(encoder, "red", text, text, (1, 2)).cosine
    np.testing.assert_allclose(second, naive_apart(encoder, [text, text], [[1], [3]]), atol=1e-6)
    with pytest.raises(UsageError, match="--nth 1 to 2"):
        apart(encoder, "red", text, text)
    with pytest.raises(UsageError, match="does not know 'zzz'"):
        apart(encoder, "zzz", "zzz red", "zzz")
    with pytest.raises(UsageError, match="no two different words"):
        apart(encoder, "red", "red", "red")


# ---------------------------------------------------------------------------------------------------- pictures


def drawn_words(figure: Figure) -> str:
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    labels = [label for axes in figure.axes for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return " | ".join([*titles, *(text.get_text() for text in [*texts, *labels])])


def test_pictures_say_what_the_numbers_are(encoder: Run, decoder: Run, tmp_path: Path) -> None:
    probe = pronoun(decoder, TEXT, "the", ["Mars", "planet"])
    picture = pronoun_view.figure(probe)
    left, right = picture.axes
    np.testing.assert_allclose(np.asarray(left.images[0].get_array())[:6, 0], probe.to[:, :, 0].ravel())
    np.testing.assert_allclose(np.asarray(right.images[0].get_array())[-1, 1], probe.uniform_back[1])
    assert {"“the” looks at", "Mars", "mean", "layer 1 head 2", "–"} <= set(drawn_words(picture).split(" | "))
    two = apart(encoder, "red", TEXT, "red $x$ star")
    lines = apart_view.figure(two)
    assert "b  red $x$ star" in drawn_words(lines)
    np.testing.assert_array_equal(lines.axes[0].lines[0].get_ydata(), two.cosine)
    assert rendered(picture, ".png") == rendered(pronoun_view.figure(probe), ".png")
    assert rendered(lines, ".png")
