"""The mask view: a sentence with blanks, what the model says there, every head's map, and what each head changes."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch

from glassformer.ablation import Part, without
from glassformer.ask.run import Run
from glassformer.data.batch import collate
from glassformer.errors import UsageError
from glassformer.look.measures.attention import attention_of
from glassformer.look.measures.downsample import weights_for_page
from glassformer.look.pictures.overlay import overlay_of
from glassformer.look.pictures.page import View
from glassformer.look.views import Argument, Option, ViewSpec, numbers_in
from glassformer.objectives import Blank, Prompt
from glassformer.progress import report_progress
from glassformer.record import attention_places, record

VIEW = ViewSpec(
    """Blanks: candidates, all heads, and the answer without each.

    \b
    glassformer look mask runs/mlm-demo "Mars is called the [MASK] planet" --output mars.html
    """,
    takes=(
        Argument("text", str, "a text with [MASK]"),
        Option(
            "rows",
            str | None,
            None,
            "of a text over 512 tokens: keep every weight of these, such as 5,100-120",
            read=numbers_in,
        ),
    ),
    live=("text",),
    says_unknown=True,
)


SHOWN = 8
"""Candidates for each blank."""
TOKENS_AT_A_TIME = 8192
"""Tokens that go through the model at a time, while heads are switched off."""


def make(run: Run, text: str, rows: Sequence[int] = ()) -> View:
    """The view of a text with blanks; of a long one with every weight of the queries in `rows`.

    A model that has no weights to be shown is seen without them: its answers, and what each head changes.

    Raises UsageError for a text without a blank, and for a model that fills none.
    """
    run.fill(text)  # whatever is wrong with the text is said here
    prompt = run.objective.prompt_for("fill", text)
    objective = run.objective.of(prompt.example)
    if not objective.asks_blanks:
        raise UsageError(
            "this page rings blanks among the words, and a permutation model asks behind them", "see `look heads`"
        )
    places, why = attention_places(run.model), run.model.why_not("attention_weights")
    layers, heads = len(places), run.recipe.model.n_heads
    size = f"{layers} layers × {heads} heads" if places else run.recipe.model.kind
    arrays = {}
    if why is None:
        with record(run.model) as tape, torch.no_grad():
            run.model(collate([[prompt.example]], run.objective.pad_id))
        arrays = weights_for_page("weights", [tape[place] for place in places], exact=rows)
    whole, without_head = answers(run, prompt, heads)
    data = {
        "subtitle": f"{run.path.name}: {size}; {run.recipe.description or run.path}",
        "text": text,
        "tokens": prompt.tokens,
        "blanks": whole,
        "layers": [f"Layer {n}" for n in range(layers)],
        "places": places,
        "exact": list(rows) if why is None else [],
        "without": without_head,
        "heads": heads,
        "why": why,
    }
    return View("mask", text, data, arrays, lambda: overlay_of(attention_of(run, text)))


@torch.no_grad()
def answers(run: Run, prompt: Prompt, heads: int) -> tuple[list[dict[str, Any]], list[list[list[dict[str, Any]]]]]:
    """What the model says at each blank; and the same without each head (layers x heads x blanks), each from a forward
    pass in which that head adds nothing. `first` is what is left of the whole model's first candidate."""
    objective, example = run.objective.of(prompt.example), prompt.example
    [whole] = _logits(run, prompt, [None])
    best = {head: logits.argmax(-1, keepdim=True) for head, logits in whole.items()}
    parts = [Part(place, head) for place in attention_places(run.model) for head in range(heads)]
    at_a_time = max(1, TOKENS_AT_A_TIME // len(prompt.tokens))
    found = []
    for start in range(0, len(parts), at_a_time):
        report_progress(start, len(parts))
        for logits in _logits(run, prompt, parts[start : start + at_a_time]):
            first = [
                p for head in example.targets for p in logits[head].float().softmax(-1).gather(-1, best[head])[:, 0]
            ]
            said = objective.answer(example, logits, SHOWN)
            found.append([{"first": float(p), **_record(blank)} for p, blank in zip(first, said, strict=True)])
    by_layer = [found[n : n + heads] for n in range(0, len(found), heads)]
    return [_record(blank) for blank in objective.answer(example, whole, SHOWN)], by_layer


@torch.no_grad()
def answers_without(run: Run, text: str, parts: Sequence[Part], top: int = SHOWN) -> list[dict[str, Any]]:
    """What the model says at each blank of a text with several parts switched off together. Raises what `Run.fill`
    raises."""
    run.fill(text, 1)
    prompt = run.objective.prompt_for("fill", text)
    objective = run.objective.of(prompt.example)
    with ExitStack() as off:
        for part in dict.fromkeys(parts):
            off.enter_context(without(run.model, part))
        logits = run.model(collate([[prompt.example]], run.objective.pad_id))
    return [_record(blank) for blank in objective.answer(prompt.example, logits, top)]


def _logits(run: Run, prompt: Prompt, parts: Sequence[Part | None]) -> list[dict[str, torch.Tensor]]:
    """What each head of the model says at its places of a prompt (places x classes), without each of the parts."""
    batch = collate([[prompt.example]] * len(parts), run.objective.pad_id)
    with without(run.model, parts):
        logits = run.model(batch)
    by_part = {}
    for head, targets in prompt.example.targets.items():  # a head that is asked nothing still gives a row
        places = len(targets.positions)
        by_part[head] = logits[head][: len(parts) * places].view(len(parts), places, logits[head].shape[-1])
    return [{head: each[n] for head, each in by_part.items()} for n in range(len(parts))]


def _record(blank: Blank) -> dict[str, Any]:
    return {"position": blank.position, "candidates": [c._asdict() for c in blank.candidates]}
