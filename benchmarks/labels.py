"""How good the shipped recipes for labelled data are on test data, beside the lines that they must beat.

    python benchmarks/labels.py NAME [NAME ...] --data DIR [--runs FOLDER] [--seeds 1 2 3] [--starts none self]

DIR holds a folder for each NAME, with the files as they are published (see CASES). `none` trains from scratch, on the
training part alone; `self` first learns to fill blanks in the same texts (`--pretrain-first`). Runs that lie in FOLDER
already are not trained again. Results go to docs/results/labels.json; those of other names stay in it.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import glassformer as gf
from glassformer.durable import write_text_durably
from glassformer.pretrain import train_in_two_stages
from glassformer.run import describe_environment
from glassformer.training.trainer import Quiet

FILE = Path(__file__).resolve().parents[1] / "docs" / "results" / "labels.json"
KEPT = ("scores", "baselines", "types", "calibration", "count")


class Case(NamedTuple):
    """A data set and the recipe that learns from it."""

    recipe: str
    train: str
    validation: str
    test: str
    changes: tuple[str, ...] = ()


CASES = {
    "sst2": Case("classification-sst2", "train.tsv", "dev.tsv", "test.tsv"),
    "wnut17": Case("tagging-names", "train.conll", "dev.conll", "test.conll"),
    "turku-ner-fi": Case("tagging-names", "train.tsv", "dev.tsv", "test.tsv"),
    "ud-turkish-framenet": Case("tagging-ud", *(f"tr_framenet-ud-{part}.conllu" for part in ("train", "dev", "test"))),
}


def measured(name: str, start: str, seed: int, data: Path, runs: Path) -> dict[str, Any]:
    """One run, judged on the test data."""
    case, run = CASES[name], runs / f"{name}-{start}-{seed}"
    if not (run / "recipe.yaml").exists():
        parts = (("train", case.train), ("validation", case.validation), ("test", case.test))
        changes = [*(f"data.{part}={data / name / file}" for part, file in parts), f"seed={seed}", *case.changes]
        if start == "self":
            train_in_two_stages(case.recipe, changes, run=run, display=Quiet())
        else:
            gf.train(case.recipe, changes, run=run, display=Quiet())
    trained = gf.load(run)
    stages = [run, run.with_name(f"{run.name}-pretrained")] if start == "self" else [run]
    seconds = sum(max(record.get("elapsed") or 0.0 for record in gf.load(stage).metrics()) for stage in stages)
    found = trained.evaluate("test")
    row = {"data": name, "recipe": case.recipe, "start": start, "seed": seed, "seconds": round(seconds)}
    return row | {key: found[key] for key in KEPT if key in found}


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=[*CASES], metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--starts", nargs="+", choices=["none", "self"], default=["none", "self"])
    options = parser.parse_args()
    for name in options.names:
        for start in options.starts:
            for seed in options.seeds:
                row = measured(name, start, seed, options.data.resolve(), options.runs)
                print(json.dumps(row), flush=True)
                keep(row)


def keep(row: dict[str, Any]) -> None:
    """Into the results, in the place of an older one of the same."""
    known = json.loads(FILE.read_text(encoding="utf-8"))["rows"] if FILE.exists() else []
    same = ("data", "start", "seed")
    rows = [one for one in known if [one.get(key) for key in same] != [row[key] for key in same]]
    rows = sorted([*rows, row], key=lambda one: [str(one.get(key)) for key in same])
    record = {"benchmark": "labels", "machine": describe_environment(), "rows": rows}
    write_text_durably(FILE, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
