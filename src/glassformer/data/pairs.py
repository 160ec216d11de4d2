"""Pairs of texts, a source and the target that belongs to it: for models that answer, translate or paraphrase.

train.de with train.en     parallel files: line n of one belongs to line n of the other
pairs.tsv .csv .jsonl      two columns of a row; without names the only two
builtin:pairs/train        written for this project: paraphrases, answers, English and French
hub:OWNER/NAME             two columns of a row; `translation.de` is a field inside a column
"""

import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from glassformer.data.sources import (
    files_of,
    fingerprint,
    format_of,
    hub_rows,
    jsonl_rows,
    parquet_rows,
    read_lines,
    table_rows,
    text_in,
)
from glassformer.errors import GlassformerError, UsageError, nearest

PAIR_COLUMNS = (("source", "target"), ("input", "output"), ("question", "answer"), ("text", "summary"))
"""Names of columns that are taken for a pair, where a recipe names none."""
BUILTIN_KINDS = ("paraphrase", "answer", "translation")


class Pair(NamedTuple):
    """A source and its target."""

    source: str
    target: str


def read_pairs(
    source: str | tuple[str, ...],
    targets: str | tuple[str, ...] | None = None,
    column: str | None = None,
    target_column: str | None = None,
) -> Iterator[Pair]:
    """The pairs of one place, or of several one after another. A pair of which one half is blank is left out.

    With `targets` both are text files, line by line. Raises UsageError for unequal numbers of lines (saying which line
    has no partner), a column that is missing or not clear, and whatever `read_documents` raises.
    """
    names = (source,) if isinstance(source, str) else source
    partners = (targets,) if isinstance(targets, str) else targets
    if partners is not None and len(partners) != len(names):
        raise UsageError(
            f"{len(names)} files of sources and {len(partners)} of targets", "give as many of one as of the other"
        )
    for number, name in enumerate(names):
        found = False
        for pair in _read(name, None if partners is None else partners[number], column, target_column):
            if pair.source.strip() and pair.target.strip():
                found = True
                yield pair
        if not found:
            raise UsageError(f"{name} holds no pair of texts", "give a place with a source and a target in each row")


def pairs_fingerprint(
    source: str | tuple[str, ...], targets: str | tuple[str, ...] | None, column: str | None, target_column: str | None
) -> str:
    """A sha256 that changes when the pairs do, as `sources.fingerprint`."""
    digest = hashlib.sha256(json.dumps(["pairs 1", column, target_column]).encode())
    for place in (source, targets):
        for name in () if place is None else (place,) if isinstance(place, str) else place:
            builtin = name.startswith("builtin:")
            digest.update((json.dumps(list(builtin_pairs(name))) if builtin else fingerprint(name)).encode())
        digest.update(b"|")
    return digest.hexdigest()


def _read(name: str, targets: str | None, column: str | None, target_column: str | None) -> Iterator[Pair]:
    if targets is not None:
        yield from _parallel(name, targets)
    elif name.startswith("builtin:"):
        yield from builtin_pairs(name)
    elif name.startswith("hub:"):
        yield from _of_rows(hub_rows(name), column, target_column)
    else:
        for file in files_of(name):
            yield from _of_file(file, column, target_column)


def _parallel(source: str, target: str) -> Iterator[Pair]:
    """Line by line, file by file."""
    sources, targets = files_of(source), files_of(target)
    if len(sources) != len(targets):
        raise UsageError(
            f"{source} are {len(sources)} files, and {target} are {len(targets)}", "give as many of one as of the other"
        )
    for one, other in zip(sources, targets, strict=True):
        yield from _parallel_files(one, other)


def _parallel_files(one: Path, other: Path) -> Iterator[Pair]:
    for number, (left, right) in enumerate(zip_longest(read_lines(one), read_lines(other)), start=1):
        if left is None or right is None:
            longer, shorter = (other, one) if left is None else (one, other)
            raise UsageError(
                f"{longer} and {shorter} are no parallel files: line {number} of {longer.name} has no partner, "
                f"since {shorter.name} has only {number - 1} lines",
                "give files of as many lines each, where line n belongs to line n",
            )
        yield Pair(left, right)


def _of_file(file: Path, column: str | None, target_column: str | None) -> Iterator[Pair]:
    kind = format_of(file)
    if kind == ".jsonl":
        yield from _of_rows(jsonl_rows(file), column, target_column)
    elif kind in (".csv", ".tsv"):
        yield from _of_table(file, column, target_column)
    elif kind == ".parquet":
        yield from _of_rows(parquet_rows(file), column, target_column)
    else:
        raise UsageError(
            f"{file} is a text without targets",
            "give the file of its targets too (data.train_targets, validation_targets, test_targets), or rows with two "
            "columns (.tsv .csv .jsonl)",
        )


def _of_rows(
    rows: Iterator[tuple[str, dict[str, Any]]], column: str | None, target_column: str | None
) -> Iterator[Pair]:
    """Two named cells of each row; a dot in a name leads into a cell that has fields."""
    for place, row in rows:
        flat = _flat(row)
        if column is None or target_column is None:
            column, target_column = _guess(flat, column, target_column, place)
        yield Pair(*((text_in(flat, name, place) or "") for name in (column, target_column)))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """{"translation": {"de": ...}} also by the name "translation.de"."""
    inner = {f"{name}.{key}": v for name, cell in row.items() if isinstance(cell, dict) for key, v in cell.items()}
    return row | inner


def _guess(row: dict[str, Any], column: str | None, target_column: str | None, place: str) -> tuple[str, str]:
    """The columns that are called as pairs are, or the only two that hold text."""
    for pair in PAIR_COLUMNS:
        if set(pair) <= set(row) and column in (None, pair[0]) and target_column in (None, pair[1]):
            return pair
    texts = [name for name, cell in row.items() if isinstance(cell, str)]
    if len(texts) == 2 and column in (None, texts[0]) and target_column in (None, texts[1]):
        return texts[0], texts[1]
    raise UsageError(
        f"{place}: it is not clear which columns hold source and target; the columns are "
        + (", ".join(map(repr, row)) or "none"),
        "set data.column and data.target_column",
    )


def _of_table(file: Path, column: str | None, target_column: str | None) -> Iterator[Pair]:
    """Two columns, by name or by number; without either, those of a header that names a pair, or the only two."""
    indices: list[int] | None = None
    for line, cells in table_rows(file):
        if indices is None:
            indices, is_header = _table_columns(cells, column, target_column, f"{file}, line {line}")
            if is_header:
                continue
        if max(indices) >= len(cells):
            raise UsageError(
                f"{file}, line {line} is broken: {len(cells)} columns, and column {max(indices) + 1} is wanted",
                "mend or remove the line (a missing separator?)",
            )
        yield Pair(*(cells[index] for index in indices))


def _table_columns(
    first: list[str], column: str | None, target_column: str | None, place: str
) -> tuple[list[int], bool]:
    """The places of source and target, and whether the first row is a header."""
    if column is None and target_column is None:
        for pair in PAIR_COLUMNS:
            if set(pair) <= set(first):
                return [first.index(name) for name in pair], True
        if len(first) == 2:
            return [0, 1], False
    named = [name for name in (column, target_column) if name is not None]
    if len(named) == 2 and all(name.isdecimal() and int(name) < len(first) for name in named):
        return [int(name) for name in named], False
    for name in named:
        if name not in first:
            raise UsageError(f"{place}: there is no column {name!r}", nearest(name, first))
    if len(named) == 2:
        return [first.index(name) for name in named], True
    raise UsageError(
        f"{place}: it is not clear which columns hold source and target; the columns are {', '.join(map(repr, first))}",
        "set data.column and data.target_column",
    )


def builtin_pairs(name: str) -> Iterator[Pair]:
    """`builtin:pairs/train`, or one kind of them: `builtin:pairs/train/translation`. Raises UsageError."""
    corpus, part, kind = [*name.removeprefix("builtin:").split("/"), "", ""][:3]
    if corpus != "pairs" or part not in ("train", "heldout") or kind not in ("", *BUILTIN_KINDS):
        raise UsageError(
            f"{name} names no built-in pairs",
            f"write builtin:pairs/train or builtin:pairs/heldout, perhaps with /{' or /'.join(BUILTIN_KINDS)} behind",
        )
    file = resources.files("glassformer.data").joinpath("builtin", "pairs.tsv")
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        cells = line.split("\t")
        if len(cells) != 4:
            raise GlassformerError(
                f"pairs.tsv, line {number}: {line!r} is not part, kind, source and target",
                "the file belongs to the package: reinstall it",
            )
        if cells[0] == part and kind in ("", cells[1]):
            yield Pair(cells[2], cells[3])
