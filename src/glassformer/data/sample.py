"""A bounded sample of texts of any size, drawn from all of them: what a tokenizer is trained on."""

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from glassformer.data.long_texts import parts_of
from glassformer.randomness import Purpose, generator

CHARACTERS = 16_000_000
"""Of a sample at most. More text changes few of the tokens, and the library holds all of it in memory."""
_PART = 2**14
"""Characters of a part at most: of a long text parts are drawn, not all or nothing."""
_DRAWN_AT_ONCE = 4096


class Sample(NamedTuple):
    """The texts drawn, in their order, and how many characters they have of how many."""

    texts: list[str]
    characters: int
    of: int

    def __str__(self) -> str:
        """In words; nothing where the sample is all there is."""
        if self.characters == self.of:
            return ""
        few, all_ = (f"{number / 1e6:,.3g}" for number in (self.characters, self.of))
        return f" on a sample of {few} of {all_} million characters, drawn from all of the text"


def sample_of(texts: Iterable[str], limit: int = CHARACTERS) -> Sample:
    """All texts where they have at most `limit` characters, else as many of them as fit, drawn at random: each as
    likely as another. Long ones come in parts. The same sample for the same texts. Reads the texts once, and holds no
    more of them than the sample."""
    rng = generator(0, Purpose.TOKENIZER)
    kept: list[tuple[float, int, str]] = []  # a heap, the one that goes first on top
    lots: list[float] = []
    characters = total = 0
    refused = 2.0
    for number, text in enumerate(part.text for whole in texts for part in parts_of(whole, size=_PART)):
        if not lots:
            lots = rng.random(_DRAWN_AT_ONCE).tolist()
        lot = lots.pop()
        total += len(text)
        if lot >= refused:
            continue
        heapq.heappush(kept, (-lot, number, text))
        characters += len(text)
        while characters > limit and len(kept) > 1:
            lot_out, _, out = heapq.heappop(kept)
            characters -= len(out)
            refused = -lot_out
    return Sample([text for _, _, text in sorted(kept, key=lambda one: one[1])], characters, total)
