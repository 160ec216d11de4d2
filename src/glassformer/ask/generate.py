"""Go on with texts, or answer them."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError

from glassformer.answers import FillsInAnyOrder, GeneratesInOrder
from glassformer.ask.loaded import BATCH, Loaded
from glassformer.decoding import DecodingConfig, Prompts, check_decoding, sampling
from glassformer.decoding.any_order import fill_in
from glassformer.decoding.beam import beam_search
from glassformer.errors import UsageError, nearest
from glassformer.model.kinds import Model
from glassformer.objectives import Prompt


class Output(NamedTuple):
    """One generated text."""

    text: str
    log_probability: float
    """Of all its tokens together, in nats."""
    finished: bool
    """Whether it came to its end; if not, there was no more room, or no more tokens were asked for."""


class Generation(NamedTuple):
    """A prompt and what was generated from it, the best first."""

    text: str
    outputs: list[Output]

    def record(self) -> dict[str, Any]:
        """The shape of `generate --json`."""
        return {"text": self.text, "outputs": [output._asdict() for output in self.outputs]}


class Written(NamedTuple):
    """A prompt and the tokens that follow it, without the one that ends them."""

    prompt: Prompt
    ids: list[int]
    end: int | None
    """That one, which the model wrote, or which belongs behind a person's target; None where it could go on."""


def decoding_config(settings: dict[str, Any]) -> DecodingConfig:
    """The settings of generation. Raises UsageError naming a wrong one."""
    try:
        config = DecodingConfig(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if name not in DecodingConfig.model_fields:
            raise UsageError(f"there is no setting {name!r}", nearest(name, DecodingConfig.model_fields)) from None
        raise UsageError(f"{name}={first['input']!r}: {first['msg'].lower()}") from None
    return config


def generate(run: Loaded, texts: Sequence[str], **settings: Any) -> list[Generation]:
    """See `Run.generate`."""
    config = decoding_config(settings)
    draw = torch.Generator().manual_seed(config.seed)  # one for all, so that no batch repeats another
    generations: list[Generation] = []
    for start in range(0, len(texts), BATCH):
        asked = [run.objective.prompt_for("generate", text) for text in texts[start : start + BATCH]]
        for objective, prompts in itertools.groupby(asked, lambda prompt: run.objective.of(prompt.example)):
            own = list(prompts)
            check_decoding(config, isinstance(objective, FillsInAnyOrder))
            if isinstance(objective, FillsInAnyOrder):
                found = fill_in(run.model, objective, own, config, draw)
            elif config.beam > 1:
                found = beam_search(generating(run), begun(run, own), config)
            else:
                found = sampling.sample(generating(run), begun(run, own), config, draw)
            writer = objective if isinstance(objective, FillsInAnyOrder) else objective.generator_of(own[0])
            for prompt, answers in zip(own, found, strict=True):
                said = ((writer.text_of(prompt, a.ids), a.log_probability, a.finished) for a in answers)
                generations.append(Generation(prompt.text, [Output(*one) for one in said]))
    return generations


def stream(run: Loaded, text: str, **settings: Any) -> Iterator[str]:
    """See `Run.stream`."""
    config = decoding_config(settings)
    if config.beam > 1 or config.number > 1:
        raise UsageError("several texts are weighed at a time, and cannot be shown as they come", "without stream")
    prompt, ids, shown = run.objective.prompt_for("generate", text), list[int](), ""
    objective = run.objective.of(prompt.example)
    check_decoding(config, isinstance(objective, FillsInAnyOrder))
    if isinstance(objective, FillsInAnyOrder):
        [[answer]] = fill_in(run.model, objective, [prompt], config)
        yield objective.text_of(prompt, answer.ids)
        return
    writer = objective.generator_of(prompt)
    for [token] in sampling.stream(generating(run), begun(run, [prompt]), config):
        ids.append(token.id)
        said = writer.text_of(prompt, ids)
        if isinstance(writer, GeneratesInOrder) and not said.endswith("\ufffd"):  # half of a character
            yield said[len(shown) :]
            shown = said
    if ids:
        yield writer.text_of(prompt, ids)[len(shown) :]


def written(run: Loaded, text: str, target: str | None = None, **settings: Any) -> Written:
    """See `Run.written`."""
    prompt = run.objective.prompt_for("generate", text)
    if isinstance(run.objective.of(prompt.example), FillsInAnyOrder):
        raise UsageError("this model writes into the blanks of a text, not behind it", "ask it with `fill`")
    return continuation(run, prompt, target, decoding_config(settings))


def continuation(run: Loaded, prompt: Prompt, target: str | None, config: DecodingConfig) -> Written:
    """See `written`. Raises UsageError for an objective that does not generate."""
    objective = run.objective.generator_of(prompt)
    ends = objective.stop_tokens(prompt)
    room = run.recipe.model.max_length - len(prompt.example.streams["decoder"].values)
    if target is None:
        search = beam_search if config.beam > 1 else sampling.sample
        [[answer, *_]] = search(generating(run), begun(run, [prompt]), config)
        ids = [id for id in answer.ids if id not in ends][:room]
        return Written(prompt, ids, answer.ids[-1] if answer.finished else None)
    ids = objective.target_tokenizer.encode(target).ids.tolist()
    if len(ids) > room:
        raise UsageError(
            f"the target has {len(ids)} tokens, the decoder reads at most {room} of them",
            "shorten it, or train with a larger model.max_length",
        )
    return Written(prompt, ids, objective.target_tokenizer.sep_id)


def generating(run: Loaded) -> Model:
    """Its model. Raises UsageError for one that keeps no state to generate with."""
    run.model.need("decoding")
    return run.model


def begun(run: Loaded, asked: Sequence[Prompt]) -> Prompts:
    """What generation begins with. Raises UsageError for an objective that does not generate."""
    ends = [run.objective.generator_of(prompt).stop_tokens(prompt) for prompt in asked]
    [(head, where)] = asked[0].example.targets.items()
    examples = [prompt.example for prompt in asked]
    return Prompts(examples, where.stream, head, ends, run.recipe.model.max_length, run.tokenizer.pad_id)
