"""PyTorch's blocks beside ours: the same numbers everywhere, and a difference that is planted is seen where it is."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_recipe
import torch
from browser import browser, opened
from trained import TEXT, command, generator_folder, refused, run_folder

from glassformer import views
from glassformer.ask.run import Run, load
from glassformer.data.batch import Batch, Example, OutputSpec, Stream, Targets, collate
from glassformer.look.views.torch import beside, said
from glassformer.model.config import ModelConfig
from glassformer.model.kinds.pytorch import TorchTransformer, from_glassformer, to_glassformer
from glassformer.model.kinds.transformer import Transformer

VOCAB, LENGTH = 23, 17
HEADS = [OutputSpec("tokens", VOCAB, tied=True)]
SETTINGS = list(itertools.product(["pre", "post"], ["encoder", "decoder"]))


def batch_of(stack: str, *lengths: int) -> Batch:
    rng = np.random.default_rng(2)
    rows = [rng.integers(1, VOCAB, length) for length in lengths]
    targets = [Targets(np.arange(len(ids)), ids, stack) for ids in rows]
    return collate(
        [
            [Example({stack: Stream(i, causal=stack == "decoder")}, {"tokens": t})]
            for i, t in zip(rows, targets, strict=True)
        ],
        0,
    )


def both(norm: str, family: str) -> tuple[Transformer, TorchTransformer]:
    torch.manual_seed(1)
    sizes = {"n_layers": 2, "d_model": 22, "n_heads": 2, "d_ff": 13, "max_length": LENGTH, "dropout": 0.0}
    config = ModelConfig(norm=norm, family=family, **sizes)
    ours = Transformer(config, VOCAB, HEADS).double().eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs = TorchTransformer(config, VOCAB, HEADS).double().eval()
    theirs.load_state_dict(from_glassformer(ours.state_dict()))
    return ours, theirs


@pytest.mark.parametrize("norm, family", SETTINGS)
def test_every_tensor_is_the_same_in_float64(norm: str, family: str) -> None:
    """Of rows of unequal length too: what stands at padding is not compared by anybody, so it is one row at a time."""
    ours, theirs = both(norm, family)
    for length in (11, 5):
        found = beside(ours, theirs, batch_of(family, length))
        names = [one.name for one in found]
        assert len(names) == len(set(names)) == 1 + 2 * 9 + (norm == "pre") + 1
        assert all(one.ours.shape == one.theirs.shape and one.ours.dtype == torch.float64 for one in found)
        assert all(float(one.ours.std()) > 1e-3 for one in found), "numbers that are alike would hide what differs"
        assert max(one.difference for one in found) < 1e-13
        assert said(found).startswith("the same computation")


PLANTED = {
    "embeddings.token.weight": "embeddings",
    "stack.layers.1.self_attn.in_proj_weight": "layer 1: q",
    "stack.layers.1.self_attn.out_proj.weight": "layer 1: attention output",
    "stack.layers.0.norm1.weight": "layer 0: first norm",
    "stack.layers.1.linear1.weight": "layer 1: feed-forward",
    "stack.layers.1.norm2.bias": "layer 1: second norm",
}


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("weight", PLANTED)
def test_a_planted_difference_is_seen_where_it_is(weight: str, norm: str) -> None:
    """One weight of PyTorch's side moved by a millionth of itself: nothing before its tensor differs."""
    ours, theirs = both(norm, "encoder")
    with torch.no_grad():
        theirs.get_parameter(f"encoder.{weight}").mul_(1 + 1e-6)
    found = beside(ours, theirs, batch_of("encoder", 11))
    first = next(n for n, one in enumerate(found) if not one.same)
    assert found[first].name == PLANTED[weight]
    assert all(one.difference < 1e-13 for one in found[:first])
    assert said(found).startswith(f"different from {PLANTED[weight]} on")


@pytest.mark.parametrize("part, name", [("v", "v"), ("k", "k")])
def test_a_difference_in_one_projection_is_found_in_that_one(part: str, name: str) -> None:
    """The rows of one matrix are q, k, v: another v leaves the weights alone."""
    ours, theirs = both("post", "encoder")
    number = "qkv".index(part)
    with torch.no_grad():
        theirs.get_parameter("encoder.stack.layers.0.self_attn.in_proj_bias")[22 * number : 22 * (number + 1)] += 0.1
    found = {one.name: one for one in beside(ours, theirs, batch_of("encoder", 11))}
    assert [n for n in "qkv" if not found[f"layer 0: {n}"].same] == [name]
    assert found["layer 0: attention weights"].same  # a bias of all keys alike is removed by the softmax
    assert found["layer 0: attention output"].same == (part == "k")


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_weights_come_back_as_they_were(norm: str) -> None:
    """From ours to PyTorch's and back, and the model that is made of PyTorch's computes what ours does."""
    ours, theirs = both(norm, "encoder")
    state = ours.state_dict()
    back = to_glassformer(theirs.state_dict(), state)
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)
    before = torch.get_rng_state()
    again, batch = theirs.recordable(), batch_of("encoder", 11)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(again, Transformer) and not again.training and again.recordable() is again
    assert torch.equal(again(batch)["tokens"], ours(batch)["tokens"])


# ----------------------------------------------------------------------------------------------- of runs


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of PyTorch's own blocks."""
    folder = tmp_path_factory.mktemp("torch")
    model = {"kind": "pytorch", "attention_dropout": 0.1}
    recipe = tiny_recipe.recipe(tiny_recipe.text_file(folder), model=model, training={"steps": 3, "evaluate_every": 3})
    return load(tiny_recipe.train(recipe, folder / "run").path)


def asked_for_weights(run: Run, text: str) -> np.ndarray:
    """The attention weights that PyTorch's own modules give when a run's model reads a text, from the first layer."""
    batch = run.collate([run.objective.prompt(text)])
    model: Any = run.model
    layer = model.encoder.stack.layers[0]
    stream = batch.streams["encoder"]
    x = model.encoder.embeddings(stream.input_ids, model.encoder.positions(stream.positions), stream.segment_ids)
    x = layer.norm1(x) if layer.norm_first else x
    return layer.self_attn(x, x, x, need_weights=True, average_attn_weights=False)[1][0].detach().numpy()


def test_attention_of_a_run_of_pytorchs_blocks_is_that_of_its_own_modules(torch_run: Run) -> None:
    assert isinstance(torch_run.model, TorchTransformer)
    text = "sun moon [MASK] red"
    found = torch_run.attention(text)
    np.testing.assert_allclose(found.weights[0], asked_for_weights(torch_run, text), atol=1e-6)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-6)
    assert found.filled is not None
    mine, its = found.filled.blanks[0].candidates[0], torch_run.fill(text).blanks[0].candidates[0]
    assert mine.token == its.token and abs(mine.probability - its.probability) < 1e-6
    assert isinstance(torch_run.model, TorchTransformer)  # asked, not replaced


def test_views_of_such_a_run_show_its_weights(torch_run: Run, tmp_path: Path) -> None:
    text, folder = "sun moon [MASK] red", torch_run.path
    weights = torch_run.attention(text).weights
    np.testing.assert_allclose(views.mask(torch_run, text).arrays["weights"], weights, atol=1e-6)
    np.testing.assert_allclose(views.heads(torch_run, [text]).arrays["weights"], weights, atol=1e-6)
    for words in (("look", "attribution"), ("look", "steps"), ("attention",)):
        assert command(*words, folder, "sun [MASK]", "--output", tmp_path / "picture.png").code == 0
    kinds = [row["kind"] for row in views.shapes(torch_run, text).rows or []]
    assert "TransformerEncoderLayer" in kinds  # these are the modules that it has


def test_the_command_compares_both_kinds_of_run(torch_run: Run, tmp_path: Path) -> None:
    for folder, text in ((run_folder(), TEXT), (torch_run.path, "sun [MASK]"), (generator_folder(), "Mars is")):
        done = command("look", "torch", folder, text, "--output", tmp_path / "torch.npz", "--json")
        assert max(row["difference"] for row in done.json["rows"]) < 1e-13
        assert done.json["verdict"].startswith("the same computation")
        with np.load(tmp_path / "torch.npz") as arrays:
            assert {name.split(".")[0] for name in arrays} == {"ours", "theirs"}
            assert np.array_equal(arrays["ours.layer 0: q"].shape, arrays["theirs.layer 0: q"].shape)


def test_what_pytorchs_blocks_have_not_is_refused_by_its_first_key(tmp_path: Path) -> None:
    text, short = tiny_recipe.text_file(tmp_path), {"steps": 1, "evaluate_every": 1}
    for name, model in {
        "norm_kind=rms": {"norm_kind": "rms", "activation": "swiglu"},
        "kind=lstm": {"kind": "lstm"},
    }.items():
        run = tiny_recipe.train(tiny_recipe.recipe(text, model=model, training=short), tmp_path / name).path
        said_ = refused("look", "torch", run, "sun [MASK]", "--json")
        assert name in said_.splitlines()[0] and "swiglu" not in said_


def test_the_page_opens_and_marks_what_differs(tmp_path: Path) -> None:
    view = views.torch(load(run_folder()), TEXT)
    rows = [row | {"same": row["tensor"] != "layer 0: v"} for row in view.data["rows"]]
    marked = view._replace(data=view.data | {"rows": rows})
    with browser() as started:
        shown = opened(started, view.save(tmp_path / "torch.html"))
        assert len(shown.texts("tbody tr")) == len(rows) and shown.texts("tbody .warning") == []
        assert shown.complaints == []
        shown = opened(started, marked.save(tmp_path / "marked.html"))
        assert len(shown.texts("tbody .warning")) == 1
        assert shown.complaints == []
