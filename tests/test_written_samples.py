"""Samples of what a run has written: which runs keep some, and what stands in them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from trained import answering_folder, command, generator_folder, permuting_folder, run_folder

import glassformer as gf
from glassformer.ask.samples import LONGEST, beginning, samples_of, stored_samples, write_samples
from glassformer.look.report import describe_run, draw_report


def copy(of: Path, folder: Path) -> gf.Run:
    return gf.load(shutil.copytree(of, folder / "copy"))


def test_a_text_is_gone_on_with_and_a_source_is_answered(tmp_path: Path) -> None:
    """What was read and what stood there are together what the unit holds, and what is written is what `generate`
    writes behind the same words."""
    run = gf.load(generator_folder())
    asked = run.questions("validation")
    example = asked.example(int(asked.chosen[0]))
    ids = example.streams["decoder"].values
    found = beginning(run, example)
    assert found is not None
    prompt, stood = found
    np.testing.assert_array_equal(np.append(prompt.example.streams["decoder"].values, stood), ids)
    assert len(stood) in (len(ids) // 2, len(ids) // 2 + 1)
    for one in samples_of(run, 2):
        written = run.generate(one.prompt, max_tokens=LONGEST).outputs[0].text
        assert written.startswith(one.written)
    pairs = gf.load(answering_folder())
    for one in samples_of(pairs, 2):
        assert one.stood == one.prompt[::-1]  # the pairs of that run
        assert one.written == pairs.generate(one.prompt, max_tokens=LONGEST).outputs[0].text


@pytest.mark.parametrize(("folder", "number"), [(generator_folder, 3), (answering_folder, 3), (run_folder, 0)])
def test_a_finished_run_keeps_them_and_info_shows_them(folder: object, number: int, tmp_path: Path) -> None:
    run = copy(folder(), tmp_path)  # type: ignore[operator]
    assert stored_samples(run.directory) == []
    kept = write_samples(run, 3)
    assert len(kept) == number
    assert describe_run(run)["samples"] == [one._asdict() for one in kept]
    said = command("info", run.path)
    assert said.code == 0 and said.out.count("\nwritten ") == number
    if number:
        lines = (run.directory.samples / "written.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == [one._asdict() for one in kept]
        text = (run.directory.samples / "written.txt").read_text(encoding="utf-8")
        assert text.count("prompt ") == text.count("stood ") == number


def test_a_model_that_fills_blanks_in_any_order_goes_on_with_nothing() -> None:
    assert samples_of(gf.load(permuting_folder()), 3) == []


def test_the_report_of_a_run_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = copy(generator_folder(), tmp_path)
    draw_report(run)
    assert len(stored_samples(run.directory)) == run.recipe.training.samples
