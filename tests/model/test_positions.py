"""Where a token stands: each kind against its definition, whatever the positions are."""

import itertools
import math

import pytest
import torch

from glassformer.model.positions import (
    POSITIONS,
    AlibiPositions,
    LearnedPositions,
    Positions,
    RelativePositions,
    RotaryPositions,
    SinusoidalPositions,
    alibi_slopes,
    sinusoids,
)

LENGTH, D, H, E = 17, 7, 3, 10
RESTARTED = torch.tensor([[0, 1, 2, 0, 1], [4, 16, 3, 3, 0]])
ADDED = ("sinusoidal", "learned")


def make(name: str, causal: bool = False, **sizes: int) -> Positions:
    torch.manual_seed(1)
    return POSITIONS[name](**({"max_length": LENGTH, "d_model": D, "n_heads": H, "d_head": E} | sizes), causal=causal)


def test_every_kind_does_one_thing_and_none_does_nothing():
    """Added to embeddings, turning queries and keys, or a bias of the scores."""
    does = {}
    for name in POSITIONS:
        kind = make(name)
        found = (kind(RESTARTED), kind.rotation(RESTARTED), kind.bias(RESTARTED, RESTARTED))
        does[name] = [what is not None for what in found]
    assert does == {
        "none": [False, False, False],
        "sinusoidal": [True, False, False],
        "learned": [True, False, False],
        "rotary": [False, True, False],
        "alibi": [False, False, True],
        "relative": [False, False, True],
    }


# ------------------------------------------------------------------------------------------- added to the embedding


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


@pytest.mark.parametrize("name", ADDED)
def test_equal_positions_get_equal_vectors(name):
    """Positions may restart, repeat and come in any order: each entry is looked up by itself."""
    positions = make(name)
    vectors = positions(RESTARTED)
    assert vectors.shape == (2, 5, D)
    whole = positions(torch.arange(LENGTH)[None])[0]
    assert torch.equal(vectors, whole[RESTARTED])
    assert len({tuple(row.tolist()) for row in whole}) == LENGTH


@pytest.mark.parametrize("name", [*ADDED, "rotary"])
def test_a_position_beyond_the_table_is_an_error(name):
    """Never a silent wrap-around."""
    beyond = torch.tensor([[LENGTH]])
    with pytest.raises(IndexError):
        make(name).rotation(beyond) if name == "rotary" else make(name)(beyond)


def test_waves_are_neither_learned_nor_saved_and_learned_ones_are():
    """One has no parameter and nothing in its state; the other's gradient reaches just the positions used."""
    waves, learned = make("sinusoidal"), make("learned")
    assert isinstance(waves, SinusoidalPositions) and isinstance(learned, LearnedPositions)
    assert not list(waves.parameters()) and not waves.state_dict()
    learned(RESTARTED).square().sum().backward()
    assert set(learned.table.weight.grad.abs().sum(-1).nonzero().flatten().tolist()) == {0, 1, 2, 3, 4, 16}


# ---------------------------------------------------------------------------------------------------------- rotary


def test_rotary_turns_each_pair_by_position_times_frequency():
    """Feature n and n + E/2 are the plane, 10000^(-2n/E) the frequency: written out with sine and cosine."""
    rotary = make("rotary")
    x = torch.randn(2, H, 5, E, generator=torch.Generator().manual_seed(2))
    turned = rotary.rotation(RESTARTED).rotate(x)
    for row, place in itertools.product(range(2), range(5)):
        for n in range(E // 2):
            angle = RESTARTED[row, place].item() * 10_000 ** (-2 * n / E)
            first, second = x[row, :, place, n], x[row, :, place, n + E // 2]
            expected = first * math.cos(angle) - second * math.sin(angle)
            torch.testing.assert_close(turned[row, :, place, n], expected, atol=1e-5, rtol=1e-5)
            expected = first * math.sin(angle) + second * math.cos(angle)
            torch.testing.assert_close(turned[row, :, place, n + E // 2], expected, atol=1e-5, rtol=1e-5)


def test_rotary_scores_depend_on_the_distance_only():
    """Moving query and key together changes nothing; moving one of them does."""
    rotary = make("rotary").double()
    assert isinstance(rotary, RotaryPositions)
    q, k = torch.randn(2, 1, 1, 1, E, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def score(at_q: int, at_k: int) -> float:
        turned = rotary.rotation(torch.tensor([[at_q]])).rotate(q), rotary.rotation(torch.tensor([[at_k]])).rotate(k)
        return (turned[0] * turned[1]).sum().item()

    for q_at, k_at, further in itertools.product((0, 3, 9), (0, 5), (1, 4, 7)):
        assert score(q_at + further, k_at + further) == pytest.approx(score(q_at, k_at), abs=1e-6)
        assert abs(score(q_at + further, k_at) - score(q_at, k_at)) > 1e-6


# ----------------------------------------------------------------------------------------------------------- biases


def test_alibi_by_the_paper():
    """Slopes 2^(-8/n), 2^(-16/n), ...; in between for other numbers of heads; minus slope times distance."""
    assert alibi_slopes(8) == pytest.approx([2.0**-n for n in range(1, 9)])
    assert alibi_slopes(4) == pytest.approx([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8])
    assert alibi_slopes(6) == pytest.approx([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3])
    alibi = make("alibi")
    assert isinstance(alibi, AlibiPositions) and not alibi.state_dict()
    query, key = torch.tensor([[4, 0], [2, 9]]), torch.tensor([[0, 1, 4], [9, 2, 5]])
    bias = alibi.bias(query, key)
    assert bias.shape == (2, H, 2, 3)
    for b, h, i, j in itertools.product(range(2), range(H), range(2), range(3)):
        expected = -alibi_slopes(H)[h] * abs(query[b, i] - key[b, j])
        torch.testing.assert_close(bias[b, h, i, j], expected.float())


def t5_bucket(ahead: int, causal: bool, buckets: int = 32, farthest: int = 128) -> int:
    """The definition, for one distance."""
    offset = 0
    if not causal:
        buckets //= 2
        offset = buckets if ahead > 0 else 0
    distance = max(0, -ahead) if causal else abs(ahead)
    near = buckets // 2
    if distance < near:
        return offset + distance
    share = math.log(distance / near) / math.log(farthest / near)
    return offset + min(buckets - 1, near + int(share * (buckets - near) + 1e-9))


@pytest.mark.parametrize("causal", [True, False])
def test_t5s_buckets(causal):
    """Every distance from 300 behind to 300 ahead; near ones alone, far ones together, each side its own."""
    relative = make("relative", causal)
    assert isinstance(relative, RelativePositions)
    ahead = torch.arange(-300, 301)
    found = relative.bucket(ahead[None, None])[0, 0].tolist()
    assert found == [t5_bucket(int(n), causal) for n in ahead]
    assert set(found) == set(range(32)) - (set() if causal else {16})  # nothing is ahead by 0
    query, key = torch.tensor([[4, 0]]), torch.tensor([[0, 1, 7]])
    bias = relative.bias(query, key)
    assert bias.shape == (1, H, 2, 3)
    for i, j in itertools.product(range(2), range(3)):
        expected = relative.table.weight[t5_bucket(int(key[0, j] - query[0, i]), causal)]
        assert torch.equal(bias[0, :, i, j], expected)
