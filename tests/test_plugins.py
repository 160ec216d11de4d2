"""Plug-ins are found by the name of their file."""

from pathlib import Path

import pytest

from glassformer import objectives
from glassformer.errors import GlassformerError, UsageError
from glassformer.objectives import Objective
from glassformer.plugins import find_plugin, plugin_names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a person's own in which objectives are looked for too."""
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
    return tmp_path


def test_a_file_without_a_class_is_said(folder: Path) -> None:
    """It is listed, and asking for it says what is missing; a class that is only imported there does not count."""
    (folder / "nothing_here.py").write_text("from glassformer.objectives.masked_lm import MaskedLM\n")
    assert {"masked_lm", "nothing_here"} <= set(plugin_names("glassformer.objectives"))
    with pytest.raises(GlassformerError, match=r"nothing_here\.py defines no subclass of Objective"):
        find_plugin("glassformer.objectives", "nothing_here", Objective, "objective")


def test_a_misspelt_name_names_the_nearest() -> None:
    """As a person writes it in a recipe."""
    with pytest.raises(UsageError, match="there is no objective 'maskd_lm'") as raised:
        find_plugin("glassformer.objectives", "maskd_lm", Objective, "objective")
    assert "masked_lm" in raised.value.mend
