"""The attention of a text, or of one layer or head of it, as numbers."""

from typing import Any, Literal

import numpy as np

from glassformer.ask.attention import Attention, Kind
from glassformer.ask.loaded import refuse_empty
from glassformer.ask.run import Run
from glassformer.errors import UsageError


def attention_of(run: Run, text: str, kind: Kind = "self", target: str | None = None) -> Attention:
    """`run.attention`, of a text that has words. Raises UsageError for an empty one."""
    refuse_empty(text)
    return run.attention(text, kind, target)


def chosen(seen: Attention, layer: int | None, head: int | Literal["all", "mean"]) -> Attention:
    """One layer or all, one head, the mean of the heads, or all. Raises UsageError with the range."""
    weights = seen.weights
    for what, number, many in (("layer", layer, weights.shape[0]), ("head", head, weights.shape[1])):
        if isinstance(number, int) and not 0 <= number < many:
            raise UsageError(f"there is no {what} {number}", f"this model has {what}s 0 to {many - 1}")
    if layer is not None:
        weights = weights[layer : layer + 1]
    if head == "mean":
        weights = weights.mean(1, keepdims=True)
    elif head != "all":
        weights = weights[:, head : head + 1]
    return seen._replace(weights=weights)


def numbers(
    text: str, seen: Attention, layer: int | None, head: int | Literal["all", "mean"], kind: Kind = "self"
) -> dict[str, Any]:
    """Tokens and weights for another program; what it finds there is in docs/json.md."""
    weights = chosen(seen, layer, head).weights.astype(np.float64).round(6).tolist()
    found = {"text": text, "kind": kind, "tokens": seen.tokens, "keys": seen.keys or seen.tokens}
    answers = seen.filled.record()["blanks"] if seen.filled else []
    return found | {"layer": layer, "head": head, "weights": weights, "blanks": answers}


def describe_mean(seen: Attention) -> str:
    """Which layers and heads an average is over."""
    layers, heads = seen.weights.shape[:2]
    return f"mean of {layers} layer{'s' * (layers > 1)} × {heads} head{'s' * (heads > 1)}"


def describe_choice(seen: Attention, layer: int | None, head: int | Literal["all", "mean"]) -> str:
    """The same for one layer, or one head, of those that there are."""
    if layer is None and not isinstance(head, int):
        return describe_mean(seen)
    layers, heads = seen.weights.shape[:2]
    which = f"layer {layer}" if layer is not None else f"mean of {layers} layers"
    return which + (f", head {head}" if isinstance(head, int) else f", mean of {heads} heads")
