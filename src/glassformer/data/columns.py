"""Which column of a table holds the text, which two hold a source and its target, and which a label or a number: chosen
from many rows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from glassformer.data.records import flat
from glassformer.data.tables import is_label, is_number
from glassformer.errors import UsageError

TEXT_COLUMNS = ("text", "sentence", "content", "body")
PAIR_COLUMNS = (
    ("source", "target"),
    ("instruction", "output"),
    ("input", "output"),
    ("question", "answer"),
    ("text", "summary"),
)
"""Names of columns that are taken for a pair, where a recipe names none."""
TWO_COLUMNS = (
    ("context", "question"),
    ("text", "second"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
)
"""Names of columns that are taken for two texts that are read together."""
WORD_COLUMNS = ("form", "words", "tokens", "text", "0")
TAG_COLUMNS = ("upos", "tags", "ner_tags", "pos_tags", "labels")
"""Names of columns that are taken for words and for their tags."""
VALUE_COLUMNS = {
    "label": ("label", "labels", "class", "category", "sentiment", "topic"),
    "number": ("number", "score", "rating", "similarity", "value"),
    "spans": ("answers", "spans"),
}
"""Names of columns that are taken for labels and for numbers, where a recipe names none."""


class Found(NamedTuple):
    """What a sample of rows shows of one column."""

    name: str
    texts: list[str]
    numbers: int
    nulls: int
    others: int
    lists: int = 0  # of the texts those that come in pieces
    different: int = 0  # values that are not the same

    @property
    def may_be_text(self) -> bool:
        """Texts, perhaps with a null here and there, or nulls only: a sample may have missed the texts."""
        return len(self.texts) > self.others + self.numbers or (self.nulls > 0 and self.numbers + self.others == 0)

    @property
    def is_prose(self) -> bool:
        """Whether these are texts of several words rather than names, numbers or labels."""
        if not self.texts or self.is_label:
            return False
        words = sum(len(text.split()) for text in self.texts) / len(self.texts)
        letters = sum(len(text) for text in self.texts) / len(self.texts)
        beyond_latin = sum(ord(c) > 0x2E7F or 0xE00 <= ord(c) < 0x1100 for text in self.texts for c in text[:50])
        return words >= 3 or (letters >= 8 and beyond_latin * 2 > sum(len(text[:50]) for text in self.texts))

    @property
    def is_label(self) -> bool:
        """Whether a few different short values come again and again; of few rows that cannot be told."""
        return len(self.texts) >= 8 and is_label(self.texts)


def columns_of(samples: Sequence[Sequence[dict[str, Any]]]) -> list[Found]:
    """The columns that all files have, in the order of the first; a name with a dot is a field inside a column.

    `samples` are rows of each file, at least one of each. Raises UsageError where the files have none in common."""
    names = [list(dict.fromkeys(name for row in rows for name in flat(row))) for rows in samples]
    common = [name for name in names[0] if all(name in other for other in names[1:])]
    if not common and all(names):
        others = [other for other in names if not set(other) & set(names[0])] or names[-1:]
        raise UsageError(
            f"the files have no column in common: one has {_listed(names[0])}, another {_listed(others[0])}",
            "give files of one kind, or name their columns alike",
        )
    return [_found(name, [flat(row).get(name) for rows in samples for row in rows]) for name in common]


def _found(name: str, values: Iterable[Any]) -> Found:
    texts, counts, different = [], Counter[str](), set[str]()
    for value in values:
        different.add(str(value)[:100])
        if value is None or (isinstance(value, str) and not value.strip()):
            counts["nulls"] += 1
        elif isinstance(value, bool | int | float) or (isinstance(value, str) and is_number(value)):
            counts["numbers"] += 1
        elif isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            texts.append(" ".join(value))
            counts["lists"] += 1
        else:
            counts["others"] += 1
    return Found(name, texts, counts["numbers"], counts["nulls"], counts["others"], counts["lists"], len(different))


def text_column(columns: Sequence[Found], place: str, first_row: Sequence[str] = ()) -> str:
    """The column called text, sentence, content or body; otherwise the only one that may hold text, or the only one of
    several words. Raises UsageError where that is not clear."""
    candidates = [column for column in columns if column.may_be_text]
    for name in TEXT_COLUMNS:
        for column in columns:
            if column.name.lower() == name and (column.texts or column.may_be_text):
                return column.name
    prose = [column for column in candidates if column.is_prose]
    for few in (candidates, prose):
        if len(few) == 1 and few[0].texts:
            return few[0].name
    likely = f" (likely: {_listed([c.name for c in prose])})" if len(prose) > 1 else ""
    both = ", or learn from pairs of the two: objective.name=seq2seq" if len(prose) == 2 else ""
    raise UsageError(
        f"{place}: it is not clear which column holds the text; {_there(columns, first_row)}{likely}",
        f"set data.column to {'the number of one' if first_row else 'one of them'}{both}",
    )


def pair_columns(
    columns: Sequence[Found], column: str | None, target_column: str | None, place: str, first_row: Sequence[str] = ()
) -> tuple[str, str]:
    """The columns that are called as pairs are, or the only two that hold text, or the only two of several words; one
    that was named stays. Raises UsageError where that is not clear."""
    names = {found.name.lower(): found.name for found in columns}
    fitting = [pair for pair in PAIR_COLUMNS if set(pair) <= set(names)]
    if len(fitting) == 1:
        pair = (names[fitting[0][0]], names[fitting[0][1]])
        if column in (None, pair[0]) and target_column in (None, pair[1]):
            return pair
    candidates = [found for found in columns if found.may_be_text]
    texts = [found for found in candidates if found.texts]
    for few in (texts, candidates, [found for found in texts if found.is_prose]):
        if len(few) == 2 and column in (None, few[0].name) and target_column in (None, few[1].name):
            return few[0].name, few[1].name
        if len(few) == 2 and column in (None, few[1].name) and target_column in (None, few[0].name):
            return few[1].name, few[0].name
    raise UsageError(
        f"{place}: it is not clear which columns hold source and target; {_there(columns, first_row)}",
        "set data.column and data.target_column",
    )


def two_columns(
    columns: Sequence[Found], text: str | None, second: str | None, place: str, first_row: Sequence[str] = ()
) -> tuple[str, str]:
    """The columns that are called as two texts are, or the only two that hold texts of several words, in their order;
    one that was named stays. Raises UsageError where that is not clear."""
    names = {found.name.lower(): found.name for found in columns}
    fitting = [(names[one], names[other]) for one, other in TWO_COLUMNS if {one, other} <= set(names)]
    prose = [found.name for found in columns if found.is_prose]
    if len(prose) == 2:
        fitting.append((prose[0], prose[1]))
    for pair in fitting:
        if text in (None, pair[0]) and second in (None, pair[1]):
            return pair
        if text in (None, pair[1]) and second in (None, pair[0]):
            return pair[1], pair[0]
    raise UsageError(
        f"{place}: it is not clear which columns hold the two texts; {_there(columns, first_row)}",
        "set data.columns.text and data.columns.second",
    )


def tagged_columns(columns: Sequence[Found], words: str | None, tags: str | None, place: str) -> dict[Any, str]:
    """The columns of words and of their tags, by role: as they are named or numbered, else as they are called, else the
    first and the last. Raises UsageError where there are no two."""
    names = [column.name for column in columns]

    def chosen(given: str | None, usual: Sequence[str], others: Sequence[str], last: str) -> str:
        if given is not None:
            by_number = names[int(given)] if given.isdecimal() and int(given) < len(names) else given
            name = given if given in names else by_number
            if name not in names:
                raise UsageError(f"{place} has no column {given!r}", f"the columns are {_listed(names)}")
            return name
        return next((name for name in usual if name in others), last)

    text = chosen(words, WORD_COLUMNS, names, names[0])
    beside = [name for name in names if name != text]
    if not beside:
        raise UsageError(f"{place} has words and no tags", "give lines with a word and its tag")
    return {"text": text, "tags": chosen(tags, TAG_COLUMNS, beside, beside[-1])}


def value_column(
    columns: Sequence[Found], role: str, chosen: Sequence[str], place: str, first_row: Sequence[str] = ()
) -> str:
    """Of the columns that are not chosen yet the one that is called as labels (or numbers) are, else the only one that
    looks like them. Raises UsageError where that is not clear."""
    others = [column for column in columns if column.name not in chosen]
    for name in VALUE_COLUMNS[role]:
        for column in others:
            if column.name.lower() == name:
                return column.name
    if role == "spans":
        fitting = [column.name for column in others if column.others > len(column.texts) + column.numbers]
    elif role == "label":
        fitting = labels_beside(columns, chosen)
    else:
        fitting = [column.name for column in others if column.numbers > len(column.texts) + column.others]
    if len(fitting) == 1:
        return fitting[0]
    likely = f" (likely: {_listed(fitting)})" if fitting else ""
    raise UsageError(
        f"{place}: it is not clear which column holds the {role}; {_there(columns, first_row)}{likely}",
        f"set data.columns.{role} to {'the number of one' if first_row else 'one of them'}",
    )


def labels_beside(columns: Sequence[Found], chosen: Sequence[str]) -> list[str]:
    """The columns beside the chosen ones that look like labels: few different values, again and again, or the numbers
    of a last column."""
    beside = [column for column in columns if column.name not in chosen]
    return [c.name for c in beside if c.is_label or (c is columns[-1] and c.numbers and not c.texts)]


def _there(columns: Sequence[Found], first_row: Sequence[str]) -> str:
    if first_row:  # no header was found: they have numbers only
        return f"no header was found, the columns 0 to {len(first_row) - 1} begin {_listed(first_row)}"
    return f"the columns are {_listed([column.name for column in columns])}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(f"{name[:37]}..." if len(name) > 40 else name) for name in names) or "none"
