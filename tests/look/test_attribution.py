"""Readings of attention against loops written from their definitions, and the effect of a hidden token against that of
another word in its place."""

import csv
import math

import numpy as np
import pytest
import torch
from trained import TEXT, answering_folder, generator_folder, permuting_folder, run_folder

from glassformer.ask.run import Run, load
from glassformer.data.batch import collate
from glassformer.errors import UsageError
from glassformer.look.measures.questions import asked_by
from glassformer.look.views import attribution
from glassformer.look.views.attribution import (
    EFFECT,
    METHODS,
    Attribution,
    Places,
    explicit,
    log_probabilities,
    one_place,
)
from glassformer.model.attention.full import FullAttention
from glassformer.objectives import Candidate
from glassformer.record import attention_places, hooked, record

L, H, T, E, D = 3, 2, 5, 7, 11


@pytest.fixture(scope="module")
def run() -> Run:
    return load(run_folder())


@pytest.fixture(scope="module")
def generator() -> Run:
    return load(generator_folder())


@pytest.fixture(scope="module")
def permuting() -> Run:
    return load(permuting_folder())


@pytest.fixture(scope="module")
def answering() -> Run:
    return load(answering_folder())


ASKED = {
    "run": TEXT,
    "generator": "Mars is called the red",
    "permuting": "sun [MASK] red moon",
    "answering": "sun moon red",
}


@pytest.fixture
def weights() -> np.ndarray:
    scores = np.exp(np.random.default_rng(1).normal(size=(L, H, T, T)))
    return scores / scores.sum(-1, keepdims=True)


# ------------------------------------------------------------------------------------------------ on plain arrays


def test_rollout_is_the_sum_over_all_ways(weights) -> None:
    """Through every layer either along attention or past it, each with half of the weight; rows sum to 1."""
    expected = np.zeros((T, T))
    mean = weights.mean(1)
    for to in range(T):
        ways = {to: 1.0}  # where a way from the top stands, and its share
        for layer in reversed(range(L)):
            below: dict[int, float] = {}
            for here, share in ways.items():
                for source in range(T):
                    step = 0.5 * mean[layer, here, source] + 0.5 * (here == source)
                    below[source] = below.get(source, 0.0) + share * step
            ways = below
        expected[to] = [ways[source] for source in range(T)]
    found = attribution.rollout(weights)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(-1), 1)
    hidden = weights * 1.0
    hidden[..., 2, :] = 0  # a query that sees nothing keeps itself
    np.testing.assert_allclose(attribution.rollout(hidden)[2], np.eye(T)[2])


def test_value_norms_are_lengths_of_vectors() -> None:
    """||weight × W_head value||, for each head, query and key by itself."""
    rng = np.random.default_rng(2)
    weights, values, output = rng.random((H, 3, T)), rng.normal(size=(H, T, E)), rng.normal(size=(D, H * E))
    found = attribution.value_norms(weights, values, output)
    for h in range(H):
        for q in range(3):
            for k in range(T):
                vector = [
                    sum(weights[h, q, k] * values[h, k, e] * output[d, h * E + e] for e in range(E)) for d in range(D)
                ]
                assert found[h, q, k] == pytest.approx(math.hypot(*vector))


def test_gradient_relevance_adds_up_along_the_layers(weights) -> None:
    gradients = np.random.default_rng(3).normal(size=weights.shape)
    relevance = [[float(i == j) for j in range(T)] for i in range(T)]
    for layer in range(L):
        raised = [
            [sum(max(weights[layer, h, i, j] * gradients[layer, h, i, j], 0.0) for h in range(H)) / H for j in range(T)]
            for i in range(T)
        ]
        relevance = [
            [relevance[i][j] + sum(raised[i][m] * relevance[m][j] for m in range(T)) for j in range(T)]
            for i in range(T)
        ]
    found = attribution.gradient_relevance(weights, gradients)
    np.testing.assert_allclose(found, np.array(relevance) - np.eye(T), atol=1e-12)
    assert not attribution.gradient_relevance(weights, -np.abs(gradients)).any()


def test_rank_correlation() -> None:
    """By hand; ties share their mean rank; only the order matters; a constant has none."""
    one = np.array([3.0, 1.0, 2.0, 2.0])
    assert attribution.spearman(one, one) == pytest.approx(1)
    assert attribution.spearman(one, -np.exp(one)) == pytest.approx(-1)
    assert attribution.spearman(np.array([1.0, 2, 3, 4, 5]), np.array([5.0, 6, 7, 8, 7])) == pytest.approx(
        0.8207826816681233
    )
    assert attribution.spearman(one, np.ones(4)) is None


def test_normalised_keeps_signs_and_zeros() -> None:
    np.testing.assert_allclose(attribution.normalised(np.array([3.0, -1.0])), [0.75, -0.25])
    assert not attribution.normalised(np.zeros(3)).any()


# ------------------------------------------------------------------------------------------------------ of a model


@pytest.mark.parametrize("which", ASKED)
def test_explicit_attention_says_the_same(which: str, request: pytest.FixtureRequest) -> None:
    """The same logits, the weights that `record` sees, and no hook afterwards."""
    run = request.getfixturevalue(which)
    example, _ = one_place(asked_by(run, ASKED[which]), 0)
    batch, model = collate([[example]], run.tokenizer.pad_id), run.model
    with record(model) as tape:
        [plain] = model(batch).values()
    with explicit(model, attention_places(model)) as layers:
        [logits] = model(batch).values()
    torch.testing.assert_close(logits, plain, atol=1e-5, rtol=1e-5)
    assert list(layers) == attention_places(model)
    for place, layer in layers.items():
        torch.testing.assert_close(layer.weights.detach(), tape[place].weights(), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(layer.values.detach(), tape[place].v)
    assert not any(module._forward_hooks for module in model.modules())


def test_gradients_are_finite_differences(run: Run) -> None:
    """Nudging one weight of the first layer or of the last changes the log-probability as the gradient says."""
    example, _ = one_place(asked_by(run, TEXT), 0)
    batch, model = collate([[example]], run.tokenizer.pad_id), load(run_folder()).model.double()
    places = attention_places(model)

    def score(place: str = "", where: tuple[int, ...] = (), nudge: float = 0.0) -> torch.Tensor:
        def nudged(path, mechanism, given, output):
            change = torch.zeros(*given["q"].shape[:3], given["k"].shape[2], dtype=torch.float64)
            change[where] = nudge
            weights = mechanism.weights(given["q"], given["k"], given["mask"], given.get("bias"))
            return (weights + change) @ given["v"]

        with hooked(model, [f"{place}.mechanism"] if place else [], nudged):
            return model(batch)["masked_lm"].log_softmax(-1)[0, 9]

    with explicit(model, places) as layers:
        value = model(batch)["masked_lm"].log_softmax(-1)[0, 9]
        gradients = torch.autograd.grad(value, [layer.weights for layer in layers.values()])
    for place, gradient in zip(places, gradients, strict=True):
        for where in ((0, 0, 5, 1), (0, 2, 5, 5), (0, 1, 3, 0)):
            slope = (score(place, where, 1e-4) - score(place, where, -1e-4)) / 2e-4
            assert gradient[where].item() == pytest.approx(slope.item(), abs=1e-7)
        assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("which", ASKED)
def test_a_hidden_token_has_no_say(which: str, request: pytest.FixtureRequest) -> None:
    """Another word in its place changes nothing, whatever else is seen; unhidden it does. The places stay. Of a causal
    model the last token is its own question: that it reads past attention; and no query of a permutation sees the word
    of its own place, nor is it seen."""
    run = request.getfixturevalue(which)
    example, position = one_place(asked_by(run, ASKED[which]), 0)
    [targets] = example.targets.values()
    places, pad = Places.of(example), run.tokenizer.pad_id
    asked_at = places.first[targets.stream] + position
    hidden = log_probabilities(run.model, example, [None, *range(places.number)], pad)
    plain = run.model(collate([[example]], pad))
    torch.testing.assert_close(hidden[0], next(iter(plain.values()))[0].log_softmax(-1).detach())
    free = 0
    for place in range(places.number):
        where = places.hidden(place)
        if where is None:
            assert which == "permuting" and torch.equal(hidden[place + 1], hidden[0])
            continue
        name, number = where
        stream, size = example.streams[name], run.objective.tokenizer_of(name).vocab_size
        ids = stream.values.copy()
        ids[number] = (ids[number] + 11) % size
        other = example._replace(streams=example.streams | {name: stream._replace(values=ids)})
        after = log_probabilities(run.model, other, [None, place], pad)
        if which == "permuting" and stream.positions[number] == stream.positions[position]:
            torch.testing.assert_close(after[0], hidden[0], atol=1e-5, rtol=1e-5)
            continue
        assert (after[0] - hidden[0]).abs().max() > 1e-3
        if place != asked_at:
            torch.testing.assert_close(after[1], hidden[place + 1], atol=1e-5, rtol=1e-5)
            assert (hidden[place + 1] - hidden[0]).abs().max() > 1e-4
            free += 1
    assert free >= 3


def test_many_tokens_are_hidden_in_several_batches(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    example, _ = one_place(asked_by(run, TEXT), 0)
    whole = log_probabilities(run.model, example, [None, 1, 2, 3, 4], run.tokenizer.pad_id)
    monkeypatch.setattr(attribution, "BATCH", 2)
    torch.testing.assert_close(log_probabilities(run.model, example, [None, 1, 2, 3, 4], run.tokenizer.pad_id), whole)


# ----------------------------------------------------------------------------------------------------------- views


def test_the_views_are_of_the_answer_at_the_blank(run: Run) -> None:
    """Each method is its array at the asked row; the effect is measured on the first candidate."""
    text = "The [MASK] is called the [MASK]"
    filled, seen = run.fill(text), run.attention(text)
    for blank, place in enumerate((2, 6)):
        found = attribution.views(run, text, blank)
        assert (found.position, found.tokens) == (place, seen.tokens)
        expected = filled.blanks[blank].candidates[0]
        assert found.candidate.token == expected.token
        assert found.candidate.probability == pytest.approx(expected.probability, rel=1e-5)
        assert set(found.relevance) == {*METHODS, EFFECT} and set(found.correlations) == set(METHODS)
        for values in found.relevance.values():
            assert values.shape == (len(found.tokens),) and np.abs(values).sum() == pytest.approx(1)
        np.testing.assert_allclose(found.relevance["attention"], seen.weights[-1].mean(0)[place], atol=1e-6)
        np.testing.assert_allclose(found.relevance["rollout"], attribution.rollout(seen.weights)[place], atol=1e-6)
        np.testing.assert_allclose(found.relevance[EFFECT], found.nats / np.abs(found.nats).sum())
        others = [n for n in range(len(found.tokens)) if n != place]
        for name in METHODS:
            assert found.correlations[name] == attribution.spearman(
                found.relevance[name][others], np.abs(found.nats)[others]
            )


@pytest.mark.parametrize("which", ["permuting", "answering"])
def test_other_families_are_asked_too(which: str, request: pytest.FixtureRequest) -> None:
    """A permutation model at its blank, which stands in its place; an encoder-decoder for the first token of its
    answer, with the source before what the decoder reads. Attention is the last layer's row."""
    run = request.getfixturevalue(which)
    found, seen = attribution.views(run, ASKED[which]), run.attention(ASKED[which])
    if which == "permuting":
        assert found.tokens == seen.tokens and found.tokens[found.position] == "[MASK]"
        expected = np.zeros(len(found.tokens))
        there = [n for n in range(len(found.tokens)) if n != found.position]
        expected[there] = seen.weights[-1].mean(0)[found.position][: len(there)]
        assert found.nats[found.position] == 0
    else:
        cross = run.attention(ASKED[which], kind="cross", target="")
        assert found.tokens == [*seen.tokens, "[CLS]"] and found.position == len(seen.tokens)
        expected = np.append(cross.weights[-1].mean(0)[0], 0.0)
    np.testing.assert_allclose(found.relevance["attention"], expected, atol=1e-6)
    for name, values in found.relevance.items():
        assert np.abs(values).sum() == pytest.approx(1), name
    others = [n for n in range(len(found.tokens)) if n != found.position]
    assert all((found.relevance[name][others] > 0).any() for name in METHODS)


def test_rollout_through_two_stacks(answering: Run) -> None:
    """By hand: what reaches the decoder's token past its own attention comes through cross-attention from what reaches
    the source tokens, a half of each layer passing by."""
    text = ASKED["answering"]
    found = attribution.views(answering, text)
    source = attribution.rollout(answering.attention(text).weights)
    cross = answering.attention(text, kind="cross", target="").weights.mean(1)[:, 0]
    arrived = np.zeros(len(source))
    for layer in cross:  # one token: its self-attention is all on itself
        arrived = (arrived + layer @ source) / 2
    np.testing.assert_allclose(found.relevance["rollout"][:-1], arrived, atol=1e-6)


def test_of_a_causal_model_the_next_token_is_asked(generator: Run) -> None:
    found = attribution.views(generator, "Mars is called the")
    assert found.position == len(found.tokens) - 1
    example, _ = one_place(asked_by(generator, "Mars is called the"), 0)
    [logits] = generator.model(collate([[example]], generator.tokenizer.pad_id)).values()
    [[best, *_]] = [blank.candidates for blank in generator.objective.answer(example, {"causal_lm": logits.detach()})]
    assert found.candidate.token == best.token
    assert found.candidate.probability == pytest.approx(best.probability, rel=1e-5)


def test_a_change_of_nothing_has_no_minus() -> None:
    assert (attribution._nats(0.001), attribution._nats(-0.001), attribution._nats(0.5)) == (
        "+0.00 nats",
        "+0.00 nats",
        "-0.50 nats",
    )


def case(attention: list[float], nats: list[float], correlation: float | None = 0.9) -> list[str]:
    relevance = dict.fromkeys(METHODS, np.array(attention)) | {EFFECT: np.array(nats)}
    tokens = ["a", "b", "[MASK]", "c"]
    correlations = dict.fromkeys(METHODS, correlation)
    one = Attribution("", tokens, 2, Candidate("x", 0.5), np.array(nats), relevance, correlations, [])
    said = attribution.warnings_of(one)
    assert len(said) in (0, 1, len(METHODS))
    return said[:1]


def test_warnings_name_what_is_wrong() -> None:
    """The asked place itself never counts; a token that speaks against the answer matters as much as one for it."""
    assert case([0.5, 0.2, 0.9, 0.1], [2.0, 0.1, 9.0, 0.0]) == []
    assert case([0.2, 0.5, 0.0, 0.1], [0.1, -2.0, 0.0, 0.0]) == []
    [wrong] = case([0.2, 0.5, 0.0, 0.1], [2.0, -0.5, 0.0, 0.0])
    assert ", most on 'b' (hiding it: +0.50 nats), where hiding 'a' does most (-2.00 nats)" in wrong
    assert case([0.5, 0.2, 0.0, 0.1], [2.0, 0.1, 0.0, 0.0], 0.49)[0].endswith("(correlation 0.49)")
    assert "the same for all tokens" in case([0.3, 0.3, 0.3, 0.3], [2.0, 0.1, 0.0, 0.0], None)[0]
    assert "little to explain" in case([0.2, 0.5, 0.0, 0.1], [0.01, 0.0, 3.0, 0.0])[0]


def test_what_cannot_be_viewed(run: Run) -> None:
    with pytest.raises(UsageError, match="no blank in"):
        attribution.views(run, "Mars is red")
    with pytest.raises(UsageError, match="no blank 2\nthe text has 1"):
        attribution.views(run, TEXT, 1)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError, match="would be hidden once: at most 3"):
        patch.setattr(attribution, "LONGEST", 3)
        attribution.views(run, TEXT)
    with pytest.raises(UsageError, match="is empty"):
        attribution.views(run, " ")


def test_a_mechanism_that_does_not_do_what_it_says(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights lead to another answer: that is an error, and no picture."""
    true = FullAttention.weights
    monkeypatch.setattr(FullAttention, "weights", lambda self, *given: true(self, *given).flip(-1))
    with pytest.raises(Exception, match="does not do what its weights say"):
        attribution.views(run, TEXT)


def test_the_table_holds_the_numbers_with_their_signs(tmp_path):
    run = load(run_folder())
    found = attribution.views(run, TEXT)
    file = attribution.view_of(run, found).save(tmp_path / "attribution.csv")
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["token"] for row in rows] == found.tokens
    assert [float(row["effect_nats"]) for row in rows] == pytest.approx(list(-found.nats))
    assert max(abs(found.nats)) > 0
    for name in METHODS:
        assert [float(row[name]) for row in rows] == pytest.approx(list(found.relevance[name]))
