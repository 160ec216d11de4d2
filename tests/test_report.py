"""Attention as pictures and as numbers, curves compared, a run described."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_recipe
from matplotlib.figure import Figure
from trained import TEXT, command, copy_of_run, refused, run_folder

from glassformer.ask.run import Run, load
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import GlassformerError, UsageError
from glassformer.look import report
from glassformer.look.measures.attention import chosen
from glassformer.look.measures.words import as_token
from glassformer.look.pictures import overlay as overlays
from glassformer.look.pictures.figures import save
from glassformer.look.pictures.overlay import overlay_of
from glassformer.model.size import count_parameters

STARTS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}


@pytest.fixture(scope="module")
def run() -> Run:
    return load(run_folder())


# --------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("view", ["heatmap", "overlay"])
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_pictures_are_what_their_names_say(run: Run, tmp_path: Path, suffix: str, view: Any) -> None:
    output = tmp_path / "new folder" / f"a{suffix}"
    report.draw_attention(run, TEXT, output, layer=1, head=2, view=view)
    assert output.read_bytes().startswith(STARTS[suffix.lower()])


def test_a_text_without_a_blank_is_a_heatmap_and_no_overlay(run: Run, tmp_path: Path) -> None:
    report.draw_attention(run, "Mars is red", tmp_path / "a.svg", layer=0, head="mean")
    assert (tmp_path / "a.svg").is_file()
    with pytest.raises(UsageError, match=r"the text has none\nwrite \[MASK\]"):
        report.draw_attention(run, "Mars is red", tmp_path / "b.svg", view="overlay")


@pytest.mark.parametrize(
    ("kind", "lowercase", "typed", "token"),
    [
        ("word", True, "Red", "red"),
        ("word", False, "Red", "Red"),
        ("wordpiece", False, "red", "red"),
        ("bpe", False, "red", "▁red"),
        ("word", True, "two words", "two words"),
    ],
)
def test_the_right_word_is_compared_as_the_vocabulary_writes_it(
    kind: Any, lowercase: bool, typed: str, token: str
) -> None:
    """Otherwise `red` would be wrong beside `▁red`, and `Red` beside `red`."""
    texts = ["Red is the colour of the red planet", "two words, two red words"] * 20
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind=kind, vocab_size=330, lowercase=lowercase))
    assert as_token(tokenizer, typed) == token


def test_the_overlay_shows_the_blank_that_was_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its query's attention, the mean of the chosen layers and heads; its candidates; the truth that was given."""
    drawn: list[Any] = []

    def draw(*arguments: Any, whose: str) -> Figure:
        assert whose == "mean of 1 layer × 3 heads"
        drawn.append(arguments)
        return Figure()

    monkeypatch.setattr(overlays, "overlay", draw)
    seen = run.attention("The [MASK] is called the [MASK]")
    for blank, position in ((0, 2), (1, 6)):
        overlay_of(chosen(seen, 1, "all"), "sun", blank)
        tokens, masked, attention, candidates, true = drawn.pop()
        assert (tokens, masked, true) == (seen.tokens, position, "sun")
        assert attention == pytest.approx(seen.weights[1].mean(0)[position])
        assert candidates == [(c.token, c.probability) for c in seen.filled.blanks[blank].candidates]
        assert len(candidates) == 5


@pytest.mark.parametrize("first", ["masked_lm", "permutation_lm"])
def test_of_a_mixture_the_member_that_reads_the_text_says_where_blanks_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """One rings the place that it asks, the other asks behind the text, and has no ring and no overlay."""
    other = {"masked_lm": "permutation_lm", "permutation_lm": "masked_lm"}[first]
    members = [{"objective": {"name": name}} for name in (first, other)]
    steps = {"steps": 2, "evaluate_every": 2, "checkpoint_every": 2}
    text = tiny_recipe.text_file(tmp_path)
    wanted = tiny_recipe.recipe(text, objective={"name": "mixture", "members": members}, training=steps)
    run = tiny_recipe.train(wanted, tmp_path / "run")
    ringed: list[Any] = []

    def draw(*_: Any, marked: Any, **__: Any) -> Figure:
        ringed.append(marked)
        return Figure()

    monkeypatch.setattr(report, "heatmap", draw)
    report.draw_attention(run, "sun [MASK]", tmp_path / "a.svg")
    assert ringed == [[2] if first == "masked_lm" else []]
    if first == "masked_lm":
        report.draw_attention(run, "sun [MASK]", tmp_path / "b.svg", view="overlay")
    else:
        with pytest.raises(UsageError, match="this model has none there"):
            report.draw_attention(run, "sun [MASK]", tmp_path / "b.svg", view="overlay")


@pytest.mark.parametrize(("blank", "shown"), [(2, 3), (-1, 0)])
def test_a_blank_that_is_not_there(run: Run, tmp_path: Path, blank: int, shown: int) -> None:
    with pytest.raises(UsageError, match=rf"there is no blank {shown}\nthe text has 1, counted from 1"):
        report.draw_attention(run, TEXT, tmp_path / "a.png", view="overlay", blank=blank)


# ---------------------------------------------------------------------------------------------------- numbers

CHOICES = [
    (None, "all", (slice(None), slice(None)), (2, 3)),
    (1, "all", (slice(1, 2), slice(None)), (1, 3)),
    (None, 2, (slice(None), slice(2, 3)), (2, 1)),
    (0, 1, (slice(0, 1), slice(1, 2)), (1, 1)),
]


@pytest.mark.parametrize(("layer", "head", "where", "shape"), CHOICES)
def test_numbers_are_those_of_the_run(
    run: Run, tmp_path: Path, layer: int | None, head: Any, where: Any, shape: tuple[int, int]
) -> None:
    seen = run.attention(TEXT)
    for name in ("a.json", "a.npz"):
        report.draw_attention(run, TEXT, tmp_path / name, layer, head)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"weights", "tokens", "keys"}
        assert arrays["weights"].shape == (*shape, 8, 8)
        assert np.array_equal(arrays["weights"], seen.weights[where])
        assert arrays["tokens"].tolist() == seen.tokens
    record = json.loads((tmp_path / "a.json").read_text())
    assert np.array(record["weights"]) == pytest.approx(seen.weights[where], abs=1e-6)
    assert np.array(record["weights"]).sum(-1) == pytest.approx(1, abs=1e-5)
    assert record["tokens"] == record["keys"] == seen.tokens
    assert (record["layer"], record["head"]) == (layer, head)
    assert record["blanks"] == run.fill(TEXT).record()["blanks"]


def test_the_mean_of_the_heads(run: Run, tmp_path: Path) -> None:
    report.draw_attention(run, "Mars is red", tmp_path / "a.json", 1, "mean")
    record = json.loads((tmp_path / "a.json").read_text())
    expected = run.attention("Mars is red").weights[1].mean(0)
    assert np.array(record["weights"]) == pytest.approx(expected[None, None], abs=1e-6)
    assert record["blanks"] == []


def test_the_written_numbers_are_short(run: Run, tmp_path: Path) -> None:
    """Six decimals, not the seventeen of a rounded float32."""
    report.draw_attention(run, TEXT, tmp_path / "a.json")
    numbers = (tmp_path / "a.json").read_text().partition('"weights"')[2].partition('"blanks"')[0]
    assert max(map(len, numbers.replace("[", " ").replace("]", " ").replace(",", " ").split())) <= 8


@pytest.mark.parametrize(
    ("layer", "head", "match"),
    [
        (2, "all", r"no layer 2\nthis model has layers 0 to 1"),
        (-1, "all", r"no layer -1\nthis model has layers 0 to 1"),
        (0, 3, r"no head 3\nthis model has heads 0 to 2"),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "a.json"])
def test_a_layer_or_head_that_is_not_there(
    run: Run, tmp_path: Path, name: str, layer: int | None, head: Any, match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        report.draw_attention(run, TEXT, tmp_path / name, layer, head)
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize("name", ["a.gif", "a", "a.json.gz", ".json"])
def test_an_unknown_format_is_said_before_anything_is_computed(
    run: Run, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Run, "attention")
    with pytest.raises(UsageError, match=r"picture ends in \.png, \.svg, \.pdf; the numbers end in \.json, \.npz"):
        report.draw_attention(run, TEXT, tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.json", "a.npz"])
def test_a_file_that_cannot_be_written(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GlassformerError, match=r"cannot write .*file") as error:
        report.draw_attention(run, TEXT, tmp_path / "file" / name)
    assert error.value.exit_code == 1


def test_the_truth_is_for_the_overlay(tmp_path: Path) -> None:
    assert "--view overlay" in refused("attention", run_folder(), TEXT, "--true", "red", "--output", tmp_path / "a.png")


# ----------------------------------------------------------------------------------- reports, compared, described


def test_every_finished_run_gets_its_pictures(tmp_path: Path) -> None:
    run = load(copy_of_run(tmp_path))
    pictures = report.draw_report(run)
    assert run.directory.plots / "curves.png" in pictures
    assert {p.name.partition("-")[0] for p in pictures} == {"curves.png", "attention", "overlay"}
    assert all(p.read_bytes().startswith(STARTS[".png"]) for p in pictures)


def test_sample_prompts_are_validation_texts_that_the_training_did_not_see(run: Run) -> None:
    for prompt in report.sample_prompts(run, 3):
        assert len(prompt.tokens) <= report.LONGEST
        [targets] = prompt.example.targets.values()
        assert len(targets.positions) >= 1


def test_compare_draws_and_lists_both(tmp_path: Path) -> None:
    other = copy_of_run(tmp_path, "other")
    rows = report.compare_runs([load(run_folder()), load(other)], tmp_path / "c.svg")
    assert [row["run"] for row in rows] == ["tiny", "other"]
    assert rows[0]["best_loss"] == rows[1]["best_loss"] == pytest.approx(load(other).evaluate()["loss"], abs=1e-5)
    assert (tmp_path / "c.svg").read_bytes().startswith(b"<?xml")


def test_compare_tells_runs_of_one_name_apart_and_refuses_one_given_twice(tmp_path: Path) -> None:
    other = copy_of_run(tmp_path, "tiny")
    rows = report.compare_runs([load(run_folder()), load(other)], tmp_path / "c.png")
    assert [row["run"] for row in rows] == [str(run_folder()), str(other)]
    with pytest.raises(UsageError, match="given twice"):
        report.compare_runs([load(other), load(other)], tmp_path / "d.png")


def test_describe(run: Run) -> None:
    found = report.describe_run(run)
    assert found["parameters"] == count_parameters(run.model)
    assert found["vocabulary"] == run.tokenizer.vocab_size
    assert found["checkpoints"] == ["step-12", "step-24"]
    assert found["results"]["best_loss"] == pytest.approx(run.evaluate()["loss"], abs=1e-5)
    assert found["model"]["d_model"] == 12


def test_a_run_without_weights_can_still_be_described(tmp_path: Path) -> None:
    folder = copy_of_run(tmp_path)
    for part in ("best", "last", "checkpoints"):
        shutil.rmtree(folder / part)
    (folder / "metrics.jsonl").write_text("")
    said = command("info", folder, "--json")
    assert said.code == 0
    assert said.json["checkpoints"] == []
    assert said.json["results"]["best_loss"] is None


def test_save_gives_back_the_path(run: Run, tmp_path: Path) -> None:
    assert save(overlay_of(run.attention(TEXT)), tmp_path / "a.png") == tmp_path / "a.png"
