"""`glassformer look heads`, `pronoun` and `word`: tables, JSON, files, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from trained import command, generator_folder, refused, run_folder

TEXT = "Mars is called the red planet"
VIEWS = {
    "heads": ("heads", run_folder, TEXT),
    "heads of a decoder": ("heads", generator_folder, TEXT, "--sort", "similarity"),
    "pronoun": ("pronoun", run_folder, TEXT, "--word", "red", "--candidates", "mars", "planet"),
    "word": ("word", run_folder, "red", TEXT, "the red star"),
}


def arguments(view: str) -> list[str]:
    return ["look", *(str(part()) if callable(part) else part for part in VIEWS[view])]


@pytest.mark.parametrize("view", VIEWS)
def test_numbers_are_the_same_everywhere(view: str, tmp_path: Path) -> None:
    """--json, .json and .npz."""
    said = command(*arguments(view), "--json").json
    for name in ("a.json", "a.npz", "a.png", "a.svg", "a.html"):
        written = command(*arguments(view), "--output", tmp_path / name)
        assert (written.code, written.out, written.err) == (0, f"{tmp_path / name}\n", "")
    assert json.loads((tmp_path / "a.json").read_text()) == said
    with np.load(tmp_path / "a.npz") as stored:
        arrays = dict(stored)
    assert list(arrays) == list(said)
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(np.array(said[name], dtype=float), array, atol=1e-6)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("view", "lines"), [("heads", 8), ("heads of a decoder", 8), ("pronoun", 3), ("word", 4)])
def test_tables_have_a_line_for_each(view: str, lines: int) -> None:
    said = command(*arguments(view))
    assert (said.code, said.err) == (0, "")
    assert len(said.out.splitlines()) == lines


def test_what_is_in_nats_says_so_and_nothing_is_minus_zero() -> None:
    assert "entropy (nats)" in command("look", "heads", run_folder(), TEXT).out
    said = command("look", "attribution", run_folder(), "Mars is called the [MASK] planet").out
    assert " nats" in said and "-0.00" not in said and "1 bit" in said.splitlines()[-1]


def test_heads_of_own_texts_and_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text(f"{TEXT}\nthe red star\n")
    both = command("look", "heads", run_folder(), "--file", file, "--json").json
    assert both == command("look", "heads", run_folder(), TEXT, "the red star", "--json").json
    own = command("look", "heads", run_folder(), "--number", "3", "--json").json
    assert own["rows"] > 9
    picture = tmp_path / "own.png"
    assert command("look", "heads", run_folder(), "--sort", "pattern", "--output", picture).code == 0


def test_words_that_the_model_does_not_know_are_said() -> None:
    said = command("look", "pronoun", run_folder(), "the zzz is red", "--word", "is")
    assert (said.code, said.err) == (0, "not in the vocabulary, read as unknown: zzz\n")


def test_what_is_wrong_is_one_line_with_the_mend(tmp_path: Path) -> None:
    run = run_folder()
    assert "its words are: Mars, is" in refused("look", "pronoun", run, TEXT, "--word", "it")
    assert "say which: --nth 1 to 2" in refused("look", "pronoun", run, "red red", "--word", "red")
    assert "does not know 'zzz'" in refused("look", "word", run, "zzz", "zzz red", "zzz")
    assert "cannot write a view as '.doc'" in refused("look", "heads", run, TEXT, "--output", tmp_path / "a.doc")
    assert "it is one stack" in refused("look", "heads", run, "--kind", "cross")


def test_words_that_are_unknown_are_named_and_empty_texts_refused(tmp_path):
    said = command("look", "mask", run_folder(), "zebra is the [MASK] planet", "--output", tmp_path / "m.html")
    assert said.code == 0 and said.err == "not in the vocabulary, read as unknown: zebra\n"
    assert "a text is empty" in refused("look", "heads", run_folder(), "", "--output", tmp_path / "h.png")
