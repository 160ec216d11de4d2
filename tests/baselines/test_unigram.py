"""The model that has only counted."""

import math

import pytest
import torch

from glassformer.baselines.unigram import Unigram
from glassformer.objectives.masked_lm import HEAD


def test_it_says_how_often_each_class_occurs(batch):
    """Add-one probabilities by hand, the same at every asked place, none of them zero."""
    counts = torch.tensor([3.0, 0.0, 6.0])
    logits = Unigram({HEAD: counts})(batch)[HEAD]
    assert logits.shape == (len(batch.asked[HEAD].rows), 3) and len(logits) > 1
    expected = torch.tensor([4 / 12, 1 / 12, 7 / 12])
    for row in logits:
        torch.testing.assert_close(row.exp(), expected)


def test_its_loss_is_the_unigram_line(objective, corpus, batch):
    """On the answers themselves no other constant answer is better; uniform ones cost ln V."""
    vocab_size = objective.tokenizer.vocab_size
    targets = batch.asked[HEAD].targets[: batch.asked[HEAD].number]
    counts = torch.bincount(targets, minlength=vocab_size).float()

    def loss(counts: torch.Tensor) -> float:
        part = objective.loss(Unigram({HEAD: counts})(batch), batch)[HEAD]
        return part.total.item() / part.count

    by_hand = sum(-math.log((counts[t] + 1) / (len(targets) + vocab_size)) for t in targets) / len(targets)
    assert loss(counts) == pytest.approx(by_hand, rel=1e-5)
    assert loss(torch.zeros(vocab_size)) == pytest.approx(math.log(vocab_size), rel=1e-5)
    assert loss(1e6 * counts) < loss(counts) < loss(torch.zeros(vocab_size)) < loss(counts.roll(7))
