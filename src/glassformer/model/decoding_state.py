"""What generation keeps of a growing text from token to token, so that each token passes the decoder once."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glassformer.data.masks import AttentionMask
from glassformer.model.cache import pad_and_concat
from glassformer.model.layers import LayerState


class DecodingState:
    """Of each layer what its attention keeps, and of each row where its tokens stand and which of them are real.

    Rows may have prompts of different length: shorter ones are padded, padding is never seen, and positions count real
    tokens only.
    """

    def __init__(
        self,
        n_layers: int,
        rows: int,
        capacity: int,
        like: Tensor,
        memory: Float[Tensor, "rows M D"] | None = None,
        source: AttentionMask | None = None,
    ) -> None:
        """`memory` is what an encoder made of the sources, `source` the mask that it had."""
        device = like.device
        self.layers = [LayerState() for _ in range(n_layers)]
        self.capacity = capacity
        self.real = torch.ones(rows, capacity, dtype=torch.bool, device=device)
        """False at padding; tokens that are still to come are real."""
        self.positions = torch.arange(capacity, device=device).repeat(rows, 1)
        """Of the tokens so far, and of those still to come if none is padding."""
        self.length = 0
        self.whole = True
        """No padding so far, in any row: nothing needs to be hidden from the newest token."""
        self.padding: AttentionMask | None = None
        """What is hidden from the newest token, with room for all that come; made when it is first asked for."""
        self.like = like[:0]
        """Of the type and on the device that all is kept in."""
        self.memory = memory
        self.memory_mask = None if source is None else self._of_memory(source.key_positions, source.key_mask)
        """Of the memory's keys; `across` adds who asks."""
        self.sources = torch.arange(rows, device=device)
        """Which row of the memory each row began with."""

    def _of_memory(self, positions: Int[Tensor, "#B M"], real: Bool[Tensor, "B M"] | None) -> AttentionMask:
        sees = real is None or bool(real.any(1).all())
        mask = AttentionMask(positions[:, :0], positions, key_mask=real, no_empty_rows=sees)
        return mask.prepared(self.like.dtype)

    def across(self, newest: AttentionMask) -> AttentionMask | None:
        """What the newest tokens may see of the memory, from their own mask; None without a memory."""
        if self.memory_mask is None:
            return None
        return self.memory_mask._replace(query_positions=newest.query_positions)

    def advance(self, real: Bool[Tensor, "B T"]) -> AttentionMask:
        """Make room for the newest tokens: where they and all K tokens so far stand, and what they may see."""
        if real.shape[1] == 1:
            return self.advance_by_one()
        start, end = self.length, self.length + real.shape[1]
        self.length = end
        no_padding = bool(real.all())
        self.whole = self.whole and no_padding
        if not no_padding:
            self.real[:, start:end] = real
            self.padding = None
            self.positions = (self.real.long().cumsum(1) - 1).clamp(min=0)
        rows = slice(1) if self.whole else slice(None)  # one row for all where they are alike
        return AttentionMask(
            self.positions[rows, start:end],
            self.positions[rows, :end],
            causal=True,
            key_mask=None if self.whole else self.real[:, :end],
            aligned=self.whole,
            no_empty_rows=no_padding,
        )

    def advance_by_one(self) -> AttentionMask:
        """The same for a real token in every row, which sees every real one, itself among them."""
        self.length = end = self.length + 1
        if self.whole:
            return AttentionMask(self.positions[:1, end - 1 : end], self.positions[:1, :end], causal=True, aligned=True)
        if self.padding is None:  # nothing stands behind the newest token: causality needs no part of the sum
            hidden = AttentionMask(self.positions, self.positions, key_mask=self.real, no_empty_rows=True)
            self.padding = hidden.prepared(self.like.dtype)._replace(causal=True)
        return self.padding.newest(end)

    @classmethod
    @torch.inference_mode()
    def concat(cls, states: list["DecodingState"], rows: list[list[int]], capacity: int) -> "DecodingState":
        """One state of several, each of which has the given rows of it. They may be of different length."""
        number, first = sum(map(len, rows)), states[0]
        memories = [state.memory for state in states if state.memory is not None]
        memory = pad_and_concat(memories, rows, 1) if memories else None
        joined = cls(len(first.layers), number, capacity, first.like, memory)
        masks = [state.memory_mask for state in states if state.memory_mask is not None]
        if masks:
            seen = [
                torch.ones_like(own[..., 0], dtype=torch.bool) if mask.key_mask is None else mask.key_mask
                for mask, own in zip(masks, memories, strict=True)
            ]
            places = [mask.key_positions.expand(real.shape) for mask, real in zip(masks, seen, strict=True)]
            joined.memory_mask = joined._of_memory(pad_and_concat(places, rows, 1), pad_and_concat(seen, rows, 1))
        joined.length = max(state.length for state in states)
        joined.real[:, : joined.length] = pad_and_concat([state.real[:, : state.length] for state in states], rows, 1)
        joined.whole = bool(joined.real.all())
        joined.positions = (joined.real.long().cumsum(1) - 1).clamp(min=0)
        for n, layer in enumerate(joined.layers):
            layers = [state.layers[n] for state in states]
            layer.own = type(layers[0].own).concat([part.own for part in layers], rows, capacity)
            kept = [part.memory for part in layers if part.memory is not None]
            if kept:
                layer.memory = (
                    pad_and_concat([k for k, _ in kept], rows, 2),
                    pad_and_concat([v for _, v in kept], rows, 2),
                )
        return joined

    @torch.inference_mode()
    def reorder(self, rows: Int[Tensor, "rows"], shared_prefix: int = 0) -> None:
        """Keep these rows, in this order; a row may be taken several times (beams) or not at all (finished). The first
        `shared_prefix` tokens are the same in all rows that began with the same one: they need not be copied."""
        self.real, self.positions, self.padding = self.real[rows], self.positions[rows], None
        before, self.sources = self.sources, self.sources[rows]
        in_place = torch.equal(before, self.sources)  # beams of one source change places
        for layer in self.layers:
            if layer.own is not None:
                layer.own.reorder(rows, shared_prefix if in_place else 0)
        if self.memory is None or self.memory_mask is None or in_place:
            return
        places, real = self.memory_mask.key_positions, self.memory_mask.key_mask
        places, real = places if len(places) == 1 else places[rows], None if real is None else real[rows]
        self.memory, self.memory_mask = self.memory[rows], self._of_memory(places, real)
        for layer in self.layers:
            if layer.memory is not None:
                layer.memory = (layer.memory[0][rows], layer.memory[1][rows])
