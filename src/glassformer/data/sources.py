"""Where text comes from: files, folders, globs, the built-in corpus, the Hugging Face hub. All of them become
one stream of documents (strings), and whatever is wrong with them is said with file, line and byte.

    news.txt                             text: a document is a line, a paragraph, the file, or what stands between two
                                         lines that match a pattern; so any unknown suffix
    news.jsonl .json .csv .tsv .parquet  a document is a row
    folder/   "folder/*.txt"             each file in turn, sorted
    builtin:facts/train                  see builtin.py
    hub:OWNER/NAME[:CONFIG][:SPLIT]      for example hub:Salesforce/wikitext:wikitext-2-v1:train
"""

import difflib
import glob
import hashlib
import json
import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
from jaxtyping import Bool, UInt8, UInt64
from pydantic import Field, model_validator

from glassformer.config import Config
from glassformer.data.builtin import Part, sentences
from glassformer.data.contents import digests
from glassformer.data.layout import (
    LAYOUT_KEYS,
    Document,
    Layout,
    columns_chosen,
    delimiter_of,
    document_of,
    header_of,
    spread,
    style_of,
)
from glassformer.data.records import Row, json_lines, json_rows, parquet_rows, text_in
from glassformer.data.roles import TEXT, Columns, Role
from glassformer.data.tables import SAMPLE_ROWS, cells, column_names, table_rows, usual_width
from glassformer.data.tagged import is_tagged, tagged_sentences
from glassformer.errors import GlassformerError, UsageError
from glassformer.randomness import Purpose, generator

T = TypeVar("T", bound=Hashable)

SUFFIXES = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
SAMPLE_FILES = 32
"""So many files are looked into, evenly from the first to the last, before how to read them is chosen."""
TEXTS = (".txt", ".csv", ".tsv")
"""Formats that are read line by line."""
_SAMPLE_CHARACTERS, _SAMPLE_LINES = 2**20, 20_000  # of all of them together
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class DataConfig(Config):
    """Which text is learnt from, and which is kept apart to measure on."""

    train: str | tuple[str, ...] = Field(description="a file, folder, glob, builtin:NAME/PART or hub:OWNER/NAME")
    train_targets: str | tuple[str, ...] | None = Field(
        None, description="for objectives over pairs: the file whose line n is the target of line n of train"
    )
    validation: str | tuple[str, ...] | None = Field(
        None, description="the text measured on while training; without it a share of train is held out"
    )
    validation_targets: str | tuple[str, ...] | None = Field(None, description="the same for validation")
    test: str | tuple[str, ...] | None = Field(None, description="the text of `glassformer evaluate --split test`")
    test_targets: str | tuple[str, ...] | None = Field(None, description="the same for test")
    column: str | None = Field(
        None,
        description="the column of jsonl, json, csv, tsv, parquet or hub rows (a number from 0 where there is no "
        "header); None: chosen from many rows, and said",
    )
    target_column: str | None = Field(
        None, description="for objectives over pairs of one file: the column of the target (column: of the source)"
    )
    columns: Columns = Field(Columns(), description="the columns of other roles")
    labels: tuple[str, ...] | None = Field(
        None, description="for classes: their labels as the data have them, in order; None: as they come in train"
    )
    delimiter: str = Field(
        "auto",
        pattern=r"^(auto|tab|\\t|[^\r\n])$",
        description="what parts the cells of csv and tsv files, for example ';' or tab; auto: found from many rows",
    )
    header: Literal["auto"] | bool = Field(
        "auto", description="whether the first row of csv and tsv files names the columns; auto: found, and said"
    )
    quoted: Literal["auto"] | bool = Field(
        "auto",
        description="whether cells of csv and tsv files may stand in quotation marks; auto: yes between commas and "
        "semicolons, between tabs and bars only where the rows show it",
    )
    document: Document = Field(
        "auto",
        description="what one document of a text file is; auto: paragraphs if blank lines part the training text into "
        "at least 20, else lines; row: a row of a table; tagged: a sentence of rows of tagged tokens (CoNLL)",
    )
    document_start: str | None = Field(
        None,
        min_length=1,
        description="instead of document: a regular expression; a line (or row) in which it is found begins a document",
    )
    language: str = Field(
        "en",
        pattern="^[a-z]{2,3}(-[A-Za-z0-9]+)*$",
        description="the language of the texts, for objectives that must know where sentences begin",
    )
    validation_share: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="the share of the documents held out when no validation is given; of a single one, its end",
    )

    @model_validator(mode="before")
    @classmethod
    def _texts_by_role(cls, given: Any) -> Any:
        """`columns.text` and `columns.source` are other names of `column`, `columns.target` of `target_column`."""
        if not isinstance(given, dict) or not isinstance(given.get("columns"), dict):
            return given
        found, columns = dict(given), dict(given["columns"])
        for role, key in (("text", "column"), ("source", "column"), ("target", "target_column")):
            name = columns.pop(role, None)
            if name is not None and found.get(key) not in (None, name):
                raise UsageError(
                    f"data.{key}={found[key]} and data.columns.{role}={name} are both given", "keep one of them"
                )
            found[key] = found.get(key) if name is None else name
        return found | {"columns": columns}


def asked_layout(data: DataConfig) -> Layout:
    """What the recipe says about how its texts are read."""
    return Layout(**{name: getattr(data, name) for name in LAYOUT_KEYS})


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


def decided(data: DataConfig, layout: Layout) -> DataConfig:
    """The section of a recipe with everything as the layout has it."""
    return data.model_copy(update={name: getattr(layout, name) for name in LAYOUT_KEYS})


def read_documents(source: str | tuple[str, ...], layout: Layout | None = None) -> Iterator[str]:
    """The documents of one source, or of several one after another; none is blank.

    Text: a `line`, a paragraph between blank lines (`blank_line`, lines joined by newlines) or the whole `file`. Rows:
    the column that the layout names. With `document_start` a document goes from a line or row in which this regular
    expression is found to the next one, or to the end of its file. What the layout leaves open is decided by this
    source.

    Raises UsageError for a missing, empty, binary or non-UTF-8 file (with the byte), for a row that is broken
    (with the line), for a column that is missing or not clear, and for a `document_start` that is no regular expression
    or is found nowhere; GlassformerError if the hub fails."""
    layout = layout_of(source, layout or Layout())
    pattern = None if layout.document_start is None else _compiled(layout.document_start, layout.document)
    for name in _names(source):
        found = False
        texts: Iterator[str]
        if pattern is None:
            texts = chain.from_iterable(_read_source(name, layout))
        else:
            texts = _begun_by(pattern, _read_source(name, layout), name)
        for text in texts:
            if text and not text.isspace():
                found = True
                yield text
        if not found:
            raise UsageError(f"{name} is empty: it holds no text", "give a source that holds text")


def fingerprint(
    source: str | tuple[str, ...],
    column: str | None = None,
    document: Document = "auto",
    document_start: str | None = None,
) -> str:
    """A sha256 that changes when the documents do: over the bytes of the files and the settings. For the hub
    it is over the name, configuration and split only, since asking for the revision would need the
    network."""
    start = [] if document_start is None else [document_start]
    digest = hashlib.sha256(json.dumps(["sources 1", column, document, *start]).encode())
    for name in (source,) if isinstance(source, str) else source:
        if name.startswith("hub:"):
            digest.update(repr(_hub_name(name)).encode())
        elif name.startswith("builtin:"):
            digest.update(json.dumps(list(_read_builtin(name))).encode())
        else:
            files = files_of(name)
            for file, (size, content) in zip(files, digests(name, files), strict=True):
                digest.update(f"{format_of(file)} {size} ".encode())
                digest.update(content)
    return digest.hexdigest()


def split(
    documents: list[T], share: float, seed: int, key: Callable[[T], Hashable] = lambda document: document
) -> tuple[list[T], list[T]]:
    """(train, validation): a random share of the documents (or pairs) held out, at least one on each side, both in the
    order of the text. Documents with an equal `key` stay on one side: a held-out text that was also trained on would be
    no test. The same for equal arguments. Raises UsageError for fewer than two different documents."""
    numbers: dict[Hashable, int] = {}
    keys = [numbers.setdefault(key(document), len(numbers)) for document in documents]
    apart = held_out(np.array(keys, dtype=np.uint64), share, seed)
    train = [document for document, is_held_out in zip(documents, apart, strict=True) if not is_held_out]
    return train, [document for document, is_held_out in zip(documents, apart, strict=True) if is_held_out]


def held_out(keys: UInt64[np.ndarray, "n"], share: float, seed: int) -> Bool[np.ndarray, "n"]:
    """Which of n documents are held out, as `split` does it. All that it must know of a document is a number that is
    equal for equal ones, such as `key_of` gives: a text larger than memory can be split. Raises UsageError."""
    if not 0 < share < 1:
        raise UsageError(f"the share of documents to hold out is {share}", "give a number between 0 and 1")
    different, first, which, copies = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    if len(different) < 2:
        raise UsageError(
            f"a text too short: {len(different)} document, and at least 2 different ones are needed to hold one out",
            "give more text, a separate validation source, or data.document=line",
        )
    in_order = np.argsort(first)  # as they come in the text
    drawn = in_order[generator(seed, Purpose.SPLIT).permutation(len(different))[:-1]]
    enough = int(np.searchsorted(np.cumsum(copies[drawn]), round(share * len(keys))))
    apart = np.zeros(len(different), dtype=bool)
    apart[drawn[: enough + 1]] = True
    return apart[which]


def key_of(value: str | UInt8[np.ndarray, "..."]) -> int:
    """64 bits of a text or picture, equal for equal ones, and for others only by a chance that can be left out of
    account."""
    content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value.tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def split_end(text: str, share: float) -> tuple[str, str]:
    """(train, validation): of a single text its end is held out, about that share of its characters. It is cut where a
    line begins, else a word, if one begins near by; nothing is lost. Raises UsageError for a text of one character."""
    wanted = round(len(text) * (1 - share))
    near = max(1, round(len(text) * min(share, 1 - share) / 4))
    first, last = max(1, wanted - near), min(len(text) - 1, wanted + near)
    for space in (r"\n(?=\S)", r"\s(?=\S)"):
        borders = [first + found.end() for found in re.finditer(space, text[first : last + 1])]
        if borders:
            border = min(borders, key=lambda place: abs(place - wanted))
            break
    else:
        border = min(max(wanted, 1), len(text) - 1)
    train, validation = text[:border], text[border:]
    if not train.strip() or not validation.strip():
        raise UsageError(
            f"a text too short: {text[:40]!r} is all, and its end cannot be held out",
            "give more text, or a separate validation source",
        )
    return train, validation


# --- which kind of source -------------------------------------------------------------------------


def _names(source: str | tuple[str, ...]) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else source


def _read_source(name: str, layout: Layout) -> Iterator[Iterator[str]]:
    """The documents of each file; what is no file counts as one."""
    if name.startswith("builtin:"):
        yield _read_builtin(name)
    elif name.startswith("hub:"):
        yield _column_of(hub_rows(name), layout)
    else:
        for file in files_of(name):
            yield _read_file(file, layout)


def _compiled(pattern: str, document: Document) -> re.Pattern[str]:
    if document != "auto":
        raise UsageError(f"data.document={document} and data.document_start are both given", "keep one of them")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"data.document_start={pattern!r} is no regular expression: {error}",
            "for example '^Chapter '; a character that means itself has a backslash before it",
        ) from None


def _begun_by(pattern: re.Pattern[str], files: Iterable[Iterator[str]], name: str) -> Iterator[str]:
    """Documents that begin at each line in which the pattern is found; what stands before the first is one too. Blank
    lines are left out. Raises UsageError where it is found nowhere."""
    first, found = None, False
    for texts in files:
        lines: list[str] = []
        for line in (line.rstrip("\r") for text in texts for line in text.split("\n")):
            if not line or line.isspace():
                continue
            first = line if first is None else first
            if pattern.search(line):
                found = True
                if lines:
                    yield "\n".join(lines)
                lines = []
            lines.append(line)
        if lines:
            yield "\n".join(lines)
    if first is not None and not found:
        raise UsageError(
            f"data.document_start={pattern.pattern!r} is found in no line of {name}",
            f"the first line is {first[:80]!r}",
        )


def _read_file(file: Path, layout: Layout) -> Iterator[str]:
    kind = format_of(file)
    if layout.document == "tagged" and kind in TEXTS:
        return tagged_sentences(read_lines(file), file)
    if kind == ".txt" and layout.document != "row":
        return _read_text(file, "line" if layout.document == "auto" else layout.document)
    return _column_of(rows_of(file, layout), layout)


def rows_of(file: Path, layout: Layout, texts_only: bool = True) -> Iterator[Row]:
    """(file and line, row) of each row of a file of rows; of parquet perhaps only what may be text. Raises UsageError
    for a broken one."""
    kind = format_of(file)
    if kind == ".jsonl":
        return json_lines(read_lines(file), file)
    if kind == ".json":
        return json_rows(read_lines(file), file)
    if kind == ".parquet":
        column = layout.column if layout.target_column is None and texts_only else None
        return parquet_rows(file, column, texts_only)
    return table_rows(read_lines(file), layout.style(), layout.header is True, file)


def _column_of(rows: Iterable[Row], layout: Layout) -> Iterator[str]:
    """One column of rows; a null is no text."""
    for place, row in rows:
        if layout.column is None:
            raise UsageError(
                f"{place}: no column is chosen, since the files looked into have no rows", "set data.column"
            )
        text = text_in(row, layout.column, place)
        if text is not None:
            yield text


def format_of(file: Path) -> str:
    """The suffix that decides how a file is read; an unknown one means text."""
    suffix = file.suffix.lower()
    return suffix if suffix in SUFFIXES else ".txt"


def files_of(name: str) -> list[Path]:
    try:
        path = Path(name).expanduser()
    except RuntimeError:
        raise UsageError(f"{name}: there is no such user", "write the whole path") from None
    if path.is_dir():
        return _files_of_folder(path)
    if path.exists():
        return [path]
    if glob.has_magic(name):
        files = [p for p in map(Path, sorted(glob.glob(str(path), recursive=True))) if p.is_file()]
        if files:
            return files
        raise UsageError(f"no file matches {name}", "mend the pattern")
    raise UsageError(f"there is no file {name}", _mend_missing(path))


def _files_of_folder(folder: Path) -> list[Path]:
    """Sorted by the parts of their paths; hidden files and folders are left out, and links to folders not followed."""
    visible = [folder.joinpath(*parts) for parts in sorted(_visible_files(str(folder), ()))]
    files = [p for p in visible if p.suffix.lower() in SUFFIXES]
    if not files:
        there = ", ".join(str(p.relative_to(folder)) for p in visible[:5]) or "nothing"
        raise UsageError(
            f"the folder {folder} holds no file ending in {' '.join(SUFFIXES)} (it holds: {there})",
            f'to read others as text, name them: "{folder}/*.md"',
        )
    return files


def _visible_files(folder: str, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The files below a folder as the parts of their paths. The kind of each comes with the listing: no file is asked
    for by itself. A folder that may not be read counts as empty."""
    try:
        with os.scandir(folder) as listing:
            entries = [entry for entry in listing if not entry.name.startswith(".")]
    except PermissionError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _visible_files(entry.path, (*parts, entry.name))
        elif entry.is_file():
            yield (*parts, entry.name)


def _mend_missing(path: Path) -> str:
    """The nearest name in the folder that the missing file would be in."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    names = [p.name for p in path.parent.iterdir()]
    close = difflib.get_close_matches(path.name, names, n=1)
    if close:
        return f"did you mean {str(path.with_name(close[0]))!r}?"
    return f"{path.parent} holds: {', '.join(sorted(names)[:10]) or 'nothing'}"


# --- text -----------------------------------------------------------------------------------------


def _read_text(file: Path, document: Document) -> Iterator[str]:
    if document == "line":
        return (line for line in read_lines(file) if line)
    if document == "blank_line":
        return _paragraphs(read_lines(file))
    return iter(["\n".join(read_lines(file))])


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in chain(lines, [""]):
        if line and not line.isspace():
            paragraph.append(line)
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph = []


def read_lines(file: Path) -> Iterator[str]:
    """The lines without their ends, one at a time, so that a file larger than memory can be read. Raises
    UsageError with the byte offset for what is not text in UTF-8."""
    with _open(file) as stream:
        if stream.read(2) in _UTF_16_MARKS:
            raise UsageError(
                f"{file} is not UTF-8: it begins with a UTF-16 mark (byte 0)",
                f"convert it: iconv -f UTF-16 -t UTF-8 {file} > new.txt",
            )
        stream.seek(0)
        offset = 0
        for raw in stream:
            line = _decode(raw.rstrip(b"\r\n"), file, offset)
            offset += len(raw)
            del raw  # a line may be all of a large file, and whoever waits for the next one needs the room
            yield line


def _decode(raw: bytes, file: Path, offset: int) -> str:
    if b"\0" in raw:
        raise UsageError(
            f"{file} is binary: a NUL byte at byte {offset + raw.index(0)}",
            "give a text file, saved as UTF-8",
        )
    try:
        # the mark is three bytes at the start of some files from Windows, and no part of the text
        return raw.decode("utf-8").removeprefix("\ufeff" if offset == 0 else "")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} is not UTF-8: byte 0x{raw[error.start]:02X} at byte {offset + error.start}",
            f"save it as UTF-8; if it is Latin-1: iconv -f LATIN1 -t UTF-8 {file} > new.txt",
        ) from None


def _open(file: Path) -> Any:
    try:
        return file.open("rb")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", "check that it is a file you may read") from None


# --- how to read them ------------------------------------------------------------------------------


def layout_of(source: str | tuple[str, ...], layout: Layout, roles: Sequence[Role] = TEXT) -> Layout:
    """The layout with what it leaves open decided for this source, from samples of its files. Raises UsageError where
    that is not clear."""
    kinds = {kind for name in _names(source) for kind in _kinds(name)}
    if not layout.leaves_open(kinds, roles):
        return layout
    files = spread([file for name in _names(source) if _is_path(name) for file in files_of(name)], SAMPLE_FILES)
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
    rows += [(file.name, _first(rows_of(file, Layout(), texts_only))) for file in files if format_of(file) not in TEXTS]
    rows += [(name, _first(hub_rows(name))) for name in _names(source) if name.startswith("hub:")]
    return columns_chosen(rows, layout, roles, first_row, style)


def _kinds(name: str) -> set[str]:
    """The formats of a source's files, without looking into them or listing them in order."""
    if not _is_path(name):
        return {".jsonl"} if name.startswith("hub:") else set()
    if os.path.isdir(os.path.expanduser(name)):
        inside = {Path(file).suffix.lower() for _, _, files in os.walk(os.path.expanduser(name)) for file in files}
        return inside & {*SUFFIXES}
    if glob.has_magic(name) and Path(name).suffix.lower() not in SUFFIXES:
        return {format_of(file) for file in files_of(name)}
    return {format_of(Path(name))}


def _is_path(name: str) -> bool:
    return not name.startswith(("builtin:", "hub:"))


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


# --- not files ------------------------------------------------------------------------------------


def _read_builtin(name: str) -> Iterator[str]:
    corpus, _, part = name.removeprefix("builtin:").partition("/")
    if part not in ("train", "heldout"):
        raise UsageError(
            f"{name} names no part of a built-in corpus",
            f"write builtin:{corpus}/train or builtin:{corpus}/heldout",
        )
    yield from sentences(corpus, cast(Part, part))


class _HubName(NamedTuple):
    path: str
    config: str | None
    split: str


def _hub_name(name: str) -> _HubName:
    """Two parts are OWNER/NAME and, if it is the name of a usual split, the split, otherwise the
    configuration."""
    path, *rest = re.split(r":(?![^\[]*\])", name.removeprefix("hub:"))  # the colon of test[:10%] is no separator
    if path.count("/") != 1 or not all(path.split("/")) or len(rest) > 2:
        raise UsageError(f"{name} is no name of a hub data set", "write hub:OWNER/NAME[:CONFIG][:SPLIT]")
    if len(rest) == 1 and rest[0].partition("[")[0] in ("train", "validation", "test"):
        rest = ["", *rest]
    config, split_name = [*rest, "", ""][:2]
    return _HubName(path, config or None, split_name or "train")


def hub_rows(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, row) of each row of a hub data set. Raises GlassformerError when it cannot be loaded."""
    hub = _hub_name(name)
    import datasets  # slow to import and rarely needed

    try:
        rows = datasets.load_dataset(hub.path, hub.config, split=hub.split)
    except Exception as error:  # the library raises a dozen kinds: no network, no such set, configuration or split
        raise GlassformerError(
            f"{name} cannot be loaded from the hub: {error}",
            "check the name and the network, or download the text and give the file",
        ) from None
    for row in rows:
        yield name, row
