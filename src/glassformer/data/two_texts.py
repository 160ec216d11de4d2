"""Two texts that are read together: how a person types them, and how a model reads them.

typed      mars is red ||| the red planet
read       [CLS] mars is red [SEP] the red planet [SEP]
segments   0     0    0  0   0     1   1   1      1
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

BETWEEN = "|||"
"""What a person types between two texts."""


def parted(text: str) -> list[str]:
    """The texts between |||, or the one."""
    return [part.strip() for part in text.split(BETWEEN)] if BETWEEN in text else [text]


def framed(
    texts: Sequence[Int64[np.ndarray, "_"]], cls_id: int, sep_id: int
) -> tuple[Int64[np.ndarray, "T"], Int64[np.ndarray, "T"]]:
    """[CLS] A [SEP] or [CLS] A [SEP] B [SEP], and the segment of each token."""
    ids, segment_ids = [np.array([cls_id])], [np.array([0])]
    for segment, text in enumerate(texts):
        ids += [text, np.array([sep_id])]
        segment_ids.append(np.full(len(text) + 1, segment))
    return np.concatenate(ids).astype(np.int64), np.concatenate(segment_ids).astype(np.int64)
