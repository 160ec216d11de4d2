"""The ring lies around the masked token, the tints are the weights, the caption says what the model said."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hostile import HOSTILE
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from glassformer.look.pictures.figures import COLOURS, GLASS, rendered
from glassformer.look.pictures.overlay import numbered, overlay, wrapped

TOKENS = ["mars", "is", "called", "the", "[MASK]", "planet"]
ATTENTION = np.array([0.5, 0.02, 0.13, 0.05, 0.004, 0.296])
CANDIDATES = [
    ("red", 0.97),
    ("blue", 0.011),
    ("largest", 0.0043),
    ("fourth", 0.002),
    ("inner", 0.0002),
    ("no", 0.0001),
]


def texts(figure: Figure) -> list[Text]:
    return list(figure.axes[0].texts)


def said(figure: Figure) -> list[str]:
    return [text.get_text() for text in texts(figure)]


def boxes(figure: Figure) -> list[FancyBboxPatch]:
    """The words' boxes in the order of the tokens, without the ring."""
    found = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    return [patch for patch in found if patch.get_gid() != "masked"]


def ring(figure: Figure) -> FancyBboxPatch:
    (found,) = [patch for patch in figure.axes[0].patches if patch.get_gid() == "masked"]
    return found


@pytest.mark.parametrize("masked", range(len(TOKENS)))
def test_the_ring_lies_around_the_masked_token_alone(masked: int) -> None:
    figure = overlay(TOKENS, masked, ATTENTION, CANDIDATES)
    outer, box = ring(figure).get_bbox(), boxes(figure)[masked].get_bbox()
    assert to_hex(ring(figure).get_edgecolor()) == COLOURS["ring"]
    assert outer.x0 < box.x0 and outer.x1 > box.x1 and outer.y0 < box.y0 and outer.y1 > box.y1
    for other in boxes(figure)[:masked] + boxes(figure)[masked + 1 :]:
        assert other.get_bbox().x1 <= outer.x0 or other.get_bbox().x0 >= outer.x1


def test_the_tint_of_each_token_is_its_weight_by_the_largest() -> None:
    figure = overlay(TOKENS, 4, ATTENTION, CANDIDATES)
    assert len(boxes(figure)) == len(TOKENS)
    for box, weight in zip(boxes(figure), ATTENTION, strict=True):
        assert box.get_facecolor() == GLASS(float(weight / 0.5))


def test_words_stand_in_their_boxes_in_order() -> None:
    figure = overlay(TOKENS, 4, ATTENTION, CANDIDATES)
    words = {text.get_text(): text.get_position() for text in texts(figure)}
    for token, box in zip(TOKENS, boxes(figure), strict=True):
        assert box.get_bbox().x0 < words[token][0] < box.get_bbox().x1
    lefts = [box.get_bbox().x0 for box in boxes(figure)]
    assert lefts == sorted(lefts)


def test_percentages_stand_under_their_tokens() -> None:
    figure = overlay(TOKENS, 4, ATTENTION, CANDIDATES)
    shares = {text.get_text(): text.get_position() for text in texts(figure) if text.get_fontsize() == 7}
    assert list(shares) == ["50%", "2%", "13%", "5%", "<1%", "30%"]
    box = boxes(figure)[5].get_bbox()
    assert box.x0 < shares["30%"][0] < box.x1 and shares["30%"][1] > box.y1  # y grows downwards


def test_numbered_takes_the_strongest_of_a_long_text() -> None:
    attention = np.full(61, 0.005)
    attention[[3, 59, 17]] = [0.3, 0.2, 0.2]
    assert numbered(attention) == {3, 17, 59}
    assert len(numbered(np.linspace(0, 1, 61))) == 10


def test_a_right_prediction_is_green_and_a_wrong_one_orange_and_both_say_so() -> None:
    for true, colour, verdict in (("red", "right", "✓ right, 97.0%"), ("blue", "wrong", "✗ wrong, 97.0%")):
        figure = overlay(TOKENS, 4, ATTENTION, CANDIDATES, true=true)
        predicted = next(
            text for text in texts(figure) if text.get_text() == "red" and text.get_color() == COLOURS[colour]
        )
        assert predicted.get_fontsize() == 13
        assert verdict in said(figure)
        assert {"TRUE", "PRED"} <= set(said(figure))


def test_without_the_truth_nothing_is_judged() -> None:
    figure = overlay(TOKENS, 4, ATTENTION, CANDIDATES)
    assert "TRUE" not in said(figure) and "PRED" in said(figure)
    used = {text.get_color() for text in texts(figure)}
    assert not used & {COLOURS["right"], COLOURS["wrong"]}


def test_five_candidates_with_their_percentages_and_bars_in_proportion() -> None:
    figure = overlay(TOKENS, 4, ATTENTION, CANDIDATES)
    assert [word for word in said(figure) if word.endswith("%")][-5:] == [
        "97.0%",
        "1.1%",
        "0.4%",
        "0.2%",
        "<0.1%",
    ]
    assert "inner" in said(figure) and "no" not in said(figure)
    bars = [patch.get_width() for patch in figure.axes[0].patches if not isinstance(patch, FancyBboxPatch)]
    shares = [filled / whole for whole, filled in zip(bars[::2], bars[1::2], strict=True)]
    assert shares == pytest.approx([share for _, share in CANDIDATES[:5]])


def test_wrapped() -> None:
    assert list(wrapped([2.0, 3.0, 2.0, 9.0, 1.0], gap=1.0, room=6.0)) == [[0, 1], [2], [3], [4]]
    assert list(wrapped([6.0], gap=1.0, room=6.0)) == [[0]]


def test_arabic_runs_from_right_to_left() -> None:
    tokens = ["المريخ", "يسمى", "الكوكب", "[MASK]"]
    rights = [box.get_bbox().x1 for box in boxes(overlay(tokens, 3, np.full(4, 0.25), CANDIDATES))]
    assert rights == sorted(rights, reverse=True)


@pytest.mark.parametrize("count", [1, 6, 61, 211])
def test_nothing_overlaps_and_nothing_is_cut_off(count: int) -> None:
    tokens = [("nineteenth", "a", "the", ",", "##ing")[place % 5] for place in range(count)]
    long = [("a" * 200, 0.5), ("W" * 50, 0.3), ("red", 0.1)]
    attention = np.full(count, 1 / count)
    figure = overlay(tokens, count // 2, attention, long, true="m" * 99, title="Mars " * 99)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    extents = [text.get_window_extent(canvas.get_renderer()) for text in texts(figure)]
    for box in [*extents, *(patch.get_window_extent(canvas.get_renderer()) for patch in boxes(figure))]:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
    for place, box in enumerate(extents):
        for other in extents[:place]:
            shared = (
                min(box.x1, other.x1) - max(box.x0, other.x0),
                min(box.y1, other.y1) - max(box.y0, other.y0),
            )
            assert min(shared) <= 1, texts(figure)[place]
    lefts = [box.get_bbox().x0 for box in boxes(figure)]
    lines = 1 + sum(later <= earlier for earlier, later in pairwise(lefts))
    assert (lines > 1) == (count > 30)


def test_hostile_text_everywhere_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for start in range(0, len(HOSTILE) - 2, 2):
            first, second, third = tokens = HOSTILE[start : start + 3]
            figure = overlay(tokens, 1, np.full(3, 1 / 3), [(first, 0.5), (third, 0.1)], second, third)
            assert not any(text.get_parse_math() for text in texts(figure))
            rendered(figure, ".png")
        figure = overlay(HOSTILE, 3, np.full(len(HOSTILE), 1 / len(HOSTILE)), CANDIDATES, title="$x^2$")
        for suffix in (".png", ".svg", ".pdf"):
            assert rendered(figure, suffix)


def test_the_same_bytes_every_time() -> None:
    first = rendered(overlay(TOKENS, 4, ATTENTION, CANDIDATES, "red", "Mars"), ".svg")
    assert rendered(overlay(TOKENS, 4, ATTENTION, CANDIDATES, "red", "Mars"), ".svg") == first


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"shape \(6,\).*got \(5,\)"):
        overlay(TOKENS, 4, ATTENTION[:5], CANDIDATES)
    with pytest.raises(ValueError, match=r"got \(6, 6\)"):
        overlay(TOKENS, 4, np.ones((6, 6)), CANDIDATES)
    with pytest.raises(ValueError, match="masked position 6 lies outside the 6 tokens"):
        overlay(TOKENS, 6, ATTENTION, CANDIDATES)
    with pytest.raises(ValueError, match="masked position -1"):
        overlay(TOKENS, -1, ATTENTION, CANDIDATES)
    with pytest.raises(ValueError, match="candidates is empty"):
        overlay(TOKENS, 4, ATTENTION, [])
    with pytest.raises(ValueError, match="1 of 6 are not"):
        overlay(TOKENS, 4, np.where(ATTENTION == 0.5, np.inf, ATTENTION), CANDIDATES)
