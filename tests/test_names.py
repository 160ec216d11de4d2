"""Every name in the code is defined. The linters cannot say so here by themselves: jaxtyping's shapes are strings in
annotations, and a linter takes their letters for names."""

import json
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]


def undefined(*folders: Path) -> list[str]:
    """The undefined names outside strings, each with file and line."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F821", "--output-format=json", *folders]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    outside = []
    for file in {one["filename"] for one in found}:
        with tokenize.open(file) as stream:
            strings = [token for token in tokenize.generate_tokens(stream.readline) if token.type == tokenize.STRING]
        for one in (one for one in found if one["filename"] == file):
            place = (one["location"]["row"], one["location"]["column"] - 1)
            if not any(token.start <= place < token.end for token in strings):
                outside.append(f"{file}:{place[0]}: {one['message']}")
    return sorted(outside)


def test_every_name_is_defined() -> None:
    assert undefined(ROOT / "src", ROOT / "tests", ROOT / "benchmarks", ROOT / "examples") == []


def test_an_undefined_name_is_found_and_a_shape_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('def f(x: Float[Tensor, "B T"]) -> int:\n    return missing\n')
    assert [line.split(": ")[1] for line in undefined(tmp_path) if "Float" not in line and "Tensor" not in line] == [
        "Undefined name `missing`"
    ]
