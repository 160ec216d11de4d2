"""What every metric promises, asked of each file in metrics/. A new file is picked up by itself, with its definition in
a file of the same name in definitions/."""

import importlib.util
from pathlib import Path

import pytest
import torch

from glassformer.errors import UsageError
from glassformer.metrics import Terms, find_metric
from glassformer.plugins import plugin_names

NAMES = plugin_names("glassformer.metrics")
N, CLASSES = 53, 7
TAGS = ("O", "B-X", "I-X", "B-Y", "I-Y")
SENTENCES = torch.tensor([0] * 3 + [4] * 2 + [2] * 20 + [1] * 11 + [7] + [3] * 16)
"""Of each word its sentence; cut where the batches below are."""


def definition(name: str):
    """`KIND` is what it is asked of, classes or numbers, and `definition(outputs, targets)` the metric by loops."""
    path = Path(__file__).parent / "definitions" / f"{name}.py"
    assert path.is_file(), f"write the definition of {name!r} in {path.relative_to(Path(__file__).parents[2])}"
    return loaded(path)


def loaded(path: Path):
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def terms(kind: str, quality: float = 1.0) -> Terms:
    """Questions and answers, the better the higher `quality`: 0 is chance."""
    noise = torch.Generator().manual_seed(3)
    if kind == "numbers":
        targets = torch.randint(9, (N, 1), generator=noise).double()  # some are alike
        outputs = quality * targets + torch.randn(N, 1, generator=noise, dtype=torch.float64).round(decimals=1)
        return Terms(outputs, (outputs - targets)[:, 0] ** 2, None, targets, False)
    if kind == "tags":
        tags = torch.randint(len(TAGS), (N,), generator=noise)
        outputs = torch.randn(N, len(TAGS), generator=noise, dtype=torch.float64)
        outputs[torch.arange(N), tags] += 2 * quality
        losses = -outputs.log_softmax(-1)[torch.arange(N), tags]
        return Terms(outputs, losses, outputs.argmax(-1), tags, False, TAGS, SENTENCES)
    targets = torch.randint(CLASSES - 1, (N,), generator=noise)  # one class never is the right one
    outputs = torch.randn(N, CLASSES, generator=noise, dtype=torch.float64)
    outputs[torch.arange(N), targets] += quality
    losses = -outputs.log_softmax(-1)[torch.arange(N), targets]
    return Terms(outputs, losses, outputs.argmax(-1), targets, True)


def some(whole: Terms, chosen: slice) -> Terms:
    guesses = None if whole.guesses is None else whole.guesses[chosen]
    return whole._replace(
        outputs=whole.outputs[chosen],
        losses=whole.losses[chosen],
        guesses=guesses,
        targets=whole.targets[chosen],
        sequences=None if whole.sequences is None else whole.sequences[chosen],
    )


@pytest.fixture(params=NAMES)
def case(request):
    return find_metric(request.param), definition(request.param)


def test_the_metrics_that_must_be_found():
    assert {"accuracy", "top5_accuracy", "perplexity", "macro_f1", "matthews_correlation"} <= set(NAMES)
    assert {"pearson_correlation", "spearman_correlation", "mean_squared_error"} <= set(NAMES)


def test_it_is_its_definition(case):
    metric, module = case
    asked = terms(module.KIND)
    sequences = [] if asked.sequences is None else [asked.sequences.tolist()]
    expected = module.definition(asked.outputs.tolist(), asked.targets.flatten().tolist(), *sequences)
    found = metric.compute(metric.statistics(asked).double())
    assert isinstance(found, float) and found == pytest.approx(expected, abs=1e-12)
    assert found != pytest.approx(0) and found != pytest.approx(1)


def test_parts_make_the_whole(case):
    """Statistics of batches, whatever their sizes and order, make those of all: what processes rely on too."""
    metric, module = case
    asked = terms(module.KIND)
    parts = [metric.statistics(some(asked, part)) for part in (slice(0, 5), slice(5, 36), slice(36, 37), slice(37, N))]
    joined = parts[2]
    for part in (parts[0], parts[3], parts[1]):
        joined = metric.concat(joined, part)
    whole = metric.compute(metric.statistics(asked).double())
    assert metric.compute(joined.double()) == pytest.approx(whole, abs=1e-12)


def test_its_direction_is_that_of_better_answers(case):
    metric, module = case
    bad, good = (metric.compute(metric.statistics(terms(module.KIND, q)).double()) for q in (0.1, 1.0))
    assert good > bad if metric.direction == "higher" else good < bad


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'macro_f1'"):
        find_metric("makro_f1")


def test_the_one_that_contributing_shows_keeps_the_contract(tmp_path: Path) -> None:
    """Both of its files, as the page has them."""
    blocks = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")
    found = []
    for number, folder in enumerate(("src/glassformer/metrics", "tests/metrics/definitions")):
        [body] = [block for block in blocks if block.startswith(f"python\n# {folder}/error_rate.py")]
        (tmp_path / f"{number}.py").write_text(body.removeprefix("python\n"), encoding="utf-8")
        found.append(loaded(tmp_path / f"{number}.py"))
    case = found[0].ErrorRate(), found[1]
    test_it_is_its_definition(case)
    test_parts_make_the_whole(case)
    test_its_direction_is_that_of_better_answers(case)
