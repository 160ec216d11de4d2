"""The temperature is found again that was put in, and the calibration error is that of its definition."""

import numpy as np
import pytest

from glassformer.judging.calibration import (
    ENOUGH,
    bins,
    expected_calibration_error,
    fit_temperature,
    nats,
    probabilities,
)


def drawn(temperature: float, rows: int = 4001, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Outputs, and labels drawn by the probabilities that the outputs have under this temperature."""
    rng = np.random.default_rng(7)
    outputs = 3 * rng.normal(size=(rows, classes))
    shares = probabilities(outputs, temperature)
    return outputs, (rng.random((rows, 1)) > shares.cumsum(1)).sum(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_the_labels_is_found(temperature: float) -> None:
    outputs, truths = drawn(temperature)
    found = fit_temperature(outputs, truths)
    assert found == pytest.approx(temperature, rel=0.08)
    around = [nats(outputs, truths, found * factor) for factor in (0.97, 1, 1.03)]
    assert around[1] == min(around)


def test_it_mends_what_is_too_sure_and_leaves_the_answers() -> None:
    outputs, truths = drawn(2.5)
    before = probabilities(outputs)
    after = probabilities(outputs, fit_temperature(outputs, truths))
    errors = [expected_calibration_error(bins(shares, truths)) for shares in (before, after)]
    assert errors[0] > 0.1 and errors[1] < 0.03
    assert np.array_equal(before.argmax(1), after.argmax(1))
    assert before.sum(1) == pytest.approx(np.ones(len(before)))


def test_rows_that_cannot_tell_give_none() -> None:
    outputs, truths = drawn(1.0, ENOUGH)
    assert fit_temperature(outputs, truths) is not None
    assert fit_temperature(outputs[1:], truths[1:]) is None, "too few"
    assert fit_temperature(outputs, outputs.argmax(1)) is None, "all right: the surer the better"
    assert fit_temperature(outputs, outputs.argmin(1)) is None, "none right"


def test_large_outputs_stay_numbers() -> None:
    outputs, truths = drawn(1.0)
    assert np.isfinite(nats(outputs * 1e4, truths))
    assert np.isfinite(probabilities(outputs * 1e4)).all()


def test_the_error_by_hand() -> None:
    """Two answers of 0.9, one of them right, and two of 0.6, both right: half of |0.5 - 0.9| and half of |1 - 0.6|."""
    shares = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]])
    found = bins(shares, np.array([0, 0, 0, 1]))
    assert [each.rows for each in found] == [2, 2]
    assert expected_calibration_error(found) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


def test_the_error_is_that_of_its_definition() -> None:
    outputs, truths = drawn(1.7, 501)
    shares = probabilities(outputs)
    expected = 0.0
    for number in range(15):
        inside = [
            (max(row), row.argmax() == true)
            for row, true in zip(shares, truths, strict=True)
            if number / 15 < max(row) <= (number + 1) / 15
        ]
        if inside:
            confidence, right = (sum(column) / len(inside) for column in zip(*inside, strict=True))
            expected += len(inside) / len(shares) * abs(right - confidence)
    assert expected_calibration_error(bins(shares, truths)) == pytest.approx(expected)


def test_a_bound_belongs_to_the_bin_below_it() -> None:
    shares = np.array([[0.6, 0.4], [0.6000001, 0.3999999], [1.0, 0.0]])
    assert [each.rows for each in bins(shares, np.zeros(3, dtype=np.int64))] == [1, 1, 1]
    assert [each.rows for each in bins(shares[:1], np.zeros(1, dtype=np.int64))] == [1]
