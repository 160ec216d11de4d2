"""Long work that somebody may want to end: it asks, between two steps, whether it is still wanted.

    with stoppable(check):      # in whoever waits for the result: check() raises Stopped when nobody does any more
        model_work()            # calls go_on() now and then

Without `stoppable` around it `go_on` does nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_check: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


class Stopped(Exception):
    """Nobody waits for the result."""


@contextmanager
def stoppable(check: Callable[[], None]) -> Iterator[None]:
    """While open, `go_on` in this thread calls `check`, which may raise."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def go_on() -> None:
    """Called between two steps of long work."""
    check = _check.get()
    if check is not None:
        check()
