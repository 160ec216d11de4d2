"""The generation view: every token that was written, what else could have stood there, and where the model looked."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from glassformer.ask.run import Run
from glassformer.data.batch import collate
from glassformer.errors import UsageError
from glassformer.look.measures.downsample import weights_for_page
from glassformer.look.measures.questions import whole
from glassformer.look.pictures.heatmaps import heatmap
from glassformer.look.pictures.page import View
from glassformer.look.views import Argument, Option, ViewSpec
from glassformer.model.kinds import refusal
from glassformer.record import attention_places, record

VIEW = ViewSpec(
    """What a model writes, token by token, and where it looks.

    \b
    glassformer look generation runs/seq2seq-demo "I love dogs" --output dogs.html
    """,
    takes=(
        Argument("text", str, "a beginning, or a source to be answered"),
        Option("target", str | None, None, "the text that follows; without it what the model writes"),
        Option("max_tokens", int, 64, "tokens that the model writes at most", least=1),
        Option("beam", int, 1, "the best of so many texts; 1: the likeliest token each time", least=1),
    ),
    live=("text", "target", "max_tokens", "beam"),
)


SHOWN = 8
"""Candidates for each token."""


@torch.no_grad()
def make(run: Run, text: str, target: str | None = None, **settings: Any) -> View:
    """The view of what follows a text: what the model writes, or `target`. Everything comes from one pass over the
    final tokens, in which each sees only those before it: the same numbers as when they were written one by one.

    Of a model that has no weights to be shown there are the tokens alone. Raises what `Run.generate` raises.
    """
    written = run.written(text, target, **settings)
    objective = run.objective.of(written.prompt.example)
    example, targets = whole(run, written)
    [(head, asked)] = example.targets.items()
    places, why = attention_places(run.model), run.model.why_not("attention_weights")
    with record(run.model, *places) as tape:
        logits = run.model(collate([[example]], run.objective.pad_id))[head]
    said = objective.answer(example, {head: logits}, SHOWN)
    chosen = logits.float().softmax(-1)[torch.arange(len(targets)), torch.tensor(targets)].tolist()
    name = objective.target_tokenizer.token
    steps = [
        {
            "token": name(id),
            "probability": probability,
            "candidates": [candidate._asdict() for candidate in blank.candidates],
            "reads": int(place),
        }
        for id, probability, blank, place in zip(targets, chosen, said, asked.positions, strict=True)
    ]
    own = [place for place in places if place.startswith("decoder") and not place.endswith("cross_attention")]
    cross = [place for place in places if place.endswith("cross_attention")]
    arrays = weights_for_page("own", [tape[place] for place in own]) if why is None else {}
    if cross and why is None:
        arrays |= weights_for_page("cross", [tape[place] for place in cross], asked.positions.tolist())
    data = {
        "subtitle": f"{run.path.name}: {run.recipe.description or run.path}",
        "text": text,
        "source": written.prompt.tokens if "encoder" in example.streams else None,
        "read": [name(int(id)) for id in example.streams["decoder"].values],
        "steps": steps,
        "finished": written.end is not None,
        "layers": [f"Layer {n}" for n in range(len(own))],
        "why": why,
    }
    return View("generation", text, data, arrays, lambda: picture(text, data, arrays))


def picture(title: str, data: dict[str, Any], arrays: dict[str, np.ndarray]) -> Figure:
    """The alignment of what was written with the source, or with what was read: the mean of the last layer's heads."""
    written = [step["token"] for step in data["steps"]]
    if data.get("why") is not None:
        raise refusal("attention_weights", data["why"])
    if not {"own", "cross"} & arrays.keys():
        raise UsageError("this text is too long for a picture", "write a page: --output generation.html")
    if data["source"] is not None:
        weights, keys = arrays["cross"], data["source"]
    else:
        weights, keys = arrays["own"][:, :, [step["reads"] for step in data["steps"]]], data["read"]
    return heatmap(weights, written, keys, layer=len(weights) - 1, head="mean", title=title)
