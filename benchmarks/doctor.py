"""Does doctor foresee what a training takes? Its minutes and memory beside those of the real training.

    python benchmarks/doctor.py --data DIR

DIR holds WikiText-2 as train.txt, valid.txt and test.txt. Each training and each examination is a process of its own,
one after another. Results go to docs/results/doctor.json.
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
TRAINING = """
import json, sys, time
began = time.perf_counter()
import glassformer as gf
from glassformer.doctor import peak_memory
from glassformer.training.trainer import Quiet
recipe, run, *changes = sys.argv[1:]
gf.train(recipe, changes, run=run, display=Quiet())
print(json.dumps({"minutes": (time.perf_counter() - began) / 60, "memory_bytes": peak_memory()}))
"""


def answer_of(command: list[str]) -> dict[str, Any]:
    """The last line that a process prints, as JSON."""
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.txt, valid.txt and test.txt")
    parser.add_argument("--steps", type=int, default=400, help="steps of the two WikiText-2 recipes")
    options = parser.parse_args()
    data = options.data.resolve()
    parts = (("train", "train"), ("validation", "valid"), ("test", "test"))
    wikitext = [*(f"data.{part}={data}/{file}.txt" for part, file in parts), f"training.steps={options.steps}"]
    cases = {"mlm-demo": [], "mlm-wikitext2-word": wikitext, "mlm-wikitext2": wikitext}
    rows = []
    for recipe, changes in cases.items():
        said = answer_of(["-m", "glassformer.cli", "doctor", recipe, *changes, "--json"])
        time.sleep(2)
        with tempfile.TemporaryDirectory() as folder:
            real = answer_of(["-c", TRAINING, recipe, f"{folder}/run", *changes])
        row = {"recipe": recipe, "steps": said["steps"], "settled": said["settled"]}
        row |= {f"{key}_foreseen": said[key] for key in real} | {f"{key}_real": value for key, value in real.items()}
        rows.append(row)
        print(row, flush=True)

    from glassformer.run import describe_environment
    from glassformer.snapshot import write_text_durably

    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"benchmark": "doctor", "machine": describe_environment(), "rows": rows}
    write_text_durably(RESULTS / "doctor.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
