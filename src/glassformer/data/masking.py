"""Which tokens are hidden, and what stands in their place: for every objective that hides some
(BERT; Devlin et al. 2019, section 3.1)."""

import numpy as np
from jaxtyping import Bool, Int64
from pydantic import Field

from glassformer.config import Config
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError


class MaskingConfig(Config):
    """What is hidden, and how."""

    mask_rate: float = Field(0.15, gt=0, lt=1, description="share of the tokens that are asked")
    mask_token_share: float = Field(0.8, ge=0, le=1, description="of those: share that becomes [MASK]")
    random_token_share: float = Field(0.1, ge=0, le=1, description="of those: share that becomes a random word")
    whole_word: bool = Field(
        False,
        description="choose whole words instead of single tokens (a script without spaces between words does not say "
        "where one ends: each token is one there)",
    )


class Masking:
    """Chooses tokens and hides them. Special tokens and unknown words are never chosen."""

    def __init__(self, config: MaskingConfig, tokenizer: Tokenizer) -> None:
        if config.mask_token_share + config.random_token_share > 1:
            raise UsageError("objective.mask_token_share and objective.random_token_share add up to more than 1")
        self.config = config
        self.mask_id = tokenizer.mask_id
        self.is_ordinary = np.ones(tokenizer.vocab_size, dtype=bool)
        self.is_ordinary[list(tokenizer.special_ids)] = False
        self.ordinary = np.flatnonzero(self.is_ordinary)

    def choose(
        self, ids: Int64[np.ndarray, "T"], starts_word: Bool[np.ndarray, "T"], rng: np.random.Generator
    ) -> Int64[np.ndarray, "n"]:
        """The positions to ask. Their number is the rate times the tokens that can be asked, a fraction being
        rounded up as often as it is large, so that the rate holds on average in short texts too; at least one."""
        can_be_asked = self.is_ordinary[ids]
        positions = np.flatnonzero(can_be_asked)
        if len(positions) == 0:
            return positions
        number = max(1, int(self.config.mask_rate * len(positions) + rng.random()))
        if not self.config.whole_word:
            return np.sort(rng.choice(positions, number, replace=False))
        word_of = np.cumsum(starts_word)
        words = rng.permutation(np.unique(word_of[positions]))
        lengths = np.bincount(word_of[positions], minlength=word_of[-1] + 1)[words]
        # The word that crosses the number is taken as often as it is needed to keep the rate on average.
        before = np.cumsum(lengths) - lengths
        taken = words[(before < number) & (rng.random() * lengths < number - before)]
        taken = words[:1] if len(taken) == 0 else taken
        return positions[np.isin(word_of[positions], taken)]

    def corrupt(
        self, ids: Int64[np.ndarray, "T"], positions: Int64[np.ndarray, "n"], rng: np.random.Generator
    ) -> Int64[np.ndarray, "T"]:
        """[MASK], a random word, or the word itself, at the chosen positions."""
        corrupted = ids.copy()
        lot = rng.random(len(positions))
        masked = lot < self.config.mask_token_share
        random = (lot >= self.config.mask_token_share) & (
            lot < self.config.mask_token_share + self.config.random_token_share
        )
        corrupted[positions[masked]] = self.mask_id
        corrupted[positions[random]] = rng.choice(self.ordinary, int(random.sum()))
        return corrupted
