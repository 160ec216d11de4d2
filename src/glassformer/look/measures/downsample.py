"""Attention of long texts: never all of it at once, in memory or in a page."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from glassformer.errors import UsageError
from glassformer.progress import report_progress
from glassformer.record import RecordedAttention

WHOLE_UP_TO = 512
"""Tokens up to which every weight is kept."""
TILES = 256
"""Tiles along a side of the map of a longer text."""
LINKS = 8
"""Strongest links kept for each query of it."""
ROWS_AT_A_TIME = 256


def weights_for_page(
    name: str,
    recorded: Sequence[RecordedAttention],
    rows: Sequence[int] | None = None,
    exact: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """The weights of all layers and heads of one text: NAME (layers x heads x query x key); or, of a long one,
    NAME_tiles (the largest weight in each of 256 x 256 tiles), NAME_link_keys (two bytes of a key's place, the high one
    first) and NAME_link_weights (layers x heads x query x 8, the strongest first).

    One head and some rows are computed at a time: memory never holds layers x heads x length squared. `rows` are the
    queries that are wanted, where not all are. Of the queries in `exact` a long text's page holds every weight too:
    NAME_rows (layers x heads x rows x key).

    Raises UsageError for a query in `exact` that is not there.
    """
    queries = list(range(recorded[0].q.shape[2])) if rows is None else list(rows)
    keys = recorded[0].k.shape[2]
    heads = recorded[0].q.shape[1]
    wrong = [row for row in exact if not 0 <= row < len(queries)]
    if wrong:
        raise UsageError(f"there is no row {wrong[0]}", f"the text has rows 0 to {len(queries) - 1}")
    if max(len(queries), keys) <= WHOLE_UP_TO:
        chosen = None if rows is None else queries
        return {name: torch.stack([one.weights(rows=chosen)[0] for one in recorded]).float().numpy()}
    parts, number = [], len(recorded) * heads
    for done, (one, head) in enumerate(itertools.product(recorded, range(heads))):
        report_progress(done, number)
        parts.append(tiled(one, head, queries))
    tiles, link_keys, link_weights = (
        np.stack(each).reshape(len(recorded), heads, *each[0].shape) for each in zip(*parts, strict=True)
    )
    high_and_low = np.stack([link_keys // 256, link_keys % 256], axis=-1).astype(np.uint8)
    found = {f"{name}_tiles": tiles, f"{name}_link_keys": high_and_low, f"{name}_link_weights": link_weights}
    if exact:
        chosen = [queries[row] for row in exact]
        found[f"{name}_rows"] = torch.stack([one.weights(rows=chosen)[0] for one in recorded]).float().numpy()
    return found


def tiled(
    recorded: RecordedAttention, head: int, queries: Sequence[int]
) -> tuple[Float[np.ndarray, "rows columns"], Int[np.ndarray, "Q links"], Float[np.ndarray, "Q links"]]:
    """The tiles of one head, and for each query its strongest keys and their weights."""
    keys = recorded.k.shape[2]
    n_rows, n_columns = min(TILES, len(queries)), min(TILES, keys)
    of_row = np.arange(len(queries)) * n_rows // len(queries)
    starts = -(-np.arange(n_columns) * keys // n_columns)  # where the same rule begins a new tile of keys
    tiles = np.zeros((n_rows, n_columns), dtype=np.float32)
    strongest, values = [], []
    for start in range(0, len(queries), ROWS_AT_A_TIME):
        report_progress()
        rows = queries[start : start + ROWS_AT_A_TIME]
        weights = recorded.weights(heads=[head], rows=rows)[0, 0].float()
        best = weights.topk(min(LINKS, keys), dim=-1)
        strongest.append(best.indices.numpy())
        values.append(best.values.numpy())
        along = np.maximum.reduceat(weights.numpy(), starts, axis=1)
        np.maximum.at(tiles, of_row[start : start + len(rows)], along)
    return tiles, np.concatenate(strongest), np.concatenate(values)
