"""Hugging Face folders in and out.

    contract.py   what a format is: sizes, parts and tensors as tables
    formats/      one file for each architecture, found by its name
    weights.py    a folder <-> configuration, tensors and tokenizer
    runs.py       a folder <-> a run

Names are loaded when first used: `weights` stands below what assembles a model, `runs` above it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glassformer.exchange.runs import export_run, frame_of, import_run
    from glassformer.exchange.weights import Folder, read, write

__all__ = ["Folder", "export_run", "frame_of", "import_run", "read", "write"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "weights" if name in ("Folder", "read", "write") else "runs"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
