"""A trained model on its data: loss, accuracy, and what counting comes to on the same questions."""

import json
import math
from pathlib import Path
from typing import Any

import torch

from glassformer.answers import AnswersQuestions, FillsBlanks, ScoresText
from glassformer.ask.cloze import Answered, cloze
from glassformer.ask.judged import asked_rows_of, fit_no_answer, fit_temperature, judge_of, label_head_of, listening
from glassformer.ask.loaded import Loaded
from glassformer.assemble import Split, column_for
from glassformer.baselines.counting import counting_losses
from glassformer.data import builtin
from glassformer.data.corpus import Corpus
from glassformer.data.table import Column
from glassformer.durable import write_text_durably
from glassformer.errors import GlassformerError, UsageError
from glassformer.judging.judgement import Judgement
from glassformer.randomness import Purpose, generator
from glassformer.recipe import reads_data
from glassformer.run import Calibration
from glassformer.training import evaluation
from glassformer.training.evaluation import Evaluation, EvaluationSet, OtherSources, evaluation_batch_config


def evaluate(
    run: Loaded,
    split: Split = "validation",
    other_sources: bool = False,
    baselines: bool = True,
    rows: Path | None = None,
) -> dict[str, Any]:
    """See `Run.evaluate`."""
    judge = judge_of(run.objective)
    if rows is not None and judge is None:
        raise UsageError("this model does not predict the labels of rows", "leave out rows (--rows)")
    if other_sources and run.recipe.model.family != "encoder_decoder":
        raise UsageError("this model reads no source: it has one stack", "leave out other_sources (--other-sources)")
    asked = questions_of(run, split)
    said = listening(run, asked)
    result = evaluation.evaluate(said or run.model, asked)
    found = {"split": split, **result.record(), **bits_per_byte(result, asked, corpus_of(run, split))}
    if other_sources:
        other = OtherSources(asked.dataset, asked.objective, asked.config)
        found["loss_with_other_sources"] = evaluation.evaluate(run.model, other).loss
    blanks = designated_blanks(run, split)
    if blanks:
        loss, right = (
            sum(parts) / len(blanks) for parts in zip(*((one.loss, one.right) for one in blanks), strict=True)
        )
        found["designated_blanks"] = {"count": len(blanks), "loss": loss, "accuracy": right}
    if judge is not None and said is not None:
        judgement = judge.judge(run, split, said, baselines)
        found |= judgement.record()
        if rows is not None:
            lines = (json.dumps(dict(row), ensure_ascii=False) for row in judgement.rows)
            write_text_durably(rows, "".join(f"{line}\n" for line in lines))
    return found


BLANKED = "builtin:facts/"
"""The texts in which somebody has marked, in each sentence, the word to ask for."""


def designated_blanks(run: Loaded, split: Split) -> list[Answered]:
    """The blanks that the texts themselves mark, and what a model that fills blanks makes of them. An evaluation asks
    other questions: it hides words at random, articles and full stops among them. Blanks whose answer is no single
    word of the vocabulary, and sentences that are too long, are left out."""
    if run.recipe.data.validation is None or not run.objective.can(FillsBlanks):
        return []
    own = getattr(run.recipe.data, split) or ()
    parts = [
        name.removeprefix(BLANKED) for name in ([own] if isinstance(own, str) else own) if name.startswith(BLANKED)
    ]
    tokenizer, room = run.tokenizer, run.objective.max_length - 2
    questions = [
        question
        for part in parts
        for question in builtin.cloze("facts", part)  # type: ignore[arg-type]
        if len(ids := tokenizer.encode(question.answer).ids) == 1
        and ids[0] != tokenizer.unk_id
        and len(tokenizer.encode(question.text, allow_mask=True).ids) <= room
    ]
    return cloze(run, questions)


def judged(run: Loaded, split: Split = "validation", baselines: bool = True) -> Judgement:
    """See `Run.judged`."""
    judge = judge_of(run.objective)
    said = None if judge is None else listening(run, questions_of(run, split))
    if judge is None or said is None:
        raise UsageError("this model does not predict the labels of rows", "evaluate its loss: run.evaluate()")
    with torch.no_grad():
        for batch in said.asked:
            said(batch)
    return judge.judge(run, split, said, baselines)


def calibrate(run: Loaded) -> float | None:
    """Fit the temperature of a run that predicts labels, or the threshold of one that answers questions, on its
    validation rows, and keep it in its folder for these weights. None, and nothing kept, where there is nothing to fit
    or too few rows to fit it on."""
    if run.objective.can(AnswersQuestions):
        return _calibrate_answers(run)
    if label_head_of(run.objective) is None:
        return None
    asked = questions_of(run, "validation")
    found = fit_temperature(run, asked)
    if found is not None and run.step is not None:
        run.directory.save_calibration(Calibration(temperature=found, step=run.step, rows=len(asked.chosen)))
        vars(run).pop("temperature", None)
    return found


def _calibrate_answers(run: Loaded) -> float | None:
    rows = asked_rows_of(run, "validation")
    found = fit_no_answer(run, rows)
    if found is not None and run.step is not None:
        run.directory.save_calibration(Calibration(no_answer_threshold=found, step=run.step, rows=len(rows)))
        vars(run).pop("no_answer_threshold", None)
    return found


def bits_per_byte(result: Evaluation, asked: EvaluationSet, corpus: Any) -> dict[str, float]:
    """The nats of all tokens of the texts, by ln 2 and by the bytes of the texts as they are (UTF-8): what models with
    other tokenizers can be held against.

    Of objectives that score texts. Where each token is asked once, the nats are those of all questions, the ends of
    texts among them; where only some are, they are the mean per question, times the tokens of the texts. A model that
    sees what stands behind a token too has `pseudo_bits_per_byte`, to be compared with its own kind. Unknown words are
    never asked: there is no number for texts that have any.
    """
    objective = asked.objective
    if len(objective.members) > 1 or not isinstance(objective, ScoresText) or not isinstance(corpus, Corpus):
        return {}
    [head] = [head.name for head in objective.outputs() if head.labels is None]
    if corpus.n_unknown or not corpus.n_bytes:
        return {}
    sees_both_sides = isinstance(objective, FillsBlanks)
    tokens = corpus.n_tokens if sees_both_sides else result.count
    bits = result.means[f"{head}/loss"] / math.log(2) * tokens / corpus.n_bytes
    return {"pseudo_bits_per_byte" if sees_both_sides else "bits_per_byte": bits}


def reference_losses(run: Loaded, split: Split = "validation", limit: int | None = None) -> dict[str, float]:
    """See `Run.reference_losses`."""
    questions = questions_of(run, split)
    dataset, seed = questions.objective.dataset(corpus_of(run, "train")), run.recipe.seed
    chosen = generator(seed, Purpose.COUNTS).permutation(len(dataset))[:limit]
    learned = (e for i in chosen for e in dataset.in_turn(int(i), generator(seed, Purpose.COUNT, int(i))))
    asked = (example for index in questions.chosen for example in questions.examples(int(index)))
    return counting_losses(learned, asked, questions.objective)


def questions_of(run: Loaded, split: Split) -> EvaluationSet:
    """The units of one part of the run's data, with their fixed corruption."""
    objective = run.objective.for_evaluation()
    batch = evaluation_batch_config(run.recipe.batch, objective.row_length)
    return EvaluationSet(objective.dataset(corpus_of(run, split)), objective, batch)


def corpus_of(run: Loaded, split: Split) -> Column:
    """One part of the run's data, as stored. Raises GlassformerError when the data are not where they were."""
    data = run.recipe.data
    own = {"train": data.train, "validation": data.validation, "test": data.test}[split]
    try:
        return column_for(run.recipe, run.codecs, split)
    except UsageError as error:
        if split == "test" and own is None:
            raise
        back = "put them back, or go to the folder you trained in"
        if not reads_data(run.recipe):
            raise GlassformerError(f"the data of this run cannot be read from here: {error.what}", back) from None
        key = "train" if own is None else split
        raise GlassformerError(
            f"the data of this run (data.{key}) cannot be read from here: {error.what}",
            f"{back}, or say where they are: data.{key}=PLACE",
        ) from None
