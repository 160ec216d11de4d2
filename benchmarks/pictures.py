"""Make the pictures of docs/look by the commands that stand there.

    python benchmarks/pictures.py --runs runs

The runs are those of `glassformer demo`; for the studio the first one is trained once more, for a few steps, and its
picture is taken in Chromium. Heads and syntax need `--treebank DIR`, with UD_Turkish-FrameNet's train.txt,
dev.txt and tr_framenet-ud-train.conllu; without it that picture stays as it is.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "look"


def commands() -> list[list[str]]:
    """Every command of the pages that writes a picture."""
    found = []
    for page in sorted(FOLDER.glob("*.md")):
        for line in re.findall(r"^glassformer .*\.png$", page.read_text(encoding="utf-8"), re.MULTILINE):
            found.append(shlex.split(line))
    return found


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where mlm-demo, seq2seq-demo, fashion lie")
    parser.add_argument("--treebank", type=Path, help="where the sentences and the treebank of heads and syntax lie")
    options = parser.parse_args()
    runs = options.runs
    for _, *arguments in commands():
        if "dependencies" in arguments:
            if options.treebank is not None:
                syntax(runs / "turkish", options.treebank)
            continue
        if "confusion" in arguments and not (runs / "fashion").exists():
            continue
        placed = [str(runs / a.removeprefix("runs/")) if a.startswith("runs/") else a for a in arguments]
        placed[-1] = str(FOLDER / placed[-1])
        subprocess.run([sys.executable, "-m", "glassformer.cli", *placed], check=True)
    studio(runs)


def syntax(run: Path, treebank: Path) -> None:
    """Heads and syntax, by the two commands of its page."""
    glassformer = [sys.executable, "-m", "glassformer.cli"]
    if not run.exists():
        changes = [f"data.validation={treebank / 'dev.txt'}", "tokenizer.kind=word", "training.minutes=2"]
        subprocess.run([*glassformer, "train", str(treebank / "train.txt"), *changes, "--run", str(run)], check=True)
    trees, picture = treebank / "tr_framenet-ud-train.conllu", FOLDER / "dependencies.png"
    subprocess.run([*glassformer, "look", "dependencies", str(run), str(trees), "--output", str(picture)], check=True)


def studio(runs: Path) -> None:
    """The studio with two runs side by side."""
    from playwright.sync_api import sync_playwright

    glassformer, short = [sys.executable, "-m", "glassformer.cli"], runs / "mlm-short"
    if not short.exists():
        steps = "training.steps=500"
        subprocess.run([*glassformer, "train", "mlm-demo", steps, "--run", str(short)], check=True)
    folders = [str(runs / "mlm-demo"), str(short)]
    serving = subprocess.Popen([*glassformer, "studio", *folders, "--no-open"], stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    view = "/#run=mlm-demo&beside=mlm-short&view=mask&text=Mars+is+called+the+%5BMASK%5D+planet"
    try:
        address = next(found[0] for line in serving.stdout if (found := re.search(r"http://[\d.:]+\d", line)))
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = chromium.new_page(viewport={"width": 1200, "height": 1180})
            page.goto(address + view)
            page.wait_for_selector("body[data-ready]")
            page.screenshot(path=FOLDER / "studio.png")
    finally:
        serving.kill()
        serving.wait()


if __name__ == "__main__":
    main()
