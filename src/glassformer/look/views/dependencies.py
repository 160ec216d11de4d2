"""Which head follows which syntactic relation: for each word the other word that a head looks at most, held against a
parsed text (Clark et al. 2019, section 4).

    1   The    _  DET   _  _  2  det    _  _        the -> cat, det         dependent to head: the looks at cat
    2   cat    _  NOUN  _  _  3  nsubj  _  _        cat -> sat, nsubj       head to dependent: sat looks at cat
    3   sat    _  VERB  _  _  0  root   _  _

Beside each score stands the best of the guesses that need no model: always the word at one fixed distance. The best
head of many is picked on the very sentences that it is scored on, so that a small lead over that guess says little.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure

from glassformer.ask.run import Run
from glassformer.data.files import read_lines
from glassformer.errors import UsageError
from glassformer.look.measures.words import Span, attention_between, reading
from glassformer.look.pictures.figures import COLOURS, new_figure, styled, visible
from glassformer.look.pictures.page import View
from glassformer.look.views import Argument, Option, ViewSpec
from glassformer.progress import report_progress

VIEW = ViewSpec(
    """Which head follows which syntactic relation of a treebank.

    For each word: is the other word that a head looks at most its syntactic head, or its dependent? The baseline is the
    best guess that always takes the word at one fixed distance.

    \b
    glassformer look dependencies runs/my treebank.conllu --relation nsubj
    """,
    takes=(
        Argument("file", Path, "parsed sentences", metavar="FILE.conllu"),
        Option("limit", int | None, None, "only the first so many sentences", least=1),
        Option("relation", str | None, None, "one relation, such as nsubj"),
        Option("least", int, 20, "leave out relations with fewer occurrences", least=1),
    ),
    needs=("attention_weights",),
    live=("file", "limit"),
)


COLUMNS = 10
LEAST = 20
"""Occurrences from which on a relation is worth a line."""
Direction = Literal["dependent to head", "head to dependent"]
DIRECTIONS: tuple[Direction, ...] = ("dependent to head", "head to dependent")


class Relation(NamedTuple):
    """One edge of a tree, between two words by their places in the sentence."""

    dependent: int
    head: int
    name: str


class Sentence(NamedTuple):
    """A parsed sentence. A multiword token (2-3 "im" for in + dem) is one word here, with the relations of its parts;
    those inside it are left out, as are empty nodes and the root."""

    text: str
    spans: list[Span]
    """The characters of each word."""
    relations: list[Relation]


class Scores(NamedTuple):
    """One relation in one direction."""

    relation: str
    direction: Direction
    occurrences: int
    """Words that could look at the right one: known to the model and, where it is causal, behind it."""
    right: Int[np.ndarray, "layers heads"]
    """Of these, how many looked at it most; a head with several such dependents at any of them."""
    offset: int
    """The fixed distance that is right most often: -1 is the word before."""
    baseline: float
    """How often it is."""

    @property
    def accuracy(self) -> Float[np.ndarray, "layers heads"]:
        """Share of the occurrences, of each head."""
        return self.right / self.occurrences

    @property
    def best(self) -> tuple[int, int]:
        """Layer and head with the highest accuracy, the first of equals."""
        layer, head = np.unravel_index(self.right.argmax(), self.right.shape)
        return int(layer), int(head)


class Dependencies(NamedTuple):
    """What was found in a file. Relations with the most occurrences come first."""

    scores: list[Scores]
    sentences: int
    unread: int
    """Sentences that the model cannot read: too long, mostly."""
    unknown: int
    """Relations that are left out because one of the words is unknown to the model."""


# ------------------------------------------------------------------------------------------------------- CoNLL-U


def read_conllu(file: Path) -> Iterator[Sentence]:
    """The sentences of a CoNLL-U file (universaldependencies.org/format.html), one at a time. Raises UsageError with
    the line for what is not CoNLL-U, and for a file without a sentence."""
    lines: list[tuple[int, str]] = []
    found = False
    for number, line in enumerate(chain(read_lines(file), [""]), 1):
        if line.strip():
            lines.append((number, line))
        elif any(not text.startswith("#") for _, text in lines):
            found = True
            yield _sentence(file, lines)
            lines = []
        else:
            lines = []
    if not found:
        raise UsageError(f"{file} holds no sentence", "give a CoNLL-U file: ten columns with tabs between them")


def _sentence(file: Path, lines: list[tuple[int, str]]) -> Sentence:
    """One sentence from its numbered lines."""
    text = next((line.split("=", 1)[1].strip() for _, line in lines if line.startswith("# text =")), None)
    rows = [(number, _columns(file, number, line)) for number, line in lines if not line.startswith("#")]
    written = list(_written(file, rows))
    if text is None:
        text = "".join(form + space for _, _, form, space in written).rstrip()
    spans, place = list[Span](), dict[int, int]()
    end = 0
    for number, ids, form, _ in written:
        begin = end + len(text[end:]) - len(text[end:].lstrip())
        end = begin + len(form)
        if text[begin:end] != form:
            raise UsageError(
                f"{file}, line {number}: {form!r} does not come next in the sentence's text, {text[begin:end]!r} does",
                "mend the form or the line `# text = ...` above",
            )
        place |= dict.fromkeys(ids, len(spans))
        spans.append((begin, end))
    return Sentence(text, spans, list(_relations(file, rows, place)))


def _columns(file: Path, number: int, line: str) -> list[str]:
    columns = line.split("\t")
    if len(columns) != COLUMNS:
        raise UsageError(
            f"{file}, line {number} has {len(columns)} columns, and CoNLL-U has {COLUMNS}",
            "mend or remove the line: the columns are separated by tabs",
        )
    return columns


Rows = list[tuple[int, list[str]]]


def _written(file: Path, rows: Rows) -> Iterator[tuple[int, range, str, str]]:
    """(line, the syntactic words it stands for, form, the space behind it) of each word as it is written."""
    covered, expected = range(0), 1
    for number, columns in rows:
        first, _, last = columns[0].partition("-")
        if "." in first and not last:  # an empty node: nothing of the text
            continue
        if not first.isdecimal() or (last and not last.isdecimal()) or int(first) != expected:
            raise UsageError(
                f"{file}, line {number}: the id {columns[0]!r} is not {expected}", "number words from 1 on"
            )
        space = "" if "SpaceAfter=No" in columns[9].split("|") else " "
        if last:
            covered = range(int(first), int(last) + 1)
            yield number, covered, columns[1], space
            continue
        if expected not in covered:
            yield number, range(expected, expected + 1), columns[1], space
        expected += 1


def _relations(file: Path, rows: Rows, place: dict[int, int]) -> Iterator[Relation]:
    """The edges between different words."""
    for number, columns in rows:
        if not columns[0].isdecimal():
            continue
        dependent, head = int(columns[0]), columns[6]
        if not head.isdecimal() or (head != "0" and int(head) not in place):
            raise UsageError(
                f"{file}, line {number}: the head {head!r} is no word of the sentence",
                f"it has the words 1 to {max(place)}; 0 is for the root",
            )
        if head != "0" and place[int(head)] != place[dependent]:
            yield Relation(place[dependent], place[int(head)], columns[7])


# -------------------------------------------------------------------------------------------------------- scores


class Pairs(NamedTuple):
    """For one relation and direction in one sentence: each word that looks, and the words that would be right."""

    looking: list[int]
    right: list[set[int]]


def pairs_of(relations: Iterable[Relation]) -> dict[tuple[str, Direction], Pairs]:
    """Each dependent with its head, each head with all its dependents of that name."""
    wanted: dict[tuple[str, Direction], dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for dependent, head, name in relations:
        wanted[name, "dependent to head"][dependent].add(head)
        wanted[name, "head to dependent"][head].add(dependent)
    return {key: Pairs(list(found), list(found.values())) for key, found in wanted.items()}


def most_attended(weights: Float[np.ndarray, "layers heads words words"]) -> Int[np.ndarray, "layers heads words"]:
    """For each word the other word with the greatest weight, the first of equals; NaN cannot be looked at. -1 for a
    word that sees no other."""
    own = np.eye(weights.shape[-1], dtype=bool)
    others = np.where(own | np.isnan(weights), -np.inf, weights)
    return np.where(np.isfinite(others).any(-1), others.argmax(-1), -1)


class Count:
    """One relation in one direction, growing sentence by sentence."""

    def __init__(self) -> None:
        self.number = 0
        self.right: Int[np.ndarray, "layers heads"] | int = 0
        self.offsets: Counter[int] = Counter()

    def add(self, looked: Int[np.ndarray, "layers heads words"], pairs: Pairs, seen: Bool[np.ndarray, "w w"]) -> None:
        """The words of a sentence, of those that may see a right one."""
        for word, right in zip(*pairs, strict=True):
            can = [other for other in sorted(right) if seen[word, other]]
            if can:
                self.number += 1
                self.right = self.right + np.isin(looked[:, :, word], can).astype(int)
                self.offsets.update(other - word for other in can)

    def scores(self, relation: str, direction: Direction) -> Scores:
        """Ties of offsets go to the nearer word, then to the one before."""
        offset, hits = min(self.offsets.items(), key=lambda item: (-item[1], abs(item[0]), item[0]))
        return Scores(relation, direction, self.number, np.asarray(self.right), offset, hits / self.number)


def dependencies(run: Run, sentences: Iterable[Sentence]) -> Dependencies:
    """How often each head's most attended other word is the head, or a dependent, by relation. `[CLS]` and the like are
    no words; punctuation is.

    Raises UsageError where the model can read none of the sentences, or knows the words of no relation.
    """
    counts: dict[tuple[str, Direction], Count] = defaultdict(Count)
    number = unread = unknown = 0
    refusal = None
    for sentence in sentences:
        report_progress()
        number += 1
        try:
            text = reading(run, sentence.text)
        except UsageError as error:
            unread, refusal = unread + 1, error
            continue
        words = [text.tokens_of(span) for span in sentence.spans]
        known = [bool(tokens) and not text.unknown[tokens].any() for tokens in words]
        relations = [each for each in sentence.relations if known[each.dependent] and known[each.head]]
        unknown += len(sentence.relations) - len(relations)
        if not relations:
            continue
        there = [n for n, tokens in enumerate(words) if tokens]
        place = {word: n for n, word in enumerate(there)}
        relations = [Relation(place[d], place[h], name) for d, h, name in relations]
        weights, even = attention_between(run, text, [words[n] for n in there])
        looked = most_attended(weights)
        for key, pairs in pairs_of(relations).items():
            counts[key].add(looked, pairs, np.isfinite(even))
    if refusal is not None and unread == number:
        raise refusal
    scores = [count.scores(*key) for key, count in counts.items() if count.number]
    if not scores:
        raise UsageError("the model knows both words of no relation", "give sentences in the language of its texts")
    scores.sort(key=lambda each: (-each.occurrences, each.relation, each.direction))
    return Dependencies(scores, number, unread, unknown)


def frequent(found: Dependencies, least: int = LEAST, relation: str | None = None) -> list[Scores]:
    """The scores of relations with at least so many occurrences, or of one. Raises UsageError for none."""
    named = [each for each in found.scores if relation in (None, each.relation)]
    if not named:
        there = ", ".join(dict.fromkeys(each.relation for each in found.scores))
        raise UsageError(f"no two known words are related by {relation!r}", f"the relations are: {there}")
    kept = [each for each in named if each.occurrences >= least]
    if not kept:
        raise UsageError(
            f"no relation has {least} occurrences; the most frequent has {named[0].occurrences}",
            "lower --least, or more text",
        )
    return kept


def rows(scores: Iterable[Scores]) -> list[dict[str, Any]]:
    """The best head of each relation, as a table has it."""
    return [
        {
            "relation": each.relation,
            "direction": each.direction,
            "layer": each.best[0],
            "head": each.best[1],
            "accuracy": float(each.accuracy.max()),
            "baseline_accuracy": each.baseline,
            "offset": each.offset,
            "occurrences": each.occurrences,
        }
        for each in scores
    ]


def all_rows(scores: Iterable[Scores]) -> list[dict[str, Any]]:
    """The same with a row for every head."""
    return [
        row | {"layer": layer, "head": head, "accuracy": float(each.accuracy[layer, head])}
        for each, row in ((each, rows([each])[0]) for each in scores)
        for layer, head in np.ndindex(each.right.shape)
    ]


def view_of(run: Run, found: Dependencies) -> View:
    """The same as a view."""
    unread = f"{found.unread} of {found.sentences} sentences cannot be read"
    left_out = f"{unread}, {found.unknown:,} relations have an unknown word" if found.unread or found.unknown else ""
    every = all_rows(found.scores)
    data = {"subtitle": run.path.name, "left_out": left_out, "best": rows(found.scores), "every": every}
    return View("dependencies", "Heads and syntax", data, {}, lambda: figure(found.scores), found._asdict(), every)


# ------------------------------------------------------------------------------------------------------- picture


@styled
def figure(scores: list[Scores]) -> Figure:
    """A bar for the best head of each relation, one panel for each direction, with a line where the best fixed distance
    is. Raises ValueError without scores."""
    if not scores:
        raise ValueError("figure needs at least one relation")
    panels = [(d, [each for each in scores if each.direction == d]) for d in DIRECTIONS]
    panels = [panel for panel in panels if panel[1]]
    most = max(len(each) for _, each in panels)
    panel, high = 5.95, 0.24 * most
    width, height = panel * len(panels), high + 1.4
    page = new_figure(width, height)
    for column, (direction, part) in enumerate(panels):
        box = ((1.55 + panel * column) / width, 0.6 / height, 2.4 / width, high / height)
        axes = page.add_axes(box)
        axes.set(xlim=(0, 1), ylim=(most - 0.5, -0.5))
        places = np.arange(len(part))
        axes.barh(places, [each.accuracy.max() for each in part], height=0.66, color=COLOURS["second"])
        line: dict[str, Any] = {"color": COLOURS["ink"], "linewidth": 1.6, "clip_on": False}
        axes.vlines([each.baseline for each in part], places - 0.42, places + 0.42, **line)
        axes.set_yticks(
            places, [f"{visible(each.relation, 14)} ({each.occurrences})" for each in part], parse_math=False
        )
        axes.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
        axes.tick_params(length=0, labelsize=8)
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.set_xlabel("share of the words that look at the right one", fontsize=8)
        axes.set_ylabel("relation (how often)", fontsize=8)
        axes.yaxis.set_label_coords(-0.58, 0.5)  # left of the longest name
        axes.set_title(direction, loc="left", fontsize=9.5, pad=6)
        for place, each in enumerate(part):
            layer, head = each.best
            said = f"{each.accuracy.max():.0%}  layer {layer} head {head}  ({each.baseline:.0%} at {each.offset:+d})"
            axes.text(1.03, place, said, va="center", fontsize=7, color=COLOURS["muted"])
    what = "The best head of each relation (bar), and the best fixed distance between words (line)"
    page.text(0.15 / width, 1 - 0.3 / height, what, fontsize=10 if len(panels) > 1 else 8)
    return page


def make(run: Run, file: str | Path, limit: int | None = None, relation: str | None = None, least: int = LEAST) -> View:
    """Which head follows which relation of a treebank in CoNLL-U."""
    found = dependencies(run, islice(read_conllu(Path(file)), limit))
    view = view_of(run, found._replace(scores=frequent(found, least, relation)))
    return view._replace(table=view.data["best"], note=view.data["left_out"] and f"note: {view.data['left_out']}")
