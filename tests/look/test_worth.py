"""What a part is worth: the run's own metric without it, and how far the questions decide."""

import numpy as np
import pytest
from trained import command, generator_folder, refused, run_folder

from glassformer.ablation import Part, chosen_parts, parts_of, without
from glassformer.ask.run import Run, load
from glassformer.look.views import ablate as worth
from glassformer.look.views.ablate import Ablation, Change, Sums, Worth, ablate, metrics_of, sums_of
from glassformer.objectives import Dataset
from glassformer.objectives.masked_lm import MaskedLM
from glassformer.progress import stoppable
from glassformer.training.evaluation import EVALUATION_SEED, EvaluationSet, evaluate

ATTENTION = Part("encoder.blocks.1.self_attention")


@pytest.fixture
def run() -> Run:
    return load(run_folder())


@pytest.mark.parametrize("folder", [run_folder, generator_folder])
def test_the_metrics_are_those_of_evaluate(folder) -> None:
    """Whole, and without each part: of the run's own questions, all of them."""
    run = load(folder())
    parts = parts_of(run.model, ("layers", "positions"))
    heard: list[tuple[int, int]] = []
    with stoppable(lambda done, of: heard.append((done, of)) if of else None):
        found = ablate(run, parts)
    whole = run.evaluate()
    assert found.whole == pytest.approx({name: whole[name] for name in ("loss", "accuracy")}, rel=1e-6)
    for one in found.parts:
        with without(run.model, one.part):
            changed = run.evaluate()
        for name in ("loss", "accuracy"):
            assert one.changes[name].change == pytest.approx(changed[name] - whole[name], abs=1e-5)
    assert [one.part for one in found.parts] == parts
    assert heard == [(0, 3), (1, 3), (2, 3)]


def test_sums_of_units_are_those_of_single_units(run: Run) -> None:
    """Each unit's loss is what it has in a batch of its own; those of two draws add up."""
    asked = [run.questions("validation")]
    sums = sums_of(run.model, asked)
    assert len(sums.totals["masked_lm/loss"]) == len(asked[0].chosen) > 5
    objective = asked[0].objective
    singles = [EvaluationSet(OneUnit(asked[0], int(n)), objective, run.recipe.batch) for n in asked[0].chosen]
    totals, counts = sums.totals["masked_lm/loss"], sums.counts["masked_lm/loss"]
    assert counts.max() > 3  # words in turn, from several rows of a batch
    for alone, total, count in zip(singles, totals, counts, strict=True):
        if not count:
            continue
        result = evaluate(run.model, alone)
        assert (result.loss, result.count) == (pytest.approx(total / count, rel=1e-4), count)
    twice = sums_of(run.model, [asked[0], asked[0]])
    np.testing.assert_allclose(twice.totals["masked_lm/loss"], 2 * sums.totals["masked_lm/loss"])


class OneUnit(Dataset):
    """Unit `n` of some questions, alone."""

    def __init__(self, questions: EvaluationSet, n: int) -> None:
        self.questions, self.n = questions, n
        self.lengths = questions.dataset.lengths[[n]]

    def __len__(self) -> int:
        return 1

    def example(self, index, rng):
        return self.questions.example(self.n)

    def in_turn(self, index, rng):
        return self.questions.examples(self.n)


def test_the_interval_is_that_of_drawing_units_anew(run: Run) -> None:
    """Against a loop that draws units, evaluates both models on the same ones, and takes percentiles."""
    asked = [run.questions("validation")]
    whole = sums_of(run.model, asked)
    with without(run.model, ATTENTION):
        changed = sums_of(run.model, asked)
    totals, counts = ((s.totals["masked_lm/loss"], s.counts["masked_lm/loss"]) for s in (whole, changed)), None
    (one, counts), (other, _) = totals
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(4000):
        units = rng.integers(len(one), size=len(one))
        differences.append((other[units].sum() - one[units].sum()) / counts[units].sum())
    [found] = ablate(run, [ATTENTION]).parts
    change = found.changes["loss"]
    spread = np.std(differences)
    assert change.low == pytest.approx(np.percentile(differences, 2.5), abs=0.15 * spread)
    assert change.high == pytest.approx(np.percentile(differences, 97.5), abs=0.15 * spread)
    assert change.low < change.change < change.high
    assert ablate(run, [ATTENTION]) == ablate(run, [ATTENTION])


def test_fewer_units_and_more_draws(run: Run) -> None:
    """Fewer units are a choice of them; other seeds hide other words, the first those of `evaluate`."""
    few, all_of_them = ablate(run, [], units=5), ablate(run, [])
    assert (few.units, all_of_them.units) == (5, len(run.questions("validation").chosen))
    assert few.whole != all_of_them.whole != ablate(run, [], seeds=2).whole
    objective = run.objective.for_evaluation()
    units = objective.dataset(run.corpus("validation"))
    seeds = [EVALUATION_SEED, EVALUATION_SEED, EVALUATION_SEED + 1]
    one, same, other = (EvaluationSet(units, objective, run.recipe.batch, seed=seed) for seed in seeds)
    first = [
        [targets.positions.tolist() for n in range(9) for targets in q.example(n).targets.values()]
        for q in (one, same, other)
    ]
    assert first[0] == first[1] != first[2]


def test_losses_of_several_heads_are_added_by_their_weights() -> None:
    """And accuracies are over all questions; a unit that is drawn twice counts twice."""

    class Two(MaskedLM):
        def loss_weights(self) -> dict[str, float]:
            return {"words": 1.0, "pairs": 0.5}

        def shares(self) -> dict[str, float]:
            return {"words": 1.0, "pairs": 1.0}

    sums = Sums(
        {
            "words/loss": np.array([6.0, 1.0]),
            "pairs/loss": np.array([0.0, 4.0]),
            "words/accuracy": np.array([1.0, 0.0]),
            "words/top5_accuracy": np.array([3.0, 1.0]),
            "pairs/accuracy": np.array([0.0, 1.0]),
        },
        {
            "words/loss": np.array([3.0, 1.0]),
            "pairs/loss": np.array([0.0, 1.0]),
            "words/accuracy": np.array([3.0, 1.0]),
            "words/top5_accuracy": np.array([3.0, 1.0]),
            "pairs/accuracy": np.array([0.0, 1.0]),
        },
    )
    found = metrics_of(Two.__new__(Two), sums, np.array([[1.0, 1.0], [2.0, 0.0]]))
    np.testing.assert_allclose(found["loss"], [7 / 4 + 0.5 * 4 / 1, 12 / 6])
    np.testing.assert_allclose(found["accuracy"], [2 / 5, 2 / 6])


def some_ablation() -> Ablation:
    """Two parts, the second of them needed."""
    nothing = Worth(Part("encoder.positions"), {"loss": Change(-0.1, -0.2, 0.1), "accuracy": Change(0.0, -0.1, 0.1)})
    needed = Worth(
        Part("encoder.blocks.0", None), {"loss": Change(2.0, 1.5, 2.5), "accuracy": Change(-0.5, -0.6, -0.4)}
    )
    return Ablation({"loss": 1.0, "accuracy": 0.9}, 7, [nothing, needed])


def test_the_worst_comes_first_in_every_form() -> None:
    found = some_ablation()
    names = ["encoder.blocks.0", "encoder.positions"]
    assert [row["part"] for row in found.record()["parts"]] == names
    assert [row["part"] for row in worth.summary_rows(found)] == ["(whole)", *names]
    rows = worth.view_of(load(run_folder()), found).rows
    assert [row["part"] for row in rows] == names and rows[0]["accuracy_low"] == -0.6
    axes = worth.picture(found).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert [bar.get_width() for bar in axes.patches] == [2.0, -0.1]
    assert [bar.get_alpha() for bar in axes.patches] == [1.0, 0.35]  # the pale one may be worth nothing
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_parts_are_chosen_by_kind_or_name(run: Run) -> None:
    assert chosen_parts(run.model, "all") == parts_of(run.model)
    assert chosen_parts(run.model, "heads,layers,heads") == [
        *parts_of(run.model, ("heads",)),
        *parts_of(run.model, ("layers",)),
    ]
    assert chosen_parts(run.model, str(ATTENTION)) == [ATTENTION]


# ------------------------------------------------------------------------------------------------------- commands


def test_the_command_writes_what_its_file_is_called(tmp_path) -> None:
    arguments = ["ablate", run_folder(), "--parts", "attention"]
    starts = {".png": b"\x89PNG", ".json": b'{"whole"', ".csv": b"part,loss_change", ".html": b"<!doctype html>"}
    for suffix, start in starts.items():
        output = tmp_path / f"a{suffix}"
        said = command(*arguments, "--output", output)
        assert said.code == 0 and output.read_bytes().startswith(start)
        assert (said.out, said.err) == (f"{output}\n", "")  # how far it is, it says only where it takes long
    assert "encoder.blocks.0.self_attention" in command(*arguments).out
    assert "did you mean 'heads'" in refused("ablate", run_folder(), "--parts", "head")
    assert "cannot write a view as '.doc'" in refused(*arguments, "--output", tmp_path / "a.doc")


@pytest.mark.parametrize("view", ["attribution", "lens"])
def test_the_views_are_commands(view, tmp_path) -> None:
    arguments = ["look", view, run_folder(), "Mars is called the [MASK] planet"]
    output = tmp_path / "new" / "a.svg"
    said = command(*arguments, "--output", output, "--json")
    assert said.code == 0 and output.read_bytes().startswith(b"<?xml")
    assert said.json["tokens"][5] == "[MASK]"
    assert command(*arguments, "--output", tmp_path / "a.json").out.endswith("a.json\n")
    assert "[MASK]" in refused("look", view, run_folder(), "no blank here")
    assert "cannot write a view as '.txt'" in refused(*arguments, "--output", tmp_path / "a.txt")


def test_the_arrays_of_the_honest_views(tmp_path) -> None:
    text = "Mars is called the [MASK] planet"
    command("look", "attribution", run_folder(), text, "--output", tmp_path / "a.npz")
    expected = command("look", "attribution", run_folder(), text, "--json").json
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["tokens"].tolist() == expected["tokens"]
        for name, values in expected["relevance"].items():
            np.testing.assert_allclose(arrays[f"relevance.{name}"], values, atol=1e-6)
