"""The pictures that every finished run gets: its curves, and guesses with the attention behind them."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from glassformer.look.curves import curves
from glassformer.look.figures import save
from glassformer.look.heatmaps import heatmap
from glassformer.look.overlay import overlay
from glassformer.objectives import Prompt
from glassformer.predict import Attention, Run

PICTURES = 4
LONGEST = 48
"""Longer texts give pictures that nobody can read."""


def draw_report(run: Run) -> list[Path]:
    """Curves, and for a few validation texts the heatmaps and the overlay, into the run's `plots`."""
    plots = run.directory.plots
    pictures = [save(curves({run.path.name: run.metrics()}), plots / "curves.png")]
    if run.recipe.model.implementation != "glassformer":
        return pictures
    for number, prompt in enumerate(sample_prompts(run, PICTURES)):
        seen = run.attention_of(prompt)
        marked = [blank.position for blank in seen.filled.blanks] if seen.filled else []
        figure = heatmap(seen.weights, seen.tokens, seen.tokens, marked=marked)
        pictures.append(save(figure, plots / f"attention-{number}.png"))
        if marked:
            pictures.append(save(overlay_of(seen), plots / f"overlay-{number}.png"))
    return pictures


def sample_prompts(run: Run, number: int) -> list[Prompt]:
    """Validation units with their fixed corruption, short enough to be read, spread over the data."""
    units = run.objective.units(run.corpus("validation"))
    questions = run.questions("validation")
    readable = [int(i) for i in questions.chosen if 4 <= units.lengths[i] <= LONGEST]
    if not readable:
        readable = [int(i) for i in questions.chosen]
    chosen = readable[:: max(1, len(readable) // number)][:number]
    prompts = []
    for index in chosen:
        example = questions.example(index)
        ids = example.streams["encoder"]
        tokens = [run.tokenizer.token(int(token)) for token in ids]
        prompts.append(Prompt(run.tokenizer.decode(ids), example, tokens))
    return prompts


def overlay_of(
    seen: Attention,
    layer: int | None = None,
    head: int | None = None,
    true: str | None = None,
    blank: int = 0,
) -> Figure:
    """The overlay picture of one blank: what it attended to, in one layer and head or on the mean of all."""
    assert seen.filled is not None
    asked = seen.filled.blanks[blank]
    layers = seen.weights if layer is None else seen.weights[layer : layer + 1]
    chosen = layers if head is None else layers[:, head : head + 1]
    attention = np.asarray(chosen.mean((0, 1))[asked.position])
    candidates = [(c.token, c.probability) for c in asked.candidates]
    return overlay(seen.tokens, asked.position, attention, candidates, true if true is not None else asked.true)
