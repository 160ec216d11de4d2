"""Where a token stands: the paper's waves, and lookups by position, whatever the positions are."""

import math

import pytest
import torch

from glassformer.model.positions import POSITIONS, LearnedPositions, SinusoidalPositions, sinusoids

LENGTH, D = 17, 7
RESTARTED = torch.tensor([[0, 1, 2, 0, 1], [4, 16, 3, 3, 0]])


def by_the_paper(position: int, column: int, d_model: int) -> float:
    """PE(pos, 2i) = sin(pos / 10000^(2i / d_model)), PE(pos, 2i + 1) = cos of the same (section 3.5)."""
    angle = position / 10_000 ** ((column - column % 2) / d_model)
    return math.sin(angle) if column % 2 == 0 else math.cos(angle)


@pytest.mark.parametrize("d_model", [1, 7, 12])
def test_the_table_is_the_papers(d_model):
    """Each number to float32's own precision, far positions and odd widths included."""
    length = 2_003
    expected = [[by_the_paper(p, c, d_model) for c in range(d_model)] for p in range(length)]
    table = sinusoids(length, d_model)
    assert table.dtype == torch.float32
    torch.testing.assert_close(table.double(), torch.tensor(expected, dtype=torch.float64), atol=2e-7, rtol=0)


@pytest.mark.parametrize("name", POSITIONS)
def test_equal_positions_get_equal_vectors(name):
    """Positions may restart, repeat and come in any order: each entry is looked up by itself."""
    positions = POSITIONS[name](LENGTH, D)
    vectors = positions(RESTARTED)
    assert vectors.shape == (2, 5, D)
    whole = positions(torch.arange(LENGTH)[None])[0]
    assert torch.equal(vectors, whole[RESTARTED])
    assert len({tuple(row.tolist()) for row in whole}) == LENGTH


@pytest.mark.parametrize("name", POSITIONS)
def test_a_position_beyond_the_table_is_an_error(name):
    """Never a silent wrap-around."""
    with pytest.raises(IndexError):
        POSITIONS[name](LENGTH, D)(torch.tensor([[LENGTH]]))


def test_waves_are_neither_learned_nor_saved_and_learned_ones_are():
    """One has no parameter and nothing in its state; the other's gradient reaches just the positions used."""
    assert not list(SinusoidalPositions(LENGTH, D).parameters()) and not SinusoidalPositions(LENGTH, D).state_dict()
    learned = LearnedPositions(LENGTH, D)
    learned(RESTARTED).square().sum().backward()
    assert set(learned.weight.grad.abs().sum(-1).nonzero().flatten().tolist()) == {0, 1, 2, 3, 4, 16}
