"""The copies of the decoder's step are taken only for what they are known to say: every value of every key of a model
is compared, and what is new goes through the model."""

import itertools
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from glassformer.data.batch import Example, OutputSpec, Stream, Targets, collate
from glassformer.decoding.compiled import CompiledStep, can_compile, library, step_for
from glassformer.decoding.known import KEYS, unknown_in
from glassformer.decoding.written_out import written_out
from glassformer.errors import UsageError
from glassformer.model.attention.full import FullAttention
from glassformer.model.config import ModelConfig, preset, presets
from glassformer.model.kinds import Model, find_kind
from glassformer.model.layers import Block
from glassformer.plugins import plugin_names
from glassformer.values import kinds

VOCAB = 37
SIZES = {"n_layers": 2, "d_model": 12, "n_heads": 2, "d_ff": 13, "max_length": 20, "dropout": 0.0, "family": "decoder"}
NUMBERS = (None, 0, 1, 2, 3, 6, 0.1, 0.5, 12, 24)
NAMES: dict[str, list[Any]] = {
    "kind": plugin_names("glassformer.model.kinds"),
    "attention": [*plugin_names("glassformer.model.attention"), ["full", {"name": "local", "window": 2}]],
    "preset": [*presets()],
    "max_length": [12, 24],  # the texts below have 8 tokens
}
"""The values of keys whose type does not say them."""


@pytest.fixture(scope="module", autouse=True)
def built(tmp_path_factory) -> Iterator[None]:
    """Once for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(tmp_path_factory.mktemp("cache")))
        library.cache_clear()
        library()
        yield


def made(config: ModelConfig) -> Model:
    torch.manual_seed(1)
    head = OutputSpec("tokens", VOCAB, tied=True, bias=False)
    model = find_kind(config.kind)(config, VOCAB, [head]).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def make(**changes: Any) -> Model:
    return made(ModelConfig(**(SIZES | changes)))


def values_of(name: str) -> list[Any]:
    """The values of a key: all words, both truths, and those of NUMBERS that a model can have."""
    if name in NAMES:
        return NAMES[name]
    found: list[Any] = []
    for kind in kinds(ModelConfig.model_fields[name].annotation):
        if get_origin(kind) is Literal:
            found += get_args(kind)
        elif kind is bool:
            found += [False, True]
        elif kind in (int, float):
            found += [number for number in NUMBERS if can_be(name, number)]
    return found


def can_be(name: str, value: Any) -> bool:
    try:
        make(**{name: value})
    except (ValidationError, UsageError, ZeroDivisionError):
        return False
    return True


def changes() -> Iterator[dict[str, Any]]:
    for name in ModelConfig.model_fields:
        values = values_of(name)
        assert len(values) > 1, f"no values of model.{name} to be tried: write them into NAMES"
        for value in values:
            if name == "preset":
                yield preset(value) | {"d_embedding": None}
            elif name != "family" or value is not None:
                yield {name: value}


def logits(model: Model, how: str) -> torch.Tensor:
    """Behind each of four tokens after two prompts, by one pass over the whole text, or by a step."""
    rng = np.random.default_rng(2)
    streams = {name: rng.integers(1, VOCAB, (2, 8)) for name in model.config.stacks}
    last = model.config.stacks[-1]

    def batch(length: int, places: list[int]) -> Any:
        rows = []
        for row in range(2):
            own = {name: Stream(ids[row], causal=False) for name, ids in streams.items() if name != last}
            own[last] = Stream(streams[last][row, :length], causal=True)
            rows.append([Example(own, {"tokens": Targets(np.array(places), np.zeros(len(places), dtype=int), last)})])
        return collate(rows, 0)

    with torch.inference_mode():
        if how == "forward":
            return model(batch(8, [4, 5, 6, 7]))["tokens"].view(2, 4, VOCAB).transpose(0, 1)
        begun = batch(4, [0])
        state, ids = model.new_state(begun, 8), begun.streams[last].input_ids
        model.step(ids, torch.ones_like(ids, dtype=torch.bool), state, "tokens")
        step = {"step_for": step_for, "written_out": written_out}[how](model, "tokens")
        return torch.stack([step(torch.from_numpy(streams[last][:, [n]]), state) for n in range(4, 8)])


def test_every_value_of_every_key_gives_the_logits_of_a_whole_pass():
    """By the copies where they are taken, by the model where they are not."""
    copied, compiled = 0, 0
    for change in changes():
        model = make(**change)
        if model.why_not("decoding") is not None:
            assert not can_compile(model)
            continue
        wanted = logits(model, "forward")
        assert wanted.std() > 0.05
        for how in ("step_for", "written_out"):
            found = logits(model, how)
            torch.testing.assert_close(
                found, wanted, rtol=0, atol=2e-4 * wanted.abs().max().item(), msg=f"{how}: {change}"
            )
        copied += unknown_in(model) is None
        compiled += can_compile(model)
    assert copied > 60 and (compiled > 60 or library() is None)


def test_a_key_that_came_later_goes_through_the_model():
    """At its default nothing has changed; at any other value the copies do not know what it does."""

    class Later(ModelConfig):
        soft_cap: float = 0.0

    assert unknown_in(made(Later(**SIZES))) is None
    model = made(Later(**SIZES, soft_cap=30.0))
    assert unknown_in(model) == "model.soft_cap=30.0"
    assert not can_compile(model) and not isinstance(step_for(model, "tokens"), CompiledStep)
    assert set(KEYS) <= {*ModelConfig.model_fields}


class Parallel(Block):
    """Attention and feed-forward side by side (GPT-J)."""

    def forward(self, x, around, state=None, capacity=0):
        y = self.attention_norm(x)
        return x + self.self_attention(y, around, state, capacity) + self.feed_forward(y)


class Halved(FullAttention):
    """Another mechanism."""

    def forward(self, *given, **more):
        return super().forward(*given, **more) / 2


class Capped(nn.LayerNorm):
    """Another norm."""

    def forward(self, x):
        return super().forward(x).tanh()


FOREIGN = {"": Parallel, "self_attention.mechanism": Halved, "feed_forward_norm": Capped}


@pytest.mark.parametrize("layer, place", [*itertools.product([0, 1], FOREIGN)])
def test_a_foreign_part_in_any_layer_goes_through_the_model(layer, place):
    """The step of before the foreign part is another one, so the comparison could fail."""
    model = make()
    before = logits(model, "step_for")
    part = model.get_submodule(".".join(filter(None, [f"decoder.blocks.{layer}", place])))
    part.__class__ = FOREIGN[place]
    assert not can_compile(model)
    assert place == "self_attention.mechanism" or unknown_in(model) is not None
    wanted = logits(model, "forward")
    assert not torch.allclose(before, wanted, atol=0.01)
    for how in ("step_for", "written_out"):
        torch.testing.assert_close(logits(model, how), wanted, rtol=1e-4, atol=1e-4)


def test_blocks_that_are_not_alike_go_through_the_model():
    model = make()
    model.decoder.blocks[1].feed_forward.activation = torch.relu
    assert unknown_in(model) == "blocks that are not alike" and not can_compile(model)
    torch.testing.assert_close(logits(model, "step_for"), logits(model, "forward"), rtol=1e-4, atol=1e-4)
