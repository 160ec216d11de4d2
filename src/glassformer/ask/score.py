"""How much each token of a text surprises a model."""

import math
from typing import Any, Literal, NamedTuple

import torch

from glassformer.answers import FillsBlanks
from glassformer.ask.loaded import BATCH, Loaded, refuse_empty
from glassformer.data.batch import collate
from glassformer.errors import UsageError


class Scored(NamedTuple):
    """How much each token of a text surprises a model."""

    text: str
    tokens: list[str]
    surprisal: list[float | None]
    """-ln of the probability of each token, in nats; None for unknown words, of which nothing has been learned."""
    perplexity: float
    """exp of their mean. Of a model that sees both sides it is a pseudo-perplexity: the two cannot be compared."""
    kind: Literal["perplexity", "pseudo-perplexity"] = "perplexity"

    def record(self) -> dict[str, Any]:
        """The shape of `score --json`."""
        return self._asdict()


@torch.no_grad()
def score(run: Loaded, text: str) -> Scored:
    """See `Run.score`."""
    refuse_empty(text)
    examples, found = run.objective.scoring(text), list[float]()
    for start in range(0, len(examples), BATCH):
        batch = collate([[example] for example in examples[start : start + BATCH]], run.objective.pad_id)
        [(head, logits)] = run.model(batch).items()
        targets = batch.targets[head].values[: batch.targets[head].n_targets]
        found += (-logits[: len(targets)].float().log_softmax(-1).gather(1, targets[:, None])[:, 0]).tolist()
    if not found:
        raise UsageError(f"no word of {text!r} is known", "score a text in the language of the training texts")
    ids, nats = run.tokenizer.encode(text, allow_mask=True).ids, iter(found)
    surprisal = [None if id in run.tokenizer.special_ids else next(nats) for id in ids]
    perplexity = math.exp(min(sum(found) / len(found), 700.0))
    kind: Literal["perplexity", "pseudo-perplexity"] = "perplexity"
    if isinstance(run.objective.of(examples[0]), FillsBlanks):
        kind = "pseudo-perplexity"
    return Scored(text, [run.tokenizer.token(id) for id in ids], surprisal, perplexity, kind)
