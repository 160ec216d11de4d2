"""Long attention in pieces, against the whole of it."""

from typing import Any

import numpy as np
import pytest
import torch

from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError
from glassformer.look.measures import downsample
from glassformer.model.attention import Shape
from glassformer.model.attention.full import FullAttention
from glassformer.model.attention_config import MechanismConfig
from glassformer.record import RecordedAttention


def recorded(queries: int, keys: int, seed: int = 0) -> RecordedAttention:
    torch.manual_seed(seed)
    q, k = 3 * torch.randn(1, 2, queries, 4), torch.randn(1, 2, keys, 4)
    mask = AttentionMask.in_order(
        queries, keys, key_mask=torch.arange(keys)[None] < keys - 3
    )  # the last keys are padding
    return RecordedAttention(FullAttention(MechanismConfig(name="full"), Shape(4)), q, k, k, mask, None, q)


@pytest.mark.parametrize(("queries", "keys"), [(600, 600), (1000, 531), (531, 1000), (40, 1500), (1500, 40)])
def test_tiles_and_links_are_those_of_the_whole(queries: int, keys: int) -> None:
    layers = [recorded(queries, keys, seed) for seed in range(2)]
    whole = torch.stack([layer.weights()[0] for layer in layers]).numpy()
    found = downsample.weights_for_page("w", layers, exact=[0, queries - 1])
    n_rows, n_columns = min(256, queries), min(256, keys)
    assert found["w_tiles"].shape == (2, 2, n_rows, n_columns)
    expected = np.zeros_like(found["w_tiles"])
    for q in range(queries):
        for k in range(keys):
            place = (..., q * n_rows // queries, k * n_columns // keys)
            expected[place] = np.maximum(expected[place], whole[:, :, q, k])
    np.testing.assert_allclose(found["w_tiles"], expected, atol=1e-6)
    assert found["w_link_keys"].dtype == np.uint8
    places = found["w_link_keys"][..., 0].astype(int) * 256 + found["w_link_keys"][..., 1]
    np.testing.assert_allclose(np.take_along_axis(whole, places, -1), found["w_link_weights"], atol=1e-6)
    np.testing.assert_allclose(found["w_link_weights"], -np.sort(-whole, axis=-1)[..., : downsample.LINKS], atol=1e-6)
    np.testing.assert_allclose(found["w_rows"], whole[:, :, [0, queries - 1]], atol=1e-6)


def test_a_short_text_is_whole() -> None:
    one = recorded(30, 20)
    assert list(downsample.weights_for_page("w", [one])) == ["w"]
    chosen = downsample.weights_for_page("w", [one], rows=[3, 5])["w"]
    np.testing.assert_allclose(chosen[0], one.weights()[0][:, [3, 5]], atol=1e-7)


def test_no_more_than_a_few_rows_of_one_head_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    one, asked, weights = recorded(1000, 700), list[Any](), RecordedAttention.weights

    def watched(self: RecordedAttention, heads: Any = None, rows: Any = None) -> torch.Tensor:
        asked.append((heads, len(rows)))
        return weights(self, heads, rows)

    monkeypatch.setattr(RecordedAttention, "weights", watched)
    downsample.weights_for_page("w", [one])
    assert all(len(heads) == 1 and rows <= downsample.ROWS_AT_A_TIME for heads, rows in asked)
    assert sum(rows for _, rows in asked) == 2 * 1000


def test_a_row_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no row 600"):
        downsample.weights_for_page("w", [recorded(600, 600)], exact=[600])
