"""A trained model's answers to labelled rows, judged: scores with intervals beside the lines that it must beat.

What is judged depends on what a model says: JUDGES has a Judge for each kind of answer (`glassformer.answers`). The
model is listened to while it is evaluated, so that nothing is computed twice. Another kind of task adds an entry: which
head is listened to, and a function that makes a Judgement of what was heard, with the scores of `glassformer.judging`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped

from glassformer.answers import AnswersQuestions, PredictsLabels, Similar, TagsWords
from glassformer.ask import answer, tag
from glassformer.ask.loaded import Loaded
from glassformer.ask.tag import TaggedText
from glassformer.baselines.answer_overlap import best_sentence, sliding_window
from glassformer.baselines.bag_of_words import fit_bag_of_words
from glassformer.baselines.frequent_tag import FrequentTag
from glassformer.baselines.majority import majority
from glassformer.data.batch import Batch
from glassformer.data.spans import Annotated
from glassformer.data.table import Cell
from glassformer.errors import GlassformerError
from glassformer.judging import Score, answers, calibration, classes, entities, means
from glassformer.judging.judgement import Judgement
from glassformer.objectives import Objective
from glassformer.recipe_rows import Split, rows_for
from glassformer.training.evaluation import EvaluationSet

TEXTS = ("text", "second", "source", "target")
"""Roles of a row that are read as text."""


class Listening:
    """A model as `evaluate` calls it; what one head said, and what was right, is kept."""

    def __init__(self, run: Loaded, asked: EvaluationSet, head: str) -> None:
        self.run, self.asked, self.head = run, asked, head
        self._said: list[np.ndarray] = []
        self._true: list[np.ndarray] = []

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """What the model says."""
        logits, targets = self.run.model(batch), batch.targets[self.head]
        self._said.append(logits[self.head][: targets.n_targets].float().numpy())
        self._true.append(targets.values[: targets.n_targets].numpy())
        return logits

    def heard(self) -> "Heard":
        """All that was asked, in the order of the data: batches hold rows of like lengths."""
        rows = np.concatenate([made.clusters[self.head] for made in self.asked.made]) // self.asked.blocks
        order = np.argsort(rows, kind="stable")
        return Heard(np.concatenate(self._said)[order], np.concatenate(self._true)[order], rows[order])


class Heard(NamedTuple):
    """What a head said to each question, and what was right."""

    outputs: Float[np.ndarray, "questions size"]
    truths: Shaped[np.ndarray, "questions *numbers"]
    rows: Int64[np.ndarray, "questions"]
    """Of which row of the data each question is; of a label there is one for each row."""


class Rows(NamedTuple):
    """Rows of the data, as a person reads them."""

    texts: list[str]
    """Of a picture: where it stands."""
    labels: Int64[np.ndarray, "rows"]
    are_texts: bool


def rows_of(run: Loaded, split: Split) -> Rows:
    """One part of the run's labelled data. Raises what reading it raises."""
    roles = run.objective.columns
    read = [n for n, role in enumerate(roles) if role in TEXTS]
    codec, labels, texts = run.codecs.label, list[int](), list[str]()
    assert codec is not None, "a task that predicts labels has them"
    for row in rows_for(run.recipe, split):
        texts.append(" ||| ".join(str(row.cells[n]) for n in read) if read else row.place)
        labels.append(codec.encode(Cell(row.cells[roles.index("label")], row.place)))
    return Rows(texts, np.array(labels, dtype=np.int64), bool(read))


# ------------------------------------------------------------------------------------------- one label for each row


@torch.no_grad()
def fit_temperature(run: Loaded, asked: EvaluationSet) -> float | None:
    """The temperature under which the labels of these rows are likeliest; None for a model that predicts no labels, and
    where the rows cannot tell (see `calibration.fit_temperature`)."""
    head = label_head_of(run.objective)
    if head is None:
        return None
    said = Listening(run, asked, head)
    for batch in asked:
        said(batch)
    outputs, truths, _ = said.heard()
    return calibration.fit_temperature(outputs, truths)


def label_head_of(objective: Objective) -> str | None:
    """The head that predicts the label of a row; None where the data have no labels for it, as those of two sentences
    that follow one another."""
    labelled = len(objective.members) == 1 and "label" in objective.columns
    return objective.label_head if labelled and isinstance(objective, PredictsLabels) else None


def judge_labels(run: Loaded, split: Split, said: Listening, baselines: bool) -> Judgement:
    """Accuracy, macro F1 and Matthews correlation; of each class precision and recall, and what it was taken for; how
    far the probabilities can be trusted; beside the majority class and a bag of words."""
    outputs, truths, _ = said.heard()
    names, rows = run.objective.specs[said.head].labels or (), rows_of(run, split)
    if not np.array_equal(rows.labels, truths):
        raise GlassformerError("the data have changed while they were read", "start again when they stay as they are")
    shares, guesses = calibration.probabilities(outputs, run.temperature), outputs.argmax(1)
    lines, notes = _lines_to_beat(run, rows, len(names)) if baselines else ({}, [])
    wrong = np.flatnonzero(guesses != truths)
    return Judgement(
        scores=classes.scores(truths, guesses, len(names)),
        lines=lines,
        rows=[
            {
                "row": n + 1,
                "text": text,
                "truth": names[truths[n]],
                "prediction": names[guesses[n]],
                "probability": float(shares[n, guesses[n]]),
                "probability_of_truth": float(shares[n, truths[n]]),
            }
            for n, text in enumerate(rows.texts)
        ],
        hardest=wrong[np.argsort(-shares[wrong, guesses[wrong]], kind="stable")].tolist(),
        more={
            "classes": classes.by_class(truths, guesses, names),
            "confusion": classes.confusion_matrix(truths, guesses, len(names)).tolist(),
            "calibration": {
                "temperature": run.temperature,
                "error_before": _calibration_error(calibration.probabilities(outputs), truths),
                "error_after": _calibration_error(shares, truths),
            },
        },
        notes=notes,
    )


def _calibration_error(shares: Float[np.ndarray, "rows classes"], truths: Int64[np.ndarray, "rows"]) -> float:
    return calibration.expected_calibration_error(calibration.bins(shares, truths))


def _lines_to_beat(run: Loaded, asked: Rows, number: int) -> tuple[dict[str, list[Score]], list[str]]:
    """What needs no model, learned from the run's own training rows; and what of it could not be made."""
    try:
        learned = rows_of(run, "train")
        held_out = rows_of(run, "validation") if asked.are_texts else learned
    except GlassformerError as error:
        return {}, [f"no lines to beat: the training data cannot be read from here ({error.what})"]
    guesses, notes = {"majority_class": majority(learned.labels, len(asked.labels))}, list[str]()
    if asked.are_texts:
        try:
            bag = fit_bag_of_words(learned.texts, learned.labels, held_out.texts, held_out.labels)
            guesses["bag_of_words"] = bag.guess(asked.texts)
        except ValueError as error:  # no word at all, or a single label
            notes.append(f"no bag of words: {error}")
    return {name: classes.scores(asked.labels, said, number) for name, said in guesses.items()}, notes


# --------------------------------------------------------------------------------------------- a tag for each word


def tagged_rows_of(run: Loaded, split: Split) -> list[Annotated]:
    """One part of the run's tagged data."""
    place = run.objective.columns.index("tags")
    return [row.cells[place] for row in rows_for(run.recipe, split)]


def tag_head_of(objective: Objective) -> str | None:
    """The head that predicts the tags of words."""
    return objective.tag_head if len(objective.members) == 1 and isinstance(objective, TagsWords) else None


def judge_tags(run: Loaded, split: Split, said: Listening, baselines: bool) -> Judgement:
    """Of names the F1 of whole ones (strict, and as conlleval reads them), by kind too; of all tags how many words are
    right, of those that training has and of those that it has not; beside the most frequent tag of each word."""
    assert isinstance(run.objective, TagsWords)
    rows = tagged_rows_of(run, split)
    sentences = [row.words for row in rows]
    truths = [[span.label for span in row.spans] for row in rows]
    tagged = tag.tag(run, sentences)
    names = run.objective.label_names
    usual = "O" if "O" in names else names[0]
    guesses = [[word.tag or usual for word in text.words] for text in tagged]
    learned, lines, notes = _learned_tags(run)
    known = set() if learned is None else set(learned.tags)
    if baselines and learned is not None:
        said_by_word = [learned.guess(words) for words in sentences]
        lines = {"most_frequent_tag": _tag_scores(run.objective.names_entities, sentences, truths, said_by_word, known)}
    more = {"types": entities.by_type(truths, guesses)} if run.objective.names_entities else {}
    found = [
        _worst_word(number, text, right) for number, (text, right) in enumerate(zip(tagged, truths, strict=True), 1)
    ]
    wrong = [place for place, row in enumerate(found) if row["tags"] != row["true_tags"]]
    return Judgement(
        scores=_tag_scores(run.objective.names_entities, sentences, truths, guesses, known),
        lines=lines,
        rows=found,
        hardest=sorted(wrong, key=lambda place: -found[place]["probability"]),
        more=more,
        notes=notes,
    )


def _learned_tags(run: Loaded) -> tuple[FrequentTag | None, dict[str, list[Score]], list[str]]:
    """What counting learns from the run's own training rows; and why not, where that is so."""
    try:
        rows = tagged_rows_of(run, "train")
        return FrequentTag((row.words, [span.label for span in row.spans]) for row in rows), {}, []
    except GlassformerError as error:
        return None, {}, [f"no lines to beat: the training data cannot be read from here ({error.what})"]


def _tag_scores(
    of_names: bool,
    sentences: Sequence[Sequence[str]],
    truths: Sequence[Sequence[str]],
    guesses: Sequence[Sequence[str]],
    known: set[str],
) -> list[Score]:
    """The scores of one answer for each word; `known` are the words of the training data."""
    found: list[Score] = []
    if of_names:
        found = [*entities.scores(truths, guesses, "strict"), entities.scores(truths, guesses, "lenient")[0]]
    right = [np.array(one) == np.array(other) for one, other in zip(truths, guesses, strict=True)]
    found.append(means.share("accuracy", right))
    if known and not of_names:
        there = [np.array([word in known for word in words]) for words in sentences]
        found.append(means.share("accuracy_of_known_words", right, there))
        found.append(means.share("accuracy_of_unknown_words", right, [~of_one for of_one in there]))
    return found


def _worst_word(number: int, text: TaggedText, truths: Sequence[str]) -> dict[str, Any]:
    """A sentence as --rows writes it, with the word that it is most wrongly sure of, or least sure of."""
    pairs = list(zip(text.words, truths, strict=True))
    wrong = [(word, true) for word, true in pairs if word.tag != true]
    sure = sorted(wrong or pairs, key=lambda pair: pair[0].probability or 0.0)
    word, true = sure[-1] if wrong else sure[0]
    return {
        "row": number,
        "text": text.text,
        "word": word.word,
        "truth": true,
        "prediction": word.tag,
        "probability": word.probability or 0.0,
        "tags": [one.tag for one, _ in pairs],
        "true_tags": list(truths),
    }


# ------------------------------------------------------------------------------------- where an answer stands in a text


class AskedRow(NamedTuple):
    """A question about a text, and the answers that are right: none where the text has none."""

    text: str
    question: str
    answers: tuple[str, ...]


def asked_rows_of(run: Loaded, split: Split) -> list[AskedRow]:
    """One part of the run's questions."""
    text, second, spans = (run.objective.columns.index(role) for role in ("text", "second", "spans"))
    found: list[AskedRow] = []
    for row in rows_for(run.recipe, split):
        read = row.cells[text]
        found.append(AskedRow(read, row.cells[second], tuple(read[a:b] for a, b, _ in row.cells[spans].spans)))
    return found


def fit_no_answer(run: Loaded, rows: Sequence[AskedRow]) -> float | None:
    """The threshold under which the mean F1 of these rows is highest; None where all of them have an answer, or none
    has."""
    answered = np.array([bool(row.answers) for row in rows], dtype=bool)
    if answered.all() or not answered.any():
        return None
    said = answer.answer_each(run, [(row.question, {"": row.text}) for row in rows])
    margins = [one.candidates[0].score - one.no_answer_score if one.candidates else -np.inf for one in said]
    texts = [one.candidates[0].text if one.candidates else None for one in said]
    given = [answers.f1(text, row.answers) for text, row in zip(texts, rows, strict=True)]
    least = min((margin for margin in margins if np.isfinite(margin)), default=0.0) - 1
    return answers.fit_threshold(np.maximum(margins, least), np.array(given), answered)


def span_head_of(objective: Objective) -> str | None:
    """The head that points at the first token of an answer."""
    only = len(objective.members) == 1 and isinstance(objective, AnswersQuestions)
    return objective.span_heads[0] if only and isinstance(objective, AnswersQuestions) else None


def judge_answers(run: Loaded, split: Split, said: Listening, baselines: bool) -> Judgement:
    """Exact match and F1, as SQuAD has them, of the best answer over all windows of a text; beside the sentence that
    has most words of the question, and a window that slides over the text."""
    rows = asked_rows_of(run, split)
    found = answer.answer_each(run, [(row.question, {"": row.text}) for row in rows])
    right, texts = [row.answers for row in rows], [one.answer for one in found]
    lines: dict[str, list[Score]] = {}
    if baselines:
        guesses: dict[str, list[str | None]] = {
            "best_sentence": [best_sentence(row.text, row.question) for row in rows],
            "sliding_window": [sliding_window(row.text, row.question) for row in rows],
        }
        if not all(right):
            guesses = {"no_answer": [None] * len(rows), **guesses}
        lines = {name: answers.scores(guess, right) for name, guess in guesses.items()}
    of_rows: list[dict[str, Any]] = [
        {
            "row": number,
            "text": row.question,
            "context": row.text,
            "truth": list(row.answers),
            "prediction": one.answer,
            "exact_match": answers.exact_match(one.answer, row.answers),
            "f1": answers.f1(one.answer, row.answers),
            "score": one.candidates[0].score if one.candidates else None,
            "no_answer_score": one.no_answer_score,
            "probability": one.candidates[0].probability if one.candidates else 0.0,
        }
        for number, (row, one) in enumerate(zip(rows, found, strict=True), start=1)
    ]
    wrong = [place for place, row in enumerate(of_rows) if row["f1"] == 0]
    return Judgement(
        scores=answers.scores(texts, right),
        lines=lines,
        rows=of_rows,
        hardest=sorted(wrong, key=lambda place: -float(of_rows[place]["probability"])),
        more={"no_answer_threshold": run.no_answer_threshold},
    )


# --------------------------------------------------------------------------------------- a number for each pair


def vector_head_of(objective: Objective) -> str | None:
    """The head that makes vectors, where their cosines are held against numbers."""
    judged = len(objective.members) == 1 and isinstance(objective, Similar) and objective.scale is not None
    return objective.vector_head if judged else None  # type: ignore[attr-defined]


def judge_similarity(run: Loaded, split: Split, said: Listening, baselines: bool) -> Judgement:
    """How well the cosines are in the order of the numbers (Spearman), and on a line with them (Pearson)."""
    outputs, truths, rows = said.heard()
    cosines = run.objective.losses[said.head].said(torch.from_numpy(outputs))[::2, 0].double().numpy()
    numbers = truths[::2].astype(np.float64)
    return Judgement(
        scores=[means.spearman(cosines, numbers), means.pearson(cosines, numbers)],
        rows=[
            {"row": int(row) + 1, "truth": number, "prediction": cosine}
            for row, number, cosine in zip(rows[::2], numbers.tolist(), cosines.tolist(), strict=True)
        ],
    )


class Judge(NamedTuple):
    """How one kind of answer is judged."""

    head: Callable[[Objective], str | None]
    """The head that is listened to; None for an objective whose answers are judged by their loss alone."""
    judge: Callable[[Loaded, Split, Listening, bool], Judgement]
    """Makes a judgement of what was heard about one part of the data, with or without the lines to beat."""


JUDGES: dict[type, Judge] = {
    PredictsLabels: Judge(label_head_of, judge_labels),
    TagsWords: Judge(tag_head_of, judge_tags),
    Similar: Judge(vector_head_of, judge_similarity),
    AnswersQuestions: Judge(span_head_of, judge_answers),
}
"""By what a model says."""


def listening(run: Loaded, asked: EvaluationSet) -> Listening | None:
    """The run, listened to by the head that is judged; None for a model that is judged by its loss alone."""
    head = head_of(run.objective)
    return None if head is None else Listening(run, asked, head)


def head_of(objective: Objective) -> str | None:
    """The head that is judged, of a model whose answers are."""
    judge = judge_of(objective)
    return None if judge is None else judge.head(objective)


def judge_of(objective: Objective) -> Judge | None:
    """The first that can judge it."""
    able = (judge for answer, judge in JUDGES.items() if isinstance(objective, answer))
    return next((judge for judge in able if judge.head(objective) is not None), None)
