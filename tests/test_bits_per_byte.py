"""Bits per byte: what a model takes for a text, whatever its tokens are."""

import math
from pathlib import Path

import pytest
import tiny_recipe
import torch
from trained import generator_folder, run_folder

from glassformer.ask.evaluation import corpus_of, questions_of
from glassformer.ask.run import load
from glassformer.data.batch import collate


@pytest.mark.parametrize("units", ["documents", "stream"])
@pytest.mark.parametrize("kind", ["bpe", "character", "byte"])
def test_a_causal_model_by_definition(tmp_path: Path, kind: str, units: str) -> None:
    """Every token of the evaluation texts asked once, one text at a time, by the bytes of the files' texts."""
    texts = [*tiny_recipe.dozen(), "Ünö ñandú 漢字", " ".join(["a much longer line"] * 9)]
    file = tiny_recipe.text_file(tmp_path, texts)
    recipe = tiny_recipe.recipe(
        file,
        data={"validation": str(file)},
        tokenizer={"kind": kind, "vocab_size": 400},
        objective={"name": "causal_lm", "units": units},
        model={"family": "decoder"},
        training={"steps": 2},
    )
    run = tiny_recipe.train(recipe, tmp_path / "run")
    found = run.evaluate()
    corpus, asked = corpus_of(run, "validation"), questions_of(run, "validation")
    assert corpus.n_unknown == 0
    nats = 0.0
    with torch.no_grad():
        for index in range(len(asked.dataset)):
            batch = collate([[asked.example(index)]], run.tokenizer.pad_id)
            [logits] = run.model(batch).values()
            [one] = batch.targets.values()
            nats -= float(logits.double().log_softmax(-1).gather(1, one.values[:, None]).sum())
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / sum(len(t.encode()) for t in texts))


def test_a_model_that_sees_both_sides_has_another_number() -> None:
    """From the mean of what is asked, for all tokens of the texts; none where words are unknown."""
    run = load(run_folder())
    corpus = corpus_of(run, "validation")
    assert corpus.n_unknown and not any("bits" in key for key in run.evaluate())
    other = run.with_data([f"data.validation={run.recipe.data.train}"])
    found, known = other.evaluate(), corpus_of(other, "validation")
    assert known.n_unknown == 0 and "bits_per_byte" not in found
    tokens_per_byte = known.n_tokens / known.n_bytes
    assert found["pseudo_bits_per_byte"] == pytest.approx(found["loss"] / math.log(2) * tokens_per_byte)


def test_it_is_said() -> None:
    assert load(generator_folder()).evaluate()["bits_per_byte"] > 0
