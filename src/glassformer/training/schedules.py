"""Learning-rate schedules: pure functions of the step, so that a resumed run needs no state for them."""

import math
from typing import Literal

from pydantic import Field

from glassformer.config import Config


class ScheduleConfig(Config):
    """How the learning rate rises and falls."""

    name: Literal["noam", "linear", "cosine", "constant"] = Field("linear", description="the shape after warm-up")
    warmup_steps: int | None = Field(None, ge=0, description="steps of linear rise; none: 6% of all steps")
    final_share: float = Field(
        0.0, ge=0, le=1, description="linear, cosine: where the fall ends, as a share of the peak"
    )


def learning_rate_factor(step: int, steps: int, config: ScheduleConfig) -> float:
    """What the peak learning rate is multiplied by at `step`, counted from 1 to `steps`.

    noam (Vaswani et al. 2017, equation 3) is d_model^-0.5 * min(step^-0.5, step * warmup^-1.5); divided by its own
    peak, which it has at step = warmup, it is min(sqrt(warmup / step), step / warmup), so that the peak is the
    configured rate. The paper's own peak is (d_model * warmup)^-0.5: see `noam_peak`.

    linear and cosine have the peak at step = warmup (or 1) and would end one step after the last, so that the last
    step still learns.
    """
    warmup = round(0.06 * steps) if config.warmup_steps is None else config.warmup_steps
    if config.name == "noam":
        warmup = max(1, warmup)
        return min(math.sqrt(warmup / step), step / warmup)
    if step < warmup:
        return step / warmup
    if config.name == "constant":
        return 1.0
    first = max(1, warmup)  # the step that has the peak
    done = (step - first) / (steps - first + 1) if steps >= first else 0.0
    shape = 1.0 - done if config.name == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return config.final_share + (1.0 - config.final_share) * max(0.0, shape)


def noam_peak(d_model: int, warmup: int) -> float:
    """The learning rate at the top of the first paper's schedule."""
    return (d_model * warmup) ** -0.5
