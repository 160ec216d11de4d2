"""One view as one file that opens anywhere: no network, no library, nothing of a stranger's text as markup.

A page is data as JSON, arrays as compressed bytes, a style sheet and a script, each of which the browser only takes by
its hash (a content-security policy without exceptions). The script builds everything from text nodes.
"""

import base64
import hashlib
import html
import io
import json
import zlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from glassformer.errors import GlassformerError, UsageError
from glassformer.look.figures import FORMATS, GLASS, save, visible

PRECISION = "Numbers on this page are rounded to one of 256 steps: they are off by at most {error:.4f}."


class View(NamedTuple):
    """What a page shows: words and numbers, and arrays by name. `name` is the script that shows them."""

    name: str
    title: str
    data: dict[str, Any]
    arrays: dict[str, np.ndarray]


def packed(array: np.ndarray) -> dict[str, Any]:
    """Numbers from 0 upwards as one byte each, compressed: the nearest of 256 even steps up to the largest, or to 1.
    The error is at most half a step. Bytes stay what they are."""
    largest = 255.0 if array.dtype == np.uint8 else largest_of(array)
    bytes_ = np.round(array * (255 / largest)).astype(np.uint8).tobytes()
    return {
        "shape": list(array.shape),
        "largest": largest,
        "data": base64.b64encode(zlib.compress(bytes_, 9)).decode("ascii"),
    }


def largest_of(array: np.ndarray) -> float:
    """What one byte's 255 stands for."""
    return max(1.0, float(array.max(initial=0.0)))


def content(view: View) -> dict[str, Any]:
    """What the script of a page is given."""
    rounded = [array for array in view.arrays.values() if array.dtype != np.uint8]
    error = max((largest_of(array) / 510 for array in rounded), default=0.0)
    return {
        "view": view.name,
        "title": view.title,
        "precision": PRECISION.format(error=error) if rounded else "",
        "colours": np.round(GLASS(np.arange(256))[:, :3] * 255).astype(int).tolist(),
        **view.data,
        "arrays": {name: packed(array) for name, array in view.arrays.items()},
    }


def page(view: View) -> str:
    """The view as HTML."""
    style = web_file("page.css")
    script = "".join(map(web_file, ("page.js", "charts.js", "attention.js", f"{view.name}.js"))) + "begin();\n"
    policy = f"default-src 'none'; script-src {source_hash(script)}; style-src {source_hash(style)}; base-uri 'none'"
    return PAGE.format(
        policy=html.escape(policy),
        title=html.escape(visible(view.title, 80)),
        style=style,
        script=script,
        data=as_script(content(view)),
    )


def as_script(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it ends or begins markup, whatever the strings are."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def source_hash(text: str) -> str:
    """A script or style sheet as a content-security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


@cache
def web_file(name: str) -> str:
    """A file of the folder `web`."""
    return (resources.files("glassformer.look") / "web" / name).read_text(encoding="utf-8")


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main><p class="muted">Unpacking ...</p></main>
<noscript>This page draws with JavaScript, which is switched off.</noscript>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def write(view: View, draw: Callable[[], Figure], output: Path) -> None:
    """A view as a page (.html), as the picture that `draw` makes, or as numbers (.json; .npz: its arrays, and its words
    as JSON in `data`).

    Raises UsageError for another suffix, GlassformerError when the file cannot be written.
    """
    suffix = output.suffix.lower()
    if suffix in FORMATS:
        save(draw(), output)
        return
    writers = {".html": _html, ".json": _json, ".npz": _npz}
    if suffix not in writers:
        raise UsageError(
            f"cannot write a view as {output.suffix or output.name!r}",
            f"a page ends in .html; a picture in {', '.join(FORMATS)}; the numbers in .json, .npz",
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(writers[suffix](view))
    except OSError as error:
        raise GlassformerError(f"cannot write {output}: {error.strerror or error}", "choose another --output") from None


def _html(view: View) -> bytes:
    return page(view).encode("utf-8")


def _json(view: View) -> bytes:
    return json.dumps(numbers(view)).encode("ascii")


def _npz(view: View) -> bytes:
    file = io.BytesIO()
    arrays: dict[str, Any] = {"data": np.array(json.dumps({"title": view.title, **view.data})), **view.arrays}
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def numbers(view: View) -> dict[str, Any]:
    """Everything that a view shows, for another program."""
    arrays = {name: np.asarray(array, dtype=np.float64).round(6).tolist() for name, array in view.arrays.items()}
    return {"title": view.title, **view.data, **arrays}
