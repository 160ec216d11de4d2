"""How a text is read: what one document is, which column, which delimiter, header or not. Chosen once for a run, from
samples of all files of the training text; validation and test are read alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

from glassformer.data.columns import columns_of, labels_beside, pair_columns, text_column
from glassformer.data.tables import Style, column_names, find_style, header_votes, is_label, is_number
from glassformer.data.tagged import is_tagged
from glassformer.errors import UsageError, nearest

T = TypeVar("T")
Document = Literal["auto", "line", "blank_line", "file", "row", "tagged"]
LAYOUT_KEYS = ("document", "document_start", "column", "target_column", "delimiter", "header", "quoted")
"""The keys of `data` that a layout is made of."""
_PARAGRAPHS_FOR_AUTO = 20
_ROWS_FOR_LABELS = 20


@dataclass(frozen=True)
class Layout:
    """How a text is read; the keys of `data` of the same names. What is `auto` or None has not been decided, or need
    not be. `notes` says what was chosen, for people."""

    document: Document = "auto"
    document_start: str | None = None
    column: str | None = None
    target_column: str | None = None
    delimiter: str = "auto"
    header: bool | Literal["auto"] = "auto"
    quoted: bool | Literal["auto"] = "auto"
    notes: tuple[str, ...] = field(default=(), compare=False)

    def said(self) -> list[str]:
        """What was chosen and how to say otherwise, a line for each choice; nothing where a person chose."""
        return list(self.notes)

    def settings(self) -> list[Any]:
        """All that decides how a text is read, as plain data."""
        return [getattr(self, name) for name in LAYOUT_KEYS]

    def leaves_open(self, kinds: set[str], pairs: bool = False) -> bool:
        """Whether there is something to decide for files of these kinds (suffixes)."""
        no_column = self.column is None or (pairs and self.target_column is None)
        is_open = {".txt"} if self.document == "auto" and self.document_start is None else set()
        if no_column:
            is_open |= {".jsonl", ".json", ".parquet"}
        if (no_column or "auto" in (self.delimiter, self.header, self.quoted)) and self.document != "tagged":
            is_open |= {".csv", ".tsv"} | ({".txt"} if self.document == "row" else set())
        return bool(kinds & is_open)

    def style(self) -> Style:
        """How the rows of its tables are written."""
        return Style(delimiter_of(self.delimiter) or ",", self.quoted is True)

    def noting(self, note: str, **chosen: Any) -> "Layout":
        return replace(self, **chosen, notes=(*self.notes, note))


def delimiter_of(name: str) -> str | None:
    """The character that a recipe's `delimiter` names; None for auto."""
    return None if name == "auto" else {"tab": "\t", "\\t": "\t"}.get(name, name)


# --- text -----------------------------------------------------------------------------------------


def document_of(samples: Sequence[tuple[str, list[str]]], layout: Layout, pairs: bool) -> Layout:
    """What a document of these text files is. `samples` are the names and first lines of each. Raises UsageError where
    some are tagged or labelled rows, and others are not."""
    filled = [(name, lines) for name, lines in samples if any(line and not line.isspace() for line in lines)]
    if not filled:
        return layout
    place = named([name for name, _ in filled])
    if pairs:
        with_cells = all(all_have_cells(lines) for _, lines in filled)
        return replace(layout, document="row", delimiter="tab") if with_cells else layout
    if _agreeing([(name, is_tagged(lines)) for name, lines in filled], "rows of tagged tokens (CoNLL)"):
        return layout.noting(
            f"{place}: rows of tagged tokens (CoNLL); a text is a sentence, its tokens with spaces between, and the "
            "tags are left out (say otherwise with data.document=line)",
            document="tagged",
        )
    if all(are_labelled(lines) for _, lines in filled):
        return replace(layout, document="row", delimiter="tab")  # the table's note says the rest
    paragraphs = 1 + sum(max(0, _paragraphs(lines) - 1) for _, lines in filled)
    if paragraphs >= _PARAGRAPHS_FOR_AUTO:
        what, document, other = "a paragraph between blank lines", "blank_line", "line"
    else:
        what, document, other = "a line", "line", "blank_line"
    return layout.noting(
        f"{place}: a text is {what} (say otherwise with data.document={other} or file, or data.document_start=PATTERN)",
        document=document,
    )


def _paragraphs(lines: Sequence[str]) -> int:
    filled = [bool(line) and not line.isspace() for line in [*lines, ""]]
    return sum(before and not after for before, after in pairwise(filled))


def are_labelled(lines: Sequence[str]) -> bool:
    """Whether these lines are texts with labels: the same number of tabs in each, and a few different cells before or
    behind texts. Prose that is indented or aligned with tabs is not."""
    rows = [line.split("\t") for line in lines if line and not line.isspace()]
    if len(rows) < _ROWS_FOR_LABELS or not all_have_cells(lines):
        return False
    ends = ([row[end].strip() for row in rows] for end in (0, -1))
    labelled = any(all(cells) and is_label(cells) for cells in ends)
    return labelled and sum(any(len(cell.split()) >= 3 for cell in row) for row in rows) * 2 > len(rows)


def all_have_cells(lines: Sequence[str]) -> bool:
    """Whether all lines, but for one in fifty, have the same number of cells between tabs, two at least."""
    counts = [line.count("\t") for line in lines if line and not line.isspace()]
    begin = sum(line[:1] != "\t" for line in lines if line and not line.isspace())
    usual = max(set(counts), key=counts.count) if counts else 0
    return usual > 0 and min(counts.count(usual), begin) >= 0.98 * len(counts)


# --- tables ---------------------------------------------------------------------------------------


def style_of(samples: Sequence[tuple[Path, list[str]]], layout: Layout) -> tuple[Layout, bool]:
    """The layout with delimiter and quotation marks, and whether they are the files' usual ones. Raises UsageError
    where the files differ."""
    filled = [(file, lines) for file, lines in samples if lines]
    asked = None if layout.quoted == "auto" else layout.quoted
    styles = [(file, find_style(lines, file, delimiter_of(layout.delimiter), asked)) for file, lines in filled]
    if not styles:
        return layout, True
    first_file, style = styles[0]
    for file, other in styles:
        if other.delimiter != style.delimiter:
            raise UsageError(
                f"{first_file} has {style.name!r} between its cells, and {file} has {other.name!r}",
                "give files of one kind, or say data.delimiter=CHARACTER",
            )
    quoted = any(other.quoted for _, other in styles)
    is_usual = style == Style(*(("\t", False) if first_file.suffix.lower() == ".tsv" else (",", True)))
    return replace(layout, delimiter=style.name, quoted=quoted), is_usual


def header_of(samples: Sequence[tuple[Path, list[list[str]]]], layout: Layout) -> Layout:
    """The layout with `header`, and with columns by name where a person gave their numbers. `samples` are the first
    rows of each file. Raises UsageError where some files have a header and others have none, and for a column that is
    not there."""
    filled = [(file, rows) for file, rows in samples if rows]
    if not filled:
        return layout
    firsts = [column_names(rows[0]) for _, rows in filled]
    asked = [name for name in (layout.column, layout.target_column) if name is not None]
    header = layout.header
    if header == "auto":
        header = any(not name.isdecimal() for name in asked) or _votes(filled)
    names = firsts[0] if header else [str(number) for number in range(len(firsts[0]))]
    for name in asked:
        if name not in names and not (name.isdecimal() and int(name) < len(names)):
            there = ", ".join(map(repr, firsts[0]))
            raise UsageError(
                f"{filled[0][0]}: there is no column {name!r}; the columns are {there}", nearest(name, firsts[0])
            )
    by_name = {name: name if name in names else names[int(name)] for name in asked}
    return replace(
        layout,
        header=header,
        column=by_name.get(layout.column or ""),
        target_column=by_name.get(layout.target_column or ""),
    )


def _votes(filled: Sequence[tuple[Path, list[list[str]]]]) -> bool:
    if len(filled) > 1 and len({tuple(rows[0]) for _, rows in filled}) == 1:
        return not any(map(is_number, filled[0][1][0]))  # the same first row in all files
    votes = [(file, header_votes(rows)) for file, rows in filled]
    headed, bare = ([file for file, vote in votes if vote == wanted] for wanted in (1, -1))
    if headed and bare:
        raise UsageError(
            f"the first row of {headed[0]} looks like a header, and that of {bare[0]} does not",
            "say data.header=true or data.header=false",
        )
    return bool(headed)


# --- rows -----------------------------------------------------------------------------------------


def columns_chosen(
    samples: Sequence[tuple[str, Sequence[dict[str, Any]]]],
    layout: Layout,
    pairs: bool,
    first_row: Sequence[str],
    style: str = "",
) -> Layout:
    """The layout with the column of the text, or those of source and target, where none was given. `samples` are rows
    of each file. Raises UsageError where that is not clear."""
    filled = [(name, rows) for name, rows in samples if rows]
    if not filled:
        return layout
    place, bare = named([name for name, _ in filled]), layout.header is False and bool(first_row)
    given = layout.column is not None and (layout.target_column is not None or not pairs)
    columns = columns_of([rows for _, rows in filled])
    cells = first_row if bare else ()
    chosen: tuple[str, ...]
    if given:
        chosen = tuple(name for name in (layout.column, layout.target_column) if name is not None)
    elif pairs:
        chosen = pair_columns(columns, layout.column, layout.target_column, place, cells)
    else:
        chosen = (text_column(columns, place, cells),)
    names = [column.name for column in columns]
    what = f"columns {chosen[0]!r} and {chosen[1]!r}" if pairs else f"column {chosen[0]!r}"
    header = ""
    if first_row:
        header = ", no header found" if bare else ", the first row is taken as header"
    note = f"{place}: {what} of {', '.join(map(repr, names[:12]))}{style}{header}"
    lists = [column.name for column in columns if column.lists and column.name in chosen]
    if lists:
        first = f", of {chosen[1]!r} the first text is taken" if pairs and chosen[1] in lists else ""
        note += f"; the texts of a list are joined with spaces{first}"
    labels = [] if pairs else labels_beside(columns, chosen)
    if labels:
        note += f"; left out, since they look like labels: {', '.join(map(repr, labels))} (no task on labels yet)"
    keys = ["data.column=NAME", *(["data.target_column=NAME"] if pairs else [])]
    keys += [f"data.header={str(bare).lower()}"] if first_row else []
    keys += ["data.document=line"] if layout.document == "row" else []
    note += f" (say otherwise with {', '.join(keys)})"
    decided = replace(layout, column=chosen[0], target_column=chosen[1] if pairs else layout.target_column)
    return decided.noting(note) if not given or first_row or lists else decided


def named(names: Sequence[str]) -> str:
    """`a.csv`, or `a.csv and 12 more`."""
    different = list(dict.fromkeys(names))
    return different[0] if len(different) == 1 else f"{different[0]} and {len(different) - 1} more"


def _agreeing(found: Sequence[tuple[str, bool]], what: str) -> bool:
    yes, no = ([name for name, is_it in found if is_it is wanted] for wanted in (True, False))
    if yes and no:
        raise UsageError(
            f"{yes[0]} looks like {what}, and {no[0]} does not", "give files of one kind, or say data.document=line"
        )
    return bool(yes)


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, evenly from first to last."""
    return list(items) if len(items) <= most else [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]
