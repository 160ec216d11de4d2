"""Every view by one function, under the name of its command: it looks, and gives back a View, which a notebook shows
and `save` writes in any form.

    views.mask(run, "Mars is called the [MASK] planet").save("mask.html")     glassformer look mask ...
    views.honest(run, "Mars is called the [MASK] planet")                     glassformer look honest ...
    views.of_arrays(weights, tokens)          anybody's attention weights, layers x heads x query x key

Raises what the views themselves raise: UsageError for what the run or the text has not.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from glassformer.ablation import chosen_parts
from glassformer.ask.attention import Kind
from glassformer.ask.run import Run
from glassformer.look.measures import film as _film
from glassformer.look.measures import heads as _heads
from glassformer.look.pictures.page import View
from glassformer.look.views import ablate as _worth
from glassformer.look.views import dependencies as _dependencies
from glassformer.look.views import film as _film_figures
from glassformer.look.views import heads as _head_maps
from glassformer.look.views import honest as _honest
from glassformer.look.views import layers as _lens
from glassformer.look.views import pronoun as _pronoun
from glassformer.look.views import word as _apart
from glassformer.look.views.generation import generation_view as generation
from glassformer.look.views.heads import view_of_arrays as of_arrays
from glassformer.look.views.mask import mask_view as mask
from glassformer.look.views.masks import masks_view as masks
from glassformer.look.views.positions import positions_view as positions
from glassformer.look.views.schedule import schedule_view as schedule
from glassformer.look.views.shapes import shapes_view as shapes
from glassformer.look.views.steps import steps_view as steps

__all__ = [
    "ablate",
    "dependencies",
    "film",
    "generation",
    "heads",
    "honest",
    "layers",
    "mask",
    "masks",
    "of_arrays",
    "positions",
    "pronoun",
    "schedule",
    "shapes",
    "steps",
    "word",
]


def __dir__() -> list[str]:
    """The views and nothing else, so that tab completion offers no library."""
    return sorted(__all__)


def heads(
    run: Run, texts: Sequence[str] = (), kind: Kind = "self", number: int = 16, by: _heads.Sort = "layer"
) -> View:
    """What each head does on texts, or on `number` of the run's own validation units; the maps are of the first."""
    seen = list(_heads.seen_of(run, texts, kind, number))
    return _head_maps.view_of(seen[0], _heads.facts(seen), by, run.path.name)


def honest(run: Run, text: str, blank: int = 0) -> View:
    """Readings of attention beside the measured effect of hiding each token; blanks count from 0."""
    return _honest.view_of(run, _honest.views(run, text, blank))


def layers(run: Run, text: str, top: int = 5) -> View:
    """What the model would say if it stopped after each layer."""
    return _lens.view_of(run, _lens.layerwise(run, text, top))


def dependencies(
    run: Run,
    file: str | Path,
    limit: int | None = None,
    relation: str | None = None,
    least: int = _dependencies.LEAST,
) -> View:
    """Which head follows which relation of a treebank in CoNLL-U."""
    found = _dependencies.dependencies(run, islice(_dependencies.read_conllu(Path(file)), limit))
    kept = _dependencies.frequent(found, least, relation)
    return _dependencies.view_of(run, found._replace(scores=kept))


def pronoun(run: Run, text: str, word: str = "it", candidates: Sequence[str] = (), nth: int | None = None) -> View:
    """Attention between a word and what it may refer to."""
    return _pronoun.view_of(run, _pronoun.pronoun(run, text, word, candidates, nth))


def word(run: Run, word: str, text_a: str, text_b: str, nth: tuple[int | None, int | None] = (None, None)) -> View:
    """How the vectors of one word drift apart in two texts."""
    return _apart.view_of(run, _apart.apart(run, word, text_a, text_b, nth))


def film(
    run: Run, probe: int = 0, kind: str = "self", layer: int | None = None, head: int | None = None, place: int = 0
) -> View:
    """The film of a run that was trained with probes."""
    return _film_figures.view_of(run, _film.film_of(run), probe, kind, layer, head, place)


def ablate(run: Run, parts: str = "all", units: int | None = None, seeds: int = 1) -> View:
    """The run's own metric without each part."""
    return _worth.view_of(run, _worth.ablate(run, chosen_parts(run.model, parts), units, seeds))


# The names that these had before they were named after their commands.
ablation = ablate
heads_of = heads
learning = film
mattered = honest
syntax = dependencies
