"""Every view by one function: it looks, and gives back a View, which a notebook shows and `save` writes in any form.

    views.mask(run, "Mars is called the [MASK] planet").save("mask.html")
    views.of_arrays(weights, tokens)          anybody's attention weights, layers x heads x query x key

Raises what the views themselves raise: UsageError for what the run or the text has not.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from glassformer.ablation import chosen_parts
from glassformer.look import apart, dependencies, film, film_figures, head_maps, heads, honest, lens, worth
from glassformer.look import pronoun as pronouns
from glassformer.look.generation import generation_view as generation
from glassformer.look.head_maps import view_of_arrays as of_arrays
from glassformer.look.mask import mask_view as mask
from glassformer.look.page import View
from glassformer.look.shapes import shapes_view as shapes
from glassformer.look.standing import masks_view as masks
from glassformer.look.standing import positions_view as positions
from glassformer.look.standing import schedule_view as schedule
from glassformer.look.steps import steps_view as steps
from glassformer.predict import Kind, Run

__all__ = [
    "ablation",
    "generation",
    "heads_of",
    "layers",
    "learning",
    "mask",
    "masks",
    "mattered",
    "of_arrays",
    "positions",
    "pronoun",
    "schedule",
    "shapes",
    "steps",
    "syntax",
    "word",
]


def heads_of(
    run: Run, texts: Sequence[str] = (), kind: Kind = "self", number: int = 16, by: heads.Sort = "layer"
) -> View:
    """What each head does on texts, or on `number` of the run's own validation units; the maps are of the first."""
    seen = list(heads.seen_of(run, texts, kind, number))
    return head_maps.view_of(seen[0], heads.facts(seen), by, run.path.name)


def mattered(run: Run, text: str, blank: int = 0) -> View:
    """Readings of attention beside the measured effect of hiding each token."""
    return honest.view_of(run, honest.views(run, text, blank))


def layers(run: Run, text: str, top: int = 5) -> View:
    """What the model would say if it stopped after each layer."""
    return lens.view_of(run, lens.layerwise(run, text, top))


def syntax(
    run: Run, file: Path, limit: int | None = None, relation: str | None = None, least: int = dependencies.LEAST
) -> View:
    """Which head follows which relation of a treebank in CoNLL-U."""
    found = dependencies.dependencies(run, islice(dependencies.read_conllu(file), limit))
    return dependencies.view_of(run, found._replace(scores=dependencies.frequent(found, least, relation)))


def pronoun(run: Run, text: str, word: str = "it", candidates: Sequence[str] = (), nth: int | None = None) -> View:
    """Attention between a word and what it may refer to."""
    return pronouns.view_of(run, pronouns.pronoun(run, text, word, candidates, nth))


def word(run: Run, word: str, text_a: str, text_b: str, nth: tuple[int | None, int | None] = (None, None)) -> View:
    """How the vectors of one word drift apart in two texts."""
    return apart.view_of(run, apart.apart(run, word, text_a, text_b, nth))


def learning(
    run: Run, probe: int = 0, kind: str = "self", layer: int | None = None, head: int | None = None, place: int = 0
) -> View:
    """The film of a run that was trained with probes."""
    return film_figures.view_of(run, film.film_of(run), probe, kind, layer, head, place)


def ablation(
    run: Run,
    parts: str = "all",
    units: int | None = None,
    seeds: int = 1,
) -> View:
    """The run's own metric without each part."""
    return worth.view_of(run, worth.ablate(run, chosen_parts(run.model, parts), units, seeds))
