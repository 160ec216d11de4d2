"""Pages of long texts: how large, made in how much memory, and how soon they answer in a browser.

    python benchmarks/pages.py RUN --text FILE

RUN fills blanks and reads 8,192 tokens (the recipe mlm-long-wikitext2); the texts are the beginning of FILE, with a
blank in the middle. Each page is made by `glassformer look mask` in a process of its own. Chromium then opens it from a
file; the clock runs from there until a word that the mouse points at is answered for. Results go to
docs/results/pages.json.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from glassformer.ask.run import Run, load
from glassformer.run import describe_environment
from glassformer.snapshot import write_text_durably

FILE = Path(__file__).resolve().parents[1] / "docs" / "results" / "pages.json"
LENGTHS = (64, 512, 2048, 8192)
OPENINGS = 5
ANSWERED = """([place, before]) => {
  const [readout, active] = [document.querySelector(".readout"), document.querySelector(".token.active")];
  return active && Number(active.dataset.place) === place && readout.textContent !== before;
}"""


def text_of(run: Run, words: list[str], length: int) -> str:
    """As many words as make at most so many tokens, the middle one a blank."""
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        fits = len(run.tokenizer.encode(" ".join(blanked(words[:middle])), allow_mask=True).ids) <= length - 2
        low, high = (middle, high) if fits else (low, middle - 1)
    return " ".join(blanked(words[:low]))


def blanked(words: list[str]) -> list[str]:
    """The middle word hidden."""
    middle = len(words) // 2
    return [*words[:middle], "[MASK]", *words[middle + 1 :]]


def made(run: Path, text: str, page: Path) -> dict[str, float]:
    """Seconds and the peak of memory (GB) of the command that makes the page, and its size."""
    command = [sys.executable, "-m", "glassformer.cli", "look", "mask", str(run), text, "--output", str(page)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[:6]} failed")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "gb": usage.ru_maxrss * 1024 / 1e9, "mb": page.stat().st_size / 1e6}


def opened(chromium: Any, page: Path) -> float:
    """Seconds until a word that is pointed at is answered for."""
    tab = chromium.new_page()
    start = time.perf_counter()
    tab.goto(page.resolve().as_uri(), wait_until="commit")
    tab.wait_for_selector("body[data-ready]")
    before = tab.locator(".readout").first.text_content()
    tab.locator(".token").nth(2).hover()
    tab.wait_for_function(ANSWERED, arg=[2, before])
    seconds = time.perf_counter() - start
    tab.close()
    return seconds


def main() -> None:
    """Make, open, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="a folder for the pages, to look at them")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    run = load(options.run)
    words = [word for word in options.text.read_text(encoding="utf-8").split() if word != "<unk>"]
    rows = []
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = options.keep or Path(scratch)
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for length in LENGTHS:
            text = text_of(run, words, length)
            page = folder / f"mask-{length}.html"
            row = {"tokens": len(run.objective.prompt(text).tokens), **made(options.run, text, page)}
            times = sorted(opened(chromium, page) for _ in range(OPENINGS))
            row |= {"answer": statistics.median(times), "slowest": times[-1]}
            print(row, flush=True)
            rows.append(row)
        browser = chromium.version
    machine = describe_environment()
    machine["versions"] |= {"chromium": browser, "playwright": version("playwright")}
    model = run.recipe.model
    record = {
        "benchmark": "pages",
        "machine": machine,
        "recipe": "mlm-long-wikitext2",
        "layers": model.n_layers,
        "heads": model.n_heads,
        "openings": OPENINGS,
        "loss": min(r["loss"] for r in run.metrics() if r["event"] == "evaluation"),
        "pages": rows,
    }
    write_text_durably(FILE, json.dumps(record, indent=1) + "\n")
    print(f"written to {FILE}")


if __name__ == "__main__":
    main()
