"""What a file is labelled for: which task learns from all of its columns, where a person named none.

sentence, label (few values)             classification
two texts, label                         sentence_pair
two texts, number                        similarity
source and target                        seq2seq
words with tags (CoNLL, CoNLL-U)         tagging
questions with answers (SQuAD)           span_extraction
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from glassformer.data.columns import PAIR_COLUMNS, TWO_COLUMNS, VALUE_COLUMNS, Found, columns_of, labels_beside
from glassformer.data.data_config import DataConfig, asked_layout
from glassformer.data.file_rows import names_of
from glassformer.data.files import files_of, is_path
from glassformer.data.layout_choice import look_into
from glassformer.data.roles import NAMED, Role
from glassformer.data.squad import is_squad
from glassformer.errors import UsageError

MOST_CLASSES = 50
"""Different numbers in a column from which on they are no classes."""


class Task(NamedTuple):
    """A task, and what of the data speaks for it."""

    name: str
    why: str


def task_of(data: DataConfig) -> Task | None:
    """The task of these data. None for plain texts, where a person says how they are read, and where it is not clear.
    Raises what looking into the files raises."""
    named = {role for role in NAMED if getattr(data.columns, role) is not None}
    if named:
        return _of_roles(named)
    if data.train_targets is not None or data.target_column is not None:
        return Task("seq2seq", "targets are named")
    is_said = data.document not in ("auto", "tagged", "row") or data.document_start is not None
    if is_said or data.column is not None or any(not is_path(name) for name in names_of(data.train)):
        return None
    files = [file for name in names_of(data.train) for file in files_of(name)]
    if all(file.suffix.lower() == ".json" and is_squad(file) for file in files):
        return Task("span_extraction", "questions with the places of their answers (SQuAD)")
    try:
        seen = look_into(data.train, asked_layout(data))
    except UsageError:  # told where the texts are read
        return None
    if seen.layout.document == "tagged":
        return Task("tagging", "rows of words with their tags (CoNLL)")
    rows = [rows for _, rows in seen.rows if rows]
    return _of_columns(columns_of(rows)) if rows else None


def _of_roles(named: set[Role]) -> Task | None:
    told: dict[Role, str] = {"tags": "tagging", "spans": "span_extraction", "number": "similarity"}
    for role, name in told.items():
        if role in named:
            return Task(name, f"data.columns.{role} is named")
    if "label" in named:
        return Task("sentence_pair" if "second" in named else "classification", "data.columns.label is named")
    return None


def _of_columns(columns: Sequence[Found]) -> Task | None:
    names = {column.name.lower(): column.name for column in columns}
    prose = [column.name for column in columns if column.is_prose]
    two = [[names[one], names[other]] for one, other in TWO_COLUMNS if {one, other} <= set(names)]
    pair = [[names[one], names[other]] for one, other in PAIR_COLUMNS if {one, other} <= set(names)]
    texts = two[0] if two else prose
    label = _only(_labels(columns, texts), VALUE_COLUMNS["label"])
    number = _only([c.name for c in columns if c.numbers > len(c.texts) + c.others], VALUE_COLUMNS["number"], False)
    if len(texts) == 2:
        shown = f"columns {texts[0]!r} and {texts[1]!r}"
        if pair and not two:
            return Task("seq2seq", f"{shown} are called as a source and its target")
        if number is not None and (label is None or label == number):
            return Task("similarity", f"{shown} are texts, {number!r} is a number")
        return None if label is None else Task("sentence_pair", f"{shown} are texts, {label!r} has few values")
    if len(texts) == 1 and label is not None:
        return Task("classification", f"column {texts[0]!r} is a text, {label!r} has few values")
    return None


def _labels(columns: Sequence[Found], texts: Sequence[str]) -> list[str]:
    """The columns beside the texts whose few values come again and again."""
    beside = set(labels_beside(columns, texts))
    return [
        c.name
        for c in columns
        if c.name in beside and 2 <= c.different <= min(MOST_CLASSES, (c.numbers + len(c.texts)) / 4)
    ]


def _only(found: Sequence[str], usual: Sequence[str], or_else: bool = True) -> str | None:
    """The one that is called as usual, else the only one."""
    called = [name for name in found if name.lower() in usual]
    if len(called) == 1:
        return called[0]
    return found[0] if or_else and len(found) == 1 else None


def place_of(data: DataConfig) -> str:
    """The first file, as it is named to people."""
    return Path(names_of(data.train)[0]).name
