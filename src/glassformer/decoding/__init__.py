"""How a text grows from a prompt: which tokens are taken, and when it ends. Knows models by one call, `step`."""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from glassformer.config import Config
from glassformer.data.batch import Example, collate, to_device
from glassformer.errors import UsageError
from glassformer.model.kinds import Model


class DecodingConfig(Config):
    """How texts are generated: the likeliest token each time (greedy), `sample` or `beam`."""

    beam: int = Field(1, ge=1, le=1000, description="texts kept at a time, by their probability as a whole (1: greedy)")
    length_penalty: float = Field(
        1.0,
        ge=-10,
        le=10,
        description="beam: a text's log-probability is divided by its length to this power; above 1 favours long",
    )
    sample: bool = Field(False, description="draw each token by its probability")
    temperature: float = Field(1.0, gt=0, description="sample: below 1 favours the likely tokens, above 1 the others")
    top_k: int | None = Field(None, ge=1, description="sample: only from the k likeliest tokens")
    top_p: float = Field(1.0, gt=0, le=1, description="sample: only from the likeliest that together have this share")
    min_p: float = Field(0.0, ge=0, le=1, description="sample: only from those with this share of the likeliest's")
    repetition_penalty: float = Field(
        1.0, gt=0, description="scores of tokens that have occurred are divided by this (negative ones multiplied)"
    )
    max_tokens: int = Field(128, ge=1, description="stop after so many tokens, if not at an end before")
    number: int = Field(1, ge=1, le=10_000, description="texts for each prompt: samples, or the best of the beam")
    seed: int = Field(1, ge=0, lt=2**32, description="sample: the same seed gives the same texts")
    order: Literal["surest", "left", "right", "random"] = Field(
        "surest", description="models that fill blanks in any order: which comes next"
    )


AT_THE_END = ("beam", "length_penalty", "repetition_penalty", "max_tokens")
"""Settings of texts that grow at their end."""


def check_decoding(config: DecodingConfig, any_order: bool = False) -> None:
    """Raises UsageError for settings that do not go together, or not with how the model generates: at the end of a
    text, or at blanks in `any_order`."""
    others, what = (AT_THE_END, "texts that grow at their end") if any_order else (("order",), "blanks in a text")
    for name in others:
        if getattr(config, name) != DecodingConfig.model_fields[name].default:
            raise UsageError(f"{name} is for {what}, and this model generates otherwise", f"leave out {name}")
    sampled = {"temperature": 1.0, "top_k": None, "top_p": 1.0, "min_p": 0.0}
    if config.sample and config.beam > 1:
        raise UsageError("sample and beam are two ways to generate", "give one of them")
    for name, default in sampled.items():
        if not config.sample and getattr(config, name) != default:
            raise UsageError(f"{name} says how to sample, and nothing is sampled", "add sample (--sample)")
    if config.beam == 1 and config.length_penalty != 1.0:
        raise UsageError("length_penalty weighs the texts of a beam, and there is none", "add beam (--beam 4)")
    if not config.sample and config.number > config.beam:
        mend = "sample (--sample)" if any_order else f"sample (--sample), or keep as many (--beam {config.number})"
        raise UsageError(f"{config.number} texts are asked for, and {config.beam} are kept", mend)


class Prompts(NamedTuple):
    """What generation begins with: examples, a row each, whose `stream` grows, and the head that is asked."""

    examples: list[Example]
    stream: str
    head: str
    stop_tokens: list[frozenset[int]]
    """The text of a row is finished where one of these comes."""
    max_length: int
    """Tokens that the model can tell the places of."""
    pad_id: int

    def start(self, row: int) -> list[int]:
        """The tokens of one row that there are already."""
        return self.examples[row].streams[self.stream].values.tolist()

    def tokens(self, row: int) -> list[int]:
        """The same without those that only frame a text."""
        return [id for id in self.start(row) if id not in self.stop_tokens[row]]

    def room(self, row: int) -> int:
        """Tokens that can still be generated."""
        return self.max_length - len(self.start(row)) + 1  # the last one is never read

    def alike(self) -> list[list[int]]:
        """The rows in groups of similar length, shorter ones first, so that little of a group is padding."""
        lengths = [sum(len(stream.values) for stream in example.streams.values()) for example in self.examples]
        groups: list[list[int]] = []
        for row in sorted(range(len(lengths)), key=lengths.__getitem__):
            if not groups or lengths[row] > 4 + 1.25 * lengths[groups[-1][0]]:
                groups.append([])
            groups[-1].append(row)
        return [sorted(group) for group in groups]


class Generated(NamedTuple):
    """One generated text: its tokens, the end included where it came, and the sum of their log-probabilities."""

    ids: list[int]
    log_probability: float
    finished: bool
    """Whether an end came before `max_tokens`."""


def begin(model: Model, prompts: Prompts, max_tokens: int) -> tuple[Tensor, Any]:
    """The logits of the first token of each row, and the state to go on with. Raises UsageError without room, and for
    a model that keeps no state."""
    for row in range(len(prompts.examples)):
        if prompts.room(row) < 1:
            raise UsageError(
                f"a prompt of {len(prompts.start(row))} tokens leaves no room: the model reads {prompts.max_length}",
                "shorten it, or train with a larger model.max_length",
            )
    model.need("decoding")
    rows = range(len(prompts.examples))
    capacity = max(len(prompts.start(row)) for row in rows) + min(max_tokens, max(prompts.room(row) for row in rows))
    groups, device = prompts.alike(), next(model.parameters()).device
    logits, states = [], []
    for group in groups:
        batch = collate([[prompts.examples[row]] for row in group], prompts.pad_id)
        if device.type != "cpu":
            batch = to_device(batch, device)
        ids = batch.streams[prompts.stream].input_ids
        lengths = torch.tensor([len(prompts.start(row)) for row in group], device=device)
        states.append(model.new_state(batch, ids.shape[1] if len(groups) > 1 else capacity))
        real = torch.arange(ids.shape[1], device=device) < lengths[:, None]
        logits.append(model.step(ids, real, states[-1], prompts.head))
    order = torch.tensor([row for group in groups for row in group], device=device)
    state = states[0] if len(groups) == 1 else type(states[0]).concat(states, groups, capacity)
    return torch.cat(logits)[order.argsort()], state


def precise(logits: Float[Tensor, "N V"]) -> Float[Tensor, "N V"]:
    """In float32 at least: sums of probabilities in bfloat16 are none."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
