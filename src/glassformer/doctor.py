"""Before any training: what the data is like, what the settings cost, how big, how long. Measured, not guessed.

Memory and time come from a child process that does what training does, for a few seconds: `python -m
glassformer.doctor` reads a recipe on standard input and prints what it measured.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

from glassformer.assemble import Parts, assemble, documents_for, model_for
from glassformer.errors import GlassformerError
from glassformer.model.transformer import count_parameters
from glassformer.recipe import Recipe, from_yaml, parse, to_yaml
from glassformer.settle import engine_for, settle, training_order, validation_questions
from glassformer.suggest import choose_max_length, choose_tokenizer
from glassformer.training.engine import threads
from glassformer.training.measure import padded_tokens, time_evaluation, time_steps

PERCENTILES = (50, 90, 95, 99, 100)
COVERED = 0.98
"""The share of the words that a suggested word vocabulary knows."""


def examine(recipe: Recipe, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Everything that `glassformer doctor` says, as plain data. Raises UsageError as training would."""
    parts = assemble(recipe, say)
    say("training for a few seconds, to measure memory and time")
    return {
        "data": describe_data(parts),
        "padding": describe_padding(parts),
        "suggested": suggest(parts),
        "parameters": count_parameters(model_for(recipe, parts.objective)),
        **measured_in_child(recipe),
    }


def describe_data(parts: Parts) -> dict[str, Any]:
    """Counts, lengths and unknown words of the training part."""
    train = parts.train
    lengths = np.percentile(train.lengths, PERCENTILES)
    return {
        "texts": train.n_documents,
        "tokens": train.n_tokens,
        "validation_texts": parts.validation.n_documents,
        "validation_tokens": parts.validation.n_tokens,
        "vocabulary": parts.tokenizer.vocab_size,
        "bytes_per_token": round(train.n_bytes / train.n_tokens, 2),
        "length_percentiles": {str(p): int(v) for p, v in zip(PERCENTILES, lengths, strict=True)},
        "unknown_share": train.n_unknown / train.n_tokens,
        "cut_share": float((train.lengths > parts.objective.max_length - 2).mean()),
    }


def describe_padding(parts: Parts) -> dict[str, Any]:
    """The share of padding in a real epoch at the chosen settings, and beside it what other layouts would have."""
    shares = {}
    for layout in ("padded", "grouped", "packed"):
        batch = parts.recipe.batch.model_copy(update={"layout": layout})
        order = training_order(parts.recipe.model_copy(update={"batch": batch}), parts)
        places = sum(padded_tokens(order, step) for step in order.epoch(0))
        shares[layout] = 1 - int(order.units.lengths.sum()) / places
    return {"share": shares[parts.recipe.batch.layout], "by_layout": shares}


def suggest(parts: Parts) -> dict[str, int]:
    """The max_length that holds 99 of 100 texts, and the vocabulary that fits the text."""
    texts = documents_for(parts.recipe, "train")
    words = Counter(word for text in texts for word in text.split())
    per_word = parts.train.n_tokens / max(1, words.total())
    suggested = choose_max_length(np.array([len(text.split()) for text in texts]), per_word)
    if parts.recipe.tokenizer.kind == "word":
        known = np.cumsum(sorted(words.values(), reverse=True)) / words.total()
        vocabulary = int(np.searchsorted(known, COVERED)) + 6
    else:
        vocabulary = choose_tokenizer(words.total(), len(words), spaceless=False)["vocab_size"]
    return {"max_length": suggested, "vocab_size": vocabulary}


def measured_in_child(recipe: Recipe) -> dict[str, Any]:
    """Peak memory and time, from a process of its own. Raises GlassformerError when that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "glassformer.doctor"], input=to_yaml(recipe), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GlassformerError(f"the short training failed: {done.stderr.strip().splitlines()[-1:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(recipe: Recipe) -> dict[str, Any]:
    """Do what training does for a few seconds. Memory is the highest that this process has held, in bytes."""
    import glassformer.launch  # noqa: F401  (training holds it in memory too)

    began = time.perf_counter()
    parts = assemble(recipe)
    settled, choices = settle(parts, lambda text: None)
    training = settled.training
    assert training.steps and training.evaluate_every
    number = training.threads if isinstance(training.threads, int) else None
    with threads(number):
        questions = validation_questions(settled, parts)
        engine = engine_for(settled, parts.objective)
        timing = time_steps(engine, training_order(settled, parts), seconds=6.0)
        evaluation = time_evaluation(engine, questions)
    evaluations = training.steps // training.evaluate_every + 1
    seconds = training.steps * timing.seconds + evaluations * evaluation + (time.perf_counter() - began) / 2
    return {
        "memory_bytes": peak_memory(),
        "minutes": seconds / 60,
        "steps": training.steps,
        "seconds_per_step": timing.seconds,
        "seconds_per_evaluation": evaluation,
        "tokens_per_second": parts.train_units.lengths.sum()
        / training_order(settled, parts).steps_in_epoch()
        / timing.seconds,
        "settled": {key: getattr(training, key) for key in ("device", "precision", "compile", "threads")},
        "measured": choices,
    }


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_words(report: dict[str, Any], recipe: Recipe) -> list[str]:
    """The examination as lines for people."""
    data, padding, suggested = report["data"], report["padding"], report["suggested"]
    lengths = ", ".join(f"{p}%: {n}" for p, n in data["length_percentiles"].items())
    best = min(padding["by_layout"], key=lambda layout: padding["by_layout"][layout])
    settled = ", ".join(f"{key} {value}" for key, value in report["settled"].items())
    return [
        f"texts        {data['texts']:,} for training, {data['validation_texts']:,} for validation",
        f"tokens       {data['tokens']:,} and {data['validation_tokens']:,}, {data['bytes_per_token']} bytes each",
        f"lengths      {lengths} (tokens in a text)",
        f"vocabulary   {data['vocabulary']:,} tokens; suggested {suggested['vocab_size']:,}",
        f"unknown      {data['unknown_share']:.1%} of the tokens: read as unknown, never asked, so never learned",
        f"max_length   {recipe.model.max_length}; suggested {suggested['max_length']}; "
        f"{data['cut_share']:.1%} of the texts are longer and become several windows",
        f"padding      {padding['share']:.1%} of the arithmetic goes to [PAD] with batch.layout="
        f"{recipe.batch.layout}; {best} would have {padding['by_layout'][best]:.1%}",
        f"parameters   {report['parameters']:,}",
        f"memory       {report['memory_bytes'] / 2**20:,.0f} MiB at its peak",
        f"time         {report['minutes']:.1f} minutes for {report['steps']:,} steps "
        f"({report['seconds_per_step'] * 1000:.0f} ms each, {report['tokens_per_second']:,.0f} tokens/s)",
        f"settled      {settled}",
    ]


if __name__ == "__main__":
    print(json.dumps(measure(parse(from_yaml(sys.stdin.read(), "the recipe"))), default=float))
