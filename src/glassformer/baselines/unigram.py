"""The model that has only counted: it says the same at every position, how often each class occurs."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.batch import Batch


class Unigram(nn.Module):
    """Log-probabilities from counts, one added to each so that nothing is impossible. Same call as the model."""

    def __init__(self, counts: dict[str, Float[Tensor, "_"]]) -> None:
        super().__init__()
        self.log_probabilities = {name: torch.log((c + 1) / (c + 1).sum()) for name, c in counts.items()}

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, "_ _"]]:
        """The same logits for each asked position."""
        return {
            name: self.log_probabilities[name].to(asked.rows.device).expand(len(asked.rows), -1)
            for name, asked in batch.asked.items()
        }
