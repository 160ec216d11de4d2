"""Cross-entropy in pieces against PyTorch's own, value and gradient."""

import pytest
import torch
import torch.nn.functional as F

from glassformer import cross_entropy as module
from glassformer.cross_entropy import cross_entropy


def made(rows: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    logits = 3 * torch.randn(rows, 11, dtype=torch.float64, generator=generator)
    targets = torch.randint(0, 11, (rows,), generator=generator)
    targets[::4] = -1
    return logits.to(dtype).requires_grad_(), targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_a_time", [1, 33, 10**6], ids=["row by row", "three rows", "at once"])
def test_equals_the_definition(monkeypatch, smoothing, at_a_time):
    """Rows that ask nothing count nothing; the last piece may be shorter; what comes from above scales the gradient."""
    monkeypatch.setattr(module, "AT_A_TIME", at_a_time)
    logits, targets = made(10)
    twin = logits.detach().clone().requires_grad_()
    ours = cross_entropy(logits, targets, -1, smoothing)
    true = F.cross_entropy(twin, targets, ignore_index=-1, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, true, rtol=1e-12, atol=1e-12)
    (ours * -0.3).backward()
    (true * -0.3).backward()
    torch.testing.assert_close(logits.grad, twin.grad, rtol=1e-12, atol=1e-12)
    assert torch.equal(logits.grad[::4], torch.zeros(3, 11, dtype=torch.float64))


def test_bfloat16_is_summed_in_float32():
    """10,000 losses near 2.4 nats: a sum in bfloat16 would stop growing at 1,024."""
    logits, targets = made(10_000, torch.bfloat16)
    exact = F.cross_entropy(logits.double(), targets, ignore_index=-1, reduction="sum")
    ours = cross_entropy(logits, targets, -1)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=0.0)
    ours.backward()
    assert logits.grad.dtype == torch.bfloat16


def test_nothing_asked_is_zero_with_a_gradient_of_zeros():
    logits, targets = made(4)
    loss = cross_entropy(logits, torch.full_like(targets, -1), -1, 0.1)
    loss.backward()
    assert loss == 0.0 and not logits.grad.any()
    assert cross_entropy(logits[:0], targets[:0], -1) == 0.0


def test_gradients_pass_finite_differences():
    logits, targets = made(6)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, targets, -1, 0.2), (logits,))
