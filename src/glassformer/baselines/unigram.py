"""The model that has only counted: it says the same at every position, how often each class occurs."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer.data.batch import Batch


class Constant(nn.Module):
    """Says the same to every question. Same call as the model."""

    def __init__(self, outputs: dict[str, Float[Tensor, "_"]]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, "_ _"]]:
        """The same outputs for each question."""
        return {
            name: self.outputs[name].to(targets.flat_index.device).expand(len(targets.flat_index), -1)
            for name, targets in batch.targets.items()
        }


class Unigram(Constant):
    """Log-probabilities from counts, a little taken from each and given to all alike, so that nothing is impossible:
    the lowest order of `NGram`."""

    def __init__(self, counts: dict[str, Float[Tensor, "_"]]) -> None:
        super().__init__({name: discounted(each).log() for name, each in counts.items()})


def discounted(counts: Float[Tensor, "classes"]) -> Float[Tensor, "classes"]:
    """Probabilities by absolute discounting (Ney, Essen and Kneser 1994): max(c - D, 0) / N, and of the D that each of
    the classes seen gave every class has the same share; D = n1 / (n1 + 2 n2), n1 and n2 being how many were seen once
    and twice. Adding one to every count instead makes of a small text a line that is easily beaten. Without any count
    all are alike."""
    total = counts.sum()
    if total == 0:
        return torch.full_like(counts, 1 / len(counts))
    once, twice = ((counts == n).sum() for n in (1, 2))
    discount = once / (once + 2 * twice) if once else torch.tensor(0.5)
    seen = (counts > 0).sum()
    return ((counts - discount).clamp(min=0) + discount.clamp(max=1) * seen / len(counts)) / total
