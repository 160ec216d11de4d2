"""The demo with several seeds, each in a process of its own: what it has learned, in what time and memory.

    python benchmarks/demo.py [--seeds 3]

Results go to docs/results/demo.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


def worker(seed: int, folder: Path) -> dict[str, Any]:
    """One demo, from the start of the process to its last line."""
    began = time.perf_counter()
    from glassformer import demo
    from glassformer.data.builtin import cloze
    from glassformer.doctor import peak_memory

    run = demo.demo(folder / "mlm-demo", [f"seed={seed}"])
    seconds = time.perf_counter() - began
    learned, held_out = (run.cloze(cloze("facts", part)) for part in ("train", "heldout"))
    trained = [record for record in run.metrics() if record["event"] == "train"]
    return {
        "seed": seed,
        "blanks": len(learned),
        "loss": sum(a.loss for a in learned) / len(learned),
        "right": demo.share(learned),
        "held_out_wordings": len(held_out),
        "held_out_right": demo.share(held_out),
        "most_frequent_word": demo.guessing(held_out),
        "steps": trained[-1]["step"],
        "seconds": round(seconds, 1),
        "peak_memory_mib": round(peak_memory() / 2**20),
    }


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.worker is not None:
            found = worker(options.worker, Path(folder))
            print(json.dumps(found))
            return
        runs = []
        for seed in range(1, options.seeds + 1):
            command = [sys.executable, __file__, "--worker", str(seed)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            print(runs[-1], flush=True)

    from glassformer.run import describe_environment
    from glassformer.snapshot import write_text_durably

    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"benchmark": "demo", "machine": describe_environment(), "runs": runs}
    write_text_durably(RESULTS / "demo.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
