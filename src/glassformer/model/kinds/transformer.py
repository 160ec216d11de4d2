"""Our own Transformer, of every family: stacks of blocks that can be looked into everywhere."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glassformer.data.batch import Batch
from glassformer.model.attention import Ability, Mechanism, able
from glassformer.model.config import ModelConfig, check_sizes
from glassformer.model.decoding_state import DecodingState
from glassformer.model.inputs import Input
from glassformer.model.kinds import Capability, Model, StackParts, last_real
from glassformer.model.positions import NoPositions
from glassformer.model.size import parameters_of_stack
from glassformer.model.stack import Stack, initialise_stacks

NEEDED: dict[Capability, Ability] = {"decoding": "decode", "packed_rows": "documents", "pair_masks": "pair_mask"}
"""What every attention mechanism must be able to do, where the model is to have something."""


class Transformer(Model):
    """Encoder (Devlin et al. 2019), decoder (Radford et al. 2019), or both (Vaswani et al. 2017)."""

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raises UsageError for sizes that do not fit together."""
        check_sizes(config)

    @classmethod
    def parameters_of_stack(cls, config: ModelConfig, name: str) -> int:
        """All but its token embeddings."""
        return parameters_of_stack(config, name)

    def make_stack(self, config: ModelConfig, name: str, token: Input) -> Stack:
        """Embeddings and blocks."""
        return Stack(config, name, token)

    def initialise(self) -> None:
        """See `initialise_stacks`."""
        initialise_stacks(self, self.stacks)

    @property
    def parts(self) -> dict[str, StackParts]:
        """Every part of every block."""
        return {name: _parts(name, self.get_submodule(name)) for name in self.config.stacks}

    def why_not(self, what: Capability) -> str | None:
        """What its attention mechanisms cannot, and where there are no positions, it cannot either."""
        if what == "attention_weights":
            return next((m.no_weights for m in self._mechanisms(self) if m.no_weights is not None), None)
        ability = NEEDED.get(what)
        for stack in self.stacks[-1:] if ability == "decode" else self.stacks:
            if ability is not None and ability in stack.lacking:
                return f"model.attention={stack.lacking[ability]} cannot, {', '.join(able(ability))} can"
        if what == "positions" and self.config.positions == "none":
            return "model.positions=none"
        return super().why_not(what)

    @staticmethod
    def _mechanisms(module: nn.Module) -> list[Mechanism]:
        return [part for part in module.modules() if isinstance(part, Mechanism)]

    @torch.inference_mode()
    def new_state(self, batch: Batch, capacity: int) -> DecodingState:
        """See Model."""
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
        """See Model."""
        return self.heads[head](last_real(self.stacks[-1].step(input_ids, real, state), real))


def _parts(name: str, stack: nn.Module) -> StackParts:
    """Where the parts of one of our stacks stand."""
    assert isinstance(stack, Stack)
    blocks = [f"{name}.blocks.{n}" for n in range(len(stack.blocks))]
    return StackParts(
        embeddings=f"{name}.embeddings",
        blocks=blocks,
        norm=f"{name}.norm",
        positions=None if isinstance(stack.positions, NoPositions) else f"{name}.positions",
        self_attention=[f"{block}.self_attention" for block in blocks],
        cross_attention=[f"{block}.cross_attention" for block in blocks] if stack.has_cross_attention else [],
        feed_forward=[f"{block}.feed_forward" for block in blocks],
    )
