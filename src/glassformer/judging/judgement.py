"""All that is said of one model's answers: scores with intervals, the lines to beat, and every row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from glassformer.judging import Score
from glassformer.judging.bootstrap import Difference, Interval, difference, interval_of
from glassformer.judging.bootstrap import drawn as drawn_scores

HARDEST = 5
"""Rows that are shown."""


@dataclass(frozen=True)
class Judgement:
    """What came of judging. The scores of the model and of each line to beat are of the same rows."""

    scores: Sequence[Score]
    lines: Mapping[str, Sequence[Score]] = field(default_factory=dict)
    """What must be beaten, by name, the lowest first: majority_class, bag_of_words."""
    rows: Sequence[Mapping[str, Any]] = ()
    """What each row is, what was right, what was said; as --rows writes it."""
    hardest: Sequence[int] = ()
    """The rows that the model was wrong about and surest of, by their places in `rows`."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else this kind of task has to say."""
    notes: Sequence[str] = ()
    """What could not be said, and why."""

    def record(self) -> dict[str, Any]:
        """For JSON, without the rows."""
        return {
            "scores": scored(self.scores),
            "baselines": [
                {"baseline": name, "scores": scored(line), "above": above(self.scores, line)}
                for name, line in self.lines.items()
            ],
            **self.more,
            "hardest": [dict(self.rows[place]) for place in self.hardest[:HARDEST]],
            "notes": list(self.notes),
        }


def scored(scores: Sequence[Score]) -> dict[str, Any]:
    """Values and intervals by name."""
    found: list[Interval | None] = [interval_of(values) for values in drawn_scores(list(scores))]
    return {
        score.name: {"value": score.value, "interval": None if interval is None else list(interval)}
        for score, interval in zip(scores, found, strict=True)
    }


def differences(one: Sequence[Score], other: Sequence[Score]) -> dict[str, Difference]:
    """By how much `one` is above `other` in each score that both have; they answered the same rows."""
    known = {score.name: score for score in other}
    return {score.name: difference(score, known[score.name]) for score in one if score.name in known}


def above(one: Sequence[Score], other: Sequence[Score]) -> dict[str, Any]:
    """The same for JSON."""
    return {name: found.record() for name, found in differences(one, other).items()}
