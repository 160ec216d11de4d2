"""Say which label a text or picture has."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from glassformer.answers import PredictsLabels
from glassformer.ask.loaded import BATCH, Loaded
from glassformer.errors import UsageError
from glassformer.objectives import Candidate, Prompt


class Classified(NamedTuple):
    """A text (or the name of a picture) and every label with its probability, the likeliest first."""

    text: str
    labels: list[Candidate]

    @property
    def label(self) -> str:
        """The likeliest."""
        return self.labels[0].token

    def record(self) -> dict[str, Any]:
        """The shape of `classify --json`."""
        return {
            "text": self.text,
            "label": self.label,
            "labels": [{"label": label.token, "probability": label.probability} for label in self.labels],
        }


@torch.no_grad()
def classify(run: Loaded, texts: Sequence[str]) -> list[Classified]:
    """See `Run.classify`."""
    found: list[Classified] = []
    for start in range(0, len(texts), BATCH):
        prompts = [_prompt(run, text) for text in texts[start : start + BATCH]]
        member = run.objective.of(prompts[0].example)
        assert isinstance(member, PredictsLabels)
        head = member.label_head
        probabilities = (run.model(run.collate(prompts))[head].float() / run.temperature).softmax(-1)
        for prompt, row in zip(prompts, probabilities, strict=True):
            best = row.argsort(descending=True, stable=True).tolist()
            labels = [Candidate(member.class_name(head, number), float(row[number])) for number in best]
            found.append(Classified(prompt.text, labels))
    return found


def _prompt(run: Loaded, text: str) -> Prompt:
    """Raises UsageError for a model that predicts no labels, and for a text that it cannot be asked of."""
    if not run.objective.can(PredictsLabels):
        command, what = run.objective.to_try
        raise UsageError("this model predicts no labels", f'glassformer {command} {run.path} "{what}"')
    prompt = run.objective.prompt_for("label", text)
    member = run.objective.of(prompt.example)
    assert isinstance(member, PredictsLabels)
    if len(prompt.example.targets[member.label_head].positions) != 1:
        raise UsageError(f"{text!r} is not what this model has a label for", f"give it {member.asks_with}")
    return prompt
