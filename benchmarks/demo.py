"""The demo with several seeds, each in a process of its own: what it has learned, in what time and memory.

    python benchmarks/demo.py [--seeds 3]

Results go to docs/results/demo.json.
"""

import argparse
import difflib
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
    began = time.perf_counter()
    pairs = of_pairs(demo.demo_pairs(folder / "seq2seq-demo", [f"seed={seed}"]))
    pairs["seconds"] = round(time.perf_counter() - began, 1)
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
        "pairs": pairs,
    }


def of_pairs(run: Any) -> dict[str, Any]:
    """How much of the built-in pairs the encoder-decoder says exactly, and the BLEU of its answers to held-out sources,
    beside that of saying the source again and of the target of the nearest source that it has learned."""
    import sacrebleu

    from glassformer.data.rows import BUILTIN_KINDS, builtin_pairs
    from glassformer.demo import said

    found: dict[str, Any] = {}
    for part in ("train", "heldout"):
        answers = said(run, part)
        found |= {
            f"{part}_pairs": len(answers),
            f"{part}_exact": sum(a.mark == "right" for a in answers) / len(answers),
        }
    texts = {one.pair: one.text for one in answers}
    for kind in BUILTIN_KINDS:
        known, asked = ([*builtin_pairs(f"builtin:pairs/{part}/{kind}")] for part in ("train", "heldout"))
        nearest = [difflib.get_close_matches(p.source, [k.source for k in known], n=1, cutoff=0)[0] for p in asked]
        target_of = {k.source: k.target for k in known}
        said_by = {
            "model": [texts[p] for p in asked],
            "copying": [p.source for p in asked],
            "nearest_pair": [target_of[n] for n in nearest],
        }
        metric = sacrebleu.BLEU()
        found[kind] = {
            name: round(metric.corpus_score(guesses, [[p.target for p in asked]]).score, 1)
            for name, guesses in said_by.items()
        }
        found["signature"] = str(metric.get_signature())
    return found


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
