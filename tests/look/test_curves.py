"""Curves draw the records, mark the best step, and survive runs that hold next to nothing."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from glassformer.look.measures.results import comparison_table
from glassformer.look.pictures.curves import along, curves, loss_limits, smoothed
from glassformer.look.pictures.figures import COLOURS, rendered


def run(validation: list[float], every: int = 50, **extra: Any) -> list[dict[str, Any]]:
    """A run whose training loss falls from 9 by 0.01 a step, with an evaluation every `every` steps."""
    records: list[dict[str, Any]] = []
    for index, loss in enumerate(validation):
        for step in range(index * every + 10, (index + 1) * every + 1, 10):
            seen = {"tokens_seen": 4096 * step, "elapsed": 0.5 * step}
            records.append({"event": "train", "step": step, "loss": 9 - 0.01 * step, **seen})
        step = (index + 1) * every
        records.append(
            {
                "event": "evaluation",
                "step": step,
                "loss": loss,
                "accuracy": 0.1 * index,
                "top5_accuracy": 0.2 * index,
                "perplexity": math.exp(loss),
            }
            | {"references": {"uniform": 9.01, "unigram": 6.62}}
            | extra
        )
    return records


GOOD = run([8.0, 7.0, 6.5, 6.0])
WORSE = run([8.0, 6.5, 7.0, 7.5])


def columns(figure: Figure) -> list[tuple[Axes, Axes]]:
    return list(zip(figure.axes[::2], figure.axes[1::2], strict=True))


def line(axes: Axes, colour: str, style: str = "-") -> list[tuple[float, float]]:
    """Points of the last line of that colour."""
    found = [one for one in axes.lines if one.get_color() == COLOURS[colour] and one.get_linestyle() == style]
    return [tuple(point) for point in found[-1].get_xydata()]


def best_marks(axes: Axes) -> list[tuple[float, float]]:
    return [tuple(one.get_xydata()[0]) for one in axes.lines if one.get_gid() == "best"]


def said(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_each_run_has_its_column_with_its_own_curves_on_shared_axes() -> None:
    figure = curves({"good": GOOD, "worse": WORSE})
    (first, first_score), (second, second_score) = columns(figure)
    assert line(first, "validation") == [(50, 8.0), (100, 7.0), (150, 6.5), (200, 6.0)]
    assert line(second, "validation") == [(50, 8.0), (100, 6.5), (150, 7.0), (200, 7.5)]
    accuracies = [(50, 0), (100, 0.1), (150, 0.2), (200, 0.3)]
    np.testing.assert_allclose(line(first_score, "validation"), accuracies)
    assert line(second_score, "second", "--")[-1] == pytest.approx((200, 0.6))
    assert first.get_ylim() == second.get_ylim() and first_score.get_ylim() == second_score.get_ylim()
    assert first.get_shared_y_axes().joined(first, second) and first.get_shared_x_axes().joined(first, first_score)
    assert (
        first.get_position().x1 < second.get_position().x0 and first_score.get_position().y1 < first.get_position().y0
    )
    assert said(first)[-2] == "good" and said(second)[-2] == "worse"


def test_training_is_drawn_thin_as_it_is_and_smoothed_on_top() -> None:
    axes = columns(curves({"good": GOOD}))[0][0]
    thin, thick = [one for one in axes.lines if one.get_color() == COLOURS["train"]]
    np.testing.assert_allclose(thin.get_ydata(), [9 - 0.01 * step for step in range(10, 201, 10)])
    assert thin.get_linewidth() < thick.get_linewidth()


def test_the_best_step_is_marked_and_said() -> None:
    (first, _), (second, _) = columns(curves({"good": GOOD, "worse": WORSE}))
    assert best_marks(first) == [(200, 6.0)] and best_marks(second) == [(100, 6.5)]
    assert "best 6.00 at step 200" in said(first) and "best 6.50 at step 100" in said(second)
    assert "best 0.0031 at step 50" in said(columns(curves({"demo": run([0.0031])}))[0][0])


def test_runs_with_other_batches_are_drawn_along_the_tokens_they_saw() -> None:
    """Four times the tokens in a step: the same place after a quarter of the steps. The axis says what it is."""
    small, large = ([record | {"tokens_seen": n * record["step"]} for record in GOOD] for n in (100, 400))
    by_steps = columns(curves({"small": small, "large": large}))
    by_tokens = columns(curves({"small": small, "large": large}, axis="tokens"))
    names = [[pair[1].get_xlabel() for pair in found] for found in (by_steps, by_tokens)]
    assert names == [["step"] * 2, ["tokens trained on"] * 2]
    assert line(by_steps[1][0], "validation") == line(by_steps[0][0], "validation")
    for (axes, _), times in zip(by_tokens, (100, 400), strict=True):
        assert line(axes, "validation") == [(times * step, loss) for step, loss in line(by_steps[0][0], "validation")]
        assert f"best 6.00 at {200 * times:,} tokens" in said(axes)
    assert by_tokens[0][0].get_xlim() == by_tokens[1][0].get_xlim() == (0, pytest.approx(1.03 * 400 * 200))


def test_an_evaluation_between_two_logged_steps_has_its_share_of_their_tokens() -> None:
    records = [{"event": "train", "step": 10, "tokens_seen": 1000}, {"event": "train", "step": 20, "tokens_seen": 3000}]
    records += [{"event": "evaluation", "step": step, "loss": 1.0} for step in (0, 5, 15, 20)]
    assert [record["step"] for record in along(records, "tokens")[2:]] == [0, 500, 2000, 3000]
    assert along(records, "steps") is records


def test_reference_lines_come_from_the_records_or_from_the_caller() -> None:
    axes = columns(curves({"good": GOOD}))[0][0]
    assert {"ln V 9.01", "unigram 6.62"} <= set(said(axes))
    dashed = [one.get_ydata()[0] for one in axes.lines if one.get_color() == COLOURS["muted"] and one.is_dashed()]
    assert set(dashed) >= {9.01, 6.62}
    other = columns(curves({"good": GOOD}, reference={"uniform": 7.6}))[0][0]
    assert "ln V 7.60" in said(other) and not any("unigram" in words for words in said(other))
    assert not any("ln V" in words for words in said(columns(curves({"good": GOOD}, reference={}))[0][0]))


def test_one_wild_step_does_not_flatten_the_curves_but_a_diverged_validation_is_shown() -> None:
    wild = [{"event": "train", "step": step, "loss": 5.0 + 0.001 * step} for step in range(1, 1001)]
    wild[500]["loss"] = 1e6
    assert loss_limits([wild], [{}]) == pytest.approx((5.001, 6.0), abs=0.01)
    assert loss_limits([[*wild, {"event": "evaluation", "step": 1, "loss": 50.0}]], [{}])[1] == 50.0


def test_smoothed_against_a_plain_loop() -> None:
    values = list(np.random.default_rng(0).normal(size=31))
    expected = []
    for place in range(31):
        before = min(3, place)
        after = min(before, 30 - place)
        expected.append(sum(values[place - before : place + after + 1]) / (before + after + 1))
    np.testing.assert_allclose(smoothed(values, 7), expected, rtol=1e-12)
    np.testing.assert_allclose(smoothed(list(np.arange(20.0)), 5)[:-2], np.arange(18.0))  # no lag on a slope


@pytest.mark.parametrize(
    "records",
    [
        [],
        GOOD[:1],
        GOOD[5:6],
        [{"event": "train", "step": 1, "loss": math.nan}],
        [{"event": "evaluation", "step": 1, "loss": None, "accuracy": None}],
        [{"event": "evaluation", "step": 0, "loss": 5.0}],
        [{"event": "warning", "text": "collapse"}, {"event": "train", "step": 3, "loss": 2.0}],
        [{"event": "train", "step": 1, "loss": 5.0}, {"event": "train", "step": 2, "loss": 5.0}],
    ],
)
def test_runs_that_hold_next_to_nothing(records: list[dict[str, Any]]) -> None:
    assert rendered(curves({"a": records}), ".png")
    assert rendered(curves({"a": records, "b": GOOD}), ".png")
    assert len(comparison_table({"a": records})) == 1


def test_no_run_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        curves({})
    assert comparison_table({}) == []


@pytest.mark.parametrize("count", [1, 2, 7])
def test_nothing_is_cut_off(count: int) -> None:
    figure = curves({f"runs/a-run-with-a-very-long-name-{'x' * 40}-{place}": GOOD for place in range(count)})
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        ticks = [tick.label1 for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_major_ticks()]
        low, high = axes.get_xlim()
        ticks = [text for text in ticks if low <= text.get_position()[0] <= high]  # others are not drawn
        texts = [*axes.texts, axes.xaxis.label, axes.yaxis.label, *ticks]
        for text in texts:
            box = text.get_window_extent(canvas.get_renderer())
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
    names = [axes.texts[-2] for axes, _ in columns(figure)]
    assert [text.get_text()[-1] for text in names] == [str(place) for place in range(count)]
    for left, right in pairwise(names):
        assert left.get_window_extent().x1 < right.get_window_extent().x0


def test_all_panels_have_one_axis_of_steps() -> None:
    """Runs of 30 and of 300 steps: the same step stands at the same place in every panel."""
    short = [record for record in GOOD if record["step"] <= GOOD[-1]["step"] / 4]
    assert short[-1]["step"] < GOOD[-1]["step"]
    figure = curves({"short": short, "long": GOOD, "empty": []})
    limits = {axes.get_xlim() for axes in figure.axes}
    assert limits == {(0, 1.03 * GOOD[-1]["step"])}
    drawn = [max(line.get_xdata(), default=0) for line in columns(figure)[0][0].lines]
    assert max(drawn) == max(record["step"] for record in short)  # and no run is drawn longer than it was


def test_hostile_run_names() -> None:
    names = ["$x^2$", "a\nb", "\u202eevil", "😀 \ud800", "_hidden", "<script>", ""]
    figure = curves(dict.fromkeys(names, GOOD))
    assert rendered(figure, ".svg") == rendered(curves(dict.fromkeys(names, GOOD)), ".svg")
    assert "$x^2$" in said(columns(figure)[0][0]) and "a\\nb" in said(columns(figure)[1][0])


def test_colours_differ_in_greyscale() -> None:
    def luminance(name: str) -> float:
        red, green, blue = (int(to_hex(COLOURS[name])[place : place + 2], 16) for place in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    assert luminance("train") - luminance("validation") > 50


# ------------------------------------------------------------------------------------------------ the table


def test_the_row_is_that_of_the_weights_in_use() -> None:
    """The last evaluation that the trainer says is kept, not the lowest one, with its interval and its verdict."""
    records = [
        {"event": "evaluation", "step": step, "loss": loss, "kept": kept, "verdict": f"at {step}", "count": 7}
        | {"loss_interval": [loss - 1, loss + 1]}
        for step, loss, kept in ((0, 1.0, False), (10, 3.0, True), (20, 2.0, True), (30, 2.5, False))
    ]
    [row] = comparison_table({"run": records})
    assert (row["best_step"], row["best_loss"], row["last_loss"]) == (20, 2.0, 2.5)
    assert (row["verdict"], row["loss_interval"], row["count"]) == ("at 20", [1.0, 3.0], 7)


def test_comparison_table_by_hand() -> None:
    good, worse = comparison_table({"good": GOOD, "worse": WORSE})
    # Training losses of steps 160 to 200: 7.4, 7.3, 7.2, 7.1, 7.0; their mean is 7.2.
    assert good == pytest.approx(
        {
            "run": "good",
            "best_loss": 6.0,
            "perplexity": math.exp(6.0),
            "accuracy": 0.1 * 3,
            "best_step": 200,
            "last_step": 200,
            "last_loss": 6.0,
            "tokens_seen": 4096 * 200,
            "elapsed": 100.0,
            "gap": 6.0 - 7.2,
            "loss_interval": None,
            "count": None,
            "verdict": None,
        }
    )
    assert (worse["best_step"], worse["best_loss"], worse["accuracy"]) == (100, 6.5, 0.1)
    assert (worse["last_loss"], worse["gap"]) == (7.5, pytest.approx(7.5 - 7.2))


def test_a_measured_training_loss_is_the_training_curve() -> None:
    """What the evaluations measured on training texts is drawn; the steps' own losses stay thin under it."""
    figure = curves({"a": run([8.0, 7.0], train_loss=3.0)})
    thin, thick = [one for one in figure.axes[0].lines if one.get_color() == COLOURS["train"]]
    assert (thin.get_linewidth(), thin.get_alpha()) == (0.6, 0.4)
    assert list(thick.get_ydata()) == [3.0, 3.0] and list(thick.get_xdata()) == [50, 100]


def test_a_measured_training_loss_gives_the_gap() -> None:
    (row,) = comparison_table({"a": run([8.0, 7.0], train_loss=3.0)})
    assert row["gap"] == pytest.approx(4.0)


def test_the_earlier_of_equal_evaluations_is_best_and_nan_never() -> None:
    (row,) = comparison_table({"a": run([math.nan, 5.0, 5.0])})
    assert row["best_step"] == 100


def test_an_empty_run_has_a_row_of_nones() -> None:
    (row,) = comparison_table({"a": []})
    assert row.pop("run") == "a" and set(row.values()) == {None}
