"""What a model would say after each layer."""

import pytest
import torch
from tiny_recipe import model_of
from torch import nn
from trained import TEXT, generator_folder, run_folder

from glassformer.ask.run import Run, load
from glassformer.data.batch import collate
from glassformer.errors import UsageError
from glassformer.look.views.lens import layerwise


def test_the_last_layer_is_the_answer() -> None:
    """Exactly, at every blank; the layers before it say something else."""
    run, text = load(run_folder()), "The [MASK] is called the [MASK]"
    found = layerwise(run, text, top=3)
    assert found.layers[-1] == run.fill(text, top=3).blanks
    assert len(found.layers) == 2 and found.layers[0] != found.layers[1]
    assert found.asked == ["[MASK]", "[MASK]"]
    assert [len(blank.candidates) for blank in found.layers[0]] == [3, 3]
    [first, second] = found.record()["asked"]
    assert (first["position"], second["position"]) == (2, 6) and len(first["layers"]) == 2


def test_of_a_causal_model_the_next_token() -> None:
    run = load(generator_folder())
    found, prompt = layerwise(run, "Mars is called the"), run.objective.prompt("Mars is called the")
    with torch.no_grad():
        logits = run.model(collate([[prompt.example]], run.tokenizer.pad_id))
    assert found.layers[-1] == run.objective.answer(prompt.example, logits) != found.layers[0]
    assert (found.layers[-1][0].position, found.asked) == (len(found.tokens) - 1, found.tokens[-1:])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_an_early_layer_is_a_shallower_model(norm: str) -> None:
    """The first layer says what a model that has only that one says; in a post-norm model there is no norm after it."""
    run = load(run_folder())
    deep = model_of(run.objective, norm=norm, n_layers=3, d_model=12).eval()
    run = Run(run.directory)
    run.__dict__["model"] = deep
    found = layerwise(run, TEXT)
    deep.encoder.blocks = nn.ModuleList(list(deep.encoder.blocks)[:1])
    prompt = run.objective.prompt(TEXT)
    with torch.no_grad():
        logits = deep(collate([[prompt.example]], run.tokenizer.pad_id))
    assert found.layers[0] == run.objective.answer(prompt.example, logits)
    assert isinstance(deep.encoder.norm, nn.Identity) == (norm == "post")


def test_a_text_without_a_blank_asks_nothing() -> None:
    with pytest.raises(UsageError, match="no blank"):
        layerwise(load(run_folder()), "Mars is red")
