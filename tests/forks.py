"""Work in a fork of a process that has loaded much and computed nothing: no thread runs that a fork would lose."""

import os
import sys
from collections.abc import Callable


def in_a_fork(work: Callable[[], object]) -> int:
    """Runs `work` in a process of its own; its exit code, negative for a signal."""
    assert len(os.listdir("/proc/self/task")) == 1 if os.path.isdir("/proc/self/task") else True
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
