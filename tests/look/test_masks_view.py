"""Who may see whom, as each layer's attention mechanism has it."""

from pathlib import Path

import numpy as np
import tiny_recipe

from glassformer.ask.run import load
from glassformer.data.batch import collate
from glassformer.look.views.masks import make, masks_of


def test_a_window_is_drawn_in_the_layers_that_have_it(tmp_path: Path) -> None:
    """Two pictures for two mechanisms: everything, and a band; attention itself is zero outside of it."""
    model = {"n_layers": 3, "attention": ["full", {"name": "local", "window": 2}]}
    recipe = tiny_recipe.recipe(
        tiny_recipe.text_file(tmp_path), model=model, training={"steps": 1, "evaluate_every": 1}
    )
    run = load(tiny_recipe.train(recipe, tmp_path / "run").path)
    text = "sun moon sun moon"
    example = run.objective.prompt_for("read", text).example
    (first, whole, tokens, _), (second, band, *_) = masks_of(run, collate([[example]], 0))
    assert (first, second) == (
        "encoder: self-attention of layers 0, 2 (full)",
        "encoder: self-attention of layers 1 (local)",
    )
    places = np.arange(len(tokens[0]))
    near = abs(places[:, None] - places) < 2
    assert whole[0].all() and np.array_equal(band[0], near) and not near.all()
    weights = run.attention(text).weights
    assert (weights[0] > 0).all() and np.array_equal(weights[1] > 0, np.broadcast_to(near, weights[1].shape))
    assert len(make(run, [text]).data["panels"]) == 2
