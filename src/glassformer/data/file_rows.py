"""The rows of a file of rows, whatever its format."""

from collections.abc import Iterator
from pathlib import Path

from glassformer.data.files import format_of, read_lines
from glassformer.data.layout import Layout
from glassformer.data.records import Row, json_lines, json_rows, parquet_rows
from glassformer.data.squad import is_squad, squad_rows
from glassformer.data.tables import table_rows
from glassformer.data.tagged import tagged_rows

TEXTS = (".txt", ".csv", ".tsv")
"""Formats that are read line by line."""


def names_of(source: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names in a source, which may be several."""
    return (source,) if isinstance(source, str) else source


def rows_of(file: Path, layout: Layout, texts_only: bool = True) -> Iterator[Row]:
    """(file and line, row) of each row of a file of rows; of parquet perhaps only what may be text. Raises UsageError
    for a broken one."""
    kind = format_of(file)
    if layout.document == "tagged" and kind in TEXTS:
        return tagged_rows(read_lines(file), file)
    if kind == ".jsonl":
        return json_lines(read_lines(file), file)
    if kind == ".json":
        return squad_rows(file) if not texts_only and is_squad(file) else json_rows(read_lines(file), file)
    if kind == ".parquet":
        column = layout.column if layout.target_column is None and texts_only else None
        return parquet_rows(file, column, texts_only)
    return table_rows(read_lines(file), layout.style(), layout.header is True, file)
