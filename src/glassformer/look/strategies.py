"""The families and their pre-training strategies side by side, each with a live example.

What stands in the table is what the objectives say of themselves: the first lines of their files, their families and
words, the losses of their heads. Examples are made by their own code of built-in texts, with the question of a run, and
its answers, where one of that objective is given.
"""

import inspect
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from glassformer.answers import GeneratesInOrder
from glassformer.ask.run import Run
from glassformer.data.batch import Example, collate
from glassformer.data.builtin import labelled_sentences, paired_sentences, questions, sentences, tagged_sentences
from glassformer.data.codecs import Codecs
from glassformer.data.corpus import Corpus
from glassformer.data.labels import Labels
from glassformer.data.roles import Role
from glassformer.data.rows import answer_spans, builtin_pairs
from glassformer.data.span_columns import SpanColumn, Spans
from glassformer.data.spans import Annotated
from glassformer.data.table import Arrays, Column, Numbers, ValueColumn
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.formatting import percent, without_marks
from glassformer.look.pictures.figures import COLOURS, styled
from glassformer.look.pictures.page import View
from glassformer.look.pictures.tables import sheet
from glassformer.look.preview import describe
from glassformer.objectives import Objective, find_objective
from glassformer.plugins import plugin_names
from glassformer.randomness import Purpose, generator

FAMILIES = {
    "encoder": "both sides",
    "decoder": "what stands before",
    "encoder_decoder": "source: both sides; target: what stands before, and the source",
}
"""The families in their order, and where their tokens may look."""
TEXTS = ("The cat sat on the mat. It started to purr.", "The cat sat on the mat because it was tired")
"""Of these built-in texts the example is made: of the one that the vocabulary knows best."""
MANY = 4
"""Of more asked places than these the words alone are shown."""
DRAWS = 200
"""So many draws are looked through for an example that hides something."""


def strategies(runs: Sequence[Run] = ()) -> list[dict[str, Any]]:
    """A line for each objective, in the order of the families, those that need plain texts alone first: name, paper,
    family, direction, data, what is asked, losses, what it is good for, and an example (None where its data are not
    built in), answered by the first of the runs that was trained by it."""
    own = {run.recipe.model_dump()["objective"]["name"]: run for run in reversed(runs)}
    codecs = _codecs()
    found = [_strategy(name, codecs, own.get(name)) for name in plugin_names("glassformer.objectives")]
    return sorted(found, key=lambda line: (list(FAMILIES).index(line["family"]), line["data"] != ["text"]))


def _strategy(name: str, codecs: Codecs, run: Run | None) -> dict[str, Any]:
    kind = find_objective(name)
    if {"second", "label"} <= set(kind.columns):
        codecs = codecs._replace(label=Labels(("different", "same")))
    if "tags" in kind.columns:
        tags = dict.fromkeys(tag for _, of_one in tagged_sentences("builtin:names/train") for tag in of_one)
        codecs = codecs._replace(label=Labels(tuple(tags)))
    objective = run.objective if run is not None else kind.from_codecs(kind.Config(), codecs, 40)
    title, source = _title(kind)
    return {
        "objective": name,
        "title": title,
        "known_from": source,
        "family": kind.family,
        "direction": kind.direction or FAMILIES[kind.family],
        "data": list(kind.columns),
        "question": kind.question,
        "losses": sorted({head.loss for head in objective.outputs()}),
        "good_for": kind.good_for,
        "example": _example(objective, run),
    }


def _title(kind: type[Objective]) -> tuple[str, str]:
    """The first sentence of an objective's file, parted into what it is called and where it is from: `Masked language
    modelling (BERT; Devlin et al. 2019, section 3.1): ...`."""
    text = " ".join((inspect.getdoc(sys.modules[kind.__module__]) or kind.__name__).split("\n\n")[0].split())
    called, _, rest = text.partition("(")
    if ":" in called:
        called = called.partition(":")[0]
    return called.strip().rstrip("."), rest.partition(")")[0]


def _codecs() -> Codecs:
    """What objectives without a run read by: a small tokenizer with sentinels, and the topics of the facts."""
    pairs = (text for pair in builtin_pairs("builtin:pairs/train") for text in pair)
    texts = [*sentences("stories", "train"), *sentences("facts", "train"), *pairs]
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind="wordpiece", vocab_size=3000, sentinels=20))
    topics = dict.fromkeys(topic for _, topic in labelled_sentences("builtin:facts/train"))
    return Codecs(tokenizer, label=Labels(tuple(topics)), array=Arrays((28, 28)))


# ------------------------------------------------------------------------------------------------------- examples


def _example(objective: Objective, run: Run | None) -> dict[str, Any] | None:
    """What the objective makes of a built-in text, as `preview` has it, and what the run says; None where it takes
    pictures, or has members, each with examples of its own."""
    if len(objective.members) > 1 or "array" in objective.columns:
        return None
    example = _drawn(objective)
    shown = describe(objective, example)
    return {
        "streams": [{key: one[key] for key in ("name", "tokens", "segments")} for one in shown["streams"]],
        "asked": shown["asked"],
        "run": None if run is None else run.path.name,
        "answers": [] if run is None else _answers(run, example),
        "written": None if run is None else _written(run, example),
    }


def _drawn(objective: Objective) -> Example:
    """The first draw that hides something of the first text; of an objective that draws nothing, the only one."""
    dataset = objective.dataset(_column(objective))
    draws = (dataset.example(0, generator(0, Purpose.CORRUPTION, 0, n)) for n in range(DRAWS if objective.draws else 1))
    first = next(draws)
    hidden = objective.tokenizer.special_ids - {objective.tokenizer.cls_id, objective.tokenizer.sep_id}
    return next(
        (one for one in [first, *draws] if hidden & set(next(iter(one.streams.values())).values.tolist())), first
    )


def _column(objective: Objective) -> Corpus:
    """Built-in texts of the roles that it takes."""
    tokenizer = objective.tokenizer
    if "second" in objective.columns and "spans" not in objective.columns:
        twos = paired_sentences("builtin:wordings/train")
        values = ValueColumn.of([float(pair.same) for pair in twos], Numbers())
        if objective.labels is not None and "label" in objective.columns:
            names = objective.label_names
            values = ValueColumn.of([names[pair.same % len(names)] for pair in twos], objective.labels)
        second = Corpus.from_texts([pair.second for pair in twos], tokenizer)
        and_more: dict[Role, Column] = {"second": second, objective.columns[-1]: values}
        return Corpus.from_texts([pair.text for pair in twos], tokenizer).with_beside(and_more)
    if objective.labels is not None and "label" in objective.columns:
        known = [row for row in labelled_sentences("builtin:facts/train") if row[1] in objective.label_names]
        labels = ValueColumn.of([topic for _, topic in known], objective.labels)
        return Corpus.from_texts([text for text, _ in known], tokenizer).with_beside({"label": labels})
    if "tags" in objective.columns:
        tagged = (Annotated.of_words(*sentence) for sentence in tagged_sentences("builtin:names/train"))
        named = [row for row in tagged if {span.label for span in row.spans} <= set(objective.label_names)]
        tags = SpanColumn.of(named, Spans(tokenizer, objective.labels))
        return Corpus.from_texts([row.text for row in named], tokenizer).with_beside({"tags": tags})
    if "spans" in objective.columns:
        asked = questions("builtin:questions/train")[:9]
        read = [Annotated(one.text, answer_spans(one)) for one in asked]
        beside: dict[Role, Column] = {
            "second": Corpus.from_texts([one.question for one in asked], tokenizer),
            "spans": SpanColumn.of(read, Spans(tokenizer)),
        }
        return Corpus.from_texts([one.text for one in asked], tokenizer).with_beside(beside)
    if "target" in objective.columns:
        pairs = list(builtin_pairs("builtin:pairs/train/translation"))
        targets = Corpus.from_texts([pair.target for pair in pairs], objective.target_tokenizer)
        return Corpus.from_texts([pair.source for pair in pairs], tokenizer).paired(targets)
    best = min(TEXTS, key=lambda text: int((tokenizer.encode(text).ids == tokenizer.unk_id).sum()))
    others = [text for text in sentences("stories", "train") if text.count(".") > 1 and text != best]
    language = "en" if objective.needs_sentences(objective.config) else None
    return Corpus.from_texts([best, *others], tokenizer, language=language)


@torch.no_grad()
def _answers(run: Run, example: Example) -> list[dict[str, Any]]:
    """The run's best candidate at each asked place; where it writes, from the true words before it."""
    logits = run.model(collate([[example]], run.objective.pad_id))
    blanks = run.objective.answer(example, logits, 1)
    return [
        {"place": blank.position, "true": blank.true, "said": best.token, "probability": best.probability}
        for blank in blanks
        for best in blank.candidates[:1]
    ]


def _written(run: Run, example: Example) -> str | None:
    """What an encoder-decoder writes by itself from the damaged text or the source."""
    if run.objective.family != "encoder_decoder" or not isinstance(run.objective, GeneratesInOrder):
        return None
    tokenizer = run.tokenizer
    ids = [int(id) for id in example.streams["encoder"].values if id not in (tokenizer.cls_id, tokenizer.sep_id)]
    return run.generate(tokenizer.decode(ids)).outputs[0].text


# ---------------------------------------------------------------------------------------------------------- shown


def in_words(example: dict[str, Any] | None) -> list[str]:
    """An example in lines: what each stream reads, what is asked, and what the run says."""
    if example is None:
        return []
    lines = [f"{stream['name']} reads: {' '.join(stream['tokens'])}" for stream in example["streams"]]
    if len(example["asked"]) > MANY:
        lines.append("asked, one after another: " + " ".join(one["target"] for one in example["asked"]))
    else:
        places = (f"{one['target']} (at {one['stream']} {one['place']})" for one in example["asked"])
        lines.append("asked: " + ", ".join(places))
    if example["answers"]:
        said = (f"{one['said']} {percent(one['probability'])}" for one in example["answers"])
        lines.append(f"{example['run']} says: " + ", ".join(said))
    if example["written"] is not None:
        lines.append(f"{example['run']} writes: {example['written']}")
    return lines


def view_of(runs: Sequence[Run] = ()) -> View:
    """All strategies as a page, a picture, or numbers."""
    found = strategies(runs)
    rows = [{key: value for key, value in line.items() if key != "example"} for line in found]
    for row in rows:
        row |= {key: ", ".join(row[key]) for key in ("losses", "data")}
    data = {
        "subtitle": "What each objective lets a model read, asks of it, and is used for",
        "strategies": [line | {"said": in_words(line["example"])} for line in found],
    }
    said = [
        line
        for one in found
        if one["example"] is not None
        for line in ("", one["objective"], *(f"  {words}" for words in in_words(one["example"])))
    ]
    table = [{key: row[key] for key in ("objective", "family", "direction", "question", "losses")} for row in rows]
    title = "Families and strategies"
    return View("strategies", title, data, {}, lambda: figure(found), {"strategies": found}, rows, None, table, said)


WIDTH, LETTERS = 11.0, 150


@styled
def figure(found: list[dict[str, Any]]) -> Figure:
    """A paragraph for each strategy, below the name of its family."""
    lines: list[tuple[str, dict[str, Any]]] = []
    family = ""
    muted = {"color": COLOURS["muted"]}
    for one in found:
        if one["family"] != family:
            family = one["family"]
            lines += [("", {}), (family.replace("_", "-"), {"fontsize": 11, "fontweight": "bold"})]
        source = f"   ({one['known_from']})" if one["known_from"] else ""
        lines += [("", {}), (f"{one['objective']}: {one['title']}{source}", {"fontweight": "bold"})]
        loss = ", ".join(one["losses"]).replace("_", " ")
        facts = f"sees {one['direction']};  is asked {one['question']};  loss: {loss};  good for {one['good_for']}"
        lines += [(line, {}) for line in textwrap.wrap(facts, LETTERS)]
        for words in in_words(one["example"]):
            lines += [(line, muted) for line in textwrap.wrap(words, LETTERS, subsequent_indent="    ")]
    page, axes = sheet(WIDTH, 0.3 + 0.19 * len(lines))
    for number, (line, how) in enumerate(lines):
        axes.text(
            0.3, 0.2 + 0.19 * number, without_marks(line), parse_math=False, **{"fontsize": 8, "va": "center", **how}
        )
    return page
