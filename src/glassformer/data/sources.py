"""Where text comes from: files, folders, globs, the built-in corpus, the Hugging Face hub. All of them become
one stream of documents (strings), and whatever is wrong with them is said with file, line and byte.

    news.txt                             text: a document is a line, a paragraph, the file, or what stands between two
                                         lines that match a pattern; so any unknown suffix
    news.jsonl .json .csv .tsv .parquet  a document is a row
    folder/   "folder/*.txt"             each file in turn, sorted
    builtin:facts/train                  see builtin.py
    hub:OWNER/NAME[:CONFIG][:SPLIT]      for example hub:Salesforce/wikitext:wikitext-2-v1:train
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import cast

from glassformer.data.builtin import Part, sentences
from glassformer.data.contents import digests
from glassformer.data.file_rows import TEXTS, names_of, rows_of
from glassformer.data.files import files_of, format_of, read_lines
from glassformer.data.hub import hub_name, hub_rows
from glassformer.data.layout import Document, Layout
from glassformer.data.layout_choice import layout_of
from glassformer.data.records import Row, text_in
from glassformer.data.tagged import tagged_sentences
from glassformer.errors import UsageError


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
    for name in names_of(source):
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
            digest.update(repr(hub_name(name)).encode())
        elif name.startswith("builtin:"):
            digest.update(json.dumps(list(_read_builtin(name))).encode())
        else:
            files = files_of(name)
            for file, (size, content) in zip(files, digests(name, files), strict=True):
                digest.update(f"{format_of(file)} {size} ".encode())
                digest.update(content)
    return digest.hexdigest()


# --- which kind of source -------------------------------------------------------------------------


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


# --- not files ------------------------------------------------------------------------------------


def _read_builtin(name: str) -> Iterator[str]:
    corpus, _, part = name.removeprefix("builtin:").partition("/")
    if part not in ("train", "heldout"):
        raise UsageError(
            f"{name} names no part of a built-in corpus",
            f"write builtin:{corpus}/train or builtin:{corpus}/heldout",
        )
    yield from sentences(corpus, cast(Part, part))
