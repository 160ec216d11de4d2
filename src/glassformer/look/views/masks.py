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
from glassformer.model.attention import Mechanism
from glassformer.model.attention_config import MechanismConfig

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
    batches = [("padded to one length", collate([[example] for example in examples], run.objective.pad_id), True)]
    if len(texts) > 1 and all(stream.n_query_only == 0 for e in examples for stream in e.streams.values()):
        batches.append(("packed into one row", collate([examples], run.objective.pad_id), False))
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
            batch.streams[keys].n_keys or len(tokens[keys][0]),
        )
        allowed = mask.dense()
        whole = torch.ones(rows, many, content) if allowed is None else allowed[:, 0].expand(rows, many, content)
        found.append((name, whole.int().numpy(), tokens[queries], [row[:content] for row in tokens[keys]]))

    for name, stream in batch.streams.items():
        for layers, mask in by_mechanism(run, name, stream.mask):
            add(f"{name}: self-attention{layers}", mask, name, name)
    if len(run.recipe.model.stacks) > 1 and {"encoder", "decoder"} <= set(batch.streams):
        add(
            "cross-attention",
            across(batch.streams["decoder"].mask, batch.streams["encoder"].mask),
            "decoder",
            "encoder",
        )
    return found


def by_mechanism(run: Run, stream: str, mask: AttentionMask) -> list[tuple[str, AttentionMask]]:
    """The mask as the attention mechanisms of a stack use it, a window for example: one for all its layers, or one for
    the layers of each mechanism, which are named."""
    stack = run.model.parts.get(stream) or next(iter(run.model.parts.values()))
    layers: dict[MechanismConfig, list[int]] = {}
    used: dict[MechanismConfig, AttentionMask] = {}
    for n, place in enumerate(stack.self_attention):
        mechanism, which = getattr(run.model.get_submodule(place), "mechanism", None), run.model.config.mechanism_of(n)
        layers.setdefault(which, []).append(n)
        used[which] = mask.within(mechanism.allowed(mask)) if isinstance(mechanism, Mechanism) else mask
    if len(used) < 2:
        return [("", next(iter(used.values()), mask))]
    return [(f" of layers {', '.join(map(str, layers[which]))} ({which.name})", used[which]) for which in used]
