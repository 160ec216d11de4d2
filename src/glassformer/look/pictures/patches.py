"""Attention over the patches of a picture, laid on the picture."""

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from glassformer.answers import ReadsPictures
from glassformer.ask.attention import Attention
from glassformer.look.pictures.figures import COLOURS, fitted, new_figure, styled, visible
from glassformer.objectives import Prompt

SIDE = 1.7
"""Inches of one picture."""
COLUMNS = 5


@styled
def on_picture(
    picture: UInt8[np.ndarray, "height width *colours"],
    attention: Float[np.ndarray, "n rows columns"],
    names: list[str],
    title: str,
) -> Figure:
    """The picture, and beside it n times the same under a veil that is thinner the more a patch is attended to: the
    most attended patch of each is seen whole, and its share of the attention is said."""
    places = len(attention) + 1
    columns, rows = min(places, COLUMNS), -(-places // COLUMNS)
    width, height = columns * (SIDE + 0.15) + 0.2, rows * (SIDE + 0.3) + 0.5
    figure = new_figure(width, height)
    figure.text(0.1 / width, 1 - 0.25 / height, fitted(visible(title, 120), 9.0, width - 0.2), fontsize=9, va="center")
    for place in range(places):
        column, row = place % COLUMNS, place // COLUMNS
        left, bottom = 0.1 + column * (SIDE + 0.15), height - 0.6 - row * (SIDE + 0.3) - SIDE
        axes = figure.add_axes((left / width, bottom / height, SIDE / width, SIDE / height))
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        caption = "the picture"
        if place:
            shares = attention[place - 1]
            veil = np.zeros((*shares.shape, 4))
            veil[..., 3] = 0.85 * (1 - shares / max(float(shares.max()), 1e-9))
            top, right = picture.shape[0] - 0.5, picture.shape[1] - 0.5
            axes.imshow(veil, extent=(-0.5, right, top, -0.5), interpolation="nearest")
            caption = f"{names[place - 1]}: at most {float(shares.max()):.0%}"
        axes.set_title(caption, fontsize=7.5, color=COLOURS["muted"], pad=3)
    return figure


def on_picture_of(member: ReadsPictures, prompt: Prompt, seen: Attention, layer: int | None = None) -> Figure:
    """The attention of each layer, or of one, the mean of its heads, laid on the picture of a prompt."""
    heads = seen.weights.shape[1]
    title = f"{prompt.text}: attention over patches, mean of {heads} head{'s' * (heads > 1)}"
    names = [f"layer {n + (layer or 0)}" for n in range(len(seen.weights))]
    return on_picture(member.picture_of(prompt.example), member.on_patches(seen.weights.mean(1)), names, title)
