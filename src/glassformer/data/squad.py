"""Questions about texts in the layout of SQuAD (Rajpurkar et al. 2016), 1.1 and 2.0, with the places of their answers.

{"data": [{"title": ..., "paragraphs": [{"context": "...", "qas": [
    {"id": "...", "question": "...", "answers": [{"text": "...", "answer_start": 17}], "is_impossible": false}]}]}]}

A row is a question. Rows that are flat, `{"question": ..., "context": ..., "answers": ...}`, hold the same in lines of
JSON; `answers` there may also be {"text": [...], "answer_start": [...]}, as `datasets` has it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassformer.data.files import read_lines
from glassformer.data.records import Row
from glassformer.data.spans import Span
from glassformer.errors import UsageError

LARGEST = 2**30
"""Bytes: such a file is one value, and is read at once."""
_BEGINNING = 2**14


def is_squad(file: Path) -> bool:
    """Whether a .json file has paragraphs with questions."""
    with file.open("rb") as stream:
        beginning = stream.read(_BEGINNING)
    return beginning.lstrip().startswith(b"{") and b'"paragraphs"' in beginning


def squad_rows(file: Path) -> Iterator[Row]:
    """(file and question, row) of each question. Raises UsageError for a file of another layout."""
    if file.stat().st_size > LARGEST:
        raise UsageError(f"{file} is larger than {LARGEST:,} bytes", "give its questions as lines of JSON (.jsonl)")
    try:
        found = json.loads("\n".join(read_lines(file)))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is broken JSON: {error}", "mend the file or write it again") from None
    try:
        for article in found["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    place = f"{file}, question {question['id']!r}"
                    yield (
                        place,
                        {"context": paragraph["context"], "question": question["question"]}
                        | {key: question[key] for key in ("id", "answers", "is_impossible") if key in question},
                    )
    except (KeyError, TypeError, IndexError) as error:
        raise UsageError(
            f"{file} is not in the layout of SQuAD: {type(error).__name__} {error}",
            "it has data, of these paragraphs, of these a context and qas, of these id, question and answers",
        ) from None


def answers_in(cell: Any, text: str, place: str) -> tuple[Span, ...]:
    """Where the answers of a row stand, each once, in order; none for a question without an answer. Raises UsageError
    for one that does not stand where it is said to."""
    if isinstance(cell, dict) and {"text", "answer_start"} <= set(cell):
        cell = [
            {"text": text, "answer_start": start}
            for text, start in zip(_list(cell["text"]), _list(cell["answer_start"]), strict=False)
        ]
    found: set[Span] = set()
    for answer in _list(cell):
        said = answer.get("text") if isinstance(answer, dict) else None
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(said, str) or type(start) is not int:
            raise UsageError(
                f"{place}: {str(answer)[:60]!r} is no answer",
                'an answer looks like {"text": "...", "answer_start": 17}, counted in characters from 0',
            )
        if start < 0 or text[start : start + len(said)] != said or not said.strip():
            at = text.find(said) if said.strip() else -1
            mend = f"it stands at {at}" if at >= 0 else "the text does not hold it"
            raise UsageError(
                f"{place}: the answer {said[:40]!r} does not stand at character {start}, where the text has "
                f"{text[max(0, start) : max(0, start) + len(said)][:40]!r}",
                f"mend answer_start; {mend}",
            )
        found.add(Span(start, start + len(said)))
    return tuple(sorted(found))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
