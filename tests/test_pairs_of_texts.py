"""A model of pairs of texts, trained through the one trainer, and everything that asks a run: from Python and from the
command line."""

import atexit
import functools
import itertools
import json
import math
import shutil
import tempfile
from pathlib import Path

import pytest
import tiny_recipe
from trained import command, refused

from glassformer.ask.run import Run, load
from glassformer.data.builtin import Cloze
from glassformer.look.report import draw_report
from glassformer.look.views.mask import make as mask_view
from glassformer.recipe import Recipe, parse
from glassformer.training.display import TerminalDisplay

A, B, OTHER = "a0 b0 c0 d0 e0", "a1 b1 c1 d1 e1", "a4 b4 c4 d4 e4"


def wanted(folder: Path, **sections: dict) -> Recipe:
    """Four documents of three sentences of five words."""
    text = tiny_recipe.text_file(folder, tiny_recipe.dozen())
    settings = {
        "objective": {"name": "next_sentence", "mask_rate": 0.25},
        "data": {"document": "auto", "document_start": "^a[0369] ", "validation": str(text), "test": str(text)},
        "model": {"d_model": 32, "n_heads": 4, "d_ff": 64, "dropout": 0.0},
        "batch": {"size": 8},
        "optimizer": {"learning_rate": 0.01},
        "training": {"steps": 600, "evaluate_every": 300, "checkpoint_every": 300},
    }
    tree = tiny_recipe.tree(text)
    for name, section in (settings | sections).items():
        tree[name] = tree.get(name, {}) | settings.get(name, {}) | section
    return parse(tree)


@functools.lru_cache
def run_of_pairs() -> Run:
    """One run for all tests that only look at it."""
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        return tiny_recipe.train(wanted(folder), folder / "runs" / "pairs")


def blanked_each(text: str) -> list[str]:
    """The text with each of its words hidden in turn."""
    words = text.split()
    return [" ".join([*words[:n], "[MASK]", *words[n + 1 :]]) for n in range(len(words))]


@pytest.mark.usefixtures("one_thread")
def test_it_says_what_follows_and_fills_the_blanks() -> None:
    """The words from their sentence; the second sentence of a document follows the first, no other does."""
    run = run_of_pairs()
    assert run.recipe.model.segments == 2
    [word] = run.fill("a5 b5 [MASK] d5 e5").blanks
    assert (word.position, word.candidates[0].token) == (3, "c5")
    word, pair = run.fill(f"{A} ||| a1 b1 c1 [MASK] e1").blanks
    assert (word.position, word.candidates[0].token) == (10, "d1")
    assert pair.position == 0 and pair.candidates[0].token == "follows" and pair.candidates[0].probability > 0.9
    [pair] = run.fill(f"{A} ||| {OTHER}").blanks
    assert pair.candidates[0].token == "does not follow" and pair.candidates[0].probability > 0.9
    assert sum(candidate.probability for candidate in pair.candidates) == pytest.approx(1)
    assert run.unknown_words(f"{A} ||| {B} qwertz") == ["qwertz"]
    for n, (place, blanked) in enumerate(zip(run.score(A).surprisal, blanked_each(A), strict=True)):
        [blank] = run.fill(blanked, top=100).blanks
        given = {candidate.token: candidate.probability for candidate in blank.candidates}
        assert place == pytest.approx(-math.log(given[A.split()[n]]), abs=1e-4)
    [answered] = run.cloze([Cloze("a5 b5 [MASK] d5 e5", "c5")])
    assert answered.right


def test_the_mask_page_shows_both_answers() -> None:
    """A blank and the pair, with and without each head; a text alone has its blank only."""
    run = run_of_pairs()
    for text in (f"{A} ||| a1 b1 c1 [MASK] e1", "a5 b5 [MASK] d5 e5"):
        expected = run.fill(text, top=2).blanks
        view = mask_view(run, text)
        said = view.data["blanks"]
        assert [blank["position"] for blank in said] == [blank.position for blank in expected]
        for blank, wanted_blank in zip(said, expected, strict=True):
            found = {c["token"]: c["probability"] for c in blank["candidates"]}
            for candidate in wanted_blank.candidates:
                assert found[candidate.token] == pytest.approx(candidate.probability, abs=1e-5)
        for without in (one for layer in view.data["without"] for one in layer):
            assert len(without) == len(said)
            for blank, whole in zip(without, said, strict=True):
                named = {c["token"]: c["probability"] for c in blank["candidates"]}
                first = whole["candidates"][0]["token"]
                assert blank["first"] == pytest.approx(named.get(first, blank["first"]), abs=1e-6)


def test_each_head_is_measured() -> None:
    """Loss and accuracy of both; of two classes no top-5 accuracy. The loss is the weighted sum."""
    said = command("evaluate", run_of_pairs().path, "--split", "test", "--json").json
    assert {key for key in said if key.startswith(("masked_lm/", "next_sentence/"))} == {
        "masked_lm/loss", "masked_lm/accuracy", "masked_lm/accuracy_interval", "masked_lm/top5_accuracy",
        "next_sentence/loss", "next_sentence/accuracy", "next_sentence/accuracy_interval",
        "next_sentence/macro_f1", "next_sentence/matthews_correlation",
    }  # fmt: skip
    assert {"split", "loss", "loss_interval", "count", "asked_in", "unknown"} <= set(said)
    assert said["loss"] == pytest.approx(said["masked_lm/loss"] + said["next_sentence/loss"])
    assert said["next_sentence/accuracy"] > 0.8


def test_a_run_tells_how_it_went(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Samples with the pair's answer, each text shown once; both accuracies on the evaluation's line and in the
    picture; a verdict and reference lines."""
    run = run_of_pairs()
    last = [record for record in run.metrics() if record["event"] == "evaluation"][-1]
    assert {"verdict", "references"} <= last.keys() and last["loss"] < last["references"]["unigram"]
    assert {"follows", "does not follow"} & {sample["true"] for sample in last["samples"]}
    text = (run.directory.samples / f"step-{last['step']:07d}.txt").read_text().splitlines()
    shown = next(line for line in text if line.startswith(">[CLS]<"))
    assert shown.count("[SEP]") == 2
    display = TerminalDisplay()
    display.evaluation(last)
    told = capsys.readouterr()
    assert "masked_lm " in told.out + told.err and "next_sentence " in told.out + told.err
    copy = load(shutil.copytree(run.path, tmp_path / "copy"))
    pictures = {picture.name for picture in draw_report(copy)}
    assert {"curves.png", "attention-0.png", "overlay-0.png"} <= pictures


def test_the_command_line(tmp_path: Path) -> None:
    """fill, attention, score, and what is refused."""
    path = run_of_pairs().path
    said = command("fill", path, f"{A} ||| {B}", "--json").json
    assert [c["token"] for c in said["blanks"][0]["candidates"]] == ["follows", "does not follow"]
    said = command("fill", path, f"{A} ||| {B}")
    assert said.out.splitlines()[1].startswith("  follows ") and said.err == ""
    picture = tmp_path / "a.png"
    asked = ("attention", path, f"{A} ||| a1 b1 [MASK] d1 e1", "--output", picture)
    assert command(*asked).code == 0 and command(*asked, "--view", "overlay").code == 0
    found = command("attention", path, f"{A} ||| {B}", "--json").json
    assert found["tokens"] == ["[CLS]", *A.split(), "[SEP]", *B.split(), "[SEP]"]
    assert "there is no blank" in refused("fill", path, A)
    assert "stands between two texts" in refused("fill", path, f"{A} ||| {B} ||| {A}")
    assert "two texts have no score" in refused("score", path, f"{A} ||| {B}")
    assert "does not generate" in refused("generate", path, A)


def test_a_recipe_before_training(tmp_path: Path) -> None:
    """Its preview shows the segments; the doctor examines it."""
    recipe = wanted(tmp_path, training={"steps": 4, "evaluate_every": 4, "checkpoint_every": 4})
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe.model_dump(mode="json")), encoding="utf-8")
    said = command("preview", file)
    assert said.out.count("segment 0:  [CLS]") == said.out.count("segment 1:") == 3
    assert command("preview", file, "--output", tmp_path / "a.svg").code == 0
    found = command("doctor", file, "--json").json
    assert found["data"]["texts"] == 4 and found["steps"] == 4


def test_a_model_without_segments_is_refused(tmp_path: Path) -> None:
    """Where the recipe leaves them open they are settled; a preset's own stay."""
    text = tiny_recipe.text_file(tmp_path, tiny_recipe.dozen())
    change = ("objective.name=next_sentence", "data.document_start=^a[0369] ")
    assert "next_sentence tells 2 segments apart, and model.segments=1" in refused(
        "preview", text, *change, "model.segments=1"
    )
    assert wanted(tmp_path, model={"preset": "bert"}).model.segments == 2
    assert wanted(tmp_path, objective={"name": "masked_lm"}).model.segments == 0


def test_a_text_of_ones_own(tmp_path: Path) -> None:
    """Without documents, and of single sentences, it is refused in two lines that name data.document; then it
    trains."""
    text = tiny_recipe.text_file(tmp_path, [f"{line} ." for line in tiny_recipe.sentences(60)])
    change = ("objective.name=next_sentence", "training.steps=2", "--run", tmp_path / "run")
    said = refused("train", text, *change, "data.document=file")
    assert "a pair objective on one document" in said and "data.document=blank_line" in said
    said = refused("train", text, *change, "model.max_length=64")
    assert "texts of one sentence each" in said and "data.document=blank_line" in said
    assert "is no regular expression" in refused("train", text, *change, "data.document_start=(")
    assert "is found in no line of" in refused("train", text, *change, "data.document_start=^qwertz")
    assert "data.language='English'" in refused("train", text, *change, "data.language=English")
    text.write_text("\n\n".join(f"{a.title()}. {b.title()}." for a, b in itertools.pairwise(tiny_recipe.sentences(60))))
    assert command("train", text, *change, "--json").code == 0
    assert load(tmp_path / "run").objective.config.model_dump()["name"] == "next_sentence"
