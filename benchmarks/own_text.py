"""Texts of one's own, from the command alone: does the budget hold, is something learned, and is the verdict right?

    python benchmarks/own_text.py --data DIR [NAME ...]

DIR holds the public sets, as `udhr/eng.txt`, `wikitext-2/train.txt`, `tinyshakespeare/input.txt` and so on. Each text
is one command in a process of its own, one after another, with an empty cache. Results go to
docs/results/own_text.json; naming some texts measures only those anew. What a person says of each verdict stands in
own_text_verdicts.yaml.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
FILE = RESULTS / "own_text.json"
LANGUAGES = "amh arb ben cmn_hans deu_1901 ell_monotonic eng fin fra heb hin hye jpn kat kor rus tam tha tur vie"


class Case(NamedTuple):
    """A text, and what else is said in the command."""

    name: str
    text: Callable[[Path, Path], Path]
    """The file, from the folder of public sets or made in the other one."""
    changes: tuple[str, ...] = ()


def of(path: str) -> Callable[[Path, Path], Path]:
    """A file of the public sets, as it is."""
    return lambda data, made: data / path


def beginning(path: str, size: int) -> Callable[[Path, Path], Path]:
    """The first lines of a file, up to about so many bytes."""

    def cut(data: Path, made: Path) -> Path:
        text = (data / path).read_bytes()[:size]
        return write(made / f"{size}.txt", text[: text.rindex(b"\n") + 1].decode())

    return cut


def write(file: Path, text: str) -> Path:
    """The file, with this text in it."""
    file.write_text(text, encoding="utf-8")
    return file


def code(data: Path, made: Path) -> Path:
    """This project's own source, as one file."""
    files = sorted((ROOT / "src").rglob("*.py"))
    return write(made / "code.txt", "\n\n".join(file.read_text(encoding="utf-8") for file in files))


def dna(data: Path, made: Path) -> Path:
    """300,000 bases in lines of 60, made up: each depends on the three before it, so that there is much to learn."""
    rng = random.Random(7)
    likely: dict[str, list[float]] = {}
    bases = "ACG"
    while len(bases) < 300_000:
        weights = likely.setdefault(bases[-3:], [rng.random() ** 3 for _ in range(4)])
        bases += rng.choices("ACGT", weights)[0]
    return write(made / "dna.txt", "\n".join(bases[i : i + 60] for i in range(0, len(bases), 60)))


def tunes(data: Path, made: Path) -> Path:
    """400 tunes in ABC, made up: bars of four beats, walking up and down a scale, each part repeated."""
    rng = random.Random(7)

    def bar(at: int) -> tuple[str, int]:
        notes = ""
        for length in rng.choice(((1, 1, 1, 1), (2, 1, 1), (1, 1, 2), (2, 2))):
            at = min(13, max(0, at + rng.choice((-2, -1, -1, 1, 1, 2))))
            notes += "CDEFGABcdefgab"[at] + ("" if length == 1 else str(length))
        return notes, at

    def part(at: int) -> str:
        bars = []
        for _ in range(4):
            notes, at = bar(at)
            bars.append(notes)
        return "|: " + " | ".join(bars) + " :|"

    heads = (f"X:{n}\nT:Tune {n}\nM:4/4\nL:1/8\nK:{rng.choice(('C', 'G', 'D', 'Am'))}" for n in range(1, 401))
    return write(made / "tunes.abc", "\n\n".join(f"{head}\n{part(rng.randrange(4, 9))}\n{part(7)}" for head in heads))


def notes(data: Path, made: Path) -> Path:
    """390 words of this project's reading guide, a paragraph to a line."""
    text = (ROOT / "docs" / "reading-guide.md").read_text(encoding="utf-8")
    lines, words = list[str](), 0
    for paragraph in text.split("\n\n"):
        kept = paragraph.split()[: 390 - words]
        words += len(kept)
        lines += [" ".join(kept)] if kept else []
    return write(made / "notes.txt", "\n".join(lines) + "\n")


CASES = (
    *(Case(f"udhr-{language}", of(f"udhr/{language}.txt")) for language in LANGUAGES.split()),
    Case("notes", notes),
    Case("wikitext-2-minutes", beginning("wikitext-2/train.txt", 1_500_000), ("training.minutes=2",)),
    Case("wikitext-5-minutes", beginning("wikitext-2/train.txt", 1_500_000), ("training.minutes=5",)),
    Case("wikitext-5MB", beginning("wikitext-2/train.txt", 5_000_000), ("training.minutes=3",)),
    Case(
        "shakespeare",
        of("tinyshakespeare/input.txt"),
        ("objective.name=causal_lm", "tokenizer.kind=character", "training.minutes=2"),
    ),
    Case("captions", of("multi30k-de-en/train.en"), ("training.minutes=1",)),
    Case("turkish-sentences", of("ud-turkish-framenet/train.txt"), ("training.minutes=1",)),
    Case("titles", of("scitldr/train.jsonl"), ("data.column=title", "training.minutes=1")),
    Case("reviews", of("sst2/train.tsv"), ("training.minutes=1",)),
    Case("messages", of("wnut17/train.conll"), ("training.minutes=1",)),
    Case("code", code, ("objective.name=causal_lm", "training.minutes=1")),
    Case("dna", dna, ("training.minutes=1",)),
    Case("tunes", tunes, ("objective.name=causal_lm", "training.minutes=1")),
)


def measured(case: Case, data: Path) -> dict[str, Any]:
    """One command from its start to its end, and what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        text = case.text(data, made)
        command = [sys.executable, "-m", "glassformer.cli", "train", str(text), *case.changes, "--run", f"{made}/run"]
        environment = os.environ | {"GLASSFORMER_CACHE": f"{made}/cache"}
        began = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        os.environ["GLASSFORMER_CACHE"] = f"{made}/cache"
        return {"name": case.name, "bytes": text.stat().st_size, "seconds": round(seconds, 1)} | facts(made / "run")


def facts(path: Path) -> dict[str, Any]:
    """What a run says of itself, and what counting comes to on the same questions."""
    import glassformer as gf

    run = gf.load(path)
    found = run.evaluate("validation")
    environment = run.directory.environment()["measured"]
    evaluations = [record for record in run.metrics() if record["event"] == "evaluation"]
    used = evaluations[-1]
    recipe = run.recipe
    return {
        "minutes": environment["asked"]["minutes"],
        "steps": recipe.training.steps,
        "parameters": environment["parameters"],
        "model": f"{recipe.model.n_layers} x {recipe.model.d_model}",
        "tokenizer": f"{recipe.tokenizer.kind} {run.tokenizer.vocab_size:,}",
        "tokens": run.corpus("train").n_tokens,
        "questions": found["count"],
        "loss": found["loss"],
        "interval": found.get("loss_interval"),
        "accuracy": found["accuracy"],
        "lines": run.reference_losses(),
        "verdict": used["verdict"],
    }


def chosen(names: list[str]) -> Iterator[Case]:
    """The cases of these names, or all."""
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        raise SystemExit(f"no such text: {', '.join(sorted(unknown))}")
    return (case for case in CASES if not names or case.name in names)


def main() -> None:
    """Parse, measure, write after each text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these texts")
    parser.add_argument("--data", type=Path, required=True, help="the folder of public sets")
    options = parser.parse_args()

    from glassformer.durable import write_text_durably
    from glassformer.run import describe_environment

    rows = {row["name"]: row for row in (json.loads(FILE.read_text())["rows"] if FILE.exists() else [])}
    for case in chosen(options.names):
        rows[case.name] = measured(case, options.data.resolve())
        print(json.dumps(rows[case.name]), flush=True)
        ordered = [rows[each.name] for each in CASES if each.name in rows]
        record = {"benchmark": "own_text", "machine": describe_environment(), "rows": ordered}
        write_text_durably(FILE, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
