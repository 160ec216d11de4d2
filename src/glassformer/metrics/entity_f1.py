"""F1 of entities, strict: 2 tp / (2 tp + fp + fn), over names that are found whole, with both borders and the kind.

    true      B-PER I-PER O B-LOC
    guessed   B-PER O     O B-LOC       tp 1, fp 1, fn 1: 0.5

By tags in IOB2; an I- that goes on with nothing is no name. This is the number of seqeval's strict mode, and for
tags without such faults that of CoNLL-2003 (Tjong Kim Sang and De Meulder 2003). Where no name is true and none guessed
there is no F1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from glassformer.data.tag_schemes import entities_in
from glassformer.metrics import Metric, Terms


class EntityF1(Metric):
    """See the module's definition."""

    def statistics(self, terms: Terms) -> Float[Tensor, "3"]:
        """How many names are right, guessed, true."""
        assert terms.labels is not None and terms.guesses is not None and terms.sequences is not None
        found = torch.zeros(3, dtype=torch.float64)
        order = terms.sequences.argsort(stable=True)
        _, lengths = terms.sequences[order].unique_consecutive(return_counts=True)
        for guessed, true in zip(
            terms.guesses[order].split(lengths.tolist()), terms.targets[order].split(lengths.tolist()), strict=True
        ):
            one, other = (set(entities_in([terms.labels[int(n)] for n in tags])) for tags in (guessed, true))
            found += torch.tensor([len(one & other), len(one), len(other)], dtype=torch.float64)
        return found

    def compute(self, statistics: Float[Tensor, "3"]) -> float:
        """Of all sentences together."""
        right, guessed, true = statistics.tolist()
        return 2 * right / (guessed + true) if guessed + true else float("nan")
