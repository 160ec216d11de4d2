"""Sequence to sequence: what each side reads, what is asked, smoothing by its formula, and pairs that are too long."""

import numpy as np
import pytest
import tiny_recipe
import torch

from glassformer.assemble import assemble
from glassformer.build import training_set, validation_set
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
    example = objective.dataset(pairs(tokenizer, SOURCES, TARGETS)).example(0, np.random.default_rng(1))
    encode, end = tokenizer.encode, tokenizer.sep_id
    assert example.streams["encoder"].values.tolist() == [*encode("light is mars is red").ids, end]
    assert example.streams["decoder"].values.tolist() == [tokenizer.cls_id, *encode("the red planet").ids]
    targets = example.targets[HEAD]
    assert targets.values.tolist() == [*encode("the red planet").ids, end] and targets.positions.tolist() == [
        0,
        1,
        2,
        3,
    ]
    assert example.streams["decoder"].causal and not example.streams["encoder"].causal
    prompt = objective.prompt("mars is red")
    assert prompt.example.streams["encoder"].values.tolist() == example.streams["encoder"].values.tolist()
    assert prompt.example.streams["decoder"].values.tolist() == [tokenizer.cls_id]


def test_an_unknown_word_is_read_and_never_asked(tokenizer):
    """In the target it is passed over; its neighbours are asked."""
    dataset = make(tokenizer).dataset(pairs(tokenizer, ["mars"], ["the qwertz planet"]))
    example = dataset.example(0, np.random.default_rng(1))
    assert tokenizer.unk_id in example.streams["decoder"].values
    assert tokenizer.unk_id not in example.targets[HEAD].values and example.targets[HEAD].positions.tolist() == [
        0,
        2,
        3,
    ]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_is_its_formula(tokenizer, smoothing):
    """Cross-entropy against (1 - e) of the target and e / V of every token, summed over what is asked."""
    objective = make(tokenizer, label_smoothing=smoothing)
    dataset = objective.dataset(pairs(tokenizer, SOURCES, TARGETS))
    examples = [[dataset.example(n, np.random.default_rng(1))] for n in range(2)]
    batch = collate(examples, tokenizer.pad_id)
    targets = batch.targets[HEAD]
    logits = torch.randn(len(targets.flat_index), tokenizer.vocab_size, generator=torch.Generator().manual_seed(1))
    wanted = torch.full_like(logits, smoothing / tokenizer.vocab_size)
    wanted[torch.arange(len(logits)), targets.values] += 1 - smoothing
    expected = -(wanted * logits.log_softmax(-1)).sum()
    found = objective.loss({HEAD: logits}, batch)[HEAD]
    torch.testing.assert_close(found.total, expected)
    assert found.count == targets.n_targets == 7
    padded = batch._replace(
        targets={HEAD: targets._replace(values=targets.values.index_fill(0, torch.tensor([2]), -100))}
    )
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
        learned = training_set(recipe, parts)
        assert learned is not None
        for questions in (validation_set(recipe, parts), learned):
            assert questions.objective.config.label_smoothing == 0.0


def test_a_pair_that_is_too_long_is_refused_with_the_length_it_needs_or_cut(tokenizer):
    """One side of 13 words needs 14 places; cut, both sides fit, and the cut target has no end."""
    long = "the capital of japan is tokyo and the capital of france is paris"
    for sources, targets in (([long, "mars"], TARGETS), (SOURCES, [long, "mars"])):
        corpus = pairs(tokenizer, sources, targets)
        with pytest.raises(UsageError, match=r"pair 1 needs 14 tokens .* reads 13; 1 of 2 .*\n.*max_length=14.*cut"):
            make(tokenizer).dataset(corpus)
        example = make(tokenizer, too_long="cut").dataset(corpus).example(0, np.random.default_rng(1))
        assert max(len(stream.values) for stream in example.streams.values()) == 13
        assert example.streams["encoder"].values[-1] == tokenizer.sep_id
    assert example.targets[HEAD].values[-1] != tokenizer.sep_id
    make(tokenizer, max_length=14).dataset(corpus)


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
