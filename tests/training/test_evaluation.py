"""Evaluation: the same questions every time, and exact means over everything that is asked."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny_recipe import corpus_of, model_of, objective_of, sentences
from trained import answering_folder, run_folder

from glassformer.data.batch import Batch, BatchConfig, Shapes
from glassformer.data.corpus import Corpus
from glassformer.errors import UsageError
from glassformer.predict import load
from glassformer.randomness import Purpose, generator
from glassformer.training.evaluation import EVALUATION_SEED, Evaluation, FixedQuestions, OtherSources, evaluate

TEXTS = sentences(31)
OBJECTIVE = objective_of(TEXTS, mask_rate=0.3)
UNITS = OBJECTIVE.units(corpus_of(TEXTS, OBJECTIVE))


def questions(limit: int | None = None, shapes: Shapes | None = None, **batch: Any) -> FixedQuestions:
    return FixedQuestions(UNITS, OBJECTIVE, BatchConfig(**(batch or {"size": 7})), limit, shapes)


def by_hand(indices: list[int]) -> dict[str, float]:
    """Each unit by itself, no batch, no padding; every asked token counts once."""
    model = model_of(OBJECTIVE, dropout=0.5).eval()
    losses: list[float] = []
    first: list[bool] = []
    fifth: list[bool] = []
    for index in indices:
        example = UNITS.example(index, generator(EVALUATION_SEED, Purpose.QUESTION, index))
        asked = example.asked["masked_lm"]
        hidden = model.encoder(questions_of(example.streams["encoder"].ids))[0]
        with torch.no_grad():
            scores = model.heads["masked_lm"](hidden[asked.positions])
        for row, target in zip(scores, asked.targets.tolist(), strict=True):
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
    return StreamBatch(row, torch.arange(len(ids))[None], AttentionMask())


def test_it_is_the_mean_over_everything_asked() -> None:
    """Loss, accuracies, perplexity and count equal those computed by hand, unit by unit."""
    record = evaluate(model_of(OBJECTIVE, dropout=0.5), questions()).record()
    expected = by_hand(list(range(len(UNITS))))
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
        assert np.array_equal(one.example(index).streams["encoder"].ids, other.example(index).streams["encoder"].ids)
    twins = ["sun moon star red blue green old new"] * 9
    units = OBJECTIVE.units(Corpus.from_texts(twins, OBJECTIVE.tokenizer))
    asked = FixedQuestions(units, OBJECTIVE, BatchConfig())
    assert len({tuple(asked.example(i).streams["encoder"].ids.tolist()) for i in range(9)}) > 1


def test_limit_draws_a_fixed_subset() -> None:
    """As many as said, the same ones every time, not simply the first; a limit beyond the end takes all."""
    asked = questions(limit=11)
    assert len(asked.chosen) == len(set(asked.chosen.tolist())) == 11
    assert asked.chosen.tolist() == questions(limit=11, size=2).chosen.tolist() != list(range(11))
    assert sum(batch.streams["encoder"].input_ids.shape[0] for batch in asked) == 11
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
    one = Evaluation(2.0, {"masked_lm/loss": 2.0, "masked_lm/accuracy": 0.5}, 3).record()
    assert one == {"loss": 2.0, "accuracy": 0.5, "perplexity": pytest.approx(math.e**2), "count": 3}
    two = Evaluation(2.0, {"a/loss": 1.0, "b/loss": 3.0}, 3).record()
    assert (two["a/loss"], two["b/loss"], two["loss"]) == (1.0, 3.0, 2.0)


def test_a_text_of_which_nothing_can_be_asked_is_refused() -> None:
    """Every word unknown: a loss of 0 over 0 questions would look perfect."""
    units = OBJECTIVE.units(Corpus.from_texts(["qwertz uiop", "asdf"], OBJECTIVE.tokenizer))
    with pytest.raises(UsageError, match=r"nothing can be asked.*unknown"):
        list(FixedQuestions(units, OBJECTIVE, BatchConfig()))


def test_with_other_sources_only_the_sources_are_others() -> None:
    """Targets and what the decoder reads stay; the source is that of the next question, of the last one the first's."""
    run = load(answering_folder())
    own = run.questions("validation")
    other = OtherSources(own.units, own.objective, own.config)
    asked = own.chosen.tolist()
    for index, neighbour in zip(asked, [*asked[1:], asked[0]], strict=True):
        mine, its, mixed = own.example(index), own.example(neighbour), other.example(index)
        assert mixed.streams["encoder"].ids.tolist() == its.streams["encoder"].ids.tolist()
        assert mixed.streams["decoder"].ids.tolist() == mine.streams["decoder"].ids.tolist()
        assert {k: v.targets.tolist() for k, v in mixed.asked.items()} == {
            k: v.targets.tolist() for k, v in mine.asked.items()
        }
    assert any(
        own.example(i).streams["encoder"].ids.tolist() != other.example(i).streams["encoder"].ids.tolist()
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
        list(OtherSources(own.units, own.objective, own.config, limit=1))
