"""Beam search: several unfinished texts at a time, judged by their probability as a whole."""

from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.decoding import DecodingConfig, Generated, Prompts, begin, precise
from glassformer.decoding.compiled import step_for
from glassformer.decoding.packed import packed
from glassformer.decoding.sampling import repeated_less
from glassformer.model.kinds import Model
from glassformer.progress import report_progress


class Beam(NamedTuple):
    """An unfinished text and the sum of its log-probabilities."""

    ids: list[int]
    score: float


class Search:
    """The search for one prompt: its unfinished texts, best first, and the finished ones."""

    def __init__(self, prompt: list[int], room: int, config: DecodingConfig, ends: frozenset[int]) -> None:
        self.prompt, self.room, self.config, self.ends = prompt, room, config, ends
        self.beams = [Beam([], 0.0)]
        self.shared_prefix = 0
        """At least so many tokens are the same in all unfinished texts, which have grown from one."""
        self.finished: list[tuple[float, Generated]] = []

    def value(self, score: float, length: int) -> float:
        """What finished texts are compared by: the log-probability divided by the length to a power."""
        return score / length**self.config.length_penalty

    def grow(self, candidates: list[tuple[int, int, float]]) -> list[int]:
        """Go on with the best of (beam, token, score), best first: twice as many as beams, so that enough are left when
        all ends are taken out. Returns which of the old beams each new one comes from; empty when the search is over.
        """
        beams: list[Beam] = []
        parents: list[int] = []
        for rank, (parent, token, score) in enumerate(candidates):
            ids = [*self.beams[parent].ids, token]
            if token in self.ends:
                if rank < self.config.beam:
                    self.keep(Generated(ids, score, finished=True))
            elif len(beams) < self.config.beam:
                beams.append(Beam(ids, score))
                parents.append(parent)
        if len(set(parents)) == 1:
            self.shared_prefix = len(beams[0].ids) - 1
        self.beams = beams
        if beams and len(beams[0].ids) >= self.room:
            for beam in beams:
                self.keep(Generated(beam.ids, beam.score, finished=False))
            return []
        return [] if self.is_over() else parents

    def keep(self, text: Generated) -> None:
        """Remember a finished text if it is among the best."""
        self.finished.append((self.value(text.log_probability, len(text.ids)), text))
        self.finished.sort(key=lambda pair: -pair[0])
        del self.finished[self.config.beam :]

    def is_over(self) -> bool:
        """Whether no unfinished text can still come among the best: as many as are wanted are finished, and the best
        one would have to gain probability. A score only falls; divided by a power of the length it may rise until the
        text is as long as it can be."""
        if not self.beams:
            return True
        if len(self.finished) < self.config.beam:
            return False
        longest = self.room if self.config.length_penalty > 0 else len(self.beams[0].ids) + 1
        return self.finished[-1][0] >= self.value(self.beams[0].score, longest)


@torch.inference_mode()
def beam_search(model: Model, prompts: Prompts, config: DecodingConfig) -> list[list[Generated]]:
    """The `config.number` best texts of each prompt, best first. A prompt whose search is over leaves the batch."""
    with packed(model):
        return _beam_search(model, prompts, config)


def _beam_search(model: Model, prompts: Prompts, config: DecodingConfig) -> list[list[Generated]]:
    logits, state = begin(model, prompts, config.max_tokens)
    step, read = step_for(model, prompts.head), state.length
    searches = [
        Search(prompts.tokens(n), min(config.max_tokens, prompts.room(n)), config, prompts.stop_tokens[n])
        for n in range(len(prompts.examples))
    ]
    going_on = list(searches)
    while going_on:
        report_progress()
        # no more of one text's continuations can be among the best of all
        values, tokens = log_probabilities_of(logits, going_on, config).topk(min(2 * config.beam, logits.shape[1]))
        likeliest = [[*zip(*row, strict=True)] for row in zip(tokens.tolist(), values.tolist(), strict=True)]
        rows: list[int] = []
        first = 0
        still: list[Search] = []
        shared_prefix = read + min(search.shared_prefix for search in going_on)
        for search in going_on:
            width = len(search.beams)
            parents = search.grow(best(likeliest[first : first + width], search, config.beam))
            rows += [first + parent for parent in parents]
            still += [search] if parents else []
            first += width
        going_on = still
        if going_on:
            state.reorder(torch.tensor(rows, device=logits.device), shared_prefix)
            newest = torch.tensor(
                [[beam.ids[-1]] for search in going_on for beam in search.beams], device=logits.device
            )
            logits = step(newest, state)
    return [[text for _, text in search.finished[: config.number]] for search in searches]


def log_probabilities_of(logits: Tensor, searches: list[Search], config: DecodingConfig) -> Tensor:
    """Log-probabilities of the next token of each unfinished text."""
    texts = [search.prompt + beam.ids for search in searches for beam in search.beams]
    return repeated_less(precise(logits), texts, config.repetition_penalty).log_softmax(-1)


def best(likeliest: list[list[tuple[int, float]]], search: Search, beams: int) -> list[tuple[int, int, float]]:
    """(beam, token, score) of the best continuations of one prompt's texts, best first, from the likeliest tokens of
    each text and their log-probabilities."""
    grown = [
        (number, token, beam.score + value)
        for number, (beam, continuations) in enumerate(zip(search.beams, likeliest, strict=True))
        for token, value in continuations
    ]
    return sorted(grown, key=lambda each: -each[2])[: 2 * beams]
