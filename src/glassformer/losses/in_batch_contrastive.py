"""Contrastive loss with negatives from the batch (InfoNCE; van den Oord et al. 2018, equation 4; with the cosine and
the temperature of SimCSE; Gao et al. 2021, equation 1): of all other vectors of the batch, which one belongs to this?

    outputs    a vector for each question
    targets    the number of the pair that it is of: two questions of the same number belong together

Of each question the loss is cross-entropy over the other questions of the batch, by cosine / TEMPERATURE, the mean over
those that belong to it. A question that is alone with its number has none, and its loss is 0. The more questions a
batch has the harder it is, in evaluation too: losses can be compared where the batches are alike.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from glassformer.losses import LossFunction

TEMPERATURE = 0.05


class InBatchContrastive(LossFunction):
    """See the module's definition."""

    targets = "groups"

    def of_each(self, outputs: Float[Tensor, "N size"], targets: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        """By the cosine of every question with every other."""
        if len(outputs) == 0:
            return outputs.new_zeros(0, dtype=torch.float32)
        vectors = F.normalize(outputs.to(torch.promote_types(outputs.dtype, torch.float32)), dim=-1)
        itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        scores = (vectors @ vectors.T / TEMPERATURE).masked_fill(itself, -1e9)
        belongs = (targets[:, None] == targets) & ~itself
        of_pairs = -scores.log_softmax(-1).where(belongs, 0.0)
        return of_pairs.sum(-1) / belongs.sum(-1).clamp(min=1)
