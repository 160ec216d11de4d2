"""What a view leaves behind: by the file's name a picture, or the numbers of it."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from glassformer.errors import GlassformerError, UsageError
from glassformer.look.figures import FORMATS, save

NUMBERS = (".json", ".npz")


def check_output(output: Path, numbers: tuple[str, ...] = NUMBERS) -> None:
    """Raises UsageError for a file that a view cannot be written as; better before it is computed than after."""
    if output.suffix.lower() not in (*FORMATS, *numbers):
        raise UsageError(
            f"cannot write a view as {output.suffix or output.name!r}",
            f"a picture ends in {', '.join(FORMATS)}; the numbers end in {' or '.join(numbers)}",
        )


def write_view(
    output: Path, picture: Callable[[], Figure], found: dict[str, Any], arrays: dict[str, np.ndarray] | None = None
) -> None:
    """The picture, drawn only where one is wanted; `found` as .json; or `arrays` as .npz. Raises UsageError for another
    suffix, GlassformerError where the file cannot be written."""
    suffix = output.suffix.lower()
    check_output(output, NUMBERS if arrays is not None else (".json",))
    if suffix == ".npz" and arrays is not None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_bytes(output, buffer.getvalue())
    elif suffix == ".json":
        write_bytes(output, (json.dumps(found) + "\n").encode())
    else:
        save(picture(), output)


def write_bytes(output: Path, content: bytes) -> None:
    """A file and its folder. Raises GlassformerError where it cannot be written."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(content)
    except OSError as error:
        raise GlassformerError(f"cannot write {output}: {error.strerror or error}", "choose another --output") from None
