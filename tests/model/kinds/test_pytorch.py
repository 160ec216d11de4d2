"""nn.TransformerEncoder as a baseline: the same weights give the same numbers, with the same call."""

import itertools

import numpy as np
import pytest
import torch

from glassformer.data.batch import Batch, Example, OutputSpec, Shapes, Stream, Targets, collate
from glassformer.errors import UsageError
from glassformer.model.config import ModelConfig
from glassformer.model.kinds.pytorch import TorchTransformer, from_glassformer
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.size import count_parameters

VOCAB, LENGTH = 23, 17
HEADS = [OutputSpec("tokens", VOCAB, tied=True, transform="dense")]
EACH = list(itertools.product(["pre", "post"], ["relu", "gelu"], ["learned", "sinusoidal"]))


def config(**changes) -> ModelConfig:
    sizes = {"n_layers": 2, "d_model": 22, "n_heads": 2, "d_ff": 13, "max_length": LENGTH, "dropout": 0.0}
    return ModelConfig(**(sizes | changes))


def batch_of(*lengths: int, together: bool = False, shapes: Shapes | None = None) -> Batch:
    rng, examples = np.random.default_rng(2), []
    for length in lengths:
        ids, asked = rng.integers(1, VOCAB, length), np.arange(0, length, 2)
        examples.append(Example({"encoder": Stream(ids)}, {"tokens": Targets(asked, ids[asked])}))
    return collate([examples] if together else [[e] for e in examples], 0, shapes)


def pair(**changes) -> tuple[Transformer, TorchTransformer]:
    """Ours with every weight random (biases and norms too), and PyTorch's with those weights."""
    torch.manual_seed(1)
    ours = Transformer(config(**changes), VOCAB, HEADS).double().eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs = TorchTransformer(config(**changes), VOCAB, HEADS).double().eval()
    theirs.load_state_dict(from_glassformer(ours.state_dict()))
    return ours, theirs


@pytest.mark.parametrize("norm, activation, positions", EACH)
@pytest.mark.parametrize("gradients", [True, False])
def test_equal_weights_give_equal_logits(norm, activation, positions, gradients):
    """Padded and full batches, with the gradient and without (PyTorch's layer has a fused path without, for an even
    number of heads)."""
    ours, theirs = pair(norm=norm, activation=activation, positions=positions)
    for batch in (batch_of(3, 11, 7), batch_of(5, 5)):
        with torch.set_grad_enabled(gradients):
            a, b = ours(batch)["tokens"], theirs(batch)["tokens"]
        assert a.std() > 0.1
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_equal_weights_give_equal_gradients(norm):
    """Name by name, so that both train alike."""
    models = pair(norm=norm)
    for model in models:
        model.train()(batch_of(3, 11, 7))["tokens"].square().sum().backward()
    ours, theirs = ({name: p.grad for name, p in model.named_parameters()} for model in models)
    renamed = from_glassformer(ours)
    assert renamed.keys() == theirs.keys()
    for name, gradient in renamed.items():
        torch.testing.assert_close(theirs[name], gradient, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("norm, tied", list(itertools.product(["pre", "post"], [True, False])))
def test_the_same_seed_gives_the_same_start(norm, tied):
    """Fresh weights are ours, renamed: a comparison of the two starts from the same place, and with as many weights."""
    torch.manual_seed(1)
    ours = Transformer(config(norm=norm, tied=tied), VOCAB, HEADS)
    torch.manual_seed(1)
    theirs = TorchTransformer(config(norm=norm, tied=tied, attention_dropout=0.0), VOCAB, HEADS)
    renamed, state = from_glassformer(ours.state_dict()), theirs.state_dict()
    assert renamed.keys() == state.keys()
    assert all(torch.equal(renamed[name], state[name]) for name in state)
    assert count_parameters(ours) == count_parameters(theirs)
    assert (theirs.heads["tokens"].output.weight is theirs.encoder.embeddings.token.weight) == tied


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_rows_of_nothing_but_padding_do_no_harm(norm):
    """Fixed shapes make such rows: logits stay finite and equal to ours, and so do the gradients."""
    ours, theirs = pair(norm=norm)
    batch = batch_of(3, 11, shapes=Shapes(5, (13,), 0.1))
    with torch.no_grad():
        torch.testing.assert_close(ours(batch)["tokens"], theirs(batch)["tokens"], atol=1e-10, rtol=1e-10)
    theirs.train()(batch)["tokens"].square().sum().backward()
    assert all(p.grad.isfinite().all() for p in theirs.parameters() if p.grad is not None)


def test_what_it_cannot_do_is_refused_and_who_can_is_named():
    """Two kinds of dropout, one behind the last norm, and documents packed in a row."""
    with pytest.raises(UsageError, match=r"one dropout for everything\n.*kind=transformer"):
        TorchTransformer(config(dropout=0.1, attention_dropout=0.0), VOCAB, HEADS)
    with pytest.raises(UsageError, match=r"no model.output_dropout=0.1\n.*kind=transformer"):
        TorchTransformer(config(output_dropout=0.1), VOCAB, HEADS)
    with pytest.raises(UsageError, match=r"supports padding and causality only\n.*kind=transformer"):
        pair()[1](batch_of(3, 5, together=True))


def test_dropout_is_on_while_training_only():
    """One rate for everything, as in PyTorch's layer."""
    torch.manual_seed(1)
    model, batch = TorchTransformer(config(dropout=0.5, attention_dropout=0.5), VOCAB, HEADS), batch_of(3, 5)
    assert not torch.equal(model(batch)["tokens"], model(batch)["tokens"])
    model.eval()
    assert torch.equal(model(batch)["tokens"], model(batch)["tokens"])
