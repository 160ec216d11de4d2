"""Output heads: from hidden states to logits, with the transform in front and without."""

import math

import pytest
import torch

from glassformer.data.batch import OutputSpec
from glassformer.model.heads import Head

N, D, CLASSES = 5, 7, 11


@pytest.mark.parametrize("transform", ["dense", "pooler", "none"])
def test_logits_by_hand(transform):
    """Linear, alone, behind dense -> GELU -> norm or behind dense -> tanh as in BERT, written out in double."""
    torch.manual_seed(1)
    head = Head(OutputSpec("head", CLASSES, transform=transform), D).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    hidden = torch.randn(N, D, dtype=torch.float64)
    expected = hidden
    if transform == "pooler":
        dense, _ = head.transform
        expected = torch.tanh(hidden @ dense.weight.T + dense.bias)
    if transform == "dense":
        dense, _, norm = head.transform
        inner = hidden @ dense.weight.T + dense.bias
        bent = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
        centred = bent - bent.mean(-1, keepdim=True)
        expected = centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias
    expected = expected @ head.output.weight.T + head.output.bias
    assert head(hidden).shape == (N, CLASSES)
    torch.testing.assert_close(head(hidden), expected, atol=1e-10, rtol=1e-10)


def test_a_head_without_transform_has_no_such_weights():
    assert {name for name, _ in Head(OutputSpec("h", CLASSES), D).named_parameters()} == {
        "output.weight",
        "output.bias",
    }
