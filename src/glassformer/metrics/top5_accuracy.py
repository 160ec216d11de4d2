"""Top-5 accuracy: the share of the questions in which the right class is among the five highest outputs."""

from jaxtyping import Bool
from torch import Tensor

from glassformer.metrics import Mean, Terms


class TopFiveAccuracy(Mean):
    """See the module's definition."""

    def of_each(self, terms: Terms) -> Bool[Tensor, "N"]:
        """Whether it is among them."""
        best = terms.outputs.topk(min(5, terms.outputs.shape[-1]), dim=-1).indices
        return (best == terms.targets[:, None]).any(-1)
