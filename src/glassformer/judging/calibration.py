"""Whether probabilities are what they say: of the answers that are given 80%, are 80% right (Guo et al. 2017)?

Small models are mostly too sure of themselves. One number mends that: all outputs (logits) are divided by a temperature
before the softmax, the one under which the validation labels are likeliest. Which answer comes first never changes.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

BINS = 15
"""Of equal width, over the probability of the answer, as in the paper."""
LOWEST, HIGHEST = 1 / 20, 20.0
"""Temperatures that are tried."""
ENOUGH = 100
"""Rows from which on a temperature is fitted."""


class Bin(NamedTuple):
    """Answers whose probabilities lie close together."""

    rows: int
    confidence: float
    """The mean of their probabilities."""
    accuracy: float
    """How many of them are right."""


def probabilities(
    outputs: Float[np.ndarray, "rows classes"], temperature: float = 1.0
) -> Float[np.ndarray, "rows classes"]:
    """The softmax of the outputs divided by a temperature."""
    scaled = outputs.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def nats(
    outputs: Float[np.ndarray, "rows classes"], truths: Int64[np.ndarray, "rows"], temperature: float = 1.0
) -> float:
    """The mean of -ln of what is given to the right class."""
    scaled = outputs.astype(np.float64) / temperature
    scaled -= scaled.max(1, keepdims=True)
    of_right = scaled[np.arange(len(truths)), truths]
    return float((np.log(np.exp(scaled).sum(1)) - of_right).mean())


def fit_temperature(outputs: Float[np.ndarray, "rows classes"], truths: Int64[np.ndarray, "rows"]) -> float | None:
    """The temperature under which the labels are likeliest, between 1/20 and 20. None where the rows cannot tell: there
    are fewer than 100, or none, or all, of the answers are right."""
    from scipy.optimize import minimize_scalar  # slow to import: `classify` reads what was fitted

    right = outputs.argmax(1) == truths
    if len(truths) < ENOUGH or right.all() or not right.any():
        return None
    bounds = (math.log(LOWEST), math.log(HIGHEST))
    found = minimize_scalar(lambda log: nats(outputs, truths, math.exp(log)), bounds=bounds, method="bounded")
    return math.exp(float(found.x))


def bins(shares: Float[np.ndarray, "rows classes"], truths: Int64[np.ndarray, "rows"], number: int = BINS) -> list[Bin]:
    """The answers by their probability, in so many bins of equal width, a bound belonging to the bin below it; those
    that hold an answer."""
    confidence, right = shares.max(1), shares.argmax(1) == truths
    place = np.clip(np.ceil(confidence * number).astype(int) - 1, 0, number - 1)
    return [
        Bin(int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for inside in (place == n for n in range(number))
        if inside.any()
    ]


def expected_calibration_error(found: list[Bin]) -> float:
    """How far accuracy and probability are apart, in the mean over all answers (equation 3)."""
    rows = sum(each.rows for each in found)
    return sum(each.rows / rows * abs(each.accuracy - each.confidence) for each in found)
