"""Fill the blanks of texts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from glassformer.answers import FillsBlanks
from glassformer.ask.loaded import BATCH, Loaded
from glassformer.errors import UsageError
from glassformer.objectives import Blank, Prompt


class Filled(NamedTuple):
    """A text with blanks, and the candidates of each."""

    text: str
    blanks: list[Blank]

    def record(self) -> dict[str, Any]:
        """The shape of `fill --json`."""
        return {
            "text": self.text,
            "blanks": [
                {
                    "position": blank.position,
                    "candidates": [{"token": c.token, "probability": c.probability} for c in blank.candidates],
                }
                for blank in self.blanks
            ],
        }


def fill(run: Loaded, texts: Sequence[str], top: int = 5) -> list[Filled]:
    """See `Run.fill`."""
    if top < 1:
        raise UsageError(f"top={top} asks for no candidate", "give 1 or more")
    filled: list[Filled] = []
    for start in range(0, len(texts), BATCH):
        prompts = [blanks_of(run, text) for text in texts[start : start + BATCH]]
        filled += [Filled(p.text, blanks) for p, blanks in zip(prompts, answers(run, prompts, top), strict=True)]
    return filled


def blanks_of(run: Loaded, text: str) -> Prompt:
    """A text with blanks as a prompt. Raises UsageError for a model that fills none, and for a text without any."""
    if not run.objective.can(FillsBlanks):
        command, what = run.objective.to_try
        raise UsageError("this model fills no blanks", f'glassformer {command} {run.path} "{what}"')
    prompt = run.objective.prompt_for("fill", text)
    if not any(len(targets.positions) for targets in prompt.example.targets.values()):
        raise UsageError(f"there is no blank in {text!r}", "write [MASK] where a word is asked for")
    return prompt


@torch.no_grad()
def answers(run: Loaded, prompts: Sequence[Prompt], top: int) -> list[list[Blank]]:
    """The blanks of each prompt, all of one objective: one forward pass, whose flat rows of logits are dealt out to
    the prompts."""
    logits = run.model(run.collate(prompts))
    taken = dict.fromkeys(logits, 0)
    found = []
    for prompt in prompts:
        own = {}
        for head, targets in prompt.example.targets.items():
            own[head] = logits[head][taken[head] : taken[head] + len(targets.positions)]
            taken[head] += len(targets.positions)
        found.append(run.objective.of(prompt.example).answer(prompt.example, own, top))
    return found
