"""The corpora written for this project, so that everything runs offline. They lie in the folder `builtin`
beside this file, one fact a line: a topic and two or three wordings, tab-separated, each with its blank in
braces.

    astronomy <tab> Mars is called the {red} planet <tab> Mars is known as the {red} planet

The second wording of every tenth line is held out: the model has seen the fact, but not these words.

`stories` has two sentences a line, tab-separated, with capitals and full stops. Each is a text, and so are both
together; of every fifth line the two together are held out: the model has seen each sentence, but not side by side.

    The cat sat on the mat. <tab> It started to purr.

`names` has lists of names (PER, LOC, ORG) and sentences with places for them, for tagging. Each sentence is filled
eight times, with names that come round; every fifth name of a kind is held out: the model has seen the sentences, but
not these names.

    PER <tab> Anna <tab> Clara Weber        text <tab> {PER} lives in {LOC} .

`wordings` is made of the facts: two wordings of one fact, which are the same, and a wording of it beside one of another
fact of its topic, which are different. Of every tenth line both are held out: the model has seen neither fact.

`questions` has facts with places for names and things, each with a question and which of the places answers it. A text
is three of them, about three people, and each is asked; every sixth question is about a fact that the text does not
tell. The held-out texts are others, of the same words.

    fact <tab> {who} lives in {where} . <tab> where does {who} live ? <tab> where"""

import random
import re
from collections.abc import Iterator
from importlib import resources
from itertools import cycle
from typing import Literal, NamedTuple, TypeVar, get_args

from glassformer.errors import GlassformerError, UsageError, nearest

T = TypeVar("T")
Part = Literal["train", "heldout"]

NAMES = ("facts", "stories")
_BLANK = re.compile(r"\{([^{}]+)\}")
_HELD_OUT_EVERY = 10
_STORY_HELD_OUT_EVERY = 5
_NAME_HELD_OUT_EVERY = 5
_FILLED = 8
_UNANSWERED_EVERY = 6
_TEXTS = {"train": 900, "heldout": 60}
_FACTS = 3


class Cloze(NamedTuple):
    """A sentence with one blank: `Cloze("Mars is called the [MASK] planet", "red")`."""

    text: str
    answer: str


def sentences(name: str, part: Part) -> list[str]:
    """The plain sentences of one part, in the order of the file. Raises UsageError for a name that there is
    not."""
    if name == "stories":
        _check_part(name, part)
        return list(_stories(part))
    return [_BLANK.sub(r"\1", wording) for wording in _wordings(name, part)]


def _stories(part: Part) -> Iterator[str]:
    """Each sentence, and both sentences of a line as one text."""
    file = resources.files("glassformer.data").joinpath("builtin", "stories.tsv")
    for index, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
        first, second = line.split("\t")
        held_out = index % _STORY_HELD_OUT_EVERY == _STORY_HELD_OUT_EVERY - 1
        if part == "train":
            yield from (first, second)
        if held_out == (part == "heldout"):
            yield f"{first} {second}"


def labelled_sentences(name: str) -> list[tuple[str, str]]:
    """The sentences of `builtin:facts/train`, each with what it is about. Raises UsageError for a name that there is
    not."""
    corpus, _, part = name.removeprefix("builtin:").partition("/")
    if part not in get_args(Part) or corpus != "facts":
        raise UsageError(
            f"{name} names no built-in labelled texts", "write builtin:facts/train or builtin:facts/heldout"
        )
    return [(_BLANK.sub(r"\1", wording), topic) for topic, wording in _labelled(corpus, part)]  # type: ignore[arg-type]


class TwoWordings(NamedTuple):
    """Two sentences, and whether they say the same."""

    text: str
    second: str
    same: bool


def paired_sentences(name: str) -> list[TwoWordings]:
    """The pairs of `builtin:wordings/train`, as many that say the same as that do not. Raises UsageError for a name
    that there is not."""
    corpus, _, part = name.removeprefix("builtin:").partition("/")
    if part not in get_args(Part) or corpus != "wordings":
        raise UsageError(
            f"{name} names no built-in pairs of sentences", "write builtin:wordings/train or builtin:wordings/heldout"
        )
    file = resources.files("glassformer.data").joinpath("builtin", "facts.tsv")
    lines = _facts(file.read_text(encoding="utf-8"), "facts.tsv")
    facts = [[topic, *(_BLANK.sub(r"\1", wording) for wording in wordings)] for topic, *wordings in lines]
    own = [fact for n, fact in enumerate(facts) if (n % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1) == (part == "heldout")]
    of_topic: dict[str, list[list[str]]] = {}
    for fact in own:
        of_topic.setdefault(fact[0], []).append(fact)
    found = [TwoWordings(fact[1], fact[2], True) for fact in own]
    for members in of_topic.values():
        others = [*members[1:], members[0]]
        found += [
            TwoWordings(one[1], other[2], False) for one, other in zip(members, others, strict=True) if one != other
        ]
    return found


def tagged_sentences(name: str) -> list[tuple[list[str], list[str]]]:
    """The sentences of `builtin:names/train`: their words, and a tag for each (IOB2). Raises UsageError for a name that
    there is not."""
    corpus, _, part = name.removeprefix("builtin:").partition("/")
    if part not in get_args(Part) or corpus != "names":
        raise UsageError(f"{name} names no built-in tagged texts", "write builtin:names/train or builtin:names/heldout")
    file = resources.files("glassformer.data").joinpath("builtin", "names.tsv")
    names: dict[str, Iterator[str]] = {}
    texts: list[str] = []
    for kind, *cells in (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()):
        if kind == "text":
            texts += cells
        else:
            own = [cell for n, cell in enumerate(cells) if (n % _NAME_HELD_OUT_EVERY == 0) == (part == "heldout")]
            names[kind] = cycle(own)
    times = _FILLED if part == "train" else 1
    return [_filled(text, names) for _ in range(times) for text in texts]


def _filled(text: str, names: dict[str, Iterator[str]]) -> tuple[list[str], list[str]]:
    """A sentence with a name in each of its places."""
    words: list[str] = []
    tags: list[str] = []
    for word in text.split():
        kind = word.strip("{}")
        name = next(names[kind]).split() if word.startswith("{") else [word]
        words += name
        tags += [f"{'I' if n else 'B'}-{kind}" for n in range(len(name))] if word.startswith("{") else ["O"]
    return words, tags


class Asked(NamedTuple):
    """A text, a question about it, and the answer with the character at which it begins; both None where the text does
    not tell it."""

    text: str
    question: str
    answer: str | None
    start: int | None


def questions(name: str) -> list[Asked]:
    """The questions of `builtin:questions/train`, three about each text. Raises UsageError for a name that there is
    not."""
    corpus, _, part = name.removeprefix("builtin:").partition("/")
    if part not in get_args(Part) or corpus != "questions":
        raise UsageError(
            f"{name} names no built-in questions", "write builtin:questions/train or builtin:questions/heldout"
        )
    file = resources.files("glassformer.data").joinpath("builtin", "questions.tsv")
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    words = {kind: cells for kind, *cells in lines if kind != "fact"}
    facts = [cells for kind, *cells in lines if kind == "fact"]
    rng = random.Random(part)
    found: list[Asked] = []
    for _ in range(_TEXTS[part]):
        some = list(zip(_drawn(facts, _FACTS + 1, rng), _drawn(words["who"], _FACTS + 1, rng), strict=True))
        asked = [
            _asked(wording, question, kind, who, _drawn(words[kind], 1, rng)[0])
            for (wording, question, kind), who in some
        ]
        told = [one.text for one in asked[:_FACTS]]
        for number, one in enumerate(asked[:_FACTS]):
            if len(found) % _UNANSWERED_EVERY == _UNANSWERED_EVERY - 1:
                found.append(Asked(" ".join(told), asked[_FACTS].question, None, None))
            else:
                before = sum(len(fact) + 1 for fact in told[:number])
                found.append(one._replace(text=" ".join(told), start=before + (one.start or 0)))
    return found


def _asked(wording: str, question: str, kind: str, who: str, answer: str) -> Asked:
    """A fact about somebody, and the question that the place of this kind answers."""
    before, _, behind = wording.replace("{who}", who).partition(f"{{{kind}}}")
    return Asked(before + answer + behind, question.replace("{who}", who), answer, len(before))


def _drawn(values: list[T], number: int, rng: random.Random) -> list[T]:
    """Some of them, none twice; by `random` alone, which gives the same numbers in every version of Python."""
    left = list(values)
    return [left.pop(int(rng.random() * len(left))) for _ in range(number)]


def cloze(name: str, part: Part) -> list[Cloze]:
    """The facts, each with its blank taken out. Raises UsageError for a name that there is not, and for `stories`, in
    which no word is the one to ask for."""
    return [_to_cloze(wording) for wording in _wordings(name, part)]


def _to_cloze(wording: str) -> Cloze:
    blank = _BLANK.search(wording)
    assert blank is not None  # _facts has checked it
    return Cloze(wording[: blank.start()] + "[MASK]" + wording[blank.end() :], blank.group(1))


def _wordings(name: str, part: Part) -> Iterator[str]:
    return (wording for _, wording in _labelled(name, part))


def _labelled(name: str, part: Part) -> Iterator[tuple[str, str]]:
    """Topic and wording of each sentence of one part."""
    if name not in NAMES:
        raise UsageError(f"there is no built-in corpus {name!r}", nearest(name, NAMES))
    if name != "facts":
        raise UsageError(f"the built-in corpus {name!r} has no topics and no blanks", "take 'facts'")
    _check_part(name, part)
    file = resources.files("glassformer.data").joinpath("builtin", f"{name}.tsv")
    for index, (topic, *wordings) in enumerate(_facts(file.read_text(encoding="utf-8"), f"{name}.tsv")):
        for position, wording in enumerate(wordings):
            held_out = position == 1 and index % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
            if held_out == (part == "heldout"):
                yield topic, wording


def _check_part(name: str, part: Part) -> None:
    if part not in get_args(Part):
        raise UsageError(f"the built-in corpus {name!r} has no part {part!r}", nearest(part, get_args(Part)))


def _facts(text: str, file: str) -> Iterator[list[str]]:
    """Topic and wordings of each line, braces kept."""
    for number, line in enumerate(text.splitlines(), start=1):
        topic, *wordings = line.split("\t")
        if not 2 <= len(wordings) <= 3 or any(len(_BLANK.findall(wording)) != 1 for wording in wordings):
            raise GlassformerError(
                f"{file}, line {number}: {line!r} is not a topic and two or three wordings, "
                "each with one blank in braces",
                "the file belongs to the package: reinstall it",
            )
        yield [topic, *wordings]
