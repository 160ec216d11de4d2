"""A stack of our blocks behind its embeddings, and what generation keeps of it from token to token."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glassformer.data.batch import StreamBatch
from glassformer.data.masks import AttentionMask
from glassformer.model.attention import laid_together
from glassformer.model.config import ModelConfig
from glassformer.model.dropout import Dropout
from glassformer.model.layers import Block, LayerState, Surroundings, initialise, norm, scale_residual_writers
from glassformer.model.positions import POSITIONS


class Embeddings(nn.Module):
    """A vector for each token, plus one for its place and one for its segment, where there are such."""

    def __init__(self, config: ModelConfig, token: nn.Embedding) -> None:
        super().__init__()
        self.token = token
        narrow = token.embedding_dim != config.d_model
        self.widen = nn.Linear(token.embedding_dim, config.d_model) if narrow else None
        self.segment = nn.Embedding(config.segments, config.d_model) if config.segments else None
        # Sine waves have amplitude 1, which would drown embeddings of the usual size: the first paper (section 3.4)
        # multiplies these by sqrt(d_model). Learned positions start as small as the tokens.
        self.scale = math.sqrt(config.d_model) if config.positions == "sinusoidal" else 1.0
        self.norm = norm(config) if config.embedding_norm else None
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        place: Float[Tensor, "#B T D"] | None = None,
        segment_ids: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Look up and add."""
        x = self.token(input_ids)
        if self.widen is not None:
            x = self.widen(x)
        if self.scale != 1.0:
            x = x * self.scale
        if place is not None:
            x = x + place
        if self.segment is not None:
            x = x + self.segment(torch.zeros_like(input_ids) if segment_ids is None else segment_ids)
        if self.norm is not None:
            x = self.norm(x)
        return self.dropout(x)


class Stack(nn.Module):
    """Embeddings and blocks. Who may see whom is said by each batch; a decoder with an encoder also attends to that."""

    def __init__(self, config: ModelConfig, name: str, token: nn.Embedding) -> None:
        super().__init__()
        self.embeddings = Embeddings(config, token)
        self.positions = POSITIONS[config.positions](
            max_length=config.max_length,
            d_model=config.d_model,
            n_heads=config.n_heads,
            d_head=config.d_head,
            causal=name == "decoder",
        )
        self.has_cross_attention = name == "decoder" and len(config.stacks) > 1
        layers = config.layers_of(name)
        distinct = [Block(config, self.has_cross_attention) for _ in range(1 if config.share_layers else layers)]
        self.blocks = nn.ModuleList(distinct[n % len(distinct)] for n in range(layers))
        # In a post-norm stack the last block ends with a norm already.
        self.norm = norm(config) if config.norm == "pre" else nn.Identity()
        self.dropout = Dropout(config.output_dropout)

    def forward(
        self,
        stream: StreamBatch,
        memory: Float[Tensor, "B M D"] | None = None,
        memory_mask: AttentionMask | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Hidden states of one stream."""
        x = self.embeddings(stream.input_ids, self.positions(stream.positions), stream.segment_ids)
        around = Surroundings(
            stream.mask.prepared(),
            self.positions.rotation(stream.positions),
            self.positions.bias(stream.positions, stream.positions[:, : stream.content]),
            stream.content,
            memory,
            (memory_mask or AttentionMask()).prepared(),
        )
        for block in self.blocks:
            x = block(x, around)
        return self.dropout(self.norm(x))

    def step(
        self, input_ids: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], state: "DecodingState"
    ) -> Float[Tensor, "B T D"]:
        """Hidden states of the newest tokens of a growing text, which see what `state` keeps of the earlier ones."""
        positions, key_positions, mask = state.advance(real)
        x = self.embeddings(input_ids, self.positions(positions))
        around = Surroundings(
            mask.prepared(),
            self.positions.rotation(positions),
            self.positions.bias(positions, key_positions),
            memory=state.memory,
            memory_mask=state.memory_mask,
        )
        for block, layer in zip(self.blocks, state.layers, strict=True):
            x = block(x, around, layer, state.capacity)
        return self.dropout(self.norm(x))


def initialise_stacks(model: nn.Module, stacks: Iterable[Stack]) -> None:
    """Fresh weights of a model that has these stacks; see `initialise` and `scale_residual_writers`."""
    initialise(model)
    for stack in stacks:
        scale_residual_writers(stack.blocks)


class DecodingState:
    """What generation keeps from token to token, so that each token passes the decoder once.

    Rows may have prompts of different length: shorter ones are padded, padding is never seen, and positions count real
    tokens only.
    """

    def __init__(
        self, n_layers: int, rows: int, capacity: int, like: Tensor, memory: Tensor | None, mask: AttentionMask
    ) -> None:
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
        self.padding = AttentionMask()
        """What is hidden from the newest token, with room for all that come; made when it is first asked for."""
        self.like = like[:0]
        """Of the type and on the device that all is kept in."""
        sees = mask.key_mask is None or bool(mask.key_mask.any(1).all())
        self.memory, self.memory_mask = memory, mask._replace(no_empty_rows=sees).prepared(self.like.dtype)
        self.sources = torch.arange(rows, device=device)
        """Which row of the memory each row began with."""

    def advance(self, real: Bool[Tensor, "B T"]) -> tuple[Int[Tensor, "#B T"], Int[Tensor, "#B K"], AttentionMask]:
        """Make room for the newest tokens: their positions, those of all K tokens so far, and what they may see."""
        if real.shape[1] == 1:
            return self.advance_by_one()
        start, end = self.length, self.length + real.shape[1]
        self.length = end
        no_padding = bool(real.all())
        self.whole = self.whole and no_padding
        if not no_padding:
            self.real[:, start:end] = real
            self.padding = AttentionMask()
            self.positions = (self.real.long().cumsum(1) - 1).clamp(min=0)
        positions, keys = self.positions[:, start:end], self.positions[:, :end]
        if self.whole:
            positions, keys = positions[:1], keys[:1]
        hidden = None if self.whole else self.real[:, :end]
        aligned = self.whole and start == 0
        mask = AttentionMask(
            hidden, query_positions=positions, key_positions=keys, aligned=aligned, no_empty_rows=no_padding
        )
        return positions, keys, mask

    def advance_by_one(self) -> tuple[Int[Tensor, "#B 1"], Int[Tensor, "#B K"], AttentionMask]:
        """The same for a real token in every row, which sees every real one, itself among them."""
        start = self.length
        self.length = end = start + 1
        if self.whole:  # all rows alike
            return self.positions[:1, start:end], self.positions[:1, :end], AttentionMask()
        if self.padding.key_mask is None:
            self.padding = AttentionMask(self.real, no_empty_rows=True).prepared(self.like.dtype)
        hidden = self.padding.first_keys(end)
        return self.positions[:, start:end], self.positions[:, :end], hidden

    @classmethod
    @torch.inference_mode()
    def joined(cls, states: list["DecodingState"], rows: list[list[int]], capacity: int) -> "DecodingState":
        """One state of several, each of which has the given rows of it. They may be of different length."""
        memory, mask = None, AttentionMask()
        memories = [state.memory for state in states if state.memory is not None]
        if memories:
            memory = laid_together(memories, rows, 1)
            seen = [
                torch.ones_like(own[..., 0], dtype=torch.bool)
                if state.memory_mask.key_mask is None
                else state.memory_mask.key_mask
                for state, own in zip(states, memories, strict=True)
            ]
            mask = AttentionMask(laid_together(seen, rows, 1))
        number = sum(map(len, rows))
        joined = cls(len(states[0].layers), number, capacity, states[0].like, memory, mask)
        joined.length = max(state.length for state in states)
        joined.real[:, : joined.length] = laid_together([state.real[:, : state.length] for state in states], rows, 1)
        joined.whole = bool(joined.real.all())
        joined.positions = (joined.real.long().cumsum(1) - 1).clamp(min=0)
        for n, layer in enumerate(joined.layers):
            layers = [state.layers[n] for state in states]
            layer.own = type(layers[0].own).joined([part.own for part in layers], rows, capacity)
            kept = [part.memory for part in layers if part.memory is not None]
            if kept:
                layer.memory = (
                    laid_together([k for k, _ in kept], rows, 2),
                    laid_together([v for _, v in kept], rows, 2),
                )
        return joined

    @torch.inference_mode()
    def keep_rows(self, rows: Int[Tensor, "rows"], alike: int = 0) -> None:
        """Keep these rows, in this order; a row may be taken several times (beams) or not at all (finished). The first
        `alike` tokens are the same in all rows that began with the same one: they need not be copied."""
        self.real, self.positions, self.padding = self.real[rows], self.positions[rows], AttentionMask()
        before, self.sources = self.sources, self.sources[rows]
        in_place = torch.equal(before, self.sources)  # beams of one source change places
        for layer in self.layers:
            if layer.own is not None:
                layer.own.keep_rows(rows, alike if in_place else 0)
        if self.memory is None or in_place:
            return
        self.memory = self.memory[rows]
        mask = self.memory_mask
        kept = None if mask.key_mask is None else mask.key_mask[rows]
        self.memory_mask = AttentionMask(kept, no_empty_rows=mask.no_empty_rows).prepared(self.like.dtype)
        for layer in self.layers:
            if layer.memory is not None:
                layer.memory = (layer.memory[0][rows], layer.memory[1][rows])
