"""Output heads, built from what an objective asks (HeadSpec): from hidden states to logits."""

from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.batch import HeadSpec


class Head(nn.Module):
    """Hidden states at the asked positions, to one logit for each class.

    With `transform` there is a dense layer, GELU and a norm first, as in BERT's masked-LM head. Where the head
    is tied, the model replaces `output.weight` by the token embedding's.
    """

    def __init__(self, spec: HeadSpec, d_model: int) -> None:
        super().__init__()
        self.transform = (
            nn.Sequential(nn.Linear(d_model, d_model), nn.GELU(), nn.LayerNorm(d_model)) if spec.transform else None
        )
        self.output = nn.Linear(d_model, spec.size, bias=True)

    def forward(self, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N size"]:
        """Logits of N asked positions."""
        if self.transform is not None:
            hidden = self.transform(hidden)
        return self.output(hidden)
