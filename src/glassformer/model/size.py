"""How many numbers a model has, from its configuration alone: an absurd one is refused before anything is built."""

from collections.abc import Iterable, Mapping

import psutil
from torch import nn

from glassformer.data.batch import OutputSpec, StreamSpec
from glassformer.errors import UsageError
from glassformer.model.attention import mechanism_for
from glassformer.model.config import ModelConfig
from glassformer.model.kinds import find_kind
from glassformer.model.layers import GATED
from glassformer.model.positions import RelativePositions

BYTES = 4
"""Of a number in float32."""
BYTES_OF_LAYER = 100_000
"""What a layer's modules take besides its weights, roughly."""


def linear(inputs: int, outputs: int, bias: bool = True) -> int:
    """Numbers of a linear layer."""
    return (inputs + bias) * outputs


def n_parameters(
    config: ModelConfig, vocab_size: int | Mapping[str, int | StreamSpec], heads: Iterable[OutputSpec]
) -> int:
    """The parameters that a model of this configuration has; a shared tensor counts once. Raises UsageError for a kind
    of model or an attention mechanism that there is not."""
    width = config.d_embedding or config.d_model
    sizes = [vocab_size] if isinstance(vocab_size, int) else list(vocab_size.values())
    if isinstance(vocab_size, int) and not config.shared_embeddings:
        sizes = [vocab_size] * len(config.stacks)
    found = sum(_of_input(size, width) for size in sizes)
    found += sum(find_kind(config.kind).parameters_of_stack(config, name) for name in config.stacks)
    return found + sum(_of_head(config, head, width) for head in heads)


def _of_input(what: int | StreamSpec, width: int) -> int:
    """A table of tokens, or a linear layer for features."""
    if isinstance(what, StreamSpec):
        return linear(what.size, width) if what.kind == "features" else what.size * width
    return what * width


def count_parameters(model: nn.Module) -> int:
    """Numbers that training can change; a shared tensor counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def parameters_of_stack(config: ModelConfig, name: str) -> int:
    """Those of a stack of our blocks, all but its token embeddings."""
    found = of_embeddings(config)
    if config.positions == "learned":
        found += config.max_length * config.summed_width
    elif config.positions == "relative":
        found += RelativePositions.BUCKETS * config.n_heads
    cross = name == "decoder" and len(config.stacks) > 1
    layers = 1 if config.share_layers else config.layers_of(name)
    found += _of_block(config, cross) * layers
    listed = len(config.attention) if isinstance(config.attention, tuple) else 1
    for n in range(min(listed, layers)):  # layers n, n + listed and so on have the same mechanism
        found += _of_mechanism(config, n, name == "decoder", cross) * len(range(n, layers, listed))
    return found + (of_norm(config) if config.norm == "pre" else 0)


def of_embeddings(config: ModelConfig) -> int:
    """All but the tables of tokens and of positions."""
    width = config.d_embedding or config.d_model
    found = linear(width, config.d_model) if width != config.d_model else 0
    found += (config.segments or 0) * config.summed_width
    return found + (of_norm(config, config.summed_width) if config.embedding_norm else 0)


def _of_block(config: ModelConfig, cross: bool) -> int:
    attention = _of_attention(config) + of_norm(config)
    expanded = config.d_ff * (2 if config.activation in GATED else 1)
    feed_forward = linear(config.d_model, expanded, config.bias) + linear(config.d_ff, config.d_model, config.bias)
    return attention * (2 if cross else 1) + feed_forward + of_norm(config)


def _of_attention(config: ModelConfig) -> int:
    kv_heads = config.n_kv_heads or config.n_heads
    widths = (config.n_heads + 2 * kv_heads) * config.d_head
    return linear(config.d_model, widths, config.bias) + linear(config.d_model, config.d_model, config.bias)


def _of_mechanism(config: ModelConfig, layer: int, causal: bool, cross: bool) -> int:
    """Numbers that a layer's attention mechanisms have of their own."""
    mechanisms = [mechanism_for(config, layer, causal)] + [mechanism_for(config, layer, causal, True)] * cross
    return sum(parameter.numel() for each in mechanisms for parameter in each.parameters())


def of_norm(config: ModelConfig, width: int | None = None) -> int:
    """A norm over the features: as many as the model is wide, unless said otherwise."""
    return (width or config.d_model) * (1 if config.norm_kind == "rms" else 2)


def _of_head(config: ModelConfig, head: OutputSpec, width: int) -> int:
    tied = config.tied and head.tied
    width = width if tied else config.d_model
    found = (0 if tied else width * head.width) + head.width * head.bias
    if head.transform != "none":
        return found + linear(config.d_model, width) + (2 * width if head.transform == "dense" else 0)
    return found + (linear(config.d_model, width, bias=False) if width != config.d_model else 0)


def refuse_too_large(
    config: ModelConfig, vocab_size: int | Mapping[str, int | StreamSpec], heads: Iterable[OutputSpec]
) -> None:
    """Raises UsageError for a model that this machine has no memory for, before any of it is built."""
    parameters = n_parameters(config, vocab_size, heads)
    waves = {"sinusoidal": config.d_model, "rotary": 2 * config.d_head}.get(config.positions, 0)
    layers = sum(config.layers_of(name) for name in config.stacks)
    needed = BYTES * parameters + layers * BYTES_OF_LAYER
    needed += 4 * BYTES * config.max_length * waves * len(config.stacks)  # made in float64
    free = psutil.virtual_memory().available
    if needed > free:
        raise UsageError(
            f"a model of {parameters:,} parameters in {layers:,} layers takes {needed // 2**30:,} GB of memory, "
            f"and {free // 2**30:,} are free",
            "choose a smaller model: model.n_layers, model.d_model, model.d_ff, model.max_length, tokenizer.vocab_size",
        )
