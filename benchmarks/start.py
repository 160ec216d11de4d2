"""From the shell to the answer: how long asking a run takes, beside nothing but importing torch.

    python benchmarks/start.py RUN --text "a [MASK] text"

`glassformer fill RUN TEXT` and `python -c "import torch"` take turns, each in a process of its own. Processor time is
what a process spent in its own code and the system's; it moves less than the clock where others are at work. Bytecode
is kept, as an installed package has it, also where the environment says otherwise (PYTHONDONTWRITEBYTECODE): else our
modules would be compiled anew in each process, and PyTorch's, which pip has compiled, would not.
Medians go to docs/results/start.json.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from glassformer.run import describe_environment
from glassformer.snapshot import write_text_durably

FILE = Path(__file__).resolve().parents[1] / "docs" / "results" / "start.json"


def taken(command: list[str]) -> tuple[float, float]:
    """Seconds of the clock and of the processor that a command takes. Raises CalledProcessError where it fails."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - began, spent


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run that fills blanks")
    parser.add_argument("--text", default="Mars is called the [MASK] planet")
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "fill": [sys.executable, "-m", "glassformer.cli", "fill", asked.run, asked.text],
    }
    for command in commands.values():  # what is read from disk once is not counted
        taken(command)
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(asked.rounds):
        for name, command in commands.items():
            seen[name].append(taken(command))
    found = {
        name: dict(zip(("clock", "processor"), map(statistics.median, zip(*times, strict=True)), strict=True))
        for name, times in seen.items()
    }
    ratio = {kind: found["fill"][kind] / found["import torch"][kind] for kind in ("clock", "processor")}
    result = {"rounds": asked.rounds, "seconds": found, "ratio": ratio, "load": os.getloadavg()[0]}
    print(json.dumps(result, indent=1))
    write_text_durably(FILE, json.dumps(result | {"environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
