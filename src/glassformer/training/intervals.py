"""In which interval a mean lies, from questions that come in texts: those of one text are right or wrong together.

The mean of what is asked is a ratio of two sums, over texts, of totals and of numbers of questions; its error comes
from how the texts' totals scatter around it (the ratio estimator; Cochran 1977, section 6.4). All intervals hold 95%.
"""

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

Interval = tuple[float, float]
CLUSTERS = 8
"""Fewer texts are cut into blocks, so that there are about so many: the scatter of two numbers tells nothing."""
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""The 97.5% quantile of Student's t, from 1 to 10 degrees of freedom."""


def t_quantile(freedom: int) -> float:
    """The 97.5% quantile of Student's t; above 10 degrees of freedom by its expansion around the normal one (Abramowitz
    and Stegun 1964, 26.7.5). Infinite without any."""
    if freedom < 1:
        return math.inf
    if freedom <= len(T_QUANTILES):
        return T_QUANTILES[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


@dataclass
class Sums:
    """What one head came to in each cluster: sums of a value, the number of its terms, and the sum of their squares
    over all."""

    totals: Float[np.ndarray, "clusters"]
    counts: Float[np.ndarray, "clusters"]
    squares: float = field(default=0.0)

    @classmethod
    def empty(cls, clusters: int) -> "Sums":
        """Of nothing yet."""
        return cls(np.zeros(clusters), np.zeros(clusters))

    def add(self, values: Float[np.ndarray, "n"], clusters: Int64[np.ndarray, "n"]) -> None:
        """More terms, each of one cluster."""
        self.totals += np.bincount(clusters, weights=values, minlength=len(self.totals))
        self.counts += np.bincount(clusters, minlength=len(self.counts))
        self.squares += float((values * values).sum())

    def plain(self) -> list[Any]:
        """As values that another process can be told."""
        return [self.totals.tolist(), self.counts.tolist(), self.squares]

    def add_plain(self, other: list[Any]) -> None:
        """What `plain` has made of another one, of the same clusters."""
        totals, counts, squares = other
        self.totals += np.array(totals)
        self.counts += np.array(counts)
        self.squares += squares

    @property
    def number(self) -> float:
        """Of all terms."""
        return float(self.counts.sum())

    @property
    def mean(self) -> float:
        """Over all terms."""
        return float(self.totals.sum()) / max(1.0, self.number)

    @property
    def errors(self) -> Float[np.ndarray, "clusters"]:
        """What each cluster contributes to the mean's being off."""
        return (self.totals - self.mean * self.counts) / max(1.0, self.number)

    @property
    def variance_of_terms(self) -> float:
        """Of the mean, if every term were for itself."""
        if self.number < 2:
            return math.inf
        return max(0.0, self.squares / self.number - self.mean**2) / (self.number - 1)


def half_width(parts: list[tuple[float, Sums]]) -> float:
    """Half of the interval of a sum of means, each with its weight, over the same clusters: the wider one of two, by
    clusters and by single questions. Infinite for a single question."""
    errors = sum((weight * sums.errors for weight, sums in parts), np.zeros(len(parts[0][1].counts)))
    asked = int((np.sum([sums.counts for _, sums in parts], axis=0) > 0).sum())
    alone = math.sqrt(sum(weight**2 * sums.variance_of_terms for weight, sums in parts))
    widths = [t_quantile(int(min(sums.number for _, sums in parts)) - 1) * alone if alone else 0.0]
    if asked > 1:
        widths.append(t_quantile(asked - 1) * math.sqrt(float((errors**2).sum()) * asked / (asked - 1)))
    return max(widths)


def share_interval(sums: Sums) -> Interval:
    """The interval of a share, never beyond 0 and 1 and never a point (Wilson 1927), for as many questions as would
    scatter so much if each were for itself."""
    number, share = sums.number, sums.mean
    if number < 1:
        return 0.0, 1.0
    alone, asked = share * (1 - share) / number, int((sums.counts > 0).sum())
    scatter = float((sums.errors**2).sum()) * asked / max(1, asked - 1)
    number *= alone / max(alone, scatter) if alone else 1.0
    z = t_quantile(max(1, min(asked, int(sums.number)) - 1))
    middle = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z / (1 + z * z / number) * math.sqrt(share * (1 - share) / number + z * z / (4 * number * number))
    return max(0.0, middle - half), min(1.0, middle + half)
