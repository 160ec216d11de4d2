"""Masked language modelling: Hugging Face's BertForMaskedLM through its Trainer, and glassformer, on the same text.

    python benchmarks/masked_lm.py speed --data DIR      tokens per second, interleaved, with the spread
    python benchmarks/masked_lm.py quality --data DIR    masked loss after equal minutes, and how soon

DIR holds WikiText-2 as train.txt and valid.txt. Both sides read the same rows of 128 tokens of the same WordPiece
tokenizer, 32 rows a batch, with the same number of threads, in models of equal size (their parameters are counted in
the results); both are asked the same masked positions in evaluation. Each contestant is a process of its own; only one
runs at a time: in the speed benchmark the others wait at a pipe, so that all see the same machine in the same minutes.
Results go to docs/results/.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import contest

LENGTH, ROWS = 128, 32
PEER_RATES = (5e-4, 1e-3, 2e-3)
POINTS = 30
"""Evaluations in a training of the quality benchmark."""
MODEL = {"n_layers": 4, "d_model": 256, "n_heads": 8, "d_ff": 1024, "vocab_size": 8192}

CONTESTANTS: dict[str, dict[str, Any]] = {
    "peer-default": {"side": "peer", "bf16": False, "compile": False, "dropout": 0.1},
    "peer-best": {"side": "peer", "bf16": True, "compile": True, "dropout": 0.0},
    "glassformer": {
        "side": "ours",
        "changes": ["training.compile=false", "objective.mask_rate=0.15", "optimizer.name=adamw"],
    },
    "glassformer-recipe": {"side": "ours", "changes": ["training.compile=false"]},
}
"""`glassformer` does the same work as the peers: 15% masked, AdamW. The shipped recipe masks more, and its steps with
Muon take longer; it is what the quality benchmark trains. Neither is compiled: runs of 15 minutes do not try that."""


# ---------------------------------------------------------------------------------- the parent: who runs when


def flops_per_token(masked: float = 0.15) -> float:
    """Multiplications and additions of a step for each token: three times the forward pass. Linear layers, attention
    scores and mixing, and the head at masked places only (that is what has to be computed)."""
    d, f, n = MODEL["d_model"], MODEL["d_ff"], MODEL["n_layers"]
    block = 2 * (4 * d * d + 2 * d * f) + 2 * 2 * LENGTH * d
    head = 2 * (d * d + d * MODEL["vocab_size"])
    return 3.0 * (n * block + masked * head)


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Tokens per second, in turns."""
    tasks = {name: task_for(options, contestant) for name, contestant in CONTESTANTS.items()}
    return contest.speed(tasks, options.rounds, options.steps, flops_per_token())


def quality(options: argparse.Namespace) -> dict[str, Any]:
    """Training for equal minutes, with every seed in turns; losses on the same masked positions.

    The peer first trains for the same minutes at each of three learning rates with the first seed; the best rate is
    taken for the other seeds. What has been trained is kept in `--state`, so that the benchmark can be stopped.
    """
    kept = Kept(options)
    first = {rate: kept.trained(peer(rate), seed=1) for rate in options.rates}
    best = min(first, key=lambda rate: first[rate]["loss"])
    theirs, ours = {1: first[best]}, {}
    for seed in range(1, options.seeds + 1):
        for side in ("ours", "peer") if seed % 2 else ("peer", "ours"):
            if side == "ours":
                ours[seed] = kept.trained(CONTESTANTS["glassformer-recipe"], seed)
            elif seed not in theirs:
                theirs[seed] = kept.trained(peer(best), seed)
    return quality_report(first, best, theirs, ours) | {"minutes": options.minutes}


def quality_report(first: dict, best: float, theirs: dict[int, dict], ours: dict[int, dict]) -> dict[str, Any]:
    """Losses after equal minutes, and how soon ours had the loss that the peer had at its end: in how many seconds, and
    as a share of the peer's, by the first evaluation that shows it."""
    reached = {
        seed: next((point["seconds"] for point in ours[seed]["curve"] if point["loss"] <= theirs[seed]["loss"]), None)
        for seed in theirs
    }
    shares = [None if s is None else round(s / theirs[seed]["seconds"], 4) for seed, s in reached.items()]
    return {
        "losses": {
            side: contest.spread([r["loss"] for r in runs.values()])
            for side, runs in (("peer", theirs), ("ours", ours))
        },
        "accuracies": {
            side: contest.spread([r["accuracy"] for r in runs.values()])
            for side, runs in (("peer", theirs), ("ours", ours))
        },
        "seconds_to_the_peers_loss": reached,
        "share_of_the_peers_time": shares,
        "peer_rates": {str(rate): result["loss"] for rate, result in first.items()},
        "peer_rate": best,
        "peer": list(theirs.values()),
        "glassformer": list(ours.values()),
    }


class Kept:
    """Trainings that are done, in a file; whatever is asked for again is taken from there."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.file: Path = options.state
        self.done: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}

    def trained(self, contestant: dict[str, Any], seed: int) -> dict[str, Any]:
        """Train, or remember."""
        from glassformer.recipe import read_tree
        from glassformer.run import describe_environment
        from glassformer.snapshot import write_text_durably

        settings = read_tree("mlm-wikitext2")  # the peer too reads our data
        known = [contestant, seed, self.options.minutes, POINTS, MODEL, settings, describe_environment()["versions"]]
        key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        if key not in self.done:
            self.done[key] = trained(self.options, contestant, self.options.minutes, seed)
            write_text_durably(self.file, json.dumps(self.done, indent=1))
        return self.done[key]


def peer(rate: float) -> dict[str, Any]:
    """The peer's best set-up at one learning rate."""
    return {**CONTESTANTS["peer-best"], "learning_rate": rate}


def trained(options: argparse.Namespace, contestant: dict[str, Any], minutes: float, seed: int) -> dict[str, Any]:
    """Train for so many minutes of training time; the loss at thirty points.

    The number of steps comes from a probe, since both sides' learning rates fall over a known number of steps; the
    seconds are those that the steps really took. Evaluations and the first three steps, which compile, do not count.
    """
    probe = contest.Contestant("probe", task_for(options, contestant, seed=seed))
    probe.ask({"steps": 3})
    answer = probe.ask({"steps": 20})
    settled = probe.ask({"settled": True})
    probe.end()
    steps = max(POINTS, int(minutes * 60 / (answer["seconds"] / 20)))
    if contestant["side"] == "ours":  # what was timed is what is trained
        choices = [f"training.{key}={json.dumps(settled[key])}" for key in ("precision", "compile")]
        contestant = {**contestant, "changes": [*contestant["changes"], *choices]}
    runner = contest.Contestant("runner", task_for(options, contestant, seed=seed, total=steps))
    seconds, curve = 0.0, []
    runner.ask({"steps": 3})
    for point in range(POINTS):
        wanted = steps * (point + 1) // POINTS - steps * point // POINTS - (3 if point == 0 else 0)
        seconds += runner.ask({"steps": wanted})["seconds"] if wanted > 0 else 0.0
        curve.append({"seconds": round(seconds, 1), **runner.ask({"evaluate": True})})
        print(f"  {contestant['side']} seed {seed}: {curve[-1]}", flush=True)
    runner.end()
    return {"seed": seed, "steps": steps, "seconds": round(seconds, 1), **curve[-1], "settled": settled, "curve": curve}


def task_for(options: argparse.Namespace, contestant: dict[str, Any], seed: int = 1, total: int = 3_000) -> dict:
    """What a worker needs to know. 3,000 steps are about fifteen minutes of ours on two cores."""
    settings = {"data": str(options.data.resolve()), "threads": options.threads, "seed": seed, "total": total}
    return {**contestant, **settings, "recipe": "mlm-wikitext2", "model": MODEL, "rows": ROWS}


# ------------------------------------------------------------------------------------- the workers: one contestant


def run_peer(task: dict[str, Any], gate: contest.Gate) -> None:
    """Hugging Face's BertForMaskedLM."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, DataCollatorForLanguageModeling

    from glassformer.assemble import assemble
    from glassformer.build import validation_set

    recipe = contest.our_recipe(task)
    parts = assemble(recipe)
    torch.manual_seed(task["seed"])
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=MODEL["vocab_size"],
            hidden_size=MODEL["d_model"],
            num_hidden_layers=MODEL["n_layers"],
            num_attention_heads=MODEL["n_heads"],
            intermediate_size=MODEL["d_ff"],
            max_position_embeddings=LENGTH,
            attention_probs_dropout_prob=task["dropout"],
            hidden_dropout_prob=task["dropout"],
        )
    )
    questions = validation_set(recipe, parts)
    gate.evaluate = lambda: peer_evaluation(model, questions)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = contest.peer_tokenizer(parts.tokenizer, folder)
        collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
        contest.train_peer(task, gate, model, rows_of(parts), collator, folder)


def rows_of(parts: Any) -> list[list[int]]:
    """The full rows of our stream, before any corruption."""
    units = parts.train_dataset
    full = [i for i, length in enumerate(units.lengths) if length == LENGTH]
    return [units.windows.row(i * LENGTH, (i + 1) * LENGTH)[0].tolist() for i in full]


def peer_evaluation(model: Any, questions: Any) -> dict[str, float]:
    """The peer's loss and accuracy on our fixed questions."""
    import torch
    import torch.nn.functional as F

    training = model.training
    model.eval()
    total, right, count = 0.0, 0, 0
    with torch.no_grad():
        for batch in questions:
            [stream], [targets] = batch.streams.values(), batch.targets.values()
            mask = stream.mask.key_mask
            logits = model(
                input_ids=stream.input_ids, attention_mask=None if mask is None else mask.long()
            ).logits.flatten(0, 1)[targets.flat_index]
            total += float(F.cross_entropy(logits.float(), targets.values, reduction="sum"))
            right += int((logits.argmax(-1) == targets.values).sum())
            count += targets.n_targets
    model.train(training)
    return {"loss": total / count, "accuracy": right / count}


# ------------------------------------------------------------------------------------------------------ the report


def main() -> None:
    """Parse, measure, write."""
    if len(sys.argv) == 3 and sys.argv[1] == "worker":
        contest.serve(json.loads(sys.argv[2]), run_peer)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "quality"])
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.txt and valid.txt")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9, help="speed: rounds")
    parser.add_argument("--steps", type=int, default=8, help="speed: steps of each contestant in a round")
    parser.add_argument("--minutes", type=float, default=15.0, help="quality: minutes of each training")
    parser.add_argument("--seeds", type=int, default=3, help="quality: seeds")
    parser.add_argument("--rates", type=float, nargs="+", default=PEER_RATES, help="quality: the peer's learning rates")
    kept = contest.RESULTS / "masked_lm_quality_trainings.json"
    parser.add_argument("--state", type=Path, default=kept, help="quality: the trainings that are done")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ.setdefault("GLASSFORMER_CACHE", cache)
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Measure and write."""
    import torch

    torch.set_num_threads(options.threads)
    result = {"speed": speed, "quality": quality}[options.what](options)

    from glassformer.run import describe_environment
    from glassformer.snapshot import write_text_durably

    record = {"benchmark": f"masked_lm {options.what}", "machine": describe_environment(), **result}
    contest.RESULTS.mkdir(parents=True, exist_ok=True)
    file = contest.RESULTS / f"masked_lm_{options.what}.json"
    write_text_durably(file, json.dumps(record, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    print(f"written to {file}")


if __name__ == "__main__":
    main()
