"""A block for one token at a time, as straight as it can be written."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer.model.layers import Block, LayerState, Surroundings


@contextmanager
def written_out(model: nn.Module) -> Iterator[None]:
    """While open, the blocks of a model pass single tokens in one function each.

    The products of a single token are so short that a step of a small model spends as long between them, in calls of
    modules within modules. Here the same operations follow one another. Longer pieces, training and whoever wants
    gradients get the block as it was, and so does a block in which a hook waits to be called.
    """
    changed: list[Any] = []
    part: Any
    for part in model.modules():
        if "forward" in vars(part):
            continue
        forward: Any = None
        if isinstance(part, Block) and not _has_hooks(part):
            forward = _for_one_token(part)
        elif isinstance(part, nn.LayerNorm):
            forward = _applied(part)
        elif isinstance(part, nn.Embedding):
            forward = _looked_up(part)
        if forward is not None:
            part.forward = forward
            changed.append(part)
    try:
        yield
    finally:
        for part in changed:
            del part.forward


def _has_hooks(block: nn.Module) -> bool:
    return any(part._forward_hooks or part._forward_pre_hooks for part in block.modules())


def _for_one_token(block: Block) -> Callable[..., Tensor]:
    """What the block does; its parts are looked up once."""
    whole, pre_norm = block.forward, block.pre_norm
    own, own_norm = block.self_attention, _applied(block.attention_norm)
    heads, d_head, mechanism = own.heads, own.d_head, own.mechanism
    project, join = own.query_key_value.forward, own.output.forward
    cross, cross_norm = block.cross_attention, None
    if cross is not None and block.cross_attention_norm is not None:
        cross_norm = _applied(block.cross_attention_norm)
        ask, answer, across = cross.query_key_value.forward, cross.output.forward, cross.mechanism
        width = cross.widths[0]
    feed_forward, feed_forward_norm = block.feed_forward, _applied(block.feed_forward_norm)
    expand, bend, contract = feed_forward.expand.forward, feed_forward.activation, feed_forward.contract.forward
    gated = feed_forward.gated

    def forward(
        x: Float[Tensor, "B T D"], around: Surroundings, state: LayerState | None = None, capacity: int = 0
    ) -> Float[Tensor, "B T D"]:
        if x.shape[1] > 1 or state is None or state.own is None or block.training or torch.is_grad_enabled():
            return whole(x, around, state, capacity)
        rows = x.shape[0]
        y = own_norm(x) if pre_norm else x
        q, k, v = torch.split_with_sizes(project(y).view(rows, -1, 1, d_head), heads, 1)
        if around.rotation is not None:
            q, k = around.rotation.turn(q), around.rotation.turn(k)
        y = join(mechanism.step(q, k, v, state.own, around.mask, around.bias).reshape(rows, 1, -1))
        x = x + y if pre_norm else own_norm(x + y)
        if cross_norm is not None:
            assert state.memory is not None
            y = cross_norm(x) if pre_norm else x
            q = ask(y, 0, width).view(rows, -1, 1, d_head)
            y = answer(across(q, *state.memory, around.memory_mask).reshape(rows, 1, -1))
            x = x + y if pre_norm else cross_norm(x + y)
        y = expand(feed_forward_norm(x) if pre_norm else x)
        if gated:
            gate, value = y.chunk(2, dim=-1)
            y = contract(bend(gate) * value)
        else:
            y = contract(bend(y))
        return x + y if pre_norm else feed_forward_norm(x + y)

    return forward


def _applied(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """The norm as a function."""
    if not isinstance(norm, nn.LayerNorm):
        return norm.forward
    shape, weight, bias, eps = norm.normalized_shape, norm.weight, norm.bias, norm.eps
    return lambda x: torch.layer_norm(x, shape, weight, bias, eps)


def _looked_up(table: nn.Embedding) -> Callable[[Tensor], Tensor]:
    """The table as a function."""
    weight = table.weight
    return lambda ids: torch.embedding(weight, ids)
