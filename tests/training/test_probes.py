"""Probes: what is stored is what the model does, in every family; training is not changed; bad ones are refused."""

import copy
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_recipe import (
    WORDS,
    assert_same_run,
    bits,
    contents,
    corpus_of,
    model_of,
    objective_of,
    sentences,
    text_file,
    train,
    tree,
)
from torch import Tensor, nn

from glassformer.ask.run import Run, load
from glassformer.data.batch import Batch, BatchConfig, collate
from glassformer.errors import GlassformerError, UsageError
from glassformer.model.layers import MultiHeadAttention
from glassformer.recipe import Recipe, parse
from glassformer.run import RunDirectory
from glassformer.training.engine import Engine
from glassformer.training.evaluation import EvaluationSet
from glassformer.training.optimisers import OptimizerConfig
from glassformer.training.probes import (
    Probes,
    ProbeStep,
    component_norms,
    look,
    probe_file,
    probe_steps,
    quantised,
    read_probe_step,
    write_probe_step,
)
from glassformer.training.trainer import Trainer

SHORT = {"steps": 6, "evaluate_every": 3, "checkpoint_every": 3, "weights": "last"}
HALF_A_LEVEL = 1 / 510 + 1e-6
BLANK, OPEN, PAIR = "sun [MASK] star red", "sun moon star", "sun moon star\tred old"


def wanted(folder: Path, objective: str, *probes: str, **sections: dict[str, Any]) -> Recipe:
    """A tiny recipe of an objective; of pairs every sentence with its words in reverse."""
    made = tree(text_file(folder), objective={"name": objective}, training=SHORT | {"probes": list(probes)})
    if objective == "seq2seq":
        pairs = folder / "pairs.tsv"
        pairs.write_text("".join(f"{s}\t{' '.join(reversed(s.split()))}\n" for s in sentences()), encoding="utf-8")
        made["data"]["train"] = str(pairs)
    made["objective"] |= sections.pop("mixed", {})
    for name, section in sections.items():
        made[name] = made.get(name, {}) | section
    return parse(made)


def last_probes(run: Run) -> ProbeStep:
    """What the newest file holds."""
    return read_probe_step(probe_file(run.directory, probe_steps(run.directory)[-1]))


# ---------------------------------------------------------------------------------- what is stored is what is so


@pytest.mark.parametrize(
    ("objective", "text"),
    [("masked_lm", BLANK), ("permutation_lm", BLANK), ("next_sentence", BLANK), ("causal_lm", OPEN), ("seq2seq", OPEN)],
)
def test_the_last_probe_is_what_the_trained_run_says(objective: str, text: str, tmp_path: Path) -> None:
    """Its maps, tokens and candidates are those that the finished run gives by itself, to 1/510."""
    documents = {"document": "auto", "document_start": "^(sun|moon|star|red) "} if objective == "next_sentence" else {}
    run = train(wanted(tmp_path, objective, text, data=documents), tmp_path / "run")
    [seen] = last_probes(run).looks
    whole = run.attention(text)
    found = seen.attention["self"]
    assert (found.axes.queries, found.axes.keys) == (whole.tokens, whole.keys or whole.tokens)
    assert found.weights.dtype == np.uint8
    np.testing.assert_allclose(found.weights / 255, whole.weights, atol=HALF_A_LEVEL, rtol=0)
    prompt = run.objective.prompt(text)
    with torch.no_grad():
        logits = run.model(collate([[prompt.example]], run.tokenizer.pad_id))
    [blank, *_] = run.objective.answer(prompt.example, logits, 10)
    assert seen.blanks[0].position == blank.position
    assert len(seen.blanks[0].candidates) == 10
    assert dict(seen.blanks[0].candidates) == pytest.approx(dict(blank.candidates), rel=1e-5)


def test_an_encoder_decoder_that_is_shown_a_target(tmp_path: Path) -> None:
    """Behind a tab: cross-attention and the decoder's own are those of the run on that target, and each of its tokens
    is asked, the truth beside it."""
    run = train(wanted(tmp_path, "seq2seq", PAIR, OPEN), tmp_path / "run")
    seen, without = last_probes(run).looks
    assert set(seen.attention) == {"self", "decoder", "cross"}
    source, target = PAIR.split("\t")
    for kind in ("cross", "decoder"):
        whole, found = run.attention(source, kind, target), seen.attention[kind]
        assert (found.axes.queries, found.axes.keys) == (whole.tokens, whole.keys or whole.tokens)
        np.testing.assert_allclose(found.weights / 255, whole.weights, atol=HALF_A_LEVEL, rtol=0)
    assert [blank.true for blank in seen.blanks] == ["red", "old", "[SEP]"]
    cross = without.attention["cross"]
    assert cross.axes.queries == ["(what follows)"] and len(without.blanks) == 1
    first = seen.attention["cross"].weights[:, :, :1]  # the decoder has read [CLS] alone, with the target or without
    np.testing.assert_array_equal(cross.weights, first)


def test_layers_that_share_their_weights_have_a_map_each(tmp_path: Path) -> None:
    """Two passes through one block: two layers of maps, one set of components."""
    run = train(wanted(tmp_path, "masked_lm", BLANK, model={"share_layers": True}), tmp_path / "run")
    seen = last_probes(run)
    weights = seen.looks[0].attention["self"].weights
    assert weights.shape == (2, 3, 6, 6)
    assert not np.array_equal(weights[0], weights[1])
    assert sum(name.endswith("query") for name in seen.components) == 1


def test_a_mixture_asks_the_member_that_can(tmp_path: Path) -> None:
    """A text with a blank is filled, one without is gone on with."""
    members = [{"objective": {"name": "masked_lm"}}, {"objective": {"name": "permutation_lm"}}]
    run = train(wanted(tmp_path, "mixture", BLANK, mixed={"members": members}), tmp_path / "run")
    [seen] = last_probes(run).looks
    assert seen.text == BLANK and len(seen.blanks) == 1


def test_entropies_are_of_the_exact_weights() -> None:
    """Attention made even by hand has entropy 1 in every head."""
    objective = objective_of(sentences())
    model = model_of(objective)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, MultiHeadAttention):
                module.query_key_value.weight[:12] = 0
    seen = look(model, objective, objective.prompt(BLANK)).attention["self"]
    assert seen.entropies.tolist() == [[1.0] * 3] * 2
    assert (seen.weights == round(255 / 6)).all()


def test_a_level_is_the_nearest_of_256() -> None:
    """Never more than 1/510 off; 0 and 1 are exact; what is not a number is 0."""
    weights = torch.rand(3, 5, 7, 11, generator=torch.Generator().manual_seed(1))
    assert np.abs(quantised(weights) / 255 - weights.numpy()).max() <= HALF_A_LEVEL
    edges = torch.tensor([0.0, 1.0, 1 / 255, math.nan]).view(1, 1, 1, 4)
    assert quantised(edges).ravel().tolist() == [0, 255, 1, 0]


# ----------------------------------------------------------------------------------------------------- components


TEXTS = sentences(31)
OBJECTIVE = objective_of(TEXTS, mask_rate=0.3)
QUESTIONS = EvaluationSet(OBJECTIVE.dataset(corpus_of(TEXTS, OBJECTIVE)), OBJECTIVE, BatchConfig(size=7))


def some_batches() -> list[Batch]:
    return [
        collate([[QUESTIONS.example(i)] for i in dataset], OBJECTIVE.tokenizer.pad_id) for dataset in ([0, 7], [5, 6])
    ]


def norm_of(*tensors: Tensor) -> float:
    """By a plain loop over all numbers, in float64."""
    return math.sqrt(sum(float(x) ** 2 for tensor in tensors for x in tensor.detach().double().flatten()))


def test_every_parameter_is_in_one_component_and_attention_in_its_parts() -> None:
    """Components partition the model; rows of the one matrix go to queries, keys and values as wide as they are."""
    model = model_of(OBJECTIVE, n_heads=6, n_kv_heads=2)
    parameters = dict(model.named_parameters())
    norms = component_norms(model, parameters)
    assert math.hypot(*norms.values()) == pytest.approx(norm_of(*parameters.values()), rel=1e-5)
    place = "encoder.blocks.1.self_attention"
    matrix, bias = (parameters[f"{place}.query_key_value.{name}"] for name in ("weight", "bias"))
    assert matrix.shape == (12 + 4 + 4, 12)
    nn.init.normal_(bias)
    norms = component_norms(model, parameters)
    for name, rows in (("query", slice(0, 12)), ("key", slice(12, 16)), ("value", slice(16, 20))):
        assert norms[f"{place}.{name}"] == pytest.approx(norm_of(matrix[rows], bias[rows]), rel=1e-5)
    expected = {"encoder.embeddings.token", "encoder.positions.table", "encoder.norm", "heads.masked_lm"}
    parts = ("self_attention.query", "self_attention.key", "self_attention.value", "self_attention.output")
    parts += ("attention_norm", "feed_forward.expand", "feed_forward.contract", "feed_forward_norm")
    assert set(norms) == expected | {f"encoder.blocks.{n}.{part}" for n in range(2) for part in parts}


def test_gradients_and_updates_are_those_of_the_step(tmp_path: Path) -> None:
    """Against a second engine whose gradients and weights are compared by hand: the gradients of both micro-batches
    together, before they are clipped; the update that was really made; the weights after it."""
    run = RunDirectory.create(tmp_path / "run")
    probes = Probes(run, OBJECTIVE, [BLANK], every=1, steps=1)
    settings: dict[str, Any] = {"device": "cpu", "precision": "32-true", "compiled": False, "clip": 0.01}
    engine = Engine(model_of(OBJECTIVE), OBJECTIVE, OptimizerConfig(), **settings)
    before = copy.deepcopy(engine.model)
    update = engine.update(some_batches(), 1.0, (1, 1), lambda model: probes.on_gradients(1, model))
    probes.on_step(1, engine.model, last=True)
    seen = read_probe_step(probe_file(run, 1))
    assert update.gradient_norm > 0.01
    assert np.linalg.norm(seen.gradients) == pytest.approx(update.gradient_norm, rel=1e-5)
    old, new = dict(before.named_parameters()), dict(engine.model.named_parameters())
    for name in ("encoder.embeddings.token", "encoder.blocks.0.feed_forward.expand", "encoder.norm"):
        at = seen.components.index(name)
        own = [key for key in old if key.rpartition(".")[0] == name]
        assert seen.updates[at] == pytest.approx(norm_of(*(new[key] - old[key] for key in own)), rel=1e-4)
        assert seen.weights[at] == pytest.approx(norm_of(*(new[key] for key in own)), rel=1e-5)
        assert seen.updates[at] > 0


def test_what_is_not_asked_has_no_gradient(tmp_path: Path) -> None:
    """A head without a gradient in this step: 0, and the others as they are."""
    run = RunDirectory.create(tmp_path / "run")
    probes = Probes(run, OBJECTIVE, [BLANK], every=1, steps=1)
    model = model_of(OBJECTIVE)
    model.encoder.embeddings.token.weight.grad = torch.ones_like(model.encoder.embeddings.token.weight)
    probes.on_gradients(1, model)
    probes.on_step(1, model, last=False)
    seen = read_probe_step(probe_file(run, 1))
    assert seen.gradients[0] == pytest.approx(math.sqrt(model.encoder.embeddings.token.weight.numel()))
    assert (seen.gradients[1:] == 0).all() and (seen.updates == 0).all()


# -------------------------------------------------------------------------------------- when, and at what price


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, [0, 4, 8, 12]),
        ({"probe_every": 5}, [0, 5, 10, 12]),
        ({"probe_every": 100}, [0, 12]),
    ],
)
def test_probes_are_asked_at_the_start_when_due_and_at_the_end(
    settings: dict[str, Any], steps: list[int], tmp_path: Path
) -> None:
    """At every evaluation, or every so many steps. Only the first file has no gradient."""
    asked = {"steps": 12, "evaluate_every": 4, "probes": BLANK} | settings
    run = train(wanted(tmp_path, "masked_lm", training=asked), tmp_path / "run")
    assert probe_steps(run.directory) == steps
    for step in steps:
        seen = read_probe_step(probe_file(run.directory, step))
        for norms in (seen.gradients, seen.updates):
            assert np.isnan(norms).all() if step == 0 else (norms > 0).all()


def test_training_that_ends_early_has_a_last_probe_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of patience at step 3, which was not a probe step: asked, though its gradients are gone."""
    monkeypatch.setattr(Trainer, "_out_of_patience", lambda self: self.state.step >= 3)
    run = train(wanted(tmp_path, "masked_lm", training={"probes": [BLANK], "probe_every": 2}), tmp_path / "run")
    assert probe_steps(run.directory) == [0, 2, 3]
    assert np.isnan(last_probes(run).gradients).all() and (last_probes(run).weights > 0).all()


def test_without_probes_nothing_is_stored(tmp_path: Path) -> None:
    run = train(wanted(tmp_path, "masked_lm"), tmp_path / "run")
    assert not run.directory.probes.exists()


@pytest.mark.parametrize("objective", ["masked_lm", "causal_lm", "seq2seq"])
def test_probes_change_nothing_of_a_training(objective: str, tmp_path: Path) -> None:
    """With dropout, at every step: weights, optimiser, metrics and samples have the same bits as without."""
    text = BLANK if objective == "masked_lm" else OPEN
    train(wanted(tmp_path, objective), tmp_path / "without")
    train(wanted(tmp_path, objective, text, training={"probe_every": 1}), tmp_path / "with")
    without, watched = contents(tmp_path / "without"), contents(tmp_path / "with")
    assert len(watched.pop("probes")) == 7 and not without.pop("probes")
    assert without == watched


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_random_generator_are_as_before(training: bool) -> None:
    """Even where a part of the model draws numbers; and nothing is dropped meanwhile."""
    model = model_of(OBJECTIVE, dropout=0.5).train(training)
    drawn: list[bool] = []

    def draw(module: nn.Module, *_: Any) -> None:
        torch.rand(3)
        drawn.append(module.training)

    model.encoder.norm.register_forward_hook(draw)
    before, weights = torch.get_rng_state(), [bits(p) for p in model.parameters()]
    first = look(model, OBJECTIVE, OBJECTIVE.prompt(BLANK))
    second = look(model, OBJECTIVE, OBJECTIVE.prompt(BLANK))
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn == [False, False] and all(module.training == training for module in model.modules())
    assert first.blanks == second.blanks
    assert [bits(p) for p in model.parameters()] == weights
    assert not any(module._forward_hooks for name, module in model.named_modules() if name != "encoder.norm")


def test_on_other_steps_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the model nor a file is touched."""

    def untouchable(*_: Any, **__: Any) -> Any:
        raise LookupError

    model = model_of(OBJECTIVE)
    for name in ("forward", "named_parameters", "eval"):
        monkeypatch.setattr(model, name, untouchable)
    probes = Probes(RunDirectory.create(tmp_path / "run"), OBJECTIVE, [BLANK], every=5, steps=12)
    for step in (1, 4, 6, 11):
        probes.on_gradients(step, model)
        probes.on_step(step, model, last=False)
    with pytest.raises(LookupError):
        probes.on_gradients(5, model)


# ------------------------------------------------------------------------------------------------------ the files


def test_what_was_seen_later_is_forgotten(tmp_path: Path) -> None:
    """A resume from step 8: later files go, and what a kill has left half written; earlier ones stay."""
    run = RunDirectory.create(tmp_path / "run")
    probes = Probes(run, OBJECTIVE, [BLANK], every=4, steps=12)
    for step in (0, 4, 8, 12):
        probes.on_step(step, model_of(OBJECTIVE), last=False)
    abandoned = run.probes / ".tmp-step-0000016.npz-1"
    abandoned.write_bytes(b"half")
    probes.on_begin(8)
    assert probe_steps(run) == [0, 4, 8]
    assert not abandoned.exists()


def test_a_file_holds_arrays_and_words_and_no_time(tmp_path: Path) -> None:
    """Nothing is pickled, no member has a date, JSON has no NaN, and any zip program finds the words."""
    run = train(wanted(tmp_path, "masked_lm", BLANK), tmp_path / "run")
    file = probe_file(run.directory, 0)
    with zipfile.ZipFile(file) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        said = json.loads(archive.read("probes.json"), parse_constant=lambda word: pytest.fail(word))
    assert said["probes"][0]["tokens"] == ["[CLS]", "sun", "[MASK]", "star", "red", "[SEP]"]
    with np.load(file, allow_pickle=False) as arrays:
        names = {"gradients", "updates", "weights", "0/self/weights", "0/self/entropies", "probes.json"}
        assert set(arrays) == names and all(arrays[name] is not None for name in names)


def test_written_and_read_it_is_the_same(tmp_path: Path) -> None:
    """A model that is broken too: probabilities that are no numbers come back as such."""
    model = model_of(OBJECTIVE)
    nn.init.constant_(model.encoder.norm.weight, math.nan)
    one = look(model, OBJECTIVE, OBJECTIVE.prompt(BLANK))
    norms = np.arange(3, dtype=np.float32)
    write_probe_step(tmp_path / "a.npz", ProbeStep([one], ["a", "b", "c"], norms, norms + 1, norms + 2))
    again = read_probe_step(tmp_path / "a.npz")
    assert (again.components, again.updates.tolist()) == (["a", "b", "c"], [1, 2, 3])
    assert all(math.isnan(c.probability) for c in again.looks[0].blanks[0].candidates)
    np.testing.assert_array_equal(again.looks[0].attention["self"].weights, one.attention["self"].weights)
    assert again.looks[0].attention["self"].axes == one.attention["self"].axes


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """Empty, cut, of another kind, or with one byte changed in what it holds."""
    file = tmp_path / "step-0000003.npz"
    one = look(model_of(OBJECTIVE), OBJECTIVE, OBJECTIVE.prompt(BLANK))
    norms = np.arange(3, dtype=np.float32)
    write_probe_step(file, ProbeStep([one], ["a", "b", "c"], norms, norms, norms))
    whole = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        ends = [member.header_offset for member in archive.infolist()][1:]
    changed = [whole[: end - 4] + bytes([whole[end - 4] ^ 255]) + whole[end - 3 :] for end in ends]
    for content in (b"", b"PK", b"\x93NUMPY", whole[:-30], whole[:500], *changed):
        file.write_bytes(content)
        with pytest.raises(GlassformerError, match="step-0000003"):
            read_probe_step(file)


def test_two_trainings_write_the_same_files(tmp_path: Path) -> None:
    """And another text gives others."""
    for name, text in (("one", BLANK), ("two", BLANK), ("other", "sun [MASK] moon")):
        train(wanted(tmp_path, "masked_lm", text), tmp_path / name)
    assert_same_run(tmp_path / "one", tmp_path / "two")
    with pytest.raises(AssertionError, match="probes"):
        assert_same_run(tmp_path / "one", tmp_path / "other")


# ------------------------------------------------------------------------------------------------------ bad probes


LONG = " ".join(WORDS * 2)


@pytest.mark.parametrize(
    ("objective", "text", "why"),
    [
        ("masked_lm", "", "it is empty"),
        ("masked_lm", "  ", "it is empty"),
        ("masked_lm", OPEN, "it has no blank"),
        ("masked_lm", f"{LONG} [MASK]", "the text has 29 tokens"),
        ("permutation_lm", OPEN, "it has no blank"),
        ("causal_lm", LONG, "the text has 28 tokens"),
        ("causal_lm", BLANK, "left to right"),
        ("seq2seq", LONG, "the text has 28 tokens"),
        ("seq2seq", f"sun\t{LONG}", "its target has 28 tokens"),
        ("seq2seq", "sun\t", "its target has 0 tokens"),
    ],
)
def test_a_bad_probe_is_named_before_training(objective: str, text: str, why: str, tmp_path: Path) -> None:
    """Behind a good one. Nothing is left of the run: its name is free for the next attempt."""
    good = OPEN if objective in ("causal_lm", "seq2seq") else BLANK
    with pytest.raises(UsageError) as raised:
        train(wanted(tmp_path, objective, good, text), tmp_path / "run")
    assert raised.value.what.startswith(f"training.probes: {text!r} is no probe: ") and why in raised.value.what
    assert raised.value.mend
    assert not (tmp_path / "run").exists()


def test_of_a_model_without_attention_there_are_answers_and_norms(tmp_path: Path) -> None:
    run = load(train(wanted(tmp_path, "masked_lm", BLANK, model={"kind": "lstm"}), tmp_path / "run").path)
    seen = read_probe_step(probe_file(run.directory, probe_steps(run.directory)[-1]))
    assert seen.looks[0].attention == {} and seen.looks[0].blanks[0].candidates
    assert any(".lstm" in name or ".blocks.0." in name for name in seen.components) and (seen.updates > 0).any()


def test_of_pytorchs_blocks_the_attention_is_there_too(tmp_path: Path) -> None:
    """It is computed from their weights; gradients and updates are those of the modules that are trained."""
    torch_blocks = {"kind": "pytorch", "dropout": 0.0}
    run = load(train(wanted(tmp_path, "masked_lm", BLANK, model=torch_blocks), tmp_path / "run").path)
    seen = read_probe_step(probe_file(run.directory, probe_steps(run.directory)[-1]))
    weights = run.attention(BLANK).weights
    np.testing.assert_allclose(seen.looks[0].attention["self"].weights / 255, weights, atol=0.01)
    assert any(".stack.layers.0." in name for name in seen.components) and (seen.updates > 0).any()
