"""Every view by one function, under the name of its command: it looks, and gives back a View, which a notebook shows
and `save` writes in any form.

    views.mask(run, "Mars is called the [MASK] planet").save("mask.html")     glassformer look mask ...
    views.attribution(run, "Mars is called the [MASK] planet")                     glassformer look attribution ...
    views.of_arrays(weights, tokens)          anybody's attention weights, layers x heads x query x key

Raises what the views themselves raise: UsageError for what the run or the text has not.
"""

import importlib
from collections.abc import Callable
from functools import cache, wraps
from inspect import signature
from typing import Any

from glassformer.ask.run import Run
from glassformer.errors import GlassformerError
from glassformer.look.pictures.page import View
from glassformer.look.views import OLD_NAMES, spec_of, view_names
from glassformer.look.views.heads import view_of_arrays

of_arrays = view_of_arrays
__all__ = sorted([*view_names(), "of_arrays"])


def __dir__() -> list[str]:
    """The views and nothing else, so that tab completion offers no library."""
    return sorted(__all__)


def __getattr__(name: str) -> Callable[..., View]:
    name = OLD_NAMES.get(name, name)
    if name not in __all__:
        raise AttributeError(f"there is no view {name!r}; there are {', '.join(__all__)}")
    return view_function(name)


@cache
def view_function(name: str) -> Callable[..., View]:
    """`make` of a view's file, under the view's name; what it cannot do is refused before any work."""
    spec = spec_of(name)
    make: Callable[..., View] | None = getattr(importlib.import_module(f"glassformer.look.views.{name}"), "make", None)
    if make is None:
        raise GlassformerError(f"the view {name} has no `make`")

    @wraps(make)
    def view(run: Run, *given: Any, **named: Any) -> View:
        run = run if spec.as_it_is else run.recordable()
        bound = signature(make).bind(run, *given, **named)
        spec.check(run, bound.arguments)
        return make(run, *given, **named)

    view.__name__ = view.__qualname__ = name
    return view
