"""What every loss promises, asked of each file in losses/. A new file is picked up by itself, with its definition in a
file of the same name in definitions/."""

import importlib.util
from pathlib import Path

import pytest
import torch

from glassformer.data.batch import IGNORE_INDEX, TargetsBatch
from glassformer.errors import UsageError
from glassformer.losses import LossFunction, find_loss
from glassformer.plugins import plugin_names

NAMES = plugin_names("glassformer.losses")
N, SIZE, PADDING = 8, 5, 3


def definition(name: str):
    """The module with `definition(outputs, targets)`, a loop in float64, and `targets(n, size)` to try it with."""
    path = Path(__file__).parent / "definitions" / f"{name}.py"
    assert path.is_file(), f"write the definition of {name!r} in {path.relative_to(Path(__file__).parents[2])}"
    spec = importlib.util.spec_from_file_location(f"definition_of_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def padded(loss: LossFunction, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, TargetsBatch]:
    """The same questions with entries behind them that must not count."""
    filler = torch.full((PADDING, *targets.shape[1:]), float("nan") if targets.is_floating_point() else IGNORE_INDEX)
    more = torch.cat([outputs, torch.full((PADDING, outputs.shape[1]), 1e4, dtype=outputs.dtype)])
    return more, TargetsBatch(torch.zeros(N + PADDING, dtype=torch.long), torch.cat([targets, filler.to(targets)]), N)


@pytest.fixture(params=NAMES)
def case(request):
    torch.manual_seed(2)
    module = definition(request.param)
    return find_loss(request.param), torch.randn(N, SIZE, dtype=torch.float64), module.targets(N, SIZE), module


def test_the_losses_that_must_be_found():
    assert {"cross_entropy", "squared_error", "binary_cross_entropy", "in_batch_contrastive"} <= set(NAMES)


def test_it_is_its_definition(case):
    loss, outputs, targets, module = case
    expected = torch.stack([torch.as_tensor(one) for one in module.definition(outputs, targets)])
    assert expected.dtype == torch.float64 and (expected != 0).any()
    torch.testing.assert_close(loss.of_each(outputs, targets), expected, atol=1e-10, rtol=1e-10, check_dtype=False)


def test_sums_and_counts_without_the_padding(case):
    """The sum over the questions; padded entries add nothing, have no gradient, and make nothing of the rest NaN."""
    loss, outputs, targets, _ = case
    more, asked = padded(loss, outputs.requires_grad_(), targets)
    more = more.detach().requires_grad_()
    found = loss(more, asked)
    assert found.count == N
    torch.testing.assert_close(found.total, loss.of_each(outputs, targets).sum())
    found.total.backward()
    assert (more.grad[N:] == 0).all() and (more.grad[:N].abs().sum(-1) > 0).all()


def test_half_precision_is_summed_in_float32(case):
    loss, outputs, targets, _ = case
    targets = targets.float() if targets.is_floating_point() else targets
    more, asked = padded(loss, outputs.bfloat16(), targets)
    assert loss(more, asked).total.dtype == torch.float32


def test_the_right_outputs_are_better_than_others(case):
    """A step against the gradient lowers it."""
    loss, outputs, targets, _ = case
    _, asked = padded(loss, outputs, targets)
    more = padded(loss, outputs, targets)[0].requires_grad_()
    before = loss(more, asked).total
    before.backward()
    assert loss(more.detach() - 1e-3 * more.grad, asked).total < before


def test_nothing_asked_is_nothing(case):
    loss, outputs, targets, _ = case
    asked = TargetsBatch(torch.zeros(PADDING, dtype=torch.long), padded(loss, outputs, targets)[1].values[N:], 0)
    assert float(loss(outputs[:PADDING], asked).total) == 0


def test_an_unknown_loss_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'squared_error'"):
        find_loss("squared_eror")
