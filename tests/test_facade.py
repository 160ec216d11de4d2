"""The names of `import glassformer`: loaded when used, none of them before."""

import subprocess
import sys

import pytest

import glassformer
from glassformer.launch import train
from glassformer.predict import Run, load


def test_every_name_is_there() -> None:
    for name in glassformer.__all__:
        assert getattr(glassformer, name) is not None


def test_the_names_are_the_things_themselves() -> None:
    assert (glassformer.train, glassformer.load, glassformer.Run) == (train, load, Run)


def test_dir_lists_the_names() -> None:
    assert dir(glassformer) == sorted(glassformer.__all__)


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = glassformer.trian


def test_importing_the_package_does_not_import_torch() -> None:
    program = "import sys, glassformer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
