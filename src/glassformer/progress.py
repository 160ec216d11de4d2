"""Long work that somebody waits for: between two steps it says how far it is, and asks whether it is still wanted.

    with stoppable(check):      # in whoever waits: check(done, of) may show it, and raises Stopped to end the work
        model_work()            # calls report_progress() now and then

Without `stoppable` around it `report_progress` does nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Check = Callable[[int, int], None]

_check: ContextVar[Check | None] = ContextVar("check", default=None)


class Stopped(Exception):
    """Nobody waits for the result."""


@contextmanager
def stoppable(check: Check) -> Iterator[None]:
    """While open, `report_progress` in this thread calls `check`, which may raise."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def report_progress(done: int = 0, of: int = 0) -> None:
    """Called between two steps of long work. `done` of `of` steps are behind, where the work knows that."""
    check = _check.get()
    if check is not None:
        check(done, of)
