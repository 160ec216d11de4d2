"""Make the pictures of docs/look by the commands that stand there.

    python benchmarks/pictures.py --runs runs

The runs are those of `glassformer demo`.
"""

import argparse
import re
import shlex
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
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where mlm-demo and seq2seq-demo lie")
    runs = parser.parse_args().runs
    for _, *arguments in commands():
        placed = [str(runs / a.removeprefix("runs/")) if a.startswith("runs/") else a for a in arguments]
        placed[-1] = str(FOLDER / placed[-1])
        subprocess.run([sys.executable, "-m", "glassformer.cli", *placed], check=True)


if __name__ == "__main__":
    main()
