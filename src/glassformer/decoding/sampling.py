"""One token at a time: the likeliest, or one drawn from what a few rules leave over."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glassformer.decoding import DecodingConfig, Generated, Prompts, begin, precise
from glassformer.decoding.compiled import step_for
from glassformer.decoding.packed import packed
from glassformer.model.kinds import Model
from glassformer.progress import report_progress


class Token(NamedTuple):
    """The newest token of one text, as it comes."""

    row: int
    id: int
    log_probability: float


@torch.inference_mode()
def stream(
    model: Model, prompts: Prompts, config: DecodingConfig, draw: torch.Generator | None = None
) -> Iterator[list[Token]]:
    """The newest token of every text that is not finished, step by step; text n is of prompt n // config.number.
    Without `draw`, which several calls may share, `config.seed` is drawn by."""
    with packed(model):
        yield from _stream(model, prompts, config, draw)


def _stream(
    model: Model, prompts: Prompts, config: DecodingConfig, draw: torch.Generator | None
) -> Iterator[list[Token]]:
    logits, state = begin(model, prompts, config.max_tokens)
    step = step_for(model, prompts.head)
    rows = [row for row in range(len(prompts.examples)) for _ in range(config.number)]
    if config.number > 1:
        repeated = torch.tensor(rows, device=logits.device)
        state.reorder(repeated)
        logits = logits[repeated]
    if draw is None:
        draw = torch.Generator(device=logits.device).manual_seed(config.seed)
    seen, ends = [prompts.tokens(row) for row in rows], [prompts.stop_tokens[row] for row in rows]
    room = [min(config.max_tokens, prompts.room(row)) for row in rows]
    alive = list(range(len(rows)))
    while alive:
        report_progress()
        logits = repeated_less(precise(logits), [seen[n] for n in alive], config.repetition_penalty)
        chosen = choose(logits, config, draw)
        known = logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0]
        newest = [Token(n, id, p) for n, id, p in zip(alive, chosen.tolist(), known.tolist(), strict=True)]
        for token in newest:
            seen[token.row].append(token.id)
            room[token.row] -= 1
        yield newest
        going_on = [n for n, (row, id, _) in enumerate(newest) if id not in ends[row] and room[row] > 0]
        if len(going_on) < len(alive):
            kept = torch.tensor(going_on, dtype=torch.long, device=logits.device)
            state.reorder(kept)
            chosen = chosen[kept]
        alive = [alive[n] for n in going_on]
        if alive:
            logits = step(chosen[:, None], state)


def sample(
    model: Model, prompts: Prompts, config: DecodingConfig, draw: torch.Generator | None = None
) -> list[list[Generated]]:
    """`config.number` texts for each prompt; see `stream`."""
    texts: list[list[Token]] = [[] for _ in range(len(prompts.examples) * config.number)]
    for newest in stream(model, prompts, config, draw):
        for token in newest:
            texts[token.row].append(token)
    generated = [
        Generated(
            [t.id for t in text],
            sum(t.log_probability for t in text),
            finished=text[-1].id in prompts.stop_tokens[n // config.number],
        )
        for n, text in enumerate(texts)
    ]
    return [generated[n : n + config.number] for n in range(0, len(generated), config.number)]


def choose(logits: Float[Tensor, "N V"], config: DecodingConfig, draw: torch.Generator) -> Int[Tensor, "N"]:
    """The likeliest token of each row, or one drawn."""
    if not config.sample:
        if logits.device.type == "cpu":  # torch looks at one number at a time: several times slower
            return torch.from_numpy(logits.numpy().argmax(-1))
        return logits.argmax(-1)
    temperature = max(config.temperature, torch.finfo(logits.dtype).tiny)  # a smaller one would be 0 in this precision
    scaled = (logits - logits.amax(-1, keepdim=True)) / temperature  # the largest is 0: nothing overflows
    kept = min_p(top_p(top_k(scaled, config.top_k), config.top_p), config.min_p)
    return torch.multinomial(kept.softmax(-1), 1, generator=draw)[:, 0]


def top_k(logits: Float[Tensor, "N V"], k: int | None) -> Float[Tensor, "N V"]:
    """Only the k likeliest tokens (Fan et al. 2018); more where the last ones are equally likely."""
    if k is None or k >= logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k).values[:, -1:], float("-inf"))


def top_p(logits: Float[Tensor, "N V"], p: float) -> Float[Tensor, "N V"]:
    """Only the fewest tokens that together have the probability p (nucleus sampling; Holtzman et al. 2020)."""
    if p >= 1.0:
        return logits
    ordered, order = logits.sort(-1, descending=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    beyond = before >= p
    beyond[:, 0] = False  # a p that is 0 in this precision
    dropped = beyond.scatter(1, order, beyond)
    return logits.masked_fill(dropped, float("-inf"))


def min_p(logits: Float[Tensor, "N V"], share: float) -> Float[Tensor, "N V"]:
    """Only tokens that have at least this share of the likeliest's probability (Nguyen et al. 2024)."""
    if share <= 0.0:
        return logits
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < share * probabilities.amax(-1, keepdim=True), float("-inf"))


def repeated_less(logits: Float[Tensor, "N V"], seen: list[list[int]], penalty: float) -> Float[Tensor, "N V"]:
    """Logits of tokens that a text has already, divided by the penalty if positive, else multiplied
    (CTRL; Keskar et al. 2019, section 4.1)."""
    if penalty == 1.0:
        return logits
    logits = logits.clone()
    for row, ids in enumerate(seen):
        known = torch.tensor(sorted(set(ids)), dtype=torch.long, device=logits.device)
        scores = logits[row, known]
        logits[row, known] = torch.where(scores > 0, scores / penalty, scores * penalty)
    return logits
