"""Training from start to end on a person's own text, and what a run is given to start with."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_recipe import Hearing, dozen, recipe, records, sentences, text_file, tokenizer_of, train

import glassformer as gf
from glassformer import launch
from glassformer.assemble import assemble
from glassformer.baselines.unigram import discounted
from glassformer.build import validation_set
from glassformer.data.corpus import Corpus
from glassformer.errors import GlassformerError, UsageError
from glassformer.launch import data_identity, free_folder, reference_lines
from glassformer.recipe import to_yaml
from glassformer.training import measure
from glassformer.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_persons_own_text_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train my.txt`: everything is chosen from the data and said, the run is whole, and it answers."""
    monkeypatch.chdir(tmp_path)
    text_file(tmp_path, sentences(120), "my.txt")
    hearing = Hearing()
    changes = ["training.steps=6", "model.d_model=12", "model.n_heads=3", "model.d_ff=20", "training.threads=1"]
    run = gf.train("my.txt", changes, display=hearing)
    assert run.path == Path("runs/my")
    said = "\n".join(hearing.said)
    assert all(
        word in said for word in ("120 texts", "word tokenizer", "layers of width", "every choice can be changed")
    )
    for name in ("recipe.yaml", "tokenizer.json", "metrics.jsonl", "environment.json", "last"):
        assert (run.path / name).exists(), name
    assert list((run.path / "plots").iterdir())
    assert records(run.path, "train")[-1]["step"] == 6
    [blank] = run.fill("the sun [MASK] red").blanks
    assert sum(candidate.probability for candidate in blank.candidates) <= 1
    assert "seconds_per_step" in json.loads((run.path / "environment.json").read_text())["measured"]


def test_a_text_may_be_named_by_its_key_alone(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data.train=my.txt` in the place of the recipe, or behind other changes that stand there, is the text."""
    small = ["training.steps=1", "model.d_model=12", "model.n_heads=3", "model.d_ff=20"]
    for place, changes in ((f"data.train={text}", small), (small[0], [*small[1:], f"data.train={text}"])):
        name, found = launch.find_recipe(place, changes, lambda line: None)
        assert (name, found) == launch.find_recipe(str(text), small, lambda line: None)
    with pytest.raises(UsageError, match="no recipe is named before it"):
        launch.find_recipe("training.steps=1", small, lambda line: None)
    with pytest.raises(UsageError, match=r"training.steps and training.minutes are both given"):
        launch.find_recipe(str(text), [*small, "training.minutes=1"], lambda line: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.train=odd.txt").write_text(text.read_text())  # a file is a file, whatever it is called
    assert launch.find_recipe("data.train=odd.txt", small, lambda line: None)[1].data.train == "data.train=odd.txt"


def test_what_is_settled_is_written_before_the_first_step(text: Path, tmp_path: Path) -> None:
    """Recipe, environment and tokenizer are on the disk when training begins, without an `auto`."""
    seen: list[dict[str, Any]] = []

    def look(self: Trainer) -> None:
        seen.append(yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text()))
        assert (tmp_path / "run" / "tokenizer.json").is_file()
        assert {"measured", "data", "versions"} <= self.run.environment().keys()

    wanted = recipe(text, training={"precision": "auto", "threads": "auto", "compile": "auto", "log_every": None})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", look)
        train(wanted, tmp_path / "run")
    [resolved] = seen
    assert "auto" not in resolved["training"].values()
    assert resolved["training"]["log_every"] == 1


def test_a_measured_choice_starts_from_the_same_weights(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Precision and length by measurement, or both said: the weights before the first step are the same to the bit."""
    monkeypatch.setattr(measure, "TINY_STEP", 0.0)
    starts: list[dict[str, torch.Tensor]] = []

    def look(self: Trainer) -> None:
        starts.append({name: value.clone() for name, value in self.engine.model.state_dict().items()})

    monkeypatch.setattr(Trainer, "fit", look)
    train(recipe(text), tmp_path / "fixed")
    train(recipe(text, training={"steps": None, "minutes": 0.001, "precision": "auto"}), tmp_path / "measured")
    train(recipe(text).model_copy(update={"seed": 2}), tmp_path / "other")
    fixed, measured, other = starts
    assert "seconds_per_step" in json.loads((tmp_path / "measured" / "environment.json").read_text())["measured"]
    assert all(torch.equal(fixed[name], measured[name]) for name in fixed)
    assert any(not torch.equal(fixed[name], other[name]) for name in fixed)


def test_the_same_recipe_gives_the_same_run(text: Path, tmp_path: Path) -> None:
    """Losses to the last digit, and other ones for another seed."""

    def losses(seed: int, name: str) -> list[float]:
        run = train(recipe(text).model_copy(update={"seed": seed}), tmp_path / name)
        return [record["loss"] for record in run.metrics()]

    assert losses(1, "a") == losses(1, "b") != losses(2, "c")


def test_a_folder_that_is_taken_is_an_error(text: Path, tmp_path: Path) -> None:
    """Nothing in it is touched; --resume is named."""
    run = train(recipe(text), tmp_path / "run").path
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with pytest.raises(UsageError, match="holds a run already") as raised:
        train(recipe(text), run)
    assert "--resume" in raised.value.mend
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="is not empty"):
        train(recipe(text), tmp_path / "mine")


def test_without_a_folder_the_next_free_name_is_taken(tmp_path: Path) -> None:
    """runs/NAME, runs/NAME-2, runs/NAME-3."""
    names = []
    for _ in range(3):
        names.append(free_folder(tmp_path, "mlm-demo"))
        names[-1].mkdir()
    assert [path.name for path in names] == ["mlm-demo", "mlm-demo-2", "mlm-demo-3"]


def test_a_start_that_fails_leaves_no_folder(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text too short for a batch: the name stays free for the next attempt."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(to_yaml(recipe(text, batch={"size": 500})))
    with pytest.raises(UsageError, match="too short for one batch"):
        launch.train("mine.yaml")
    assert not (tmp_path / "runs" / "mine").exists()


def test_a_recipe_is_needed(tmp_path: Path) -> None:
    """Without one, the way to the list is named."""
    with pytest.raises(UsageError, match="which recipe") as raised:
        launch.train(run=tmp_path / "run")
    assert "glassformer recipes" in raised.value.mend


def test_the_identity_of_data(text: Path, tmp_path: Path) -> None:
    """The same for the same texts; another for another word, another order or another split. Stored as JSON, it is
    equal to itself."""

    def identity(texts: list[str], seed: int = 1) -> dict[str, Any]:
        file = text_file(tmp_path, texts, "data.txt")
        return data_identity(assemble(recipe(file).model_copy(update={"seed": seed})))

    first = identity(dozen() * 3)
    assert identity(dozen() * 3) == first == json.loads(json.dumps(first))
    assert identity([*dozen() * 3, "a0 a1"]) != first
    assert identity((dozen() * 3)[::-1]) != first
    assert identity(dozen() * 3, seed=2) != first
    swapped = dozen() * 3
    swapped[0] = swapped[0].replace("a0 b0", "b0 a0")
    assert identity(swapped) != first
    tokenizer = tokenizer_of(dozen())
    cut, whole = (Corpus.from_texts(texts, tokenizer) for texts in (dozen(), [" ".join(dozen())]))
    assert cut.tokens.tolist() == whole.tokens.tolist() and cut.identity != whole.identity


def test_whatever_fails_before_the_first_step_leaves_the_name_free(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard that is not installed, texts in which nothing can be asked, a full disk: no folder is left."""
    run = tmp_path / "runs" / "mine"

    def missing(run: Any) -> Any:
        raise UsageError("TensorBoard is not installed")

    with monkeypatch.context() as patch, pytest.raises(UsageError, match="TensorBoard"):
        patch.setattr(launch, "TensorBoard", missing)
        train(recipe(text, training={"tensorboard": True}), run)
    assert not run.exists()
    unknown = text_file(tmp_path, ["nobody knows this"], "unknown.txt")
    with pytest.raises(UsageError, match="nothing can be asked"):
        train(recipe(text, data={"validation": str(unknown)}), run)
    assert not run.exists()

    def full(file: Any, content: str) -> None:
        raise GlassformerError("the disk is full")

    with monkeypatch.context() as patch, pytest.raises(GlassformerError, match="full"):
        patch.setattr(launch, "write_text_durably", full)
        train(recipe(text), run)
    assert not run.exists()
    train(recipe(text), run)


def test_a_kill_just_before_the_recipe_is_written_leaves_the_name_free(text: Path, tmp_path: Path) -> None:
    """Tokenizer and environment are there, the recipe is not: another start takes the folder; with any other file in
    it, none does."""
    run = tmp_path / "run"
    train(recipe(text), run)
    for name in ("checkpoints", "best", "last", "samples"):
        shutil.rmtree(run / name)
    (run / "metrics.jsonl").unlink()
    (run / "recipe.yaml").unlink()
    (run / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        train(recipe(text), run)
    (run / "notes.txt").unlink()
    (run / ".tmp-recipe.yaml-123").write_text("seed:")
    (run / "tokenizer.json.123.part").write_text("{")
    train(recipe(text), run)


def test_a_folder_with_a_person_s_own_tokenizer_is_not_taken(text: Path, tmp_path: Path) -> None:
    """Only what a start of ours has left may be written over."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match="not empty"):
        train(recipe(text), run)
    assert (run / "tokenizer.json").read_text() == "{}"


def test_the_reference_lines(text: Path) -> None:
    """ln V for a model that knows nothing; for one that has counted, the mean of -ln of the counted shares, by hand."""
    parts = assemble(recipe(text))
    questions = validation_set(parts.recipe, parts)
    lines = reference_lines(questions, parts)
    vocab_size = parts.tokenizer.vocab_size
    assert lines["uniform"] == pytest.approx(np.log(vocab_size), rel=1e-6)
    counts = parts.objective.target_counts(parts.train_dataset, parts.recipe.seed)["masked_lm"]
    targets = torch.cat([batch.targets["masked_lm"].values for batch in questions])
    expected = -discounted(counts).log()[targets].mean()
    assert lines["unigram"] == pytest.approx(float(expected), rel=1e-5)
    assert lines["unigram"] < lines["uniform"]


def test_tensorboard_gets_every_number(text: Path, tmp_path: Path) -> None:
    """As an option; without the extra, a clear error."""
    pytest.importorskip("tensorboard")
    run = train(recipe(text, training={"tensorboard": True, "steps": 2}), tmp_path / "run").path
    assert list((run / "tensorboard").iterdir())
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError, match="TensorBoard is not installed"):
        patch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
        train(recipe(text, training={"tensorboard": True, "steps": 2}), tmp_path / "other")
