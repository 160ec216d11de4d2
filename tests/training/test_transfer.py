"""Weights of another model: what is taken, matched, resized, left and made anew, and what is frozen."""

import pytest
import tiny_recipe
import torch
from torch import nn

from glassformer.data.batch import OutputSpec
from glassformer.data.codecs import Codecs
from glassformer.data.labels import Labels
from glassformer.errors import UsageError
from glassformer.training.transfer import named_rows, same_rows, together, transfer


def model(texts: list[str] | None = None, seed: int = 1, **sizes):
    objective = tiny_recipe.objective_of(texts or tiny_recipe.sentences())
    return tiny_recipe.model_of(objective, seed, **sizes), Codecs(objective.tokenizer)


def numbers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_equal_models_are_taken_whole():
    (there, _), (here, _) = model(seed=2), model(seed=1)
    before = numbers(here)
    done = transfer(here, there.state_dict(), "runs/x")
    assert done.taken == [*before] and not (done.matched or done.resized or done.left or done.anew)
    assert all(torch.equal(tensor, there.state_dict()[name]) for name, tensor in here.state_dict().items())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in here.state_dict().items())


def test_a_longer_table_of_positions_has_the_rows_that_both_have():
    for length, common in ((31, 16), (7, 7)):
        (there, _), (here, _) = model(seed=2), model(seed=1, max_length=length)
        before, name = numbers(here), "encoder.positions.table.weight"
        done = transfer(here, there.state_dict(), "runs/x")
        assert done.resized == {name: (common, length)} and done.left == done.anew == []
        table = here.state_dict()[name]
        assert torch.equal(table[:common], there.state_dict()[name][:common])
        assert torch.equal(table[common:], before[name][common:])


def test_deeper_models_keep_their_fresh_layers_and_shallower_ones_leave_some():
    (there, _), (here, _) = model(seed=2), model(seed=1, n_layers=3)
    before = numbers(here)
    done = transfer(here, there.state_dict(), "runs/x")
    assert done.left == [] and done.anew == [name for name in before if ".blocks.2." in name]
    assert all(torch.equal(here.state_dict()[name], before[name]) for name in done.anew)
    done = transfer(model(n_layers=1)[0], there.state_dict(), "runs/x")
    assert done.anew == [] and done.left == [name for name in there.state_dict() if ".blocks.1." in name]


def test_embeddings_are_matched_by_the_text_of_a_token():
    """Other numbers, other words, another order: each known word has the vector that it had, and a tied head too."""
    texts = [" ".join(reversed(line.split())) + " pear plum pear" for line in tiny_recipe.sentences(7)]
    (there, old), (here, new) = model(seed=2), model(texts, seed=1)
    assert old.text.vocabulary != new.text.vocabulary
    before, name = numbers(here), "encoder.embeddings.token.weight"
    done = transfer(here, there.state_dict(), "runs/x", rows=named_rows(before, here.specs.values(), old, new))
    known = [token for token in new.text.vocabulary if token in old.text.vocabulary]
    assert {"[PAD]", "[MASK]", "sun"} < {*known} and "pear" not in known
    assert done.matched[name] == (len(known), len(new.text.vocabulary))
    for n, token in enumerate(new.text.vocabulary):
        was = there.state_dict()[name][old.text.id(token)] if token in known else before[name][n]
        assert torch.equal(here.state_dict()[name][n], was)
    assert here.heads["masked_lm"].output.weight is here.encoder.embeddings.token.weight
    bias = "heads.masked_lm.output.bias"
    assert done.matched[bias] == done.matched[name]


def test_a_head_of_its_own_gets_what_a_tied_one_had_and_a_tied_one_that_of_the_embeddings():
    (tied, _), (own, _) = model(seed=2), model(seed=1, tied=False)
    name = "heads.masked_lm.output.weight"
    transfer(own, tied.state_dict(), "runs/x")
    assert torch.equal(own.state_dict()[name], tied.encoder.embeddings.token.weight)
    other = model(seed=3, tied=False)[0]
    done = transfer(tied, other.state_dict(), "runs/x")
    assert torch.equal(tied.encoder.embeddings.token.weight, other.encoder.embeddings.token.weight)
    assert tied.heads["masked_lm"].output.weight is tied.encoder.embeddings.token.weight
    assert name in done.taken


def test_the_first_of_equal_tokens_counts():
    here, there = same_rows(["a", None, "b", "a"], ["b", "c", None, "a"])
    assert here.tolist() == [0, 3] and there.tolist() == [2, 0]


def test_labels_are_matched_by_their_names():
    """Of a head of as many classes too: the same number may be another class."""
    heads = [OutputSpec("label", 3), OutputSpec("other", 5)]
    there, here = Codecs(label=Labels(["good", "bad", "so so"])), Codecs(label=Labels(["bad", "good", "new"]))
    rows = named_rows([], heads, there, here)
    assert rows.keys() == {"heads.label.output.weight", "heads.label.output.bias"}
    assert [part.tolist() for part in same_rows(*rows["heads.label.output.bias"])] == [[0, 1], [1, 0]]
    assert named_rows([], heads, there, there) == named_rows([], heads, Codecs(), here) == {}


def test_only_what_is_asked_for_is_taken():
    (there, _), (here, _) = model(seed=2), model(seed=1)
    before = numbers(here)
    done = transfer(here, there.state_dict(), "runs/x", take=["encoder.blocks.0.*"])
    assert done.taken == [name for name in before if name.startswith("encoder.blocks.0.")]
    assert {*done.left} == {*done.anew} == {*before} - {*done.taken}
    assert all(torch.equal(here.state_dict()[name], before[name]) for name in done.anew)


def test_what_cannot_be_is_refused_and_nothing_is_changed():
    (there, _), (here, _) = model(seed=2), model(seed=1, d_ff=24)
    before = numbers(here)
    with pytest.raises(UsageError, match=r"feed_forward.expand.weight is 20 x 12 in runs/x, and 24 x 12 here"):
        transfer(here, there.state_dict(), "runs/x")
    with pytest.raises(UsageError, match=r"no tensor is called 'encodr.\*'"):
        transfer(here, there.state_dict(), "runs/x", take=["encodr.*"])
    with pytest.raises(UsageError, match="nothing of runs/x fits"):
        transfer(here, {"decoder.norm.weight": torch.ones(12)}, "runs/x")
    assert all(torch.equal(tensor, before[name]) for name, tensor in here.state_dict().items())


def test_a_head_of_other_classes_is_made_anew():
    (there, _), (here, _) = model(seed=2), model(seed=1)
    tensors = numbers(there) | {"heads.masked_lm.output.bias": torch.zeros(3)}
    done = transfer(here, tensors, "runs/x")
    assert done.anew == done.left == ["heads.masked_lm.output.bias"]


def test_layers_are_one_line():
    (there, _), (here, _) = model(seed=2), model(seed=1, n_layers=3)
    said = transfer(here, there.state_dict(), "runs/x").lines()
    assert "  taken      encoder.blocks.0-1" in said and "  made anew  encoder.blocks.2" in said
    assert together(["a.b.weight", "a.b.bias", "x.blocks.0.w", "x.blocks.2.w"]) == ["a.b", "x.blocks.0,2"]
