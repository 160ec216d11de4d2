"""Every draw has its own stream, and the same one again."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.randomness import Purpose, generator

PLACES = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (2**32 - 1,), (0, 0, 0)]


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**40 + 1])
def test_no_two_draws_share_a_stream(seed: int) -> None:
    """Neither zeros at the end nor another purpose lead into another draw's stream."""
    streams = {
        tuple(generator(seed, purpose, *place).integers(0, 2**63, size=2))
        for purpose, place in itertools.product(Purpose, PLACES)
    }
    assert len(streams) == len(Purpose) * len(PLACES)


def test_seeds_beyond_32_bits_are_not_cut() -> None:
    """2^32 is neither seed 0 nor seed 1."""
    assert len({int(generator(seed, Purpose.ORDER, 0).integers(2**63)) for seed in (0, 1, 2**32)}) == 3


def test_a_place_beyond_32_bits_is_refused() -> None:
    """numpy would cut it into two numbers, and (2^32) would be (0, 1)."""
    with pytest.raises(ValueError, match="32 bits"):
        generator(1, Purpose.ORDER, 2**32)


@given(st.integers(0, 2**64), st.sampled_from(Purpose), st.lists(st.integers(0, 2**32 - 1), max_size=3))
def test_the_same_draw_again(seed: int, purpose: Purpose, place: list[int]) -> None:
    """A pure function of seed, purpose and place."""
    first, second = (generator(seed, purpose, *place).permutation(7).tolist() for _ in range(2))
    assert first == second
