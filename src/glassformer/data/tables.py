"""Tables: text whose rows are cells between delimiters (csv, tsv and their like). How such a file is written is found
from many of its rows: which delimiter, whether quotation marks enclose cells, whether the first row is a header.

    id,text          a comma; quotation marks enclose cells; a header, since 1 and 2 are numbers and id is none
    1,"one, two"
    2,three
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from glassformer.errors import UsageError

DELIMITERS = ("\t", "|", ";", ",")
"""Those that are looked for; of equally good ones the first, since commas and semicolons stand in texts too."""
NAMES = {
    "text",
    "sentence",
    "content",
    "body",
    "source",
    "target",
    "input",
    "output",
    "instruction",
    "question",
    "answer",
    "summary",
    "id",
    "label",
    "labels",
    "class",
    "category",
    "index",
    "title",
    "name",
    "score",
    "rating",
    "review",
    "comment",
    "message",
    "sentence1",
    "sentence2",
    "premise",
    "hypothesis",
}
"""What a column is often called: such a cell in the first row makes it a header."""
SAMPLE_ROWS = 200
_SAMPLE_LINES = 1000
_CONSISTENT = 0.8  # of the rows have as many cells as most
_LONGEST_CELL = 2**24  # characters; the csv module's own limit, 131072, is less than a long article


class Style(NamedTuple):
    """How the rows of a table are written."""

    delimiter: str
    quoted: bool

    @property
    def name(self) -> str:
        """The delimiter as a recipe has it."""
        return "tab" if self.delimiter == "\t" else self.delimiter


def cells(lines: Iterable[str], style: Style, file: Path, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not blank. Raises UsageError for a quotation mark out of place."""
    csv.field_size_limit(_LONGEST_CELL)
    quoting: Any = csv.QUOTE_MINIMAL if style.quoted else csv.QUOTE_NONE
    ended = (f"{line}\n" for line in lines)
    reader = csv.reader(ended, delimiter=style.delimiter, strict=strict, quoting=quoting)
    try:
        for row in reader:
            if any(cell and not cell.isspace() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise UsageError(
            f"{file}, line {reader.line_num} is broken: {error}",
            "mend or remove the line; where quotation marks are part of the text: data.quoted=false",
        ) from None


def table_rows(lines: Iterable[str], style: Style, header: bool, file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line, row) of each row: cells by the names of the header, or by their numbers from 0. Raises UsageError
    for a row that is longer or shorter than the header or, without one, than most rows."""
    rows = cells(lines, style, file)
    sample = list(islice(rows, SAMPLE_ROWS))
    if not sample:
        return
    first = sample[0][1]
    width = len(first) if header else usual_width([row for _, row in sample])
    names = column_names(first) if header else [str(number) for number in range(width)]
    for number, row in islice(chain(sample, rows), int(header), None):
        if len(row) != width:
            raise _wrong_width(file, number, len(row), width, style, header)
        yield f"{file}, line {number}", dict(zip(names, row, strict=True))


def _wrong_width(file: Path, number: int, found: int, width: int, style: Style, header: bool) -> UsageError:
    usual = f"the header has {width}" if header else f"most rows have {width}"
    if style.quoted:
        mend = (
            'put a text that holds the delimiter in quotation marks ("one, two"), say data.delimiter=CHARACTER where '
            "another one parts the cells, or name the file .txt where a line is a text"
        )
    else:
        mend = f"mend or remove the line, or name one column as a text of its own: cut -f 1 {file} > new.txt"
        if style.delimiter != "\t":
            mend = "mend or remove the line, or say data.delimiter=CHARACTER where another one parts the cells"
    what = f"{file}, line {number} is broken: {found} column{'s' if found != 1 else ''}, and {usual}"
    return UsageError(f"{what} (parted by {style.name})", mend)


def usual_width(rows: Sequence[Sequence[str]]) -> int:
    """The number of cells that most rows have; of equally frequent ones the first row's."""
    counts = Counter(map(len, rows))
    return max(counts, key=lambda width: (counts[width], width == len(rows[0])))


def column_names(first: Sequence[str]) -> list[str]:
    """The names in a header; a cell without one, or with one that was there before, is called by its number."""
    return [
        cell if (cell := raw.strip()) and cell not in map(str.strip, first[:number]) else str(number)
        for number, raw in enumerate(first)
    ]


# --- how it is written ----------------------------------------------------------------------------


def find_style(lines: list[str], file: Path, delimiter: str | None, quoted: bool | None) -> Style:
    """The delimiter that parts most rows into equally many cells, two at least; without any the usual one of the file's
    suffix. `delimiter` and `quoted` are what a person said.

    Between commas and semicolons a cell may stand in quotation marks; between tabs and bars a quotation mark is a
    character of the text, unless only so the rows are equally long, or all texts stand in quotation marks."""
    lines = lines[:_SAMPLE_LINES]
    candidates = DELIMITERS if delimiter is None else (delimiter,)
    shares: dict[Style, float] = {}
    for candidate in candidates:
        for with_quotes in (True, False) if quoted is None else (quoted,):
            if quoted is not None or with_quotes or candidate in "\t|":
                style = Style(candidate, with_quotes)
                shares[style] = _share(_sampled(lines, style, file))
    best = max(shares.values())
    if best < _CONSISTENT and delimiter is None:
        usual = "\t" if file.suffix.lower() == ".tsv" else ","
        return Style(usual, usual == "," if quoted is None else quoted)
    parting = next(style.delimiter for style in shares if shares[style] == best)
    if quoted is not None or parting not in "\t|":
        return Style(parting, True if quoted is None else quoted)
    plain, enclosed = Style(parting, False), Style(parting, True)
    all_enclosed = _all_in_quotes(_sampled(lines, plain, file))
    return enclosed if all_enclosed or shares[enclosed] > shares[plain] + 0.02 else plain


def _sampled(lines: list[str], style: Style, file: Path) -> list[list[str]]:
    """The rows, without the last one, which the sample may have cut."""
    rows = [row for _, row in cells(lines, style, file, strict=False)]
    return rows[:-1] if len(rows) > 2 else rows


def _share(rows: list[list[str]]) -> float:
    """Which share of the rows has as many cells as most have; 0 where that is one."""
    if not rows:
        return 0.0
    width = usual_width(rows)
    return 0.0 if width < 2 else sum(len(row) == width for row in rows) / len(rows)


def _all_in_quotes(rows: list[list[str]]) -> bool:
    texts = [cell for row in rows for cell in row if cell.strip() and not is_number(cell)]
    return len(texts) > 1 and all(len(t) > 1 and t[0] == t[-1] == '"' for t in texts)


# --- header ---------------------------------------------------------------------------------------


def header_votes(rows: Sequence[Sequence[str]]) -> int:
    """1 where the first of these rows is a header, -1 where it is none, 0 where nothing speaks for either.

    For it: the usual name of a column; a cell that is no number above numbers; above labels a name that is none of
    them; above texts a name that is shorter than they are. Against it: a number above numbers, a cell that comes again
    below, a cell that is no name."""
    first, others = rows[0], rows[1:]
    filled = [cell.strip() for cell in first if cell.strip()]
    if not filled or any(map(is_number, filled)):
        return -1 if filled else 0
    if any(cell.lower() in NAMES for cell in filled) and all(map(_is_name, filled)) and len({*filled}) == len(filled):
        return 1
    columns = ([row[n] for row in others if n < len(row) and row[n].strip()] for n in range(len(first)))
    votes = [_vote(cell.strip(), column) for cell, column in zip(first, columns, strict=True) if column]
    return -1 if -1 in votes else int(1 in votes)


def _vote(cell: str, below: list[str]) -> int:
    if sum(map(is_number, below)) >= 0.9 * len(below):
        return 1
    if not cell:
        return 0
    if cell in map(str.strip, below) or not _is_name(cell):
        return -1
    if len(below) < 4:
        return 0
    if is_label(below):
        return 1
    return int(sum(len(other) <= len(cell) for other in below) <= 0.02 * len(below))


def _is_name(cell: str) -> bool:
    """Whether a cell may be what a column is called: at most three words without the marks of a sentence."""
    return len(cell.split()) <= 3 and bool(re.fullmatch(r"[^\W\d][\w .\-/()#:%]{0,39}", cell)) and cell[-1] not in ".:"


def is_number(cell: str) -> bool:
    """Whether a cell holds a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_label(values: Sequence[str]) -> bool:
    """Whether these are labels: few different values of a word or two, each again and again."""
    different = set(values)
    few = len(different) <= min(50, len(values) / 4)
    return few and max(map(len, different)) <= 40 and max(len(value.split()) for value in different) <= 3
