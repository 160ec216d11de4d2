"""The keys and values of a growing text: what a mechanism keeps from token to token that compares queries with keys."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def pad_and_concat(parts: list[Tensor], rows: list[list[int]], dim: int, size: int | None = None) -> Tensor:
    """The rows of several tensors, each part at its given rows of the whole; along `dim` zeros where a part is shorter
    than the longest, and room for `size` altogether."""
    longest = max(part.shape[dim] for part in parts)
    shape = [sum(map(len, rows)), *parts[0].shape[1:]]
    shape[dim] = size or longest
    whole = parts[0].new_empty(shape)
    for part, places in zip(parts, rows, strict=True):
        whole.narrow(dim, 0, part.shape[dim])[places] = part
        whole.narrow(dim, part.shape[dim], longest - part.shape[dim])[places] = 0
    return whole


class KeyValueCache:
    """Keys and values of the tokens so far, in preallocated blocks of B x G x capacity x E."""

    def __init__(self, like: Float[Tensor, "B G K E"], capacity: int) -> None:
        rows, heads, _, features = like.shape
        self.keys, self.values = (like.new_empty(rows, heads, capacity, features) for _ in range(2))
        self.spare: tuple[Tensor, Tensor] | None = None
        """Where the rows that are kept go; afterwards it is the blocks that they came from."""
        self.spare_common = 0
        """So many tokens of each row stand in the spare blocks as in the others."""
        self.length = 0

    @classmethod
    def concat(cls, parts: list["KeyValueCache"], rows: list[list[int]], capacity: int) -> "KeyValueCache":
        """One cache of several, each of which has the given rows of it; zeros where one is shorter than the others."""
        whole = cls(parts[0].keys, 0)
        whole.keys = pad_and_concat([part.keys[:, :, : part.length] for part in parts], rows, 2, capacity)
        whole.values = pad_and_concat([part.values[:, :, : part.length] for part in parts], rows, 2, capacity)
        whole.length = max(part.length for part in parts)
        return whole

    def append(
        self, k: Float[Tensor, "B G Q E"], v: Float[Tensor, "B G Q E"]
    ) -> tuple[Float[Tensor, "B G K E"], Float[Tensor, "B G K E"]]:
        """Add the newest; all keys and all values, as views."""
        start, newest = self.length, k.shape[2]
        self.length = start + newest
        self.keys.narrow(2, start, newest).copy_(k)
        self.values.narrow(2, start, newest).copy_(v)
        return self.keys.narrow(2, 0, self.length), self.values.narrow(2, 0, self.length)

    def reorder(self, rows: Int[Tensor, "rows"], shared_prefix: int = 0) -> None:
        """Keep these rows, in this order; a row may be taken several times (beams) or not at all (finished). The first
        `shared_prefix` tokens of each are those of the row whose place it takes.

        Each is copied once, into blocks that were there already, and without what stands there as it should: beams do
        this at every token, and all beams of a prompt begin with the prompt."""
        before, start = (self.keys, self.values), min(shared_prefix, self.spare_common)
        if self.spare is None or len(self.spare[0]) < len(rows):
            shape = (len(rows), *self.keys.shape[1:])
            self.spare, start = (self.keys.new_empty(shape), self.values.new_empty(shape)), 0
        self.keys, self.values = (block[: len(rows)] for block in self.spare)
        for old, new in zip(before, (self.keys, self.values), strict=True):
            torch.index_select(old[:, :, start : self.length], 0, rows, out=new[:, :, start : self.length])
        self.spare, self.spare_common = before, shared_prefix
