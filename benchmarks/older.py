"""Is this build as fast as an older one? Both train and generate in turns, each from its own sources.

    python benchmarks/older.py COMMIT --data DIR      speed as a ratio to that commit; into docs/results/older.json

DIR holds WikiText-2 as train.txt and valid.txt. COMMIT's sources are checked out beside these, and its contestants are
its own copies of the benchmark scripts: what is timed is what that build does when it is asked the same things. The
tasks are those of `masked_lm.py`, `causal_lm.py` (the same work as the peers, and the shipped recipe) and
`generation.py` (one prompt and 32, greedy and with 4 beams).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import causal_lm
import contest
import generation
import masked_lm

HERE = Path(__file__).resolve().parents[1]
PEER_FREE = ("glassformer", "glassformer-recipe")


def contestant(name: str, tree: Path, script: str, task: dict[str, Any], threads: int) -> contest.Contestant:
    """A worker of one build."""
    paths = os.pathsep.join(str(tree / folder) for folder in ("src", "benchmarks"))
    environment = {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)}
    environment["GLASSFORMER_CACHE"] = str(tree.parent / f"cache-{name}")
    return contest.Contestant(name, task, str(tree / "benchmarks" / script), **environment)


def in_turns(
    both: dict[str, contest.Contestant], rounds: int, ask: Callable[[contest.Contestant], dict[str, Any]]
) -> dict[str, Any]:
    """Tokens per second of both, and the ratio round by round; the build that begins changes every round."""
    for each in both.values():
        ask(each)  # compiling and first allocations do not count
    rates: dict[str, list[float]] = {name: [] for name in both}
    for number in range(rounds):
        for name in list(both) if number % 2 else reversed(list(both)):
            answer = ask(both[name])
            rates[name].append(answer["tokens"] / answer["seconds"])
    new, old = rates.values()
    return {
        "tokens_per_second": {name: contest.spread(values, 1) for name, values in rates.items()},
        "ratio": contest.spread([a / b for a, b in zip(new, old, strict=True)]),
    }


def training(trees: dict[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Steps of training, masked and causal."""
    found = {}
    settings = {"data": str(options.data.resolve()), "threads": options.threads, "seed": 1, "total": 3_000}
    for script, benchmark, recipe in (
        ("masked_lm.py", masked_lm, "mlm-wikitext2"),
        ("causal_lm.py", causal_lm, "clm-wikitext2"),
    ):
        for kind in PEER_FREE:
            task = {**benchmark.CONTESTANTS[kind], **settings, "recipe": recipe, "model": benchmark.MODEL}
            task["rows"] = benchmark.ROWS
            # A build's own measuring of precisions must not decide what is compared: both train in the same one.
            task["changes"] = [*task["changes"], f"training.precision={options.precision}"]
            both = {name: contestant(name, tree, script, task, options.threads) for name, tree in trees.items()}
            row = in_turns(both, options.rounds, lambda each: each.ask({"steps": options.steps}))
            settled = {name: each.ask({"settled": True}) for name, each in both.items()}
            found[f"{recipe}, {kind}"] = {**row, "settled": settled}
            print(recipe, kind, json.dumps(row["ratio"]), flush=True)
            for each in both.values():
                each.end()
    return found


def generating(trees: dict[str, Path], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Texts from the same weights."""
    found = {}
    for format in generation.FORMATS:
        generation.write_folder(format, folder / format)
        task = {"side": "glassformer", "format": format, "folder": str(folder / format)}
        both = {name: contestant(name, tree, "generation.py", task, options.threads) for name, tree in trees.items()}
        for which, number in generation.PROMPTS.items():
            for search, beam in generation.BEAMS.items():
                # One prompt's 128 tokens are made in less than a tenth of a second: longer texts, and more rounds.
                tokens, rounds = (512, 3 * options.rounds) if number == 1 else (64, options.rounds)
                request = {"number": number, "tokens": tokens, "beam": beam}
                row = in_turns(both, rounds, lambda each, request=request: each.ask(request))
                found[f"{format}, {which} prompts, {search}"] = row
                print(format, which, search, json.dumps(row["ratio"]), flush=True)
        for each in both.values():
            each.end()
    return found


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the older build")
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.txt and valid.txt")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=4, help="steps of training of each build in a round")
    parser.add_argument("--precision", default="32-true", help="of both trainings")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        older = folder / "older"
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(older), options.commit], check=True)
        try:
            trees = {"this": HERE, options.commit: older}
            result = {"training": training(trees, options), "generation": generating(trees, options, folder)}
        finally:
            subprocess.run([*git, "remove", "--force", str(older)], check=True)

    from glassformer.run import describe_environment
    from glassformer.snapshot import write_text_durably

    record = {"benchmark": "older", "older": options.commit, "machine": describe_environment(), **result}
    write_text_durably(contest.RESULTS / "older.json", json.dumps(record, indent=1) + "\n")
    print(f"written to {contest.RESULTS / 'older.json'}")


if __name__ == "__main__":
    sys.exit(main())
