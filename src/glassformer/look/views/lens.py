"""What a model would say if it stopped early: its final norm and its head on the residual stream after each layer (the
"logit lens"; nostalgebraist 2020). In a post-norm model every layer ends with a norm, and none is added."""

from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure

from glassformer.ask.run import Run
from glassformer.data.batch import collate
from glassformer.look.measures.questions import asked_by
from glassformer.look.pictures.figures import visible
from glassformer.look.pictures.page import View
from glassformer.look.pictures.tables import candidate_table
from glassformer.look.views import Argument, Option, ViewSpec
from glassformer.objectives import Blank
from glassformer.record import record

VIEW = ViewSpec(
    """What the model would answer if it stopped after each layer.

    \b
    glassformer look lens runs/mlm-demo "Mars is called the [MASK] planet" --output lens.png
    """,
    takes=(
        Argument("text", str, "a text with [MASK], or one to go on with"),
        Option("top", int, 5, "candidates after each layer", least=1),
    ),
    needs=("residual_stream",),
    live=("text",),
)


class Layerwise(NamedTuple):
    """The candidates at each asked place, after each layer; those of the last are the model's answer."""

    text: str
    tokens: list[str]
    asked: list[str]
    """The token at each asked place; of an encoder-decoder, what the decoder has read so far ends with it."""
    layers: list[list[Blank]]

    def record(self) -> dict[str, Any]:
        """The shape of `look lens --json`."""
        said = [
            {
                "position": of_layers[0].position,
                "token": token,
                "layers": [[candidate._asdict() for candidate in blank.candidates] for blank in of_layers],
            }
            for token, *of_layers in zip(self.asked, *self.layers, strict=True)
        ]
        return {"text": self.text, "tokens": self.tokens, "asked": said}


@torch.no_grad()
def layerwise(run: Run, text: str, top: int = 5) -> Layerwise:
    """The `top` candidates for each blank of a text, or for the token after it, after each layer of the stack that is
    asked. Raises UsageError for a text that asks nothing, and for a model without a residual stream."""
    prompt = asked_by(run, text)
    model, objective = run.model, run.objective.of(prompt.example)
    batch = collate([[prompt.example]], run.objective.pad_id)
    stacks = run.recipe.model.stacks
    name = stacks[0] if len(stacks) == 1 else next(iter(batch.targets.values())).stream
    model.need("residual_stream")
    places, norm = model.parts[name].blocks, model.parts[name].norm
    with record(model, *places) as tape:
        model(batch)
    found = []
    for place in places:
        last = tape[place] if norm is None else model.get_submodule(norm)(tape[place])
        hidden = last.flatten(0, 1)
        logits = {
            name: model.heads[name](hidden.index_select(0, targets.flat_index))
            for name, targets in batch.targets.items()
        }
        found.append(objective.answer(prompt.example, logits, top))
    places_asked = [
        objective.tokenizer_of(targets.stream).token(int(prompt.example.streams[targets.stream].values[position]))
        for targets in prompt.example.targets.values()
        for position in targets.positions
    ]
    return Layerwise(text, prompt.tokens, places_asked, found)


def view_of(run: Run, found: Layerwise) -> View:
    """The same as a view."""
    rows = [
        {"layer": number, "position": blank.position, "token": c.token, "probability": c.probability}
        for number, blanks in enumerate(found.layers)
        for blank in blanks
        for c in blank.candidates
    ]
    data = {"subtitle": run.path.name, **found.record()}
    return View("lens", f"Layer by layer: {found.text}", data, {}, lambda: picture(found), found.record(), rows)


def picture(found: Layerwise) -> Figure:
    """For each asked place a table of layers and candidates."""
    places = [
        (
            f"{visible(token)} at position {of_layers[0].position}",
            [[(c.token, c.probability) for c in blank.candidates] for blank in of_layers],
        )
        for token, *of_layers in zip(found.asked, *found.layers, strict=True)
    ]
    return candidate_table(places, f"If it stopped after each layer: {visible(found.text, 80)}")


def make(run: Run, text: str, top: int = 5) -> View:
    """What the model would say if it stopped after each layer."""
    return view_of(run, layerwise(run, text, top))
