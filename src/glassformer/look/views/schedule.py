"""How the learning rate goes."""

import numpy as np

from glassformer.ask.run import Run
from glassformer.look.pictures.page import View
from glassformer.look.pictures.panels import lines, of_panels
from glassformer.look.views import ViewSpec
from glassformer.training.schedules import learning_rate_factor

VIEW = ViewSpec(
    "The learning rate over the steps of a run.",
)


POINTS = 400
"""Steps of a schedule that are drawn at most."""


def make(run: Run) -> View:
    """The learning rate over the steps of the run, of each kind of parameter."""
    recipe = run.recipe
    steps = recipe.training.steps or 1
    x = sorted({round(n) for n in np.linspace(1, steps, min(steps, POINTS))})
    factors = np.array([learning_rate_factor(step, steps, recipe.schedule) for step in x])
    series = {"AdamW": factors * recipe.optimizer.learning_rate}
    if recipe.optimizer.name == "muon":
        series["Muon"] = factors * recipe.optimizer.muon_learning_rate
    panel = lines("Learning rate", x, series, f"{recipe.schedule.name}, {steps:,} steps", "step", "learning rate")
    return of_panels(f"Learning rate of {run.path.name}", {"subtitle": recipe.description, "panels": [panel]})
