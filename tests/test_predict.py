"""A trained run, used: blanks filled, questions asked, attention seen. The run directory is all that is needed."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
import torch
from tiny_recipe import recipe, text_file, train
from trained import TEXT, copy_of_run, run_folder

from glassformer.ask.run import Run, load
from glassformer.data.batch import collate
from glassformer.data.builtin import Cloze, cloze
from glassformer.errors import GlassformerError, UsageError
from glassformer.training import trainer

LONG = "The planet Mars is called the [MASK] planet of the sun"


@pytest.fixture(scope="module")
def run() -> Run:
    return load(run_folder())


def by_hand(run: Run, text: str) -> torch.Tensor:
    """Probabilities at the blanks of one text: softmax of the model's logits, blanks x vocabulary."""
    prompt = run.objective.prompt(text)
    with torch.no_grad():
        [logits] = run.model(collate([[prompt.example]], run.tokenizer.pad_id)).values()
    exponentials = logits.double().exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


# -------------------------------------------------------------------------------------------------------- fill


def test_probabilities_are_the_softmax_of_the_logits_and_sum_to_one(run: Run) -> None:
    expected = by_hand(run, "The [MASK] is called the [MASK]")
    filled = run.fill("The [MASK] is called the [MASK]", top=run.tokenizer.vocab_size)
    assert len(filled.blanks) == 2
    for blank, row in zip(filled.blanks, expected, strict=True):
        probabilities = [candidate.probability for candidate in blank.candidates]
        assert len(probabilities) == run.tokenizer.vocab_size
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert probabilities == sorted(probabilities, reverse=True)
        for candidate in blank.candidates:
            number = run.tokenizer.id(candidate.token)
            assert candidate.probability == pytest.approx(float(row[number]), abs=1e-6)


def test_candidates_differ_from_blank_to_blank_and_text_to_text(run: Run) -> None:
    """The fixture has learned something; otherwise the comparisons here would hold for any rows mixed up."""
    one, other = run.fill("The [MASK] is called the [MASK]", top=3).blanks
    assert one.candidates != other.candidates


def test_position_is_the_place_among_the_tokens_that_the_model_reads(run: Run) -> None:
    [blank] = run.fill(TEXT).blanks
    assert blank.position == 5
    assert run.attention(TEXT).tokens[5] == "[MASK]"
    assert run.attention(TEXT).tokens[0] == "[CLS]"


def test_alone_and_in_a_batch_with_longer_texts(run: Run) -> None:
    alone = [run.fill(text, top=10) for text in (TEXT, "[MASK]", LONG)]
    together = run.fill([TEXT, "[MASK]", LONG], top=10)
    for one, other in zip(alone, together, strict=True):
        assert one.text == other.text
        assert [b.position for b in one.blanks] == [b.position for b in other.blanks]
        assert [c.token for b in one.blanks for c in b.candidates] == [
            c.token for b in other.blanks for c in b.candidates
        ]
        assert [c.probability for b in one.blanks for c in b.candidates] == pytest.approx(
            [c.probability for b in other.blanks for c in b.candidates], abs=1e-6
        )


def test_more_texts_than_a_batch_holds_keep_their_order(run: Run) -> None:
    texts = [f"{'the ' * (n % 7)}[MASK] planet" for n in range(70)]
    assert [filled.text for filled in run.fill(texts, top=1)] == texts
    assert run.fill(texts, top=1)[69].blanks[0].position == 1 + 69 % 7


def test_no_texts_no_answers(run: Run) -> None:
    assert run.fill([]) == []


def test_the_record_is_the_documented_shape(run: Run) -> None:
    [blank] = run.fill(TEXT, top=2).blanks
    assert run.fill(TEXT, top=2).record() == {
        "text": TEXT,
        "blanks": [
            {"position": 5, "candidates": [{"token": c.token, "probability": c.probability} for c in blank.candidates]}
        ],
    }


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("Mars is red", r"no blank in 'Mars is red'\nwrite \[MASK\]"),
        ("", r"no blank"),
        ("[MASK] " * 15, r"15 tokens, the model reads at most 14"),
        ("Mars \udcff [MASK]", r"lone surrogate, U\+DCFF, at character 5"),
    ],
)
def test_a_text_that_cannot_be_asked_is_refused(run: Run, text: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        run.fill(text)


def test_no_candidates_cannot_be_asked_for(run: Run) -> None:
    with pytest.raises(UsageError, match="top=0"):
        run.fill(TEXT, top=0)


def test_unknown_words_are_named_and_the_text_is_still_answered(run: Run) -> None:
    text = "Zorblax is called the [MASK] qwertz"
    assert run.unknown_words(text) == ["Zorblax", "qwertz"]
    assert run.unknown_words(TEXT) == []
    assert len(run.fill(text).blanks) == 1


# ------------------------------------------------------------------------------------------------------- cloze


def test_cloze_by_hand(run: Run) -> None:
    questions = [Cloze("Mars is called the [MASK] planet", "red"), Cloze("[MASK] is the planet", "mars")]
    answers = run.cloze(questions)
    for question, answer in zip(questions, answers, strict=True):
        [row] = by_hand(run, question.text)
        right = run.tokenizer.id(question.answer)
        best = int(row.argmax())
        assert answer.loss == pytest.approx(-math.log(float(row[right])), abs=1e-5)
        assert answer.probability == pytest.approx(float(row.max()), abs=1e-6)
        assert answer.predicted == run.tokenizer.token(best)
        assert answer.right == (best == right)


def test_cloze_knows_right_from_wrong(run: Run) -> None:
    text = "Mars is called the [MASK] planet"
    best = run.fill(text, top=2).blanks[0].candidates
    right, wrong = run.cloze([Cloze(text, best[0].token), Cloze(text, best[1].token)])
    assert right.right
    assert not wrong.right
    assert right.loss == pytest.approx(-math.log(best[0].probability), abs=1e-5)


def test_an_answer_outside_the_vocabulary_and_a_second_blank_are_refused(run: Run) -> None:
    with pytest.raises(UsageError, match="'zorblax' is no single word"):
        run.cloze([Cloze("Mars is [MASK]", "zorblax")])
    with pytest.raises(UsageError, match=r"more than one \[MASK\]"):
        run.cloze([Cloze("[MASK] is [MASK]", "mars")])


def test_the_built_in_questions_have_the_shape_that_cloze_wants() -> None:
    assert all(question.text.count("[MASK]") == 1 for question in cloze("facts", "train"))


# ---------------------------------------------------------------------------------------------------- evaluate


def test_evaluate_is_the_same_at_each_call_and_in_each_load(run: Run) -> None:
    assert run.evaluate() == run.evaluate() == load(run_folder()).evaluate()


def test_evaluate_equals_the_evaluation_of_the_best_step_while_training(run: Run) -> None:
    best = min(tiny_recipe.records(run_folder(), "evaluation"), key=lambda record: record["loss"])
    assert best["step"] > 0
    found = run.evaluate("validation")
    assert found["count"] == best["count"]
    for key in ("loss", "accuracy", "top5_accuracy", "perplexity"):
        assert found[key] == pytest.approx(best[key], rel=1e-5)


def test_evaluate_says_exactly_this(run: Run) -> None:
    found = run.evaluate("test")
    asked = {"count", "asked_in", "unknown", "unknown_share", "accuracy_of_all_words", "most_frequent_guess"}
    intervals = {"loss_interval", "accuracy_interval"}
    assert set(found) == {"split", "loss", "perplexity", "accuracy", "top5_accuracy"} | asked | intervals
    assert found["split"] == "test"
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert 0 <= found["accuracy"] <= found["top5_accuracy"] <= 1


def test_evaluate_on_other_data(run: Run, tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path, ["Mars is called the red planet", "The sun is a star"], "other.txt")
    other = run.with_data([f"data.test={text}"])
    assert other.evaluate("test")["asked_in"] == "2 texts"
    assert run.evaluate("test")["asked_in"] == "5 texts", "the run itself is unchanged"
    with pytest.raises(UsageError, match="does not change the data"):
        run.with_data(["model.d_model=64"])


def test_a_run_whose_data_have_gone(tmp_path: Path) -> None:
    """Evaluating needs them and says so; filling and looking do not. They can be found again."""
    text = tiny_recipe.text_file(tmp_path, name="here.txt")
    path = tmp_path / "run"
    before = tiny_recipe.train(tiny_recipe.recipe(text), path).evaluate()
    text.rename(tmp_path / "there.txt")
    run = load(path)
    with pytest.raises(GlassformerError, match=r"data of this run \(data.train\) cannot be read.*here.txt") as error:
        run.evaluate()
    assert error.value.exit_code == 1
    assert "data.train=PLACE" in error.value.mend
    assert run.fill("sun [MASK]").blanks
    assert run.attention("sun moon").tokens == ["[CLS]", "sun", "moon", "[SEP]"]
    assert run.with_data([f"data.train={tmp_path / 'there.txt'}"]).evaluate() == before


def test_no_test_data_is_said(tmp_path: Path) -> None:
    folder = copy_of_run(tmp_path)
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(recipe.replace(f"test: {run_folder().parent.parent}/test.txt", "test: null"))
    with pytest.raises(UsageError, match=r"names no test data"):
        load(folder).evaluate("test")


# --------------------------------------------------------------------------------------------------- attention


def test_attention_rows_sum_to_one_with_the_tokens_that_the_model_reads(run: Run) -> None:
    seen = run.attention("Mars is called the red planet")
    assert seen.tokens == ["[CLS]", *["mars", "is", "called", "the", "red", "planet"], "[SEP]"]
    assert seen.weights.shape == (2, 3, 8, 8)
    assert seen.weights.sum(-1) == pytest.approx(np.ones((2, 3, 8)), abs=1e-5)
    assert seen.filled is None


def test_attention_of_a_text_with_a_blank_carries_the_answers(run: Run) -> None:
    seen = run.attention(TEXT)
    assert seen.filled is not None
    assert seen.filled.blanks == run.fill(TEXT).blanks


def test_attention_is_softmax_of_queries_and_keys(run: Run) -> None:
    """The first layer's weights from its own projections, by hand."""
    from glassformer.record import attention_places, record

    prompt = run.objective.prompt(TEXT)
    with torch.no_grad(), record(run.model) as tape:
        run.model(collate([[prompt.example]], run.tokenizer.pad_id))
    first = tape[attention_places(run.model)[0]]
    scores = torch.einsum("bhqe,bhke->bhqk", first.q.double(), first.k.double()) / first.q.shape[-1] ** 0.5
    assert run.attention(TEXT).weights[0] == pytest.approx(scores.softmax(-1)[0].numpy(), abs=1e-6)


def test_a_model_without_visible_attention_is_refused_by_name(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path)
    recipe = tiny_recipe.recipe(text, model={"kind": "lstm"}, training={"steps": 1, "evaluate_every": 1})
    run = tiny_recipe.train(recipe, tmp_path / "run")
    assert run.fill("sun [MASK]").blanks
    with pytest.raises(UsageError, match=r"no attention weights: an LSTM.*\n.*look mask"):
        run.attention("sun moon")


# ------------------------------------------------------------------------------------------------------ loading


def test_the_recipe_says_which_weights_answer(tmp_path: Path) -> None:
    """`training.weights=last` takes the newest, also where older ones had a lower validation loss; best the others."""
    wanted = {"steps": 6, "evaluate_every": 2, "checkpoint_every": 2}
    with pytest.MonkeyPatch.context() as patch:
        losses = iter([9.0, 1.0, 2.0, 3.0] * 2)
        real = trainer.evaluate
        patch.setattr(trainer, "evaluate", lambda *a: replace(real(*a), loss=next(losses)))
        runs = {
            name: train(
                recipe(text_file(tmp_path), training=wanted | {"weights": name, "evaluate_training_units": 0}),
                tmp_path / name,
            )
            for name in ("best", "last")
        }
    for name, run in runs.items():
        answering = load(run.path).model.state_dict()
        for which, same in (("best", name == "best"), ("last", name == "last")):
            other = load(run.path, which).model.state_dict()
            assert all(torch.equal(answering[key], other[key]) for key in other) is same


def test_which_weights(tmp_path: Path) -> None:
    best, last = load(run_folder(), "best"), load(run_folder(), "last")
    assert load(run_folder()).fill(TEXT) == best.fill(TEXT)
    assert load(run_folder(), "step-24").fill(TEXT) == last.fill(TEXT)
    assert load(run_folder(), "step-12").fill(TEXT) != last.fill(TEXT)
    with pytest.raises(UsageError, match=r"no weights 'step-7'\nit has: best, last, step-12, step-24"):
        load(run_folder(), "step-7").fill(TEXT)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no run: it has no recipe.yaml"):
        load(tmp_path)
    with pytest.raises(UsageError, match=r"is no run: there is no such folder\nruns found: .*tiny"):
        load(run_folder().with_name("tyni"))


def test_damaged_best_weights_fall_back_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy_of_run(tmp_path)
    weights = folder / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert load(folder).fill(TEXT) == load(run_folder(), "last").fill(TEXT)
    assert "best is damaged (model.safetensors has" in capsys.readouterr().err


def test_nothing_whole_left_fails_clearly(tmp_path: Path) -> None:
    folder = copy_of_run(tmp_path)
    for weights in folder.rglob("model.safetensors"):
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    with pytest.raises(GlassformerError, match=r"no whole checkpoint: step-24 is damaged .*step-12 is damaged"):
        load(folder).fill(TEXT)


def test_a_run_given_away_without_checkpoints_still_answers(tmp_path: Path) -> None:
    folder = copy_of_run(tmp_path)
    for part in ("checkpoints", "last", "samples", "plots"):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / "metrics.jsonl").unlink()
    assert load(folder).fill(TEXT) == load(run_folder()).fill(TEXT)


@pytest.mark.parametrize("content", [b"model: [", b"model: {n_head: 3}\n", b"\xff\xfe"])
def test_a_damaged_recipe_of_a_run_is_a_failure_not_wrong_use(tmp_path: Path, content: bytes) -> None:
    folder = copy_of_run(tmp_path)
    (folder / "recipe.yaml").write_bytes(content)
    with pytest.raises(GlassformerError, match=r"the run's recipe is damaged") as error:
        load(folder).fill(TEXT)
    assert error.value.exit_code == 1
