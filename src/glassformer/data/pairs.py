"""Pairs of texts, a source and the target that belongs to it: for models that answer, translate or paraphrase.

train.de with train.en       parallel files: line n of one belongs to line n of the other
pairs.tsv .csv .jsonl .json  two columns of a row; without names the only two that hold texts
builtin:pairs/train          written for this project: paraphrases, answers, English and French
hub:OWNER/NAME               two columns of a row; `translation.de` is a field inside a column
"""

import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from glassformer.data.files import files_of, format_of, read_lines
from glassformer.data.hub import hub_rows
from glassformer.data.layout import Layout
from glassformer.data.layout_choice import layout_of
from glassformer.data.records import Row, text_in
from glassformer.data.rows import rows_of
from glassformer.data.sources import fingerprint
from glassformer.errors import GlassformerError, UsageError

BUILTIN_KINDS = ("paraphrase", "answer", "translation")


class Pair(NamedTuple):
    """A source and its target."""

    source: str
    target: str


def read_pairs(
    source: str | tuple[str, ...],
    targets: str | tuple[str, ...] | None = None,
    layout: Layout | None = None,
) -> Iterator[Pair]:
    """The pairs of one place, or of several one after another. A pair of which one half is blank is left out.

    With `targets` both are text files, line by line; else the layout names the columns, and what it leaves open is
    decided by this source. Raises UsageError for unequal numbers of lines (saying which line
    has no partner), a column that is missing or not clear, and whatever `read_documents` raises.
    """
    names = (source,) if isinstance(source, str) else source
    partners = (targets,) if isinstance(targets, str) else targets
    if partners is not None and len(partners) != len(names):
        raise UsageError(
            f"{len(names)} files of sources and {len(partners)} of targets", "give as many of one as of the other"
        )
    layout = layout or Layout()
    layout = layout if targets is not None else layout_of(source, layout, pairs=True)
    for number, name in enumerate(names):
        found = False
        for pair in _read(name, None if partners is None else partners[number], layout):
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


def _read(name: str, targets: str | None, layout: Layout) -> Iterator[Pair]:
    if targets is not None:
        yield from _parallel(name, targets)
    elif name.startswith("builtin:"):
        yield from builtin_pairs(name)
    elif name.startswith("hub:"):
        yield from _of_rows(hub_rows(name), layout)
    else:
        for file in files_of(name):
            yield from _of_file(file, layout)


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


def _of_file(file: Path, layout: Layout) -> Iterator[Pair]:
    if format_of(file) == ".txt" and layout.document != "row":
        raise UsageError(
            f"{file} is a text without targets",
            "give the file of its targets too (data.train_targets, validation_targets, test_targets), or rows with two "
            "columns (.tsv .csv .jsonl .json); where a tab parts the columns of a text file: data.document=row",
        )
    yield from _of_rows(rows_of(file, layout), layout)


def _of_rows(rows: Iterator[Row], layout: Layout) -> Iterator[Pair]:
    """Two named cells of each row. Of a list of targets, which are several right ones, the first is taken."""
    for place, row in rows:
        if layout.column is None or layout.target_column is None:
            raise UsageError(
                f"{place}: no columns are chosen, since the files looked into have no rows",
                "set data.column and data.target_column",
            )
        target = row.get(layout.target_column)
        if isinstance(target, list) and target:
            row = {**row, layout.target_column: target[0]}
        yield Pair(text_in(row, layout.column, place) or "", text_in(row, layout.target_column, place) or "")


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
