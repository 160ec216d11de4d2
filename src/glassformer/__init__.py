"""glassformer trains Transformers that you can see through.

    import glassformer as gf
    run = gf.train("mlm-demo")
    run.fill("Mars is called the [MASK] planet")
    run.attention("Transformers use self attention")

Names are loaded when first used: the command line answers `--help` without loading torch.
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# Large tensors in pages of 2 MB (Linux): thousands of the usual 4 kB, got from the system anew at every step, made a
# step of training a tenth longer. torch reads this when it makes its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_HOMES = {
    "train": "glassformer.launch",
    "load": "glassformer.predict",
    "Run": "glassformer.predict",
    "Recipe": "glassformer.recipe",
    "heatmap": "glassformer.look.heatmaps",
    "overlay": "glassformer.look.overlay",
    "overlay_of": "glassformer.look.report",
    "curves": "glassformer.look.curves",
    "save": "glassformer.look.figures",
    "GlassformerError": "glassformer.errors",
    "UsageError": "glassformer.errors",
}

__all__ = ["__version__", "views", *_HOMES]


def __getattr__(name: str) -> Any:
    if name == "views":
        return importlib.import_module("glassformer.look.views")
    if name not in _HOMES:
        raise AttributeError(f"module 'glassformer' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
