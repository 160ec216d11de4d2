"""Local attention: the same over the keys less than a window away, before and, where nothing is causal, after."""

from mechanism_contract import Case, distance, may_attend, softmax_over
from torch import Tensor

KEYS: dict[str, object] = {"window": 3}


def weights(case: Case) -> Tensor:
    return softmax_over(case, lambda b, i, j: may_attend(case.mask, b, i, j) and -3 < distance(case.mask, b, i, j) < 3)
