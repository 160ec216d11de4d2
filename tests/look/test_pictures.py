"""The pictures of the views with text that somebody could put there to break or to mislead them: nothing is read as a
formula, nothing is markup, and what has no glyph is shown by its number. Warnings are errors here."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from test_pages import candidates, generation_of, random_weights, steps_of

from glassformer.look.measures import heads
from glassformer.look.pictures import panels
from glassformer.look.pictures.figures import rendered
from glassformer.look.views import attribution, confusion, dependencies, generation, lens, pronoun, steps
from glassformer.look.views import heads as head_maps
from glassformer.look.views import word as apart
from glassformer.objectives import Blank, Candidate


def generation_picture(tokens: list[str]) -> Figure:
    view = generation_of(tokens)
    return generation.picture(view.title, view.data, dict(view.arrays))


def steps_picture(tokens: list[str]) -> Figure:
    view = steps_of(tokens)
    return steps.picture(view.title, view.data)


def honest_picture(tokens: list[str]) -> Figure:
    equal = np.full(len(tokens), 1 / len(tokens))
    relevance = dict.fromkeys((*attribution.METHODS, attribution.EFFECT), equal)
    first = Candidate(tokens[2], 0.5)
    none = dict.fromkeys(attribution.METHODS)
    return attribution.picture(attribution.Attribution(tokens[0], tokens, 1, first, equal, relevance, none, tokens[:3]))


def layers_picture(tokens: list[str]) -> Figure:
    blank = Blank(1, [Candidate(**one) for one in candidates(tokens)])
    return lens.picture(lens.Layerwise(tokens[0], tokens, [tokens[1]], [[blank], [blank]]))


def panels_picture(tokens: list[str]) -> Figure:
    square = panels.squares(tokens[0], np.eye(len(tokens)), tokens[1], tokens, tokens)
    line = panels.lines(tokens[0], [1, 2], {token: [0.1, 0.2] for token in tokens}, tokens[1], tokens[2])
    return panels.picture(tokens[0], [square, line])


def pronoun_picture(tokens: list[str]) -> Figure:
    shape, even = (1, 2, len(tokens)), np.full(len(tokens), 0.1)
    return pronoun.figure(
        pronoun.Pronoun(tokens[0], tokens[1], tokens, np.full(shape, 0.5), np.full(shape, np.nan), even, even)
    )


def word_picture(tokens: list[str]) -> Figure:
    return apart.figure(apart.Apart(tokens[0], (tokens[1], tokens[2]), ["embedding", "0"], np.ones(2), np.zeros(2)))


def dependencies_picture(tokens: list[str]) -> Figure:
    right = np.ones((1, 2), dtype=np.int64)
    return dependencies.figure([dependencies.Scores(t, "dependent to head", 3, right, -1, 0.5) for t in tokens])


def confusion_picture(tokens: list[str]) -> Figure:
    return confusion.figure(tokens, np.eye(len(tokens), dtype=np.int64) * 7, tokens[0], tokens[1])


def heads_picture(tokens: list[str]) -> Figure:
    text = heads.seen(random_weights(1, 2, len(tokens), len(tokens)), tokens)
    return head_maps.head_maps(text, heads.facts([text]), np.arange(2))


PICTURES = {
    make.__name__.removesuffix("_picture"): make
    for make in (
        *(generation_picture, steps_picture, honest_picture, layers_picture, panels_picture),
        *(pronoun_picture, word_picture, dependencies_picture, heads_picture, confusion_picture),
    )
}


@pytest.mark.parametrize("make", PICTURES.values(), ids=PICTURES)
def test_hostile_tokens_are_drawn_as_text(make: Callable[[list[str]], Figure], monkeypatch: pytest.MonkeyPatch) -> None:
    def formula(*arguments: object) -> None:
        raise AssertionError(f"read as a formula: {arguments[1]!r}")

    monkeypatch.setattr(MathTextParser, "parse", formula)
    for start in range(0, len(HOSTILE), 16):
        tokens = [*HOSTILE[start : start + 16], "a", "b", "c"]
        figure = make(tokens)
        drawn = ElementTree.fromstring(rendered(figure, ".svg"))
        names = {element.tag.rpartition("}")[2] for element in drawn.iter()}
        assert not names & {"script", "a", "foreignObject"}
        assert rendered(figure, ".png").startswith(b"\x89PNG")
