"""Say which tag each word of a text has, and which names the tags say."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from glassformer.answers import TagsWords
from glassformer.ask.loaded import BATCH, Loaded
from glassformer.data.scripts import words_and_signs
from glassformer.data.spans import Annotated
from glassformer.data.tag_schemes import entities_in
from glassformer.errors import UsageError
from glassformer.objectives import Prompt


class TaggedWord(NamedTuple):
    """A word, its likeliest tag, and how likely that is; None for a word of which the tokenizer reads nothing."""

    word: str
    tag: str | None
    probability: float | None
    start: int
    end: int
    """Characters of the text."""
    pieces: tuple[str, ...]
    """The tokens that it is read as."""


class TaggedEntity(NamedTuple):
    """A name: some words together."""

    text: str
    kind: str
    start: int
    end: int
    """Characters of the text."""


class TaggedText(NamedTuple):
    """A text, its words with their tags, and the names that these say, where they are of that kind."""

    text: str
    words: list[TaggedWord]
    entities: list[TaggedEntity] | None

    def record(self) -> dict[str, Any]:
        """The shape of `tag --json`."""
        found: dict[str, Any] = {"text": self.text, "words": [word._asdict() for word in self.words]}
        return found if self.entities is None else found | {"entities": [one._asdict() for one in self.entities]}


def tag(run: Loaded, texts: Sequence[str | Sequence[str]]) -> list[TaggedText]:
    """See `Run.tag`."""
    if not run.objective.can(TagsWords):
        command, what = run.objective.to_try
        raise UsageError("this model tags no words", f'glassformer {command} {run.path} "{what}"')
    member = next(m for m in run.objective.members if isinstance(m, TagsWords))
    found = [TaggedText(*_words_of(text), None) for text in texts]
    asked = [
        (number, *prompt)
        for number, text in enumerate(found)
        for prompt in member.tagged_prompts([word.word for word in text.words])
    ]
    for start in range(0, len(asked), BATCH):
        numbers, prompts, words = zip(*asked[start : start + BATCH], strict=True)
        answers = iter(_asked(run, prompts))
        for number, prompt, of_words in zip(numbers, prompts, words, strict=True):
            begins = prompt.example.targets[member.tag_head].positions.tolist()
            ends = [*begins[1:], len(prompt.tokens) - 1]
            for word, begin, end in zip(of_words, begins, ends, strict=True):
                tag, probability = next(answers)
                pieces = tuple(prompt.tokens[begin:end])
                found[number].words[word] = (
                    found[number].words[word]._replace(tag=tag, probability=probability, pieces=pieces)
                )
    if not member.names_entities:
        return found
    return [text._replace(entities=_entities(text)) for text in found]


def _words_of(text: str | Sequence[str]) -> tuple[str, list[TaggedWord]]:
    """A text and its words, not yet tagged."""
    spans = words_and_signs(text) if isinstance(text, str) else [span[:2] for span in Annotated.of_words(text).spans]
    whole = text if isinstance(text, str) else " ".join(text)
    return whole, [TaggedWord(whole[a:b], None, None, a, b, ()) for a, b in spans]


@torch.no_grad()
def _asked(run: Loaded, prompts: Sequence[Prompt]) -> list[tuple[str, float]]:
    """The likeliest tag of each word that is asked about, and its probability."""
    member = run.objective.of(prompts[0].example)
    assert isinstance(member, TagsWords)
    outputs = run.model(run.collate(prompts))[member.tag_head]
    number = sum(len(prompt.example.targets[member.tag_head].positions) for prompt in prompts)
    best = outputs[:number].float().softmax(-1).max(-1)
    return [
        (member.class_name(member.tag_head, tag), chance)
        for tag, chance in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _entities(text: TaggedText) -> list[TaggedEntity]:
    """Where an I- goes on with nothing a name begins: a person wants to see it."""
    tags = [word.tag or "O" for word in text.words]
    found = [(text.words[a].start, text.words[b - 1].end, kind) for a, b, kind in entities_in(tags, strict=False)]
    return [TaggedEntity(text.text[start:end], kind, start, end) for start, end, kind in found]
