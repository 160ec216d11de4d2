"""Rows of which a task takes several columns: a source and the target that belongs to it, a text and its label, a
picture and its label.

train.de with train.en       parallel files: line n of one belongs to line n of the other
rows.tsv .csv .jsonl .json   columns of a row; those that are not named are chosen by names and contents, and said
words.conll .conllu          a sentence, its words with their tags (see tagged.py)
questions.json               a question about a text, and the places of its answers (see squad.py)
images.gz with labels.gz     arrays in idx files (see idx.py): item n of one belongs to item n of the other
builtin:pairs/train          written for this project: paraphrases, answers, English and French
builtin:facts/train          the same: sentences, labelled by what they are about
builtin:names/train          the same: sentences, of which the names are tagged
builtin:wordings/train       the same: two sentences, and whether they say the same
builtin:questions/train      the same: short texts with questions, and where the answers stand
hub:OWNER/NAME               columns of a row; `translation.de` is a field inside a column
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from glassformer.data.builtin import Asked, labelled_sentences, paired_sentences, questions, tagged_sentences
from glassformer.data.file_rows import rows_of
from glassformer.data.files import files_of, format_of, read_lines
from glassformer.data.hub import hub_rows
from glassformer.data.idx import idx_rows
from glassformer.data.layout import Layout
from glassformer.data.layout_choice import layout_of
from glassformer.data.records import Row, cell_in, text_in
from glassformer.data.roles import PAIR, READ, TEXT, Role
from glassformer.data.sources import fingerprint, read_documents
from glassformer.data.spans import Annotated, Span
from glassformer.data.squad import answers_in
from glassformer.data.tag_schemes import as_iob2
from glassformer.errors import GlassformerError, UsageError

BUILTIN_KINDS = ("paraphrase", "answer", "translation")


class Pair(NamedTuple):
    """A source and its target."""

    source: str
    target: str


class DataRow(NamedTuple):
    """What a task takes of one row: a cell for each of its roles, in their order, and where the row stands."""

    cells: tuple[Any, ...]
    place: str = ""


def read_rows(
    source: str | tuple[str, ...],
    roles: Sequence[Role],
    beside: str | tuple[str, ...] | None = None,
    layout: Layout | None = None,
) -> Iterator[DataRow]:
    """The rows of one place, or of several one after another, with the columns of these roles. A row of which a text is
    blank is left out.

    With `beside` the second column stands in a file of its own, line by line (of arrays: item by item); else the layout
    names the columns, and what it leaves open is decided by this source. Raises UsageError for unequal numbers of lines
    (saying which line has no partner), a column that is missing or not clear, and whatever `read_documents` raises.
    """
    if tuple(roles) == TEXT:
        for text in read_documents(source, layout):
            yield DataRow((text,))
        return
    names = (source,) if isinstance(source, str) else source
    partners = (beside,) if isinstance(beside, str) else beside
    if partners is not None and len(partners) != len(names):
        raise UsageError(
            f"{len(names)} files of {plural(roles[0])} and {len(partners)} of {plural(roles[1])}",
            "give as many of one as of the other",
        )
    layout = layout or Layout()
    if partners is None and roles[0] != "array":
        layout = layout_of(source, layout, roles)
    texts = [n for n, role in enumerate(roles) if role in READ]
    for number, name in enumerate(names):
        found = False
        for row in _read(name, roles, None if partners is None else partners[number], layout):
            if all(row.cells[n].strip() for n in texts):
                found = True
                yield row
        if not found:
            what = "no pair of texts" if tuple(roles) == PAIR else "no row"
            raise UsageError(f"{name} holds {what}", f"give a place with a {' and a '.join(roles)} in each row")


def read_pairs(
    source: str | tuple[str, ...], targets: str | tuple[str, ...] | None = None, layout: Layout | None = None
) -> Iterator[Pair]:
    """The rows of sources and targets."""
    return (Pair(*row.cells) for row in read_rows(source, PAIR, targets, layout))


def rows_fingerprint(
    source: str | tuple[str, ...], beside: str | tuple[str, ...] | None, roles: Sequence[Role] = PAIR
) -> str:
    """A sha256 that changes when the rows do, as `sources.fingerprint`."""
    if tuple(roles) == TEXT:
        return fingerprint(source)
    digest = hashlib.sha256(json.dumps(["rows 1", *roles]).encode())
    for place in (source, beside):
        for name in () if place is None else (place,) if isinstance(place, str) else place:
            if name.startswith("builtin:"):
                digest.update(json.dumps([row.cells for row in _builtin(name, roles)]).encode())
            else:
                digest.update(fingerprint(name).encode())
        digest.update(b"|")
    return digest.hexdigest()


def plural(role: Role) -> str:
    """What a column of this role holds, in words."""
    return {"array": "pictures", "tags": "tags", "spans": "answers", "second": "second texts"}.get(role, f"{role}s")


def _read(name: str, roles: Sequence[Role], beside: str | None, layout: Layout) -> Iterator[DataRow]:
    if roles[0] == "array":
        yield from _arrays(name, roles, beside)
    elif beside is not None:
        yield from _parallel(name, beside)
    elif name.startswith("builtin:"):
        yield from _builtin(name, roles)
    elif name.startswith("hub:"):
        yield from _of_rows(hub_rows(name), roles, layout)
    else:
        for file in files_of(name):
            yield from _of_file(file, roles, layout)


def _arrays(name: str, roles: Sequence[Role], beside: str | None) -> Iterator[DataRow]:
    """Item by item; the labels are in the file beside, as their numbers are written."""
    if len(roles) < 2 or beside is None:
        raise UsageError(
            f"{name} has no {plural(roles[-1])}",
            "name the file of them too: data.train_targets (validation_targets, test_targets)",
        )
    pictures, values = files_of(name), files_of(beside)
    if len(pictures) != len(values):
        raise UsageError(f"{name} are {len(pictures)} files, and {beside} are {len(values)}", "give as many of each")
    for one, other in zip(pictures, values, strict=True):
        for number, (array, value) in enumerate(idx_rows(one, other)):
            yield DataRow((array, str(value)), f"{other}, item {number}")


def _parallel(source: str, target: str) -> Iterator[DataRow]:
    """Line by line, file by file."""
    sources, targets = files_of(source), files_of(target)
    if len(sources) != len(targets):
        raise UsageError(
            f"{source} are {len(sources)} files, and {target} are {len(targets)}", "give as many of one as of the other"
        )
    for one, other in zip(sources, targets, strict=True):
        yield from _parallel_files(one, other)


def _parallel_files(one: Path, other: Path) -> Iterator[DataRow]:
    for number, (left, right) in enumerate(zip_longest(read_lines(one), read_lines(other)), start=1):
        if left is None or right is None:
            longer, shorter = (other, one) if left is None else (one, other)
            raise UsageError(
                f"{longer} and {shorter} are no parallel files: line {number} of {longer.name} has no partner, "
                f"since {shorter.name} has only {number - 1} lines",
                "give files of as many lines each, where line n belongs to line n",
            )
        yield DataRow((left, right), f"{other}, line {number}")


def _of_file(file: Path, roles: Sequence[Role], layout: Layout) -> Iterator[DataRow]:
    if format_of(file) == ".txt" and layout.document not in ("row", "tagged"):
        raise UsageError(
            f"{file} is a text without {plural(roles[1])}",
            f"give the file of its {plural(roles[1])} too (data.train_targets, validation_targets, test_targets), or "
            "rows with two columns (.tsv .csv .jsonl .json); where a tab parts the columns of a text file: "
            "data.document=row",
        )
    yield from _of_rows(rows_of(file, layout, texts_only=False), roles, layout)


def _of_rows(rows: Iterator[Row], roles: Sequence[Role], layout: Layout) -> Iterator[DataRow]:
    """The cells of each row. Of a list of targets, which are several right ones, the first is taken."""
    names = [layout.column_of(role) for role in roles]
    for place, row in rows:
        cells: list[Any] = []
        for role, name in zip(roles, names, strict=True):
            if name is None:
                raise UsageError(
                    f"{place}: no columns are chosen, since the files looked into have no rows",
                    "set " + " and ".join(f"data.columns.{role}" for role in roles),
                )
            if role in ("label", "number"):
                cells.append(cell_in(row, name, place))
                continue
            if role == "tags":
                cells.append(_tagged(row, names[roles.index("text")], name, layout, place))
                continue
            if role == "spans":
                text = cells[roles.index("text")]
                cells.append(Annotated(text, answers_in(cell_in(row, name, place), text, place)))
                continue
            several = row.get(name) if role == "target" else None
            if isinstance(several, list) and several:
                row = {**row, name: several[0]}
            cells.append(text_in(row, name, place) or "")
        yield DataRow(tuple(cells), place)


def _tagged(row: dict[str, Any], words: str | None, tags: str, layout: Layout, place: str) -> Annotated:
    """The words of a row with their tags, names in IOB2. Raises UsageError where they are not equally many."""
    one, other = cell_in(row, words or "", place), cell_in(row, tags, place)
    if isinstance(one, str) and isinstance(other, str):
        one, other = one.split(), other.split()
    for what, name in ((one, words), (other, tags)):
        if not isinstance(what, list) or not what:
            raise UsageError(
                f"{place}: column {name!r} holds no list", "give a list of words, and a list with a tag for each"
            )
    if len(one) != len(other):
        raise UsageError(
            f"{place}: {len(one)} words in {words!r} and {len(other)} tags in {tags!r}", "give each word one tag"
        )
    scheme = "none" if layout.tag_scheme == "auto" else layout.tag_scheme
    return Annotated.of_words(list(map(str, one)), as_iob2(list(map(str, other)), scheme))


def _builtin(name: str, roles: Sequence[Role]) -> Iterator[DataRow]:
    if tuple(roles) == PAIR:
        return (DataRow(pair) for pair in builtin_pairs(name))
    if "second" in roles and "spans" not in roles:
        values = {"label": ("different", "same"), "number": (0.0, 1.0)}[roles[-1]]
        pairs = enumerate(paired_sentences(name), start=1)
        return (DataRow((one.text, one.second, values[one.same]), f"{name}, pair {n}") for n, one in pairs)
    if "tags" in roles:
        tagged = (Annotated.of_words(*sentence) for sentence in tagged_sentences(name))
        return (DataRow((one.text, one), f"{name}, sentence {n}") for n, one in enumerate(tagged, start=1))
    if "spans" in roles:
        asked = ((one.text, one.question, Annotated(one.text, answer_spans(one))) for one in questions(name))
        return (DataRow(cells, f"{name}, question {n}") for n, cells in enumerate(asked, start=1))
    return (DataRow(pair, f"{name}, row {n}") for n, pair in enumerate(labelled_sentences(name), start=1))


def answer_spans(asked: Asked) -> tuple[Span, ...]:
    """Where the answer to a built-in question stands; none where there is no answer."""
    if asked.answer is None or asked.start is None:
        return ()
    return (Span(asked.start, asked.start + len(asked.answer)),)


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
