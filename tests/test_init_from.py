"""A run that begins with the weights of another one, or of a Hugging Face folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
import torch
from trained import command, refused

from glassformer import launch
from glassformer.ask.run import Run, load
from glassformer.data.batch import Example, Stream, collate, sequence_targets
from glassformer.errors import GlassformerError, UsageError
from glassformer.exchange import export_run
from glassformer.objectives import Prompt
from glassformer.run import RunDirectory
from glassformer.snapshot import read_snapshot
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.places import places
from glassformer.training.trainer import Quiet


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A trained run of BERT's parts."""
    folder = tmp_path_factory.mktemp("source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        recipe = tiny_recipe.recipe(tiny_recipe.text_file(folder), model={"preset": "bert"})
        return tiny_recipe.train(recipe, folder / "first")


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of other texts, which says little of its model."""
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(launch, "draw_report", lambda run: None)
    texts = [line + " pear" for line in tiny_recipe.sentences(60, seed=3)]
    tree = tiny_recipe.tree(tiny_recipe.text_file(tmp_path, texts, "other.txt"))
    del tree["model"]
    file = tmp_path / "other.yaml"
    file.write_text(json.dumps(tree))
    return file


def train(recipe: Path, run: Path, *changes: str, resume: bool = False, display=None) -> Run:
    return launch.train(str(recipe), list(changes), run=run, resume=resume, display=display or Quiet())


def test_model_tokenizer_and_weights_are_those_of_the_source(source: Run, other: Path, tmp_path: Path):
    """Before the first step every number is that of the source; it is said, and written down."""
    heard = tiny_recipe.Hearing()
    run = train(other, tmp_path / "run", f"init_from={source.path}", "training.steps=1", "optimizer.learning_rate=1e-9",
                "optimizer.weight_decay=0", display=heard)  # fmt: skip
    assert run.recipe.model == source.recipe.model and run.tokenizer.identity == source.tokenizer.identity
    assert run.recipe.tokenizer == source.recipe.tokenizer
    for (name, ours), theirs in zip(run.model.state_dict().items(), source.model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=0, msg=name)
    said = heard.said[[*heard.said].index(f"weights begin with those of {source.path}:") + 1 :]
    assert said[0].startswith("  taken ")
    written = run.directory.environment()["init_from"]
    assert len(written["taken"]) == len(run.model.state_dict()) and written["anew"] == written["left"] == []


def test_what_is_frozen_stays_to_the_bit_and_no_optimiser_holds_it(source: Run, other: Path, tmp_path: Path):
    frozen = ["encoder.blocks.0.*", "encoder.embeddings.*"]
    run = train(other, tmp_path / "run", f"init_from={source.path}", f"init_from.freeze={json.dumps(frozen)}")
    ours, theirs = run.model.state_dict(), source.model.state_dict()
    still = {name for name in ours if name.startswith(("encoder.blocks.0.", "encoder.embeddings."))}
    still |= {"heads.masked_lm.output.weight"}  # tied
    assert all(torch.equal(ours[name], theirs[name]) == (name in still) for name in ours)
    newest = checkpoint_steps(run.directory)[-1]
    held = read_snapshot(run.directory.checkpoints / f"step-{newest}").parts["optimizer"]
    held_names = {name.partition("/")[0] for name in held}
    assert held_names and held_names.isdisjoint(still) and "encoder.blocks.1.attention_norm.weight" in held_names


LABELS = ("small", "big")


@pytest.fixture
def labelled(tmp_path: Path, other: Path) -> Path:
    """A recipe of labelled texts, which says nothing of its model."""
    tree = json.loads(other.read_text())
    rows = [f"{line} {LABELS[n % 2]}\t{LABELS[n % 2]}" for n, line in enumerate(tiny_recipe.sentences(60, seed=7))]
    table = tmp_path / "labelled.tsv"
    table.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    tree |= {"data": {"train": str(table), "validation_share": 0.2}, "objective": {"name": "classification"}}
    file = tmp_path / "labelled.yaml"
    file.write_text(json.dumps(tree))
    return file


def test_a_label_task_begins_with_the_body_to_the_bit(source: Run, labelled: Path, tmp_path: Path):
    """Its hidden states before the first step are those of the masked model; its head is new, and both are said."""
    heard, before, prompts = tiny_recipe.Hearing(), [], ["the sun is red", "old moon"]

    def body(model, objective, text: str) -> torch.Tensor:
        with torch.inference_mode():
            return model.eval().hidden(collate([[objective.prompt(text).example]], objective.pad_id))["encoder"]

    def looked(self, *args) -> None:
        before.extend(body(self.engine.model, self.engine.objective, text) for text in prompts)
        raise GlassformerError("seen")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(GlassformerError, match="seen"):
        patch.setattr("glassformer.training.trainer.Trainer.fit", looked)
        train(labelled, tmp_path / "run", f"init_from={source.path}", "training.freeze=blocks:1", display=heard)
    for text, ours in zip(prompts, before, strict=True):
        assert torch.equal(ours, body(source.model, _AsALabelTaskReads(source), text))
    table = "\n".join(heard.said)
    for row in ("taken      encoder.blocks.0-1", "left       heads.masked_lm", "made anew  heads.label.output",
                "frozen     encoder.blocks.0"):  # fmt: skip
        assert row in table
    written = RunDirectory(tmp_path / "run").environment()
    assert written["frozen"] == written["init_from"]["frozen"] != []
    assert all(name.startswith("encoder.blocks.0.") for name in written["frozen"])
    assert {name.partition(".")[0] for name in written["init_from"]["anew"]} == {"heads"}


def test_stacks_are_those_that_the_objective_needs(source: Run, other: Path, labelled: Path, tmp_path: Path):
    """An encoder becomes that of an encoder-decoder; and of two stacks a label task takes the encoder."""
    two = train(other, tmp_path / "two", f"init_from={source.path}", "objective.name=denoising", "training.steps=1")
    assert two.recipe.model.family == "encoder_decoder"
    begun = two.directory.environment()["init_from"]
    assert any(name.startswith("encoder.blocks.1.") for name in begun["taken"])
    assert not any(name.startswith("decoder.blocks.") for name in begun["taken"])
    one = train(labelled, tmp_path / "one", f"init_from={two.path}", "training.steps=1")
    assert one.recipe.model.family == "encoder"
    begun = one.directory.environment()["init_from"]
    assert {name.partition(".")[0] for name in begun["taken"]} == {"encoder"}
    assert any(name.startswith("decoder.blocks.") for name in begun["left"])


class _AsALabelTaskReads:
    """[CLS] text [SEP], in the tokens of a run."""

    def __init__(self, run: Run) -> None:
        self.tokenizer, self.pad_id = run.tokenizer, run.tokenizer.pad_id

    def prompt(self, text: str) -> Prompt:
        ids = self.tokenizer.encode(text).ids
        stream = Stream(np.r_[self.tokenizer.cls_id, ids, self.tokenizer.sep_id].astype(np.int64))
        return Prompt(text, Example({"encoder": stream}, {"masked_lm": sequence_targets(stream, 0)}), [])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_frozen_parts_stay_to_the_bit_and_a_stopped_run_goes_on_to_the_bit(
    source: Run, labelled: Path, tmp_path: Path, optimizer: str
):
    """With a rate for each layer and one for the head: what is frozen does not move, the rest does."""
    begun = [f"init_from={source.path}", "training.freeze=[embeddings, blocks:1]", "training.layer_decay=0.7",
             "training.head_learning_rate=0.01", f"optimizer.name={optimizer}", "schedule.name=constant"]  # fmt: skip
    whole = train(labelled, tmp_path / "whole", *begun)
    ours, theirs = whole.model.state_dict(), source.model.state_dict()
    still = {n for n, place in places(whole.model).items() if place.height <= 1}
    assert still and all(torch.equal(ours[n], theirs[n]) == (n in still) for n in ours if n in theirs)
    train(labelled, tmp_path / "halves", *begun, "training.steps=6")
    again = train(labelled, tmp_path / "halves", *begun, "training.steps=12", resume=True)
    assert all(torch.equal(again.model.state_dict()[n], ours[n]) for n in ours)
    with pytest.raises(UsageError, match=r"training.layer_decay was 0.7"):
        train(labelled, tmp_path / "halves", "training.layer_decay=0.8", resume=True)


def test_a_stopped_run_goes_on_to_the_bit_without_its_source(source: Run, other: Path, tmp_path: Path):
    """And what is asked with --resume must agree with how it was begun."""
    gone = Path(shutil.copytree(source.path, tmp_path / "gone"))
    begun = [f"init_from={gone}", 'init_from.freeze=["encoder.blocks.0.*"]']
    whole = train(other, tmp_path / "whole", *begun)
    train(other, tmp_path / "halves", *begun, "training.steps=6", "schedule.name=constant")
    shutil.rmtree(gone)
    with pytest.raises(UsageError, match=r"init_from.run was .*gone.* when the run was begun"):
        train(other, tmp_path / "halves", f"init_from={source.path}", resume=True)
    with pytest.raises(UsageError, match="init_from"):
        train(other, tmp_path / "halves", 'init_from.freeze=["encoder.blocks.1.*"]', resume=True)
    again = train(other, tmp_path / "halves", *begun, "training.steps=12", resume=True)
    assert again.recipe.training.steps == whole.recipe.training.steps == 12
    assert torch.equal(
        again.model.encoder.blocks[0].attention_norm.weight, source.model.encoder.blocks[0].attention_norm.weight
    )


def test_its_own_tokenizer_matches_embeddings_by_token(source: Run, other: Path, tmp_path: Path):
    run = train(other, tmp_path / "run", f"init_from={source.path}", "init_from.tokenizer=own", "training.steps=1",
                "optimizer.learning_rate=1e-9", "optimizer.weight_decay=0")  # fmt: skip
    assert "pear" in run.tokenizer.vocabulary and "pear" not in source.tokenizer.vocabulary
    name = "encoder.embeddings.token.weight"
    found, of = run.directory.environment()["init_from"]["matched"][name]
    assert found == of - 1 == len(source.tokenizer.vocabulary)
    ours, theirs = run.model.state_dict()[name], source.model.state_dict()[name]
    for word in ("sun", "[MASK]", "small"):
        torch.testing.assert_close(ours[run.tokenizer.id(word)], theirs[source.tokenizer.id(word)], atol=1e-7, rtol=0)


def test_a_recipe_may_say_it(source: Run, other: Path, tmp_path: Path):
    """Beside keys of its model, which win where they only add."""
    tree = json.loads(other.read_text()) | {"init_from": str(source.path), "model": {"n_layers": 3, "max_length": 19}}
    other.write_text(json.dumps(tree))
    run = train(other, tmp_path / "run", "training.steps=1")
    assert (run.recipe.model.n_layers, run.recipe.model.preset, run.recipe.model.d_model) == (3, "bert", 12)
    written = run.directory.environment()["init_from"]
    assert written["resized"] == {"encoder.positions.table.weight": [16, 19]}
    assert all(name.startswith("encoder.blocks.2.") for name in written["anew"])
    assert run.recipe.init_from is not None and run.recipe.init_from.run == str(source.path)


def test_a_folder_of_hugging_face_is_a_source(source: Run, other: Path, tmp_path: Path):
    folder = export_run(source, tmp_path / "folder")
    changes = ["training.steps=1", "optimizer.learning_rate=1e-9", "optimizer.weight_decay=0"]
    run = train(other, tmp_path / "run", f"init_from={folder}", *changes)
    assert run.tokenizer.vocabulary == source.tokenizer.vocabulary
    for (name, ours), theirs in zip(run.model.state_dict().items(), source.model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["init_from=nowhere"], "init_from: nowhere is no run: there is no such folder"),
        (["init_from=RUN", "tokenizer.vocab_size=30"], "is asked for, and the tokenizer is that of"),
        (["init_from=RUN", "init_from.tokenizer=mine"], "init_from.tokenizer"),
        (["init_from=RUN", "init_from.takes=x"], "init_from.takes"),
        (["init_from=RUN", "model.d_ff=21"], "20 x 12 in .*first, and 21 x 12 here\n.*note: model.d_ff is 20 there"),
        (["init_from=RUN", "init_from.take=encodr.*"], "no tensor is called 'encodr.*'"),
        (["init_from=RUN", "init_from.freeze=encodr.*"], "no tensor is called 'encodr.*'"),
        (["init_from=RUN", "init_from.freeze=*"], "leaves nothing to learn"),
        (["init_from=RUN", "training.freeze=encodr.*"], "training.freeze: no tensor is called 'encodr.*'"),
        (["init_from=RUN", "training.freeze=blocks:9"], "'blocks:9', and this model has 2 blocks"),
        (["training.layer_decay=1.5"], "training.layer_decay=1.5"),
        (["init_from.freeze=*"], "init_from.run"),
    ],
)
def test_what_cannot_begin_is_a_line(source: Run, other: Path, tmp_path: Path, changes: list[str], said: str):
    changes = [change.replace("RUN", str(source.path)) for change in changes]
    with pytest.raises(GlassformerError, match=said) as error:
        train(other, tmp_path / "run", *changes)
    assert "\n" not in error.value.what and not (tmp_path / "run" / "recipe.yaml").exists()


def test_a_damaged_source_is_a_line(source: Run, other: Path, tmp_path: Path):
    for name in ("tokenizer.json", "recipe.yaml", "best", "none"):
        copied = Path(shutil.copytree(source.path, tmp_path / f"copy-{name}"))
        if name == "best":
            for folder in (copied / "best", copied / "last", *(copied / "checkpoints").iterdir()):
                (folder / "model.safetensors").write_bytes(b"none")
        elif name == "none":
            for folder in ("best", "last", "checkpoints"):
                shutil.rmtree(copied / folder)
        else:
            (copied / name).write_text("{")
        with pytest.raises(GlassformerError) as error:
            train(other, tmp_path / "run", f"init_from={copied}")
        assert "\n" not in error.value.what and str(copied) in error.value.what
        assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_a_text_of_ones_own_begins_with_a_run(source: Run, other: Path, tmp_path: Path):
    text = tiny_recipe.text_file(tmp_path, tiny_recipe.sentences(200, seed=5), "mine.txt")
    asked = [f"init_from={source.path}", "training.steps=1", "training.device=cpu", "training.precision=32-true"]
    run = train(text, tmp_path / "run", *asked)
    assert run.recipe.model == source.recipe.model and run.tokenizer.identity == source.tokenizer.identity


def test_the_commands_know_it(source: Run, other: Path, tmp_path: Path):
    assert command("preview", str(other), f"init_from={source.path}", "--json").code == 0
    assert "is no run" in refused("preview", str(other), "init_from=nowhere")
    assert "init_from.freeze" in command("recipes", "mlm-demo").out


def test_a_run_without_it_is_as_before(source: Run):
    assert source.recipe.init_from is None and "init_from" not in source.directory.environment()
    assert load(source.path).recipe.init_from is None
    assert isinstance(source.directory, RunDirectory)
