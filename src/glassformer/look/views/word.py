"""One word in two texts: how its two vectors drift apart, layer by layer, as the model reads what stands around it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from glassformer.ask.run import Run
from glassformer.data.batch import collate
from glassformer.errors import UsageError
from glassformer.look.measures.words import Reading, find, reading, said_unknown
from glassformer.look.pictures.figures import COLOURS, fitted, new_figure, styled, visible
from glassformer.look.pictures.page import View
from glassformer.look.pictures.panels import lines
from glassformer.look.views import Argument, Option, ViewSpec
from glassformer.record import record

VIEW = ViewSpec(
    """One word in two texts: how alike its vectors are by layer.

    Beside it, how alike two different words of these texts are at the same place.

    \b
    glassformer look word runs/my bank "We sat on the river bank" "The bank lends money" --output bank.png
    """,
    takes=(
        Argument("word", str, "a word that stands in both texts"),
        Argument("text_a", str, "one text", metavar="TEXT"),
        Argument("text_b", str, "the other", metavar="TEXT"),
        Option(
            "nth",
            tuple[int, int] | None,
            None,
            "which one in each text, where the word stands there more than once",
        ),
    ),
    needs=("residual_stream",),
    live=("word", "text_a", "text_b"),
)


class Apart(NamedTuple):
    """The cosine between the two vectors of a word, at each place of the residual stream."""

    word: str
    texts: tuple[str, str]
    places: list[str]
    """`embedding`, and the blocks by number: what has been added up behind each."""
    cosine: Float[np.ndarray, "places"]
    baseline: Float[np.ndarray, "places"]
    """The mean cosine of two different words, one of each text: how alike any two vectors are there (Ethayarajh 2019,
    section 3.3)."""
    unknown: Sequence[str] = ()
    """Words of the texts that the vocabulary lacks: to the model they are all the same."""


def apart(run: Run, word: str, text_a: str, text_b: str, nth: Sequence[int | None] = (None, None)) -> Apart:
    """Cosine similarity of a word's vector in two texts (a word of several tokens: their mean): in the embeddings, of
    token and place, and behind each block of the stack that reads a text. `nth` says for each text which one is meant,
    where the word stands there more than once.

    Raises UsageError for a word that is not in a text or that the model does not know, for a text that it cannot read
    as it stands, for two texts without different words, and for a model without a residual stream.
    """
    spans = [find(text, word, n) for text, n in zip((text_a, text_b), nth, strict=True)]
    read = [reading(run, text) for text in (text_a, text_b)]
    for text, span in zip(read, spans, strict=True):
        tokens = text.tokens_of(span)
        if not tokens or text.unknown[tokens].any():
            raise UsageError(f"the model does not know {word!r}", "ask for a word of its vocabulary")
    names, streams = residuals(run, read)
    vectors = [_vector(text, stream, span) for text, stream, span in zip(read, streams, spans, strict=True)]
    (a, words_a), (b, words_b) = (_words(text, stream) for text, stream in zip(read, streams, strict=True))
    different = np.array(words_a)[:, None] != np.array(words_b)
    if not different.any():
        raise UsageError("the texts have no two different words to compare with", "give two sentences")
    return Apart(
        word=text_a[slice(*spans[0])],
        texts=(text_a, text_b),
        places=names,
        cosine=np.array([float(u @ v) for u, v in zip(*map(_unit, vectors), strict=True)]),
        baseline=(_unit(a).transpose(1, 0, 2) @ _unit(b).transpose(1, 2, 0))[:, different].mean(1),
        unknown=[word for text in (text_a, text_b) for word in run.unknown_words(text)],
    )


@torch.no_grad()
def residuals(run: Run, texts: Sequence[Reading]) -> tuple[list[str], list[Float[np.ndarray, "places tokens d_model"]]]:
    """The residual stream of each text: in the embeddings, and behind each block. Raises UsageError for a model
    that shows no residual stream."""
    run.model.need("residual_stream")
    stacks, stream = run.recipe.model.stacks, texts[0].prompt.stream
    stack = stream if stream in stacks else stacks[0]
    parts = run.model.parts[stack]
    places = [parts.embeddings, *parts.blocks]
    found = []
    for text in texts:
        with record(run.model, *places) as tape:
            run.model(collate([[text.prompt.example]], run.objective.pad_id))
        found.append(torch.stack([tape[place][0] for place in places]).double().numpy())
    return ["embedding", *(f"block {n}" for n in range(len(parts.blocks)))], found


def _vector(
    text: Reading, stream: Float[np.ndarray, "places tokens d_model"], span: tuple[int, int]
) -> Float[np.ndarray, "places d_model"]:
    """The mean over a word's tokens."""
    return stream[:, text.tokens_of(span)].mean(1)


def _words(
    text: Reading, stream: Float[np.ndarray, "places tokens d_model"]
) -> tuple[Float[np.ndarray, "words places d_model"], list[str]]:
    """The vectors of all words that the model knows, and the words in lower case."""
    known = [span for span in text.words() if text.tokens_of(span) and not text.unknown[text.tokens_of(span)].any()]
    if not known:
        raise UsageError(f"the model knows no word of {text.text!r}", "give a sentence in the language of its texts")
    return np.stack([_vector(text, stream, span) for span in known]), [text.text[a:b].lower() for a, b in known]


def _unit(vectors: Float[np.ndarray, "*any d_model"]) -> Float[np.ndarray, "*any d_model"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def rows(found: Apart) -> list[dict[str, Any]]:
    """A line for each place, for a table."""
    lines = zip(found.places, found.cosine.tolist(), found.baseline.tolist(), strict=True)
    return [{"place": place, "cosine": cosine, "different_words": baseline} for place, cosine, baseline in lines]


def view_of(run: Run, found: Apart) -> View:
    """The same as a view."""
    series = {f"{found.word} in both": found.cosine, "two different words": found.baseline}
    note = "-1 is the embedding, n what has been added up behind block n; a cosine of 1 is the same direction"
    behind = [n - 1 for n in range(len(found.places))]
    panel = lines("Cosine of the two vectors", behind, series, note, "behind block")
    data = {
        "subtitle": f"{found.texts[0]}  |  {found.texts[1]}  ({run.path.name})",
        "panels": [panel],
        "warning": said_unknown(found.unknown),
    }
    return View("panels", f"{found.word} in two texts", data, {}, lambda: figure(found), found._asdict(), rows(found))


@styled
def figure(found: Apart) -> Figure:
    """The two lines, from the embedding upwards through the blocks."""
    many = len(found.places)
    width, height = max(4.6, 0.55 * many + 2.2), 3.5 if found.unknown else 3.3
    page = new_figure(width, height)
    axes = page.add_axes(
        (0.75 / width, 0.55 / height, (width - 2.1) / width, (height - (1.55 if found.unknown else 1.35)) / height)
    )
    word, steps = f"“{visible(found.word, 16)}”", np.arange(many)
    for values, colour, name, style in (
        (found.cosine, "validation", f"{word} in both", "-"),
        (found.baseline, "muted", "two different words", "--"),
    ):
        axes.plot(steps, values, style, color=COLOURS[colour], marker="o", markersize=3.5, linewidth=1.6)
        where: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8, "parse_math": False}
        axes.annotate(name, (steps[-1], values[-1]), (7, 0), color=COLOURS[colour], **where)
    axes.set_xticks(steps, [place.removeprefix("block ") for place in found.places])
    low = min(0.0, float(min(found.cosine.min(), found.baseline.min())) - 0.05)
    axes.set(ylim=(low, 1.04), xlim=(-0.2, many - 0.8))
    axes.set_xlabel("behind block", fontsize=8.5)
    axes.set_ylabel("cosine similarity", fontsize=8.5)
    axes.grid(True, axis="y")
    axes.tick_params(length=0, labelsize=8)
    for line, text in enumerate(found.texts):
        shown = fitted(text, 9.5, width - 0.6)
        page.text(
            0.2 / width, 1 - (0.35 + 0.24 * line) / height, f"{'ab'[line]}  {shown}", fontsize=9.5, parse_math=False
        )
    if found.unknown:
        how: dict[str, Any] = {"fontsize": 8, "color": COLOURS["wrong"], "parse_math": False}
        page.text(0.2 / width, 1 - 0.83 / height, fitted(said_unknown(found.unknown), 8.0, width - 0.4), **how)
    return page


def make(run: Run, word: str, text_a: str, text_b: str, nth: tuple[int | None, int | None] = (None, None)) -> View:
    """How the vectors of one word drift apart in two texts."""
    return view_of(run, apart(run, word, text_a, text_b, nth))
