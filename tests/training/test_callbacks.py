"""Observers: each warning and verdict on a fixture on which it must speak and one on which it must not."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipe import corpus_of, model_of, objective_of, sentences

from glassformer.data.batch import Batch, BatchConfig, Example, collate
from glassformer.model.kinds.transformer import Transformer
from glassformer.run import RunDirectory
from glassformer.training.callbacks import (
    AttentionEntropy,
    EvaluationEvent,
    Samples,
    Verdict,
    normalised_entropy,
    one_word_warning,
)
from glassformer.training.evaluation import Evaluation, EvaluationSet

TEXTS = sentences(31)
OBJECTIVE = objective_of(TEXTS, mask_rate=0.3)
QUESTIONS = EvaluationSet(OBJECTIVE.dataset(corpus_of(TEXTS, OBJECTIVE)), OBJECTIVE, BatchConfig(size=7))


def event(model: Transformer, loss: float = 3.0, history: Sequence[float] = ()) -> EvaluationEvent:
    return EvaluationEvent(5, model, Evaluation(loss, {}, 10), [{"loss": value} for value in history])


# ------------------------------------------------------------------------------------------ entropy of attention


def test_uniform_attention_has_entropy_1_and_one_hot_0() -> None:
    """Per head: the first looks everywhere alike, the second at one token, the third at half of the eight."""
    uniform = torch.full((2, 8, 8), 1 / 8)
    one_hot = torch.eye(8).expand(2, 8, 8)
    half = torch.cat([torch.full((2, 8, 4), 1 / 4), torch.zeros(2, 8, 4)], -1)
    weights = torch.stack([uniform, one_hot, half], 1)  # B=2 H=3 Q=8 K=8
    allowed = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    assert normalised_entropy(weights, allowed) == pytest.approx([1.0, 0.0, math.log(4) / math.log(8)], abs=1e-4)


def test_padding_keys_do_not_count() -> None:
    """Uniform over three real keys is 1 although the row is eleven wide; what is one-hot among them stays 0."""
    allowed = torch.zeros(1, 1, 5, 11, dtype=torch.bool)
    allowed[..., :3] = True
    uniform = allowed.float() / 3
    one_hot = torch.zeros(1, 1, 5, 11)
    one_hot[..., 1] = 1
    assert normalised_entropy(torch.cat([uniform, one_hot], 1), allowed) == pytest.approx([1.0, 0.0], abs=1e-4)


def test_a_weight_that_underflows_to_zero_is_still_a_key() -> None:
    """Nearly all rows one-hot to the last bit, one row split between two: collapsed, and not perfectly even."""
    weights = torch.eye(8).expand(1, 1, 8, 8).clone()
    weights[0, 0, 0] = torch.tensor([0.5, 0.5, 0, 0, 0, 0, 0, 0])
    [share] = normalised_entropy(weights, torch.ones(1, 1, 8, 8, dtype=torch.bool))
    assert share == pytest.approx(math.log(2) / math.log(8) / 8, abs=1e-4)


def test_rows_that_see_one_key_or_none_do_not_count() -> None:
    """They cannot look anywhere else, so they say nothing about the head."""
    allowed = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    allowed[0, 0, 0] = torch.tensor([True, False, False, False])
    allowed[0, 0, 1] = False
    weights = allowed.float() / allowed.sum(-1, keepdim=True).clamp_min(1)
    assert normalised_entropy(weights, allowed) == [1.0]


def ragged_batch() -> Batch:
    return collate([[QUESTIONS.example(i)] for i in range(14)], OBJECTIVE.tokenizer.pad_id)


@torch.no_grad()
def scale_queries(model: Transformer, layer: int, factor: float) -> None:
    """Makes attention of one layer sharper, or (0) even."""
    place = f"encoder.blocks.{layer}.self_attention.query_key_value"
    for name in ("weight", "bias"):
        model.get_parameter(f"{place}.{name}")[:12] *= factor  # the first third of 3 x 12 rows


def test_a_fresh_model_gives_no_warning() -> None:
    """Its attention is spread: per layer and head a share between a half and one."""
    model = model_of(OBJECTIVE)
    seen = AttentionEntropy(ragged_batch()).on_evaluation(event(model))
    assert list(seen["attention_entropy"]) == [f"encoder.blocks.{n}.self_attention" for n in range(2)]
    assert all(len(heads) == 3 for heads in seen["attention_entropy"].values())
    assert all(0.5 < share <= 1.0 for heads in seen["attention_entropy"].values() for share in heads)
    assert seen["warnings"] == []


def test_even_attention_over_padded_rows_has_entropy_1() -> None:
    """On a real ragged batch: padding dilutes nothing."""
    model = model_of(OBJECTIVE)
    scale_queries(model, 0, 0.0)
    seen = AttentionEntropy(ragged_batch()).on_evaluation(event(model))
    assert seen["attention_entropy"]["encoder.blocks.0.self_attention"] == pytest.approx([1.0] * 3, abs=1e-4)


def test_neither_padding_keys_nor_padding_queries_count() -> None:
    """The entropies of a ragged batch are the means over its texts alone, each weighted by its tokens."""
    model = model_of(OBJECTIVE)
    for layer in range(2):
        scale_queries(model, layer, 30.0)  # sharp enough for padding to look elsewhere than words do
    examples = [QUESTIONS.example(i) for i in range(14)]
    lengths = torch.tensor([len(example.streams["encoder"].values) for example in examples], dtype=torch.float64)

    def entropies(chosen: list[Example]) -> torch.Tensor:
        batch = collate([[example] for example in chosen], OBJECTIVE.tokenizer.pad_id)
        seen = AttentionEntropy(batch).on_evaluation(event(model))["attention_entropy"]
        return torch.tensor(list(seen.values()), dtype=torch.float64)  # layers x heads

    alone = torch.stack([entropies([example]) for example in examples])  # texts x layers x heads
    expected = (alone * lengths[:, None, None]).sum(0) / lengths.sum()
    torch.testing.assert_close(entropies(examples), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("sharpness", [1e4, 1e9])
def test_collapsed_attention_is_named(layer: int, sharpness: float) -> None:
    """The layer whose scores have exploded is warned about, and only that one, also where weights underflow."""
    model = model_of(OBJECTIVE)
    scale_queries(model, layer, sharpness)
    [warning] = AttentionEntropy(ragged_batch()).on_evaluation(event(model))["warnings"]
    assert f"encoder.blocks.{layer}.self_attention has collapsed" in warning


@torch.no_grad()
def test_one_sharp_head_is_no_collapse() -> None:
    """A head that looks at single tokens is ordinary (previous token, next token); only whole layers are warned of."""
    model = model_of(OBJECTIVE)
    weight = model.get_parameter("encoder.blocks.0.self_attention.query_key_value.weight")
    weight[:4] *= 1e5  # the queries of the first of three heads
    seen = AttentionEntropy(ragged_batch()).on_evaluation(event(model))
    assert seen["attention_entropy"]["encoder.blocks.0.self_attention"][0] < 0.02
    assert seen["warnings"] == []


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(training: bool) -> None:
    """Mode and hooks are as before, dropout is off while looking."""
    model = model_of(OBJECTIVE, dropout=0.5, attention_dropout=0.5).train(training)
    callback = AttentionEntropy(ragged_batch())
    assert callback.on_evaluation(event(model)) == callback.on_evaluation(event(model))
    assert {module.training for module in model.modules()} == {training}
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_without_recordable_attention_is_left_alone() -> None:
    """PyTorch's own layers have no places to record: no entropy, no warning, no error."""
    model = model_of(objective_of(sentences()), kind="pytorch")
    assert AttentionEntropy(ragged_batch()).on_evaluation(EvaluationEvent(1, model, Evaluation(1.0, {}, 1), [])) == {}


# --------------------------------------------------------------------------------------------- collapse on a word


def guesses(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"true": true, "predicted": predicted, "probability": 0.5} for true, predicted in pairs]


def test_collapse_onto_one_word_is_said() -> None:
    """Nine of ten guesses are `the`, where it is right once."""
    samples = guesses(*[(f"w{n}", "the") for n in range(8)], ("the", "the"), ("a", "b"))
    [warning] = one_word_warning(samples)
    assert "9 of 10 sampled guesses are 'the'" in warning


@pytest.mark.parametrize(
    "samples",
    [
        guesses(*[(f"w{n}", f"w{n + n % 2}") for n in range(20)]),
        guesses(*[("the", "the")] * 10),
        guesses(*[("w", "the")] * 7),
        guesses(*[("w", "the")] * 7, *[("v", f"v{n}") for n in range(3)]),
        [],
    ],
    ids=["different words", "the word is right", "too few to tell", "seven of ten", "no samples"],
)
def test_other_guesses_are_not_called_a_collapse(samples: list[dict[str, Any]]) -> None:
    """Different words, a word that is right, a handful of guesses, a mere habit."""
    assert one_word_warning(samples) == []


# ---------------------------------------------------------------------------------------------------- verdicts

LINES = {"uniform": 7.6, "unigram": 6.0}


def test_verdict_reads_the_history() -> None:
    """The callback hands its own history on, and gives the lines beside it."""
    seen = Verdict(LINES).on_evaluation(event(model_of(OBJECTIVE), 4.5, [7.6, 5.0, 4.0, 4.1]))
    assert seen["verdict"].startswith("overfitting")
    assert seen["references"] == LINES
    fresh = Verdict(LINES).on_evaluation(event(model_of(OBJECTIVE), 4.5, []))
    assert fresh["verdict"].startswith("uses the context")


def test_verdict_reads_the_training_losses() -> None:
    """The same validation losses: learned by heart where the training loss falls, gone apart where it rises; null in
    metrics.jsonl, for what was not finite, is none."""
    history = [{"loss": 7.6, "train_loss": 7.6}, {"loss": 5.0, "train_loss": 5.0}, {"loss": 6.0, "train_loss": None}]
    now = EvaluationEvent(9, model_of(OBJECTIVE), Evaluation(6.5, {}, 500), history)
    assert Verdict(LINES).on_evaluation(now._replace(train_loss=2.0))["verdict"].startswith("overfitting")
    history[2]["train_loss"] = 9.0
    assert Verdict(LINES).on_evaluation(now._replace(train_loss=9.0))["verdict"].startswith("diverging")


# ---------------------------------------------------------------------------------------------------- samples


def test_samples_show_true_and_predicted(tmp_path: Path) -> None:
    """A file for each evaluation, with the same texts in each; the record holds every guess."""
    run = RunDirectory.create(tmp_path / "run")
    samples = Samples(run, OBJECTIVE, QUESTIONS, 5)
    model = model_of(OBJECTIVE, dropout=0.5)
    seen = samples.on_evaluation(event(model))
    text = (run.samples / "step-0000005.txt").read_text(encoding="utf-8")
    assert text.startswith("step 5, validation loss 3.000\n")
    targets = sum(len(QUESTIONS.example(i).targets["masked_lm"].positions) for i in samples.indices)
    assert len(samples.indices) == len(set(samples.indices)) == 5
    assert len(seen["samples"]) == targets == text.count("  true ")
    assert text.count("[MASK]") >= 5
    assert text.count(">") == text.count("<") == targets  # each asked place is marked, also where no [MASK] stands
    assert all(f">{word}<" in text for word in marked_words(samples.indices))
    for guess in seen["samples"]:
        mark = "right" if guess["true"] == guess["predicted"] else "wrong"
        assert f"  true {guess['true']:<16} predicted {guess['predicted']:<16} "[:45] in text
        assert mark in text
    assert samples.on_evaluation(event(model)) == seen
    assert model.training


def marked_words(indices: list[int]) -> list[str]:
    """What stands at the asked places."""
    examples = [QUESTIONS.example(i) for i in indices]
    return [
        OBJECTIVE.tokenizer.token(int(example.streams["encoder"].values[position]))
        for example in examples
        for position in example.targets["masked_lm"].positions
    ]


@torch.no_grad()
def test_samples_warn_of_the_collapse(tmp_path: Path) -> None:
    """A model that says one word whatever it reads is noticed; one that says many is not, nor one that has not been
    trained yet."""
    samples = Samples(RunDirectory.create(tmp_path / "run"), OBJECTIVE, QUESTIONS, 12)
    model = model_of(OBJECTIVE, seed=5)  # one of those whose chance guesses differ much
    model.get_parameter("encoder.embeddings.token.weight").mul_(30)  # its inputs now tell texts apart
    seen = samples.on_evaluation(event(model))
    assert len({guess["predicted"] for guess in seen["samples"]}) > 3
    assert seen["warnings"] == []
    word = OBJECTIVE.tokenizer.id("moon")
    model.get_parameter("heads.masked_lm.output.bias")[word] = 1000.0
    [warning] = samples.on_evaluation(event(model))["warnings"]
    assert "'moon'" in warning
    assert samples.on_evaluation(event(model)._replace(step=0))["warnings"] == []


@pytest.mark.parametrize("number", [1, 2, 31, 1000])
def test_any_number_of_samples(tmp_path: Path, number: int) -> None:
    """As many different texts as asked for, or as there are."""
    indices = Samples(RunDirectory.create(tmp_path / "run"), OBJECTIVE, QUESTIONS, number).indices
    assert len(indices) == len(set(indices)) == min(number, 31)
