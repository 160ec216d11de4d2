"""What benchmarks of training share: contestants as processes that train a few steps in turn, ours among them, and the
peer's Trainer. Only one runs at a time; the others wait at a pipe, so that all see the same machine at the same time.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"

# ---------------------------------------------------------------------------------- the parent: who runs when


class Contestant:
    """A process that does what it is asked, such as to train `n` steps, and says how long that took. It is the script
    that runs (or another one), called with `worker` and its task."""

    def __init__(self, name: str, task: dict[str, Any], script: str = sys.argv[0], **environment: str) -> None:
        self.name = name
        self.log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (closed in `end`)
        self.process = subprocess.Popen(
            [sys.executable, script, "worker", json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | environment,
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


def environment_of(side: str) -> dict[str, str]:
    """A peer runs as people run it: without the large pages that importing glassformer asks for."""
    return {} if side in ("ours", "glassformer") else {"THP_MEM_ALLOC_ENABLE": "0"}


def speed(tasks: dict[str, dict[str, Any]], rounds: int, steps: int, flops_per_token: float) -> dict[str, Any]:
    """Rounds in which each contestant trains a few steps in turn; medians and quartiles of tokens per second."""
    contestants: dict[str, Contestant] = {}
    for name, task in tasks.items():  # one after another: what is measured at the start must be alone
        contestants[name] = Contestant(name, task, **environment_of(task["side"]))
        contestants[name].ask({"steps": 3})  # compiling and first allocations do not count
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    matmuls: dict[str, list[float]] = {"32": [], "bf16": []}
    for number in range(rounds):
        turn = number % len(contestants)
        for name in [*contestants][turn:] + [*contestants][:turn]:
            answer = contestants[name].ask({"steps": steps})
            rates[name].append(answer["tokens"] / answer["seconds"])
        for kind in matmuls:
            matmuls[kind].append(matmul_rate(kind))
        print(f"round {number + 1}: " + ", ".join(f"{n} {r[-1]:,.0f}" for n, r in rates.items()), flush=True)
    settled = {name: each.ask({"settled": True}) for name, each in contestants.items()}
    for each in contestants.values():
        each.end()
    return speed_report(rates, matmuls, settled, flops_per_token)


def speed_report(
    rates: dict[str, list[float]], matmuls: dict[str, list[float]], settled: Any, flops_per_token: float
) -> dict[str, Any]:
    """Medians, quartiles, ratios round by round, and the share of the matmul rate."""
    precision = "bf16" if "bf16" in settled["glassformer"]["precision"] else "32"
    ratios = {
        name: spread([ours / theirs for ours, theirs in zip(rates["glassformer"], rates[name], strict=True)])
        for name in ("peer-default", "peer-best")
    }
    arithmetic = statistics.median(rates["glassformer"]) * flops_per_token
    return {
        "tokens_per_second": {name: spread(values) for name, values in rates.items()},
        "ratio_to": ratios,
        "matmul_gflops": {kind: spread([v / 1e9 for v in values]) for kind, values in matmuls.items()},
        "share_of_matmul_rate": round(arithmetic / statistics.median(matmuls[precision]), 3),
        "settled": settled,
    }


def matmul_rate(kind: str, size: int = 2048) -> float:
    """Operations per second of one large matrix multiplication."""
    import torch

    a = torch.randn(size, size, dtype=torch.bfloat16 if kind == "bf16" else torch.float32)
    a @ a
    start = time.perf_counter()
    for _ in range(3):
        a @ a
    return 3 * 2 * size**3 / (time.perf_counter() - start)


def spread(values: list[float], digits: int = 4) -> dict[str, float]:
    """Median and quartiles."""
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return dict(zip(("low", "median", "high"), (round(q, digits) for q in quartiles), strict=True))


# ------------------------------------------------------------------------------------- the workers: one contestant


def serve(task: dict[str, Any], run_peer: Callable[[dict[str, Any], "Gate"], None]) -> None:
    """Serve requests on standard input: {"steps": n}, {"evaluate": true}, {"settled": true}."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever libraries print does not reach the parent
    import torch

    torch.set_num_threads(task["threads"])
    {"peer": run_peer, "ours": run_ours}[task["side"]](task, Gate(answers))


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
    return recipes.read(task["recipe"], changes)


def run_ours(task: dict[str, Any], gate: Gate) -> None:
    """Our trainer, whose every step passes the gate."""
    from glassformer.assemble import assemble
    from glassformer.build import engine_for, training_order, validation_set
    from glassformer.resolve import resolve
    from glassformer.training.evaluation import evaluate
    from glassformer.training.schedules import learning_rate_factor

    parts = assemble(our_recipe(task))
    settled, _ = resolve(parts, lambda text: None)
    engine, order = engine_for(settled, parts.objective), training_order(settled, parts)
    questions = validation_set(settled, parts)
    gate.evaluate = lambda: {k: evaluate(engine.forward, questions).record()[k] for k in ("loss", "accuracy")}
    training, model = settled.training, settled.model
    assert task["model"].items() <= (model.model_dump() | {"vocab_size": parts.tokenizer.vocab_size}).items(), (
        "other sizes"
    )
    gate.settled = {key: getattr(training, key) for key in ("precision", "compile", "threads")}
    gate.settled |= {"dropout": model.dropout, "parameters": sum(p.numel() for p in engine.model.parameters())}
    gate.wait()
    for step, (epoch, rows) in enumerate(order.steps(), 1):
        engine.model.train()
        batches = [order.batch(epoch, micro_batch) for micro_batch in rows]
        factor = learning_rate_factor(min(step, task["total"]), task["total"], settled.schedule)
        engine.update(batches, factor, (task["seed"], step))
        gate.passed(sum(batch.tokens for batch in batches))


def train_peer(task: dict[str, Any], gate: Gate, model: Any, rows: list[list[int]], collator: Any, folder: str) -> None:
    """Hugging Face's Trainer, whose callback passes the gate after every step."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Gatekeeper(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            gate.wait()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            gate.passed(sum(map(len, rows[: task["rows"]])))

    gate.settled = {key: task[key] for key in ("bf16", "compile", "threads", "dropout")}
    gate.settled["parameters"] = sum(p.numel() for p in model.parameters())
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=task["rows"],
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
    examples = [{"input_ids": row} for row in rows]
    Trainer(
        model=model, args=arguments, train_dataset=examples, data_collator=collator, callbacks=[Gatekeeper()]
    ).train()


def peer_tokenizer(tokenizer: Any, folder: str) -> Any:
    """Our tokenizer as the peer reads it."""
    from transformers import PreTrainedTokenizerFast

    tokenizer.save(Path(folder) / "tokenizer.json")
    names = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json", **names)
