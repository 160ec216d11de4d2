"""Schemes in which tags say where a name of several words begins and ends, and how they are read as one of them, IOB2.

    scheme   New   York  Times  reads        and what it says
    iob2     B-ORG I-ORG I-ORG  O            every name begins with B (Tjong Kim Sang and Veenstra 1999)
    iob1     I-ORG I-ORG I-ORG  O            B only where a name follows one of its kind
    bioes    B-ORG I-ORG E-ORG  O            E ends a name, S is one of a single word; also written BILOU (L, U)
    none     PROPN PROPN PROPN  VERB         each word for itself

All schemes of names say the same, so nothing is lost.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

Scheme = Literal["none", "iob1", "iob2", "bioes"]
_TAG = re.compile(r"(?:([BIESLU])-(.+))|O", re.DOTALL)


class Entity(NamedTuple):
    """Words `first` up to and without `behind`, which are together of one kind."""

    first: int
    behind: int
    kind: str


def is_of_names(tags: Iterable[str]) -> bool:
    """Whether all of these tags say where names begin: O, and a letter before a kind."""
    found = set(tags)
    return bool(found) and all(map(_TAG.fullmatch, found)) and found != {"O"}


def scheme_of(sentences: Sequence[Sequence[str]]) -> Scheme:
    """The scheme of these sentences. Where names begin with I- more often than with B-, that is IOB1; a few that do
    among many that do not are faults in IOB2."""
    tags = [tag for sentence in sentences for tag in sentence]
    if not is_of_names(tags):
        return "none"
    if any(tag[0] in "ESLU" for tag in tags):
        return "bioes"
    with_i = sum(map(len, map(faults, sentences)))
    with_b = sum(tag.startswith("B-") for tag in tags)
    return "iob1" if with_i > with_b else "iob2"


def faults(tags: Sequence[str]) -> list[int]:
    """Where in IOB2 a word goes on with a name that has not begun: `I-PER` behind `O`, or behind `B-ORG`."""
    return [
        place
        for place, (before, tag) in enumerate(pairwise(["O", *tags]))
        if tag.startswith("I-") and before[2:] != tag[2:]
    ]


def as_iob2(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """The same names in IOB2; what goes on with a name that has not begun begins one."""
    if scheme == "none":
        return list(tags)
    found: list[str] = []
    before, ended = "O", True
    for tag in tags:
        letter, kind = ("O", "") if tag == "O" else (tag[0], tag[2:])
        begins = letter in "BSU" or before[2:] != kind or ended
        found.append("O" if letter == "O" else f"{'B' if begins else 'I'}-{kind}")
        before, ended = found[-1], letter in "ESLU"
    return found


def entities_in(tags: Sequence[str], strict: bool = True) -> list[Entity]:
    """The names that tags in IOB2 say. Where an I- goes on with nothing, as a model may have it, that is no name
    (strict, as seqeval's strict mode has it), or one begins there (as conlleval has it)."""
    found: list[Entity] = []
    first, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        goes_on = tag.startswith("I-") and tag[2:] == kind
        if kind and not goes_on:
            found.append(Entity(first, place, kind))
            kind = ""
        if tag.startswith("B-") or (tag.startswith("I-") and not goes_on and not strict):
            first, kind = place, tag[2:]
    return found
