"""Output heads, built from what an objective asks (OutputSpec): from hidden states to logits."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.batch import OutputSpec, TargetsBatch

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}


def read(hidden: Float[Tensor, "B T D"], targets: TargetsBatch, spec: OutputSpec) -> Float[Tensor, "N D"]:
    """The hidden states that a head reads, one vector for each question: that of the asked position or of an example's
    first token, or the mean over all tokens of an example or of a span. Pointers read by `point`.

    Sums are a product with a matrix of N x BT, of which each row has ones at the tokens of its question: spans may
    overlap, shapes are fixed, and neither padding nor the other examples of a packed row are in it.
    """
    flat = hidden.flatten(0, 1)
    if spec.read in ("position", "first"):
        return flat.index_select(0, targets.flat_index)
    assert targets.ends is not None, f"{spec.name} reads a {spec.read}: what it is asked needs ends"
    places = torch.arange(len(flat), device=flat.device)
    inside = (places >= targets.flat_index[:, None]) & (places < targets.ends[:, None])
    return (inside.to(flat.dtype) @ flat) / inside.sum(1, keepdim=True)


def point(said: Float[Tensor, "B T 1"], targets: TargetsBatch) -> Float[Tensor, "N T"]:
    """What a pointer says of each token of each question's span, from what it says of every token: the first outputs
    are those of the span, and behind its end there is -inf, which no softmax sees."""
    assert targets.ends is not None, "a pointer chooses among the tokens of a span: what it is asked needs ends"
    places = targets.flat_index[:, None] + torch.arange(said.shape[1], device=said.device)
    behind = places >= targets.ends[:, None]
    return said.flatten()[places.clamp(max=said.numel() - 1)].masked_fill(behind, -torch.inf)


class Scale(nn.Module):
    """Multiply by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """The same, scaled."""
        return x * self.factor


class Head(nn.Module):
    """Hidden states that were read, to one output for each class or number.

    What comes before the output layer is the spec's `transform`. Where the head is tied, the model replaces
    `output.weight` by the token embedding's; `d_output` is the width of that, where it is not d_model.
    `activation` and `epsilon` are those of the dense layer and its norm; what the output layer reads is multiplied by
    `scale`.
    """

    def __init__(
        self,
        spec: OutputSpec,
        d_model: int,
        d_output: int | None = None,
        activation: str = "gelu",
        epsilon: float = 1e-5,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        width = d_output or d_model
        self.transform: nn.Module | None = None
        if spec.transform == "dense":
            self.transform = nn.Sequential(
                nn.Linear(d_model, width), ACTIVATIONS[activation](), nn.LayerNorm(width, eps=epsilon)
            )
        elif spec.transform == "pooler":
            self.transform = nn.Sequential(nn.Linear(d_model, width), nn.Tanh())
        elif width != d_model:
            self.transform = nn.Linear(d_model, width, bias=False)
        if scale != 1.0:
            before = [] if self.transform is None else [self.transform]
            self.transform = nn.Sequential(*before, Scale(scale))
        self.output = nn.Linear(width, spec.width, bias=spec.bias)

    def forward(self, hidden: Float[Tensor, "*N D"]) -> Float[Tensor, "*N size"]:
        """Outputs for N questions; of a pointer one for each hidden state."""
        if self.transform is not None:
            hidden = self.transform(hidden)
        return self.output(hidden)
