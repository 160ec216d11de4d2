"""Heat maps against the arrays that they draw. Sizes are different primes, so that no swapped axis passes."""

import warnings
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from glassformer.errors import UsageError
from glassformer.look.pictures.figures import COLOURS, rendered
from glassformer.look.pictures.heatmaps import heatmap

LAYERS, HEADS, QUERIES, KEYS = 2, 3, 5, 7
SENTENCE = ["[CLS]", "mars", "is", "called", "the", "[MASK]", "planet", "[SEP]"]


def random_weights(layers: int, heads: int, queries: int, keys: int) -> np.ndarray:
    scores = np.exp(np.random.default_rng(0).normal(size=(layers, heads, queries, keys)))
    return scores / scores.sum(-1, keepdims=True)


@pytest.fixture
def weights() -> np.ndarray:
    return random_weights(LAYERS, HEADS, QUERIES, KEYS)


@pytest.fixture
def queries() -> list[str]:
    return [f"q{place}" for place in range(QUERIES)]


@pytest.fixture
def keys() -> list[str]:
    return [f"k{place}" for place in range(KEYS)]


def maps(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images]


def drawn(axes: Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def x_labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


def y_labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def ringed(labels: Any) -> list[str]:
    return [
        label.get_text()
        for label in labels
        if label.get_bbox_patch() is not None
        and to_hex(label.get_bbox_patch().get_edgecolor()) == COLOURS["ring"] == to_hex(label.get_color())
    ]


# ---------------------------------------------------------------------------------------- the right numbers


def test_the_grid_draws_every_layer_and_head_at_its_place(weights, queries, keys) -> None:
    figure = heatmap(weights, queries, keys)
    tables = maps(figure)
    assert len(tables) == LAYERS * HEADS
    for index, axes in enumerate(tables):
        layer, head = divmod(index, HEADS)
        np.testing.assert_array_equal(drawn(axes), weights[layer, head])
        assert axes.get_title() == (f"Head {head}" if layer == 0 else "")
        above = [other for other in tables if other.get_position().y0 > axes.get_position().y1]
        left = [other for other in tables if other.get_position().x1 < axes.get_position().x0]
        assert (len(above), len(left)) == (layer * HEADS, head * LAYERS)
    named = {text.get_text(): text.get_position()[1] for text in figure.texts}
    assert named["Layer 0"] > named["Layer 1"]


def test_rows_are_queries_from_the_top_and_columns_are_keys(weights, queries, keys) -> None:
    axes = maps(heatmap(weights, queries, keys, layer=1, head=2))[0]
    assert (y_labels(axes), x_labels(axes)) == (queries, keys)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first query at the top: the map is not mirrored
    assert axes.get_xlim()[0] < axes.get_xlim()[1]
    assert list(axes.get_yticks()) == list(range(QUERIES))
    assert list(axes.get_xticks()) == list(range(KEYS))


def test_pixels_show_the_largest_weight_at_its_row_and_column() -> None:
    weights = np.zeros((1, 1, QUERIES, KEYS))
    weights[0, 0, 1, 5] = 1.0
    figure = heatmap(weights, ["q"] * QUERIES, ["k"] * KEYS)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    axes = maps(figure)[0]
    for row in range(QUERIES):
        for column in range(KEYS):
            x, y = axes.transData.transform((column + 0.3, row + 0.3))
            red = pixels[int(pixels.shape[0] - y), int(x), 0]
            assert (red < 60) == ((row, column) == (1, 5))


@pytest.mark.parametrize("layer", [None, 1])
def test_labels_only_on_the_outer_maps(weights, queries, keys, layer) -> None:
    tables = maps(heatmap(weights, queries, keys, layer=layer))
    columns = HEADS
    for index, axes in enumerate(tables):
        assert y_labels(axes) == (queries if index % columns == 0 else [])
        assert x_labels(axes) == (keys if index + columns >= len(tables) else [])


def test_one_layer_draws_its_heads_in_order(weights, queries, keys) -> None:
    figure = heatmap(weights, queries, keys, layer=1)
    assert [axes.get_title() for axes in maps(figure)] == ["Head 0", "Head 1", "Head 2"]
    for head, axes in enumerate(maps(figure)):
        np.testing.assert_array_equal(drawn(axes), weights[1, head])
    assert "Layer 1 · 3 heads" in words(figure)


def test_one_head_of_every_layer(weights, queries, keys) -> None:
    figure = heatmap(weights, queries, keys, head=2)
    assert [axes.get_title() for axes in maps(figure)] == ["Layer 0", "Layer 1"]
    for layer, axes in enumerate(maps(figure)):
        np.testing.assert_array_equal(drawn(axes), weights[layer, 2])


def test_the_mean_is_over_heads(weights, queries, keys) -> None:
    figure = heatmap(weights, queries, keys, layer=0, head="mean")
    expected = (weights[0, 0] + weights[0, 1] + weights[0, 2]) / 3
    np.testing.assert_allclose(drawn(maps(figure)[0]), expected, rtol=1e-12)
    assert "Layer 0 · mean of 3 heads" in words(figure)
    assert len(maps(heatmap(weights, queries, keys, head="mean"))) == LAYERS


def test_a_large_map_says_its_weights_in_hundredths() -> None:
    axes = maps(heatmap(np.array([[[[0.25, 0.75], [1.0, 0.0]]]]), ["a", "b"], ["c", "d"]))[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "25", (1, 0): "75", (0, 1): "100"}


def test_one_scale_from_zero_to_the_largest_weight_drawn(weights, queries, keys) -> None:
    for choice in ({}, {"layer": 1}, {"layer": 0, "head": 1}):
        figure = heatmap(weights, queries, keys, **choice)
        largest = max(drawn(axes).max() for axes in maps(figure))
        assert {axes.images[0].get_clim() for axes in maps(figure)} == {(0.0, largest)}
        bar = next(axes for axes in figure.axes if axes.get_label() == "scale")
        assert f"{largest:.2g} (max)" in bar.get_ylabel()


def test_all_zeros_and_negative_weights_are_drawn_as_they_are() -> None:
    assert maps(heatmap(np.zeros((1, 1, 2, 2)), ["a"] * 2, ["a"] * 2))[0].images[0].get_clim() == (0.0, 1.0)
    mixed = np.array([[[[-0.5, 1.5], [0.0, 1.0]]]])  # linear attention can do this
    assert maps(heatmap(mixed, ["a"] * 2, ["a"] * 2))[0].images[0].get_clim() == (-0.5, 1.5)


# --------------------------------------------------------------------------------------------------- labels


def test_the_blanks_are_ringed_on_both_axes_of_self_attention() -> None:
    tables = maps(heatmap(random_weights(2, 2, 8, 8), SENTENCE, SENTENCE, marked=[5]))
    assert ringed(tables[2].get_yticklabels()) == ringed(tables[2].get_xticklabels()) == ["[MASK]"]
    assert ringed(tables[1].get_yticklabels()) == []


def test_other_keys_are_not_ringed(weights, queries, keys) -> None:
    axes = maps(heatmap(weights, queries, keys, layer=0, head=0, marked=[3]))[0]
    assert ringed(axes.get_yticklabels()) == ["q3"]
    assert ringed(axes.get_xticklabels()) == []


def test_too_many_tokens_leave_positions_a_note_and_arrowheads() -> None:
    tokens = [f"token{place}" for place in range(67)]
    figure = heatmap(random_weights(2, 3, 67, 67), tokens, tokens, marked=[13])
    corner = maps(figure)[3]
    corner.figure.draw_without_rendering()
    assert {label.get_text() for label in corner.get_xticklabels()} == {"0", "20", "40", "60"}
    assert {tuple(line.get_xydata()[0]) for line in corner.lines} == {(13.0, 0.0), (0.0, 13.0)}
    assert any("too many tokens" in text for text in words(figure))
    assert not any("too many tokens" in text for text in words(heatmap(random_weights(1, 1, 67, 67), tokens, tokens)))


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 1, 64, 64), (4, 8, 8, 8), (12, 12, 12, 12), (2, 3, 3, 29)])
def test_no_labels_overlap_and_none_is_cut_off(shape: tuple[int, int, int, int]) -> None:
    queries = [f"nineteenth{place}" for place in range(shape[2])]
    keys = [f"nineteenth{place}" for place in range(shape[3])]
    figure = heatmap(random_weights(*shape), queries, keys, title="a long title " * 30, marked=[1])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [axes.title, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in texts if text.get_text()]
    width, height = figure.bbox.width, figure.bbox.height
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    for place, box in enumerate(boxes):
        for other in boxes[:place]:
            shared = (
                min(box.x1, other.x1) - max(box.x0, other.x0),
                min(box.y1, other.y1) - max(box.y0, other.y0),
            )
            assert min(shared) <= 1.5, (texts[place], shared)  # pixels


def test_hostile_tokens_are_drawn_as_text_without_a_warning() -> None:
    tokens = HOSTILE[:61]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for choice in ({}, {"layer": 0, "head": 0}):
            figure = heatmap(random_weights(1, 2, 61, 61), tokens, tokens, title=" ".join(HOSTILE), **choice)
            for suffix in (".png", ".svg", ".pdf"):
                rendered(figure, suffix)
    labels = y_labels(maps(figure)[0])
    assert labels[0] == "$x^2$" and "a\\nb" in labels and "<U+202E>evil" in labels
    assert not any(label.get_parse_math() for label in maps(figure)[0].get_yticklabels())


def test_a_grid_of_twelve_tokens_is_a_small_file_and_the_same_every_time() -> None:
    tokens = [*SENTENCE, "it", "is", "cold", "."]
    weights = random_weights(4, 8, 12, 12)
    first = rendered(heatmap(weights, tokens, tokens, title="Mars"), ".png")
    assert len(first) < 300_000
    assert rendered(heatmap(weights, tokens, tokens, title="Mars"), ".png") == first


# --------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("layer", [2, -1, 99])
def test_a_layer_that_does_not_exist(weights, queries, keys, layer) -> None:
    with pytest.raises(UsageError, match=rf"layer {layer} does not exist\n.*0 to 1"):
        heatmap(weights, queries, keys, layer=layer)


@pytest.mark.parametrize("head", [3, -1])
def test_a_head_that_does_not_exist(weights, queries, keys, head) -> None:
    with pytest.raises(UsageError, match=rf'head {head} does not exist\n.*0 to 2, "all" or "mean"'):
        heatmap(weights, queries, keys, head=head)


def test_weights_that_do_not_fit_the_tokens(weights, queries, keys) -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 5, 7\) need 5 query and 7 key tokens; got 7 and 5"):
        heatmap(weights, keys, queries)
    with pytest.raises(ValueError, match=r"layers x heads x query x key.*\(3, 5, 7\)"):
        heatmap(weights[0], queries, keys)
    with pytest.raises(ValueError, match=r"none of them 0.*\(2, 3, 0, 7\)"):
        heatmap(weights[:, :, :0], [], keys)
    with pytest.raises(ValueError, match=r"marked positions \[5\] lie outside the 5"):
        heatmap(weights, queries, keys, marked=[1, 5])
    weights[0, 1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 210 are not"):
        heatmap(weights, queries, keys)
