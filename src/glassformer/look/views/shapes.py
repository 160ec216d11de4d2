"""The view of shapes: what comes out of every part of a model, its parameters, and its arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree
from torch.utils.flop_counter import FlopCounterMode

from glassformer.ask.run import Run
from glassformer.data.batch import Batch, collate
from glassformer.look.pictures.figures import COLOURS, fitted, styled, visible
from glassformer.look.pictures.page import View
from glassformer.look.pictures.tables import sheet
from glassformer.look.views import Argument, ViewSpec
from glassformer.model.size import count_parameters
from glassformer.record import RecordedAttention, Tape, record

VIEW = ViewSpec(
    "Every part of a model: output shape, parameters, FLOPs.",
    takes=(Argument("text", str, "a text that the model reads"),),
    live=("text",),
    as_it_is=True,
)


UNITS = "FLOPs: operations of the matrix products, two for each multiply-add; those of attention itself too"
"""What is counted, said wherever the numbers stand."""


@contextmanager
def plain_products() -> Iterator[None]:
    """While open, attention and PyTorch's own blocks run as the matrix products that they are. PyTorch's counter knows
    neither the fused attention of a processor nor the fused layer of its blocks, and counts nothing for either."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@torch.no_grad()
def make(run: Run, text: str) -> View:
    """Every part of the model, in the order in which it runs, on one text: the shape of its output, its own parameters
    (one that is shared counts where it comes first) and the floating-point operations of its matrix products, those of
    its parts included, counted by PyTorch: two for each multiply-add. Those of attention itself, queries with keys and
    weights with values, stand at its mechanism; all pairs count, also those that a mask hides. What is done number by
    number (norms, softmax, activations) is left out."""
    prompt = run.objective.prompt_for("read", text)
    model = run.model
    tape, flops, total = counted_pass(model, collate([[prompt.example]], run.objective.pad_id))
    rows, counted = list[dict[str, Any]](), set[int]()
    for path, module in model.named_modules(remove_duplicate=False):
        if not path or isinstance(module, nn.ModuleList | nn.ModuleDict):
            continue
        own = [p for p in module.parameters(recurse=False) if id(p) not in counted]
        counted.update(map(id, own))
        rows.append(
            {
                "place": path,
                "kind": type(module).__name__,
                "output": shape_of(tape, path),
                "parameters": sum(p.numel() for p in own),
                "weights": ", ".join("×".join(map(str, p.shape)) for p in module.parameters(recurse=False)),
                "flops": flops.get(path, 0),
            }
        )
    data = {
        "subtitle": f"{run.path.name}: {run.recipe.description or run.path}",
        "units": UNITS,
        "text": text,
        "tokens": prompt.tokens,
        "rows": rows,
        "parameters": count_parameters(model),
        "flops": total,
    }
    view = View("shapes", f"Shapes: {text}", data, {}, lambda: picture(f"Shapes: {text}", data), rows=rows)
    return view._replace(table=summary_rows(view), said=[UNITS])


def counted_pass(model: nn.Module, batch: Batch) -> tuple[Tape, dict[str, int], int]:
    """One pass over a batch: what came out of every part, the FLOPs of each part by its path, and of the whole."""
    model(batch)  # what is made at the first pass is not counted
    counter = FlopCounterMode(display=False)
    with plain_products(), counter, record(model, "*") as tape:
        model(batch)
    whole = f"{type(model).__name__}."
    flops = {path.removeprefix(whole): int(sum(ops.values())) for path, ops in counter.get_flop_counts().items()}
    return tape, flops, int(counter.get_total_flops())


def summary_rows(view: View) -> list[dict[str, Any]]:
    """A line for each part and one for the whole model, in as many columns as a narrow terminal takes."""
    lines = [(row["place"], row["output"], row["parameters"], row["flops"]) for row in view.data["rows"]]
    lines.append(("(whole model)", "", view.data["parameters"], view.data["flops"]))
    return [
        {"part": place, "output": output, "parameters": own or None, "FLOPs": flops or None}
        for place, output, own, flops in lines
    ]


def shape_of(tape: Tape, path: str) -> str:
    """What a part gave, B x T x D as they are; empty where it did not run."""
    if path.endswith("_attention"):  # the tape has what its mechanism was given
        path += ".output"
    if path not in tape:
        return ""
    found = tape[path]
    tensors = [found.context] if isinstance(found, RecordedAttention) else _pytree.tree_leaves(found)
    return ", ".join("×".join(map(str, x.shape)) for x in tensors if isinstance(x, Tensor))


@styled
def picture(title: str, data: dict[str, Any]) -> Figure:
    """The table as a picture."""
    rows = [("place", "kind", "weights", "output", "parameters", "FLOPs")]
    for row in data["rows"]:
        numbers = (f"{row['parameters']:,}" if row["parameters"] else "", f"{row['flops']:,}" if row["flops"] else "")
        rows.append((row["place"], row["kind"], row["weights"], row["output"], *numbers))
    rows.append(("whole model", "", "", "", f"{data['parameters']:,}", f"{data['flops']:,}"))
    starts, pitch = (0.3, 3.9, 5.7, 7.6, 10.4, 11.9), 0.2
    width, height = 12.2, pitch * len(rows) + 0.9
    figure, page = sheet(width, height + 0.25)
    page.text(0.3, 0.3, fitted(visible(title, 80), 11.0, width - 0.6), fontsize=11, va="center")
    page.text(0.3, 0.6, data["units"], fontsize=8, va="center", color=COLOURS["muted"])
    for n, row in enumerate(rows):
        y = 0.95 + n * pitch
        for column, (x, text) in enumerate(zip(starts, row, strict=True)):
            right = column >= 4
            room = (starts[column + 1] if column < 3 else 10.3) - x
            shown = text if right or not text else fitted(text, 7.5, room - 0.1)
            colour = COLOURS["muted"] if n == 0 else COLOURS["ink"]
            page.text(x, y, shown, fontsize=7.5, va="center", ha="right" if right else "left", color=colour)
    return figure
