"""Everything in this folder computes on one thread."""

import pytest


@pytest.fixture(autouse=True)
def always_one_thread(one_thread: None) -> None:
    """See `one_thread`."""
