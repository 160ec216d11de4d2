"""Full attention: softmax(q k^T / sqrt(E) + bias) over the keys that may be seen (Vaswani et al. 2017, equation 1)."""

from mechanism_contract import Case, may_attend, softmax_over
from torch import Tensor

KEYS: dict[str, object] = {}


def weights(case: Case) -> Tensor:
    return softmax_over(case, lambda b, i, j: may_attend(case.mask, b, i, j))
