"""Sequence to sequence: what each side reads, what is asked, smoothing by its formula, and pairs that are too long."""

import numpy as np
import pytest
import tiny_recipe
import torch

from glassformer.assemble import assemble
from glassformer.build import training_questions, validation_questions
from glassformer.data.batch import collate
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.objectives.seq2seq import HEAD, Seq2Seq, Seq2SeqConfig

SOURCES, TARGETS = ["mars is red", "the moon"], ["the red planet", "ice water"]


def pairs(tokenizer: Tokenizer, sources: list[str], targets: list[str]) -> Corpus:
    return Corpus.from_texts(sources, tokenizer).paired(Corpus.from_texts(targets, tokenizer))


def make(tokenizer: Tokenizer, max_length: int = 13, **config) -> Seq2Seq:
    return Seq2Seq(Seq2SeqConfig(**config), tokenizer, max_length)


def test_what_is_read_and_what_is_asked(tokenizer):
    """The encoder reads prefix, source and an end; the decoder the target, one token later than it is asked."""
    objective = make(tokenizer, prefix="light is")
    example = objective.units(pairs(tokenizer, SOURCES, TARGETS)).example(0, np.random.default_rng(1))
    encode, end = tokenizer.encode, tokenizer.sep_id
    assert example.streams["encoder"].ids.tolist() == [*encode("light is mars is red").ids, end]
    assert example.streams["decoder"].ids.tolist() == [tokenizer.cls_id, *encode("the red planet").ids]
    asked = example.asked[HEAD]
    assert asked.targets.tolist() == [*encode("the red planet").ids, end] and asked.positions.tolist() == [0, 1, 2, 3]
    assert example.streams["decoder"].causal and not example.streams["encoder"].causal
    prompt = objective.prompt("mars is red")
    assert prompt.example.streams["encoder"].ids.tolist() == example.streams["encoder"].ids.tolist()
    assert prompt.example.streams["decoder"].ids.tolist() == [tokenizer.cls_id]


def test_an_unknown_word_is_read_and_never_asked(tokenizer):
    """In the target it is passed over; its neighbours are asked."""
    units = make(tokenizer).units(pairs(tokenizer, ["mars"], ["the qwertz planet"]))
    example = units.example(0, np.random.default_rng(1))
    assert tokenizer.unk_id in example.streams["decoder"].ids
    assert tokenizer.unk_id not in example.asked[HEAD].targets and example.asked[HEAD].positions.tolist() == [0, 2, 3]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_is_its_formula(tokenizer, smoothing):
    """Cross-entropy against (1 - e) of the target and e / V of every token, summed over what is asked."""
    objective = make(tokenizer, label_smoothing=smoothing)
    units = objective.units(pairs(tokenizer, SOURCES, TARGETS))
    examples = [[units.example(n, np.random.default_rng(1))] for n in range(2)]
    batch = collate(examples, tokenizer.pad_id)
    asked = batch.asked[HEAD]
    logits = torch.randn(len(asked.rows), tokenizer.vocab_size, generator=torch.Generator().manual_seed(1))
    wanted = torch.full_like(logits, smoothing / tokenizer.vocab_size)
    wanted[torch.arange(len(logits)), asked.targets] += 1 - smoothing
    expected = -(wanted * logits.log_softmax(-1)).sum()
    found = objective.loss({HEAD: logits}, batch)[HEAD]
    torch.testing.assert_close(found.total, expected)
    assert found.count == asked.number == 7
    padded = batch._replace(asked={HEAD: asked._replace(targets=asked.targets.index_fill(0, torch.tensor([2]), -100))})
    without = expected + (wanted[2] * logits[2].log_softmax(-1)).sum()
    torch.testing.assert_close(objective.loss({HEAD: logits}, padded)[HEAD].total, without)


@pytest.mark.usefixtures("one_thread")
def test_evaluation_is_not_smoothed(tmp_path):
    """The fixed questions are scored alike, whatever the smoothing of training."""
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{s}\t{s.upper()}\n" for s in dict.fromkeys(tiny_recipe.sentences())), encoding="utf-8")
    for smoothing in (0.0, 0.5):
        recipe = tiny_recipe.recipe(file, objective={"name": "seq2seq", "label_smoothing": smoothing})
        parts = assemble(recipe)
        assert parts.objective.config.label_smoothing == smoothing
        learned = training_questions(recipe, parts)
        assert learned is not None
        for questions in (validation_questions(recipe, parts), learned):
            assert questions.objective.config.label_smoothing == 0.0


def test_a_pair_that_is_too_long_is_refused_with_the_length_it_needs_or_cut(tokenizer):
    """One side of 13 words needs 14 places; cut, both sides fit, and the cut target has no end."""
    long = "the capital of japan is tokyo and the capital of france is paris"
    for sources, targets in (([long, "mars"], TARGETS), (SOURCES, [long, "mars"])):
        corpus = pairs(tokenizer, sources, targets)
        with pytest.raises(UsageError, match=r"pair 1 needs 14 tokens .* reads 13; 1 of 2 .*\n.*max_length=14.*cut"):
            make(tokenizer).units(corpus)
        example = make(tokenizer, too_long="cut").units(corpus).example(0, np.random.default_rng(1))
        assert max(len(stream.ids) for stream in example.streams.values()) == 13
        assert example.streams["encoder"].ids[-1] == tokenizer.sep_id
    assert example.asked[HEAD].targets[-1] != tokenizer.sep_id
    make(tokenizer, max_length=14).units(corpus)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the text is empty"),
        (" \t", "the text is empty"),
        ("mars " * 13, "13 tokens, the model reads at most 12"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused(tokenizer, text, message):
    with pytest.raises(UsageError, match=message):
        make(tokenizer).prompt(text)
