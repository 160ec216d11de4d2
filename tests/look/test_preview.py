"""The preview shows what the model is given: tokens, targets and masks, for every objective."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import task_data
from trained import command, refused

from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.look import preview
from glassformer.look.pictures.figures import save, visible
from glassformer.look.preview import as_text, describe, figure
from glassformer.objectives import find_objective, next_sentence
from glassformer.plugins import plugin_names

LENGTH = 13


def shown(name: str, texts: list[str]) -> dict:
    """The first example of an objective on the tests' texts."""
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind="word", vocab_size=97, sentinels=5))
    kind = find_objective(name)
    objective = task_data.make(name, tokenizer, LENGTH)
    if (column := task_data.for_roles(objective, texts)) is not None:
        return describe(objective, objective.dataset(column).example(0, np.random.default_rng(3)))
    corpus = Corpus.from_texts(texts[:3], tokenizer)
    if kind.needs_sentences(objective.config):
        corpus = Corpus.from_texts(["\n".join(texts[:2]), "\n".join(texts[2:4])], tokenizer, language="en")
    corpus = replace(corpus, members=(corpus, corpus))  # for a mixture
    if "target" in kind.columns:
        corpus = corpus.paired(Corpus.from_texts(texts[3:6], tokenizer))
    example = objective.dataset(corpus).example(0, np.random.default_rng(3))
    return describe(objective.of(example), example)


@pytest.mark.parametrize("name", plugin_names("glassformer.objectives"))
def test_every_objective_can_be_previewed(name, texts, tmp_path):
    """In words and as a picture; as many rows in a mask as tokens, each target once."""
    one = shown(name, texts)
    for stream in one["streams"]:
        assert len(stream["mask"]) == len(stream["tokens"]) == len(stream["positions"])
        assert stream["tokens"][0] in as_text(one)
    assert one["asked"] and all(asked["target"] in as_text(one) for asked in one["asked"])
    picture = save(figure([one, one], "a $title$"), tmp_path / "a.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_causal_mask_is_a_triangle(texts):
    [stream] = shown("causal_lm", texts)["streams"]
    assert np.array_equal(stream["mask"], np.tril(np.ones_like(stream["mask"])))
    assert "■ · · · · · ·\n" in as_text(shown("causal_lm", texts))


def test_queries_show_where_they_stand(texts):
    """A permutation model's queries come behind the text, with the position of the word that is asked."""
    one = shown("permutation_lm", texts)
    [stream] = one["streams"]
    content = len(stream["mask"][0])
    assert content == 8 and len(stream["tokens"]) > content
    for asked in one["asked"]:
        assert stream["tokens"][asked["place"]] == "[MASK]"
        assert stream["tokens"][stream["positions"][asked["place"]]] == asked["target"]
        assert f"[MASK]@{stream['positions'][asked['place']]}" in as_text(one)


def test_segments_are_shown_on_lines_of_their_own(texts):
    """[CLS] and the first text, then the second; the pair is asked at [CLS], the place 0."""
    one = shown("next_sentence", texts)
    [stream] = one["streams"]
    lines = as_text(one).splitlines()
    end = stream["tokens"].index("[SEP]") + 1
    assert stream["segments"] == [0] * end + [1] * (len(stream["tokens"]) - end)
    assert lines[0] == "encoder reads:"
    assert lines[1] == "  segment 0:  " + " ".join(stream["tokens"][:end])
    assert lines[2] == "  segment 1:  " + " ".join(stream["tokens"][end:])
    assert "at 0: follows" in lines[3] or "at 0: does not follow" in lines[3]


@pytest.mark.parametrize("name", ["causal_lm", "permutation_lm", "seq2seq"])
def test_of_long_texts_a_window_is_shown(name, texts, tmp_path, monkeypatch):
    """The first tokens, and as many of those that only ask; the words and the picture say how many there are."""
    monkeypatch.setattr(preview, "LONGEST", 6)
    one = shown(name, texts)
    for stream in one["streams"]:
        rows, keys = preview.window(stream)
        tokens, content = len(stream["tokens"]), len(stream["mask"][0])
        assert len(rows) <= 6 and keys <= content
        assert len(rows) == 6 or len(rows) == tokens
        assert any(row >= content for row in rows) == (tokens > content)
        if tokens > 6:
            assert f"{len(rows)} of {tokens} tokens" in as_text(one)
    drawn = figure([one])
    for axes, stream in zip(drawn.axes, one["streams"], strict=True):
        assert len(axes.get_yticklabels()) == len(preview.window(stream)[0])
    assert save(drawn, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_command(tmp_path: Path) -> None:
    """For people and as a picture; a wrong recipe is refused as training would."""
    said = command("preview", "mlm-demo", "--count", "2")
    assert said.code == 0 and said.out.count("encoder reads:") == 2 and "asked:  at" in said.out
    said = command("preview", "seq2seq-demo", "--output", tmp_path / "a.svg")
    assert said.out.strip() == str(tmp_path / "a.svg") and (tmp_path / "a.svg").stat().st_size > 1000
    assert "needs one stack" in refused("preview", "mlm-demo", "model.family=encoder_decoder")


def test_what_is_asked_of_two_texts_is_not_cut_off() -> None:
    """The classes of a pair of texts have long names."""
    for name in (name for names in next_sentence.NAMES.values() for name in names):
        assert visible(name, preview.TARGET) == name
