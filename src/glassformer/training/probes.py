"""Probes: a few texts that a model is asked again and again while it learns, and how much each component changes.

A probe step writes one file, `probes/step-0000250.npz`: a zip of arrays, none of them pickled, and of one text. Of a
model with two stacks, `self` is the attention of the encoder, `decoder` that of the decoder, and `cross` lies between.

    0/self/weights                uint8    layers x heads x Q x K    of the first probe: attention times 255, rounded
    0/self/entropies              float32  layers x heads            1: it looks everywhere alike, 0: at one token
    gradients, updates, weights   float32  components                norms; no gradient and no update before step 1
    probes.json                   texts, tokens, candidates, and the names of the components
"""

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from glassformer.data.batch import collate, to_device
from glassformer.errors import GlassformerError, UsageError
from glassformer.model.kinds import Model
from glassformer.model.layers import MultiHeadAttention
from glassformer.objectives import Blank, Candidate, Objective, Prompt
from glassformer.reading import Saved, Unreadable, checked, json_value, npz_arrays
from glassformer.record import record
from glassformer.run import RunDirectory
from glassformer.snapshot import remove_abandoned, write_bytes_durably
from glassformer.training.callbacks import Callback, allowed, normalised_entropy

TOP = 10
"""Candidates kept of each answer."""
LEVELS = 255
"""An attention weight is kept as a whole number of 1/255: wrong by 1/510 at most."""


class Axes(NamedTuple):
    """The tokens that look, and those that are looked at."""

    queries: list[str]
    keys: list[str]


class Seen(NamedTuple):
    """One kind of attention on one text, in all layers and heads at one step."""

    axes: Axes
    weights: UInt8[np.ndarray, "layers heads Q K"]
    entropies: Float[np.ndarray, "layers heads"]


class Look(NamedTuple):
    """What a model makes of one probe."""

    text: str
    tokens: list[str]
    blanks: list[Blank]
    attention: dict[str, Seen]
    """By kind: self, and of an encoder-decoder decoder and cross."""


class ProbeStep(NamedTuple):
    """What one file holds."""

    looks: list[Look]
    components: list[str]
    gradients: Float[np.ndarray, "components"]
    """NaN where there was no update: at step 0, and where training ended early between two probe steps."""
    updates: Float[np.ndarray, "components"]
    weights: Float[np.ndarray, "components"]


# ------------------------------------------------------------------------------------------------ one text, asked


def prompts_of(objective: Objective, texts: Sequence[str]) -> list[Prompt]:
    """Each text as what the model is asked. Raises UsageError naming one that it cannot be asked."""
    prompts = []
    for text in texts:
        try:
            prompts.append(_prompt(objective, text))
        except UsageError as error:
            raise UsageError(f"training.probes: {text!r} is no probe: {error.what}", error.mend) from None
    return prompts


def _prompt(objective: Objective, text: str) -> Prompt:
    """A text; or of a model that reads a source and writes a target, the two with a tab between them."""
    if not text.strip():
        raise UsageError("it is empty", "give a sentence")
    source, tab, target = text.partition("\t")
    if tab and objective.family == "encoder_decoder":
        return _with_target(objective, objective.prompt_for("read", source), target)._replace(text=text)
    prompt = objective.prompt_for("read", text)
    if not any(len(targets.positions) for targets in prompt.example.targets.values()):
        raise UsageError("it has no blank", "write [MASK] where a word is asked for")
    return prompt


def _with_target(objective: Objective, prompt: Prompt, target: str) -> Prompt:
    """The decoder reads the target, and is asked each of its tokens."""
    writer = objective.generator_of(prompt)
    ids = writer.target_tokenizer.encode(target).ids
    if not 0 < len(ids) < writer.max_length:
        raise UsageError(
            f"its target has {len(ids)} tokens, the decoder reads 1 to {writer.max_length - 1}",
            "shorten it, or train with a larger model.max_length",
        )
    read, targets = writer.taught(ids.astype(np.int64))
    [head] = prompt.example.targets
    streams = prompt.example.streams | {"decoder": read}
    return prompt._replace(example=prompt.example._replace(streams=streams, targets={head: targets}))


@torch.no_grad()
def look(model: Model, objective: Objective, prompt: Prompt) -> Look:
    """The answer of a model to a prompt, and its attention, where it has such. In evaluation mode; mode and random
    generators are left as they were."""
    objective = objective.of(prompt.example)
    device = next(model.parameters()).device
    training = model.training
    batch = to_device(collate([[prompt.example]], objective.pad_id), device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), record(model.eval()) as tape:
        logits = model(batch)
    model.train(training)
    attention = {}
    for kind, places in places_by_kind(model).items():
        weights = torch.cat([tape[place].weights() for place in places]).float().cpu()
        entropies = [normalised_entropy(tape[place].weights(), allowed(tape[place], None)) for place in places]
        rows, axes = axes_of(objective, prompt, kind)
        attention[kind] = Seen(axes, quantised(weights[:, :, rows]), np.array(entropies, dtype=np.float32))
    return Look(prompt.text, prompt.tokens, objective.answer(prompt.example, logits, TOP), attention)


def places_by_kind(model: Model) -> dict[str, list[str]]:
    """The attention layers of a model that have weights: self, decoder, cross."""
    if model.why_not("attention_weights") is not None:
        return {}
    kinds: dict[str, list[str]] = {}
    for number, parts in enumerate(model.parts.values()):
        kinds["decoder" if number else "self"] = list(parts.self_attention)
        if parts.cross_attention:
            kinds["cross"] = list(parts.cross_attention)
    return kinds


def axes_of(objective: Objective, prompt: Prompt, kind: str) -> tuple[list[int], Axes]:
    """In which order the rows of a kind of attention are shown, and the tokens of rows and columns. Queries that stand
    behind a text are put back to their places; a row of cross-attention is named by the token that it writes."""
    stream = prompt.example.streams[prompt.stream if kind == "self" else "decoder"]
    rows = list(range(len(stream.values)))
    if kind == "self":
        if stream.positions is not None:
            rows = np.argsort(stream.positions, kind="stable").tolist()
        return rows, Axes([prompt.tokens[row] for row in rows], prompt.tokens[: stream.n_keys])
    name = objective.target_tokenizer.token
    read = [name(int(token)) for token in stream.values]
    if kind == "decoder":
        return rows, Axes(read, read)
    last = name(objective.target_tokenizer.sep_id) if len(read) > 1 else "(what follows)"
    return rows, Axes([*read[1:], last], prompt.tokens)


def quantised(weights: Float[Tensor, "layers heads Q K"]) -> UInt8[np.ndarray, "layers heads Q K"]:
    """Weights times 255, rounded. One that is not a number is 0: the entropy of its head says NaN."""
    return (weights.nan_to_num() * LEVELS).round().clamp(0, LEVELS).to(torch.uint8).numpy()


# ----------------------------------------------------------------------------------------------------- components


@torch.no_grad()
def component_norms(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """The Euclidean norm of each component, its weights and biases taken together, where `tensors` has something by the
    names of the model's parameters: weights, gradients, updates. A parameter of several names counts at its first.

    Components are modules: `encoder.embeddings.token`, `encoder.blocks.0.feed_forward.expand`; of attention
    `....self_attention.query`, `key`, `value` and `output`; `heads.NAME` is the whole of a head.
    """
    attention = {f"{path}.query_key_value": m for path, m in model.named_modules() if isinstance(m, MultiHeadAttention)}
    norms: dict[str, float] = {}
    for name, tensor in tensors.items():
        module = name.rpartition(".")[0]
        for component, piece in _pieces(module, tensor, attention.get(module)):
            norms[component] = math.hypot(norms.get(component, 0.0), float(torch.linalg.vector_norm(piece.float())))
    return norms


def _pieces(module: str, tensor: Tensor, attention: MultiHeadAttention | None) -> Iterator[tuple[str, Tensor]]:
    """Of the one matrix that makes queries, keys and values its three parts; a whole tensor otherwise."""
    if attention is None:
        yield (".".join(module.split(".")[:2]) if module.startswith("heads.") else module), tensor
        return
    for part, piece in zip(("query", "key", "value"), tensor.split(attention.widths), strict=True):
        yield module.replace("query_key_value", part), piece


# --------------------------------------------------------------------------------------------------- the callback


class Probes(Callback):
    """Writes a file at step 0, every so many steps, and at the last one. On all other steps it does
    nothing; at its own it holds a copy of the weights for as long as the update takes."""

    def __init__(self, run: RunDirectory, objective: Objective, texts: Sequence[str], every: int, steps: int) -> None:
        self.run = run
        self.objective = objective
        self.prompts = prompts_of(objective, texts)
        self.every = every
        self.steps = steps
        self._gradients: dict[str, float] = {}
        self._before: dict[str, Tensor] = {}

    def due(self, step: int) -> bool:
        """Whether a step is a probe step."""
        return step % self.every == 0 or step == self.steps

    def on_begin(self, step: int) -> None:
        """Forget the probes behind this step."""
        remove_abandoned(self.run.probes)
        for later in (found for found in probe_steps(self.run) if found > step):
            probe_file(self.run, later).unlink()

    def on_gradients(self, step: int, model: Model) -> None:
        """Measure the gradients, and keep the weights of the step before."""
        if not self.due(step):
            return
        parameters = dict(model.named_parameters())
        gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        # What was not asked in this step has no gradient.
        self._gradients = dict.fromkeys(component_norms(model, parameters), 0.0) | component_norms(model, gradients)
        self._before = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def on_step(self, step: int, model: Model, last: bool) -> None:
        """Ask every probe, and write down what is seen."""
        if not (last or self.due(step)):
            return
        parameters, before = dict(model.named_parameters()), self._before
        weights = component_norms(model, parameters)
        none = dict.fromkeys(weights, math.nan)
        updates = component_norms(model, {name: parameters[name] - old for name, old in before.items()})
        seen = model.recordable()
        looks = [look(seen, self.objective, prompt) for prompt in self.prompts]
        norms = [_array(found, weights) for found in (self._gradients or none, updates or none, weights)]
        self._gradients, self._before = {}, {}
        write_probe_step(probe_file(self.run, step), ProbeStep(looks, list(weights), *norms))


def _array(norms: dict[str, float], components: dict[str, float]) -> Float[np.ndarray, "components"]:
    return np.array([norms[name] for name in components], dtype=np.float32)


# ------------------------------------------------------------------------------------------------------- the files


def probe_file(run: RunDirectory, step: int) -> Path:
    """Where the probes of a step are."""
    return run.probes / f"step-{step:07d}.npz"


def probe_steps(run: RunDirectory) -> list[int]:
    """The steps that there are probes of, the earliest first."""
    numbers = (file.stem.removeprefix("step-") for file in run.probes.glob("step-*.npz"))
    return sorted(int(number) for number in numbers if number.isascii() and number.isdecimal())


def write_probe_step(file: Path, seen: ProbeStep) -> None:
    """Write one file, whole or not at all. Equal input gives equal bytes: a zip written by numpy holds no time."""
    arrays = {"gradients": seen.gradients, "updates": seen.updates, "weights": seen.weights}
    for number, one in enumerate(seen.looks):
        for kind, found in one.attention.items():
            arrays[f"{number}/{kind}/weights"] = found.weights
            arrays[f"{number}/{kind}/entropies"] = found.entropies
    said = {"components": seen.components, "probes": [_said(one) for one in seen.looks]}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("probes.json"), json.dumps(said, allow_nan=False), zipfile.ZIP_DEFLATED)
    write_bytes_durably(file, buffer.getvalue())


def _said(one: Look) -> dict[str, Any]:
    """The words of a look. JSON has no NaN: the probability of a model that is broken is null."""
    blanks = [
        {
            "position": blank.position,
            "true": blank.true,
            "candidates": [
                [c.token, c.probability if math.isfinite(c.probability) else None] for c in blank.candidates
            ],
        }
        for blank in one.blanks
    ]
    axes = {kind: found.axes._asdict() for kind, found in one.attention.items()}
    return {"text": one.text, "tokens": one.tokens, "blanks": blanks, "attention": axes}


class SavedBlank(Saved):
    """A place that was asked."""

    position: int = Field(ge=0)
    true: str | None
    candidates: list[list[str | float | None]]


class SavedAxes(Saved):
    """The words beside a map."""

    queries: list[str]
    keys: list[str]


class SavedLook(Saved):
    """The words of a look, as `_said` has them."""

    text: str
    tokens: list[str]
    blanks: list[SavedBlank]
    attention: dict[str, SavedAxes]


class SavedProbes(Saved):
    """What probes.json holds."""

    components: list[str]
    probes: list[SavedLook]


def read_probe_step(file: Path) -> ProbeStep:
    """What write_probe_step wrote. Raises GlassformerError where the file is damaged."""
    try:
        arrays, texts = npz_arrays(file, what="file of probes", texts=frozenset({"probes.json"}))
        said = checked(SavedProbes, json_value(texts.get("probes.json", b""), file), file)
        looks = [_look(file, arrays, number, one) for number, one in enumerate(said.probes)]
        size = (len(said.components),)
        norms = [_array_of(file, arrays, name, np.float32, size) for name in ("gradients", "updates", "weights")]
    except Unreadable as error:
        raise GlassformerError(error.what, "put it back as it was, or remove it") from None
    return ProbeStep(looks, said.components, *norms)


def _look(file: Path, arrays: Mapping[str, np.ndarray], number: int, said: SavedLook) -> Look:
    blanks = [Blank(one.position, [_candidate(file, pair) for pair in one.candidates], one.true) for one in said.blanks]
    attention = {}
    for kind, axes in said.attention.items():
        entropies = _array_of(file, arrays, f"{number}/{kind}/entropies", np.float32, (None, None))
        shape = (*entropies.shape, len(axes.queries), len(axes.keys))
        weights = _array_of(file, arrays, f"{number}/{kind}/weights", np.uint8, shape)
        attention[kind] = Seen(Axes(axes.queries, axes.keys), weights, entropies)
    return Look(said.text, said.tokens, blanks, attention)


def _candidate(file: Path, said: list[str | float | None]) -> Candidate:
    [token, probability] = said if len(said) == 2 else (None, None)
    if not isinstance(token, str) or isinstance(probability, str):
        raise Unreadable(file, "is damaged: a candidate is no word with its probability")
    return Candidate(token, math.nan if probability is None else float(probability))


def _array_of(
    file: Path, arrays: Mapping[str, np.ndarray], name: str, dtype: type, shape: tuple[int | None, ...]
) -> np.ndarray:
    """An array of this type and shape (None: any size). Raises Unreadable for another one."""
    found = arrays.get(name)
    if found is None:
        raise Unreadable(file, f"is damaged: it has no {name[:100]}")
    fits = len(shape) == found.ndim and all(want in (None, has) for want, has in zip(shape, found.shape, strict=True))
    if found.dtype != dtype or not fits:
        raise Unreadable(file, f"is damaged: {name[:100]} has the type {found.dtype} and the shape {found.shape}")
    return found
