"""Randomness as a pure function: every draw has a generator of its own, from the seed, its purpose and its place."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What is drawn. The numbers are part of every run's data order: never change one, only add."""

    SPLIT = 1
    """Which documents are held out."""
    ORDER = 2
    """The order of the units in an epoch: (epoch)."""
    CORRUPTION = 3
    """What is hidden in one unit: (epoch, unit)."""
    QUESTIONS = 4
    """Which units an evaluation asks."""
    QUESTION = 5
    """What is hidden in one unit of an evaluation: (unit)."""
    COUNTS = 6
    """Which units the unigram line counts."""
    COUNT = 7
    """What is hidden in one of them: (unit)."""
    DROPOUT = 8
    """The dropout of one forward pass: (step, micro_batch, rank)."""
    TRAIN_ROWS = 14
    """Which of the training rows are learned from, where only some are: (label)."""
    TOKENIZER = 12
    """Which texts a tokenizer is trained on, where there are many."""
    RESAMPLING = 13
    """Which rows are drawn again, to see how sure a score is."""


def seeds(seed: int, purpose: Purpose, place: Sequence[int] = ()) -> np.random.SeedSequence:
    """The seeds of one draw. The place goes in as a spawn key, in which zeros count: numpy pads plain tuples with
    zeros, so that (seed, 3) and (seed, 3, 0) would be the same stream. Its numbers have at most 32 bits (ValueError):
    longer ones would be cut in two."""
    if any(number >= 2**32 for number in place):
        raise ValueError(f"{tuple(place)} holds a number of more than 32 bits")
    return np.random.SeedSequence(seed, spawn_key=(int(purpose), *place))


def generator(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """The generator of one draw, the same whenever it is asked for."""
    return np.random.default_rng(seeds(seed, purpose, place))
