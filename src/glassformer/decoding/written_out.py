"""One new token for each row, as straight as it can be written."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer.decoding.known import is_watched, unknown_in
from glassformer.decoding.packed import product
from glassformer.model.decoding_state import DecodingState
from glassformer.model.heads import Head
from glassformer.model.kinds import Model
from glassformer.model.layers import Block, LayerContext, LayerState
from glassformer.model.positions import LearnedPositions
from glassformer.model.stack import Stack

Step = Callable[[Int[Tensor, "B 1"], Any], Float[Tensor, "B size"]]


def written_out(model: Model, head: str) -> Step:
    """A function that does what `model.step` does for one token in each row: the logits of the next one.

    The products of a single token are so short that a small model spends as long between them, in modules that call
    modules. Here the same operations follow one another, and what they need is looked up once; it is for the weights
    that the model has now. While training, where a hook waits to be called, and where anything of the model is not
    known here (known.py), the function is `model.step` itself; hooks that come later are not seen.
    """
    if is_watched(model) or unknown_in(model) is not None:
        return as_it_is(model, head)
    stack: Stack = model.stacks[-1]
    embed, norm, where = embedding(stack), _normalised(stack.norm), stack.positions
    blocks = [_block(block) for block in stack.blocks]
    classifier = model.heads[head]
    assert isinstance(classifier, Head)
    transform, classify = classifier.transform, product(classifier.output)

    @torch.inference_mode()
    def step(newest: Int[Tensor, "B 1"], state: DecodingState) -> Float[Tensor, "B size"]:
        mask = state.advance_by_one()
        positions = mask.query_positions
        x = embed(newest, positions)[:, 0]
        context = LayerContext(
            mask.prepared(),
            where.rotation(positions),
            where.bias(positions, mask.key_positions),
            memory_mask=state.across(mask),
        )
        for block, kept in zip(blocks, state.layers, strict=True):
            x = block(x, context, kept)
        hidden = norm(x)
        return classify(hidden if transform is None else transform(hidden))

    return step


def as_it_is(model: Model, head: str) -> Step:
    """`model.step` for a token in each row."""
    return lambda newest, state: model.step(newest, torch.ones_like(newest, dtype=torch.bool), state, head)


def embedding(stack: Stack) -> Callable[[Tensor, Tensor], Tensor]:
    """From tokens and positions to vectors; see Embeddings."""
    parts = stack.embeddings
    assert isinstance(parts.token, nn.Embedding)
    table, widen, scale = parts.token.weight.detach(), parts.widen, parts.scale
    segment = None if parts.segment is None else parts.segment.weight[0].detach()
    norm = None if parts.norm is None else _normalised(parts.norm)
    learned = stack.positions.table.weight.detach() if isinstance(stack.positions, LearnedPositions) else None

    def embed(ids: Int[Tensor, "B 1"], positions: Int[Tensor, "#B 1"]) -> Float[Tensor, "B 1 D"]:
        x = torch.embedding(table, ids)
        if widen is not None and not parts.widen_last:
            x = widen(x)
        if scale != 1.0:
            x = x * scale
        place = stack.positions(positions) if learned is None else torch.embedding(learned, positions)
        if place is not None:
            x = x + place
        if segment is not None:
            x = x + segment
        x = x if norm is None else norm(x)
        return widen(x) if widen is not None and parts.widen_last else x

    return embed


def _block(block: nn.Module) -> Callable[[Tensor, LayerContext, LayerState], Tensor]:
    """One layer; see Block."""
    assert isinstance(block, Block)
    pre_norm = block.pre_norm
    own, own_norm = block.self_attention, _normalised(block.attention_norm)
    heads, d_head, mechanism = own.head_counts, own.d_head, own.mechanism
    width, apart = own.widths[0], (-1, sum(heads), 1, own.d_head)
    project, join = product(own.query_key_value), product(own.output)
    cross, cross_norm = block.cross_attention, None
    if cross is not None and block.cross_attention_norm is not None:
        cross_norm, across = _normalised(block.cross_attention_norm), cross.mechanism
        ask, answer = product(cross.query_key_value, cross.widths[0]), product(cross.output)
    feed_forward, feed_forward_norm = block.feed_forward, _normalised(block.feed_forward_norm)
    expand, contract = product(feed_forward.expand), product(feed_forward.contract)
    gated, bend = feed_forward.gated, feed_forward.activation

    def forward(x: Float[Tensor, "B D"], context: LayerContext, state: LayerState) -> Float[Tensor, "B D"]:
        y = project(own_norm(x) if pre_norm else x)
        q, k, v = y.view(apart).split_with_sizes(heads, 1)  # B H 1 E each
        if context.rotation is not None:
            q, k = context.rotation.rotate(q), context.rotation.rotate(k)
        y = join(mechanism.step(q, k, v, state.own, context.mask, context.bias).reshape(-1, width))
        x = x + y if pre_norm else own_norm(x + y)
        if cross_norm is not None:
            assert state.memory is not None and context.memory_mask is not None
            q = ask(cross_norm(x) if pre_norm else x).view(-1, heads[0], 1, d_head)
            y = answer(across(q, *state.memory, context.memory_mask).reshape(-1, width))
            x = x + y if pre_norm else cross_norm(x + y)
        y = expand(feed_forward_norm(x) if pre_norm else x)
        if gated:
            gate, value = y.chunk(2, dim=-1)
            y = contract(bend(gate) * value)
        else:
            y = contract(bend(y))
        return x + y if pre_norm else feed_forward_norm(x + y)

    return forward


def _normalised(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """A norm as a function."""
    if not isinstance(norm, nn.LayerNorm):
        return norm.forward
    shape, weight, bias, eps = norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps
    return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
