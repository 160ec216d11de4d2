"""One token through one layer, step by step: every number is the model's own, and beside it stands its formula."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from glassformer.ask.run import Run
from glassformer.data.batch import collate
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.formatting import without_marks
from glassformer.look.measures.words import as_token
from glassformer.look.pictures.figures import COLOURS, SIGNED, fitted, styled, visible
from glassformer.look.pictures.page import View
from glassformer.look.pictures.tables import sheet
from glassformer.look.views import Argument, Option, ViewSpec
from glassformer.record import RecordedAttention, Tape, record

VIEW = ViewSpec(
    """One token through one layer, with every number and formula.

    \b
    glassformer look steps runs/mlm-demo "Mars is called the red planet" --layer 1 --token red --output red.html
    """,
    takes=(
        Argument("text", str, "a text, with or without [MASK]"),
        Option("layer", int, 0, "which layer, counted from 0"),
        Option("head", int, 0, "which head of it, counted from 0"),
        Option("token", str | None, None, "which token, or its number; without it the blank, or the last known word"),
    ),
    needs=("attention_weights", "block_steps"),
    live=("text", "layer", "head", "token"),
)


SHOWN = 8
"""Candidates at the end."""


@torch.no_grad()
def make(run: Run, text: str, layer: int = 0, head: int = 0, token: str | None = None) -> View:
    """What layer `layer` does to one token of a text, with the numbers of head `head`; `token` None: the first blank,
    or the last word that the model knows.

    Raises UsageError for a layer or head that does not exist, for a token that the text has not, and for a model
    without attention or whose blocks show no steps.
    """
    run.model.need("attention_weights")
    run.model.need("block_steps")
    prompt = run.objective.prompt_for("read", text)
    name = prompt.stream if prompt.stream in run.recipe.model.stacks else run.recipe.model.stacks[0]
    config = run.recipe.model
    for what, number, many in (("layer", layer, config.layers_of(name)), ("head", head, config.n_heads)):
        if not 0 <= number < many:
            raise UsageError(f"there is no {what} {number}", f"this model has {what}s 0 to {many - 1}")
    stack: Any = run.model.get_submodule(name)
    place = place_of(token, prompt.tokens, run.tokenizer)
    with record(run.model, name, f"{name}.*") as tape:
        logits = run.model(collate([[prompt.example]], run.objective.pad_id))
    walk = Walk(tape, stack, name, layer, head, place, prompt.tokens)
    steps = [*walk.entrance(), *walk.attention(), *walk.feed_forward()]
    objective = run.objective.of(prompt.example)
    said = [blank for blank in objective.answer(prompt.example, logits, SHOWN) if blank.position == place]
    last = layer == config.layers_of(name) - 1
    data = {
        "subtitle": f"{run.path.name}: layer {layer} of 0 to {config.layers_of(name) - 1}, "
        f"head {head} of 0 to {config.n_heads - 1}, token {place} of 0 to {len(prompt.tokens) - 1}",
        "text": text,
        "tokens": prompt.tokens,
        "place": place,
        "layer": layer,
        "head": head,
        "steps": steps,
        "candidates": [c._asdict() for c in said[0].candidates] if said and last else [],
    }
    return View("steps", text, data, {}, lambda: picture(text, data))


def place_of(token: str | None, tokens: list[str], tokenizer: Tokenizer) -> int:
    """Where a token stands: as the tokenizer writes it, or as a person does, or its number; None: the first blank, else
    the last token that is part of a word and known, else the last one. Raises UsageError where it does not stand."""
    if token is None:
        mask, special = (
            tokenizer.token(tokenizer.mask_id),
            {tokenizer.token(id) for id in tokenizer.special_ids},
        )
        words = [n for n, each in enumerate(tokens) if each not in special and any(letter.isalnum() for letter in each)]
        return tokens.index(mask) if mask in tokens else (words or [len(tokens) - 1])[-1]
    for same in (token, as_token(tokenizer, token)):
        if same in tokens:
            return tokens.index(same)
    if token in (shown := [without_marks(each) for each in tokens]):
        return shown.index(token)
    if token.isdecimal():
        if int(token) < len(tokens):
            return int(token)
        raise UsageError(f"there is no token {token}", f"the text has tokens 0 to {len(tokens) - 1}")
    raise UsageError(f"{token!r} is no token of this text", f"its tokens are: {' '.join(tokens)}")


def vector(name: str, formula: str, values: Tensor, note: str = "") -> dict[str, Any]:
    """A step that ends in one vector."""
    return {"kind": "vector", "name": name, "formula": formula, "note": note, "values": _rounded(values)}


def per_token(name: str, formula: str, values: Tensor, note: str = "") -> dict[str, Any]:
    """A step that ends in one number for each token, or one vector for each."""
    kind = "numbers" if values.ndim == 1 else "vectors"
    return {"kind": kind, "name": name, "formula": formula, "note": note, "values": _rounded(values)}


def _rounded(values: Tensor) -> list[Any]:
    return np.round(values.double().numpy(), 5).tolist()


def softmax_gradient(weights: Float[Tensor, "K"]) -> float:
    """How strongly the softmax answers to its scores: the largest |d weight / d score| = w (1 - w). At most 1/4; next
    to 0 where one weight is next to 1, and then nothing is learned through it."""
    return float((weights * (1 - weights)).max())


KEY = (
    "across: features, or one number for each token; blue above zero, orange below, each strip to its own largest size"
)


@styled
def picture(title: str, data: dict[str, Any]) -> Figure:
    """The same as one long picture: name and formula on the left, the numbers as coloured squares."""
    steps, tokens = data["steps"], data["tokens"]
    heights = [0.5 if step["kind"] == "vector" else 0.22 * len(tokens) + 0.3 for step in steps]
    width, left, right = 11.0, 3.6, 10.7
    figure, page = sheet(width, sum(heights) + 1.2)
    heading = f"{title}: {data['subtitle']}"
    page.text(0.3, 0.35, fitted(heading, 11.0, width - 0.6), fontsize=11, va="center")
    page.text(0.3, 0.6, KEY, fontsize=8, va="center", color=COLOURS["muted"])
    page.imshow(
        np.linspace(-1, 1, 101)[None], cmap=SIGNED, extent=(right - 1.8, right - 0.6, 0.66, 0.54), aspect="auto"
    )
    page.text(right - 1.9, 0.6, "−largest", fontsize=7, va="center", ha="right", color=COLOURS["muted"])
    page.text(right, 0.6, "+largest", fontsize=7, va="center", ha="right", color=COLOURS["muted"])
    top = 1.05
    for step, height in zip(steps, heights, strict=True):
        page.text(0.3, top + 0.1, step["name"], fontsize=9, va="center")
        page.text(0.3, top + 0.28, fitted(step["formula"], 8.0, 2.4), fontsize=8, va="center", color=COLOURS["muted"])
        rows = np.atleast_2d(np.array(step["values"]))
        rows = rows.T if step["kind"] == "numbers" else rows
        end = right if step["kind"] != "numbers" else left + 1.2
        largest = float(np.abs(rows).max()) or 1.0
        bottom = top + height - 0.2
        page.imshow(rows, cmap=SIGNED, vmin=-largest, vmax=largest, extent=(left, end, bottom, top), aspect="auto")
        if step["kind"] != "vector":
            pitch = (bottom - top) / len(tokens)
            for n, token in enumerate(tokens):
                y = top + (n + 0.5) * pitch
                page.text(left - 0.08, y, visible(token, 14), fontsize=7, ha="right", va="center")
                if step["kind"] == "numbers":
                    page.text(end + 0.1, y, f"{step['values'][n]:.4f}", fontsize=7, va="center")
        top += height
    page.set(xlim=(0, width), ylim=(sum(heights) + 1.2, 0))
    return figure


class Walk:
    """The recorded pass of one text, looked at from one token, one layer and one head."""

    def __init__(self, tape: Tape, stack: Any, name: str, layer: int, head: int, place: int, tokens: list[str]) -> None:
        self.tape, self.stack, self.name, self.layer, self.head, self.place = tape, stack, name, layer, head, place
        self.tokens = tokens
        self.block: Any = stack.blocks[layer]
        self.pre_norm = self.block.pre_norm

    def at(self, path: str) -> Tensor:
        """What a module of this layer gave, at the token."""
        return self.tape[f"{self.name}.blocks.{self.layer}.{path}"][0, self.place]

    def entrance(self) -> list[dict[str, Any]]:
        """From the token to the layer's input."""
        tape, name, place = self.tape, self.name, self.place
        embeddings: Any = self.stack.embeddings
        steps = [vector("Embedding", "E[token]", tape[f"{name}.embeddings.token"][0, place], "its row of the table")]
        if embeddings.widen is not None:
            steps.append(vector("Widened", "W E[token] + b", tape[f"{name}.embeddings.widen"][0, place]))
        if embeddings.scale != 1.0:
            value = torch.tensor(steps[-1]["values"]) * embeddings.scale
            steps.append(
                vector("Scaled", f"√d_model · E = {embeddings.scale:.2f} · E", value, "so that waves do not drown it")
            )
        added = tape[f"{name}.positions"]
        if added is not None:
            steps.append(vector("Position", f"P[{place}]", added[0, place], f"where the token stands: place {place}"))
        whole = tape[f"{name}.embeddings"][0, place]
        steps.append(
            vector(
                "Residual stream, at the start", "x = sum of these" + (", normalised" if embeddings.norm else ""), whole
            )
        )
        if self.layer:
            steps.append(vector(f"Residual stream, after layer {self.layer - 1}", "x", self.before()))
        return steps

    def before(self) -> Tensor:
        """The residual stream that enters the layer."""
        if self.layer == 0:
            return self.tape[f"{self.name}.embeddings"][0, self.place]
        return self.tape[f"{self.name}.blocks.{self.layer - 1}"][0, self.place]

    def attention(self) -> list[dict[str, Any]]:
        """Normalise, project, compare, weigh, mix, project, add."""
        part, steps = self.block.self_attention, list[dict[str, Any]]()
        recorded: RecordedAttention = self.tape[f"{self.name}.blocks.{self.layer}.self_attention"]
        width, head, place = part.d_head, self.head, self.place
        shared = head * recorded.k.shape[1] // recorded.q.shape[1]
        if self.pre_norm:
            steps.append(
                vector("Normalised", "n = norm(x)", self.at("attention_norm"), "mean and size taken out, then gain")
            )
        source = "n" if self.pre_norm else "x"
        q, k, v = recorded.q[0, head, place], recorded.k[0, shared], recorded.v[0, shared]
        turned = self.stack.positions.rotation(torch.tensor([[0]])) is not None
        after = ", turned by its place" if turned else ""
        steps.append(vector("Query", f"q = W_q {source} + b{after}", q, f"{width} numbers of head {head}"))
        steps.append(per_token("Keys", f"k = W_k {source} + b{after}", k, "of every token"))
        steps.append(per_token("Values", f"v = W_v {source} + b", v, "of every token"))
        raw = k @ q
        scale = float(part.mechanism.scale)
        scores = raw * scale
        steps.append(per_token("Scores", "q · k", raw, f"spread {float(raw.std(correction=0)):.2f}"))
        steps.append(
            per_token("Scaled scores", f"q · k · {scale:.4g}", scores, f"spread {float(scores.std(correction=0)):.2f}")
        )
        if recorded.bias is not None:
            bias = recorded.bias[0, min(head, recorded.bias.shape[1] - 1), place]
            scores = scores + bias
            steps.append(per_token("Bias of the distance", "b[i - j]", bias, "added to the scores"))
        allowed = recorded.allowed()
        seen = (
            torch.ones(len(k), dtype=torch.bool)
            if allowed is None
            else allowed.expand(1, 1, -1, -1)[0, 0, min(place, allowed.shape[2] - 1)]
        )
        if not bool(seen.all()):
            steps.append(
                per_token("Mask", "1 where it may attend", seen.float(), "all others get -∞ before the softmax")
            )
        weights = recorded.weights(heads=[head], rows=[place])[0, 0, 0]
        unscaled = (raw + (scores - raw * scale)).masked_fill(~seen, -math.inf).softmax(-1)
        steps.append(
            per_token(
                "Weights",
                "softmax(scores)",
                weights,
                f"largest gradient of this softmax {softmax_gradient(weights):.4f}",
            )
        )
        steps.append(
            per_token(
                "Without the scale",
                "softmax(q · k)",
                unscaled,
                f"its largest gradient would be {softmax_gradient(unscaled):.4f}",
            )
        )
        context = recorded.context[0, head, place]
        steps.append(vector("Context", "Σ weight · v", context, "a mixture of the values"))
        written = self.at("self_attention.output")
        steps.append(vector("Output", "o = W_o [all heads] + b", written, "of all heads together"))
        summed = self.before() + written
        if self.pre_norm:
            steps.append(vector("Residual stream", "x ← x + o", summed))
        else:
            steps.append(vector("Residual stream, normalised", "x ← norm(x + o)", self.at("attention_norm")))
        if self.block.cross_attention is not None:
            crossed = self.at("cross_attention.output")
            steps.append(vector("From the source", "c = cross-attention(x)", crossed, "see `look generation`"))
        return steps

    def feed_forward(self) -> list[dict[str, Any]]:
        """Normalise, widen, bend, narrow, add."""
        part, steps = self.block.feed_forward, list[dict[str, Any]]()
        if self.pre_norm:
            steps.append(vector("Normalised", "n = norm(x)", self.at("feed_forward_norm")))
        source = "n" if self.pre_norm else "x"
        wide = self.at("feed_forward.expand")
        steps.append(vector("Widened", f"h = W₁ {source} + b", wide, f"{len(wide)} numbers"))
        if part.gated:
            gate, value = wide.chunk(2)
            bent, formula = part.activation(gate) * value, "f(first half) · second half"
        else:
            bent, formula = part.activation(wide), "f(h)"
        silent = float((bent.abs() < 0.05 * bent.abs().max()).float().mean())
        steps.append(vector("Bent", formula, bent, f"{silent:.0%} of them are next to nothing"))
        written = self.at("feed_forward")
        steps.append(vector("Narrowed", "o = W₂ f(h) + b", written))
        result = self.tape[f"{self.name}.blocks.{self.layer}"][0, self.place]
        formula = "x ← x + o" if self.pre_norm else "x ← norm(x + o)"
        steps.append(vector(f"Residual stream, after layer {self.layer}", formula, result))
        return steps
