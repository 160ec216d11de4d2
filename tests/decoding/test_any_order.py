"""Blanks filled one after another: what is written, and what never is."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glassformer.data.batch import Batch
from glassformer.decoding import DecodingConfig
from glassformer.decoding.any_order import fill_in
from glassformer.objectives.permutation_lm import HEAD, PermutationLM, PermutationLMConfig


class Stubborn(nn.Module):
    """Wants special tokens everywhere, most of all [MASK], and after them one word."""

    def __init__(self, plm: PermutationLM, word: int) -> None:
        super().__init__()
        self.plm, self.word, self.calls = plm, word, 0

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.calls += 1
        assert self.calls < 9, "it does not end"
        scores = torch.zeros(batch.targets[HEAD].n_targets, self.plm.tokenizer.vocab_size)
        scores[:, sorted(self.plm.tokenizer.special_ids)] = 30.0
        scores[:, self.plm.tokenizer.mask_id] = 40.0
        scores[:, self.word] = 20.0  # so much above the others that they are never drawn
        return {HEAD: scores}


@pytest.mark.parametrize("settings", [{}, {"sample": True, "top_k": 3}, {"order": "random"}, {"order": "right"}])
def test_no_special_token_is_ever_written(tokenizer, settings):
    """A [MASK] would be a blank again, without end. Each blank costs one pass over all texts."""
    plm = PermutationLM(PermutationLMConfig(), tokenizer, 13)
    [word] = tokenizer.encode("red").ids.tolist()
    model = Stubborn(plm, word)
    prompts = [plm.prompt("mars is [MASK] , [MASK]"), plm.prompt("[MASK] [MASK] [MASK]")]
    found = [texts[0] for texts in fill_in(model, plm, prompts, DecodingConfig(**settings))]
    assert model.calls == 3
    for prompt, text, filled in zip(prompts, found, ([3, 5], [1, 2, 3]), strict=True):
        assert [text.ids[n] for n in filled] == [word] * len(filled)
        assert np.isclose(text.log_probability, 0.0, atol=1e-4)  # of the ordinary tokens: they are all there is
        before = prompt.example.streams["encoder"]
        whole = before.values[np.argsort(before.positions)]
        assert [text.ids[n] for n in np.flatnonzero(whole != tokenizer.mask_id)] == [
            n for n in whole.tolist() if n != tokenizer.mask_id
        ]
