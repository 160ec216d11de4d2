"""The grid of a label curve: its rows, what it says, that it goes on where it stopped; and --pretrain-first."""

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import tiny_recipe
from hypothesis import given
from hypothesis import strategies as st
from trained import command, refused

from glassformer import curve, launch
from glassformer.ask.run import load
from glassformer.assemble import assemble
from glassformer.data.splitting import nested_draw
from glassformer.errors import UsageError
from glassformer.look.pictures.label_curve import Point
from glassformer.pretrain import first_stage, parted, train_in_two_stages
from glassformer.recipe import parse
from glassformer.training.trainer import Interrupted, Trainer

WORDS = {"good": ("sun", "red", "warm"), "bad": ("moon", "blue", "cold")}


# ----------------------------------------------------------------------------------------------- a draw of the rows


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(0, 9))
def test_fewer_rows_are_among_more_and_every_label_is_there_early(labels: list[str], seed: int):
    drawn = [nested_draw(labels, number, seed) for number in range(1, len(labels) + 1)]
    assert all(len(rows) == number for number, rows in enumerate(drawn, start=1))
    assert all(fewer < more for fewer, more in itertools.pairwise(drawn))
    different = len(set(labels))
    assert len({labels[place] for place in drawn[different - 1]}) == different
    for rows in drawn[different - 1 :]:
        for label, times in Counter(labels).items():
            found = sum(labels[place] == label for place in rows)
            assert abs(found - times * len(rows) / len(labels)) <= different


def test_another_seed_draws_other_rows_and_too_many_are_refused():
    labels = ["good", "bad"] * 50
    assert nested_draw(labels, 8, 1) == nested_draw(labels, 8, 1) != nested_draw(labels, 8, 2)
    with pytest.raises(UsageError, match=r"data.train_rows=101, and there are 100 training rows"):
        nested_draw(labels, 101, 1)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of labelled texts, a third of them bad."""
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(launch, "draw_report", lambda run: None)
    rows = [("bad" if n % 3 == 0 else "good", n) for n in range(60)]
    lines = [f"the {WORDS[label][n % 2]} star is {WORDS[label][2]} {n}\t{label}" for label, n in rows]
    (tmp_path / "rows.tsv").write_text("text\tlabel\n" + "\n".join(lines) + "\n")
    tree = tiny_recipe.tree(tmp_path / "rows.tsv", optimizer={"learning_rate": 0.02}, training={"steps": 20})
    tree["data"] = {"train": str(tmp_path / "rows.tsv"), "validation_share": 0.3}
    tree["objective"] = {"name": "classification"}
    made = tmp_path / "task.yaml"
    made.write_text(json.dumps(tree))
    return made


def test_only_the_drawn_rows_are_learned_from_and_the_rest_stays_as_it_was(file: Path):
    tree = json.loads(file.read_text())
    whole = assemble(parse(tree))
    tree["data"] |= {"train_rows": 9, "rows_seed": 3}
    few = assemble(parse(tree))
    assert few.train.n_rows == few.train.beside["label"].n_rows == 9
    assert few.validation.identity == whole.validation.identity
    assert few.tokenizer.identity == whole.tokenizer.identity and few.codecs.label.names == whole.codecs.label.names
    texts = {whole.tokenizer.decode(whole.train.document(n)): whole.train.beside["label"].values[n]
             for n in range(whole.train.n_rows)}  # fmt: skip
    for n in range(9):
        assert texts[few.tokenizer.decode(few.train.document(n))] == few.train.beside["label"].values[n]
    tree["data"]["train_rows"] = 1000
    with pytest.raises(UsageError, match=r"data\.train_rows=1000, and there are"):
        assemble(parse(tree))


def test_a_curve_goes_on_where_it_stopped_and_says_what_it_found(file: Path, tmp_path: Path, monkeypatch):
    """Cells that are done are not trained again; more seeds are added to what is there."""
    folder, trained = tmp_path / "curve", []
    kept = curve._trained

    def counted(grid, wanted, cell, folder, first):
        trained.append(cell)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return kept(grid, wanted, cell, folder, first)

    monkeypatch.setattr(curve, "_trained", counted)
    grid = curve.Grid(str(file), ["training.steps=12"], [4, None], ["none"], 2)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        curve.curve(grid, folder, said.append)
    found = curve.curve(grid, folder, said.append)
    assert len(found["cells"]) == 4 and len(trained) == 5  # the third was begun twice
    assert {(c["labels"], c["seed"]) for c in found["cells"]} == set(
        itertools.product((4, found["cells"][-1]["labels"]), (1, 2))
    )
    assert "; 2 are done" in "".join(said) and "to go, about" in "".join(said)
    assert (folder / "curve.png").stat().st_size > 10_000
    assert json.loads((folder / "curve.json").read_text()) == found
    page = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)", page.split("## curve\n")[1].split("\n## ")[0], re.MULTILINE)
    assert documented == list(found)
    first = load(folder / "none" / "4-labels" / "seed-1")
    assert first.recipe.data.train_rows == 4 and first.recipe.batch.size == 4
    assert first.evaluate(found["split"], baselines=False)["accuracy"] == found["cells"][0]["score"]
    more = curve.curve(grid._replace(seeds=3), folder, said.append)
    assert len(more["cells"]) == 6 and len(trained) == 7
    with pytest.raises(UsageError, match="holds the curve of another recipe or of other changes"):
        curve.curve(grid._replace(changes=[]), folder, said.append)


def cells_of(scores: dict[str, dict[int, list[float]]]) -> list[dict]:
    return [
        {"start": start, "labels": labels, "seed": seed, "score": score, "lines": {}}
        for start, by_labels in scores.items()
        for labels, of_seeds in by_labels.items()
        for seed, score in enumerate(of_seeds, start=1)
    ]


def test_what_labels_are_worth_is_read_off_the_line_without_pre_training():
    none = {8: [0.5, 0.51], 128: [0.6, 0.61], 512: [0.8, 0.81]}
    line = curve.lines_of(cells_of({"none": none}))["none"]
    assert curve.worth(0.605, line) == (pytest.approx(128), "about 128")
    assert curve.worth(0.705, line) == (pytest.approx(256), "about 256")
    assert curve.worth(0.4, line)[1] == "fewer than 8" and curve.worth(0.9, line) == (None, "more than 512")
    uneven = [Point(8, 0.6), Point(32, 0.5), Point(128, 0.7)]
    assert curve.worth(0.65, uneven)[0] == pytest.approx(64)
    better = {128: [0.7, 0.71]}
    [sentence] = curve.sentences(cells_of({"none": none, "runs/my": better}))
    assert sentence.startswith("128 labels with pre-training (runs/my) are worth about 256 without: +0.100")
    [unsure] = curve.sentences(cells_of({"none": none, "runs/my": {128: [0.5, 0.75]}}))
    assert "cannot be told from 128 without" in unsure
    [one] = curve.sentences(cells_of({"none": {8: [0.5]}, "x": {8: [0.6]}}))
    assert "with one seed it cannot be told" in one
    assert curve.sentences(cells_of({"x": {8: [0.6]}})) == []


def test_the_interval_over_seeds_is_students():
    """Of 1, 2, 3: the mean is 2, its standard error 1/sqrt(3), and t of two degrees of freedom 4.3027."""
    point = curve.mean_of(8, [1.0, 2.0, 3.0])
    assert (point.mean, point.low, point.high) == pytest.approx((2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert curve.mean_of(8, [0.5]) == Point(8, 0.5, None, None)


def test_what_cannot_be_drawn_is_a_line(file: Path, tmp_path: Path):
    assert "no number of labels" in refused("curve", str(file), "--labels", "8,many")
    assert "ask for fewer" in refused("curve", str(file), "--labels", "8000", "--run", str(tmp_path / "c"))
    assert "is no run" in refused("curve", str(file), "--from", "nowhere", "--run", str(tmp_path / "c"))
    assert "leaves them to the clock" in refused("curve", str(file), "training.minutes=1", "--run", str(tmp_path / "c"))
    no_score = refused("curve", str(file), "objective.name=masked_lm", "--labels", "8", "--run", str(tmp_path / "c"))
    assert "no score beside its loss" in no_score


# ------------------------------------------------------------------------------------------------------ two stages


def test_the_first_stage_learns_all_texts_without_labels_and_the_second_begins_there(file: Path, tmp_path: Path):
    changes = ["data.train_rows=8", "pretrain.training.steps=6", "pretrain.objective.mask_rate=0.3"]
    heard = tiny_recipe.Hearing()
    run = train_in_two_stages(str(file), changes, run=tmp_path / "run", display=heard)
    first = load(tmp_path / "run-pretrained")
    assert first.recipe.objective.mask_rate == 0.3 and first.recipe.training.steps == 6
    assert first.recipe.data.train_rows is None and run.recipe.data.train_rows == 8
    assert run.recipe.objective.name == "classification" and run.recipe.training.steps == 20
    assert run.recipe.model.dropout == 0.1 and run.tokenizer.identity == first.tokenizer.identity
    taken = run.directory.environment()["init_from"]["taken"]
    assert "encoder.embeddings.token.weight" in taken and any(name.startswith("encoder.blocks.1.") for name in taken)
    with pytest.raises(UsageError, match="holds a run already"):
        train_in_two_stages(str(file), changes, run=tmp_path / "run", display=heard)


@pytest.mark.parametrize("stage", [1, 2])
def test_two_stages_go_on_to_the_bit_wherever_they_stopped(file: Path, tmp_path: Path, monkeypatch, stage: int):
    changes = ["pretrain.training.steps=8"]
    whole = train_in_two_stages(str(file), changes, run=tmp_path / "whole", display=tiny_recipe.Hearing())
    advance, times = Trainer._after_step, Counter()

    def stopped(self) -> None:
        advance(self)
        times[self.run.path.name] += 1
        if times[self.run.path.name] == 6 and self.run.path.name.endswith("-pretrained") == (stage == 1):
            self._save()
            raise Interrupted("stopped at step 6")

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="stopped at step 6"):
        patch.setattr(Trainer, "_after_step", stopped)
        train_in_two_stages(str(file), changes, run=tmp_path / "halves", display=tiny_recipe.Hearing())
    again = train_in_two_stages(str(file), changes, run=tmp_path / "halves", resume=True, display=tiny_recipe.Hearing())
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_minutes_are_shared_and_changes_parted(file: Path):
    assert parted(["a=1", "pretrain.b.c=2", {"pretrain": {"d": 3}}]) == (["b.c=2", {"d": 3}], ["a=1"])
    tree = json.loads(file.read_text())
    tree["training"] |= {"steps": None, "minutes": 10}
    assert first_stage(parse(tree)).training.minutes == pytest.approx(6)
    pairs = parse({"data": {"train": "builtin:pairs/train"}, "objective": {"name": "seq2seq"}})
    with pytest.raises(UsageError, match="seq2seq learns from no single text"):
        first_stage(pairs)


def test_the_command_needs_its_recipe():
    assert "needs the recipe of the task" in refused("train", "--pretrain-first")
    assert "--pretrain-first" in command("train", "--help").out
