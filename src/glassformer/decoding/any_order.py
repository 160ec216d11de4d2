"""A text whose blanks are filled one after another, in any order: each word that is written is seen by the next ones.
For objectives that ask a place before they have seen it (XLNet's queries; Yang et al. 2019, section 2.3)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer.answers import FillsInAnyOrder, Prompt
from glassformer.data.batch import collate
from glassformer.decoding import DecodingConfig, Generated, precise
from glassformer.decoding.sampling import choose
from glassformer.errors import UsageError
from glassformer.progress import report_progress


@torch.no_grad()
def fill_in(
    model: nn.Module,
    objective: FillsInAnyOrder,
    prompts: list[Prompt],
    config: DecodingConfig,
    draw: torch.Generator | None = None,
) -> list[list[Generated]]:
    """`config.number` texts for each prompt: the tokens of the whole text, and the sum of the log-probabilities of
    those that were filled in, among the ordinary tokens (a blank that is filled with a [MASK] would be one for ever).
    One forward pass over all texts for each blank of the one that has most. Without `draw`, `config.seed` is drawn by.

    Raises UsageError for a text without a blank.
    """
    texts = [prompt for prompt in prompts for _ in range(config.number)]
    for prompt in prompts:
        if not blanks_of(prompt):
            raise UsageError(f"there is no blank in {prompt.text!r}", "write [MASK] for each word that is wanted")
    if draw is None:
        draw = torch.Generator().manual_seed(config.seed)
    special = torch.tensor(sorted(objective.tokenizer.special_ids))
    sums = [0.0] * len(texts)
    while open_ones := [n for n, prompt in enumerate(texts) if blanks_of(prompt)]:
        report_progress()
        [logits] = model(collate([[texts[n].example] for n in open_ones], objective.tokenizer.pad_id)).values()
        ordinary = precise(logits).index_fill(1, special.to(logits.device), float("-inf"))
        own = ordinary.split([blanks_of(texts[n]) for n in open_ones])
        for n, scores in zip(open_ones, own, strict=True):
            blank = next_blank(scores, config, draw)
            [token] = choose(scores[blank : blank + 1], config, draw).tolist()
            sums[n] += float(scores[blank].log_softmax(-1)[token])
            texts[n] = objective.filled(texts[n], blank, token)
    ids = [prompt.example.streams[prompt.stream].values.tolist() for prompt in texts]
    found = [Generated(tokens, total, True) for tokens, total in zip(ids, sums, strict=True)]
    return [found[n : n + config.number] for n in range(0, len(found), config.number)]


def blanks_of(prompt: Prompt) -> int:
    """How many places are still asked."""
    return sum(len(targets.positions) for targets in prompt.example.targets.values())


def next_blank(scores: Float[Tensor, "blanks V"], config: DecodingConfig, draw: torch.Generator) -> int:
    """Which of the blanks, which stand in the order of the text, is filled next."""
    if config.order == "surest":
        return int(scores.log_softmax(-1).amax(-1).argmax())
    if config.order == "random":
        return int(torch.randint(len(scores), (1,), generator=draw))
    return 0 if config.order == "left" else len(scores) - 1
