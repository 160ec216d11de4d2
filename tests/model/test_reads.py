"""What a head reads: a position, an example's first token, the mean over an example, or over a span of it."""

import numpy as np
import pytest
import torch

from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Shapes, Stream, Targets, collate, sequence_targets
from glassformer.losses import find_loss
from glassformer.model.heads import point, read

D, WIDTH = 5, 13
LENGTHS = (3, 7, 4)
SHAPES = Shapes(rows=5, lengths=(WIDTH, 17), asked_share=0.1, packed=True)


def example(length: int, target: float | int, how: str) -> Example:
    stream = Stream(np.arange(length, dtype=np.int64))
    targets = sequence_targets(stream, target)
    if how == "span":  # two that overlap
        targets = Targets(np.array([0, 1]), np.array([target, target]), "encoder", np.array([2, 3]))
    if how == "position":
        targets = Targets(np.array([1, 2]), np.array([target, target]))
    return Example({"encoder": stream}, {"head": targets})


def by_definition(hidden: torch.Tensor, how: str) -> torch.Tensor:
    """Of one example's own hidden states (T D), each vector that is read."""
    if how == "first":
        return hidden[:1]
    if how == "mean":
        return hidden.mean(0, keepdim=True)
    if how == "span":
        return torch.stack([hidden[0:2].mean(0), hidden[1:3].mean(0)])
    return hidden[1:3]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shapes", [None, SHAPES])
@pytest.mark.parametrize("how", ["position", "first", "mean", "span"])
def test_reads_by_definition(how, packed, shapes):
    """Alone in a row or with others in it, padded or not: each example's own states, and nothing of any other."""
    examples = [example(length, 1, how) for length in LENGTHS]
    rows = [examples[:2], examples[2:]] if packed else [[one] for one in examples]
    batch = collate(rows, 0, shapes)
    targets, stream = batch.targets["head"], batch.streams["encoder"]
    hidden = torch.randn(*stream.input_ids.shape, D, dtype=torch.float64)
    poisoned = hidden.clone()
    for r, row in enumerate(rows):
        poisoned[r, sum(len(one.streams["encoder"].values) for one in row) :] = 1e9  # padding
    poisoned[len(rows) :] = 1e9
    found = read(poisoned, targets, OutputSpec("head", 2, read=how))
    places = [(r, sum(len(o.streams["encoder"].values) for o in row[:n]), one) for r, row in enumerate(rows)
              for n, one in enumerate(row)]  # fmt: skip
    expected = [
        by_definition(hidden[r, start : start + len(one.streams["encoder"].values)], how) for r, start, one in places
    ]
    torch.testing.assert_close(found[: targets.n_targets], torch.cat(expected))
    assert targets.n_targets == len(torch.cat(expected))
    assert len(found) == len(targets.values) and torch.isfinite(found).all()
    assert (targets.values[targets.n_targets :] == IGNORE_INDEX).all()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shapes", [None, SHAPES])
def test_a_pointer_chooses_among_the_tokens_of_its_own_example(packed, shapes):
    """One output for each of them, in their order; whatever else lies in the row is -inf, and has no gradient."""
    examples = [example(length, length - 1, "mean") for length in LENGTHS]
    rows = [examples[:2], examples[2:]] if packed else [[one] for one in examples]
    batch = collate(rows, 0, shapes)
    targets, stream = batch.targets["head"], batch.streams["encoder"]
    said = torch.randn(*stream.input_ids.shape, 1, requires_grad=True)
    found = point(said, targets)
    assert found.shape == (len(targets.values), said.shape[1])
    asked = iter(found[: targets.n_targets])
    for r, row in enumerate(rows):
        start = 0
        for one in row:
            length, mine = len(one.streams["encoder"].values), next(asked)
            torch.testing.assert_close(mine[:length], said[r, start : start + length, 0])
            assert (mine[length:] == -torch.inf).all()
            start += length
    loss = find_loss("cross_entropy")(found, targets)
    loss.total.backward()
    assert torch.isfinite(loss.total) and loss.count == 3 and torch.isfinite(said.grad).all()
    in_examples = sum(LENGTHS)
    assert int((said.grad.abs() > 0).sum()) == in_examples


def test_only_what_is_read_has_a_gradient():
    batch = collate([[example(3, 1, "mean"), example(4, 1, "mean")], [example(5, 1, "mean")]], 0)
    hidden = torch.randn(2, 7, D, requires_grad=True)
    read(hidden, batch.targets["head"], OutputSpec("head", 2, read="mean"))[1].sum().backward()
    touched = hidden.grad.abs().sum(-1) > 0
    assert touched[0].tolist() == [False] * 3 + [True] * 4 and not touched[1].any()


@pytest.mark.parametrize("target", [0.25, np.array([0.25, -1.5, 3.0])])
def test_numbers_stay_numbers(target):
    """Targets that are no classes are neither cut nor read as one; their padding is no number at all."""
    batch = collate([[example(length, target, "mean")] for length in LENGTHS], 0, SHAPES)
    targets = batch.targets["head"]
    assert targets.n_targets == 3 < len(targets.values) and targets.values.dtype == torch.float32
    torch.testing.assert_close(targets.values[:3], torch.tensor(np.array([target] * 3), dtype=torch.float32))
    assert targets.values[3:].isnan().all()


def test_every_batch_of_a_length_has_the_same_shapes():
    """What a compiler must see: nothing depends on how much is asked."""
    few = collate([[example(4, 1, "mean")]], 0, SHAPES).targets["head"]
    many = collate([[example(9, 1, "mean")] for _ in range(5)], 0, SHAPES).targets["head"]
    assert few.flat_index.shape == many.flat_index.shape and few.ends.shape == many.ends.shape
