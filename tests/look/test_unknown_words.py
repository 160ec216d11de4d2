"""A word that the vocabulary lacks is named in the picture and on the page, and nothing is said where all are known."""

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import browser, opened
from trained import run_folder

from glassformer import views
from glassformer.ask.run import Run, load
from glassformer.look.pictures.page import View

SAID = "not in the vocabulary, read as [UNK]: zyzzyva"
MAKERS: dict[str, Callable[[Run, str], View]] = {
    "pronoun": lambda run, last: views.pronoun(run, f"Mars is called the red {last}", "red"),
    "word": lambda run, last: views.word(run, "red", f"Mars is called the red {last}", "the red planet"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_it_is_in_the_picture_and_on_the_page(name: str, tmp_path: Path) -> None:
    run = load(run_folder())
    with browser() as started:
        for last, unknown in (("zyzzyva", ["zyzzyva"]), ("planet", [])):
            view = MAKERS[name](run, last)
            assert list(view.numbers["unknown"]) == unknown
            drawn = [text.get_text() for text in view.draw().texts]
            assert (SAID in drawn) == bool(unknown)
            assert any("[UNK]" in text for text in drawn) == bool(unknown)
            shown = opened(started, view.save(tmp_path / f"{last}.html"))
            assert shown.texts("main .warning") == [SAID] * len(unknown)
            assert shown.complaints == []
