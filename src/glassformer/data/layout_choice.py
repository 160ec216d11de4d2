"""How the files of a source are read, decided from samples of them: what a document is, the delimiter, header and
column."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from glassformer.data.data_config import DataConfig, asked_layout
from glassformer.data.file_rows import TEXTS, names_of, rows_of
from glassformer.data.files import SUFFIXES, files_of, format_of, is_path, read_lines
from glassformer.data.hub import hub_rows
from glassformer.data.layout import Layout, columns_chosen, delimiter_of, document_of, header_of, spread, style_of
from glassformer.data.records import Row
from glassformer.data.roles import TEXT, Role
from glassformer.data.tables import SAMPLE_ROWS, cells, column_names, usual_width
from glassformer.data.tagged import is_tagged

SAMPLE_FILES = 32
"""So many files are looked into, evenly from the first to the last, before how to read them is chosen."""
_SAMPLE_CHARACTERS, _SAMPLE_LINES = 2**20, 20_000  # of all of them together


def layout_for(data: DataConfig, roles: Sequence[Role] = TEXT) -> Layout:
    """How all texts of a recipe are read: what it leaves open is decided by the training text, and what that leaves
    open (of a kind of file that it does not have) by the validation text. Raises UsageError where it is not clear."""
    layout = asked_layout(data)
    if roles[0] == "array":
        return layout
    for source, targets in ((data.train, data.train_targets), (data.validation, data.validation_targets)):
        if source is not None and targets is None:
            layout = layout_of(source, layout, roles)
    return layout


def layout_of(source: str | tuple[str, ...], layout: Layout, roles: Sequence[Role] = TEXT) -> Layout:
    """The layout with what it leaves open decided for this source, from samples of its files. Raises UsageError where
    that is not clear."""
    kinds = {kind for name in names_of(source) for kind in _kinds(name)}
    if not layout.leaves_open(kinds, roles):
        return layout
    seen = look_into(source, layout, roles)
    return columns_chosen(seen.rows, seen.layout, roles, seen.first_row, seen.style)


class Seen(NamedTuple):
    """What samples of a source's files show: how they are written, and their first rows."""

    layout: Layout
    rows: list[tuple[str, list[dict[str, Any]]]]
    """Of each file its name and its first rows; none of files of plain text."""
    first_row: list[str]
    style: str
    """Words about a delimiter that is not the usual one."""


def look_into(source: str | tuple[str, ...], layout: Layout, roles: Sequence[Role] = TEXT) -> Seen:
    """Samples of a source's files, and the layout with all but the columns decided. Raises UsageError where that is not
    clear."""
    files = spread([file for name in names_of(source) if is_path(name) for file in files_of(name)], SAMPLE_FILES)
    samples = {file: _first_lines(file, len(files)) for file in files if format_of(file) in TEXTS}
    layout = _document_decided(samples, layout, roles)
    is_table = ".txt" if layout.document == "row" else ""
    tables = {file: lines for file, lines in samples.items() if format_of(file) in (".csv", ".tsv", is_table)}
    rows: list[tuple[str, list[dict[str, Any]]]] = []
    first_row: list[str] = []
    style = ""
    if tables and layout.document != "tagged":
        layout, is_usual = style_of([*tables.items()], layout)
        style = "" if is_usual else f" parted by {layout.delimiter!r}"
        parsed = {file: _whole_rows(lines, layout, file) for file, lines in tables.items()}
        layout = header_of([*parsed.items()], layout)
        first_row = next((cells[0] for cells in parsed.values() if cells), [])
        rows += [(file.name, _first(_table_sample(file, tables[file], layout))) for file in tables]
    texts_only = tuple(roles) == TEXT
    if layout.document == "tagged" and not texts_only:
        rows += [(file.name, _first(rows_of(file, layout))) for file in samples]
    rows += [(file.name, _first(rows_of(file, Layout(), texts_only))) for file in files if format_of(file) not in TEXTS]
    rows += [(name, _first(hub_rows(name))) for name in names_of(source) if name.startswith("hub:")]
    return Seen(layout, rows, first_row, style)


def _kinds(name: str) -> set[str]:
    """The formats of a source's files, without looking into them or listing them in order."""
    if not is_path(name):
        return {".jsonl"} if name.startswith("hub:") else set()
    if os.path.isdir(os.path.expanduser(name)):
        inside = {Path(file).suffix.lower() for _, _, files in os.walk(os.path.expanduser(name)) for file in files}
        return inside & {*SUFFIXES}
    if glob.has_magic(name) and Path(name).suffix.lower() not in SUFFIXES:
        return {format_of(file) for file in files_of(name)}
    return {format_of(Path(name))}


def _first_lines(file: Path, files: int) -> list[str]:
    """The beginning of a file: of one of few files, more."""
    left = max(2**14, _SAMPLE_CHARACTERS // files)
    lines: list[str] = []
    for line in islice(read_lines(file), max(2 * SAMPLE_ROWS, _SAMPLE_LINES // files)):
        lines.append(line)
        left -= len(line) + 1
        if left <= 0:
            break
    return lines


def _document_decided(samples: dict[Path, list[str]], layout: Layout, roles: Sequence[Role]) -> Layout:
    if layout.document != "auto" or layout.document_start is not None:
        return layout
    if "tags" in roles:
        return replace(layout, document="tagged") if samples else layout
    texts = [(file.name, lines) for file, lines in samples.items() if format_of(file) == ".txt"]
    if texts and delimiter_of(layout.delimiter) is not None:  # who names a delimiter has a table
        return replace(layout, document="row")
    tagged = [file for file, lines in samples.items() if format_of(file) != ".txt" and is_tagged(lines)]
    if tagged and layout.column is None and tuple(roles) == TEXT:
        texts = [(file.name, lines) for file, lines in samples.items()]
    return document_of(texts, layout, roles) if texts else layout


def _whole_rows(lines: list[str], layout: Layout, file: Path) -> list[list[str]]:
    """The first rows of a table, without the last one of many, which the sample may have cut."""
    rows = [row for _, row in islice(cells(lines, layout.style(), file, strict=False), SAMPLE_ROWS + 1)]
    return rows[:-1] if len(rows) > SAMPLE_ROWS else rows


def _table_sample(file: Path, lines: list[str], layout: Layout) -> Iterator[Row]:
    """The rows of a sample by the names of their columns; those of another length are told when they are read."""
    rows = _whole_rows(lines, layout, file)
    if not rows:
        return
    width = len(rows[0]) if layout.header else usual_width(rows)
    names = column_names(rows[0]) if layout.header else [str(number) for number in range(width)]
    for row in rows[int(layout.header is True) :]:
        if len(row) == width:
            yield str(file), dict(zip(names, row, strict=True))


def _first(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The first rows; of long ones fewer."""
    found: list[dict[str, Any]] = []
    left = _SAMPLE_CHARACTERS
    for _, row in islice(rows, SAMPLE_ROWS):
        found.append(row)
        left -= sum(len(cell) for cell in row.values() if isinstance(cell, str | list))
        if left <= 0:
            break
    return found
