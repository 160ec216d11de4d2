"""Run as a program: carries out the `glassformer` commands of standard input, a line each, in order.

    python forked_commands.py < COMMANDS

Each command has a process of its own: a fork of this one, which has loaded PyTorch and what else is slow, nothing of
ours: what a command forgets to import is missing here as in a new process. Ends with 1 at the first that fails.
"""

import shlex
import sys

import lightning_fabric  # noqa: F401  (loaded for the forks, as the next two)
import matplotlib.figure  # noqa: F401
import torch  # noqa: F401
from forks import in_a_fork


def carry_out(words: list[str]) -> None:
    """In a fork: as if the shell had called the command with these words."""
    from glassformer.cli import run_command

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
