"""What must be known of texts before a recipe is made for them, from one pass in bounded memory."""

from collections.abc import Iterable
from functools import cached_property
from itertools import chain

import numpy as np
from jaxtyping import Int64

SAMPLE = 2**22
"""Characters kept at most, of texts from everywhere in the data."""


class Survey:
    """How many texts there are, how long they are, and a sample of them: all of a small source, every n-th text of a
    large one, and of one long text its beginning."""

    def __init__(self, texts: Iterable[str], limit: int = SAMPLE) -> None:
        self.texts = self.characters = 0
        self.longest = ""
        """The longest text, or of one longer than the sample its beginning."""
        self.sample: list[str] = []
        every, kept = 1, 0
        for text in texts:
            if len(text) > len(self.longest):
                self.longest = text[:limit]
            if self.texts % every == 0:
                self.sample.append(text[:limit])
                kept += min(limit, len(text))
            while kept > limit and len(self.sample) > 1:
                self.sample, every = self.sample[::2], 2 * every
                kept = sum(map(len, self.sample))
            self.texts += 1
            self.characters += len(text)

    @cached_property
    def sampled_words(self) -> Int64[np.ndarray, "n"]:
        """Words between spaces of each text of the sample."""
        return np.array([len(text.split()) for text in self.sample], dtype=np.int64)

    @property
    def words(self) -> int:
        """Words of all texts; of a large source about so many."""
        sampled = max(1, sum(map(len, self.sample)))
        return round(int(self.sampled_words.sum()) * max(1.0, self.characters / sampled))

    @property
    def is_whole(self) -> bool:
        """Whether the sample is all that there is."""
        return sum(map(len, self.sample)) == self.characters

    @property
    def characters_per_word(self) -> float:
        """Between two spaces, and the space."""
        return sum(map(len, self.sample)) / max(1, int(self.sampled_words.sum()))

    @cached_property
    def distinct_words(self) -> int:
        """Different words of the sample."""
        return len(set(chain.from_iterable(text.split() for text in self.sample)))
