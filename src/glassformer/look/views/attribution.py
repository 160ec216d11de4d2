"""What mattered for an answer: four ways of reading attention, beside the true effect of hiding each token.

Attention weights say where a layer looks, not what the answer depends on (Jain and Wallace 2019). The effect is
measured: one token after another is hidden from everybody, and the log-probability of the answer is read again.

T tokens, L layers, H heads, E features of a head, D of the residual stream; rows are queries, columns keys. Of an
encoder-decoder the tokens are those of both, the encoder's first, and every attention, cross-attention too, is a layer
of its own in which the tokens that do not ask see nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from glassformer.ask.loaded import BATCH
from glassformer.ask.run import Run
from glassformer.data.batch import Example, collate
from glassformer.errors import GlassformerError, UsageError
from glassformer.formatting import NATS, percent
from glassformer.look.measures.questions import asked_by
from glassformer.look.pictures.figures import visible
from glassformer.look.pictures.page import View
from glassformer.look.pictures.tables import Row, relevance_table
from glassformer.look.views import Argument, Option, ViewSpec
from glassformer.model.attention import Mechanism
from glassformer.model.layers import MultiHeadAttention
from glassformer.model.softmax import repeat_kv
from glassformer.objectives import Candidate, Objective, Prompt
from glassformer.progress import report_progress
from glassformer.record import attention_places, hooked

VIEW = ViewSpec(
    """What attention says, against what hiding each token does.

    Four ways of reading attention, the change of the answer's log-probability when a token is hidden from everybody,
    and a warning for each way that this proves wrong.

    \b
    glassformer look attribution runs/mlm-demo "Mars is called the [MASK] planet" --output attribution.png
    """,
    takes=(
        Argument("text", str, "a text with [MASK], or one to go on with"),
        Option("blank", int, 1, "which [MASK], counted from 1", least=1, from_one=True),
    ),
    needs=("attention_weights",),
    live=("text", "blank"),
)


METHODS = {
    "attention": "attention weights",
    "value_norms": "weights × values",
    "rollout": "rollout",
    "gradient": "gradient × weights",
}
"""What reads attention, and how it is called in pictures."""
LONGEST = 512
"""Tokens of a text: one pass for each, and weights and gradients of all layers and heads are held."""
EFFECT = "effect"
AGREES = 0.5
"""Rank correlation with the effect from which a method is believed."""
MATTERS = 0.05
"""Nats; where hiding any one token does less, there is nothing to explain."""


# ------------------------------------------------------------------------------------------------ on plain arrays


def rollout(weights: Float[np.ndarray, "L H T T"]) -> Float[np.ndarray, "T T"]:
    """How much of each token reaches each place through all layers, half of every layer passing by on the residual
    stream (Abnar and Zuidema 2020, section 3): the product of (mean over heads + identity) / 2. Rows sum to 1."""
    arrived = np.eye(weights.shape[-1])
    for layer in weights.mean(1):
        mixed = layer + np.eye(len(layer))
        arrived = mixed / mixed.sum(-1, keepdims=True) @ arrived
    return arrived


def value_norms(
    weights: Float[np.ndarray, "H Q K"], values: Float[np.ndarray, "H K E"], output: Float[np.ndarray, "D HE"]
) -> Float[np.ndarray, "H Q K"]:
    """The length of what each key adds to each query through each head, ||weight × f(x)||, where f is the value taken
    through the head's columns of the output projection (Kobayashi et al. 2020, section 3): a large weight on a short
    vector moves nothing."""
    heads, _, width = values.shape
    carried = np.einsum("hke,dhe->hkd", values, output.reshape(-1, heads, width))
    return weights * np.linalg.norm(carried, axis=-1)[:, None]


def gradient_relevance(
    weights: Float[np.ndarray, "L H T T"], gradients: Float[np.ndarray, "L H T T"]
) -> Float[np.ndarray, "T T"]:
    """How much each token raised a score through all layers: per layer the positive part of gradient × weight, mean
    over heads, added up along the layers (Chefer et al. 2021, "Generic Attention-model Explainability", equations 5
    and 6). What a place begins with, itself, is left out."""
    found = identity = np.eye(weights.shape[-1])
    for layer in np.maximum(weights * gradients, 0).mean(1):
        found = found + layer @ found
    return found - identity


def normalised(relevance: Float[np.ndarray, "T"]) -> Float[np.ndarray, "T"]:
    """The same, so that absolute values sum to 1; zeros stay zeros."""
    total = np.abs(relevance).sum()
    return relevance / total if total else relevance


def spearman(one: Float[np.ndarray, "n"], other: Float[np.ndarray, "n"]) -> float | None:
    """The rank correlation (Spearman 1904), equal values sharing their mean rank; None where one is constant."""
    ranks = [_ranks(values) - (len(values) + 1) / 2 for values in (one, other)]
    scale = np.sqrt(np.prod([rank @ rank for rank in ranks]))
    return float(ranks[0] @ ranks[1] / scale) if scale else None


def _ranks(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]


# ------------------------------------------------------------------------------------------------------ of a model


class Explicit(NamedTuple):
    """One attention layer as it was computed: weights, of which gradients can be asked, and values."""

    weights: Float[Tensor, "B H Q K"]
    values: Float[Tensor, "B H K E"]


@contextmanager
def explicit(model: nn.Module, places: Sequence[str]) -> Iterator[dict[str, Explicit]]:
    """While open, attention at these places is the product of its explicit weights and its values, which come into the
    dict, and gradients of what the model says reach them."""
    found: dict[str, Explicit] = {}

    def through_weights(path: str, mechanism: nn.Module, given: dict[str, Any], output: Tensor) -> Tensor:
        assert isinstance(mechanism, Mechanism)
        weights = mechanism.weights(given["q"], given["k"], given["mask"], given.get("bias"))
        weights = weights if weights.requires_grad else weights.requires_grad_()
        values = repeat_kv(given["v"], weights.shape[1])
        found[path.removesuffix(".mechanism")] = Explicit(weights, values)
        return weights @ values

    with torch.enable_grad(), hooked(model, [f"{place}.mechanism" for place in places], through_weights):
        yield found


class Places(NamedTuple):
    """All tokens of an example, one stream behind the other: place n is token n - first[stream] of its stream."""

    first: dict[str, int]
    content: dict[str, int]
    """How many of each stream can be attended to; behind them stand queries."""
    number: int

    @classmethod
    def of(cls, example: Example) -> "Places":
        """Those of an example."""
        first, number = {}, 0
        for name, stream in example.streams.items():
            first[name], number = number, number + len(stream.values)
        return cls(first, {name: stream.n_keys for name, stream in example.streams.items()}, number)

    def hidden(self, place: int) -> tuple[str, int] | None:
        """Stream and number of a token that can be hidden; None for a query, to which nobody attends."""
        name = [name for name, first in self.first.items() if first <= place][-1]
        return (name, place - self.first[name]) if place - self.first[name] < self.content[name] else None


@torch.no_grad()
def log_probabilities(
    model: nn.Module, example: Example, hidden: Sequence[int | None], pad_id: int
) -> Float[Tensor, "rows classes"]:
    """What a model says at the one place that an example asks, for each of `hidden` (see Places) with that token hidden
    from everybody (None: nothing). Tokens keep their places; nobody attends to the hidden one, not even itself."""
    places, found = Places.of(example), []
    for start in range(0, len(hidden), BATCH):
        report_progress(start, len(hidden))
        rows = hidden[start : start + BATCH]
        batch = collate([[example]] * len(rows), pad_id)
        seen = {name: torch.ones(len(rows), number, dtype=torch.bool) for name, number in places.content.items()}
        for row, place in enumerate(rows):
            where = None if place is None else places.hidden(place)
            if where is not None:
                seen[where[0]][row, where[1]] = False
        # Not padding at the end any more, which a causal mask would cover.
        streams = {
            name: stream._replace(mask=stream.mask._replace(key_mask=seen[name], aligned=False, no_empty_rows=False))
            for name, stream in batch.streams.items()
        }
        [logits] = model(batch._replace(streams=streams)).values()
        found.append(torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1))
    return torch.cat(found)


class Attribution(NamedTuple):
    """What mattered for one answer, by each method, and how far that is true."""

    text: str
    tokens: list[str]
    position: int
    """Where the model was asked."""
    candidate: Candidate
    """What it answered."""
    nats: Float[np.ndarray, "tokens"]
    """By how much the log-probability of the answer falls when a token is hidden; negative: it rises."""
    relevance: dict[str, Float[np.ndarray, "tokens"]]
    """By method, absolute values summing to 1; `effect` among them: `nats`, normalised."""
    correlations: dict[str, float | None]
    """Spearman's, of each method with the size of the effect, over all tokens but the asked place: what that brings
    along itself passes by on the residual stream, whatever is hidden. None where a method says the same of all."""
    warnings: list[str]


def views(run: Run, text: str, blank: int = 0) -> Attribution:
    """What mattered for the model's first candidate at a blank of a text (counted from 0), for the token after it, or,
    of an encoder-decoder, for the first token of its answer.

    `attention` and `value_norms` are of the last attention (cross-attention, where there is such), means over its
    heads; `rollout` and `gradient` of all. Raises UsageError for a blank that is not there, and for a text over 512
    tokens.
    """
    run.model.need("attention_weights")
    prompt = asked_by(run, text)
    objective = run.objective.of(prompt.example)
    example, position = one_place(prompt, blank)
    places, [(head, targets)] = Places.of(example), example.targets.items()
    asked_at = places.first[targets.stream] + position
    shown = shown_places(example, places, asked_at)
    if len(shown) > LONGEST:
        raise UsageError(
            f"the text has {len(shown)} tokens, and each would be hidden once: at most {LONGEST}",
            "ask about a part of it; where it looks, `look mask` shows for any length",
        )
    said = log_probabilities(run.model, example, [None, *shown], run.objective.pad_id)
    best = int(said[0].argmax())
    nats = (said[0, best] - said[1:, best]).double().numpy()
    weights, gradients, norms = _through_weights(run.model, example, best, float(said[0, best]), run.objective.pad_id)
    relevance = {
        "attention": weights[-1].mean(0)[asked_at, shown],
        "value_norms": norms.mean(0)[asked_at, shown],
        "rollout": rollout(weights)[asked_at, shown],
        "gradient": gradient_relevance(weights, gradients)[asked_at, shown],
        EFFECT: nats,
    }
    relevance = {name: normalised(values) for name, values in relevance.items()}
    position = shown.index(asked_at)
    others = np.delete(np.arange(len(nats)), position)
    size = np.abs(nats)[others]
    correlations = {name: spearman(relevance[name][others], size) for name in METHODS}
    candidate = Candidate(objective.class_in(example, head, 0, best), float(said[0, best].exp()))
    tokens = all_tokens(objective, prompt)
    found = Attribution(text, [tokens[n] for n in shown], position, candidate, nats, relevance, correlations, [])
    return found._replace(warnings=warnings_of(found))


def shown_places(example: Example, places: Places, asked_at: int) -> list[int]:
    """Every token that can be hidden, and the place that is asked where that is a query, in the order of the text."""
    shown: list[int] = []
    for name, stream in example.streams.items():
        own = [n for n in range(len(stream.values)) if n < stream.n_keys or places.first[name] + n == asked_at]
        stands = stream.positions
        if stands is not None:
            own = [own[n] for n in np.argsort(stands[own], kind="stable")]
        shown += [places.first[name] + n for n in own]
    return shown


def all_tokens(objective: Objective, prompt: Prompt) -> list[str]:
    """What stands at each of the Places of a prompt."""
    found: list[str] = []
    for name, stream in prompt.example.streams.items():
        own = objective.tokenizer_of(name).token
        found += prompt.tokens if name == prompt.stream else [own(int(id)) for id in stream.values]
    return found


def one_place(prompt: Prompt, blank: int) -> tuple[Example, int]:
    """The example with one of its asked places, counted from 0, and that place. Raises UsageError with their number."""
    places = [(head, n) for head, targets in prompt.example.targets.items() for n in range(len(targets.positions))]
    if not 0 <= blank < len(places):
        raise UsageError(f"there is no blank {blank + 1}", f"the text has {len(places)}, counted from 1")
    head, n = places[blank]
    targets = prompt.example.targets[head]
    alone = targets._replace(positions=targets.positions[[n]], values=targets.values[[n]])
    return prompt.example._replace(targets={head: alone}), int(targets.positions[n])


def _through_weights(
    model: nn.Module, example: Example, best: int, expected: float, pad_id: int
) -> tuple[Float[np.ndarray, "L H T T"], Float[np.ndarray, "L H T T"], Float[np.ndarray, "H T T"]]:
    """Weights of all layers, the gradients of the log-probability of class `best` by them, and the last one's value
    norms. Raises GlassformerError where the weights do not lead to the same answer."""
    names = attention_places(model)
    if not names:
        raise UsageError("this model has no attention that can be recorded", "train with glassformer's own blocks")
    with explicit(model, names) as layers:
        [logits] = model(collate([[example]], pad_id)).values()
        score = torch.log_softmax(logits, -1)[0, best]
        gradients = torch.autograd.grad(score, [layer.weights for layer in layers.values()])
    if abs(float(score.detach()) - expected) > 1e-3:
        raise GlassformerError("this attention does not do what its weights say", "its gradients cannot be trusted")
    places, last = Places.of(example), layers[names[-1]]
    attention = model.get_submodule(names[-1])
    assert isinstance(attention, MultiHeadAttention)
    parts = (last.weights[0].detach(), last.values[0].detach(), attention.output.weight.detach())
    norms = value_norms(*(part.double().numpy() for part in parts))
    weights = [among_all(places, name, layer.weights[0].detach().double().numpy()) for name, layer in layers.items()]
    by = [among_all(places, name, g[0].double().numpy()) for name, g in zip(layers, gradients, strict=True)]
    return np.stack(weights), np.stack(by), among_all(places, names[-1], norms)


def among_all(places: Places, name: str, layer: Float[np.ndarray, "H Q K"]) -> Float[np.ndarray, "H T T"]:
    """One attention's numbers among all tokens; zero for those that do not ask there, or are not seen."""
    rows = columns = places.first.get(name.partition(".")[0], 0) if len(places.first) > 1 else 0
    if name.endswith("cross_attention"):
        columns = places.first["encoder"]
    heads, queries, keys = layer.shape
    whole = np.zeros((heads, places.number, places.number))
    whole[:, rows : rows + queries, columns : columns + keys] = layer
    return whole


def warnings_of(found: Attribution) -> list[str]:
    """A sentence for each method that should not be believed here."""
    others = np.delete(np.arange(len(found.tokens)), found.position)
    if not len(others) or np.abs(found.nats[others]).max() < MATTERS:
        return [f"hiding any one token changes the log-probability by less than {MATTERS} nats: little to explain"]
    said = []
    true = others[np.abs(found.nats[others]).argmax()]
    for name, how in METHODS.items():
        top, agreement = others[found.relevance[name][others].argmax()], found.correlations[name]
        reasons = []
        if found.tokens[top] != found.tokens[true]:
            reasons.append(
                f"apart from {found.tokens[found.position]!r}, most on {found.tokens[top]!r} "
                f"(hiding it: {_nats(found.nats[top])}), where hiding "
                f"{found.tokens[true]!r} does most ({_nats(found.nats[true])})"
            )
        if agreement is None:
            reasons.append("the same for all tokens")
        elif agreement < AGREES:
            reasons.append(f"another order than the effect's (correlation {agreement:.2f})")
        if reasons:
            said.append(f"{how}: {'; '.join(reasons)}")
    return said


def _nats(fall: float) -> str:
    """The change of a log-probability; never -0.00."""
    return f"{round(-fall, 2) + 0.0:+.2f} nats"


def summary_rows(found: Attribution) -> list[dict[str, Any]]:
    """A line for each token, shares in hundredths, and one with the correlations: for a person."""
    lines = [
        {"token": token, **{METHODS[name]: f"{100 * found.relevance[name][n]:.0f}" for name in METHODS}}
        | {"hiding it": _nats(found.nats[n])}
        for n, token in enumerate(found.tokens)
    ]
    agreement = {METHODS[name]: "-" if r is None else f"{r:.2f}" for name, r in found.correlations.items()}
    return [*lines, {"token": "(correlation)", **agreement, "hiding it": ""}]


def rows(found: Attribution) -> list[dict[str, Any]]:
    """A line for each token: its share by each method, and by how many nats hiding it changes the answer."""
    return [
        {"place": n, "token": token, **{name: float(found.relevance[name][n]) for name in METHODS}}
        | {"effect_nats": -float(found.nats[n])}
        for n, token in enumerate(found.tokens)
    ]


KEY = (
    "Each row: shares of its own sum, in hundredths. Last row: how far the log-probability of the answer falls when "
    f"the token is hidden (orange: it rises); {NATS}. Correlation: Spearman's, of a row with the size of that effect."
)


def picture(found: Attribution) -> Figure:
    """The methods side by side over the tokens, the measured effect below them, and what to beware of."""
    drawn = [
        Row(how, found.relevance[name], "-" if found.correlations[name] is None else f"{found.correlations[name]:.2f}")
        for name, how in METHODS.items()
    ]
    drawn.append(Row("effect of hiding it", found.relevance[EFFECT]))
    answer = f"{visible(found.candidate.token)} ({percent(found.candidate.probability)})"
    asked = f"{visible(found.tokens[found.position])} at position {found.position}"
    return relevance_table(
        drawn,
        found.tokens,
        found.position,
        f"What mattered for {answer}, asked at {asked}",
        "correlation",
        found.warnings,
        KEY,
    )


def view_of(run: Run, found: Attribution) -> View:
    """The same as a view."""
    data = {"subtitle": run.path.name, "methods": METHODS, "effect": EFFECT, **found._asdict()}
    return View(
        "attribution", f"What mattered: {found.text}", data, {}, lambda: picture(found), found._asdict(), rows(found)
    )


def make(run: Run, text: str, blank: int = 0) -> View:
    """Readings of attention beside the measured effect of hiding each token; blanks count from 0."""
    found = views(run, text, blank)
    view = view_of(run, found)
    candidate, position = view.data["candidate"], view.data["position"]
    asked = f"{candidate.token} {percent(candidate.probability)}, asked at {position}"
    return view._replace(table=summary_rows(found), said=[asked, *view.data["warnings"], NATS])
