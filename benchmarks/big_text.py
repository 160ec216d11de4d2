"""A large text until its first batch: glassformer beside Hugging Face's `datasets`, with the same tokenizer.

    python benchmarks/big_text.py --data DIR [--megabytes 200] [--rounds 3]

DIR holds WikiText-2 as train.txt. Its paragraphs, drawn at random and each with its words moved around by a random
number, are the text, a paragraph in each line; nothing of it is stored. Every measurement is a process of its own with
an empty cache, the two ways in turn. Seconds are from the start of the process to its first batch; memory is that of
all its processes together, shared pages counted once, looked at ten times a second.

Then what glassformer alone takes: for the whole way of a new user to the first step, for one line of a quarter of that
text, for 20,000 files on the second start, and for a million lines of one word. Results go to
docs/results/big_text.json.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
SHARE, ROWS, LENGTH = 0.05, 32, 128
BEGIN = """
import json, sys
def done(**found):
    print(json.dumps(found), flush=True)
"""
OURS = """
from glassformer.assemble import assemble
from glassformer.recipe import parse
from glassformer.build import training_order
text, tokenizer, share, rows, length, _ = sys.argv[1:]
recipe = parse({
    "data": {"train": text, "document": "line", "validation_share": float(share)},
    "tokenizer": {"path": tokenizer},
    "model": {"max_length": int(length)},
    "objective": {"name": "causal_lm", "units": "stream"},
    "batch": {"size": int(rows)},
    "training": {"steps": 1},
}, "the benchmark")
order = training_order(recipe, assemble(recipe))
epoch, micro_batches = next(order.steps())
batch = order.batch(epoch, micro_batches[0])
done(tokens=batch.tokens)
"""
DATASETS = """
import tokenizers, torch
from datasets import load_dataset
def main():
    text, path, share, rows, length, cache = sys.argv[1:]
    length = int(length) + 1
    tokenizer = tokenizers.Tokenizer.from_file(path)
    end = tokenizer.token_to_id("[SEP]")
    def in_rows(lines):  # the usual way of a stream: texts end to end, cut into rows, in each batch of the map
        stream = [t for e in tokenizer.encode_batch(lines["text"], add_special_tokens=False) for t in (*e.ids, end)]
        return {"input_ids": [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]}
    lines = load_dataset("text", data_files=text, split="train", cache_dir=cache)
    lines = lines.train_test_split(float(share), seed=0)
    cut = lines.map(in_rows, batched=True, num_proc=2, remove_columns=["text"])
    order = cut["train"].shuffle(seed=0).with_format("torch")
    batch = torch.stack(list(order[: int(rows)]["input_ids"]))
    done(tokens=batch.numel())
if __name__ == "__main__":
    main()
"""
TRAIN = """
import glassformer as gf
from glassformer.training.trainer import Quiet
text, run, *changes = sys.argv[1:]
gf.train(text, changes, run=run, display=Quiet())
done()
"""
FIRST_BATCH = """
from glassformer.assemble import assemble
from glassformer.launch import find_recipe
from glassformer.build import training_order
text, *changes = sys.argv[1:]
order = training_order(*(lambda recipe: (recipe, assemble(recipe)))(find_recipe(text, changes, lambda said: None)[1]))
epoch, micro_batches = next(order.steps())
done(tokens=order.batch(epoch, micro_batches[0]).tokens)
"""
FEW_QUESTIONS = ("training.steps=1", "training.evaluate_units=32", "training.evaluate_training_units=32")


def measured(script: str, arguments: Sequence[Any], cache: Path) -> dict[str, Any]:
    """Seconds from the start of a process to the line that it prints, and the most memory it had until then."""
    environment = os.environ | {"GLASSFORMER_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(cache)}
    began = time.perf_counter()
    command = [sys.executable, "-c", BEGIN + script, *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as said:
        child = psutil.Popen(command, stdout=said, env=environment, text=True)
        peak = 0
        while child.poll() is None:
            peak = max(peak, memory_of(child))
            said.seek(0, os.SEEK_END)
            if said.tell():
                break
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        if child.wait():
            raise SystemExit(f"a measured process failed: {child.returncode}")
        said.seek(0)
        return {"seconds": round(seconds, 2), "peak_mb": round(peak / 1e6), **json.loads(said.read().splitlines()[-1])}


def memory_of(process: psutil.Process) -> int:
    """Of a process and all that it has started; a page that several share is counted once in all (PSS)."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_full_info().pss
    except psutil.Error:  # one of them has just ended
        pass
    return total


def write_lines(paragraphs: list[str], megabytes: float, file: Path) -> None:
    """Paragraphs in a random order until there is enough text, none twice the same: each begins somewhere else."""
    rng = random.Random(0)
    size = 0
    with file.open("w", encoding="utf-8") as out:
        while size < megabytes * 1e6:
            words = rng.choice(paragraphs).split()
            start = rng.randrange(len(words))
            line = " ".join(words[start:] + words[:start]) + "\n"
            size += out.write(line)


def compared(text: Path, tokenizer: Path, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Both ways in turn."""
    found: dict[str, list[dict[str, Any]]] = {"glassformer": [], "datasets": []}
    for _ in range(rounds):
        for name, script in (("glassformer", OURS), ("datasets", DATASETS)):
            with tempfile.TemporaryDirectory() as cache:
                found[name].append(measured(script, [text, tokenizer, SHARE, ROWS, LENGTH, cache], Path(cache)))
            print(name, found[name][-1], flush=True)
    return found


def alone(text: Path, folder: Path, megabytes: float) -> dict[str, dict[str, Any]]:
    """The cases of glassformer alone."""
    found: dict[str, dict[str, Any]] = {}

    def measure(name: str, script: str, *arguments: Any, cache: str | None = None) -> None:
        found[name] = measured(script, arguments, folder / (cache or f"cache-{name}"))
        print(name, found[name], flush=True)

    measure("first_step", TRAIN, text, folder / "run-first", *FEW_QUESTIONS)
    line = folder / "line.txt"
    with text.open(encoding="utf-8") as lines:
        line.write_text(" ".join(lines.read(int(megabytes / 4 * 1e6)).split("\n")) + "\n", encoding="utf-8")
    measure("one_line", TRAIN, line, folder / "run-line", *FEW_QUESTIONS)
    files = folder / "files"
    files.mkdir()
    with text.open(encoding="utf-8") as lines:
        for number in range(20_000):
            (files / f"{number:05}.txt").write_text(next(lines, None) or f"text {number} of the last ones\n")
    time.sleep(3)  # a file that was just written may change again without a sign of it, and is not remembered
    measure("files_first_start", FIRST_BATCH, files, cache="cache-files")
    measure("files_second_start", FIRST_BATCH, files, cache="cache-files")
    words = folder / "words.txt"
    vocabulary = sorted(set(text.open(encoding="utf-8").read(2_000_000).split()))
    rng = random.Random(0)
    words.write_text("".join(f"{rng.choice(vocabulary)}\n" for _ in range(1_000_000)), encoding="utf-8")
    measure("million_lines", FIRST_BATCH, words)
    return found


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    place = os.environ.get("GLASSFORMER_DATA")
    default = Path(place) / "wikitext-2" if place else None
    parser.add_argument("--data", type=Path, default=default, required=default is None, help="the folder of train.txt")
    parser.add_argument("--megabytes", type=float, default=200, help="of text")
    parser.add_argument("--rounds", type=int, default=3, help="how often both ways are taken")
    parser.add_argument("--output", type=Path, default=RESULTS / "big_text.json", help="where the numbers go")
    options = parser.parse_args()

    from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
    from glassformer.run import describe_environment
    from glassformer.snapshot import write_text_durably

    lines = (options.data / "train.txt").read_text(encoding="utf-8").splitlines()
    paragraphs = [line for line in lines if len(line.split()) > 20]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, tokenizer = folder / "text.txt", folder / "tokenizer.json"
        write_lines(paragraphs, options.megabytes, text)
        Tokenizer.train(paragraphs, TokenizerConfig(kind="wordpiece", vocab_size=8192)).save(tokenizer)
        record = {
            "benchmark": "big_text",
            "machine": describe_environment(),
            "datasets": __import__("datasets").__version__,
            "megabytes": options.megabytes,
            "compared": compared(text, tokenizer, options.rounds),
            "alone": alone(text, folder, options.megabytes),
        }
    both = {key: [one["seconds"] for one in record["compared"][key]] for key in record["compared"]}
    print({key: statistics.median(values) for key, values in both.items()})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_text_durably(options.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
