"""The classic small set-up for real: word-level WikiText-2 with dropout 0.1 and with none, side by side.

    python benchmarks/wikitext2_word.py --data DIR [--runs runs] [--epochs 10]

DIR holds WikiText-2 as train.txt, valid.txt and test.txt. Both runs checkpoint; started again, the script goes on where
it stopped. What it shows goes to docs/results/: the comparison picture, a page with `true vs predicted` lines of an
early, a middle and the last evaluation, and overlay pictures of right and wrong guesses.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import glassformer as gf
from glassformer.ask.attention import Attention
from glassformer.ask.run import Run
from glassformer.look.report import compare_runs, sample_prompts
from glassformer.objectives import Prompt
from glassformer.run import RunDirectory, describe_environment
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.display import TerminalDisplay

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
VARIANTS = {"word-dropout-0.1": 0.1, "word-dropout-none": 0.0}
HEADING = """# true vs predicted

Asked are the words between > and <, in their order. Most of them are hidden, some were exchanged for another word, and
some are left as they were: BERT's 80, 10 and 10 percent."""
LOOKED_AT = 400
"""Validation texts among which right and wrong guesses are looked for."""
KNOWN_ENOUGH = 0.2
"""The largest share of unknown words in a text that is shown."""


def train(name: str, dropout: float, options: argparse.Namespace) -> Run:
    """One of the two runs, or the rest of it."""
    data = options.data.resolve()
    changes = [
        *(
            f"data.{part}={data}/{file}.txt"
            for part, file in (("train", "train"), ("validation", "valid"), ("test", "test"))
        ),
        f"model.dropout={dropout}",
        f"model.attention_dropout={dropout}",
        f"training.epochs={options.epochs}",
        "training.patience=null",  # both curves to their ends, and a finished run is known by its last step
        "training.compile=false",  # else a noisy moment might let one compile and the other not
    ]
    path = options.runs / name
    begun = (path / "recipe.yaml").exists()
    if begun and max(checkpoint_steps(RunDirectory(path)), default=0) == gf.load(path).recipe.training.steps:
        return gf.load(path)
    return gf.train("mlm-wikitext2-word", changes, run=path, resume=begun, display=TerminalDisplay())


def guesses(run: Run) -> tuple[list[Attention], list[Attention]]:
    """Validation texts of which the first blank was guessed right, and others: two each, the surest first.

    Of words only, in texts of which the vocabulary knows most: punctuation and rows of [UNK] show little.
    """
    right: list[tuple[float, Attention]] = []
    wrong: list[tuple[float, Attention]] = []
    for prompt in sample_prompts(run, LOOKED_AT):
        if not any(len(targets.positions) for targets in prompt.example.targets.values()):
            continue
        seen = run.attention_of(first_blank_only(run, prompt))
        assert seen.filled is not None
        blank = seen.filled.blanks[0]
        best = blank.candidates[0]
        if not (blank.true or "").isalpha() or seen.tokens.count("[UNK]") > KNOWN_ENOUGH * len(seen.tokens):
            continue
        (right if best.token == blank.true else wrong).append((best.probability, seen))
    return [[seen for _, seen in sorted(kind, key=lambda pair: -pair[0])[:2]] for kind in (right, wrong)]  # type: ignore


def first_blank_only(run: Run, prompt: Prompt) -> Prompt:
    """The text with its first asked word as the only [MASK]; what else the corruption changed is put right."""
    [(head, targets)] = prompt.example.targets.items()
    stream = prompt.example.streams["encoder"]
    ids = stream.values.copy()
    ids[targets.positions] = targets.values
    ids[targets.positions[0]] = run.tokenizer.mask_id
    example = prompt.example._replace(
        streams={"encoder": stream._replace(values=ids)},
        values={head: targets._replace(positions=targets.positions[:1], values=targets.values[:1])},
    )
    return Prompt(prompt.text, example, [run.tokenizer.token(int(token)) for token in ids])


def samples_page(run: Run) -> str:
    """What the run guessed at an early, a middle and the last evaluation."""
    files = sorted(run.directory.samples.glob("step-*.txt"))
    chosen = [files[min(1, len(files) - 1)], files[len(files) // 2], files[-1]]
    blocks = [
        f"### {run.path.name}: {f.stem}\n\n```text\n{f.read_text(encoding='utf-8').strip()}\n```\n" for f in chosen
    ]
    return "\n".join(blocks)


def report(runs: list[Run], options: argparse.Namespace) -> None:
    """Everything that is kept."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    rows = compare_runs(runs, RESULTS / "wikitext2_word.png")
    for run in runs:
        for kind, found in zip(("right", "wrong"), guesses(run), strict=True):
            for number, seen in enumerate(found):
                gf.save(gf.overlay_of(seen), RESULTS / f"wikitext2_word-{run.path.name}-{kind}-{number}.png")
    tests: dict[str, Any] = {run.path.name: run.evaluate("test") for run in runs}
    record = {
        "benchmark": "wikitext2_word",
        "machine": describe_environment(),
        "epochs": options.epochs,
        "runs": rows,
        "references": references(runs[0]),
        "test": tests,
    }
    (RESULTS / "wikitext2_word.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    pages = "\n".join(samples_page(run) for run in runs)
    (RESULTS / "wikitext2_word-samples.md").write_text(f"{HEADING}\n\n{pages}", encoding="utf-8")


def references(run: Run) -> dict[str, float]:
    """The lines that need no learning, as the run's evaluations recorded them."""
    return next(r["references"] for r in run.metrics() if "references" in r)


def main() -> None:
    """Parse, train, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.txt, valid.txt and test.txt")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--epochs", type=float, default=10)
    options = parser.parse_args()
    report([train(name, dropout, options) for name, dropout in VARIANTS.items()], options)


if __name__ == "__main__":
    main()
