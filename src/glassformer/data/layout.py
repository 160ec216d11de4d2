"""How a text is read: what one document is, which column, which delimiter, header or not. Chosen once for a run, from
samples of all files of the training text; validation and test are read alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from glassformer.data.columns import (
    Found,
    columns_of,
    labels_beside,
    pair_columns,
    tagged_columns,
    text_column,
    two_columns,
    value_column,
)
from glassformer.data.roles import NAMED, PAIR, TEXT, Columns, Role
from glassformer.data.tables import Style, column_names, find_style, header_votes, is_label, is_number
from glassformer.data.tag_schemes import Scheme, faults, scheme_of
from glassformer.data.tagged import is_tagged
from glassformer.errors import UsageError, nearest

T = TypeVar("T")
Document = Literal["auto", "line", "blank_line", "file", "row", "tagged"]
LAYOUT_KEYS = (
    *("document", "document_start", "column", "target_column", "columns", "delimiter", "header", "quoted"),
    "tag_scheme",
)
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
    columns: Columns = field(default_factory=Columns)
    """Those of other roles than `column` and `target_column`."""
    delimiter: str = "auto"
    header: bool | Literal["auto"] = "auto"
    quoted: bool | Literal["auto"] = "auto"
    tag_scheme: Scheme | Literal["auto"] = "auto"
    notes: tuple[str, ...] = field(default=(), compare=False)

    def said(self) -> list[str]:
        """What was chosen and how to say otherwise, a line for each choice; nothing where a person chose."""
        return list(self.notes)

    def settings(self) -> list[Any]:
        """All that decides how a text is read, as plain data."""
        others = self.columns.model_dump(exclude_none=True)
        if self.tag_scheme != "auto":
            others["tag_scheme"] = self.tag_scheme
        named = [getattr(self, name) for name in LAYOUT_KEYS if name not in ("columns", "tag_scheme")]
        return named + ([others] if others else [])

    def column_of(self, role: Role) -> str | None:
        """The name of the column that plays a role; None where it is not decided."""
        texts = {"text": self.column, "source": self.column, "target": self.target_column}
        return texts[role] if role in texts else getattr(self.columns, role, None)

    def with_columns(self, names: dict[Role, str]) -> "Layout":
        """With these columns."""
        values: dict[str, Any] = {role: name for role, name in names.items() if role in NAMED}
        return replace(
            self,
            column=names.get("text") or names.get("source") or self.column,
            target_column=names.get("target") or self.target_column,
            columns=self.columns.model_copy(update=values),
        )

    def leaves_open(self, kinds: set[str], roles: Sequence[Role] = TEXT) -> bool:
        """Whether there is something to decide for files of these kinds (suffixes)."""
        no_column = any(self.column_of(role) is None for role in roles)
        if "tags" in roles and (no_column or self.tag_scheme == "auto"):
            return True
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


def document_of(samples: Sequence[tuple[str, list[str]]], layout: Layout, roles: Sequence[Role] = TEXT) -> Layout:
    """What a document of these text files is. `samples` are the names and first lines of each. Raises UsageError where
    some are tagged or labelled rows, and others are not."""
    filled = [(name, lines) for name, lines in samples if any(line and not line.isspace() for line in lines)]
    if not filled:
        return layout
    place = named([name for name, _ in filled])
    if tuple(roles) != TEXT:
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
    named = {role: name for role in get_args(Role) if (name := layout.column_of(role)) is not None}
    asked = list(dict.fromkeys(named.values()))
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
    return replace(layout.with_columns({role: by_name[name] for role, name in named.items()}), header=header)


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
    roles: Sequence[Role],
    first_row: Sequence[str],
    style: str = "",
) -> Layout:
    """The layout with a column for each role, where none was given. `samples` are rows of each file. Raises UsageError
    where that is not clear."""
    filled = [(name, rows) for name, rows in samples if rows]
    if not filled:
        return layout
    place, bare = named([name for name, _ in filled]), layout.header is False and bool(first_row)
    given = all(layout.column_of(role) is not None for role in roles)
    columns = columns_of([rows for _, rows in filled])
    chosen = _chosen(columns, layout, roles, place, first_row if bare else ())
    names = [column.name for column in columns]
    different = list(chosen.values())
    what = f"column {different[0]!r}"
    if tuple(roles) == PAIR:
        what = f"columns {different[0]!r} and {different[1]!r}"
    elif len(roles) > 1:
        what = ", ".join(f"column {name!r} is the {role}" for role, name in chosen.items())
    if "tags" in roles:
        layout, more = _tags_settled(filled, layout, chosen)
        what += more
    header = ""
    if first_row:
        header = ", no header found" if bare else ", the first row is taken as header"
    note = f"{place}: {what} of {', '.join(map(repr, names[:12]))}{style}{header}"
    lists = [column.name for column in columns if column.lists and column.name in different]
    lists = [] if "tags" in roles else lists
    if lists:
        first = f", of {chosen['target']!r} the first text is taken" if chosen.get("target") in lists else ""
        note += f"; the texts of a list are joined with spaces{first}"
    labels = labels_beside(columns, different) if tuple(roles) == TEXT else []
    if labels:
        note += (
            f"; left out, since they look like labels: {', '.join(map(repr, labels))} (to learn them: "
            "objective.name=classification)"
        )
    keys = [f"{KEYS[role]}=NAME" for role in roles]
    keys += ["data.tag_scheme=SCHEME"] if "tags" in roles else []
    keys += [f"data.header={str(bare).lower()}"] if first_row else []
    keys += ["data.document=line"] if layout.document == "row" else []
    note += f" (say otherwise with {', '.join(keys)})"
    decided = layout.with_columns(chosen)
    return decided.noting(note) if not given or first_row or lists else decided


def _tags_settled(
    filled: Sequence[tuple[str, Sequence[dict[str, Any]]]], layout: Layout, chosen: dict[Role, str]
) -> tuple[Layout, str]:
    """The layout with the scheme of its tags, and words about that."""
    tagged = [(name, [list(map(str, row[chosen["tags"]])) for row in rows]) for name, rows in filled]
    scheme = scheme_of([tags for _, rows in tagged for tags in rows]) if layout.tag_scheme == "auto" else None
    layout = replace(layout, tag_scheme=scheme or layout.tag_scheme)
    if layout.tag_scheme == "none":
        return layout, ""
    what = f", names in {layout.tag_scheme.upper()}"
    what += "" if layout.tag_scheme == "iob2" else ", read as IOB2"
    broken = [sum(map(len, map(faults, rows))) for _, rows in tagged] if layout.tag_scheme == "iob2" else [0]
    if any(broken):
        times = "once" if sum(broken) == 1 else f"{sum(broken)} times"
        what += f" ({times} among the first rows an I- goes on with nothing: read as B-)"
    return layout, what


KEYS: dict[Role, str] = {
    "text": "data.column",
    "source": "data.column",
    "target": "data.target_column",
    "label": "data.columns.label",
    "number": "data.columns.number",
    "second": "data.columns.second",
    "tags": "data.columns.tags",
    "spans": "data.columns.spans",
}
"""The key of a recipe that names the column of a role."""


def _chosen(
    columns: Sequence[Found], layout: Layout, roles: Sequence[Role], place: str, first_row: Sequence[str]
) -> dict[Role, str]:
    """The column of each role: as it is named, else by names and contents; texts first."""
    chosen: dict[Role, str] = {role: name for role in roles if (name := layout.column_of(role)) is not None}
    free = [column for column in columns if column.name not in chosen.values()]
    if "tags" in roles:
        return {**tagged_columns(columns, chosen.get("text"), chosen.get("tags"), place)}
    if "second" in roles and not {"text", "second"} <= set(chosen):
        two = two_columns(columns, chosen.get("text"), chosen.get("second"), place, first_row)
        chosen |= {"text": two[0], "second": two[1]}
    if "source" in roles and not {"source", "target"} <= set(chosen):
        pair = pair_columns(columns, layout.column, layout.target_column, place, first_row)
        chosen |= {"source": pair[0], "target": pair[1]}
    elif "text" in roles and "text" not in chosen:
        chosen["text"] = text_column(free, place, first_row)
    for role in roles:
        if role not in chosen:
            chosen[role] = value_column(columns, role, list(chosen.values()), place, first_row)
    return {role: chosen[role] for role in roles}


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
