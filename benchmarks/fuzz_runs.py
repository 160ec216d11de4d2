"""Damages real runs of every objective and exported folders in thousands of ways, and asks the commands about each: no
traceback, no answer later than ten seconds, no gigabyte of memory.

    .venv/bin/python benchmarks/fuzz_runs.py --number 50000 --seed 1

Prints each kind of failure once, with the seed that shows it, and ends with exit code 1 where there was one.
"""

import argparse
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import mutations
import torch


def main() -> None:
    """Mutation after mutation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=50_000, help="mutations")
    parser.add_argument("--seed", type=int, default=1, help="of the first one")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so many")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kinds: Counter[str] = Counter()
    done, until = 0, time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="glassformer-fuzz-") as name:
        folder = Path(name)
        runs = mutations.make_runs(folder)
        folders = mutations.make_folders(runs, folder)
        start = peak()
        for seed in range(options.seed, options.seed + options.number):
            failure = mutations.one(seed, runs, folders, folder / "place")
            done += 1
            if failure is not None:
                say(failure, kinds)
            if time.monotonic() > until:
                break
    print(f"{done:,} mutations, {sum(kinds.values())} failures of {len(kinds)} kinds; memory at most {peak():,} MB,")
    print(f"{start:,} MB before the first")
    sys.exit(1 if kinds or peak() > 1000 else 0)


def peak() -> int:
    """The most memory that this process has taken, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def say(failure: mutations.Failure, kinds: Counter[str]) -> None:
    """The first of each kind, with where it happened."""
    trace = traceback.extract_tb(failure.error.__traceback__)
    kind = f"{type(failure.error).__name__} {trace[-1].filename}:{trace[-1].lineno}" if trace else str(failure.error)
    kinds[kind] += 1
    if kinds[kind] == 1:
        where = " < ".join(f"{Path(each.filename).name}:{each.lineno}" for each in reversed(trace[-6:]))
        print(f"{failure.damage}\n  {failure.command}\n  {str(failure.error)[:300]!r}\n  {where}\n", flush=True)


if __name__ == "__main__":
    main()
