"""The film of a run: its numbers by hand and by loops, its pictures against its numbers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.colors import to_rgba
from trained import TEXT, command, generator_folder, refused, run_folder

from glassformer.ask.run import load
from glassformer.errors import UsageError
from glassformer.look.measures.film import (
    Film,
    FilmedAttention,
    FilmedProbe,
    candidates,
    distances,
    film_of,
    group_of,
    numbers,
    took_shape,
)
from glassformer.look.pictures.figures import COLOURS, rendered
from glassformer.look.pictures.page import plain
from glassformer.look.views.film import film_figure, frames, sizes
from glassformer.objectives import Blank, Candidate

STEPS = np.array([0, 10, 20, 30])


def head(*first: float) -> np.ndarray:
    """One query on two keys: the weight of the first key at every step."""
    rows = np.array(first)
    return np.stack([rows, 1 - rows], -1)[:, None, None, None, :]  # steps x 1 x 1 x 1 x 2


# --------------------------------------------------------------------------------------------- when a head took shape


@pytest.mark.parametrize(
    ("first", "half", "most"),
    [
        ((1.0, 0.8, 0.4, 0.0), 20, 30),  # 1, 0.8, 0.4 and 0 away from the last
        ((1.0, 0.5, 0.05, 0.0), 10, 20),  # exactly half
        ((1.0, 0.2, 0.9, 0.0), 30, 30),  # half of it at 10, and lost again
        ((0.0, 0.0, 0.0, 1.0), 30, 30),
        ((0.4, 0.0, 0.0, 0.0), 10, 10),  # all at once
        ((0.3, 1.0, 0.0, 0.0), 20, 20),  # away first, farther than it was
        ((0.5, 0.5, 0.5, 0.5), math.nan, math.nan),
        ((0.5, 0.9, 0.1, 0.505), math.nan, math.nan),  # back where it was: less than UNCHANGED apart
    ],
)
def test_the_step_at_which_a_head_took_shape(first: tuple[float, ...], half: float, most: float) -> None:
    maps = head(*first)
    np.testing.assert_array_equal(took_shape(maps, STEPS), [[half]])
    np.testing.assert_array_equal(took_shape(maps, STEPS, 0.9), [[most]])


def test_every_head_has_a_step_of_its_own() -> None:
    """Two layers of three heads, side by side as alone; filmed in 255 levels the same."""
    each = [
        (1.0, 0.8, 0.4, 0.0),
        (1.0, 0.2, 0.1, 0.0),
        (0.5,) * 4,
        (0.0, 0.1, 0.9, 1.0),
        (0.2, 0.6, 1.0, 1.0),
        (1.0,) * 4,
    ]
    maps = np.concatenate([head(*first) for first in each], 2).reshape(4, 2, 3, 1, 2)
    expected = [[20, 10, math.nan], [20, 10, math.nan]]
    np.testing.assert_array_equal(took_shape(maps, STEPS), expected)
    np.testing.assert_array_equal(took_shape((maps * 255).round().astype(np.uint8), STEPS), expected)


def test_one_step_alone_has_no_change() -> None:
    assert np.isnan(took_shape(head(0.3), np.array([0]))).all()


def test_distances_are_those_of_a_loop() -> None:
    """Half the sum over keys, the mean over queries; sizes are different primes."""
    scores = np.exp(np.random.default_rng(1).normal(size=(2, 3, 5, 7, 11)))
    maps = scores / scores.sum(-1, keepdims=True)
    found = distances(maps)
    assert found.shape == (2, 3, 5) and (found[-1] == 0).all()
    for layer in range(3):
        for number in range(5):
            rows = [sum(abs(maps[0, layer, number, q] - maps[1, layer, number, q])) / 2 for q in range(7)]
            assert found[0, layer, number] == pytest.approx(sum(rows) / 7, rel=1e-5)
    assert distances(head(1.0, 0.0))[0, 0, 0] == 1


# ------------------------------------------------------------------------------------------------------- other numbers


def test_candidates_are_the_last_ones_back_through_the_steps() -> None:
    """Best of the last step first; where one was not among those that are kept, not a number."""
    asked = [[("a", 0.5), ("b", 0.3)], [("c", 0.6), ("a", 0.2)], [("c", 0.9), ("b", 0.05)]]
    answers = [[Blank(1, [Candidate(*one) for one in step])] for step in asked]
    probe = FilmedProbe("text", [], answers, {})
    tokens, probabilities = candidates(probe, top=5)
    assert tokens == ["c", "b"]
    np.testing.assert_array_equal(probabilities, [[math.nan, 0.3], [0.6, math.nan], [0.9, 0.05]])


@pytest.mark.parametrize(
    ("component", "group"),
    [
        ("encoder.embeddings.token", "embeddings"),
        ("encoder.embeddings.norm", "norms"),
        ("decoder.positions.table", "embeddings"),
        ("encoder.blocks.0.self_attention.query", "attention"),
        ("decoder.blocks.11.cross_attention.output", "attention"),
        ("encoder.blocks.0.self_attention.mechanism.features", "attention"),
        ("encoder.blocks.0.attention_norm", "norms"),
        ("encoder.blocks.0.feed_forward.expand", "feed-forward"),
        ("encoder.blocks.0.feed_forward_norm", "norms"),
        ("encoder.norm", "norms"),
        ("heads.masked_lm", "head"),
    ],
)
def test_the_group_of_a_component(component: str, group: str) -> None:
    assert group_of(component) == group


def test_the_film_of_a_run() -> None:
    """Five probe steps, one probe; the last map is that of the newest weights."""
    run = load(run_folder(), "last")
    film = film_of(run)
    assert film.steps.tolist() == [0, 6, 12, 18, 24]
    [probe] = film.probes
    seen = probe.attention["self"]
    assert probe.text == TEXT and seen.queries == seen.keys == probe.tokens
    assert seen.weights.shape == (5, 2, 3, 8, 8) and seen.entropies.shape == (5, 2, 3)
    np.testing.assert_allclose(seen.weights[-1] / 255, run.attention(TEXT).weights, atol=1 / 510 + 1e-6, rtol=0)
    assert len(probe.answers) == 5 and [len(blanks) for blanks in probe.answers] == [1] * 5
    for norms in (film.gradients, film.updates, film.weights):
        assert norms.shape == (5, len(film.components))


def test_a_run_without_probes_says_how_to_get_them() -> None:
    with pytest.raises(UsageError, match="trained without probes") as raised:
        film_of(load(generator_folder()))
    assert "training.probes=" in raised.value.mend


# ------------------------------------------------------------------------------------------------------------ pictures


def made_up(tokens: list[str], layers: int = 2, heads: int = 3, kinds: tuple[str, ...] = ("self",)) -> Film:
    """A film of four steps with these words everywhere."""
    rng = np.random.default_rng(0)
    size = len(tokens)
    scores = np.exp(rng.normal(size=(4, layers, heads, size, size)))
    weights = (255 * scores / scores.sum(-1, keepdims=True)).round().astype(np.uint8)
    entropies = rng.random((4, layers, heads)).astype(np.float32)
    answers = [[Blank(1, [Candidate(token, 1 / (n + 2)) for n, token in enumerate(tokens[:10])])] for _ in range(4)]
    attention = {kind: FilmedAttention(tokens, tokens, weights, entropies / (n + 1)) for n, kind in enumerate(kinds)}
    stacks = ("encoder", "decoder") if len(kinds) > 1 else ("encoder",)
    parts = ("self_attention.query", "self_attention.key", "feed_forward.expand", "attention_norm")
    components = [f"{stack}.blocks.{n}.{part}" for stack in stacks for n in range(layers) for part in parts]
    if "cross" in kinds:
        crossing = ("cross_attention.query", "cross_attention.key", "cross_attention_norm")
        components += [f"decoder.blocks.{n}.{part}" for n in range(layers) for part in crossing]
    components += ["encoder.embeddings.token", "encoder.norm", "heads.masked_lm"]
    norms = np.exp(rng.normal(size=(4, len(components)))).astype(np.float32)
    norms[0] = math.nan
    return Film(STEPS, [FilmedProbe(" ".join(tokens[:5]), tokens, answers, attention)], components, norms, norms, norms)


def lines(axes: Any, points: int = 4) -> list[np.ndarray]:
    """What is drawn over all the steps."""
    return [np.asarray(line.get_ydata()) for line in axes.lines if len(line.get_ydata()) == points]


def test_the_picture_has_every_candidate_head_and_component() -> None:
    film = made_up(["[CLS]", "mars", "is", "[MASK]", "[SEP]"])
    figure = film_figure(film)
    top, middle, *groups = figure.axes
    assert len(groups) == 10
    _, probabilities = candidates(film.probes[0])
    np.testing.assert_array_equal(np.sort(lines(top), 0), np.sort(probabilities.T, 0))
    entropies = film.probes[0].attention["self"].entropies.reshape(4, 6).T
    np.testing.assert_array_equal(lines(middle), entropies)
    assert (
        len(
            {
                line.get_color() if isinstance(line.get_color(), str) else tuple(line.get_color())
                for line in middle.lines
                if len(line.get_ydata()) == 4
            }
        )
        == 2
    )
    for row in (groups[:5], groups[5:]):
        assert [len(lines(axes)) for axes in row] == [2, 4, 0, 2, 3]
        assert all(axes.get_yscale() == "log" for axes in row)
        assert sum(len(lines(axes)) for axes in row) == len(film.components)


def test_every_part_of_a_real_run_is_in_a_panel() -> None:
    film = film_of(load(run_folder()))
    *_, last = [film_figure(film).axes[2:7]]
    assert sum(len(lines(axes, 5)) for axes in last) == len(film.components)


def colour(line: Any) -> tuple[float, ...]:
    return to_rgba(line.get_color())


def test_an_encoder_decoder_has_three_kinds_of_attention_in_every_panel() -> None:
    """Encoder, decoder and cross-attention: no two lines of a panel look alike, in the picture and on the page; each
    kind's entropies are drawn in the colours that its components have."""
    film = made_up(["a", "b", "c"], kinds=("self", "decoder", "cross"))
    drawn = {}
    for kind, seen in film.probes[0].attention.items():
        _, middle, *groups = film_figure(film, kind=kind).axes
        np.testing.assert_array_equal(lines(middle), seen.entropies.reshape(4, 6).T)
        drawn[kind] = {colour(line) for line in middle.lines if len(line.get_ydata()) == 4}
        for axes in groups:
            shown = [(colour(line), str(line._dash_pattern)) for line in axes.lines]  # type: ignore[attr-defined]
            known = [look for look in shown if look[0] != to_rgba(COLOURS["muted"])]
            assert len(known) == len(set(known))
    assert not drawn["self"] & drawn["decoder"] and not drawn["decoder"] & drawn["cross"]
    assert not drawn["self"] & drawn["cross"]
    found = sizes(film, film.weights)
    assert {"encoder attention", "decoder attention", "cross attention", "cross norms"} <= set(found)
    crossed = [n for n, component in enumerate(film.components) if "cross_attention." in component]
    np.testing.assert_allclose(found["cross attention"], np.sqrt((film.weights[:, crossed] ** 2).sum(1)))


def test_one_stack_is_sized_by_the_parts_of_its_attention() -> None:
    film = made_up(["a", "b", "c"])
    assert set(sizes(film, film.weights)) == {"query", "key", "feed-forward", "norms", "embeddings", "head"}


@pytest.mark.parametrize("kind", ["self", "decoder", "cross"])
def test_two_stacks_have_colours_of_their_own(kind: str) -> None:
    film = made_up(["a", "b", "c"], kinds=("self", "decoder", "cross"))
    figure = film_figure(film, kind=kind)
    legend = figure.axes[1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][:4] == ["encoder 0", "encoder 1", "decoder 0", "decoder 1"]


def test_the_maps_of_one_head_at_six_steps_at_most() -> None:
    """The first and the last are among them, each under its step."""
    film = made_up(["a", "b", "c", "[MASK]", "e"])
    weights = film.probes[0].attention["self"].weights
    figure = frames(film, 0, 1, 2)
    maps = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in maps] == ["step 0", "step 10", "step 20", "step 30"]
    for axes, expected in zip(maps, weights[:, 1, 2] / 255, strict=True):
        np.testing.assert_array_equal(np.asarray(axes.images[0].get_array()), expected)
    two = [axes for axes in frames(film, 0, 1, 2, number=2).figure.axes if axes.images]
    assert [axes.get_title() for axes in two] == ["step 0", "step 30"]


def test_hostile_words_are_drawn() -> None:
    """Warnings are errors here."""
    for start in range(0, len(HOSTILE), 10):
        film = made_up(HOSTILE[start : start + 10])
        assert rendered(film_figure(film), ".svg") and rendered(frames(film, 0, 0, 0), ".png")


def test_one_step_alone_and_norms_that_are_zero_are_drawn() -> None:
    film = made_up(["a", "b", "c"])
    zero = film._replace(gradients=np.zeros_like(film.gradients))
    assert rendered(film_figure(zero), ".png")
    [probe], seen = film.probes, film.probes[0].attention["self"]
    one = FilmedAttention(seen.queries, seen.keys, seen.weights[:1], seen.entropies[:1])
    start = Film(
        STEPS[:1],
        [probe._replace(answers=probe.answers[:1], attention={"self": one})],
        film.components,
        film.gradients[:1],
        film.updates[:1],
        film.weights[:1],
    )
    assert rendered(film_figure(start), ".png") and rendered(frames(start, 0, 0, 0), ".png")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"probe": 1}, "no probe 2"),
        ({"probe": -1}, "no probe 0"),
        ({"kind": "cross"}, "the kind cross"),
        ({"blank": 1}, "no asked place 2"),
    ],
)
def test_what_is_not_there_is_refused(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        film_figure(made_up(["a", "b"]), **asked)


@pytest.mark.parametrize(("layer", "which"), [(2, 0), (0, 3), (-1, 0)])
def test_a_head_that_is_not_there_is_refused(layer: int, which: int) -> None:
    with pytest.raises(UsageError, match=r"there is no (layer|head)"):
        frames(made_up(["a", "b"]), 0, layer, which)


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.png", b"\x89PNG"),
        ("a.svg", b"<?xml"),
        ("a.pdf", b"%PDF"),
        ("a.json", b"{"),
        ("a.npz", b"PK"),
        ("a.html", b"<!"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--layer", "1", "--head", "2")])
def test_look_film_writes_every_format(name: str, start: bytes, more: tuple[str, ...], tmp_path: Path) -> None:
    said = command("look", "film", run_folder(), "--output", tmp_path / name, *more)
    assert (said.code, said.out) == (0, f"{tmp_path / name}\n"), said.err
    assert (tmp_path / name).read_bytes().startswith(start)


def test_the_numbers_are_those_of_the_film(tmp_path: Path) -> None:
    """Printed and written the same; the .npz has the arrays themselves."""
    film = film_of(load(run_folder()))
    said = command("look", "film", run_folder(), "--layer", "1", "--head", "2", "--json")
    assert said.json == plain(numbers(film, layer=1, head=2))
    seen = film.probes[0].attention["self"]
    np.testing.assert_allclose(said.json["weights"], seen.weights[:, 1, 2] / 255, atol=1e-4)
    assert said.json["gradients"][0] == [None] * len(film.components)
    assert command("look", "film", run_folder(), "--json").json["weights"] is None
    command("look", "film", run_folder(), "--output", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["0/self/weights"], seen.weights)
        np.testing.assert_array_equal(arrays["norms"], film.weights)
        assert arrays["0/blank-0/candidates"].shape == arrays["0/blank-0/probabilities"].shape == (5, 10)
        assert arrays["components"].tolist() == film.components and str(arrays["0/text"]) == TEXT


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "where should it go"),
        (("--output", "a.gif"), "cannot write a view as '.gif'"),
        (("--layer", "1", "--json"), "--layer and --head"),
        (("--head", "1", "--json"), "--layer and --head"),
        (("--layer", "2", "--head", "0", "--json"), "layers 0 to 1"),
        (("--probe", "2", "--json"), "there is no probe 2"),
        (("--kind", "cross", "--json"), "it has: self"),
    ],
)
def test_wrong_use_is_refused(arguments: tuple[str, ...], why: str) -> None:
    assert why in refused("look", "film", run_folder(), *arguments)


def test_a_run_without_probes_is_wrong_use() -> None:
    assert "training.probes" in refused("look", "film", generator_folder(), "--json")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused("look", "film", run_folder(), "--output", tmp_path / "file" / "a.json", code=1)
