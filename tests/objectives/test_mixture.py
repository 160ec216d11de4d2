"""A mixture hands each batch to one member, as often as its weight says, and otherwise is its members."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
import torch
from hypothesis import given
from hypothesis import strategies as st
from trained import command, refused

from glassformer.ask.run import Run
from glassformer.data.batch import BatchConfig, Example, collate
from glassformer.data.corpus import Corpus
from glassformer.errors import UsageError
from glassformer.model.config import ModelConfig
from glassformer.model.kinds.transformer import Transformer
from glassformer.objectives import Objective
from glassformer.objectives.mixture import MixedDataset, Mixture, MixtureConfig
from glassformer.training.engine import Engine
from glassformer.training.evaluation import EvaluationSet, evaluate
from glassformer.training.optimisers import OptimizerConfig
from glassformer.training.order import TrainingOrder, batches_each, in_turn

TEXTS = tiny_recipe.sentences(60)
TOKENIZER = tiny_recipe.tokenizer_of(TEXTS)
CORPUS = Corpus.from_texts(TEXTS, TOKENIZER)
MIXED = Corpus.mixed([CORPUS, CORPUS])


def mixture(*weights: float) -> Mixture:
    """Masked and causal, by weight."""
    names = ("masked_lm", "causal_lm")
    members = [{"objective": {"name": n}, "weight": w} for n, w in zip(names, weights or (1, 1), strict=True)]
    return Mixture(MixtureConfig.model_validate({"members": members}), TOKENIZER, 16)


def model_of(objective: Mixture) -> Transformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        sizes = {"n_layers": 2, "d_model": 12, "n_heads": 3, "d_ff": 20, "max_length": 16, "dropout": 0.0}
        return Transformer(ModelConfig(family="decoder", **sizes), TOKENIZER.vocab_size, objective.outputs())


def order_of(objective: Mixture, per_step: int = 1, size: int = 4) -> TrainingOrder:
    return TrainingOrder(objective.dataset(MIXED), objective, BatchConfig(size=size), 7, per_step)


def members_in(order: TrainingOrder, epoch: int) -> list[int]:
    """The member of each micro-batch of an epoch."""
    return [order.batch(epoch, rows).member for step in order.epoch(epoch) for rows in step]


# ---------------------------------------------------------------------------------------------------------- the order


@given(st.lists(st.floats(0.05, 5), min_size=2, max_size=5), st.integers(1, 300))
def test_every_member_has_its_share_at_any_point(shares: list[float], number: int) -> None:
    """Off by at most as many batches as there are other members, and for two by one."""
    turns = in_turn(shares, number)
    assert len(turns) == number
    had = np.cumsum([[turn == member for member in range(len(shares))] for turn in turns], axis=0)
    due = np.outer(np.arange(1, number + 1), np.array(shares) / sum(shares))
    assert np.abs(had - due).max() <= max(1, len(shares) - 1)


def test_a_batch_has_one_member_and_an_even_mixture_sees_every_unit_once() -> None:
    order = order_of(mixture(1, 1))
    assert isinstance(order.dataset, MixedDataset) and len(order.dataset) == 120
    for epoch in (0, 1):
        dataset = [unit for step in order.epoch(epoch) for rows in step for row in rows for unit in row]
        assert sorted(dataset) == list(range(120))
        for step in order.epoch(epoch):
            for rows in step:
                assert len({order.dataset.members[unit] for row in rows for unit in row}) == 1
        assert members_in(order, epoch) == [0, 1] * 15
    assert order.epoch(0) != order.epoch(1)


def test_a_heavy_member_begins_another_pass_with_new_corruption() -> None:
    """With three times the weight it has 3 of 4 batches, sees its 60 texts, and then each again, hidden otherwise."""
    objective = mixture(3, 1)
    order = order_of(objective)
    members = Counter(members_in(order, 0))
    assert sum(members.values()) == 30 and abs(members[0] - 22.5) <= 1
    dataset = [unit for step in order.epoch(0) for rows in step for row in rows for unit in row]
    heavy = [unit % 120 for unit in dataset if order.dataset.members[unit % 120] == 0]
    assert sorted(heavy[:60]) == list(range(60)) and len(heavy) > 80 and max(Counter(heavy).values()) == 2
    assert len(set(dataset)) == len(dataset)  # a second time is another number, of which the corruption comes
    differ = 0
    for unit in range(60):
        first, second = (order.batch(0, [[number]]) for number in (unit, unit + 120))
        assert first.member == second.member == 0
        differ += not torch.equal(first.streams["encoder"].input_ids, second.streams["encoder"].input_ids)
    assert differ > 30


@given(st.lists(st.floats(0.05, 5), min_size=2, max_size=5), st.integers(1, 300))
def test_the_batches_of_an_epoch_are_the_shares_rounded(shares: list[float], number: int) -> None:
    """Up or down, and over all starts alike exactly the shares; in turn, each member has just as many."""
    due = np.array(shares) / sum(shares) * number
    starts = (np.arange(400) + 0.5) / 400
    found = np.array([batches_each(shares, number, start) for start in starts])
    assert (found.sum(1) == number).all() and (np.abs(found - due) < 1 + 1e-9).all()
    assert np.abs(found.mean(0) - due).max() < 2 / 400 + 1e-9
    assert np.bincount(in_turn(found[0].tolist(), number), minlength=len(shares)).tolist() == found[0].tolist()


def test_a_light_member_comes_in_some_epochs() -> None:
    """A twentieth of four batches is no whole one: it has one in about every fifth epoch, always in the same ones."""
    order = order_of(mixture(19, 1), size=30)
    had = np.array([members_in(order, epoch) for epoch in range(100)])
    assert had.shape == (100, 4) and had.sum(1).max() == 1
    assert abs(had.sum() - 20) < 4.5 * np.sqrt(100 * 0.2 * 0.8)
    again = order_of(mixture(19, 1), size=30)
    assert [members_in(again, epoch) for epoch in (99, 7)] == had[[99, 7]].tolist()


def test_a_resumed_order_goes_on_where_it_stopped() -> None:
    order = order_of(mixture(2, 1), per_step=3)
    whole = order.steps()
    steps = [next(whole) for _ in range(25)]
    for start in (0, 1, 9, 10, 11, 24):
        assert next(order.steps(start)) == steps[start]
    tokens = [order.length(row) for row in steps[0][1][0]]
    assert all(3 <= length <= 11 for length in tokens)


# ------------------------------------------------------------------------------------------------- loss and evaluation


def batches_of(objective: Mixture, number: int = 6) -> list:
    """One batch of each member."""
    dataset = objective.dataset(MIXED)
    found = []
    for begin in (0, 60):
        examples = [[dataset.example(begin + i, np.random.default_rng((3, i)))] for i in range(number)]
        found.append(collate(examples, TOKENIZER.pad_id))
    return found


def test_numbers_are_those_of_the_member_that_made_the_batch() -> None:
    objective = mixture()
    model = model_of(objective)
    for number, batch in enumerate(batches_of(objective)):
        name, member = objective.names[number], objective.members[number]
        logits = model(batch)
        assert set(logits) == {name} == set(objective.loss(logits, batch)) == set(objective.counts(batch))
        assert objective.loss(logits, batch)[name].total == member.loss(logits, batch)[name].total
        assert objective.sums(logits, batch).keys() == member.sums(logits, batch).keys()
        assert objective.counts(batch)[name] == batch.targets[name].n_targets
        assert objective.of(batch) is member


def gradients(objective: Mixture, batches: list) -> dict[str, torch.Tensor]:
    """What one update makes of the gradient."""
    engine = Engine(
        model_of(objective), objective, OptimizerConfig(), device="cpu", precision="32-true", compiled=False, clip=None
    )
    seen: dict[str, torch.Tensor] = {}
    step = engine._step

    def watched(loss: float, factor: float):
        seen.update({n: p.grad.clone() for n, p in engine.model.named_parameters() if p.grad is not None})
        seen["loss"] = torch.tensor(loss)
        return step(loss, factor)

    engine._step = watched
    engine.update(batches, 0.0, (1, 1))
    return seen


def test_a_step_of_several_members_adds_their_means_by_how_many_batches_they_have() -> None:
    """Two masked batches and a causal one: 2/3 of the masked mean over both, 1/3 of the causal mean."""
    objective = mixture()
    (masked, causal), (other, _) = batches_of(objective), batches_of(objective, 3)
    alone = [gradients(objective, batches) for batches in ([masked, other], [causal])]
    together = gradients(objective, [masked, causal, other])
    for name in together:
        parts = [own.get(name, torch.zeros_like(together[name])) for own in alone]
        torch.testing.assert_close(together[name], parts[0] * 2 / 3 + parts[1] / 3, rtol=1e-4, atol=1e-6)
    again = gradients(objective, [other, masked, causal])
    torch.testing.assert_close(again["loss"], together["loss"])


def test_evaluation_weighs_the_members_and_names_their_numbers() -> None:
    objective = mixture(3, 1)
    model = model_of(objective)
    found = evaluate(model, EvaluationSet(objective.dataset(MIXED), objective, BatchConfig(size=8)))
    own = {name: found.means[f"{name}/loss"] for name in objective.names}
    assert found.loss == pytest.approx(0.75 * own["masked_lm"] + 0.25 * own["causal_lm"])
    assert {f"{name}/accuracy" for name in own} < set(found.record()) and "perplexity" not in found.record()
    causal = objective.members[1]
    alone = evaluate(model, EvaluationSet(causal.dataset(CORPUS), causal, BatchConfig(size=8)))
    assert alone.loss == pytest.approx(own["causal_lm"], rel=1e-5)


def test_a_limited_evaluation_asks_every_member() -> None:
    """By its share, and at least one unit of each: a loss without one of them would be another loss."""
    for weights, limit, expected in (((3, 1), 20, [15, 5]), ((99, 1), 10, [10, 1]), ((1, 1), 400, [60, 60])):
        objective = mixture(*weights)
        dataset = objective.dataset(MIXED)
        asked = EvaluationSet(dataset, objective, BatchConfig(size=8), limit)
        assert np.bincount(dataset.members[asked.chosen]).tolist() == expected
        assert (np.diff(asked.chosen) > 0).all()
        assert asked.chosen.tolist() == EvaluationSet(dataset, objective, BatchConfig(), limit).chosen.tolist()
        found = evaluate(model_of(objective), asked)
        assert {f"{name}/loss" for name in objective.names} < found.means.keys()
    assert asked.chosen.tolist() == list(range(120))


def test_a_member_that_can_be_asked_nothing_is_refused() -> None:
    """A loss that lacks it would look better than it is."""
    objective = mixture()
    dataset = objective.dataset(Corpus.mixed([Corpus.from_texts(["qwertz", "uiop"], TOKENIZER), CORPUS]))
    with pytest.raises(UsageError, match="nothing can be asked"):
        list(EvaluationSet(dataset, objective, BatchConfig()))


def seq2seq(label: str, **settings) -> dict:
    return {"label": label, "objective": {"name": "seq2seq", "prefix": f"{label}: ", **settings}}


def made_of(*members: dict, max_length: int = 16) -> Mixture:
    return Mixture(MixtureConfig.model_validate({"members": members}), TOKENIZER, max_length)


def test_members_of_one_kind_share_a_head_and_keep_their_own_numbers() -> None:
    objective = made_of(seq2seq("one"), seq2seq("two", label_smoothing=0.2))
    assert [head.name for head in objective.outputs()] == ["seq2seq"]
    assert objective.loss_weights() == {"one": 1.0, "two": 1.0} and objective.shares() == {"one": 0.5, "two": 0.5}
    pairs = CORPUS.paired(CORPUS)
    dataset = objective.dataset(Corpus.mixed([pairs, pairs]))
    first, second = (collate([[dataset.example(n, np.random.default_rng(1))]], 0) for n in (3, 63))
    logits = {"seq2seq": torch.randn(first.targets["seq2seq"].n_targets, TOKENIZER.vocab_size)}
    one, two = objective.loss(logits, first)["one"], objective.loss(logits, second)["two"]
    assert one.count == two.count and one.total != two.total  # the second is smoothed
    plain = objective.for_evaluation()
    assert plain.loss(logits, first)["one"].total == plain.loss(logits, second)["two"].total == one.total


def test_a_prefix_says_which_member_is_asked_and_is_read_once() -> None:
    """The member puts its prefix before the text itself."""
    objective = made_of(seq2seq("one"), seq2seq("two"))
    for number, label in enumerate(("one", "two")):
        prompt = objective.prompt_for("generate", f"{label}: red moon")
        alone = objective.members[number].prompt("red moon")
        assert prompt.example.member == number and prompt.text == f"{label}: red moon"
        read, right = (p.example.streams["encoder"].values.tolist() for p in (prompt, alone))
        assert read == right
    with pytest.raises(UsageError, match="does not say which task"):
        objective.prompt_for("generate", "red moon")


def test_a_text_without_a_prefix_that_its_member_cannot_read_is_told_of_the_others() -> None:
    """They may have been meant; not where a prefix says who is, or where nobody has one."""
    plain, long = {"objective": {"name": "denoising"}}, "red moon " * 20
    with pytest.raises(UsageError, match=r"at most 14.*\n.*than denoising, begin it with 'one: '"):
        made_of(plain, seq2seq("one")).prompt_for("generate", long)
    for members, text in (((plain, seq2seq("one")), f"one: {long}"), ((plain, {**plain, "label": "b"}), long)):
        with pytest.raises(UsageError) as raised:
            made_of(*members).prompt_for("generate", text)
        assert "the model reads at most" in str(raised.value) and "begin it with" not in str(raised.value)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([seq2seq("one"), seq2seq("one")], "two members of the mixture are called one"),
        (
            [{"objective": {"name": "masked_lm"}}, {"label": "b", "objective": {"name": "masked_lm"}, "weight": 0}],
            "greater than 0",
        ),
        ([{"objective": {"name": "masked_lm"}}], "at least 2"),
        ([{"objective": {"name": "masked_ml"}}] * 2, "did you mean 'masked_lm'"),
    ],
)
def test_mixtures_that_cannot_be(members: list[dict], said: str, tmp_path: Path) -> None:
    tree = tiny_recipe.tree(tiny_recipe.text_file(tmp_path), objective={"name": "mixture", "members": members})
    with pytest.raises(UsageError, match=said):
        wanted = tiny_recipe.parse(tree)
        Mixture(wanted.objective, TOKENIZER, 16)


def test_members_that_need_different_stacks_are_refused(tmp_path: Path) -> None:
    members = [{"objective": {"name": "masked_lm"}}, {"objective": {"name": "denoising"}}]
    text = tiny_recipe.text_file(tmp_path)
    with pytest.raises(
        UsageError, match="denoising needs an encoder and a decoder, and masked_lm in the same mixture one stack"
    ):
        tiny_recipe.train(tiny_recipe.recipe(text, objective={"name": "mixture", "members": members}), tmp_path / "run")


def test_heads_that_differ_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from glassformer.objectives.seq2seq import Seq2Seq

    outputs = Seq2Seq.outputs
    monkeypatch.setattr(
        Seq2Seq, "outputs", lambda self: [h._replace(weight=len(self.config.prefix)) for h in outputs(self)]
    )
    with pytest.raises(UsageError, match="three wants another head seq2seq"):
        made_of(seq2seq("one"), seq2seq("three"))


# ------------------------------------------------------------------------------------------------ trained and asked


def trained(folder: Path, members: list[dict], **sections: dict) -> Run:
    text = tiny_recipe.text_file(folder, tiny_recipe.dozen())
    settings = {
        "data": {"validation": str(text)},
        "model": {"d_model": 24, "dropout": 0.0, "positions": "sinusoidal"},
        "optimizer": {"learning_rate": 0.01},
        "training": {"steps": 400, "evaluate_every": 200, "checkpoint_every": 200},
    }
    for name, section in sections.items():
        settings[name] = settings.get(name, {}) | section
    wanted = tiny_recipe.recipe(text, objective={"name": "mixture", "members": members}, **settings)
    return tiny_recipe.train(wanted, folder / "run")


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_body_learns_to_fill_and_to_go_on(tmp_path: Path, accumulate: int) -> None:
    """The same twelve sentences by both objectives, by heart; each is asked for what it can do."""
    # A [MASK] at every asked place: which of five words is the wrong one takes such a small body longer to learn.
    masking = {"name": "masked_lm", "mask_rate": 0.4, "mask_token_share": 1.0, "random_token_share": 0.0}
    members = [{"objective": masking}, {"objective": {"name": "causal_lm"}}]
    run = trained(tmp_path, members, training={"steps": 800 // accumulate, "accumulate": accumulate})
    assert run.recipe.model.family == "decoder"
    for n, sentence in enumerate(tiny_recipe.dozen()):
        words = sentence.split()
        assert run.fill(" ".join([*words[:2], "[MASK]", *words[3:]])).blanks[0].candidates[0].token == words[2]
        assert run.generate(words[0]).outputs[0].text == sentence.removeprefix(words[0]), n
    last = run.metrics()[-1]
    assert last["causal_lm/loss"] < 0.5 and last["masked_lm/loss"] < 0.1  # the first word of a text cannot be known
    assert last["loss"] == pytest.approx((last["causal_lm/loss"] + last["masked_lm/loss"]) / 2)
    assert "".join(run.stream("a3")) == " b3 c3 d3 e3"
    score = run.score("a3 b3 c3 d3 e3")
    assert score.kind == "pseudo-perplexity" and score.perplexity < 1.2  # the first member that scores
    asked = run.attention("a3 [MASK] c3 d3 e3")
    assert asked.filled is not None and asked.tokens[0] == "[CLS]"
    assert (np.triu(run.attention("a3 b3 c3").weights, 1) == 0).all()
    assert command("evaluate", run.path, "--json").json["masked_lm/accuracy"] > 0.9
    samples = (run.directory.samples / f"step-{last['step']:07d}.txt").read_text()
    assert ">" in samples and "right" in samples  # of the masked member, and of both


@pytest.mark.usefixtures("one_thread")
def test_tasks_are_told_apart_by_their_prefix(tmp_path: Path) -> None:
    """The same sources, backwards or as they are; a text without a prefix says which there are."""
    members = []
    for label, change in (("same", " ".join), ("back", lambda words: " ".join(reversed(words)))):
        file = tmp_path / f"{label}.tsv"
        file.write_text("".join(f"{text}\t{change(text.split())}\n" for text in tiny_recipe.dozen()), encoding="utf-8")
        members.append(seq2seq(label) | {"data": {"train": str(file), "validation": str(file)}})
    run = trained(tmp_path, members, training={"steps": 500})
    prompts = ["same: a1 b1 c1 d1 e1", "back: a1 b1 c1 d1 e1", "back: a2 b2 c2 d2 e2", "same: a3 b3 c3 d3 e3"]
    answers = [generation.outputs[0].text for generation in run.generate(prompts)]
    assert answers == ["a1 b1 c1 d1 e1", "e1 d1 c1 b1 a1", "e2 d2 c2 b2 a2", "a3 b3 c3 d3 e3"]
    assert [generation.text for generation in run.generate(prompts)] == prompts
    assert "begin it with 'same: ' or 'back: '" in refused("generate", run.path, "a1 b1 c1 d1 e1")
    assert "no blanks" in refused("fill", run.path, "same: a1 [MASK]")
    cross = run.attention("back: a1 b1 c1 d1 e1", kind="cross")
    assert cross.tokens[:2] == ["e1", "d1"] and cross.keys is not None and cross.keys[-1] == "[SEP]"
    assert {"same/loss", "back/loss"} < set(run.metrics()[-1])
    assert run.objective.prompt_prefix == "same: "


def test_a_row_is_as_long_as_the_longest_members() -> None:
    """Not as long as the model reads, where every member asks for less."""
    tokenizer = tiny_recipe.tokenizer_of(tiny_recipe.dozen())
    for lengths, expected in (((8, 12), 12), ((8, None), 16)):
        members = [
            {"label": f"m{n}", "objective": {"name": "masked_lm", "row_length": length}}
            for n, length in enumerate(lengths)
        ]
        assert Mixture(MixtureConfig(members=members), tokenizer, 16).row_length == expected


def test_data_of_the_members_own_are_changed_in_the_recipe_only(tmp_path: Path) -> None:
    """Other data for the whole run would be read by nobody; where the members' have gone, nobody is told to try."""
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{text}\t{text}\n" for text in tiny_recipe.dozen()), encoding="utf-8")
    members = [seq2seq(label) | {"data": {"train": str(file), "validation": str(file)}} for label in ("one", "two")]
    run = trained(tmp_path, members, training={"steps": 2, "evaluate_every": 2, "checkpoint_every": 2})
    said = refused("evaluate", run.path, f"data.validation={file}")
    assert "would be read by nobody: one, two have data of their own" in said and "objective.members" in said
    file.unlink()
    said = refused("evaluate", run.path, code=1)
    assert "cannot be read from here" in said and "put them back" in said and "PLACE" not in said


@pytest.mark.usefixtures("one_thread")
def test_it_does_not_learn_shuffled_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learned by heart above is in the targets."""
    loss = Objective.loss

    def shuffled(self, logits, batch):
        if not torch.is_grad_enabled():
            return loss(self, logits, batch)
        targets = {
            name: one._replace(values=one.values[torch.randperm(len(one.values))])
            for name, one in batch.targets.items()
        }
        return loss(self, logits, batch._replace(targets=targets))

    monkeypatch.setattr(Objective, "loss", shuffled)
    members = [{"objective": {"name": "masked_lm", "mask_rate": 0.4}}, {"objective": {"name": "causal_lm"}}]
    last = trained(tmp_path, members).metrics()[-1]
    assert min(last["causal_lm/loss"], last["masked_lm/loss"]) > 1.5


def test_every_member_is_previewed() -> None:
    """A shipped mixture of three tasks shows examples of each, which begin with its prefix."""
    found = command("preview", "text-to-text-demo", "--count", "7", "--json").json
    read = ["".join(one["streams"][0]["tokens"]).replace("▁", " ") for one in found]
    for prefix in ("paraphrase: ", "answer: ", "translate: "):
        assert any(text.startswith(prefix) for text in read), read


def test_an_example_keeps_its_member() -> None:
    dataset = mixture().dataset(MIXED)
    example = dataset.example(60, np.random.default_rng(1))
    assert isinstance(example, Example) and example.member == 1 and set(example.streams) == {"decoder"}
