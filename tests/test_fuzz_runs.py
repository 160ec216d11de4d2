"""Two thousand damages of runs of every objective and of exported folders, each asked about by a command: an answer, or
a line and the mend; soon, and in little memory. `benchmarks/fuzz_runs.py` does 50,000."""

import resource
from pathlib import Path

import mutations
import pytest

from glassformer.plugins import plugin_names

NUMBER, PARTS = 2_000, 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], dict[str, Path]]:
    """The runs, and the folders."""
    folder = tmp_path_factory.mktemp("whole")
    runs = mutations.make_runs(folder)
    return runs, mutations.make_folders(runs, folder)


def test_whole_ones_are_answered(made: tuple[dict[str, Path], dict[str, Path]], tmp_path: Path) -> None:
    """Else a refusal would say nothing about a damage."""
    runs, folders = made
    assert runs.keys() == mutations.OBJECTIVES.keys()
    for run in runs.values():
        mutations.use(run)
        assert mutations.command("info", run, "--json").json["parameters"] > 1000
    for folder in folders.values():
        mutations.imported(folder, tmp_path / folder.name)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_damage_leads_to_a_traceback(
    part: int, made: tuple[dict[str, Path], dict[str, Path]], tmp_path: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    share = NUMBER // PARTS
    for seed in range(1 + part * share, 1 + (part + 1) * share):
        failure = mutations.one(seed, *made, tmp_path / "place")
        assert failure is None, failure
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 2**30


def test_every_objective_is_damaged() -> None:
    assert sorted(mutations.OBJECTIVES) == sorted(plugin_names("glassformer.objectives"))
