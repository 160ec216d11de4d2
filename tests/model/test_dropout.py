"""Our dropout: right on average, reproducible, and gone when it should be."""

import math

import pytest
import torch

from glassformer.model.dropout import Dropout, dropout

N = 200_000
SIGMAS = 4.5


def drawn(p: float, n: int = N, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(3)
    return dropout(torch.ones(n, dtype=dtype), p)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_rate_and_mean(p):
    """Dropped as often as p says, within binomial limits; the others grow so that the mean stays."""
    y = drawn(p)
    sigma = math.sqrt(p * (1 - p) / N)
    assert abs((y == 0).float().mean() - p) < SIGMAS * sigma
    assert abs(y.mean() - 1) < SIGMAS * sigma / (1 - p)
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)))


def test_neighbours_are_dropped_independently():
    """Four lots come from one integer: two, three and four of them fall together as often as chance has it."""
    fallen = (drawn(0.5) == 0).view(-1, 4)
    n = len(fallen)
    for columns in ([0, 1], [0, 3], [1, 2], [0, 1, 2], [0, 1, 2, 3]):
        together = 0.5 ** len(columns)
        sigma = math.sqrt(together * (1 - together) / n)
        assert abs(fallen[:, columns].all(-1).float().mean() - together) < SIGMAS * sigma


def test_nearly_everything_can_be_dropped():
    """A p that rounds to 1 drops nearly everything; an integer that runs over would keep it all, scaled by 1e6."""
    assert (drawn(1 - 1e-6) == 0).float().mean() > 0.999


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (2, 3, 11), (0,)])
def test_any_number_of_elements(shape):
    """Also those that four does not divide."""
    torch.manual_seed(1)
    y = dropout(torch.ones(shape), 0.5)
    assert y.shape == shape and set(y.flatten().tolist()) <= {0.0, 2.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_precision_stays(dtype):
    assert drawn(0.3, 11, dtype).dtype == dtype


def test_reproducible_from_torchs_seed():
    """The same seed drops the same, the next draw does not; p = 0 draws nothing."""
    assert torch.equal(drawn(0.3, 1_001), drawn(0.3, 1_001))
    assert not torch.equal(drawn(0.3, 1_001), dropout(torch.ones(1_001), 0.3))
    state = torch.manual_seed(3).get_state()
    x = torch.randn(7, generator=torch.Generator().manual_seed(1))
    assert torch.equal(dropout(x, 0.0), x) and torch.equal(torch.default_generator.get_state(), state)


def test_nothing_in_evaluation_mode():
    """The module drops while training only."""
    module, x = Dropout(0.5), torch.ones(1_001)
    assert torch.equal(module.eval()(x), x)
    assert (module.train()(x) == 0).any()
    assert "p=0.5" in repr(module)


def test_the_gradient_equals_the_mask():
    """Where an element fell its gradient is zero, elsewhere 1 / (1 - p)."""
    x = torch.ones(1_001, requires_grad=True)
    torch.manual_seed(3)
    y = dropout(x, 0.3)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert set((x.grad == 0).tolist()) == {True, False}
