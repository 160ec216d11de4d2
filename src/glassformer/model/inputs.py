"""What turns the values of a stream into vectors, before positions are added: token ids through a table, features (such
as the pixels of a patch) through a linear layer."""

from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.batch import StreamSpec
from glassformer.errors import UsageError


class FeatureInput(nn.Module):
    """Vectors of features, each projected to the width of the embeddings (the patch embedding of a Vision Transformer;
    Dosovitskiy et al. 2021, equation 1)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(size, width)
        self.embedding_dim = width

    def forward(self, values: Float[Tensor, "B T F"]) -> Float[Tensor, "B T D"]:
        """One vector for each place. Raises UsageError for features of another size."""
        if values.dim() != 3 or values.shape[-1] != self.project.in_features:
            raise UsageError(
                f"this stream takes vectors of {self.project.in_features} features, and is given {tuple(values.shape)}",
                "make its examples with features of that size",
            )
        return self.project(values.to(self.project.weight.dtype))


Input = nn.Embedding | FeatureInput


def input_for(what: int | StreamSpec, width: int) -> Input:
    """The input of a stream; a number is the size of a vocabulary."""
    if isinstance(what, StreamSpec) and what.kind == "features":
        return FeatureInput(what.size, width)
    return nn.Embedding(what if isinstance(what, int) else what.size, width)
