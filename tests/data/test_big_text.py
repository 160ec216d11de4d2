"""Memory of large texts, measured in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from glassformer.data.tokenizer import Tokenizer, TokenizerConfig

MEASURED = """
import json, resource, sys
from pathlib import Path
from glassformer.data.corpus import Corpus
from glassformer.data.files import read_lines
from glassformer.data.tokenizer import Tokenizer
from glassformer.data.windows import DocumentWindows
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
text, tokenizer, store = sys.argv[1:]
one, before = Tokenizer.load(tokenizer), peak()
made = Corpus.build(read_lines(Path(text)), one, Path(store))
windows = DocumentWindows(made, 126)
print(json.dumps({"mb": peak() - before, "documents": made.n_documents, "tokens": made.n_tokens}))
"""
WORDS = ["Mars", "is", "the", "fourth", "planet", "of", "the", "sun,", "and", "it", "is", "red."]


def measured(text: Path, tmp_path: Path) -> dict[str, float]:
    """Megabytes that a store and its windows take, over those of the libraries."""
    Tokenizer.train([" ".join(WORDS)] * 3, TokenizerConfig(kind="wordpiece", vocab_size=90)).save(tmp_path / "t.json")
    command = [sys.executable, "-c", MEASURED, str(text), str(tmp_path / "t.json"), str(tmp_path / "store")]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
def test_one_long_line_takes_bounded_memory(tmp_path: Path) -> None:
    """The library alone takes 130 bytes for each character: 650 MB for these five million."""
    words = np.random.default_rng(0).choice(WORDS, 1_100_000)
    (tmp_path / "line.txt").write_text(" ".join(words) + "\n")
    found = measured(tmp_path / "line.txt", tmp_path)
    assert found["documents"] == 1 and found["tokens"] > 1_100_000
    assert found["mb"] < 100


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
def test_many_lines_of_one_word_take_bounded_memory(tmp_path: Path) -> None:
    """No object for each of them: ten bytes in the store, sixteen for a window, and one block at a time."""
    words = np.random.default_rng(0).choice(WORDS, 300_000)
    (tmp_path / "lines.txt").write_text("\n".join(words) + "\n")
    found = measured(tmp_path / "lines.txt", tmp_path)
    assert found["documents"] == 300_000
    assert found["mb"] < 120
