"""Run as a program: carries out the `glassformer` commands of standard input, a line each, in order.

    python forked_commands.py < COMMANDS

Each command has a process of its own: a fork of this one, which has loaded everything and computed nothing, so that
nobody waits for PyTorch again (2 seconds for an answer, 6 for a training). Ends with 1 at the first that fails.
"""

import shlex
import sys

from killed_training import in_a_fork

from glassformer import launch  # noqa: F401  (loaded for the forks)
from glassformer.cli import run_command
from glassformer.look import report  # noqa: F401


def carry_out(words: list[str]) -> None:
    """In a fork: as if the shell had called the command with these words."""
    sys.argv = words
    code = run_command()
    sys.stdout.flush()
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        words = shlex.split(line, comments=True)
        assert words[0] == "glassformer", line
        if in_a_fork(lambda words=words: carry_out(words)):  # type: ignore[misc]
            sys.exit(f"failed: {line}")
