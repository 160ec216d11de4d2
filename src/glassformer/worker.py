"""A process beside the first of a training, which starts it: `python -m glassformer.worker RUN`."""

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Train the run along with the first process, and say on standard error why it could not."""
    from glassformer.training.workers import ending_with_the_first, joined

    ending_with_the_first()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until training begins there is nothing to save
    from glassformer.errors import GlassformerError
    from glassformer.launch import train_along

    try:
        train_along(Path(sys.argv[1]), joined)
    except GlassformerError as error:
        sys.exit(f"{error.what} - {error.mend}")
    os._exit(0)  # the first waits, and taking an interpreter down takes seconds


if __name__ == "__main__":
    main()
