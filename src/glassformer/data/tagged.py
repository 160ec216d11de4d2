"""Tagged texts (CoNLL): one token and its tags in each row, a blank line after each sentence.

    Mars    B-LOC            1   Mars    Mars    PROPN   _   _   2   nsubj   _   _
    is      O                2   is      be      AUX     ...

Where only texts are learned, they are the sentences: their tokens with a space between, or what `# text = ` says
(CoNLL-U). Where tags are, a row is a sentence with a list of its words, and one for each of the other columns: by
numbers from 0, in CoNLL-U by their names. There the words are the syntactic ones: what a row like `3-4` writes together
stands in the rows 3 and 4, and a word like `8.1`, which the text leaves out, is left out.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path

from glassformer.data.records import Row
from glassformer.errors import UsageError

_NUMBER = re.compile(r"\d+([-.]\d+)?")
_BIO = re.compile(r"[BIOLESU](-\S+)?")
_TAG = re.compile(r"[A-Z_][A-Za-z0-9_$.:|=\-\[\]]*")
_TEXT = "# text = "
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns of CoNLL-U (universaldependencies.org/format.html)."""


def is_tagged(lines: Sequence[str]) -> bool:
    """Whether these lines are rows of tagged tokens. Prose, tables of texts and lists of words are not: rows of equally
    many cells without spaces, in sentences between blank lines, and the last cells are a few tags."""
    rows = [line for line in lines if not _is_between(line)]
    sentences = sum(_is_blank(b) and not _is_blank(a) for a, b in pairwise(lines))
    if len(rows) < 6 or sentences < 1 or sentences * 2 > len(rows):
        return False
    by_tab = sum("\t" in row for row in rows) * 2 > len(rows)
    cells = [_cells(row, by_tab) for row in rows]
    width = len(cells[0])
    regular = [row for row in cells if len(row) == width and (not by_tab or all(" " not in cell for cell in row[:2]))]
    if width < 2 or len(regular) < 0.98 * len(cells):
        return False
    if width == 10 and all(_NUMBER.fullmatch(row[0]) for row in regular):
        return True
    tags = [row[-1] for row in regular]
    if sum(bool(_BIO.fullmatch(tag)) for tag in tags) >= 0.98 * len(tags):
        return True
    few = len(set(tags)) <= max(3, min(80, len(tags) / 4))
    return by_tab and few and all(_TAG.fullmatch(tag) for tag in tags)


def tagged_sentences(lines: Iterable[str], file: Path) -> Iterator[str]:
    """The sentences of a tagged file. Raises UsageError for a row without a tag."""
    tokens: list[str] = []
    text, inside = None, 0
    for number, line in enumerate(chain(lines, [""]), start=1):
        if _is_blank(line):
            if tokens:
                yield text or " ".join(tokens)
            tokens, text, inside = [], None, 0
        elif line.startswith(_TEXT) and not tokens:
            text = line.removeprefix(_TEXT).strip()
        elif not _is_between(line):
            cells = _cells(line, "\t" in line)
            if len(cells) < 2:
                raise UsageError(
                    f"{file}, line {number} is broken: {line[:40]!r} is no token with its tags",
                    "mend or remove the line; where the file is a plain text: data.document=line",
                )
            if len(cells) < 10 or not _NUMBER.fullmatch(cells[0]):
                tokens.append(cells[0])
            elif "-" in cells[0]:  # a word that the next rows take apart
                tokens.append(cells[1])
                inside = int(cells[0].split("-")[1])
            elif "." not in cells[0] and int(cells[0]) > inside:  # 8.1 is a word that the text leaves out
                tokens.append(cells[1])


def tagged_rows(lines: Iterable[str], file: Path) -> Iterator[Row]:
    """(file and lines, row) of each sentence. Raises UsageError for a line with more or fewer cells than the first."""
    width, by_tab, is_conllu = 0, False, False
    words: list[list[str]] = []
    first, last = 0, 0
    for number, line in enumerate(chain(lines, [""]), start=1):
        if _is_blank(line) and words:
            columns = [list(column) for column in zip(*words, strict=True)]
            names = CONLLU if is_conllu else tuple(map(str, range(width)))
            where = f"line {first}" if first == last else f"lines {first} to {last}"
            yield f"{file}, {where}", dict(zip(names, columns, strict=True))
            words = []
        if _is_between(line):
            continue
        if not width:
            by_tab = "\t" in line
            cells = _cells(line, by_tab)
            width, is_conllu = len(cells), len(cells) == len(CONLLU) and bool(_NUMBER.fullmatch(cells[0]))
        cells = _cells(line, by_tab)
        if len(cells) != width or width < 2 or not all(cells):
            raise UsageError(
                f"{file}, line {number} is broken: {len(cells)} cell{'s' if len(cells) != 1 else ''}, and the first "
                f"row has {width}",
                "mend the line: a word and its tags, with the same number of cells in each line",
            )
        first, last = (first if words else number), number
        if not is_conllu or cells[0].isdecimal():
            words.append(cells)


def _cells(row: str, by_tab: bool) -> list[str]:
    return row.rstrip().split("\t") if by_tab else row.split()


def _is_blank(line: str) -> bool:
    return not line or line.isspace()


def _is_between(line: str) -> bool:
    """Whether a line is no token: blank, a comment of CoNLL-U, a mark between documents."""
    if line.startswith("# "):
        return not _BIO.fullmatch(line.split()[-1])  # "# O" is the token # and its tag
    return _is_blank(line) or line.startswith("-DOCSTART-")
