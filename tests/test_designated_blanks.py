"""The blanks that the built-in facts mark, beside the words that an evaluation draws at random."""

from pathlib import Path

import pytest
import tiny_recipe
from trained import command, run_folder

import glassformer as gf
from glassformer.data.builtin import cloze


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on the built-in facts."""
    folder = tmp_path_factory.mktemp("facts")
    recipe = tiny_recipe.recipe(
        Path("builtin:facts/train"),
        data={"train": "builtin:facts/train", "validation": "builtin:facts/heldout"},
        tokenizer={"lowercase": True, "vocab_size": 3000},
        model={"max_length": 40},
        training={"steps": 2, "evaluate_every": 2, "checkpoint_every": 2},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        return tiny_recipe.train(recipe, folder / "run").path


def test_both_kinds_of_questions_are_asked_and_said(facts: Path) -> None:
    run = gf.load(facts)
    for split, part in (("train", "train"), ("validation", "heldout")):
        found = run.evaluate(split)
        asked = run.cloze(cloze("facts", part))  # the demo's own questions
        blanks = found["designated_blanks"]
        assert blanks["count"] == len(asked)
        assert blanks["loss"] == pytest.approx(sum(one.loss for one in asked) / len(asked))
        assert blanks["accuracy"] == sum(one.right for one in asked) / len(asked)
        assert found["count"] != blanks["count"] and found["loss"] != pytest.approx(blanks["loss"], abs=1e-4)
    said = command("evaluate", facts, "--split", "train").out
    assert "words drawn at random" in said and "the word that the texts mark in each sentence" in said


def test_an_answer_that_the_vocabulary_lacks_is_left_out(facts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = gf.load(facts)
    whole = run.evaluate("validation")["designated_blanks"]["count"]
    rare = cloze("facts", "heldout")[0].answer
    gone = sum(question.answer == rare for question in cloze("facts", "heldout"))
    encode = run.tokenizer.encode

    def lacking(text: str, allow_mask: bool = False) -> object:
        return encode("zzzqqq" if text == rare else text, allow_mask)

    monkeypatch.setattr(run.tokenizer, "encode", lacking)
    assert run.evaluate("validation")["designated_blanks"]["count"] == whole - gone


def test_other_texts_have_none() -> None:
    assert "designated_blanks" not in gf.load(run_folder()).evaluate()
    assert "drawn at random" not in command("evaluate", run_folder()).out
