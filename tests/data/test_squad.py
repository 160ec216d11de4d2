"""Questions with the places of their answers, in both layouts."""

import json
from pathlib import Path

import pytest

from glassformer.data.layout import Layout
from glassformer.data.rows import read_rows
from glassformer.data.spans import Span
from glassformer.errors import UsageError

ROLES = ("text", "second", "spans")
TEXT = "Mars is red. Its moons are Phobos and Deimos; Phobos is nearer."


def question(number: int, answers: list[dict], **more) -> dict:
    return {"id": f"q{number}", "question": f"What is {number}?", "answers": answers, **more}


def squad(folder: Path, questions: list[dict], text: str = TEXT) -> Path:
    file = folder / "questions.json"
    tree = {"version": "1.1", "data": [{"title": "Mars", "paragraphs": [{"context": text, "qas": questions}]}]}
    file.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
    return file


def rows(file: Path):
    return list(read_rows(str(file), ROLES, None, Layout()))


def answer(text: str, start: int) -> dict:
    return {"text": text, "answer_start": start}


def test_a_row_is_a_question_with_each_place_once(tmp_path):
    second = TEXT.index("Phobos", 40)
    file = squad(
        tmp_path,
        [
            question(1, [answer("red", 8), answer("red", 8)]),
            question(2, [answer("Phobos", second), answer("Phobos", 27)]),
        ],
    )
    one, two = rows(file)
    assert one.cells[0] == TEXT and one.cells[1] == "What is 1?"
    assert one.cells[2].spans == (Span(8, 11),)
    assert two.cells[2].spans == (Span(27, 33), Span(second, second + 6))
    assert one.place.endswith("question 'q1'")


def test_a_question_without_an_answer_has_no_place(tmp_path):
    one, two = rows(squad(tmp_path, [question(1, [], is_impossible=True), question(2, [answer("red", 8)])]))
    assert one.cells[2].spans == () and len(two.cells[2].spans) == 1


def test_offsets_are_in_characters_whatever_the_script(tmp_path):
    text = "火星は赤い。衛星は\U00020bb7フォボスです。"
    start = text.index("フォボス")
    [row] = rows(squad(tmp_path, [question(1, [answer("フォボス", start)])], text))
    [(a, b, _)] = row.cells[2].spans
    assert text[a:b] == "フォボス"


def test_flat_rows_hold_the_same(tmp_path):
    file = tmp_path / "flat.jsonl"
    lines = [
        {"question": "What is 1?", "context": TEXT, "answers": {"text": ["red"], "answer_start": [8]}},
        {"question": "What is 2?", "context": TEXT, "answers": [answer("red", 8)]},
        {"question": "What is 3?", "context": TEXT, "answers": {"text": [], "answer_start": []}},
    ]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert [row.cells[2].spans for row in rows(file)] == [(Span(8, 11),), (Span(8, 11),), ()]


def test_an_answer_that_is_not_there_is_an_error_with_the_question_and_where_it_stands(tmp_path):
    with pytest.raises(UsageError, match=r"question 'q7': the answer 'red' does not stand at character 9") as error:
        rows(squad(tmp_path, [question(7, [answer("red", 9)])]))
    assert "it stands at 8" in error.value.mend
    with pytest.raises(UsageError, match="question 'q8'") as error:
        rows(squad(tmp_path, [question(8, [answer("blue", 9)])]))
    assert "does not hold it" in error.value.mend
    with pytest.raises(UsageError, match="is no answer"):
        rows(squad(tmp_path, [question(9, [{"text": "red"}])]))


def test_another_layout_is_an_error_in_a_line(tmp_path):
    file = tmp_path / "odd.json"
    file.write_text('{"data": [{"paragraphs": [{"context": "a"}]}]}', encoding="utf-8")
    with pytest.raises(UsageError, match="not in the layout of SQuAD"):
        rows(file)
