"""Rows with named cells: lines of JSON, an array of JSON objects, parquet.

{"id": 1, "text": "one"}                 jsonl: an object in each line
[{"id": 1, "text": "one"}, ...]          json: an array of objects, or of texts; also as the only list of an object
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from glassformer.errors import UsageError, nearest

Row = tuple[str, dict[str, Any]]
_SOLID = re.compile(r"[^ \t\r\n]")
LONGEST_ROW = 2**26
"""Characters of one row of a JSON array."""


def cell_in(row: dict[str, Any], column: str, place: str) -> Any:
    """One cell as it is. A dot leads into a cell that has fields. Raises UsageError for a column that there is not."""
    row = row if column in row else flat(row)
    if column not in row:
        raise UsageError(f"{place} has no column {column!r}", nearest(column, map(str, row)))
    return row[column]


def text_in(row: dict[str, Any], column: str, place: str) -> str | None:
    """The text of one cell, None where it is null; of a list of texts, these with a space between. Raises UsageError
    for a column that there is not, or no text."""
    text = cell_in(row, column, place)
    if text is None:
        return None
    if isinstance(text, list) and all(isinstance(part, str) for part in text):
        text = " ".join(text)
    if not isinstance(text, str):
        raise UsageError(
            f"{place}: column {column!r} holds no text but a {type(text).__name__}",
            "give another column, or make it a string",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{place}: column {column!r} holds a lone surrogate, U+{ord(text[error.start]):04X}, "
            f"at character {error.start}",
            "it is half of a character and cannot be written as UTF-8: mend or remove it",
        ) from None
    return text


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """{"translation": {"de": ...}} also by the name "translation.de"."""
    inner = {f"{name}.{key}": v for name, cell in row.items() if isinstance(cell, dict) for key, v in cell.items()}
    return row | inner if inner else row


# --- JSON -----------------------------------------------------------------------------------------


def json_lines(lines: Iterable[str], file: Path) -> Iterator[Row]:
    """(file and line, row) of each line that is not blank. Raises UsageError for one that is no JSON object."""
    for number, line in enumerate(lines, start=1):
        if line and not line.isspace():
            yield f"{file}, line {number}", _json_row(line, file, number)


def _json_row(line: str, file: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}, line {number} is broken JSON: {error}", "mend or remove the line") from None
    if not isinstance(row, dict):
        raise UsageError(
            f"{file}, line {number} is no JSON object but {line[:40]!r}",
            'each line must look like {"text": "..."}',
        )
    return row


def json_rows(lines: Iterable[str], file: Path) -> Iterator[Row]:
    """(file and line, row) of a .json file: an array of objects or texts, an object whose only list is one, or an
    object in each line. Rows are read one at a time. Raises UsageError for JSON that is no rows, and for what is
    broken."""
    lines, filled, before = iter(lines), [], []
    for line in lines:
        before.append(line)
        filled += [line] if line and not line.isspace() else []
        if len(filled) == 2:
            break
    lines = chain(before, lines)
    if len(filled) == 2 and all(line.lstrip().startswith("{") for line in filled) and _is_object(filled[0]):
        yield from json_lines(lines, file)
        return
    text = _Characters(lines, file)
    if text.next() == "[":
        yield from _items(text)
        text.end()
    elif text.next() == "{":
        yield from _rows_of_object(text)
    elif text.next():
        raise text.wrong("it begins with no [ or {")


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


class _Characters:
    """JSON as it comes in, line by line: what was read is let go."""

    def __init__(self, lines: Iterable[str], file: Path) -> None:
        self.lines, self.file = iter(lines), file
        self.buffer, self.line, self.at, self.ended = "", 1, 0, False
        self.decoder = json.JSONDecoder()

    def _more(self) -> bool:
        """Take in at least as much as there is: what one value needs is then read a few times, not once a line."""
        wanted = max(2**16, len(self.buffer) - self.at)
        parts = [self.buffer[self.at :]]
        for line in self.lines:
            parts.append(f"{line}\n")
            wanted -= len(line) + 1
            if wanted <= 0:
                break
        else:
            self.ended = True
        self.buffer, self.at = "".join(parts), 0
        return len(parts) > 1

    def next(self) -> str:
        """The next character that is no space, "" at the end. It stays."""
        while True:
            found = _SOLID.search(self.buffer, self.at)
            stop = found.start() if found else len(self.buffer)
            self.line += self.buffer.count("\n", self.at, stop)
            self.at = stop
            if found:
                return found[0]
            if self.ended or not self._more():
                return ""

    def take(self, character: str) -> None:
        """Go past this character. Raises UsageError for another one."""
        if (found := self.next()) != character:
            raise self.wrong(f"{character!r} is expected, and there is {found!r}" if found else "it breaks off")
        self.at += 1

    def value(self) -> Any:
        """The whole value that begins here. Raises UsageError for one that is broken, too long or too deep."""
        while True:
            self.next()
            try:
                value, end = self.decoder.raw_decode(self.buffer, self.at)
            except RecursionError:
                raise self.wrong("it is nested too deeply") from None
            except ValueError as error:
                broken = str(error)
            else:
                if end < len(self.buffer) or self.ended:  # a number may go on
                    self.line += self.buffer.count("\n", self.at, end)
                    self.at = end
                    return value
                broken = "it breaks off"
            if self.ended:
                raise self.wrong(broken)
            if len(self.buffer) - self.at > LONGEST_ROW:
                raise self.wrong(f"one row has more than {LONGEST_ROW:,} characters, or does not end: {broken}")
            self._more()

    def end(self) -> None:
        """Raises UsageError where something follows."""
        if self.next():
            raise self.wrong("something follows its end")

    def wrong(self, why: str) -> UsageError:
        return UsageError(f"{self.file}, line {self.line} is broken JSON: {why}", "mend the file or write it again")


def _items(text: _Characters) -> Iterator[Row]:
    text.take("[")
    while text.next() != "]":
        place = f"{text.file}, line {text.line}"
        yield place, _row_of(text.value(), place, text.file)
        if text.next() != "]":
            text.take(",")
    text.take("]")


def _row_of(item: Any, place: str, file: Path) -> dict[str, Any]:
    if isinstance(item, str):
        return {"text": item}
    if not isinstance(item, dict):
        raise UsageError(
            f"{place}: an item of the array is no object but a {type(item).__name__}",
            'each must look like {"text": "..."}',
        )
    for name, cell in item.items():
        if isinstance(cell, list) and any(isinstance(part, dict) for part in cell):
            what = "questions inside paragraphs, as SQuAD has them" if name == "paragraphs" else f"objects in {name!r}"
            raise UsageError(
                f"{place}: the rows of {file.name} are not flat: they hold {what}",
                'write one row for each text, for example lines of {"question": "...", "answer": "..."} (.jsonl)',
            )
    return item


def _rows_of_object(text: _Characters) -> Iterator[Row]:
    """Of one object the rows in its only list."""
    text.take("{")
    seen: dict[str, Any] = {}
    rows = 0
    while text.next() != "}":
        name = text.value()
        if not isinstance(name, str):
            raise text.wrong(f"{name!r} is no name")
        text.take(":")
        if name == "added_tokens":
            raise _no_rows(text, ["model", "added_tokens"])
        if text.next() == "[" and not any(isinstance(value, dict) for value in seen.values()) and not rows:
            for row in _items(text):
                rows += 1
                yield row
        else:
            seen[name] = text.value()
        if rows and isinstance(seen.get(name), dict | list):
            raise _no_rows(text, [*seen, "..."])
        if text.next() != "}":
            text.take(",")
    text.take("}")
    if not rows:
        raise _no_rows(text, [*seen])
    text.end()


def _no_rows(text: _Characters, names: list[str]) -> UsageError:
    if {"model", "added_tokens"} <= set(names):
        return UsageError(f"{text.file} is a tokenizer and no text", f"to use it: tokenizer.path={text.file}")
    there = ", ".join(map(repr, names[:8])) or "nothing"
    return UsageError(
        f"{text.file} holds no rows: it is one JSON object with {there}",
        'write an array of objects, [{"text": "..."}, ...], or a .jsonl file with an object in each line',
    )


# --- parquet --------------------------------------------------------------------------------------


def is_text(kind: Any) -> bool:
    """Whether a type of pyarrow holds text, however it is stored: plain, large, as a view, as a dictionary."""
    import pyarrow

    types = pyarrow.types
    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _may_hold_text(kind: Any) -> bool:
    import pyarrow

    types = pyarrow.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_text(kind) or types.is_struct(kind) or (is_list and is_text(kind.value_type))


def parquet_rows(file: Path, column: str | None = None, texts_only: bool = True) -> Iterator[Row]:
    """(file and row, row) of each row: of one column where it is named, else of all, or of those that may hold text.
    Raises UsageError."""
    import pyarrow  # comes with `datasets`; slow to import and rarely needed
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
        schema = table.schema_arrow
        if column is not None and column not in schema.names and column.partition(".")[0] in schema.names:
            column = column.partition(".")[0]  # the field of a struct
        if column is not None and column not in schema.names:
            there = ", ".join(map(repr, schema.names)) or "none"
            raise UsageError(
                f"{file}: there is no column {column!r}; the columns are {there}", "set data.column to one of them"
            )
        texts = [field.name for field in schema if not texts_only or _may_hold_text(field.type)]
        number = 0
        for batch in table.iter_batches(batch_size=1024, columns=texts if column is None else [column]):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}, row {number}", row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no whole parquet file: {error}", "write or download it again") from None
