"""Every command and every view over runs of other kinds of models: each works, or says what this model has not, with
the model's own reason and nothing that is another model's."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import tiny_recipe
from trained import TREE, command

from glassformer.ask.run import load
from glassformer.assemble import assemble, model_for
from glassformer.data.builtin import sentences
from glassformer.errors import UsageError

BLANK, OPEN = "Mars is called the [MASK] planet", "Mars is called"
NO_WEIGHTS = "this model has no attention weights"
REASON = "an LSTM compares no token with another"
KINDS = ("lstm", "pytorch")
OBJECTIVES = ("masked_lm", "causal_lm")


def recipe_of(folder: Path, kind: str, objective: str, **training: Any) -> Any:
    text = tiny_recipe.text_file(folder, ["Mars is called the red planet", *sentences("facts", "train")[:40]])
    return tiny_recipe.recipe(
        text,
        objective={"name": objective},
        tokenizer={"lowercase": True, "vocab_size": 300},
        model={"kind": kind, "attention_dropout": 0.1, "max_length": 24},
        optimizer={"name": "muon", "learning_rate": 0.01},
        training={"steps": 12, "evaluate_every": 6, "checkpoint_every": 6, "probes": [BLANK], **training}
        | ({"probes": [OPEN]} if objective == "causal_lm" else {}),
    )


@functools.lru_cache
def folder_of(kind: str, objective: str) -> Path:
    """A run of twelve steps. Not to be changed."""
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        return tiny_recipe.train(recipe_of(folder, kind, objective), folder / "run").path


WEIGHTS = (
    ("attention", "RUN", "TEXT"),
    ("look", "heads", "RUN", "TEXT"),
    ("look", "attribution", "RUN", "TEXT"),
    ("look", "steps", "RUN", "TEXT"),
    ("look", "pronoun", "RUN", "Mars is a planet and it is red"),
    ("look", "dependencies", "RUN", "TREE"),
    ("look", "film", "RUN"),
)
"""What shows weights."""

WORKS = (
    ("evaluate", "RUN"),
    ("info", "RUN"),
    ("ablate", "RUN"),
    ("look", "lens", "RUN", "TEXT"),
    ("look", "shapes", "RUN", "TEXT"),
    ("look", "word", "RUN", "mars", "Mars is a red planet", "the planet is called Mars"),
    ("look", "schedule", "RUN"),
    ("look", "masks", "RUN", "TEXT"),
)
"""What any model has."""


def asked(words: tuple[str, ...], kind: str, objective: str, folder: Path) -> tuple[str, ...]:
    text = BLANK if objective == "masked_lm" else OPEN
    (folder / "tree.conllu").write_text(TREE + "\n", encoding="utf-8")
    here = {"RUN": str(folder_of(kind, objective)), "TEXT": text, "TREE": str(folder / "tree.conllu")}
    return tuple(here.get(word, word) for word in words)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("words", WEIGHTS, ids=lambda words: " ".join(words[:2]))
def test_what_needs_weights_says_why_there_are_none(words: Any, objective: str, tmp_path: Path) -> None:
    output = tmp_path / ("view.png" if words[0] == "attention" else "view.html")
    said = command(*asked(words, "lstm", objective, tmp_path), "--output", output)
    assert said.code != 0 and "Traceback" not in said.err
    line = " ".join(said.err.split())
    assert f"{NO_WEIGHTS}: {REASON}" in line, line
    assert not output.exists()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("words", WEIGHTS, ids=lambda words: " ".join(words[:2]))
def test_of_pytorchs_blocks_it_is_computed_from_their_weights(words: Any, objective: str, tmp_path: Path) -> None:
    output = tmp_path / ("view.png" if words[0] == "attention" else "view.html")
    least = ("--least", "1") if "dependencies" in words else ()
    said = command(*asked(words, "pytorch", objective, tmp_path), *least, "--output", output)
    assert said.code == 0, said.err
    assert output.stat().st_size > 1000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("words", WORKS, ids=lambda words: " ".join(words[:2]))
def test_what_any_model_has_is_there(words: Any, objective: str, kind: str, tmp_path: Path) -> None:
    said = command(*asked(words, kind, objective, tmp_path), "--json")
    assert said.code == 0, said.err
    assert said.json


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_masked_model_blanks_are_filled_and_seen(kind: str, tmp_path: Path) -> None:
    run = folder_of(kind, "masked_lm")
    assert len(load(run).fill(BLANK).blanks[0].candidates) == 5
    assert command("score", run, "Mars is called the red planet", "--json").code == 0
    found = command("look", "mask", run, BLANK, "--json").json
    assert (found.get("why") or "").startswith(REASON) == (kind == "lstm") and found["blanks"][0]["candidates"]
    said = command("generate", run, "Mars is")
    assert said.code != 0 and "Traceback" not in said.err


def test_an_lstm_generates_in_every_way(tmp_path: Path) -> None:
    """Greedy is the forward pass taken again and again; a beam of one is greedy; a page of what was written."""
    run = load(folder_of("lstm", "causal_lm"))
    greedy = run.generate(OPEN, max_tokens=6).outputs[0]
    assert run.generate([OPEN, "the sun", OPEN], max_tokens=6)[2].outputs[0].text == greedy.text
    wide = run.generate(OPEN, beam=4, number=4, max_tokens=6).outputs
    assert len(wide) == 4 and wide[0].log_probability >= greedy.log_probability - 1e-4
    drawn = run.generate(OPEN, sample=True, number=3, seed=4, max_tokens=6).outputs
    assert [o.text for o in run.generate(OPEN, sample=True, number=3, seed=4, max_tokens=6).outputs] == [
        o.text for o in drawn
    ]
    assert command("look", "generation", folder_of("lstm", "causal_lm"), OPEN, "--json").code == 0
    assert command("score", folder_of("lstm", "causal_lm"), "Mars is called the red planet", "--json").code == 0


def test_pytorchs_blocks_say_why_they_do_not_generate() -> None:
    said = " ".join(command("generate", folder_of("pytorch", "causal_lm"), OPEN).err.split())
    assert "this model cannot generate: PyTorch's own blocks keep no state to go on from" in said


def test_positions_are_shown_where_there_are_such() -> None:
    assert command("look", "positions", folder_of("pytorch", "masked_lm"), "--json").code == 0
    said = " ".join(command("look", "positions", folder_of("lstm", "masked_lm")).err.split())
    assert "this model has no positions to be shown: an LSTM reads in order, and is told none" in said
    assert "rotary" not in said and "train with" not in said


@pytest.mark.parametrize("kind", KINDS)
def test_no_format_is_known_for_it(kind: str, tmp_path: Path) -> None:
    said = command("export", folder_of(kind, "causal_lm"), tmp_path / "folder")
    assert said.code != 0 and "Traceback" not in said.err and "model.kind" in said.err


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("layout", ["grouped", "packed"])
def test_an_lstm_goes_on_exactly(objective: str, layout: str, tmp_path: Path) -> None:
    """Halfway and then to the end is the run in one go, dropout and Muon included; packed rows too."""
    straight = recipe_of(tmp_path, "lstm", objective)
    straight = straight.model_copy(update={"batch": straight.batch.model_copy(update={"layout": layout})})
    half = straight.model_copy(update={"training": straight.training.model_copy(update={"steps": 6})})
    fixed = {"schedule": straight.schedule.model_copy(update={"name": "constant"})}
    straight, half = straight.model_copy(update=fixed), half.model_copy(update=fixed)
    tiny_recipe.train(straight, tmp_path / "one")
    tiny_recipe.train(half, tmp_path / "two")
    tiny_recipe.train(None, tmp_path / "two", resume=True, changes=("training.steps=12",))
    a, b = (load(tmp_path / name).model.state_dict() for name in ("one", "two"))
    assert all(a[name].equal(b[name]) for name in a)


def test_packed_rows_are_refused_where_they_are_not_known(tmp_path: Path) -> None:
    wanted = recipe_of(tmp_path, "pytorch", "masked_lm")
    wanted = wanted.model_copy(update={"batch": wanted.batch.model_copy(update={"layout": "packed"})})
    with pytest.raises(Exception, match=r"reads no rows of several texts: PyTorch's own blocks know padding"):
        tiny_recipe.train(wanted, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_task_of_pair_masks_is_refused_before_the_first_step(tmp_path: Path) -> None:
    """Permutations say for each pair of tokens who sees whom: our Transformer can be told, the others cannot."""
    for kind in KINDS:
        with pytest.raises(UsageError, match="this model cannot be told for each pair of tokens"):
            tiny_recipe.train(recipe_of(tmp_path, kind, "permutation_lm", probes=[]), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    recipe = recipe_of(tmp_path, "transformer", "permutation_lm", probes=[])
    assert model_for(recipe, assemble(recipe).objective).why_not("pair_masks") is None
