"""Numbers as files: .json, .npz, .csv."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from glassformer.errors import GlassformerError, UsageError
from glassformer.look.figures import FORMATS, save

ARRAYS = (".json", ".npz")
ROWS = (".json", ".csv")


def check_suffix(output: Path | None, numbers: tuple[str, ...]) -> None:
    """Raises UsageError for a file that is neither a picture nor one of these, before anything is computed."""
    if output is not None and output.suffix.lower() not in (*FORMATS, *numbers):
        raise UsageError(
            f"cannot write {output.suffix or output.name!r}",
            f"a picture ends in {', '.join(FORMATS)}; the numbers end in {', '.join(numbers)}",
        )


def write(found: Any, output: Path, draw: Callable[[], Figure]) -> None:
    """A named tuple as .json or as exact arrays (.npz), or the picture of it. Raises GlassformerError when the file
    cannot be written."""
    suffix = output.suffix.lower()
    if suffix == ".json":
        _write(json.dumps(plain(found)).encode(), output)
    elif suffix == ".npz":
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: np.asarray(array) for name, array in found._asdict().items()}
        np.savez_compressed(buffer, **arrays)
        _write(buffer.getvalue(), output)
    else:
        save(draw(), output)


def plain(value: Any) -> Any:
    """Arrays and named tuples as lists and dictionaries for JSON: six decimals, null for what is not a number."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def write_rows(rows: Sequence[dict[str, Any]], output: Path) -> None:
    """Rows of equal keys as .csv. Raises GlassformerError when the file cannot be written."""
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    _write(buffer.getvalue().encode(), output)


def _write(content: bytes, output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(content)
    except OSError as error:
        raise GlassformerError(f"cannot write {output}: {error.strerror or error}", "choose another --output") from None
