"""The film of a run: what its probes say at every probe step, and how every component of the model learns.

    film = film_of(load("runs/mlm-demo"))
    film.steps                                    0, 250, 500, ...
    film.probes[0].attention["self"].weights      steps x layers x heads x Q x K
    film.gradients[:, film.components.index("encoder.embeddings.token")]

Everything here is numbers; `film_figures.py` draws them. Layers and heads count from 0.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int64, Shaped, UInt8

from glassformer.ask.run import Run
from glassformer.errors import GlassformerError, UsageError
from glassformer.objectives import Blank
from glassformer.training.probes import LEVELS, ProbeStep, probe_file, probe_steps, read_probe_step

UNCHANGED = 0.01
"""Maps less than this total variation distance apart are the same map: no step can be named at which it took shape."""


class FilmedAttention(NamedTuple):
    """One kind of attention on one probe, step by step."""

    queries: list[str]
    keys: list[str]
    weights: UInt8[np.ndarray, "steps layers heads Q K"]
    """Attention times 255, rounded: wrong by 1/510 at most."""
    entropies: Float[np.ndarray, "steps layers heads"]
    """As a share of the most there can be: 1 looks everywhere alike, 0 at one token."""


class FilmedProbe(NamedTuple):
    """One text, step by step."""

    text: str
    tokens: list[str]
    answers: list[list[Blank]]
    """steps x asked places, each with its ten best candidates."""
    attention: dict[str, FilmedAttention]
    """By kind: self, and of an encoder-decoder decoder and cross."""


class Film(NamedTuple):
    """What the probes of a run saw."""

    steps: Int64[np.ndarray, "steps"]
    probes: list[FilmedProbe]
    components: list[str]
    """`encoder.blocks.0.self_attention.query` and so on; see `training/probes.py`."""
    gradients: Float[np.ndarray, "steps components"]
    """Norms, before clipping; NaN at step 0, which has none."""
    updates: Float[np.ndarray, "steps components"]
    """Norms of the weights minus those one step before; NaN at step 0."""
    weights: Float[np.ndarray, "steps components"]


def film_of(run: Run) -> Film:
    """The film of a run, also of one that is still training. Raises UsageError where it was trained without probes,
    GlassformerError where a file is damaged."""
    directory = run.directory
    steps = probe_steps(directory)
    if not steps:
        raise UsageError(
            f"{run.path} has no film: it was trained without probes",
            "train with a text to watch: glassformer train RECIPE 'training.probes=[\"a text with a [MASK]\"]'",
        )
    frames = list[ProbeStep]()
    for step in steps:
        frames.append(read_probe_step(probe_file(directory, step)))
        if _outline(frames[-1]) != _outline(frames[0]):
            file, first = (probe_file(directory, number) for number in (step, steps[0]))
            raise GlassformerError(
                f"{file} is of other probes or another model than {first.name}",
                "put the files back as they were, or remove those of another run",
            )
    looks = list(zip(*(frame.looks for frame in frames), strict=True))  # probes x steps
    probes = []
    for each in looks:
        attention = {}
        for kind, first in each[0].attention.items():
            weights = np.stack([one.attention[kind].weights for one in each])
            entropies = np.stack([one.attention[kind].entropies for one in each])
            attention[kind] = FilmedAttention(first.axes.queries, first.axes.keys, weights, entropies)
        probes.append(FilmedProbe(each[0].text, each[0].tokens, [one.blanks for one in each], attention))
    norms = [np.stack([getattr(frame, name) for frame in frames]) for name in ("gradients", "updates", "weights")]
    return Film(np.array(steps, dtype=np.int64), probes, frames[0].components, *norms)


def _outline(frame: ProbeStep) -> list[Any]:
    """What is alike at all steps of a run: texts, places, kinds and sizes."""
    looks = [
        (
            one.text,
            one.tokens,
            [(blank.position, blank.true) for blank in one.blanks],
            {kind: (seen.weights.shape, seen.axes) for kind, seen in one.attention.items()},
        )
        for one in frame.looks
    ]
    return [looks, frame.components]


def candidates(
    probe: FilmedProbe, blank: int = 0, top: int = 5
) -> tuple[list[str], Float[np.ndarray, "steps candidates"]]:
    """The best candidates of one asked place at the last step, and the probability of each at every step; NaN where it
    was not among the ten that are kept."""
    asked = [blanks[blank] for blanks in probe.answers]
    tokens = [candidate.token for candidate in asked[-1].candidates[:top]]
    found = [{candidate.token: candidate.probability for candidate in one.candidates} for one in asked]
    return tokens, np.array([[one.get(token, math.nan) for token in tokens] for one in found])


def distances(weights: Shaped[np.ndarray, "steps layers heads Q K"]) -> Float[np.ndarray, "steps layers heads"]:
    """How far each head's map is from its last one: the total variation distance of two rows, half the sum over the
    keys of |a - b|, averaged over the queries. 0: the same map, 1: every query looks at other keys. `weights` are
    shares, or as they are filmed."""
    scale = LEVELS if weights.dtype == np.uint8 else 1
    last = weights[-1].astype(np.float32) / scale
    maps = (frame.astype(np.float32) / scale for frame in weights)
    return np.stack([np.abs(one - last).sum(-1).mean(-1) / 2 for one in maps])


def took_shape(
    weights: Shaped[np.ndarray, "steps layers heads Q K"], steps: Int[np.ndarray, "steps"], share: float = 0.5
) -> Float[np.ndarray, "layers heads"]:
    """The step at which each head has made a share of the change of its map: the first step from which on its distance
    (see `distances`) to its last map stays at or below (1 - share) times what it was at the first step. NaN for a head
    whose map has changed by less than UNCHANGED in all."""
    apart = distances(weights)
    far = apart > (1 - share) * apart[0]
    after = len(far) - np.argmax(far[::-1], axis=0)  # the step behind the last one that is far; the last never is
    return np.where(apart[0] < UNCHANGED, np.nan, steps[np.minimum(after, len(steps) - 1)].astype(np.float64))


def group_of(component: str) -> str:
    """What a component is: embeddings, attention, feed-forward, norms, or head (of the output)."""
    *path, name = component.split(".")
    if component.startswith("heads."):
        return "head"
    if name.endswith("norm"):
        return "norms"
    if any("attention" in part for part in path):
        return "attention"
    return "feed-forward" if "feed_forward" in path else "embeddings"


# ------------------------------------------------------------------------------------------------ for other programs


def chosen(film: Film, probe: int = 0, kind: str = "self") -> tuple[FilmedProbe, FilmedAttention]:
    """One probe, counted from 0, and one kind of attention on it. Raises UsageError for what is not there."""
    many = len(film.probes)
    if not 0 <= probe < many:
        raise UsageError(f"there is no probe {probe + 1}", f"this run has {many}, counted from 1")
    attention = film.probes[probe].attention
    if kind not in attention:
        raise UsageError(f"this run has no attention of the kind {kind}", f"it has: {', '.join(attention)}")
    return film.probes[probe], attention[kind]


def head_of(seen: FilmedAttention, layer: int, head: int) -> Float[np.ndarray, "steps Q K"]:
    """The maps of one head, as shares. Raises UsageError where there is no such layer or head."""
    for what, number, many in (("layer", layer, seen.weights.shape[1]), ("head", head, seen.weights.shape[2])):
        if not 0 <= number < many:
            raise UsageError(f"there is no {what} {number}", f"this model has {what}s 0 to {many - 1}")
    return seen.weights[:, layer, head].astype(np.float64) / LEVELS


def numbers(
    film: Film, probe: int = 0, kind: str = "self", layer: int | None = None, head: int | None = None
) -> dict[str, Any]:
    """One probe of a film for another program; what it finds there is in docs/json.md. The maps are those of one head,
    where one is chosen; all of them are in the .npz file."""
    one, seen = chosen(film, probe, kind)
    maps = None if layer is None or head is None else head_of(seen, layer, head).round(4).tolist()
    answers = [
        [{"position": b.position, "true": b.true, "candidates": [c._asdict() for c in b.candidates]} for b in blanks]
        for blanks in one.answers
    ]
    shaped = {name: took_shape(seen.weights, film.steps, share) for name, share in (("half", 0.5), ("most", 0.9))}
    found: dict[str, Any] = {
        "text": one.text,
        "kind": kind,
        "queries": seen.queries,
        "keys": seen.keys,
        "steps": film.steps,
    }
    found |= {"answers": answers, "entropies": seen.entropies, "took_shape": shaped}
    found |= {"layer": layer, "head": head, "weights": maps, "components": film.components}
    found |= {"gradients": film.gradients, "updates": film.updates, "norms": film.weights}
    return found


def arrays(film: Film) -> dict[str, Any]:
    """The whole film as arrays by name: those of `Film` (its weights as `norms`), and of each probe, by its number,
    those of its attention under `0/self/weights`, and the candidates of an asked place, steps x ten, under
    `0/blank-0/candidates` and `0/blank-0/probabilities`."""
    found: dict[str, Any] = {"steps": film.steps, "components": np.array(film.components)}
    found |= {"gradients": film.gradients, "updates": film.updates, "norms": film.weights}
    for number, probe in enumerate(film.probes):
        found[f"{number}/text"] = np.array(probe.text)
        for blank in range(len(probe.answers[0])):
            asked = [blanks[blank].candidates for blanks in probe.answers]
            found[f"{number}/blank-{blank}/candidates"] = np.array([[c.token for c in one] for one in asked])
            found[f"{number}/blank-{blank}/probabilities"] = np.array([[c.probability for c in one] for one in asked])
        for kind, seen in probe.attention.items():
            found |= {f"{number}/{kind}/{name}": np.array(value) for name, value in seen._asdict().items()}
    return found
