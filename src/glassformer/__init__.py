"""glassformer trains Transformers that you can see through.

    import glassformer as gf
    run = gf.train("mlm-demo")
    run.fill("Mars is called the [MASK] planet")
    run.attention("Transformers use self attention")

Names are loaded when first used: the command line answers `--help` without loading torch.
"""

import importlib as _importlib
import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from glassformer import views
    from glassformer.ask.run import Run, load
    from glassformer.errors import GlassformerError, UsageError
    from glassformer.launch import train
    from glassformer.look.pictures.curves import curves
    from glassformer.look.pictures.figures import save
    from glassformer.look.pictures.heatmaps import heatmap
    from glassformer.look.pictures.overlay import overlay, overlay_of
    from glassformer.recipe import Recipe

__version__ = "0.1.0"

# Large tensors in pages of 2 MB (Linux): thousands of the usual 4 kB, got from the system anew at every step, made a
# step of training a tenth longer. torch reads this when it makes its first tensor.
_os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_HOMES = {
    "train": "glassformer.launch",
    "load": "glassformer.ask.run",
    "Run": "glassformer.ask.run",
    "Recipe": "glassformer.recipe",
    "heatmap": "glassformer.look.pictures.heatmaps",
    "overlay": "glassformer.look.pictures.overlay",
    "overlay_of": "glassformer.look.pictures.overlay",
    "curves": "glassformer.look.pictures.curves",
    "save": "glassformer.look.pictures.figures",
    "GlassformerError": "glassformer.errors",
    "UsageError": "glassformer.errors",
}

__all__ = [
    "GlassformerError",
    "Recipe",
    "Run",
    "UsageError",
    "__version__",
    "curves",
    "heatmap",
    "load",
    "overlay",
    "overlay_of",
    "save",
    "train",
    "views",
]
"""Written out, so that editors know them too; a test holds it against what is loaded."""


def __getattr__(name: str) -> _Any:
    if name == "views":
        return _importlib.import_module("glassformer.views")
    if name not in _HOMES:
        raise AttributeError(f"module 'glassformer' has no attribute {name!r}")
    return getattr(_importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
