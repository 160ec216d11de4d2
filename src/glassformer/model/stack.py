"""A stack of our blocks behind its embeddings."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glassformer.data.batch import StreamBatch
from glassformer.data.masks import AttentionMask
from glassformer.model.attention import ABILITIES, Ability, Mechanism, refusal
from glassformer.model.config import ModelConfig
from glassformer.model.decoding_state import DecodingState
from glassformer.model.dropout import Dropout
from glassformer.model.inputs import Input
from glassformer.model.layers import Block, LayerContext, initialise, norm, scale_residual_writers
from glassformer.model.positions import POSITIONS


class Embeddings(nn.Module):
    """A vector for each token, plus one for its place and one for its segment, where there are such."""

    def __init__(self, config: ModelConfig, token: Input) -> None:
        super().__init__()
        self.token = token
        """What makes a vector of each token, or of the features at each place."""
        narrow = token.embedding_dim != config.d_model
        self.widen = nn.Linear(token.embedding_dim, config.d_model) if narrow else None
        self.widen_last = config.widen == "last"
        width = config.summed_width
        self.segment = nn.Embedding(config.segments, width) if config.segments else None
        # Sine waves have amplitude 1, which would drown embeddings of the usual size: the first paper (section 3.4)
        # multiplies these by sqrt(d_model). Learned positions start as small as the tokens.
        self.scale = math.sqrt(width) if config.positions == "sinusoidal" else 1.0
        self.norm = norm(config, width) if config.embedding_norm else None
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        input_ids: Int[Tensor, "B T"] | Float[Tensor, "B T F"],
        place: Float[Tensor, "#B T W"] | None = None,
        segment_ids: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Look up and add."""
        x = self.token(input_ids)
        if self.widen is not None and not self.widen_last:
            x = self.widen(x)
        if self.scale != 1.0:
            x = x * self.scale
        if place is not None:
            x = x + place
        if self.segment is not None:
            none = input_ids.new_zeros(input_ids.shape[:2], dtype=torch.long)
            x = x + self.segment(none if segment_ids is None else segment_ids)
        if self.norm is not None:
            x = self.norm(x)
        x = self.dropout(x)
        return self.widen(x) if self.widen is not None and self.widen_last else x


class Stack(nn.Module):
    """Embeddings and blocks. Who may see whom is said by each batch; a decoder with an encoder also attends to that."""

    def __init__(self, config: ModelConfig, name: str, token: Input) -> None:
        super().__init__()
        self.embeddings = Embeddings(config, token)
        self.positions = POSITIONS[config.positions](
            max_length=config.max_length,
            d_model=config.summed_width,
            n_heads=config.n_heads,
            d_head=config.d_head,
            causal=name == "decoder",
        )
        self.has_cross_attention = name == "decoder" and len(config.stacks) > 1
        layers = config.layers_of(name)
        causal, number = name == "decoder", 1 if config.share_layers else layers
        distinct = [Block(config, self.has_cross_attention, n, causal) for n in range(number)]
        self.blocks = nn.ModuleList(distinct[n % len(distinct)] for n in range(layers))
        mechanisms = [part for part in self.blocks.modules() if isinstance(part, Mechanism)]
        self.lacking = {what: part.name for part in mechanisms for what in ABILITIES if what not in part.can}
        """What is beyond one of its attention mechanisms, and beyond which."""
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
        self._refuse_parts(stream.mask)
        x = self.embeddings(stream.input_ids, self.positions(stream.positions), stream.segment_ids)
        context = LayerContext(
            stream.mask.prepared(),
            self.positions.rotation(stream.positions),
            self.positions.bias(stream.positions, stream.positions[:, : stream.n_keys]),
            stream.n_keys,
            memory,
            None if memory_mask is None else memory_mask.prepared(),
        )
        for block in self.blocks:
            x = block(x, context)
        return self.dropout(self.norm(x))

    def _refuse_parts(self, mask: AttentionMask) -> None:
        """Raises UsageError for a mask that is beyond an attention mechanism."""
        present: dict[Ability, bool] = {
            "causal": mask.causal,
            "documents": mask.query_documents is not None,
            "pair_mask": mask.pair_mask is not None,
        }
        for ability, name in self.lacking.items():
            if present.get(ability):
                raise refusal(name, ability)

    def step(
        self, input_ids: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], state: DecodingState
    ) -> Float[Tensor, "B T D"]:
        """Hidden states of the newest tokens of a growing text, which see what `state` keeps of the earlier ones."""
        mask = state.advance(real)
        positions = mask.query_positions
        x = self.embeddings(input_ids, self.positions(positions))
        context = LayerContext(
            mask.prepared(),
            self.positions.rotation(positions),
            self.positions.bias(positions, mask.key_positions),
            memory=state.memory,
            memory_mask=state.across(mask),
        )
        for block, layer in zip(self.blocks, state.layers, strict=True):
            x = block(x, context, layer, state.capacity)
        return self.dropout(self.norm(x))


def initialise_stacks(model: nn.Module, stacks: Iterable[Stack]) -> None:
    """Fresh weights of a model that has these stacks; see `initialise` and `scale_residual_writers`."""
    initialise(model)
    for stack in stacks:
        scale_residual_writers(stack.blocks)
