"""Plug-ins: in a folder such as `objectives/` or `model/attention/` every file is one, found by its name."""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Sequence
from typing import TypeVar

from glassformer.errors import GlassformerError, UsageError, nearest

T = TypeVar("T")


def plugin_names(package: str) -> list[str]:
    """The names of the files in a package's folder. None of them is loaded, nor the package."""
    return [module.name for module in pkgutil.iter_modules(_places(package))]


def _places(package: str) -> Sequence[str]:
    if package in sys.modules:
        return sys.modules[package].__path__
    found = importlib.util.find_spec(package)
    return (found.submodule_search_locations or []) if found is not None else []


def check_plugin(package: str, name: str, what: str) -> None:
    """Raises UsageError naming the nearest file where the folder has none of that name. `what` names the kind."""
    names = plugin_names(package)
    if name not in names:
        raise UsageError(f"there is no {what} {name!r}", nearest(name, names))


def find_plugin(package: str, name: str, base: type[T], what: str) -> type[T]:
    """The subclass of `base` that the file `name`.py of the package defines. `what` names the kind to a person.

    Raises UsageError naming the nearest file when there is none, GlassformerError when the file has no such class.
    """
    check_plugin(package, name, what)
    module = importlib.import_module(f"{package}.{name}")
    for _, found in inspect.getmembers(module, inspect.isclass):
        if issubclass(found, base) and found.__module__ == module.__name__:
            return found
    raise GlassformerError(f"{module.__file__} defines no subclass of {base.__name__}")
