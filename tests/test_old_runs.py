"""Runs that an earlier version made (commit 3950011, in assets/old_runs): they open, answer as they did, and go on
where they stopped. The numbers are what that version said of them.

They were trained for three steps of two layers of width 8: `mlm-demo`, the same with objective.name=causal_lm, and
`seq2seq-demo` with model.max_length=64.
"""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import glassformer
from glassformer.cli import app
from glassformer.data import builtin

ASSETS = Path(__file__).parent / "assets" / "old_runs"
STEP_4 = {"mlm": 5.033105850219727, "clm": 5.020697116851807, "seq2seq": 5.580073833465576}
"""The loss of the next step but one: it depends on the weights, the optimiser's state, the order of the data, what is
hidden and dropout."""


def test_a_masked_language_model_fills_as_it_did() -> None:
    [blank] = glassformer.load(ASSETS / "mlm").fill("Mars is called the [MASK] planet", 3).blanks
    found = {candidate.token: candidate.probability for candidate in blank.candidates}
    said = {"training": 0.007862353697419167, "we": 0.007727100979536772, "belong": 0.007685956545174122}
    assert list(found) == list(said)
    assert list(found.values()) == pytest.approx(list(said.values()), rel=1e-4)


def test_a_causal_model_scores_and_writes_as_it_did() -> None:
    run = glassformer.load(ASSETS / "clm")
    said = [5.0914812088012695, 5.047521591186523, 5.035506725311279, 4.995633602142334, 4.978522300720215]
    surprisal = run.score("Mars is called the red planet").surprisal
    assert [number for number in surprisal if number is not None] == pytest.approx(said, rel=1e-5)
    assert surprisal[4] is None  # "red" is not among its 150 words
    [output] = run.generate("Mars is").outputs
    assert output.log_probability == pytest.approx(-145.1251630783081, rel=1e-5)


def test_an_encoder_decoder_answers_as_it_did() -> None:
    [output] = glassformer.load(ASSETS / "seq2seq").generate("eat").outputs
    assert output.log_probability == pytest.approx(-345.2131361961365, rel=1e-5)


@pytest.mark.parametrize("name", STEP_4)
def test_it_goes_on_as_it_would_have(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the facts of then: the topic `everyday` came later, behind all others."""
    facts = builtin._facts
    monkeypatch.setattr(builtin, "_facts", lambda *given: (fact for fact in facts(*given) if fact[0] != "everyday"))
    run = tmp_path / name
    shutil.copytree(ASSETS / name, run)
    result = CliRunner().invoke(app, ["train", "--resume", "--run", str(run), "training.steps=5"])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    [fourth] = [line for line in lines if line["event"] == "train" and line["step"] == 4]
    assert fourth["loss"] == pytest.approx(STEP_4[name], rel=1e-6)


def test_on_other_facts_it_does_not_go_on(tmp_path: Path) -> None:
    """The facts of now are more than it began with: said in a line, with what to do."""
    shutil.copytree(ASSETS / "mlm", tmp_path / "mlm")
    result = CliRunner().invoke(app, ["train", "--resume", "--run", str(tmp_path / "mlm"), "training.steps=5"])
    assert "the data has changed since the run was begun\nput it back, or start a new run" in str(result.exception)
