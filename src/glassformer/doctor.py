"""Before any training: what the data is like, what the settings cost, how big, how long. Measured, not guessed.

Memory and time come from a child process that does what training does, for a few seconds: `python -m
glassformer.doctor` reads a recipe on standard input and prints what it measured.
"""

import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import torch

from glassformer.assemble import Parts, assemble, model_for, texts_of, unknown_shares
from glassformer.build import engine_for, training_order, validation_set
from glassformer.data.choice import choose_tokenizer
from glassformer.data.corpus import Corpus
from glassformer.data.cutting import count_words
from glassformer.data.survey import Survey
from glassformer.errors import GlassformerError, UsageError
from glassformer.formatting import percent
from glassformer.launch import train
from glassformer.model.size import count_parameters
from glassformer.recipe import Recipe, from_yaml, parse, to_yaml
from glassformer.recipe_rows import documents_for
from glassformer.resolve import resolve
from glassformer.suggest import choose_max_length
from glassformer.training.engine import threads
from glassformer.training.evaluation import TELLS_FROM
from glassformer.training.measure import Timing, padded_tokens, time_steps
from glassformer.training.order import TrainingOrder
from glassformer.training.trainer import Quiet

PERCENTILES = (50, 90, 95, 99, 100)
COVERED = 0.98
"""The share of the words that a suggested word vocabulary knows."""
N_SPECIAL = 5
"""[PAD] [UNK] [CLS] [SEP] [MASK]"""


def examine(recipe: Recipe, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Everything that `glassformer doctor` says, as plain data. Raises UsageError as training would."""
    parts = assemble(recipe, say)
    if not texts_of(parts.train):
        raise UsageError("doctor looks at texts, and this task reads none", "train it: glassformer train RECIPE")
    say("training for a few seconds, to measure memory and time")
    return {
        "data": describe_data(parts),
        "padding": describe_padding(parts),
        "suggested": suggest(parts),
        "parameters": count_parameters(model_for(recipe, parts.objective)),
        **measured_in_child(recipe),
    }


def describe_data(parts: Parts) -> dict[str, Any]:
    """Counts, lengths and unknown words of the training part, and what is asked of the validation part."""
    asked = validation_set(parts.recipe, parts)
    sides = texts_of(parts.train)
    every_length = np.concatenate([side.lengths for side in sides])
    tokens = sum(side.n_tokens for side in sides)
    lengths = np.percentile(every_length, PERCENTILES)
    return {
        "texts": parts.train.n_rows,
        "tokens": tokens,
        "repeated_share": repeated_share(parts),
        "validation_texts": parts.validation.n_rows,
        "validation_tokens": sum(side.n_tokens for side in texts_of(parts.validation)),
        "vocabulary": parts.tokenizer.vocab_size,
        "bytes_per_token": round(sum(side.n_bytes for side in sides) / tokens, 2),
        "length_percentiles": {str(p): int(v) for p, v in zip(PERCENTILES, lengths, strict=True)},
        "unknown_share": unknown_shares(parts)["train"],
        "validation_unknown_share": unknown_shares(parts)["validation"],
        "validation_questions": asked.count,
        "validation_asked_in": asked.where,
        "cut_share": float((every_length > parts.objective.row_length - 2).mean()),
    }


def repeated_share(parts: Parts) -> float:
    """The share of training texts that say what an earlier one says already."""
    texts = _first_texts(parts)
    tokens = np.asarray(texts.tokens)
    different = {tokens[a:b].tobytes() for a, b in itertools.pairwise(texts.document_starts)}
    return 1 - len(different) / texts.n_documents


def _first_texts(parts: Parts) -> Corpus:
    """The texts of the training part; of pairs the sources, of a mixture those of its first member."""
    return texts_of(parts.train)[0]


def describe_padding(parts: Parts) -> dict[str, Any]:
    """The share of padding in a real epoch at the chosen settings, and beside it what other layouts would have."""
    shares = {}
    for layout in ("padded", "grouped", "packed"):
        batch = parts.recipe.batch.model_copy(update={"layout": layout})
        order = training_order(parts.recipe.model_copy(update={"batch": batch}), parts)
        places = sum(padded_tokens(order, step) for step in order.epoch(0))
        shares[layout] = 1 - tokens_in_epoch(order) / places
    return {"share": shares[parts.recipe.batch.layout], "by_layout": shares}


def suggest(parts: Parts) -> dict[str, int]:
    """The max_length that holds 99 of 100 texts, and the vocabulary that fits the text: for whole words the one that
    knows 98 of 100, for pieces about a third of the different words."""
    config = parts.recipe.tokenizer
    survey = Survey(documents_for(parts.recipe, "train"))
    max_length = choose_max_length(survey.sampled_words, _first_texts(parts).n_tokens / max(1, survey.words))
    if config.kind != "word":
        return {"max_length": max_length, "vocab_size": choose_tokenizer(survey.sample, config.kind)["vocab_size"]}
    words = count_words(documents_for(parts.recipe, "train"), config)
    known = np.cumsum(sorted(words.values(), reverse=True)) / words.total()
    return {"max_length": max_length, "vocab_size": int(np.searchsorted(known, COVERED)) + 1 + N_SPECIAL}


def measured_in_child(recipe: Recipe) -> dict[str, Any]:
    """Peak memory and time, from a process of its own. Raises UsageError or GlassformerError as training would."""
    done = subprocess.run(
        [sys.executable, "-m", "glassformer.doctor"], input=to_yaml(recipe), capture_output=True, text=True, check=False
    )
    if done.returncode < 0:
        raise GlassformerError(
            f"the short training was ended by signal {-done.returncode}; most often the memory was not enough",
            "lower batch.size, model.max_length or model.d_model",
        )
    if done.returncode != 0:
        raise GlassformerError(
            f"the short training failed: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"
        )
    found = dict(json.loads(done.stdout.splitlines()[-1]))
    if "error" in found:
        kind = UsageError if found["exit_code"] == UsageError.exit_code else GlassformerError
        raise kind(found["error"], found["mend"])
    return found


def measure(recipe: Recipe) -> dict[str, Any]:
    """Do all that a training does, for a few seconds: measured choices, steps, and a run of one step with its
    evaluations, checkpoint and pictures. Memory is the highest that this process has held, in bytes."""
    resolved, choices = resolve(assemble(recipe), lambda text: None, psutil.Process().create_time())
    timing, tokens = time_of_steps(resolved)
    started = time.time() - psutil.Process().create_time() - timing.steps * timing.seconds
    evaluation, rest = time_of_the_rest(resolved)
    training = resolved.training
    assert training.steps and training.evaluate_every
    evaluations = math.ceil(training.steps / training.evaluate_every) + 1
    seconds = started + training.steps * timing.seconds + evaluations * evaluation + rest
    return {
        "memory_bytes": peak_memory(),
        "device_memory_bytes": torch.cuda.max_memory_reserved() if training.device == "cuda" else None,
        "minutes": seconds / 60,
        "steps": training.steps,
        "seconds_per_step": timing.seconds,
        "seconds_per_evaluation": evaluation,
        "tokens_per_second": tokens / timing.seconds,
        "settled": {key: getattr(training, key) for key in ("device", "precision", "compile", "threads")},
        "measured": choices,
    }


def time_of_steps(resolved: Recipe) -> tuple[Timing, float]:
    """How long a step takes, and how many tokens it holds on average. Ends with the largest step of an epoch."""
    parts = assemble(resolved)
    number = resolved.training.threads
    with threads(number if isinstance(number, int) else None):
        order = training_order(resolved, parts)
        engine = engine_for(resolved, parts.objective)
        timing = time_steps(engine, order, seconds=6.0)
        largest = max(order.epoch(0), key=lambda step: padded_tokens(order, step))  # what needs the most memory
        engine.update([order.batch(0, rows) for rows in largest], 0.0, (0, 0))
    return timing, tokens_in_epoch(order) / order.steps_in_epoch()


def tokens_in_epoch(order: TrainingOrder) -> int:
    """Tokens of the first epoch, padding left out."""
    return sum(order.length(row) for micro_batches in order.epoch(0) for rows in micro_batches for row in rows)


def time_of_the_rest(resolved: Recipe) -> tuple[float, float]:
    """Seconds of an evaluation, and of all that is neither step nor evaluation, from a whole run of one step."""
    once = {"steps": 1, "evaluate_every": 1, "checkpoint_every": 1, "log_every": 1, "tensorboard": False}
    recipe = resolved.model_copy(update={"training": resolved.training.model_copy(update=once)})
    with TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = train(recipe, run=Path(folder) / "run", display=Quiet())
        whole = time.perf_counter() - began
        evaluations = [record["seconds"] for record in run.metrics() if record["event"] == "evaluation"]
    return evaluations[-1], whole - sum(evaluations)


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def as_text(report: dict[str, Any], recipe: Recipe) -> list[str]:
    """The examination as lines for people."""
    data, padding, suggested = report["data"], report["padding"], report["suggested"]
    lengths = ", ".join(f"{p}% up to {n:,}" for p, n in data["length_percentiles"].items() if p != "100")
    best = min(padding["by_layout"], key=lambda layout: padding["by_layout"][layout])
    resolved = ", ".join(f"{key} {value}" for key, value in report["settled"].items())
    on_device = report["device_memory_bytes"]
    stream = recipe.model_dump()["objective"].get("units") == "stream"
    longer = (
        "the texts are one stream, cut into full rows"
        if stream
        else f"{data['cut_share']:.1%} of the texts are longer and become several windows"
    )
    return [
        f"texts        {data['texts']:,} for training ({data['repeated_share']:.1%} of them repeat an earlier one), "
        f"{data['validation_texts']:,} for validation",
        f"tokens       {data['tokens']:,} for training, {data['validation_tokens']:,} for validation, "
        f"{data['bytes_per_token']} bytes each",
        f"lengths      {lengths}, the longest {data['length_percentiles']['100']:,} tokens",
        f"vocabulary   {data['vocabulary']:,} tokens (tokenizer.vocab_size={recipe.tokenizer.vocab_size}); "
        f"suggested {suggested['vocab_size']}",
        f"unknown      {percent(data['unknown_share'])} of the training tokens and "
        f"{percent(data['validation_unknown_share'])} of the validation tokens: read as [UNK], never asked, so never "
        "learned",
        f"questions    {data['validation_questions']:,} in {data['validation_asked_in']} at each evaluation"
        + ("" if data["validation_questions"] >= TELLS_FROM else ": too few to tell better weights from worse"),
        f"max_length   {recipe.model.max_length} (model.max_length); suggested {suggested['max_length']}; {longer}",
        f"padding      {padding['share']:.1%} of the arithmetic goes to [PAD] with batch.layout="
        f"{recipe.batch.layout}"
        + ("" if best == recipe.batch.layout else f"; {best} would have {padding['by_layout'][best]:.1%}"),
        f"parameters   {report['parameters']:,}",
        f"memory       {report['memory_bytes'] / 2**20:,.0f} MiB at its peak"
        + (f", and {on_device / 2**20:,.0f} MiB on the device" if on_device else ""),
        f"time         {describe_minutes(report['minutes'])} for {report['steps']:,} steps "
        f"({report['seconds_per_step'] * 1000:,.0f} ms each, {report['tokens_per_second']:,.0f} tokens/s)",
        f"settled      {resolved}",
    ]


def describe_minutes(minutes: float) -> str:
    """`40 seconds`, `12.5 minutes`, `3.2 hours`."""
    if minutes < 1:
        return f"{minutes * 60:.0f} seconds"
    return f"{minutes:.1f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def main() -> None:
    """The child: a recipe on standard input, what was measured, or what is wrong, on standard output."""
    try:
        found = measure(parse(from_yaml(sys.stdin.read(), "the recipe")))
    except GlassformerError as error:
        found = {"error": error.what, "mend": error.mend, "exit_code": error.exit_code}
    print(json.dumps(found, default=float))


if __name__ == "__main__":
    main()
