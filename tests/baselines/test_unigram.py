"""The model that has only counted."""

import math

import numpy as np
import pytest
import torch

from glassformer.baselines.ngram import NGram
from glassformer.baselines.unigram import Unigram, discounted
from glassformer.objectives.masked_lm import HEAD


def test_it_says_how_often_each_class_occurs(batch):
    """Probabilities by hand, the same at every asked place, none of them zero: with none seen once half a count goes
    from each class seen to all three."""
    counts = torch.tensor([3.0, 0.0, 6.0])
    logits = Unigram({HEAD: counts})(batch)[HEAD]
    assert logits.shape == (len(batch.targets[HEAD].flat_index), 3) and len(logits) > 1
    expected = torch.tensor([2.5 + 1 / 3, 1 / 3, 5.5 + 1 / 3]) / 9
    for row in logits:
        torch.testing.assert_close(row.exp(), expected)


def test_its_loss_is_the_unigram_line(objective, corpus, batch):
    """On the answers themselves no other constant answer is better; uniform ones cost ln V."""
    vocab_size = objective.tokenizer.vocab_size
    targets = batch.targets[HEAD].values[: batch.targets[HEAD].n_targets]
    counts = torch.bincount(targets, minlength=vocab_size).float()

    def loss(counts: torch.Tensor) -> float:
        part = objective.loss(Unigram({HEAD: counts})(batch), batch)[HEAD]
        return part.total.item() / part.count

    by_ngrams = NGram(targets.numpy()[:, None], vocab_size).probabilities(targets.numpy()[:, None])
    assert loss(counts) == pytest.approx(float(-np.log(by_ngrams).mean()), rel=1e-5)
    assert loss(torch.zeros(vocab_size)) == pytest.approx(math.log(vocab_size), rel=1e-5)
    assert loss(1e6 * counts) < loss(counts) < loss(torch.zeros(vocab_size)) < loss(counts.roll(7))


@pytest.mark.parametrize("counts", [[1, 1, 1, 1], [1, 0, 0, 0], [5, 2, 1, 0], [0, 0, 0, 0], [2, 2, 2, 0], [1, 1, 0, 0]])
def test_probabilities_add_up_and_none_is_zero(counts):
    found = discounted(torch.tensor(counts, dtype=torch.float32))
    assert found.sum().item() == pytest.approx(1)
    assert (found > 0).all()
