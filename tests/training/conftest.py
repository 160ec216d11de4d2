"""Tiny tensors are fastest on one thread, and do not suffer where other programs use the other cores."""

from collections.abc import Iterator

import pytest

from glassformer.training.engine import threads


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Every test of this folder computes on one thread."""
    with threads(1):
        yield
