"""An objective of any kind, and a small column of each role that it takes."""

import numpy as np

from glassformer.data.codecs import Codecs
from glassformer.data.corpus import Corpus
from glassformer.data.labels import Labels
from glassformer.data.span_columns import SpanColumn, Spans
from glassformer.data.spans import Annotated, Span
from glassformer.data.table import Arrays, Column, Numbers, ValueColumn
from glassformer.data.tokenizer import Tokenizer
from glassformer.objectives import Objective, find_objective

LABELS = Labels(("odd", "007"))
SHAPE = (14, 21)
"""Of the pictures: two rows of three patches."""


def make(name: str, tokenizer: Tokenizer, max_length: int) -> Objective:
    """An objective with its default settings, made from codecs of every kind."""
    kind = find_objective(name)
    return kind.from_codecs(kind.Config(), Codecs(tokenizer, label=LABELS, array=Arrays(SHAPE)), max_length)


def labelled(objective: Objective, texts: list[str]) -> Column:
    """Texts that leave room for two more tokens, or pictures, with labels in turn."""
    if objective.columns[0] == "array":
        pictures = np.random.default_rng(3).integers(0, 256, (11, *SHAPE), dtype=np.uint8)
        return ValueColumn.of(list(pictures), Arrays(SHAPE), {"label": labels_for(11)})
    short = [text for text in texts if len(objective.tokenizer.encode(text).ids) <= objective.max_length - 2]
    return Corpus.from_texts(short, objective.tokenizer).with_beside({"label": labels_for(len(short))})


def tagged(objective: Objective, texts: list[str]) -> Column:
    """Texts of a few words, these tagged in turn."""
    rows = [text.split() for text in texts]
    sentences = [Annotated.of_words(words, [LABELS.names[n % 2] for n in range(len(words))]) for words in rows]
    texts_column = Corpus.from_texts([sentence.text for sentence in sentences], objective.tokenizer, keep_empty=True)
    return texts_column.with_beside({"tags": SpanColumn.of(sentences, Spans(objective.tokenizer, LABELS))})


def two_texts(objective: Objective, texts: list[str]) -> Column:
    """Short texts, each beside itself backwards, with labels in turn or numbers from 0 to 1."""
    room = objective.max_length // 2 - 2
    short = [text for text in texts if len(objective.tokenizer.encode(text).ids) <= room]
    second = Corpus.from_texts([" ".join(reversed(text.split())) for text in short], objective.tokenizer)
    beside: dict[str, Column] = {"second": second}
    if "label" in objective.columns:
        beside["label"] = labels_for(len(short))
    else:
        beside["number"] = ValueColumn.of([n / len(short) for n in range(len(short))], Numbers())
    return Corpus.from_texts(short, objective.tokenizer).with_beside(beside)


def asked(objective: Objective, texts: list[str]) -> Column:
    """Texts, each asked for its last word by its first; every third has no answer."""
    rows = [text for text in texts if len(text.split()) > 1]
    spans = [() if n % 3 == 2 else (Span(len(text) - len(text.split()[-1]), len(text)),) for n, text in enumerate(rows)]
    annotated = [Annotated(text, places) for text, places in zip(rows, spans, strict=True)]
    return Corpus.from_texts(rows, objective.tokenizer).with_beside(
        {
            "second": Corpus.from_texts([text.split()[0] for text in rows], objective.tokenizer),
            "spans": SpanColumn.of(annotated, Spans(objective.tokenizer)),
        }
    )


def for_roles(objective: Objective, texts: list[str]) -> Column | None:
    """A small column of the roles that it takes, where these are more than texts, or a source and its target."""
    if "spans" in objective.columns:
        return asked(objective, texts)
    if "tags" in objective.columns:
        return tagged(objective, texts)
    if "second" in objective.columns:
        return two_texts(objective, texts)
    return labelled(objective, texts) if "label" in objective.columns else None


def labels_for(number: int) -> ValueColumn:
    """Both in turn."""
    return ValueColumn.of([LABELS.names[n % 2] for n in range(number)], LABELS)
