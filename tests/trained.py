"""One tiny trained run, made once and shared by all tests that only look at a run; and the command line, called in
this process (quick) or in its own (where pipes, terminals and imports matter)."""

import atexit
import contextlib
import functools
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny_recipe

from glassformer import cli
from glassformer.data.builtin import labelled_sentences, paired_sentences, questions, sentences, tagged_sentences

SENTENCES = 40
TEXT = "Mars is called the [MASK] planet"
TREE = """1\tMars\t_\t_\t_\t_\t3\tnsubj\t_\t_
2\tis\t_\t_\t_\t_\t3\taux\t_\t_
3\tcalled\t_\t_\t_\t_\t0\troot\t_\t_
4\tthe\t_\t_\t_\t_\t6\tdet\t_\t_
5\tred\t_\t_\t_\t_\t6\tamod\t_\t_
6\tplanet\t_\t_\t_\t_\t3\tobj\t_\t_
"""
"""A sentence of a treebank in CoNLL-U."""


@functools.lru_cache
def run_folder() -> Path:
    """A run of 24 steps on 41 built-in facts, with test data and a probe. Not to be changed: copy it."""
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    facts = list(sentences("facts", "train"))
    text = tiny_recipe.text_file(folder, ["Mars is called the red planet", *facts[:SENTENCES]], "train.txt")
    validation = tiny_recipe.text_file(folder, facts[10:24] + facts[50:54], "validation.txt")
    test = tiny_recipe.text_file(folder, facts[60:65], "test.txt")
    recipe = tiny_recipe.recipe(
        text,
        data={"validation": str(validation), "test": str(test)},
        tokenizer={"lowercase": True, "vocab_size": 300},
        optimizer={"learning_rate": 0.01},
        training={"steps": 24, "evaluate_every": 6, "checkpoint_every": 12, "probes": [TEXT]},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        tiny_recipe.train(recipe, folder / "runs" / "tiny")
    return folder / "runs" / "tiny"


@functools.lru_cache
def classifier_folder() -> Path:
    """A run of 20 steps on 40 built-in facts, labelled by what they are about. Not to be changed: copy it."""
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    labelled = labelled_sentences("builtin:facts/train")[:: 726 // SENTENCES]
    rows = ["text\tlabel", *(f"{text}\t{topic}" for text, topic in labelled)]
    recipe = tiny_recipe.recipe(
        tiny_recipe.text_file(folder, rows, "facts.tsv"),
        objective={"name": "classification", "too_long": "cut"},
        tokenizer={"lowercase": True, "vocab_size": 300},
        training={"steps": 20, "evaluate_every": 10, "checkpoint_every": 10},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        tiny_recipe.train(recipe, folder / "runs" / "classifier")
    return folder / "runs" / "classifier"


@functools.lru_cache
def tagger_folder() -> Path:
    """A run of 150 steps on the built-in names, enough to find some. Not to be changed: copy it."""
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rows = tagged_sentences("builtin:names/train")
    sentences = ["".join(f"{word}\t{tag}\n" for word, tag in zip(*row, strict=True)) for row in rows]
    recipe = tiny_recipe.recipe(
        tiny_recipe.text_file(folder, sentences, "names.conll"),
        data={"document": "tagged"},
        objective={"name": "tagging"},
        tokenizer={"vocab_size": 300},
        optimizer={"learning_rate": 0.01},
        training={"steps": 150, "evaluate_every": 50, "checkpoint_every": 50},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        tiny_recipe.train(recipe, folder / "runs" / "tagger")
    return folder / "runs" / "tagger"


@functools.lru_cache
def answerer_folder() -> Path:
    """A run of 20 steps on some of the built-in questions. Not to be changed: copy it."""
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    asked = questions("builtin:questions/train")[:60]
    found = [[] if one.answer is None else [{"text": one.answer, "answer_start": one.start}] for one in asked]
    rows = [
        {"context": one.text, "question": one.question, "answers": answers}
        for one, answers in zip(asked, found, strict=True)
    ]
    recipe = tiny_recipe.recipe(
        tiny_recipe.text_file(folder, [json.dumps(row) for row in rows], "questions.jsonl"),
        data={"document": "row"},
        objective={"name": "span_extraction"},
        tokenizer={"vocab_size": 300},
        model={"max_length": 48},
        training={"steps": 20, "evaluate_every": 10, "checkpoint_every": 10},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        tiny_recipe.train(recipe, folder / "runs" / "answerer")
    return folder / "runs" / "answerer"


@functools.lru_cache
def alike_folder() -> Path:
    """A run of 20 steps of a similarity model on the built-in pairs of wordings. Not to be changed: copy it."""
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    pairs = paired_sentences("builtin:wordings/train")[::6]
    rows = ["text\tsecond\tnumber", *(f"{one.text}\t{one.second}\t{float(one.same)}" for one in pairs)]
    recipe = tiny_recipe.recipe(
        tiny_recipe.text_file(folder, rows, "pairs.tsv"),
        objective={"name": "similarity", "too_long": "cut"},
        tokenizer={"lowercase": True, "vocab_size": 300},
        model={"max_length": 40},
        training={"steps": 20, "evaluate_every": 10, "checkpoint_every": 10},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        tiny_recipe.train(recipe, folder / "runs" / "alike")
    return folder / "runs" / "alike"


@functools.lru_cache
def generator_folder() -> Path:
    """A run of 40 steps of a causal model on the same facts, all in pieces of words. Not to be changed: copy it."""
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    text = tiny_recipe.text_file(folder, ["Mars is called the red planet", *sentences("facts", "train")[:SENTENCES]])
    recipe = tiny_recipe.recipe(
        text,
        objective={"name": "causal_lm"},
        tokenizer={"kind": "bpe", "vocab_size": 400},
        model={"max_length": 40},
        optimizer={"learning_rate": 0.01},
        training={"steps": 40, "evaluate_every": 20, "checkpoint_every": 20},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        tiny_recipe.train(recipe, folder / "runs" / "generator")
    return folder / "runs" / "generator"


@functools.lru_cache
def permuting_folder() -> Path:
    """A run of two steps of a permutation model. Not to be changed: copy it."""
    return _short({"name": "permutation_lm", "asked_share": 0.6}, tiny_recipe.sentences())


@functools.lru_cache
def answering_folder() -> Path:
    """A run of two steps of an encoder-decoder that answers each sentence with its letters turned round. Not to be
    changed: copy it."""
    return _short({"name": "seq2seq"}, [f"{line}\t{line[::-1]}" for line in tiny_recipe.sentences()], "pairs.tsv")


def _short(objective: dict[str, Any], lines: list[str], name: str = "texts.txt") -> Path:
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    short = {"steps": 2, "evaluate_every": 2, "checkpoint_every": 2}
    recipe = tiny_recipe.recipe(folder / name, objective=objective, training=short)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        return tiny_recipe.train(recipe, folder / "run").path


def copy_of_run(folder: Path, name: str = "copy") -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(run_folder(), folder / name))


class Said(NamedTuple):
    """What a command answered."""

    code: int | str | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON value."""
        return json.loads(self.out)


def command(*arguments: str | Path, stdin: bytes = b"") -> Said:
    """`glassformer ...` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["glassformer", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        patch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as end:
            cli.main()
    return Said(end.value.code, out.getvalue(), err.getvalue())


def refused(*arguments: str | Path, stdin: bytes = b"", code: int = 2) -> str:
    """The error of a command that must fail with one or two lines and without an answer."""
    said = command(*arguments, stdin=stdin)
    assert said.code == code, said
    assert said.out == ""
    lines = said.err.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("error: "))
    assert len(lines) - begin <= 2, lines
    assert "Traceback" not in said.err
    return "\n".join(lines[begin:])


def process(*arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """`glassformer ...` in a process of its own."""
    wanted = [sys.executable, "-m", "glassformer.cli", *map(os.fspath, arguments)]
    return subprocess.run(wanted, capture_output=True, check=False, timeout=120, **more)
