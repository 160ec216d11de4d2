"""How a model tells positions apart."""

from typing import Any

import numpy as np
import torch

from glassformer.ask.run import Run
from glassformer.look.pictures.page import View
from glassformer.look.pictures.panels import lines, of_panels, squares
from glassformer.look.views import ViewSpec

VIEW = ViewSpec(
    "How a model tells positions apart.",
    needs=("positions",),
)


PLACES = 64
"""Positions that are shown at most."""


@torch.no_grad()
def make(run: Run) -> View:
    """How the model's stacks tell places apart: the vectors that are added, the angles by which queries and keys are
    turned, or the numbers that are added to the scores. Raises UsageError for a model without positions."""
    run.model.need("positions")
    config, panels = run.recipe.model, list[dict[str, Any]]()
    count = min(PLACES, config.max_length)
    places = torch.arange(count)[None]
    for name in config.stacks:
        kind: Any = run.model.get_submodule(run.model.parts[name].positions or name)
        added, rotation, bias = kind(places), kind.rotation(places), kind.bias(places, places)
        if added is not None:
            table = added[0].numpy()
            panels.append(
                squares(f"{name}: added to each embedding", table, "", ["position"], ["feature"], value="number added")
            )
            unit = table / np.linalg.norm(table, axis=1, keepdims=True)
            note = "cosine of the angle between the vectors of two places: 1 is the same direction"
            axes = (["position"], ["position"])
            panels.append(squares(f"{name}: how alike two places are", unit @ unit.T, note, *axes, value="cosine"))
        if rotation is not None:
            cos = rotation.cos[0, 0].numpy()
            note = "cosine of the angle by which each pair of features is turned"
            axes = (["position"], ["pair of features of a head"])
            panels.append(squares(f"{name}: turns of queries and keys", cos, note, *axes, value="cosine of the angle"))
            note = "the score of a vector with itself, turned by its distance; of a vector of ones"
            series, said = {"q · k": cos.mean(1)}, f"{name}: a score falls with distance"
            y_name = "share of the score at distance 0"
            panels.append(lines(said, places[0].tolist(), series, note, "distance (tokens)", y_name))
        if bias is not None:
            middle = count // 2
            series = {f"head {h}": bias[0, h, middle].numpy() for h in range(bias.shape[1])}
            offsets = [place - middle for place in range(count)]
            note = "what is added to the score of a key at this distance"
            panels.append(
                lines(
                    f"{name}: bias of the scores", offsets, series, note, "key's place minus query's (tokens)", "bias"
                )
            )
    data = {"subtitle": f"{run.path.name}: {config.positions} positions", "panels": panels}
    return of_panels(f"Positions of {run.path.name}", data)
