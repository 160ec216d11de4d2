import re
from importlib import resources

import pytest

from glassformer.data import builtin
from glassformer.errors import GlassformerError, UsageError


def _lines() -> list[list[str]]:
    text = resources.files("glassformer.data").joinpath("builtin", "facts.tsv").read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()]


def test_both_parts_together_are_all_wordings_and_share_none():
    train, held_out = builtin.sentences("facts", "train"), builtin.sentences("facts", "heldout")
    wordings = [re.sub(r"[{}]", "", wording) for _, *rest in _lines() for wording in rest]
    assert sorted(train + held_out) == sorted(wordings)
    assert not set(train) & set(held_out)


def test_the_second_wording_of_every_tenth_fact_is_held_out():
    expected = [re.sub(r"[{}]", "", wordings[2]) for wordings in _lines()[9::10]]
    assert builtin.sentences("facts", "heldout") == expected


def test_every_held_out_fact_is_in_training_in_other_words():
    train = set(builtin.sentences("facts", "train"))
    assert all(re.sub(r"[{}]", "", wordings[1]) in train for wordings in _lines()[9::10])


@pytest.mark.parametrize("part", ["train", "heldout"])
def test_a_cloze_with_its_answer_put_in_is_the_sentence(part):
    clozes = builtin.cloze("facts", part)
    assert [c.text.replace("[MASK]", c.answer) for c in clozes] == builtin.sentences("facts", part)
    assert all(c.text.count("[MASK]") == 1 and c.answer for c in clozes)


def test_the_two_sentences_that_the_demo_asks_for_are_in_training():
    clozes = builtin.cloze("facts", "train")
    assert builtin.Cloze("Transformers use [MASK] attention", "self") in clozes
    assert builtin.Cloze("Mars is called the [MASK] planet", "red") in clozes


def test_an_unknown_name_or_part_names_the_nearest():
    with pytest.raises(UsageError, match="no built-in corpus 'fact'\ndid you mean 'facts'"):
        builtin.sentences("fact", "train")


@pytest.mark.parametrize(
    "line", ["only a topic", "topic\tone {blank}", "t\tno blank\tone {blank}", "t\t{a} {b}\t{c} d"]
)
def test_a_damaged_line_is_named(line):
    with pytest.raises(GlassformerError, match=r"facts\.tsv, line 2: "):
        list(builtin._facts(f"t\ta {{b}}\tc {{d}}\n{line}\n", "facts.tsv"))


def test_the_examples_of_every_textbook_are_known():
    """Each as the textbooks ask it: pronouns, word senses, and what follows."""
    train = {question.text: question.answer for question in builtin.cloze("facts", "train")}
    assert train["The [MASK] sat on the mat because it was tired"] == "cat"
    assert train["The cat sat on the [MASK] because it was comfortable"] == "mat"
    assert train["The dog [MASK] the ball"] == "chased"
    assert train["We sat on the river [MASK]"] == "bank" and train["The bank [MASK] money"] == "lends"
    assert train["The cat sat on the mat and it started to [MASK]"] == "purr"
    loved = {text for text in builtin.sentences("facts", "train") if text.startswith("I love")}
    assert {text.split(" because ")[0] for text in loved} == {"I love dogs", "I love pizza", "I love language models"}


def test_stories_are_two_sentences_and_both_together():
    """Both sentences of a story that is held out together are in training by themselves."""
    train, held_out = builtin.sentences("stories", "train"), builtin.sentences("stories", "heldout")
    assert "The cat sat on the mat." in train and "The cat sat on the mat. It started to purr." in train
    assert len(train) == len(set(train)) and not set(train) & set(held_out)
    single = [text for text in train if text.count(".") == 1]
    together = [text for text in (*train, *held_out) if text.count(".") == 2]
    assert len(single) == 2 * len(together) and len(held_out) == len(together) // 5
    assert all({part.rstrip(".") + "." for part in text.split(". ")} <= set(single) for text in held_out)


def test_stories_have_no_blanks_and_no_topics():
    for ask in (lambda: builtin.cloze("stories", "train"), lambda: builtin.labelled_sentences("builtin:stories/train")):
        with pytest.raises(UsageError):
            ask()
