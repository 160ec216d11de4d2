"""Schedules against their formulas."""

import itertools
import math
from typing import Any

import pytest

from glassformer.training.schedules import ScheduleConfig, learning_rate_factor, noam_peak

STEPS, WARMUP = 211, 23


def factor(step: int, name: str, **config: Any) -> float:
    return learning_rate_factor(step, STEPS, ScheduleConfig(**({"name": name, "warmup_steps": WARMUP} | config)))


@pytest.mark.parametrize(("d_model", "warmup"), [(512, 4000), (7, 3), (128, 1)])
def test_noam_is_equation_3_of_the_first_paper(d_model: int, warmup: int) -> None:
    """With the peak of `noam_peak`, the rate is d_model^-0.5 * min(step^-0.5, step * warmup^-1.5)."""
    config = ScheduleConfig(name="noam", warmup_steps=warmup)
    for step in (1, 2, 3, 10, 3999, 4000, 4001, 100_000):
        paper = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert noam_peak(d_model, warmup) * learning_rate_factor(step, 10, config) == pytest.approx(paper, rel=1e-12)


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "noam"])
def test_warm_up_is_a_straight_line_to_the_peak(name: str) -> None:
    """Every schedule rises by equal amounts, is 1 where the warm-up ends, and nowhere higher."""
    assert [factor(step, name) for step in range(1, WARMUP + 1)] == pytest.approx(
        [step / WARMUP for step in range(1, WARMUP + 1)]
    )
    assert factor(WARMUP, name) == 1.0
    assert max(factor(step, name) for step in range(1, STEPS + 1)) == 1.0


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "noam"])
def test_no_jump_at_the_end_of_the_warm_up(name: str) -> None:
    """From one step to the next a schedule never changes by more than the warm-up's own slope."""
    factors = [factor(step, name) for step in range(1, STEPS + 1)]
    assert max(abs(b - a) for a, b in itertools.pairwise(factors)) <= 1 / WARMUP + 1e-12


@pytest.mark.parametrize("final_share", [0.0, 0.25])
def test_linear_falls_in_a_straight_line(final_share: float) -> None:
    """1 at the warm-up's end, `final_share` one step after the last, halfway between in the middle."""
    for step in range(WARMUP, STEPS + 2):
        expected = 1 - (1 - final_share) * (step - WARMUP) / (STEPS + 1 - WARMUP)
        assert factor(step, "linear", final_share=final_share) == pytest.approx(expected, abs=1e-12)
    assert factor(STEPS + 1, "linear", final_share=final_share) == pytest.approx(final_share, abs=1e-12)


@pytest.mark.parametrize("final_share", [0.0, 0.25])
def test_cosine_falls_along_half_a_wave(final_share: float) -> None:
    """final + (1 - final) * (1 + cos(pi * done)) / 2 (Loshchilov & Hutter 2017, equation 5)."""
    for step in range(WARMUP, STEPS + 2):
        done = (step - WARMUP) / (STEPS + 1 - WARMUP)
        expected = final_share + (1 - final_share) * (1 + math.cos(math.pi * done)) / 2
        assert factor(step, "cosine", final_share=final_share) == pytest.approx(expected, abs=1e-12)


def test_constant_stays() -> None:
    """After the warm-up the peak, whatever `final_share` says."""
    assert {factor(step, "constant", final_share=0.3) for step in range(WARMUP, STEPS + 1)} == {1.0}


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "noam"])
def test_without_warm_up_the_first_step_is_near_the_peak(name: str) -> None:
    """`warmup_steps=0` divides by nothing, and the first step has the peak."""
    assert factor(1, name, warmup_steps=0) == 1.0


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "noam"])
def test_every_step_learns(name: Any) -> None:
    """No step has the rate 0: neither the last nor the only one."""
    for steps in (1, 2, 3, 4, 17, STEPS):
        for warmup in (None, 0, 1, 2):
            config = ScheduleConfig(name=name, warmup_steps=warmup)
            assert all(learning_rate_factor(step, steps, config) > 0.0 for step in range(1, steps + 1))
    assert [learning_rate_factor(step, 4, ScheduleConfig(warmup_steps=0)) for step in (1, 2, 3, 4)] == [
        1,
        0.75,
        0.5,
        0.25,
    ]


def test_the_warm_up_of_nothing_said_is_six_percent() -> None:
    """6% of 200 steps are 12."""
    config = ScheduleConfig(name="constant")
    assert learning_rate_factor(11, 200, config) == pytest.approx(11 / 12)
    assert learning_rate_factor(12, 200, config) == 1.0


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "noam"])
@pytest.mark.parametrize("warmup", [0, 1, 7, 100])
def test_no_length_and_warm_up_break_it(name: Any, warmup: int) -> None:
    """Also a warm-up longer than the run gives rates between 0 and the peak."""
    for steps in (1, 2, 7, 8):
        config = ScheduleConfig(name=name, warmup_steps=warmup)
        assert all(0.0 <= learning_rate_factor(step, steps, config) <= 1.0 for step in range(1, steps + 1))
