"""A state.json that a manifest vouches for and that no run could have written: one line, never a traceback."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutations import sign
from tiny_recipe import Hearing, recipe, train

from glassformer.errors import GlassformerError
from glassformer.run import RunDirectory


def first_of(state: Any) -> Any:
    """The first parameter's entry."""
    return next(iter(state["optimizer"]["optimizers"][0]["state"].values()))


DAMAGE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no section": (lambda state: state.pop("training"), "training: field required"),
    "a list": (lambda state: state.update(training=[]), "training"),
    "step is a text": (lambda state: state["training"].update(step="3"), "training.step"),
    "a loss is a list": (lambda state: state["training"].update(best_loss=[1.0]), "training.best_loss"),
    "the log's place is null": (lambda state: state["training"].update(metrics_length=None), "metrics_length"),
    "window": (lambda state: state["window"].update(losses="none"), "window.losses"),
    "no optimisers": (lambda state: state.update(optimizer={}), "optimizer.optimizers"),
    "an optimiser is a number": (lambda state: state["optimizer"].update(optimizers=[1]), "optimizer.optimizers.0"),
    "a name is null": (lambda state: state["optimizer"]["optimizers"][0].update(kind=None), "kind"),
    "a group is empty": (lambda state: state["optimizer"]["optimizers"][0]["groups"].__setitem__(0, {}), "groups.0"),
    "slots": (lambda state: first_of(state).update(tensors=[1]), "tensors.0"),
    "a value": (lambda state: first_of(state).update(values={"x": {}}), "values.x"),
    "another option": (
        lambda state: state["optimizer"]["optimizers"][0]["groups"][0]["options"].update(betas=["a", "b"]),
        "betas was saved as",
    ),
    "an option of another length": (
        lambda state: state["optimizer"]["optimizers"][0]["groups"][0]["options"].update(betas=[0.9]),
        "betas was saved as",
    ),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        text = folder / "text.txt"
        text.write_text("".join(f"the {n} old moons are far from {n} suns\n" for n in range(40)), encoding="utf-8")
        train(recipe(text, training={"steps": 3}), folder / "run")
    return folder / "run"


def damaged(run: Path, copied: Path, damage: Callable[[Any], Any]) -> Path:
    """A copy of the run with another state, signed."""
    shutil.copytree(run, copied)
    [checkpoint] = RunDirectory(copied).checkpoints.iterdir()
    file = checkpoint / "state.json"
    state = copy.deepcopy(json.loads(file.read_text()))
    damage(state)
    file.write_text(json.dumps(state))
    sign(checkpoint)
    return copied


@pytest.mark.parametrize("name", DAMAGE)
def test_a_state_that_is_signed_and_wrong_is_an_error_in_a_line(trained: Path, tmp_path: Path, name: str) -> None:
    damage, said = DAMAGE[name]
    run = damaged(trained, tmp_path / "run", damage)
    with pytest.raises(GlassformerError) as raised:
        train(None, run, resume=True, changes=("training.steps=5",), display=Hearing())
    assert said in raised.value.what
    assert "\n" not in raised.value.what


def test_an_undamaged_one_goes_on(trained: Path, tmp_path: Path) -> None:
    """Signed anew, and with a key that a newer version might add."""
    run = damaged(trained, tmp_path / "run", lambda state: state["training"].update(something_newer=1))
    train(None, run, resume=True, changes=("training.steps=5",), display=Hearing())
    assert "step-5" in {folder.name for folder in RunDirectory(run).checkpoints.iterdir()}
