"""Who attends to whom when a model reads a text."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from glassformer.answers import FillsBlanks
from glassformer.ask.fill import Filled
from glassformer.ask.generate import continuation
from glassformer.ask.loaded import Loaded
from glassformer.decoding import DecodingConfig
from glassformer.errors import UsageError
from glassformer.objectives import Prompt
from glassformer.record import record

Kind = Literal["self", "cross", "decoder"]
"""Kinds of attention: see `Run.attention`."""


class Attention(NamedTuple):
    """The attention of one text, from the model's own queries and keys. layers x heads x query x key."""

    tokens: list[str]
    weights: Float[np.ndarray, "layers heads query key"]
    filled: Filled | None = None
    """The answers, where the text had blanks."""
    keys: list[str] | None = None
    """The tokens that are looked at, where they are not the same."""


class Chosen(NamedTuple):
    """Which attention weights are computed; without a word all of them."""

    layer: int | None = None
    head: int | None = None
    rows: Sequence[int] | None = None
    """Queries, by their place in the text."""
    most: int | None = None
    """More numbers than this are refused before they are computed."""

    def check(self, layers: int, heads: int, rows: int, keys: int) -> None:
        """Raises UsageError for what is not there, naming the range, and for too much."""
        for what, number, there in (("layer", self.layer, layers), ("head", self.head, heads)):
            if number is not None and not 0 <= number < there:
                raise UsageError(f"there is no {what} {number}", f"this model has {what}s 0 to {there - 1}")
        wrong = [row for row in self.rows or () if not 0 <= row < rows]
        if wrong:
            raise UsageError(f"there is no row {wrong[0]}", f"the text has rows 0 to {rows - 1}")
        size = keys * (rows if self.rows is None else len(self.rows))
        size *= (layers if self.layer is None else 1) * (heads if self.head is None else 1)
        if self.most is not None and size > self.most:
            raise UsageError(f"these are {size:,} weights", f"at most {self.most:,}: choose a layer, a head, or rows")


ALL = Chosen()


def attention(run: Loaded, text: str, kind: Kind = "self", target: str | None = None, only: Chosen = ALL) -> Attention:
    """See `Run.attention`."""
    prompt = run.objective.prompt(text)
    if kind == "self":
        if target is not None:
            raise UsageError("a target is read by the decoder", "add kind=cross or kind=decoder (--kind cross)")
        return attention_of(run, prompt, only)
    if len(run.recipe.model.stacks) < 2:
        raise UsageError(f"this model has no attention of the kind {kind}: it is one stack", "draw kind self")
    return attention_on_target(run, prompt, kind, target, only)


@torch.no_grad()
def attention_of(run: Loaded, prompt: Prompt, only: Chosen = ALL) -> Attention:
    """The self-attention weights on a prompt, see `attention`."""
    stacks = run.recipe.model.stacks
    stream = prompt.example.streams[prompt.stream]
    order = None  # queries of a permutation stand behind the text: back to their places
    if stream.positions is not None:
        order = np.argsort(stream.positions, kind="stable").tolist()
    stack = prompt.stream if prompt.stream in stacks else stacks[0]
    weights, logits = weights_of(run, prompt, stack, "self", only, order)
    objective = run.objective.of(prompt.example)
    blanks = objective.answer(prompt.example, logits) if isinstance(objective, FillsBlanks) else []
    filled = Filled(prompt.text, blanks) if blanks else None
    if order is None:
        return Attention(prompt.tokens, weights, filled)
    return Attention([prompt.tokens[row] for row in order], weights, filled, prompt.tokens[: stream.n_keys])


@torch.no_grad()
def attention_on_target(run: Loaded, prompt: Prompt, kind: Kind, target: str | None, only: Chosen) -> Attention:
    """Teacher-forced: the decoder reads the target, whole."""
    objective = run.objective.generator_of(prompt)
    written = continuation(run, prompt, target, DecodingConfig())
    ids, whole = written.ids, objective.continued(prompt, written.ids)
    read = whole.example.streams["decoder"].values
    weights, _ = weights_of(run, whole, "decoder", "cross" if kind == "cross" else "self", only)
    name = objective.target_tokenizer.token
    if kind == "decoder":
        return Attention([name(int(id)) for id in read], weights)
    last = "(what follows)" if written.end is None else name(written.end)
    return Attention([*map(name, ids), last], weights, keys=prompt.tokens)


@torch.no_grad()
def cross_attention_of(run: Loaded, prompt: Prompt) -> Attention:
    """The cross-attention of a unit with its whole target. As in `attention_on_target`, a query is called by the token
    that is asked there."""
    streams, objective = prompt.example.streams, run.objective.of(prompt.example)
    weights, _ = weights_of(run, prompt, "decoder", "cross", ALL)
    source, read = (objective.names_in(name, streams[name]) for name in ("encoder", "decoder"))
    return Attention([*read[1:], "(what follows)"], weights, keys=source)


def weights_of(
    run: Loaded, prompt: Prompt, stack: str, which: str, only: Chosen, order: Sequence[int] | None = None
) -> tuple[Float[np.ndarray, "layers heads query key"], dict[str, torch.Tensor]]:
    """The weights of one stack's layers on a prompt, its rows in an order, and the logits."""
    run = run.recordable()
    run.model.need("attention_weights")
    parts = run.model.parts[stack]
    places = list(parts.cross_attention if which == "cross" else parts.self_attention)
    with record(run.model, *places) as tape:
        logits = run.model(run.collate([prompt]))
    seen = tape[places[0]]
    only.check(len(places), seen.q.shape[1], seen.q.shape[2], seen.k.shape[2])
    rows = only.rows
    if order is not None:
        rows = order if rows is None else [order[row] for row in rows]
    heads = None if only.head is None else [only.head]
    chosen = places if only.layer is None else [places[only.layer]]
    return torch.stack([tape[place].weights(heads, rows)[0] for place in chosen]).float().numpy(), logits
