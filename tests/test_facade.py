"""The names of `import glassformer`: loaded when used, none of them before."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import glassformer
from glassformer.ask.run import Run, load
from glassformer.launch import train


def test_every_name_is_there() -> None:
    for name in glassformer.__all__:
        assert getattr(glassformer, name) is not None


def test_the_names_are_the_things_themselves() -> None:
    assert (glassformer.train, glassformer.load, glassformer.Run) == (train, load, Run)


def test_dir_lists_the_names() -> None:
    """And no import of ours among them."""
    assert dir(glassformer) == sorted(glassformer.__all__)
    assert not {"importlib", "os", "Any", "TYPE_CHECKING"} & set(vars(glassformer))


def test_editors_know_the_names() -> None:
    """What type checkers read is what is loaded: the same names from the same homes."""
    tree = ast.parse(Path(str(glassformer.__file__)).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {name.name: part.module for part in block.body if isinstance(part, ast.ImportFrom) for name in part.names}
    assert {*homes} | {"__version__"} == set(glassformer.__all__)
    assert homes.pop("views") == "glassformer"
    assert homes == glassformer._HOMES


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = glassformer.trian


def test_importing_the_package_does_not_import_torch() -> None:
    program = "import sys, glassformer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
