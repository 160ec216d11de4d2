"""Output heads, built from what an objective asks (HeadSpec): from hidden states to logits."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.batch import HeadSpec

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}


class Head(nn.Module):
    """Hidden states at the asked positions, to one logit for each class.

    What comes before the output layer is the spec's `transform`. Where the head is tied, the model replaces
    `output.weight` by the token embedding's; `d_output` is the width of that, where it is not d_model.
    `activation` and `epsilon` are those of the dense layer and its norm.
    """

    def __init__(
        self,
        spec: HeadSpec,
        d_model: int,
        d_output: int | None = None,
        activation: str = "gelu",
        epsilon: float = 1e-5,
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
        self.output = nn.Linear(width, spec.size, bias=spec.bias)

    def forward(self, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N size"]:
        """Logits of N asked positions."""
        if self.transform is not None:
            hidden = self.transform(hidden)
        return self.output(hidden)
