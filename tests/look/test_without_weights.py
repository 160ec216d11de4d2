"""Models whose attention has no weights to be shown: pages say why and show what there is; the rest refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_recipe
from browser import browser, opened
from trained import TEXT, answering_folder, command, generator_folder, refused, run_folder

from glassformer import views
from glassformer.ablation import Part, without
from glassformer.ask.run import load
from glassformer.errors import UsageError
from glassformer.look.measures.film import film_of
from glassformer.look.report import draw_report
from glassformer.model.attention.full import FullAttention
from glassformer.model.kinds.lstm import LSTM

WHY = "it mixes without comparing"
NO_WEIGHTS = LSTM.lacks["attention_weights"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mechanism that has no weights: the same numbers come out, and asking for weights is a fault."""

    for trained in (run_folder, generator_folder, answering_folder):  # as they are, with weights
        trained()

    def weights(self: Any, *args: Any) -> Any:
        raise NotImplementedError(WHY)

    monkeypatch.setattr(FullAttention, "no_weights", WHY)
    monkeypatch.setattr(FullAttention, "weights", weights)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model that has no attention at all."""
    folder = tmp_path_factory.mktemp("hidden")
    model = {"kind": "lstm"}
    recipe = tiny_recipe.recipe(tiny_recipe.text_file(folder), model=model, training={"steps": 1, "evaluate_every": 1})
    return tiny_recipe.train(recipe, folder / "run").path


def test_the_mask_page_says_why_and_shows_answers_and_heads(unseen, chromium, tmp_path):
    run = load(run_folder())
    view = views.mask(run, TEXT)
    assert view.arrays == {} and view.data["why"] == WHY
    shown = opened(chromium, view.save(tmp_path / "mask.html"))
    [said] = shown.texts("main > .warning")
    assert said.startswith(f"This model has no attention weights to be shown: {WHY}. Its answers are here")
    assert "look lens" in said and "ablate" in said
    assert shown.page.locator("canvas").count() == 0
    assert shown.texts(".token.blank") == ["[MASK]"]
    first = run.fill(TEXT).blanks[0].candidates[0]
    assert first.token in shown.texts(".bars")[0]
    switches = shown.page.locator(".switch")
    assert switches.count() == run.recipe.model.n_layers * run.recipe.model.n_heads
    switches.nth(1).click()
    with without(run.model, Part("encoder.blocks.0.self_attention", 1)):
        changed = run.fill(TEXT).blanks[0].candidates[0]
    assert changed.token in shown.texts(".bars")[0]
    assert changed.probability != first.probability
    shown.page.locator(".token").first.click()
    assert shown.complaints == []


@pytest.mark.parametrize("folder", [generator_folder, answering_folder])
def test_the_generation_page_shows_tokens_without_maps(folder, unseen, chromium, tmp_path):
    run = load(folder())
    view = views.generation(run, "Mars is", "called the red planet")
    assert view.arrays == {} and view.data["why"] == WHY
    shown = opened(chromium, view.save(tmp_path / "generation.html"))
    [said] = shown.texts("main > .warning")
    assert said.startswith(f"This model has no attention weights to be shown: {WHY}. Its answers are here")
    assert "look lens" in said and "ablate" in said
    shown.page.get_by_text("next token").click()
    assert shown.texts("main h2") == [f"Token 2 of {len(view.data['steps'])}: what could stand here?"]
    assert shown.page.locator("canvas.map, .labelled canvas").count() == 0
    assert shown.complaints == []
    with pytest.raises(UsageError, match=WHY):
        view.save(tmp_path / "generation.png")


def test_an_lstm_has_a_page_of_answers(hidden, chromium, tmp_path):
    view = views.mask(load(hidden), "sun [MASK]")
    shown = opened(chromium, view.save(tmp_path / "mask.html"))
    [said] = shown.texts("main > .warning")
    assert said.endswith(f"{NO_WEIGHTS}. Its answers are here.")
    assert (
        view.data["subtitle"].startswith("run: lstm;")
        and views.mask(load(hidden), "sun [MASK]", [99]).data["exact"] == []
    )
    assert shown.page.locator(".bars").count() == 1 and shown.page.locator(".switch").count() == 0
    assert shown.texts("main h2") == ["What stands at the blank?"]
    assert shown.complaints == []


@pytest.mark.parametrize(
    "words",
    [
        ("look", "heads", "RUN", TEXT),
        ("look", "attribution", "RUN", TEXT),
        ("look", "steps", "RUN", TEXT),
        ("look", "pronoun", "RUN", "the sun is big because it is hot"),
        ("attention", "RUN", TEXT),
        ("look", "mask", "RUN", TEXT),
    ],
)
def test_what_needs_weights_refuses_with_the_reason_and_names_what_there_is(words, unseen, tmp_path):
    words = [str(run_folder()) if word == "RUN" else word for word in words]
    said = refused(*words, "--output", tmp_path / "picture.png")
    assert f"this model has no attention weights: {WHY}" in said.splitlines()[0]
    for other in ("look mask", "look generation", "look lens", "ablate"):
        assert other in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("look", "heads"), ("look", "attribution"), ("look", "steps"), ("attention",)])
def test_of_an_lstm_too(words, hidden, tmp_path):
    said = refused(*words, hidden, "sun [MASK]", "--output", tmp_path / "picture.png")
    assert f"no attention weights: {NO_WEIGHTS}" in said.splitlines()[0]
    assert "look mask" in said and "ablate" in said


def test_what_needs_none_is_as_before(unseen, tmp_path):
    for words in (("look", "lens", run_folder(), TEXT), ("look", "shapes", run_folder(), TEXT)):
        assert command(*words, "--output", tmp_path / "view.html").code == 0
    found = command("look", "mask", run_folder(), TEXT, "--json").json
    assert found["why"] == WHY and "weights" not in found
    assert command("ablate", run_folder(), "--parts", "heads", "--json").code == 0


def test_such_a_model_is_trained_and_its_probes_have_no_maps(unseen, tmp_path):
    text = tiny_recipe.text_file(tmp_path)
    short = {"steps": 2, "evaluate_every": 2}
    run = tiny_recipe.train(tiny_recipe.recipe(text, training=short), tmp_path / "run")
    assert [picture.name for picture in draw_report(run)] == ["curves.png"]
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert lines and not any("attention_entropy" in line for line in lines)
    recipe = tiny_recipe.recipe(text, training=short | {"probes": ["sun [MASK]"]})
    probed = load(tiny_recipe.train(recipe, tmp_path / "probed").path)
    found = film_of(probed)  # its answers, and how much each part changes
    assert found.probes[0].attention == {} and found.probes[0].answers[-1][0].candidates
    assert np.isfinite(found.updates[1:]).all() and found.weights.all()
    with pytest.raises(UsageError, match=f"no attention weights: {WHY}"):
        views.film(probed)
