"""Who may see whom."""

import numpy as np
import torch

from glassformer.ask.run import Run
from glassformer.data.batch import Batch, collate
from glassformer.data.masks import AttentionMask, across
from glassformer.look.measures.questions import whole
from glassformer.look.pictures.figures import visible
from glassformer.look.pictures.page import View
from glassformer.look.pictures.panels import of_panels, squares
from glassformer.look.views import Argument, ViewSpec

VIEW = ViewSpec(
    "Who may see whom when a model reads these texts.",
    takes=(Argument("texts", list[str], "texts that the model reads together", metavar="TEXT"),),
    live=("texts",),
)


def make(run: Run, texts: list[str]) -> View:
    """Who may see whom when the model reads these texts: each padded to the longest of them; several also packed into
    one row, where none sees another. A decoder beside an encoder reads the same texts."""
    examples = [run.objective.prompt_for("read", text).example for text in texts]
    if len(run.recipe.model.stacks) > 1:
        examples = [whole(run, run.written(text, text))[0] for text in texts]
    batches = [("padded to one length", collate([[example] for example in examples], run.tokenizer.pad_id), True)]
    if len(texts) > 1 and all(stream.queries == 0 for e in examples for stream in e.streams.values()):
        batches.append(("packed into one row", collate([examples], run.tokenizer.pad_id), False))
    panels = []
    for how, batch, each in batches:
        for name, mask, queries, keys in masks_of(run, batch):
            for row in range(len(queries)):
                title = f"{name}, {how}" + (f": {visible(texts[row], 30)}" if each else "")
                note = "1 where the token of a row may attend to that of a column"
                names = ("query (looks)", "key (is looked at)")
                panels.append(squares(title, mask[row], note, queries[row], keys[row], names, "may attend"))
    data = {"subtitle": f"{run.path.name}: {run.recipe.description or run.path}", "panels": panels, "square": True}
    return of_panels(f"Masks of {run.path.name}", data)


def masks_of(run: Run, batch: Batch) -> list[tuple[str, np.ndarray, list[list[str]], list[list[str]]]]:
    """Every kind of attention of a batch: its name, its mask (rows x query x key), and the tokens of both sides."""
    tokens = {
        name: [[run.objective.tokenizer_of(name).token(int(id)) for id in row] for row in stream.input_ids]
        for name, stream in batch.streams.items()
    }
    found = []

    def add(name: str, mask: AttentionMask, queries: str, keys: str) -> None:
        rows, many, content = (
            len(tokens[queries]),
            len(tokens[queries][0]),
            batch.streams[keys].content or len(tokens[keys][0]),
        )
        allowed = mask.dense()
        whole = torch.ones(rows, many, content) if allowed is None else allowed[:, 0].expand(rows, many, content)
        found.append((name, whole.int().numpy(), tokens[queries], [row[:content] for row in tokens[keys]]))

    for name, stream in batch.streams.items():
        add(f"{name}: self-attention", stream.mask, name, name)
    if len(run.recipe.model.stacks) > 1 and {"encoder", "decoder"} <= set(batch.streams):
        add(
            "cross-attention",
            across(batch.streams["decoder"].mask, batch.streams["encoder"].mask),
            "decoder",
            "encoder",
        )
    return found
