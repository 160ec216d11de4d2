"""One view as one file that opens anywhere: no network, no library, nothing of a stranger's text as markup.

A page is data as JSON, arrays as compressed bytes, a style sheet and a script, each of which the browser only takes by
its hash (a content-security policy without exceptions). The script builds everything from text nodes.
"""

import base64
import csv
import hashlib
import html
import io
import json
import math
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from glassformer.errors import GlassformerError, UsageError
from glassformer.look.pictures.figures import FORMATS, GLASS, save, visible

PRECISION = "Numbers on this page are rounded to one of 256 steps: they are off by at most {error:.4f}."


class View(NamedTuple):
    """One look at a model, in every form that a person may want it in."""

    name: str
    """The script that shows it."""
    title: str
    data: dict[str, Any]
    """Words and numbers of the page."""
    arrays: dict[str, np.ndarray]
    """Its large arrays, which it gets rounded."""
    draw: Callable[[], Figure]
    """Makes its picture."""
    found: dict[str, Any] | None = None
    """The exact numbers for another program, where these are not title, data and arrays."""
    rows: list[dict[str, Any]] | None = None
    """The same as a table, where it can be one."""
    exact: dict[str, Any] | None = None
    """What is written as .npz, where that is more than `found`."""
    table: list[dict[str, Any]] | None = None
    """What a terminal shows, where that is not `rows`."""
    said: Sequence[str] = ()
    """Lines below it."""
    note: str | None = None
    """A warning that stands beside every form of it."""

    @property
    def numbers(self) -> dict[str, Any]:
        """What is written as .json, and as .npz where `exact` does not say."""
        return {"title": self.title, **self.data, **self.arrays} if self.found is None else self.found

    def save(self, output: str | Path) -> Path:
        """Write it in the form that the name asks for. Raises what `write` raises."""
        write(self, Path(output))
        return Path(output)

    def __repr__(self) -> str:
        return f"View({self.name!r}, {self.title!r})"

    def _repr_html_(self) -> str:
        """In a notebook: the page, shut up in a frame of its own."""
        source = html.escape(page(self))
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{source}" style="width: 100%; height: 40rem; border: 0"></iframe>'
        )


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
        **plain(view.data),
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


# ------------------------------------------------------------------------------------------------------- files


def forms(view: View | None = None) -> tuple[str, ...]:
    """The suffixes that a view can be written with; without one, those that some view can."""
    table = (".csv",) if view is None or view.rows is not None else ()
    return (".html", *FORMATS, ".json", ".npz", *table)


def check_output(output: Path, view: View | None = None) -> None:
    """Raises UsageError for a file that a view cannot be written as; better before it is computed than after."""
    if output.suffix.lower() not in forms(view):
        raise UsageError(
            f"cannot write a view as {output.suffix or output.name!r}",
            f"a page ends in .html, a picture in {', '.join(FORMATS)}, the numbers in .json, .npz, of tables in .csv",
        )


def write(view: View, output: Path) -> None:
    """A view as a page (.html), as a picture, as numbers (.json, .npz), or as a table (.csv). Raises UsageError for
    another suffix, GlassformerError when the file cannot be written."""
    check_output(output, view)
    suffix = output.suffix.lower()
    if suffix in FORMATS:
        save(view.draw(), output)
        return
    makers = {".html": _html, ".json": _json, ".npz": _npz, ".csv": _csv}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(makers[suffix](view))
    except OSError as error:
        raise GlassformerError(f"cannot write {output}: {error.strerror or error}", "choose another --output") from None


def _html(view: View) -> bytes:
    return page(view).encode("utf-8")


def _json(view: View) -> bytes:
    return (json.dumps(plain(view.numbers)) + "\n").encode("ascii")


def _npz(view: View) -> bytes:
    """Every entry as an array; one that is none, a tree of words and numbers, as JSON."""
    arrays: dict[str, Any] = {}
    for name, value in (view.exact or view.numbers).items():
        if isinstance(value, dict) and value and all(isinstance(part, np.ndarray) for part in value.values()):
            arrays |= {f"{name}.{key}": part for key, part in value.items()}
            continue
        try:
            array = np.asarray(value)
        except ValueError:  # lists of unequal length
            array = np.asarray(None)
        arrays[name] = np.array(json.dumps(plain(value))) if array.dtype == object else array
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _csv(view: View) -> bytes:
    rows = view.rows or []
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def plain(value: Any) -> Any:
    """Arrays and named tuples as lists and dictionaries for JSON: seven digits, null for what is not a number."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
