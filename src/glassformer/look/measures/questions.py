"""What a view asks a model: a text's blanks, or every token of what follows it."""

import numpy as np

from glassformer.ask.generate import Written
from glassformer.ask.loaded import refuse_empty
from glassformer.ask.run import Run
from glassformer.data.batch import Example, Targets
from glassformer.errors import UsageError
from glassformer.objectives import Prompt


def asked_by(run: Run, text: str) -> Prompt:
    """A text as a question: its blanks, or what follows it. Raises UsageError where it asks nothing."""
    refuse_empty(text)
    prompt = run.objective.prompt_for("read", text)
    if not any(len(targets.positions) for targets in prompt.example.targets.values()):
        raise UsageError(f"there is no blank in {text!r}", "write [MASK] where a word is asked for")
    return prompt


def whole(run: Run, written: Written) -> tuple[Example, list[int]]:
    """Prompt and continuation as one example that asks every token of the continuation, and the end where it came
    there; and these tokens."""
    targets = written.ids if written.end is None else [*written.ids, written.end]
    read = run.objective.generator_of(written.prompt).continued(written.prompt, targets[:-1]).example
    [(head, asked)] = read.targets.items()
    positions = np.arange(len(targets)) + int(asked.positions[-1]) - len(targets) + 1
    return Example(read.streams, {head: Targets(positions, np.array(targets), asked.stream)}), targets
