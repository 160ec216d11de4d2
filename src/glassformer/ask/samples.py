"""A few texts that a run has written: held-out beginnings or sources, what the model made of each, what stood there.

prompt   I love dogs
written  J'aime les chiens
stood    J'aime les chiens
"""

import json
from typing import Any, NamedTuple

import numpy as np

from glassformer.answers import FillsInAnyOrder, Generates
from glassformer.ask.evaluation import questions_of
from glassformer.ask.generate import begun, generating
from glassformer.ask.loaded import Loaded
from glassformer.data.batch import IGNORE_INDEX, Example
from glassformer.decoding import DecodingConfig, sampling
from glassformer.durable import write_text_durably
from glassformer.formatting import without_marks
from glassformer.objectives import Prompt
from glassformer.reading import LARGE, plain_text
from glassformer.run import RunDirectory

LONGEST = 40
"""Tokens that are written at most."""
LEAST = 4
"""Shorter texts leave nothing to go on from."""
FILE = "written.jsonl"


class Sample(NamedTuple):
    """What a model wrote, beside what stood there."""

    prompt: str
    written: str
    stood: str


def write_samples(run: Loaded, number: int) -> list[Sample]:
    """Go on from `number` validation units, the likeliest token each time, and keep the texts in the run's `samples`,
    for people (written.txt) and for programs (written.jsonl). None of a model that does not generate."""
    found = list(samples_of(run, number)) if run.model.why_not("decoding") is None else []
    if found:
        lines = [f"prompt   {one.prompt}\nwritten  {one.written}\nstood    {one.stood}\n" for one in found]
        write_text_durably(run.directory.samples / "written.txt", without_marks("\n".join(lines)))
        records = (json.dumps(one._asdict(), ensure_ascii=False) for one in found)
        write_text_durably(run.directory.samples / FILE, "".join(f"{record}\n" for record in records))
    return found


def stored_samples(run: RunDirectory) -> list[dict[str, Any]]:
    """The samples that a run keeps; none where it wrote none, or before it has ended."""
    file = run.samples / FILE
    if not file.is_file():
        return []
    return [json.loads(line) for line in plain_text(file, LARGE, "samples").splitlines()]


def samples_of(run: Loaded, number: int) -> list[Sample]:
    """Of units that are spread over the validation data."""
    asked = questions_of(run, "validation")
    step = max(1, len(asked.chosen) // max(1, number))
    examples = (asked.example(int(index)) for index in asked.chosen[step // 2 :: step])
    begun_texts = [one for example in examples if (one := beginning(run, example)) is not None]
    return [_written(run, *one) for one in begun_texts[:number]]


def beginning(run: Loaded, example: Example) -> tuple[Prompt, list[int]] | None:
    """A unit as a prompt, and the tokens that stand behind it: with a source all of the target, else the second half of
    the text. None where nothing is written at the end of a text, or too little stands there."""
    objective = run.objective.of(example)
    if not isinstance(objective, Generates) or isinstance(objective, FillsInAnyOrder):
        return None
    heads = [head for head, targets in example.targets.items() if targets.stream == "decoder"]
    stream = example.streams.get("decoder")
    if len(heads) != 1 or stream is None or stream.positions is not None or stream.pair_mask is not None:
        return None
    source, ids = example.streams.get("encoder"), stream.values
    cut = 1 if source is not None else len(ids) // 2
    if len(ids) < (2 if source is not None else LEAST):
        return None
    segments = None if stream.segment_ids is None else stream.segment_ids[:cut]
    read = stream._replace(values=ids[:cut], segment_ids=segments)
    targets = example.targets[heads[0]]._replace(positions=np.array([cut - 1]), values=np.array([IGNORE_INDEX]))
    own = example._replace(streams=example.streams | {"decoder": read}, targets={heads[0]: targets})
    shown = "encoder" if source is not None else "decoder"
    tokenizer = objective.tokenizer_of(shown)
    frame = (tokenizer.cls_id, tokenizer.sep_id)
    text = tokenizer.decode([token for token in own.streams[shown].values.tolist() if token not in frame])
    return Prompt(text, own, objective.names_in(shown, own.streams[shown]), shown), ids[cut:].tolist()


def _written(run: Loaded, prompt: Prompt, stood: list[int]) -> Sample:
    writer = run.objective.generator_of(prompt)
    shown = len(stood) if "encoder" not in prompt.example.streams else LONGEST
    [[answer]] = sampling.sample(
        generating(run), begun(run, [prompt]), DecodingConfig(max_tokens=min(LONGEST, max(1, shown)))
    )
    return Sample(prompt.text, writer.text_of(prompt, answer.ids), writer.text_of(prompt, stood[:LONGEST]))
