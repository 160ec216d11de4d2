"""Choices by measurement: how fast a step is here, which precision pays, how many steps a time budget buys.

Everything measured is done on copies, so that measuring never changes what training starts from, and is written to the
run before the first step.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from glassformer.data.batch import Row
from glassformer.training.engine import Engine, threads
from glassformer.training.evaluation import EvaluationSet, evaluate
from glassformer.training.order import TrainingOrder

WORTH_IT = 1.1
"""Another precision, or compiling, must be this many times faster to be chosen."""
COMPILE_FROM_SECONDS = 20 * 60
"""Compiling takes about a minute; only runs at least this long try it by themselves."""
EVALUATIONS = 20
"""How often a run is evaluated at most when its recipe does not say."""
EVALUATING_AT_MOST = 0.1
"""The share of a time budget that goes to evaluations, unless the recipe says how many there are."""
LEAST_EVALUATIONS = 3
HOPELESS = 10.0
"""A precision whose first step takes so many times as long is not tried further: without the instructions for it,
bfloat16 is tens of times slower."""
CLEARLY = 1.05
"""One thread is chosen by its products only where it does so many times those of all threads; less is noise."""
LONG_STEP = 0.1
"""Steps longer than this many seconds are not timed to choose the number of threads."""
TINY_STEP = 0.02
"""Steps shorter than this many seconds are not arithmetic but overhead: another precision cannot pay."""


class Timing(NamedTuple):
    """How long a step takes, from a few real ones. `seconds` is the mean over an epoch."""

    seconds: float
    spread: float
    """Interquartile range of how long steps took, each as a share of what steps of its size take."""
    steps: int


def padded_tokens(order: TrainingOrder, micro_batches: list[list[Row]]) -> int:
    """Rows times longest row, over the micro-batches of a step: what a step's time goes with."""
    shapes = order.shapes
    longest = [max(map(order.length, rows)) for rows in micro_batches]
    if shapes is not None:
        return sum(shapes.rows * shapes.length(n) for n in longest)
    return sum(len(rows) * n for rows, n in zip(micro_batches, longest, strict=True))


def time_steps(
    engine: Engine, order: TrainingOrder, seconds: float = 3.0, most: int = 60, hopeless: float = math.inf
) -> Timing:
    """Train for about `seconds` and say what the mean step of a whole epoch takes: steps differ in length, and take a
    time of their own and one for each padded token (`fitted`).

    The first step, in which memory is laid out, does not count, nor the first of each fixed shape, which compiles.
    Where the first takes more than `hopeless` seconds, that is the answer. Changes the engine's model: hand in a copy.
    """
    steps = order.epoch(0)

    def train(number: int) -> None:
        micro_batches = steps[number % len(steps)]
        engine.update([order.batch(0, rows) for rows in micro_batches], 0.0, (0, number))

    start = time.perf_counter()
    for number in _first_of_each_shape(order, steps):
        train(number)
        if (first := time.perf_counter() - start) > hopeless:
            return Timing(first, 0.0, 1)
    took: list[float] = []
    tokens: list[int] = []
    began = time.perf_counter()
    for number in range(1, most + 1):
        start = time.perf_counter()
        train(number)
        took.append(time.perf_counter() - start)
        tokens.append(padded_tokens(order, steps[number % len(steps)]))
        if time.perf_counter() - began > seconds and number >= 3:
            break
    mean_tokens = float(np.mean([padded_tokens(order, step) for step in steps]))
    fixed, per_token = fitted(tokens, took)
    low, high = np.quantile(np.array(took) / (fixed + per_token * np.array(tokens)), [0.25, 0.75])
    return Timing(fixed + per_token * mean_tokens, float(high - low), len(took))


def fitted(tokens: list[int], seconds: list[float]) -> tuple[float, float]:
    """(seconds of a step, seconds of each of its tokens) that fit a few steps best, by least squares; neither is
    negative. A step of few tokens does not take much less than others where the optimiser has many weights to move."""
    x, y = np.mean(tokens), np.mean(seconds)
    covariance = np.cov(tokens, seconds, bias=True)
    slope = covariance[0, 1] / covariance[0, 0] if covariance[0, 0] else 0.0
    slope = float(np.clip(slope, 0.0, y / x))
    return float(y - slope * x), slope


def _first_of_each_shape(order: TrainingOrder, steps: list[list[list[Row]]]) -> list[int]:
    """The first step of all, and with fixed shapes as many more as it takes to meet every length once."""
    if order.shapes is None:
        return [0]
    first: dict[int, int] = {}
    for number, micro_batches in enumerate(steps):
        for rows in micro_batches:
            first.setdefault(order.shapes.length(max(map(order.length, rows))), number)
    return sorted(set(first.values()))


def time_evaluation(engine: Engine, questions: EvaluationSet) -> float:
    """Seconds of one evaluation; not of the first, which collates, and compiles where there is something to compile."""
    evaluate(engine.forward, questions, engine.fabric.to_device)
    start = time.perf_counter()
    evaluate(engine.forward, questions, engine.fabric.to_device)
    return time.perf_counter() - start


def default_device() -> str:
    """The fastest kind of device there is."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def default_precision(device: str) -> str | None:
    """The precision to take without measuring; None where it must be measured (a CPU may or may not be fast in
    bfloat16: where it is not, it is tens of times slower)."""
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "32-true" if device == "mps" else None


def product_rates(device: str, dtype: torch.dtype = torch.float32, seconds: float = 0.05) -> list[float]:
    """How many multiplications, each with an addition, a middling matrix product does in a second here, on the threads
    that torch has; of each product that is done in so many seconds, and of one at least."""
    a, b = torch.ones(512, 256, device=device, dtype=dtype), torch.ones(256, 256, device=device, dtype=dtype)
    rates, began = list[float](), time.perf_counter()
    while not rates or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        (a @ b).sum().item()  # waits for a device
        rates.append(512 * 256 * 256 / (time.perf_counter() - start))
    return rates


def products_per_second(device: str, dtype: torch.dtype = torch.float32) -> float:
    """The best rate of several products: what the arithmetic can do, since other work only ever slows down."""
    return max(product_rates(device, dtype))


def bfloat16_is_slow(device: str = "cpu") -> bool:
    """Whether a product takes longer in bfloat16 than in float32: then a training step, which would take tens of times
    as long, need not be tried."""
    return products_per_second(device, torch.bfloat16) < products_per_second(device)


class Threads(NamedTuple):
    """The number that is chosen, and by what: one of the two is empty."""

    number: int
    seconds: Mapping[str, float] = MappingProxyType({})
    """Of a step, by the number of threads."""
    products: Mapping[str, float] = MappingProxyType({})
    """Multiplications in a second, by the number of threads."""


def choose_threads(build: Callable[[], Engine], order: TrainingOrder, number: int) -> Threads:
    """`number` threads or one, whichever trains faster here and now.

    Two hyperthreads of one core share its arithmetic, and threads wait for each other where other work holds a core:
    then one may be faster. Each is timed twice, in turns, and its better time counts. Long steps are no more than
    their matrix products, which are timed instead: the answer is here in about a second in any case.
    """
    if number == 1:
        return Threads(1)
    engine, seconds = build(), {number: math.inf, 1: math.inf}
    for each in (number, 1, number, 1):
        with threads(each):
            found = time_steps(engine, order, seconds=0.2, most=20, hopeless=5 * LONG_STEP).seconds
        if found > LONG_STEP:
            return _faster_products(number)
        seconds[each] = min(seconds[each], found)
    chosen = min(seconds, key=lambda each: seconds[each])
    return Threads(chosen, seconds={str(each): found for each, found in seconds.items()})


def _faster_products(number: int) -> Threads:
    """The same by the rate of matrix products alone, in about half a second. The middle one of all counts, not the
    best: where other work takes a core now and then, a step waits for it too. One must be clearly faster.
    """
    rates: dict[int, list[float]] = {number: [], 1: []}
    for each in (number, 1) * 4:
        with threads(each):
            rates[each] += product_rates("cpu")
    middle = {each: statistics.median(found) for each, found in rates.items()}
    chosen = 1 if middle[1] > CLEARLY * middle[number] else number
    return Threads(chosen, products={str(each): found for each, found in middle.items()})


def choose_precision(build: Callable[[str], Engine], order: TrainingOrder) -> tuple[str, dict[str, Any]]:
    """float32 or bfloat16, whichever trains faster here, and the timings. `build(precision)` makes a fresh engine.

    Each is timed twice, in turns, and its better time counts: other work on the machine only ever slows down.
    """
    engines = {"32-true": build("32-true")}
    seconds = {"32-true": time_steps(engines["32-true"], order, seconds=1.5).seconds}
    if seconds["32-true"] < TINY_STEP or bfloat16_is_slow(default_device()):
        return "32-true", seconds
    engines["bf16-mixed"] = build("bf16-mixed")
    most = min(1.5, 3 * seconds["32-true"])
    hopeless = HOPELESS * seconds["32-true"]
    seconds["bf16-mixed"] = time_steps(engines["bf16-mixed"], order, seconds=most, hopeless=hopeless).seconds
    if seconds["bf16-mixed"] > hopeless:
        return "32-true", seconds
    for precision, engine in engines.items():
        seconds[precision] = min(seconds[precision], time_steps(engine, order, seconds=most).seconds)
    return min(seconds, key=lambda p: seconds[p] * (WORTH_IT if p == "bf16-mixed" else 1.0)), seconds


def steps_for(seconds: float, step: float, evaluation: float, every: int | None) -> tuple[int, int]:
    """(steps, steps between evaluations) that fit into so many seconds; `step` and `evaluation` are seconds of one.

    Where `every` is left open, there are EVALUATIONS of them, or as many as take a tenth of the time; to see a curve at
    all, three of them may take a fifth. One is made before the first step. At least one step.
    """
    if every is not None:
        return max(1, int((seconds - evaluation) / (step + evaluation / every))), every
    evaluations = EVALUATIONS
    if evaluation > 0:
        few = min(LEAST_EVALUATIONS, int(2 * EVALUATING_AT_MOST * seconds / evaluation) - 1)
        evaluations = min(EVALUATIONS, max(1, few, int(EVALUATING_AT_MOST * seconds / evaluation) - 1))
    steps = max(1, int((seconds - (evaluations + 1) * evaluation) / step))
    return steps, math.ceil(steps / evaluations)
