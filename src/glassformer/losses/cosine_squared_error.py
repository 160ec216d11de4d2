"""Squared error of a cosine (Sentence-BERT's regression; Reimers and Gurevych 2019, section 3): how alike are two?

    outputs    a vector for each question; the questions 0 and 1 are a pair, 2 and 3, and so on
    targets    of each question the number of its pair: where the cosine of the two vectors should be

Each question of a pair has the same loss, (cosine - target)^2, so that the mean over questions is that over pairs.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from glassformer.losses import LossFunction


class CosineSquaredError(LossFunction):
    """See the module's definition."""

    def said(self, outputs: Float[Tensor, "N size"]) -> Float[Tensor, "N 1"]:
        """The cosine of each question's pair."""
        vectors = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return F.cosine_similarity(vectors[::2], vectors[1::2], dim=-1).repeat_interleave(2)[:, None]

    def of_each(self, outputs: Float[Tensor, "N size"], targets: Float[Tensor, "N *numbers"]) -> Float[Tensor, "N"]:
        """By the cosine of each pair."""
        return (self.said(outputs)[:, 0] - targets.flatten()).square()
