"""What the scripts in `benchmarks/` must not get wrong in silence: which recipe they train, and how they count."""

import argparse
import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_recipe

import glassformer
from glassformer.recipe import read, shipped

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TITLED = [" = Sun = ", "the sun is warm and the moon is cold", "zyx the sun", " = Moon = ", "the moon qqq is far zyx"]


def script(name: str) -> dict[str, Any]:
    """Everything that a script defines."""
    return runpy.run_path(str(BENCHMARKS / f"{name}.py"))


# ------------------------------------------------------------------------------------------------------------ patience


def test_recipes_of_whole_words_have_patience() -> None:
    """They pass a small text often enough to learn it by heart."""
    word_level = [name for name in shipped() if name.endswith(("-word", "-word-large"))]
    assert len(word_level) == 3
    assert all(read(name).training.patience for name in word_level)


def of_classic(folder: Path) -> Callable[[], Any]:
    options = argparse.Namespace(data=folder, runs=folder, epochs=3)
    return lambda: script("wikitext2_word")["train"]("word-dropout-none", 0.0, options)


def of_lessons(folder: Path) -> Callable[[], Any]:
    options = argparse.Namespace(runs=folder, epochs=3, bytes=100_000)
    return lambda: script("lessons")["train"]("masked", "none", (folder / "a", folder / "b"), options)


@pytest.mark.parametrize("trains", [of_classic, of_lessons])
def test_whole_curves_are_not_cut_short(
    trains: Callable[[Path], Callable[[], Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that shows whole curves, and takes a run for finished by its last step, must not let it stop early."""

    class Asked(Exception):
        pass

    def train(name: str, changes: list[str], **_: Any) -> None:
        assert read(name).training.patience is not None
        assert read(name, changes).training.patience is None
        raise Asked

    monkeypatch.setattr(glassformer, "train", train)
    with pytest.raises(Asked):
        trains(tmp_path)()


# --------------------------------------------------------------------------------------------------------------- bytes


def judged(tmp_path: Path, **tokenizer: Any) -> tuple[dict[str, Any], Any, Any]:
    """The script, a run on TITLED, and its bits."""
    found = script("vocabularies")
    file = tiny_recipe.text_file(tmp_path, TITLED)
    recipe = tiny_recipe.recipe(
        file,
        data={"validation": str(file)},
        tokenizer={"vocab_size": 300, **tokenizer},
        objective={"name": "causal_lm", "units": "stream", "evaluation_overlap": 4},
        model={"family": "decoder", "max_length": 8},
        training={"steps": 2},
    )
    run = tiny_recipe.train(recipe, tmp_path / "run")
    lines = found["lines_of"](file)
    assert lines == TITLED
    return found, run, found["bits_of"](run, lines, lines)


def test_subwords_are_counted_as_evaluate_counts_them(tmp_path: Path) -> None:
    """Over all articles; each has its own bytes."""
    _, run, bits = judged(tmp_path, kind="bpe")
    assert bits.n_bytes.tolist() == [sum(map(len, TITLED[:3])), sum(map(len, TITLED[3:]))]
    assert np.array_equal(bits.asked, bits.whole)
    assert bits.whole.sum() / bits.n_bytes.sum() == pytest.approx(run.evaluate()["bits_per_byte"])


def test_unknown_words_are_told_and_spelled(tmp_path: Path) -> None:
    """What is asked, and beside it for every word whether it is known, and the letters of those that are not."""
    found, run, bits = judged(tmp_path, kind="word", split="whitespace", vocab_size=12)
    corpus, evaluated = run.corpus("validation"), run.evaluate()
    assert 0 < corpus.n_unknown < corpus.n_tokens
    assert bits.asked.sum() == pytest.approx(evaluated["loss"] * evaluated["count"] / math.log(2))
    known = run.tokenizer.encode(" ".join(TITLED)).ids != run.tokenizer.unk_id
    words = [word for word, is_known in zip(" ".join(TITLED).split(), known, strict=True) if not is_known]
    assert len(words) == corpus.n_unknown
    share = corpus.n_unknown / (corpus.n_tokens + corpus.n_documents)
    flags = -evaluated["count"] * math.log2(1 - share) - corpus.n_unknown * math.log2(share)
    spelled = found["spelling_bits"](found["spellings"](words), words)
    assert bits.whole.sum() == pytest.approx(bits.asked.sum() + flags + spelled)
    assert spelled > 0


def test_a_spelling_is_a_code() -> None:
    """Over all next letters probabilities add up to 1, after letters that were seen and after others."""
    found = script("vocabularies")
    model = found["spellings"](["tree", "three", "the"])
    for before in ([ord(letter) for letter in "thre"], [1, 2, 3, 4], [found["END"] + 1] * 4):
        rows = np.array([[*before, letter] for letter in range(found["END"] + 1)])
        assert model.probabilities(rows).sum() == pytest.approx(1)


def test_a_difference_has_the_interval_of_its_articles() -> None:
    """None for equal bits and for a constant difference per byte; the scatter of two articles otherwise."""
    found = script("vocabularies")
    n_bytes = np.array([100.0, 300.0])
    one, other = (found["Bits"](bits, bits, n_bytes) for bits in (n_bytes * 2.5, n_bytes * 2.0))
    assert found["difference"](one, one) == [0, 0]
    assert found["difference"](one, other) == pytest.approx([0.5, 0])
    uneven = found["Bits"](np.array([210.0, 590.0]), np.array([210.0, 590.0]), n_bytes)
    mean, half = found["difference"](uneven, other)
    assert mean == 0
    assert half == pytest.approx(12.706 * math.sqrt(2 * (10 / 400) ** 2 * 2))
