"""Evaluation: the same questions every time, and exact means over everything that is asked."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from tiny_recipe import corpus_of, model_of, objective_of, sentences
from trained import answering_folder, run_folder

from glassformer.ask.run import load
from glassformer.data.batch import Batch, BatchConfig, Shapes
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError
from glassformer.objectives import Objective, find_objective
from glassformer.randomness import Purpose, generator
from glassformer.training.evaluation import (
    ENOUGH,
    EVALUATION_SEED,
    TELLS_FROM,
    Evaluation,
    EvaluationSet,
    OtherSources,
    evaluate,
    is_better,
)

TEXTS = sentences(31)
OBJECTIVE = objective_of(TEXTS, mask_rate=0.3)
UNITS = OBJECTIVE.dataset(corpus_of(TEXTS, OBJECTIVE))


def questions(
    limit: int | None = None, shapes: Shapes | None = None, enough: int = ENOUGH, **batch: Any
) -> EvaluationSet:
    return EvaluationSet(UNITS, OBJECTIVE, BatchConfig(**(batch or {"size": 7})), limit, shapes, enough=enough)


def by_hand(indices: list[int], in_turn: bool = True) -> dict[str, float]:
    """Each example by itself, no batch, no padding; every asked token counts once."""
    model = model_of(OBJECTIVE, dropout=0.5).eval()
    losses: list[float] = []
    first: list[bool] = []
    fifth: list[bool] = []
    made = UNITS.in_turn if in_turn else lambda index, rng: [UNITS.example(index, rng)]
    examples = [made(index, generator(EVALUATION_SEED, Purpose.QUESTION, index)) for index in indices]
    for example in itertools.chain(*examples):
        targets = example.targets["masked_lm"]
        hidden = model.encoder(questions_of(example.streams["encoder"].values))[0]
        with torch.no_grad():
            scores = model.heads["masked_lm"](hidden[targets.positions])
        for row, target in zip(scores, targets.values.tolist(), strict=True):
            losses.append(-float(row.log_softmax(-1)[target]))
            rank = int((row > row[target]).sum())
            first.append(rank < 1)
            fifth.append(rank < 5)
    return {
        "loss": float(np.mean(losses)),
        "accuracy": float(np.mean(first)),
        "top5_accuracy": float(np.mean(fifth)),
        "count": len(losses),
    }


def questions_of(ids: np.ndarray) -> Any:
    from glassformer.data.batch import StreamBatch
    from glassformer.data.masks import AttentionMask

    row = torch.from_numpy(ids)[None]
    return StreamBatch(row, torch.arange(len(ids))[None], AttentionMask.in_order(len(ids)))


@pytest.mark.parametrize("in_turn", [True, False])
def test_it_is_the_mean_over_everything_asked(in_turn: bool) -> None:
    """Loss, accuracies, perplexity and count equal those computed by hand, example by example: those of one draw where
    that is enough, of all words in turn where it is not."""
    asked = questions(enough=ENOUGH if in_turn else 31)
    record = evaluate(model_of(OBJECTIVE, dropout=0.5), asked).record()
    expected = by_hand(list(range(len(UNITS))), in_turn)
    assert record["count"] == expected["count"] > 31
    for name in ("loss", "accuracy", "top5_accuracy"):
        assert record[name] == pytest.approx(expected[name], rel=1e-5)
    assert record["perplexity"] == pytest.approx(math.exp(expected["loss"]), rel=1e-4)


def test_a_mean_of_batch_means_would_differ() -> None:
    """The batches ask so differently many questions that the easy mistake is seen."""
    model = model_of(OBJECTIVE).eval()
    asked = questions()
    sums = [OBJECTIVE.loss(model(batch), batch)["masked_lm"] for batch in asked]
    wrong = float(np.mean([float(s.total.detach()) / s.count for s in sums]))
    assert abs(wrong - evaluate(model, asked).loss) > 1e-3


@pytest.mark.parametrize(
    "batch",
    [
        {"size": 1},
        {"size": 31},
        {"size": 4, "layout": "padded"},
        {"size": 3, "layout": "packed"},
        {"tokens": 40, "layout": "grouped"},
    ],
)
def test_batch_size_and_layout_do_not_matter(batch: dict[str, Any]) -> None:
    """The same questions lie in other batches; the answer stays."""
    model = model_of(OBJECTIVE)
    expected, found = evaluate(model, questions()), evaluate(model, questions(**batch))
    assert found.count == expected.count
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.means == pytest.approx(expected.means, rel=1e-5)


def test_fixed_shapes_do_not_matter() -> None:
    """Rows, lengths and questions that are padding count nothing."""
    model = model_of(OBJECTIVE)
    found = evaluate(model, questions(shapes=Shapes(7, (8, 16), 0.3)))
    assert found.loss == pytest.approx(evaluate(model, questions()).loss, rel=1e-5)


def test_the_same_at_every_call() -> None:
    """To the bit: for the same questions and for questions made anew, with dropout in the model and other random
    numbers drawn between."""
    model, asked = model_of(OBJECTIVE, dropout=0.5), questions()
    first = evaluate(model, asked)
    torch.rand(3)
    np.random.random()
    assert evaluate(model, asked) == first == evaluate(model, questions())


def test_the_questions_do_not_depend_on_the_runs_seed_but_on_the_unit() -> None:
    """Two runs answer the same questions; two units of the same words are asked differently."""
    one, other = questions(), questions(size=3)
    for index in range(len(UNITS)):
        assert np.array_equal(
            one.example(index).streams["encoder"].values, other.example(index).streams["encoder"].values
        )
    twins = ["sun moon star red blue green old new"] * 9
    dataset = OBJECTIVE.dataset(Corpus.from_texts(twins, OBJECTIVE.tokenizer))
    asked = EvaluationSet(dataset, OBJECTIVE, BatchConfig())
    assert len({tuple(asked.example(i).streams["encoder"].values.tolist()) for i in range(9)}) > 1


def test_limit_draws_a_fixed_subset() -> None:
    """As many as said, the same ones every time, not simply the first; a limit beyond the end takes all."""
    asked = questions(limit=11)
    assert len(asked.chosen) == len(set(asked.chosen.tolist())) == 11
    assert asked.chosen.tolist() == questions(limit=11, size=2).chosen.tolist() != list(range(11))
    assert {place for made in asked.made for row in made.rows for place in row} == set(range(11))
    one_draw = questions(limit=11, enough=1)
    assert sum(batch.streams["encoder"].input_ids.shape[0] for batch in one_draw) == 11
    expected = by_hand(asked.chosen.tolist())
    assert evaluate(model_of(OBJECTIVE), asked).loss == pytest.approx(expected["loss"], rel=1e-5)
    assert questions(limit=1000).chosen.tolist() == list(range(31))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_put_back_as_it_was(training: bool) -> None:
    """In training mode or not, with dropout switched off in between."""
    model = model_of(OBJECTIVE, dropout=0.5).train(training)
    seen: list[bool] = []
    model.register_forward_pre_hook(lambda module, args: seen.append(module.training))
    evaluate(model, questions())
    assert set(seen) == {False}
    assert {module.training for module in model.modules()} == {training}


def test_no_gradients_are_kept() -> None:
    """Evaluating builds no graph."""
    logits: list[torch.Tensor] = []
    model = model_of(OBJECTIVE)

    def answer(batch: Batch) -> dict[str, torch.Tensor]:
        logits.append(model(batch)["masked_lm"])
        return {"masked_lm": logits[-1]}

    evaluate(answer, questions())
    assert not any(scores.requires_grad for scores in logits)


def test_two_heads_keep_their_names() -> None:
    """With one head its name is left out of the record, with two it would be ambiguous."""
    one = Evaluation(2.0, {"masked_lm/loss": 2.0, "masked_lm/accuracy": 0.5}, 3)
    assert one.record() == {"loss": 2.0, "accuracy": 0.5, "count": 3}
    assert (one.value("loss"), one.value("accuracy")) == (2.0, 0.5)
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        one.value("acuracy")
    two = Evaluation(2.0, {"a/loss": 1.0, "b/loss": 3.0}, 3).record()
    assert (two["a/loss"], two["b/loss"], two["loss"]) == (1.0, 3.0, 2.0)


def test_perplexity_is_said_of_one_head_over_words_and_never_of_labels() -> None:
    """What it says beside the loss follows from what is asked."""
    found = evaluate(model_of(OBJECTIVE), questions()).record()
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"])) and "top5_accuracy" in found
    objective, corpus = made_by("next_sentence", PARAGRAPHS)
    pairs = EvaluationSet(objective.dataset(corpus), objective, BatchConfig(size=7))
    found = evaluate(model_of(objective, max_length=40, segments=2), pairs).record()
    assert {"masked_lm/top5_accuracy", "next_sentence/macro_f1", "next_sentence/matthews_correlation"} < set(found)
    assert not any(key.endswith("perplexity") for key in found) and "next_sentence/top5_accuracy" not in found


@pytest.mark.parametrize(("name", "better"), [("loss", 0.4), ("accuracy", 0.6), ("label/macro_f1", 0.6)])
def test_what_is_better_follows_from_the_direction(name: str, better: float) -> None:
    assert is_better(name, better, 0.5) and not is_better(name, 0.5, better) and not is_better(name, 0.5, 0.5)
    assert is_better(name, better, None) and not is_better(name, math.nan, None)


def test_a_text_of_which_nothing_can_be_asked_is_refused() -> None:
    """Every word unknown: a loss of 0 over 0 questions would look perfect."""
    dataset = OBJECTIVE.dataset(Corpus.from_texts(["qwertz uiop", "asdf"], OBJECTIVE.tokenizer))
    with pytest.raises(UsageError, match=r"nothing can be asked.*unknown"):
        list(EvaluationSet(dataset, OBJECTIVE, BatchConfig()))


def test_with_other_sources_only_the_sources_are_others() -> None:
    """Targets and what the decoder reads stay; the source is that of the next question, of the last one the first's."""
    run = load(answering_folder())
    own = run.questions("validation")
    other = OtherSources(own.dataset, own.objective, own.config)
    asked = own.chosen.tolist()
    for index, neighbour in zip(asked, [*asked[1:], asked[0]], strict=True):
        mine, its, mixed = own.example(index), own.example(neighbour), other.example(index)
        assert mixed.streams["encoder"].values.tolist() == its.streams["encoder"].values.tolist()
        assert mixed.streams["decoder"].values.tolist() == mine.streams["decoder"].values.tolist()
        assert {k: v.values.tolist() for k, v in mixed.targets.items()} == {
            k: v.values.tolist() for k, v in mine.targets.items()
        }
    assert any(
        own.example(i).streams["encoder"].values.tolist() != other.example(i).streams["encoder"].values.tolist()
        for i in asked
    )


def test_other_sources_cost_nothing_only_where_no_source_is_read() -> None:
    """The loss differs from the loss with the own sources, until nothing comes through cross-attention."""
    run = load(answering_folder())
    with torch.no_grad():
        for block in run.model.stacks[-1].blocks:
            block.cross_attention.output.weight.normal_()
    found = run.evaluate(other_sources=True)
    assert abs(found["loss_with_other_sources"] - found["loss"]) > 1e-3
    with torch.no_grad():
        for block in run.model.stacks[-1].blocks:
            block.cross_attention.output.weight.zero_()
    deaf = run.evaluate(other_sources=True)
    assert deaf["loss_with_other_sources"] == pytest.approx(deaf["loss"], abs=1e-5)
    assert "loss_with_other_sources" not in run.evaluate()


def test_where_there_is_no_other_source_it_is_said() -> None:
    """It says so, and what to leave out; so does a single text, beside which there is no other."""
    with pytest.raises(UsageError, match="no source"):
        load(run_folder()).evaluate(other_sources=True)
    own = load(answering_folder()).questions("validation")
    with pytest.raises(UsageError, match="need two texts"):
        list(OtherSources(own.dataset, own.objective, own.config, limit=1))


# ------------------------------------------------------------------------------------------ enough is asked

FAMILIES: dict[str, dict[str, Any]] = {
    "masked_lm": {},
    "whole words": {"name": "masked_lm", "whole_word": True},
    "masked rows": {"name": "masked_lm", "units": "stream"},
    "next_sentence": {"pairs": "order"},
    "permutation_lm": {},
    "permuted rows": {"name": "permutation_lm", "units": "stream"},
    "span_corruption": {"span_length": 2.0},
    "causal_lm": {},
    "denoising": {},
}
"""Objectives as a recipe names them; each of them on the same texts."""


def made_by(kind: str, texts: list[str]) -> tuple[Objective, Corpus]:
    """An objective and a corpus of texts of two lines, some words of which are unknown."""
    settings = {"name": kind} | FAMILIES[kind]
    known = [text.replace("blue", "sun") for text in texts]
    tokenizer = Tokenizer.train(known, TokenizerConfig(kind="word", vocab_size=200, sentinels=8))
    found = find_objective(settings["name"])
    objective = found(found.Config(**settings), tokenizer, 40)
    return objective.for_evaluation(), Corpus.from_texts(texts, tokenizer, language="en")


PARAGRAPHS = [f"{a} . {b} ." for a, b in itertools.pairwise(sentences(23, seed=3))]


def targets_of(asked: EvaluationSet) -> Counter[int]:
    """How often each token is asked for."""
    heads = (batch.targets.get(head) for batch in asked for head in batch.targets if head != "next_sentence")
    return Counter(token for head in heads if head for token in head.values[: head.n_targets].tolist())


@pytest.mark.parametrize("kind", FAMILIES)
def test_of_few_texts_every_word_is_asked_once(kind: str) -> None:
    """Each known word as often as it stands in the texts, whatever a draw would hide; unknown words are counted, and
    never asked."""
    objective, corpus = made_by(kind, PARAGRAPHS)
    asked = EvaluationSet(objective.dataset(corpus), objective, BatchConfig(size=7))
    special = objective.tokenizer.special_ids
    expected = Counter(token for token in np.asarray(corpus.tokens).tolist() if token not in special)
    assert Counter({token: n for token, n in targets_of(asked).items() if token not in special}) == expected
    words, unknown = asked.words
    assert (unknown, words) == (corpus.n_unknown, corpus.n_tokens)
    assert unknown > 5


@pytest.mark.parametrize("kind", FAMILIES)
def test_of_many_texts_one_draw_is_asked(kind: str) -> None:
    """Where that is enough: the questions are those of single examples."""
    objective, corpus = made_by(kind, PARAGRAPHS)
    dataset = objective.dataset(corpus)
    asked = EvaluationSet(dataset, objective, BatchConfig(size=7), enough=20)
    for index in range(len(dataset)):
        [example] = asked.examples(index)
        drawn = dataset.example(index, generator(EVALUATION_SEED, Purpose.QUESTION, index))
        for head, questions in drawn.targets.items():
            assert np.array_equal(example.targets[head].positions, questions.positions)


@pytest.mark.parametrize("enough", [60, 100, 150])
def test_no_more_than_enough_is_asked_in_turn(enough: int) -> None:
    """Between one draw, which asks 56, and all words: at least so many questions, and no whole draw more; never a word
    twice."""
    asked = questions(enough=enough)
    places = Counter(
        (i, int(p)) for i in range(31) for e in asked.examples(i) for p in e.targets["masked_lm"].positions
    )
    assert enough <= asked.count == len(places) < enough + 62
    assert set(places.values()) == {1}


def test_a_pair_is_asked_once() -> None:
    """Its words in turn, but not the pair again each time."""
    objective, corpus = made_by("next_sentence", PARAGRAPHS)
    dataset = objective.dataset(corpus)
    asked = EvaluationSet(dataset, objective, BatchConfig(size=7))
    assert sum(batch.targets["next_sentence"].n_targets for batch in asked) == len(dataset)
    assert len(asked.examples(0)) > 1


@pytest.mark.parametrize("kind", FAMILIES)
def test_single_questions_add_up_to_the_loss(kind: str) -> None:
    """Terms and sums agree, name by name: loss, right answers, number."""
    objective, corpus = made_by(kind, PARAGRAPHS)
    asked = EvaluationSet(objective.dataset(corpus), objective, BatchConfig(size=7))
    for batch in asked:
        logits = {
            head.name: torch.randn(len(batch.targets[head.name].flat_index), head.size)
            for head in objective.outputs()
            if head.name in batch.targets
        }
        losses, sums, terms = (f(logits, batch) for f in (objective.loss, objective.sums, objective.terms))
        for name, single in terms.items():
            assert float(single.losses.sum()) == pytest.approx(float(losses[name].total), rel=1e-5)
            assert int((single.guesses == single.targets).sum()) == int(sums[f"{name}/accuracy"].total)
            assert len(single.targets) == losses[name].count
            assert float(sums[f"{name}/loss"].total) == pytest.approx(float(losses[name].total), rel=1e-5)


def test_the_record_says_what_was_asked_and_how_sure_it_is() -> None:
    """Intervals around loss and accuracy; where words are unknown, the accuracy over all of them, too."""
    objective, corpus = made_by("masked_lm", PARAGRAPHS)
    asked = EvaluationSet(objective.dataset(corpus), objective, BatchConfig(size=7))
    record = evaluate(model_of(objective, max_length=40), asked).record()
    assert record["loss_interval"][0] < record["loss"] < record["loss_interval"][1]
    assert record["accuracy_interval"][0] <= record["accuracy"] <= record["accuracy_interval"][1]
    assert record["asked_in"] == f"{len(PARAGRAPHS)} texts"
    assert record["unknown"] == corpus.n_unknown
    known = 1 - corpus.n_unknown / corpus.n_tokens
    assert record["accuracy_of_all_words"] == pytest.approx(record["accuracy"] * known)
    assert set(record["most_frequent_guess"]) == {"token", "share", "right"}
    every_word = evaluate(model_of(OBJECTIVE), questions()).record()
    assert every_word["unknown"] == 0
    assert "accuracy_of_all_words" not in every_word


def test_more_texts_make_the_interval_narrower() -> None:
    """By the square root of their number, about; a single question has none."""
    widths = []
    for number in (40, 640):
        corpus = Corpus.from_texts(sentences(number, seed=8), OBJECTIVE.tokenizer)
        asked = EvaluationSet(OBJECTIVE.dataset(corpus), OBJECTIVE, BatchConfig(size=64), enough=100_000)
        found = evaluate(model_of(OBJECTIVE), asked)
        assert found.loss_interval is not None
        widths.append(found.loss_interval[1] - found.loss_interval[0])
    assert 3.0 < widths[0] / widths[1] < 5.3
    one = Corpus.from_texts(["sun"], OBJECTIVE.tokenizer)
    assert (
        evaluate(model_of(OBJECTIVE), EvaluationSet(OBJECTIVE.dataset(one), OBJECTIVE, BatchConfig())).loss_interval
        is None
    )


@pytest.mark.parametrize(("number", "tells"), [(TELLS_FROM - 1, False), (TELLS_FROM, True)])
def test_it_says_whether_it_tells(number: int, tells: bool) -> None:
    """From so many questions on."""
    assert Evaluation(2.0, {}, number).tells is tells


@torch.no_grad()
def test_the_most_frequent_guess_is_counted_over_everything() -> None:
    """A model that says one word: its share is 1, and it is right as often as the word was asked."""
    model = model_of(OBJECTIVE)
    word = OBJECTIVE.tokenizer.id("moon")
    model.get_parameter("heads.masked_lm.output.bias")[word] = 1000.0
    asked = questions()
    found = evaluate(model, asked).guess
    assert found is not None
    assert (found.token, found.share) == ("moon", 1.0)
    assert found.right == pytest.approx(targets_of(asked)[word] / asked.count)
    assert evaluate(model_of(OBJECTIVE), asked).guess != found
