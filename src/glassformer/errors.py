"""The two errors a person can cause. Both carry what happened and the mend; the command line prints them
without a traceback."""

import difflib
from collections.abc import Iterable

LONGEST = 500
"""Characters of what is wrong; in the middle of a longer one something is left out."""


class GlassformerError(Exception):
    """Something failed that the person can act on: a damaged file, a full disk. Exit code 1."""

    exit_code = 1
    label = "error: "

    def __init__(self, what: str, mend: str = "") -> None:
        if len(what) > LONGEST:  # it quotes a text of somebody's
            what = f"{what[: LONGEST - 100]} ... {what[-95:]}"
        super().__init__(f"{what}\n{mend}" if mend else what)
        self.what = what
        self.mend = mend


class UsageError(GlassformerError):
    """The request itself cannot be carried out: a misspelt key, a text without a blank. Exit code 2."""

    exit_code = 2


def nearest(wrong: str, right: Iterable[str]) -> str:
    """The mend for a misspelt name: `did you mean 'dropout'?`, or the list of what there is."""
    names = sorted(right)
    close = difflib.get_close_matches(wrong, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
