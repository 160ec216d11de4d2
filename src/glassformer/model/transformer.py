"""The Transformer: embeddings, stacks of blocks, heads where an objective asks. One class for every family."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glassformer.data.batch import Batch, HeadSpec, StreamBatch
from glassformer.data.masks import AttentionMask, across
from glassformer.model.attention import ABILITIES, Ability, Mechanism, refusal
from glassformer.model.config import ModelConfig, check_sizes
from glassformer.model.decoding_state import DecodingState
from glassformer.model.dropout import Dropout
from glassformer.model.heads import Head, read
from glassformer.model.layers import Block, Surroundings, initialise, norm, scale_residual_writers
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
        cross = name == "decoder" and len(config.stacks) > 1
        layers = config.layers_of(name)
        causal = name == "decoder"
        distinct = [Block(config, cross, n, causal) for n in range(1 if config.share_layers else layers)]
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
        around = Surroundings(
            stream.mask.prepared(),
            self.positions.rotation(stream.positions),
            self.positions.bias(stream.positions, stream.positions[:, : stream.content]),
            stream.content,
            memory,
            None if memory_mask is None else memory_mask.prepared(),
        )
        for block in self.blocks:
            x = block(x, around)
        return self.dropout(self.norm(x))

    def _refuse_parts(self, mask: AttentionMask) -> None:
        """Raises UsageError for a mask that an attention mechanism cannot do."""
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
        around = Surroundings(
            mask.prepared(),
            self.positions.rotation(positions),
            self.positions.bias(positions, mask.key_positions),
            memory=state.memory,
            memory_mask=state.across(mask),
        )
        for block, layer in zip(self.blocks, state.layers, strict=True):
            x = block(x, around, layer, state.capacity)
        return self.dropout(self.norm(x))


class Transformer(nn.Module):
    """The model: one call, `model(batch) -> {head: logits}`, and heads run only where something is asked.

    A model with one stack reads whatever stream a batch has with that; one with two reads "encoder" and "decoder".
    `vocab_size` is a number where they share a vocabulary, and one for each stack where they do not.
    """

    def __init__(self, config: ModelConfig, vocab_size: int | dict[str, int], heads: Iterable[HeadSpec]) -> None:
        super().__init__()
        check_sizes(config)
        self.config = config
        one = isinstance(vocab_size, int)  # a vocabulary for all stacks
        sizes = vocab_size if isinstance(vocab_size, dict) else dict.fromkeys(config.stacks, vocab_size)
        width = config.d_embedding or config.d_model
        tables = {name: nn.Embedding(sizes[name], width) for name in config.stacks}
        if config.shared_embeddings and one:
            tables = dict.fromkeys(config.stacks, tables[config.stacks[0]])
        for name in config.stacks:
            self.add_module(name, Stack(config, name, tables[name]))
        self.specs = {spec.name: spec for spec in heads}
        self.heads = nn.ModuleDict(
            {
                name: Head(spec, config.d_model, width if self._is_tied(spec) else None)
                for name, spec in self.specs.items()
            }
        )
        initialise(self)
        for stack in self.stacks:
            scale_residual_writers(stack.blocks)
        self.tie()

    @property
    def stacks(self) -> list[Any]:
        """The stacks, the encoder first: each a Stack, or a baseline's with the same call."""
        return [self.get_submodule(name) for name in self.config.stacks]

    def _is_tied(self, spec: HeadSpec) -> bool:
        return self.config.tied and spec.tied

    def tie(self) -> None:
        """Let the heads over tokens share the embedding's weight (the decoder's, where there is one), where the
        configuration says so."""
        for name, spec in self.specs.items():
            head = self.heads[name]
            if self._is_tied(spec):
                assert isinstance(head, Head)
                head.output.weight = self.stacks[-1].embeddings.token.weight

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, "N size"]]:
        """Outputs of each head for the questions of the batch, in the batch's order."""
        hidden = self.hidden(batch)
        return {
            name: self.heads[name](read(hidden[asked.stream], asked, self.specs[name]))
            for name, asked in batch.asked.items()
        }

    def hidden(self, batch: Batch) -> dict[str, Float[Tensor, "B T D"]]:
        """The last hidden states of each stream."""
        if len(self.stacks) == 1:
            [(name, stream)] = batch.streams.items()
            return {name: self.stacks[0](stream)}
        encoder, decoder = self.stacks
        source, target = batch.streams["encoder"], batch.streams["decoder"]
        memory = encoder(source)
        return {"encoder": memory, "decoder": decoder(target, memory, across(target.mask, source.mask))}

    # ---------------------------------------------------------------- generation, through which no gradients flow

    @torch.inference_mode()
    def new_state(self, batch: Batch, capacity: int) -> DecodingState:
        """The state of generation before the first token, for the rows of a batch, with room for `capacity` tokens in
        each. An encoder reads its stream here, once."""
        memory, mask = None, None
        rows = len(next(iter(batch.streams.values())).input_ids)
        if len(self.stacks) > 1:
            source = batch.streams["encoder"]
            memory, mask = self.stacks[0](source), source.mask
        decoder = self.stacks[-1]
        return DecodingState(len(decoder.blocks), rows, capacity, decoder.embeddings.token.weight, memory, mask)

    @torch.inference_mode()
    def step(
        self, input_ids: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], state: DecodingState, head: str
    ) -> Float[Tensor, "B size"]:
        """Logits of the token after the last real one of each row; `input_ids` are those since the last step (at first
        the whole prompts), and `real` is False at their padding. Every row has at least one real token."""
        hidden = self.stacks[-1].step(input_ids, real, state)
        if real.shape[1] == 1:
            return self.heads[head](hidden[:, 0])
        columns = torch.arange(real.shape[1], device=real.device)
        last = torch.where(real, columns, -1).max(1).values
        return self.heads[head](hidden[torch.arange(len(hidden), device=real.device), last])

    def need_state(self) -> None:
        """Raises UsageError where its attention cannot go on from what it keeps."""
        stack = self.stacks[-1]
        if isinstance(stack, Stack) and "decode" in stack.lacking:
            raise refusal(stack.lacking["decode"], "decode")


def count_parameters(model: nn.Module) -> int:
    """Numbers that training can change; a shared tensor counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
