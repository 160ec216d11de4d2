"""How good the shipped recipes for labels are on test data, beside the lines that they must beat.

    python benchmarks/labels.py --data SST2 --runs FOLDER

SST2 holds the Stanford Sentiment Treebank, whole sentences in two classes, as train.tsv, dev.tsv and test.tsv. The
recipe `classification-sst2` as it is, from scratch, one run for each seed; those that lie in FOLDER already are not
trained again. Results go to docs/results/labels.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import glassformer as gf
from glassformer.durable import write_text_durably
from glassformer.run import describe_environment
from glassformer.training.trainer import Quiet

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
RECIPE = "classification-sst2"
KEPT = ("scores", "baselines", "calibration", "count")


def measured(data: Path, run: Path, seed: int) -> dict[str, Any]:
    """One run, judged on the test data."""
    if not (run / "recipe.yaml").exists():
        files = [f"data.{part}={data / name}.tsv" for part, name in (("train", "train"), ("validation", "dev"))]
        gf.train(RECIPE, [*files, f"data.test={data / 'test.tsv'}", f"seed={seed}"], run=run, display=Quiet())
    trained = gf.load(run)
    seconds = max(record.get("elapsed") or 0.0 for record in trained.metrics())
    found = trained.evaluate("test")
    return {"recipe": RECIPE, "seed": seed, "seconds": round(seconds), **{key: found[key] for key in KEPT}}


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.tsv, dev.tsv and test.tsv")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        rows.append(measured(options.data.resolve(), options.runs / f"sst2-{seed}", seed))
        print(json.dumps(rows[-1]), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"benchmark": "labels", "machine": describe_environment(), "rows": rows}
    write_text_durably(RESULTS / "labels.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
