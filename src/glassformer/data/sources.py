"""Where text comes from: files, folders, globs, the built-in corpus, the Hugging Face hub. All of them become
one stream of documents (strings), and whatever is wrong with them is said with file, line and byte.

    news.txt                             text: a document is a line, a paragraph, the file, or what stands between two
                                         lines that match a pattern; so any unknown suffix
    news.jsonl .csv .tsv .parquet        a document is a row
    folder/   "folder/*.txt"             each file in turn, sorted
    builtin:facts/train                  see builtin.py
    hub:OWNER/NAME[:CONFIG][:SPLIT]      for example hub:Salesforce/wikitext:wikitext-2-v1:train
"""

import csv
import difflib
import glob
import hashlib
import json
import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
from jaxtyping import Bool, UInt64
from pydantic import Field

from glassformer.config import Config
from glassformer.data.builtin import Part, sentences
from glassformer.data.contents import digests
from glassformer.errors import GlassformerError, UsageError, nearest
from glassformer.randomness import Purpose, generator

T = TypeVar("T", bound=Hashable)
Document = Literal["auto", "line", "blank_line", "file"]

SUFFIXES = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")
TEXT_COLUMNS = ("text", "sentence", "content", "body")
_PARAGRAPHS_FOR_AUTO = 20
_LONGEST_CELL = 2**24  # characters; the csv module's own limit, 131072, is less than a long article
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
        description="the column of jsonl, csv, tsv, parquet or hub rows (a number where there is no header)",
    )
    target_column: str | None = Field(
        None, description="for objectives over pairs of one file: the column of the target (column: of the source)"
    )
    document: Document = Field(
        "auto",
        description="what one document of a text file is; auto: paragraphs if there are 20, else lines",
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
        description="the share of the documents held out when no validation is given; of a single one that is a whole "
        "file (data.document=file), its end",
    )


def read_documents(
    source: str | tuple[str, ...],
    column: str | None = None,
    document: Document = "auto",
    document_start: str | None = None,
) -> Iterator[str]:
    """The documents of one source, or of several one after another; none is blank.

    Text: a `line`, a paragraph between blank lines (`blank_line`, lines joined by newlines) or the whole
    `file`; `auto` takes paragraphs where a file has at least 20, otherwise lines. Rows: the named column, or
    the only one that holds text, or the one called text, sentence, content or body. With `document_start` a document
    goes from a line or row in which this regular expression is found to the next one, or to the end of its file.

    Raises UsageError for a missing, empty, binary or non-UTF-8 file (with the byte), for a row that is broken
    (with the line), for a column that is missing or not clear, and for a `document_start` that is no regular expression
    or is found nowhere; GlassformerError if the hub fails."""
    pattern = None if document_start is None else _compiled(document_start, document)
    for name in (source,) if isinstance(source, str) else source:
        found = False
        texts: Iterator[str]
        if pattern is None:
            texts = chain.from_iterable(_read_source(name, column, document))
        else:
            texts = _begun_by(pattern, _read_source(name, column, "line"), name)
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
            "give more text, a separate validation source, or document=line",
        )
    in_order = np.argsort(first)  # as they come in the text
    drawn = in_order[generator(seed, Purpose.SPLIT).permutation(len(different))[:-1]]
    enough = int(np.searchsorted(np.cumsum(copies[drawn]), round(share * len(keys))))
    apart = np.zeros(len(different), dtype=bool)
    apart[drawn[: enough + 1]] = True
    return apart[which]


def key_of(text: str) -> int:
    """64 bits of a text, equal for equal texts, and for others only by a chance that can be left out of account."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


# --- which kind of source -------------------------------------------------------------------------


def _read_source(name: str, column: str | None, document: Document) -> Iterator[Iterator[str]]:
    """The documents of each file; what is no file counts as one."""
    if name.startswith("builtin:"):
        yield _read_builtin(name)
    elif name.startswith("hub:"):
        yield _read_hub(name, column)
    else:
        for file in files_of(name):
            yield _read_file(file, column, document)


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


def _read_file(file: Path, column: str | None, document: Document) -> Iterator[str]:
    kind = format_of(file)
    if kind == ".jsonl":
        return _read_jsonl(file, column)
    if kind in (".csv", ".tsv"):
        return _read_table(file, column)
    if kind == ".parquet":
        return _read_parquet(file, column)
    return _read_text(file, document)


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
    if document == "auto":
        many = len(list(islice(_paragraphs(read_lines(file)), _PARAGRAPHS_FOR_AUTO))) == _PARAGRAPHS_FOR_AUTO
        document = "blank_line" if many else "line"
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


# --- rows -----------------------------------------------------------------------------------------


def _read_jsonl(file: Path, column: str | None) -> Iterator[str]:
    return _column_of(jsonl_rows(file), column)


def _column_of(rows: Iterable[tuple[str, dict[str, Any]]], column: str | None) -> Iterator[str]:
    """One column of rows; a null is no text."""
    for place, row in rows:
        if column is None:
            column = _guess_column(row, place)
        text = text_in(row, column, place)
        if text is not None:
            yield text


def jsonl_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line, row) of each line that is not blank. Raises UsageError for one that is no JSON object."""
    for number, line in enumerate(read_lines(file), start=1):
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


def text_in(row: dict[str, Any], column: str, place: str) -> str | None:
    """The text of one cell, None where it is null. Raises UsageError for a column that there is not, or no text."""
    if column not in row:
        raise UsageError(f"{place} has no column {column!r}", nearest(column, map(str, row)))
    text = row[column]
    if text is None:
        return None
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


def _guess_column(row: dict[str, Any], place: str) -> str:
    """The column called text, sentence, content or body; otherwise the only one that holds text."""
    for name in TEXT_COLUMNS:
        if name in row:
            return name
    texts = [name for name, value in row.items() if isinstance(value, str)]
    if len(texts) == 1:
        return texts[0]
    raise _wrong_column(place, row)


def _wrong_column(place: str, columns: Iterable[str], asked: str | None = None) -> UsageError:
    there = ", ".join(repr(c) for c in columns) or "none"
    what = "it is not clear which column holds the text" if asked is None else f"there is no column {asked!r}"
    return UsageError(f"{place}: {what}; the columns are {there}", "set data.column to one of them")


def _read_table(file: Path, column: str | None) -> Iterator[str]:
    """csv with quotes; tsv without any, as such files are written: a quotation mark is a character there."""
    rows = table_rows(file)
    first_two = list(islice(rows, 2))
    if not first_two:
        return
    index, has_header = _table_column([cells for _, cells in first_two], column, str(file))
    for number, cells in islice(chain(first_two, rows), int(has_header), None):
        if index >= len(cells):
            raise UsageError(
                f"{file}, line {number} is broken: {len(cells)} columns, and column {index + 1} is wanted",
                "mend or remove the line (a missing quotation mark or separator?)",
            )
        yield cells[index]


def table_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not empty."""
    csv.field_size_limit(_LONGEST_CELL)
    lines = read_lines(file)
    first = next(lines, "")
    style: dict[str, Any] = {"delimiter": ",", "strict": True}
    if file.suffix.lower() == ".tsv" or first.count("\t") > first.count(","):  # some .csv files are tsv
        style = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    elif "," not in first and ";" in first:  # as spreadsheets write it where the comma is the decimal sign
        style["delimiter"] = ";"
    reader = csv.reader((f"{line}\n" for line in chain([first], lines)), **style)
    try:
        width = None
        for cells in reader:
            width = width or len(cells)
            if len(cells) > width and style["delimiter"] != "\t":  # a tsv row may have notes at its end
                raise UsageError(
                    f"{file}, line {reader.line_num} is broken: {len(cells)} columns, and the first row has {width}",
                    'put a text that holds the separator in quotation marks: "one, two"',
                )
            if any(cell and not cell.isspace() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise UsageError(f"{file}, line {reader.line_num} is broken: {error}", "mend or remove the line") from None


def _table_column(rows: list[list[str]], column: str | None, place: str) -> tuple[int, bool]:
    """(index of the text column, whether the first row is a header), from the first two rows."""
    first = rows[0]
    if column is not None:
        if column.isdecimal() and int(column) < len(first):
            return int(column), False
        if column in first:
            return first.index(column), True
        raise _wrong_column(place, first, column)
    for name in TEXT_COLUMNS:
        if name in first:
            return first.index(name), True
    has_header = len(first) > 1 and not any(map(_is_number, first))  # a header holds no number
    sample = rows[-1] if has_header else first
    texts = [i for i, cell in enumerate(sample[: len(first)]) if not _is_number(cell)]
    if len(texts) == 1:
        return texts[0], has_header
    raise _wrong_column(place, first if has_header else map(str, range(len(first))))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell.strip()  # an empty cell is no text either
    return True


def _read_parquet(file: Path, column: str | None) -> Iterator[str]:
    if column is None:
        column = _guess_column(parquet_columns(file), str(file))
    return _column_of(parquet_rows(file, column), column)


def parquet_columns(file: Path) -> dict[str, Any]:
    """The columns of a parquet file: "" where one holds text, None elsewhere. Raises UsageError."""
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.ParquetFile(file).schema_arrow
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no whole parquet file: {error}", "write or download it again") from None
    return {field.name: "" if str(field.type) in ("string", "large_string") else None for field in schema}


def parquet_rows(file: Path, column: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file, row) of each row: of one column where it is named, else of all that hold text. Raises UsageError."""
    import pyarrow  # comes with `datasets`; slow to import and rarely needed
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
        schema = table.schema_arrow
        if column is not None and column not in schema.names:
            raise _wrong_column(str(file), schema.names, column)
        texts = [f.name for f in schema if pyarrow.types.is_struct(f.type) or str(f.type) in ("string", "large_string")]
        for batch in table.iter_batches(columns=texts if column is None else [column]):
            for row in batch.to_pylist():
                yield str(file), row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no whole parquet file: {error}", "write or download it again") from None


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


def _read_hub(name: str, column: str | None) -> Iterator[str]:
    return _column_of(hub_rows(name), column)


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
