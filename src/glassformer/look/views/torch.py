"""PyTorch's own blocks beside ours: the same weights, the same text, and every tensor that both compute on the way.

Both run in float64, where two ways to the same number differ by some 1e-15 of it. Rows stand in the order in which they
are computed: the first one that differs by more says where.
"""

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from glassformer.ask.run import Run
from glassformer.data.batch import Batch
from glassformer.errors import UsageError
from glassformer.look.pictures.figures import COLOURS, fitted, styled, visible
from glassformer.look.pictures.page import View
from glassformer.look.pictures.tables import sheet
from glassformer.look.views import Argument, ViewSpec
from glassformer.model.kinds import Model
from glassformer.model.kinds.pytorch import TorchTransformer, from_glassformer
from glassformer.model.kinds.transformer import Transformer
from glassformer.record import hooked, record

VIEW = ViewSpec(
    """PyTorch's own blocks beside ours, tensor by tensor.

    Both are given the weights of the run, and read the text in float64. A run of either kind, of one stack.

    \b
    glassformer look torch runs/mlm-demo "Mars is called the [MASK] planet" --output torch.html
    """,
    takes=(Argument("text", str, "a text that the model reads"),),
    live=("text",),
    says_unknown=True,
)
SAME = 1e-9
"""Differences up to here, beside the largest number of the tensor, are rounding."""
Tensors = dict[str, Tensor]
"""By name, in the order in which they are computed."""


class Beside(NamedTuple):
    """One tensor as both compute it."""

    name: str
    ours: Tensor
    theirs: Tensor

    @property
    def difference(self) -> float:
        """The largest of all its numbers; infinite where one of both is not finite."""
        found = float((self.ours - self.theirs).abs().max())
        return found if np.isfinite(found) else float("inf")

    @property
    def same(self) -> bool:
        """Whether no more than rounding tells them apart."""
        return self.difference <= SAME * max(1.0, float(self.ours.abs().max()))


def pair(run: Run) -> tuple[Model, TorchTransformer]:
    """The model of a run in our blocks and, with the same weights, in PyTorch's, both in float64. Raises UsageError
    naming the first key that PyTorch's blocks do not have."""
    ours, kind = run.model, run.recipe.model.kind
    mend = "choose a run with one stack, whose blocks PyTorch's nn.TransformerEncoderLayer can be"
    if not isinstance(ours, Transformer):
        raise UsageError(f"PyTorch's blocks are no model.kind={kind}", mend)
    if len(ours.config.stacks) > 1:
        raise UsageError(f"model.family={ours.config.family} has two stacks, and one is compared", mend)
    nothing_dropped = {"dropout": 0.0, "attention_dropout": 0.0, "output_dropout": 0.0}
    with torch.random.fork_rng(devices=[]):  # weights are drawn and replaced
        try:
            config = ours.config.model_copy(update=nothing_dropped)
            theirs = TorchTransformer(config, ours.vocab_size, ours.specs.values())
        except UsageError as error:
            raise UsageError(error.what, mend) from None
    ours = copy.deepcopy(ours).double().eval()
    theirs = theirs.double().eval()
    theirs.load_state_dict(from_glassformer(ours.state_dict()))
    return ours, theirs


def beside(ours: Model, theirs: TorchTransformer, batch: Batch) -> list[Beside]:
    """Every tensor of a pass over a batch as both models compute it, in the order in which they do."""
    a, b = tensors_of_ours(ours, batch), tensors_of_torch(theirs, batch)
    return [Beside(name, tensor, b[name]) for name, tensor in a.items()]


def layer_names(n: int, pre_norm: bool) -> list[str]:
    """The tensors of a layer in the order in which they are computed: a norm stands before its part, or behind the
    sum."""
    attention = ["q", "k", "v", "attention weights", "attention output"]
    first, second, forward = ["first norm"], ["second norm"], ["feed-forward"]
    ordered = [*first, *attention, *second, *forward] if pre_norm else [*attention, *first, *forward, *second]
    return [f"layer {n}: {name}" for name in [*ordered, "out"]]


def in_order(found: Tensors, model: Model, outputs: Tensors) -> Tensors:
    """The tensors of a pass in the order in which they are computed."""
    pre_norm = model.config.norm == "pre"
    [name] = model.config.stacks
    places = [place for n in range(model.config.layers_of(name)) for place in layer_names(n, pre_norm)]
    last = ["last norm"] if pre_norm else []
    logits = {f"logits: {head}": tensor for head, tensor in outputs.items()}
    return {place: found[place] for place in ["embeddings", *places, *last]} | logits


@torch.no_grad()
def tensors_of_ours(model: Model, batch: Batch) -> Tensors:
    """What our blocks compute."""
    [(_, parts)] = model.parts.items()
    with record(model, "*") as tape:
        outputs = model(batch)
    found = {"embeddings": tape[parts.embeddings]}
    for n, block in enumerate(parts.blocks):
        attention = tape[f"{block}.self_attention"]
        here = {"q": attention.q, "k": attention.k, "v": attention.v, "attention weights": attention.weights()}
        here["attention output"] = tape[f"{block}.self_attention.output"]
        here["first norm"], here["second norm"] = tape[f"{block}.attention_norm"], tape[f"{block}.feed_forward_norm"]
        here["feed-forward"], here["out"] = tape[f"{block}.feed_forward"], tape[block]
        found |= {f"layer {n}: {name}": tensor for name, tensor in here.items()}
    if parts.norm is not None:
        found["last norm"] = tape[parts.norm]
    return in_order(found, model, outputs)


def tensors_of_torch(model: TorchTransformer, batch: Batch) -> Tensors:
    """What PyTorch's blocks compute. Its attention is asked for its weights as PyTorch gives them, on what it was given
    in this pass; q, k, v are its own projection, cut into heads as `F.multi_head_attention_forward` does.

    Gradients are left on: without them a layer takes a fused path, inside which there is nothing to see.
    """
    [(_, parts)] = model.parts.items()
    found: Tensors = {}

    def attention(place: str, module: nn.Module, given: dict[str, Any], output: Any) -> None:
        assert isinstance(module, nn.MultiheadAttention)
        n = parts.blocks.index(place.removesuffix(".self_attn"))
        x = given["query"]
        projected = F.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, dim=-1)
        heads = (part.unflatten(-1, (module.num_heads, -1)).transpose(1, 2) for part in projected)
        found.update({f"layer {n}: {name}": part.detach() for name, part in zip("qkv", heads, strict=True)})
        masks = {"attn_mask": given["attn_mask"], "key_padding_mask": given["key_padding_mask"]}
        _, weights = module.forward(x, x, x, **masks, need_weights=True, average_attn_weights=False)
        assert weights is not None
        found[f"layer {n}: attention weights"] = weights.detach()
        found[f"layer {n}: attention output"] = output[0].detach()

    places = [f"{block}.self_attn" for block in parts.blocks]
    with torch.enable_grad(), hooked(model, places, attention), record(model, "*") as tape:
        outputs = {head: logits.detach() for head, logits in model(batch).items()}
    found["embeddings"] = tape[parts.embeddings]
    for n, block in enumerate(parts.blocks):
        for name, place in (
            ("first norm", ".norm1"),
            ("second norm", ".norm2"),
            ("feed-forward", ".linear2"),
            ("out", ""),
        ):
            found[f"layer {n}: {name}"] = tape[f"{block}{place}"]
    if parts.norm is not None:
        found["last norm"] = tape[parts.norm]
    return in_order(found, model, outputs)


def rows(found: list[Beside]) -> list[dict[str, Any]]:
    """A line for each tensor, for a table."""
    return [
        {
            "tensor": one.name,
            "shape": "×".join(map(str, one.ours.shape)),
            "largest": float(one.ours.abs().max()),
            "difference": one.difference,
            "same": one.same,
        }
        for one in found
    ]


def said(found: list[Beside]) -> str:
    """The largest difference of all, and where the first one is that is no rounding."""
    most = max(found, key=lambda one: one.difference)
    largest = f"the largest difference of {len(found)} tensors is {most.difference:.1e}, at {most.name}"
    first = next((one for one in found if not one.same), None)
    if first is None:
        return f"the same computation: {largest}"
    return f"different from {first.name} on, by {first.difference:.1e}: {largest}"


def make(run: Run, text: str) -> View:
    """PyTorch's own blocks beside ours on one text. The .npz has both tensors of each row."""
    ours, theirs = pair(run)
    prompt = run.objective.prompt_for("read", text)
    found = beside(ours, theirs, run.collate([prompt]))
    lines, verdict = rows(found), said(found)
    data = {
        "subtitle": f"{run.path.name}: the same weights and the same text in float64",
        "tokens": prompt.tokens,
        "verdict": verdict,
        "rows": lines,
    }
    title = f"PyTorch's blocks beside ours: {text}"
    exact = {"ours": {one.name: one.ours.numpy() for one in found}}
    exact["theirs"] = {one.name: one.theirs.numpy() for one in found}
    view = View("torch", title, data, {}, lambda: picture(title, data), rows=lines, exact=exact)
    return view._replace(said=[verdict])


@styled
def picture(title: str, data: dict[str, Any]) -> Figure:
    """The table as a picture."""
    table = [("tensor", "shape", "largest number", "difference")]
    table += [
        (row["tensor"], row["shape"], f"{row['largest']:.3g}", f"{row['difference']:.1e}") for row in data["rows"]
    ]
    starts, pitch = (0.3, 2.6, 5.3, 6.6), 0.2
    width, height = 6.9, pitch * len(table) + 1.15
    figure, page = sheet(width, height)
    page.text(0.3, 0.3, fitted(visible(title, 90), 11.0, width - 0.6), fontsize=11, va="center", parse_math=False)
    verdict = fitted(data["verdict"], 8.0, width - 0.6)
    page.text(0.3, 0.6, verdict, fontsize=8, va="center", color=COLOURS["muted"], parse_math=False)
    for n, row in enumerate(table):
        different = n > 0 and not data["rows"][n - 1]["same"]
        colour = COLOURS["muted"] if n == 0 else COLOURS["wrong"] if different else COLOURS["ink"]
        for column, (x, text) in enumerate(zip(starts, row, strict=True)):
            align = "right" if column >= 2 else "left"
            page.text(x, 0.95 + n * pitch, text, fontsize=7.5, va="center", ha=align, color=colour, parse_math=False)
    return figure
