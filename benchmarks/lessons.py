"""Lessons that everybody teaches, measured: does dropout help?

    python benchmarks/lessons.py --data DIR [--runs runs/lessons] [--bytes 400000] [--epochs 14]

DIR holds WikiText-2 as train.txt and valid.txt. The first --bytes of the one and a quarter as many of the other are
read word by word. The same small model is trained without dropout, with it on what each part adds, on the attention
weights, and on both, masked or causal, for as many passes as it takes to overfit. Nothing stops a run, so that its
whole curve is seen; what early stopping would have kept is its best evaluation. Runs checkpoint: started again, the
script goes on where it stopped. Results: docs/results/lessons.json, lessons.md and lessons.png.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import glassformer as gf
from glassformer.run import RunDirectory, describe_environment
from glassformer.snapshot import write_text_durably
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.display import TerminalDisplay

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
RATE = 0.2
DROPOUTS = {"none": (0.0, 0.0), "attention": (0.0, RATE), "added": (RATE, 0.0), "both": (RATE, RATE)}
"""Dropout on what each part adds (and on the embeddings), and on the attention weights."""
SMALL = ["model.n_layers=2", "model.d_model=128", "model.n_heads=4", "model.d_ff=512", "model.max_length=64"]
OBJECTIVES = {
    "masked": ["objective.name=masked_lm", "objective.units=stream", "objective.mask_rate=0.3"],
    "causal": ["objective.name=causal_lm", "objective.units=stream", "objective.evaluation_overlap=0"],
}
POINTS = 28
"""Evaluations of a run."""


def cut(options: argparse.Namespace) -> tuple[Path, Path]:
    """The texts that are read, cut at a line."""
    options.runs.mkdir(parents=True, exist_ok=True)
    found = []
    for name, size in (("train", options.bytes), ("valid", options.bytes // 4)):
        text = (options.data / f"{name}.txt").read_bytes()[:size]
        found.append(options.runs / f"{name}.txt")
        found[-1].write_bytes(text[: text.rindex(b"\n") + 1])
    return found[0], found[1]


def train(objective: str, dropout: str, texts: tuple[Path, Path], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The evaluations of one run, trained or remembered."""
    path = options.runs / f"{objective}-{dropout}"
    begun = (path / "recipe.yaml").exists()
    if not begun or max(checkpoint_steps(RunDirectory(path)), default=0) < (gf.load(path).recipe.training.steps or 0):
        added, attention = DROPOUTS[dropout]
        changes = [
            *SMALL,
            *OBJECTIVES[objective],
            f"data.train={texts[0]}",
            f"data.validation={texts[1]}",
            "data.test=null",
            "tokenizer.vocab_size=5000",
            "batch.size=16",
            "optimizer.learning_rate=2e-3",
            f"model.dropout={added}",
            f"model.attention_dropout={attention}",
            "training.minutes=null",
            f"training.epochs={options.epochs}",
            "training.patience=null",
            "training.evaluate_units=200",
            f"training.evaluate_every={options.epochs * options.bytes // (5 * 16 * 64) // POINTS}",
            "training.compile=false",
            "training.samples=0",
            "training.precision=32-true",
        ]
        gf.train("mlm-wikitext2-word", changes, run=path, resume=begun, display=TerminalDisplay())
    return [record for record in RunDirectory(path).metrics() if record["event"] == "evaluation"]


def row(objective: str, dropout: str, records: list[dict[str, Any]], epochs: int) -> dict[str, Any]:
    """What a run comes to: early (after a tenth of its passes), at its best, at its end."""
    last = records[-1]
    best = min(records, key=lambda record: record["loss"])
    early = min(records, key=lambda record: abs(record["step"] - last["step"] / 10))
    passes = epochs / last["step"]
    return {
        "objective": objective,
        "dropout": dropout,
        "early": {"passes": round(early["step"] * passes, 1), "loss": early["loss"]},
        "best": {"passes": round(best["step"] * passes, 1), "loss": best["loss"], "interval": best["loss_interval"]},
        "end": {"passes": epochs, "loss": last["loss"], "train_loss": last.get("train_loss")},
        "curve": [[round(r["step"] * passes, 2), round(r["loss"], 4)] for r in records],
    }


def table(record: dict[str, Any]) -> str:
    """The rows as a page."""
    lines = [
        "# Does dropout help?",
        "",
        f"`benchmarks/lessons.py`: {record['bytes']:,} bytes of WikiText-2 by words, 2 layers of 128, "
        f"{record['epochs']} passes, dropout {RATE}; validation loss in nats. Early stopping keeps the best.",
        "",
        "| objective | dropout on | after a tenth of the passes | best (after passes) | at the end |",
        "|---|---|---|---|---|",
    ]
    for one in record["rows"]:
        best = f"{one['best']['loss']:.3f} ({one['best']['passes']:g})"
        name = {"added": "what parts add", "attention": "attention weights"}.get(one["dropout"], one["dropout"])
        lines.append(
            f"| {one['objective']} | {name} | {one['early']['loss']:.3f} | {best} | {one['end']['loss']:.3f} |"
        )
    return "\n".join([*lines, "", "![Validation loss over passes](lessons.png)", ""])


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Curves, an objective to a panel."""
    import matplotlib.pyplot as plt

    from glassformer.look.pictures.figures import save

    objectives = list(dict.fromkeys(one["objective"] for one in rows))
    size = (4.6 * len(objectives), 3.4)
    figure, grid = plt.subplots(1, len(objectives), figsize=size, layout="constrained", squeeze=False)
    panels = grid[0]
    for axes, objective in zip(panels, objectives, strict=True):
        for one in (one for one in rows if one["objective"] == objective):
            passes, losses = zip(*one["curve"], strict=True)
            axes.plot(passes, losses, label=f"dropout: {one['dropout']}")
        losses = [loss for one in rows if one["objective"] == objective for _, loss in one["curve"][3:]]
        axes.set(title=objective, xlabel="passes over the text", ylim=(min(losses) - 0.05, max(losses) + 0.05))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("validation loss, nats")
    panels[-1].legend(frameon=False, fontsize=8)
    save(figure, file)


def main() -> None:
    """Train, gather, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.txt and valid.txt")
    parser.add_argument("--runs", type=Path, default=Path("runs/lessons"))
    parser.add_argument("--bytes", type=int, default=400_000, help="bytes of the training text that are read")
    parser.add_argument("--epochs", type=int, default=14, help="passes over the text")
    parser.add_argument("--objectives", nargs="+", default=[*OBJECTIVES], choices=OBJECTIVES)
    options = parser.parse_args()
    texts = cut(options)
    rows = [
        row(objective, dropout, train(objective, dropout, texts, options), options.epochs)
        for objective in options.objectives
        for dropout in DROPOUTS
    ]
    record = {"benchmark": "lessons", "machine": describe_environment(), "bytes": options.bytes}
    record |= {"epochs": options.epochs, "rate": RATE, "rows": rows}
    write_text_durably(RESULTS / "lessons.json", json.dumps(record, indent=1) + "\n")
    write_text_durably(RESULTS / "lessons.md", table(record))
    draw(rows, RESULTS / "lessons.png")
    print(table(record))


if __name__ == "__main__":
    main()
