"""The table of strategies: every objective is in it, with its own words, and an example made by its own code."""

import json
from pathlib import Path

import pytest
from trained import answering_folder, classifier_folder, command, run_folder

from glassformer.ask.run import load
from glassformer.look.strategies import FAMILIES, strategies, view_of
from glassformer.objectives import find_objective
from glassformer.plugins import plugin_names

NAMES = plugin_names("glassformer.objectives")


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:
    return {line["objective"]: line for line in strategies()}


def test_every_objective_is_in_the_table_in_the_order_of_the_families(found) -> None:
    assert sorted(found) == sorted(NAMES)
    order = [list(FAMILIES).index(line["family"]) for line in found.values()]
    assert order == sorted(order)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_says_is_what_the_objective_says(name: str, found) -> None:
    kind, line = find_objective(name), found[name]
    assert (line["family"], line["question"], line["good_for"]) == (kind.family, kind.question, kind.good_for)
    assert line["question"] and line["good_for"] and line["title"]
    assert line["losses"] == ["cosine_squared_error" if line["objective"] == "similarity" else "cross_entropy"]
    assert line["known_from"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("mixture", "image_classification")])
def test_the_example_hides_what_it_asks(name: str, found) -> None:
    """No run, no answers; the text is a built-in one; of strategies that hide something, something is hidden."""
    example = found[name]["example"]
    assert example["asked"] and example["answers"] == [] and example["written"] is None
    first = example["streams"][0]["tokens"]
    assert "[UNK]" not in first
    hides = {"masked_lm", "next_sentence", "permutation_lm", "denoising"}
    assert ("[MASK]" in first) == (name in hides)
    assert ("[S0]" in first) == (name == "span_corruption")


def test_what_has_no_built_in_data_has_no_example(found) -> None:
    assert found["mixture"]["example"] is None and found["image_classification"]["example"] is None


@pytest.mark.parametrize("folder", [run_folder, classifier_folder, answering_folder])
def test_a_run_answers_the_example_of_its_objective(folder) -> None:
    run = load(folder())
    name = run.recipe.objective.model_dump()["name"]
    line = next(line for line in strategies([run]) if line["objective"] == name)
    example = line["example"]
    assert example["run"] == run.path.name
    assert [one["true"] for one in example["answers"]] == [one["target"] for one in example["asked"]]
    assert all(0 < one["probability"] <= 1 for one in example["answers"])
    assert (example["written"] is not None) == (line["family"] == "encoder_decoder")


def test_the_command_writes_json_a_page_and_a_picture(tmp_path: Path) -> None:
    said = json.loads(command("strategies", run_folder(), "--json").out)
    assert {line["objective"] for line in said["strategies"]} == set(NAMES)
    for name, start in (("a.html", b"<!doctype"), ("a.png", b"\x89PNG"), ("a.csv", b"objective,")):
        assert command("strategies", "--output", tmp_path / name).code == 0
        assert (tmp_path / name).read_bytes().startswith(start)
    words = command("strategies").out
    assert all(name in words for name in NAMES)


def test_of_two_runs_of_one_objective_the_first_answers() -> None:
    run = load(run_folder())
    lines = view_of([run, run]).numbers["strategies"]
    assert sum(line["example"] is not None and line["example"]["run"] is not None for line in lines) == 1
