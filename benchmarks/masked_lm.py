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
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
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


class Contestant:
    """A process that trains `n` steps when told so, and says how long they took and how many tokens they had."""

    def __init__(self, name: str, task: dict[str, Any]) -> None:
        self.name = name
        self.log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (closed in `end`)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "worker", json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        self.log.seek(0)
        raise SystemExit(f"{self.name} ended early; the end of its log:\n{self.log.read()[-2000:]}")

    def end(self) -> None:
        """Let it go."""
        self.process.kill()
        self.process.wait()
        self.log.close()


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Rounds in which each contestant trains a few steps in turn; medians and quartiles of tokens per second."""
    contestants: dict[str, Contestant] = {}
    for name, contestant in CONTESTANTS.items():  # one after another: what is measured at the start must be alone
        contestants[name] = Contestant(name, task_for(options, contestant))
        contestants[name].ask({"steps": 3})  # compiling and first allocations do not count
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    matmuls: dict[str, list[float]] = {"32": [], "bf16": []}
    for number in range(options.rounds):
        turn = number % len(contestants)
        for name in [*contestants][turn:] + [*contestants][:turn]:
            answer = contestants[name].ask({"steps": options.steps})
            rates[name].append(answer["tokens"] / answer["seconds"])
        for kind in matmuls:
            matmuls[kind].append(matmul_rate(kind))
        print(f"round {number + 1}: " + ", ".join(f"{n} {r[-1]:,.0f}" for n, r in rates.items()), flush=True)
    settled = {name: each.ask({"settled": True}) for name, each in contestants.items()}
    for each in contestants.values():
        each.end()
    return speed_report(rates, matmuls, settled)


def speed_report(rates: dict[str, list[float]], matmuls: dict[str, list[float]], settled: Any) -> dict[str, Any]:
    """Medians, quartiles, ratios round by round, and the share of the matmul rate."""
    precision = "bf16" if "bf16" in settled["glassformer"]["precision"] else "32"
    ratios = {
        name: spread([ours / theirs for ours, theirs in zip(rates["glassformer"], rates[name], strict=True)])
        for name in ("peer-default", "peer-best")
    }
    arithmetic = statistics.median(rates["glassformer"]) * flops_per_token()
    return {
        "tokens_per_second": {name: spread(values) for name, values in rates.items()},
        "ratio_to": ratios,
        "matmul_gflops": {kind: spread([v / 1e9 for v in values]) for kind, values in matmuls.items()},
        "share_of_matmul_rate": round(arithmetic / statistics.median(matmuls[precision]), 3),
        "settled": settled,
    }


def flops_per_token(masked: float = 0.15) -> float:
    """Multiplications and additions of a step for each token: three times the forward pass. Linear layers, attention
    scores and mixing, and the head at masked places only (that is what has to be computed)."""
    d, f, n = MODEL["d_model"], MODEL["d_ff"], MODEL["n_layers"]
    block = 2 * (4 * d * d + 2 * d * f) + 2 * 2 * LENGTH * d
    head = 2 * (d * d + d * MODEL["vocab_size"])
    return 3.0 * (n * block + masked * head)


def matmul_rate(kind: str, size: int = 2048) -> float:
    """Operations per second of one large matrix multiplication."""
    import torch

    a = torch.randn(size, size, dtype=torch.bfloat16 if kind == "bf16" else torch.float32)
    a @ a
    start = time.perf_counter()
    for _ in range(3):
        a @ a
    return 3 * 2 * size**3 / (time.perf_counter() - start)


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
            side: spread([r["loss"] for r in runs.values()]) for side, runs in (("peer", theirs), ("ours", ours))
        },
        "accuracies": {
            side: spread([r["accuracy"] for r in runs.values()]) for side, runs in (("peer", theirs), ("ours", ours))
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
    probe = Contestant("probe", task_for(options, contestant, seed=seed))
    probe.ask({"steps": 3})
    answer = probe.ask({"steps": 20})
    settled = probe.ask({"settled": True})
    probe.end()
    steps = max(POINTS, int(minutes * 60 / (answer["seconds"] / 20)))
    if contestant["side"] == "ours":  # what was timed is what is trained
        choices = [f"training.{key}={json.dumps(settled[key])}" for key in ("precision", "compile")]
        contestant = {**contestant, "changes": [*contestant["changes"], *choices]}
    runner = Contestant("runner", task_for(options, contestant, seed=seed, total=steps))
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
    return {**contestant, "data": str(options.data.resolve()), "threads": options.threads, "seed": seed, "total": total}


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return dict(zip(("low", "median", "high"), (round(q, 4) for q in quartiles), strict=True))


# ------------------------------------------------------------------------------------- the workers: one contestant


def worker(task: dict[str, Any]) -> None:
    """Serve requests on standard input: {"steps": n}, {"evaluate": true}, {"settled": true}."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever libraries print does not reach the parent
    import torch

    torch.set_num_threads(task["threads"])
    gate = Gate(answers)
    {"peer": run_peer, "ours": run_ours}[task["side"]](task, gate)


class Gate:
    """Called after every step: counts them, and answers the parent's requests when those that it asked for are done."""

    def __init__(self, answers: Any) -> None:
        self.answers = answers
        self.left = 0
        self.tokens = 0
        self.started = 0.0
        self.asked = 0
        self.evaluate: Any = None
        self.settled: dict[str, Any] = {}

    def wait(self) -> None:
        """Block until steps are asked for; answer everything else."""
        for line in sys.stdin:
            request = json.loads(line)
            if "steps" in request:
                self.left, self.tokens, self.started = request["steps"], 0, time.perf_counter()
                return
            self.say(self.evaluate() if "evaluate" in request else self.settled)
        os._exit(0)

    def passed(self, tokens: int) -> None:
        """One step is done."""
        self.left -= 1
        self.tokens += tokens
        if self.left == 0:
            self.say({"seconds": time.perf_counter() - self.started, "tokens": self.tokens})
            self.wait()

    def say(self, answer: dict[str, Any]) -> None:
        """Answer the parent."""
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()


def our_recipe(task: dict[str, Any]) -> Any:
    """The shipped recipe on local files."""
    from glassformer import recipe as recipes

    changes = [
        f"data.train={task['data']}/train.txt",
        f"data.validation={task['data']}/valid.txt",
        "data.test=null",
        f"training.threads={task['threads']}",
        f"training.steps={task['total']}",
        f"training.evaluate_every={task['total']}",
        f"training.checkpoint_every={task['total']}",
        f"training.log_every={task['total']}",
        f"seed={task['seed']}",
        *task.get("changes", []),
    ]
    return recipes.read("mlm-wikitext2", changes)


def run_ours(task: dict[str, Any], gate: Gate) -> None:
    """Our trainer, whose every step passes the gate."""
    from glassformer.assemble import assemble
    from glassformer.settle import engine_for, settle, training_order, validation_questions
    from glassformer.training.evaluation import evaluate
    from glassformer.training.schedules import learning_rate_factor

    parts = assemble(our_recipe(task))
    settled, _ = settle(parts, lambda text: None)
    engine, order = engine_for(settled, parts.objective), training_order(settled, parts)
    questions = validation_questions(settled, parts)
    gate.evaluate = lambda: {k: evaluate(engine.forward, questions).record()[k] for k in ("loss", "accuracy")}
    training, model = settled.training, settled.model
    assert MODEL.items() <= (model.model_dump() | {"vocab_size": parts.tokenizer.vocab_size}).items(), "other sizes"
    gate.settled = {key: getattr(training, key) for key in ("precision", "compile", "threads")}
    gate.settled |= {"dropout": model.dropout, "parameters": sum(p.numel() for p in engine.model.parameters())}
    gate.wait()
    for step, (epoch, rows) in enumerate(order.steps(), 1):
        engine.model.train()
        batches = [order.batch(epoch, micro_batch) for micro_batch in rows]
        factor = learning_rate_factor(min(step, task["total"]), task["total"], settled.schedule)
        engine.update(batches, factor, (task["seed"], step))
        gate.passed(sum(batch.tokens for batch in batches))


def run_peer(task: dict[str, Any], gate: Gate) -> None:
    """Hugging Face's Trainer, whose callback passes the gate."""
    import torch
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        PreTrainedTokenizerFast,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from glassformer.assemble import assemble
    from glassformer.settle import validation_questions

    recipe = our_recipe(task)
    parts = assemble(recipe)
    rows = rows_of(parts)
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
    gate.settled = {key: task[key] for key in ("bf16", "compile", "threads", "dropout")}
    gate.settled["parameters"] = sum(p.numel() for p in model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        parts.tokenizer.save(Path(folder) / "tokenizer.json")
        names = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")}
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json", **names)
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=ROWS,
            max_steps=task["total"],
            learning_rate=task.get("learning_rate", 5e-4),
            warmup_steps=min(500, task["total"] // 16),
            weight_decay=0.01,
            use_cpu=True,
            bf16=task["bf16"],
            torch_compile=task["compile"],
            seed=task["seed"],
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=10**9,
            dataloader_pin_memory=False,
            dataloader_drop_last=True,  # a short batch would be compiled anew within the time
        )
        questions = validation_questions(recipe, parts)
        gate.evaluate = lambda: peer_evaluation(model, questions)

        class Gatekeeper(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
                gate.wait()

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                gate.passed(ROWS * LENGTH)

        Trainer(
            model=model,
            args=arguments,
            train_dataset=[{"input_ids": row} for row in rows],
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
            callbacks=[Gatekeeper()],
        ).train()


def rows_of(parts: Any) -> list[list[int]]:
    """The full rows of our stream, before any corruption."""
    units = parts.train_units
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
            [stream], [asked] = batch.streams.values(), batch.asked.values()
            mask = stream.mask.key_mask
            logits = model(
                input_ids=stream.input_ids, attention_mask=None if mask is None else mask.long()
            ).logits.flatten(0, 1)[asked.rows]
            total += float(F.cross_entropy(logits.float(), asked.targets, reduction="sum"))
            right += int((logits.argmax(-1) == asked.targets).sum())
            count += asked.number
    model.train(training)
    return {"loss": total / count, "accuracy": right / count}


# ------------------------------------------------------------------------------------------------------ the report


def main() -> None:
    """Parse, measure, write."""
    if len(sys.argv) == 3 and sys.argv[1] == "worker":
        worker(json.loads(sys.argv[2]))
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
    kept = RESULTS / "masked_lm_quality_trainings.json"
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
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"masked_lm_{options.what}.json"
    write_text_durably(file, json.dumps(record, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    print(f"written to {file}")


if __name__ == "__main__":
    main()
