"""The LSTM: its equations, which texts hear of which tokens, and a state that gives what the forward pass gives."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glassformer.data.batch import Batch, Example, OutputSpec, Shapes, Stream, Targets, collate
from glassformer.errors import UsageError
from glassformer.model.config import ModelConfig
from glassformer.model.kinds import hidden_matrices
from glassformer.model.kinds.lstm import LSTM, LSTMState

VOCAB, LENGTH = 23, 17
HEADS = [OutputSpec("tokens", VOCAB, tied=True)]
FAMILIES = ("encoder", "decoder")


def model_of(family: str, **changes) -> LSTM:
    """Every weight random, in float64 and in evaluation mode."""
    sizes = {"n_layers": 2, "d_model": 14, "max_length": LENGTH, "dropout": 0.0, "kind": "lstm", "family": family}
    torch.manual_seed(1)
    model = LSTM(ModelConfig(**(sizes | changes)), VOCAB, HEADS).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def example(ids: np.ndarray, family: str) -> Example:
    """A text of which every token is asked."""
    return Example(
        {family: Stream(ids, causal=family == "decoder")}, {"tokens": Targets(np.arange(len(ids)), ids, family)}
    )


def texts(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.integers(1, VOCAB, length) for length in lengths]


def batch_of(family: str, *rows: list[np.ndarray], shapes: Shapes | None = None) -> Batch:
    return collate([[example(ids, family) for ids in row] for row in rows], 0, shapes)


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def by_hand(lstm: nn.LSTM, x: Tensor, suffix: str = "") -> Tensor:
    """One text (T x D), token by token: i, f, o = sigmoid, g = tanh; c = f c + i g; h = o tanh(c)."""
    w, u, b, c = (getattr(lstm, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    hidden = cell = x.new_zeros(u.shape[1])
    found = []
    for token in x:
        i, f, g, o = (w @ token + b + u @ hidden + c).chunk(4)
        cell = sigmoid(f) * cell + sigmoid(i) * torch.tanh(g)
        hidden = sigmoid(o) * torch.tanh(cell)
        found.append(hidden)
    return torch.stack(found)


@pytest.mark.parametrize("family, norm", list(itertools.product(FAMILIES, ["pre", "post"])))
@torch.no_grad()
def test_it_is_the_equations_text_by_text(family: str, norm: str) -> None:
    """Of padded rows, and of rows that several texts share: each text is as it is alone."""
    model, [a, b, c] = model_of(family, norm=norm), texts(7, 3, 5)
    stack = model.stacks[0]

    def alone(ids: np.ndarray) -> Tensor:
        x = stack.embeddings(torch.from_numpy(ids)[None])[0]
        for block in stack.blocks:
            entering = block.norm(x) if norm == "pre" else x
            read = by_hand(block.lstm, entering)
            if family == "encoder":
                read = torch.cat([read, by_hand(block.lstm, entering.flip(0), "_reverse").flip(0)], 1)
            x = x + read if norm == "pre" else block.norm(x + read)
        return model.heads["tokens"](stack.norm(x))

    expected = torch.cat([alone(ids) for ids in (a, b, c)])
    for rows in ([[a], [b], [c]], [[a, b, c]], [[a, b], [c]]):
        found = model(batch_of(family, *rows))["tokens"]
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_who_hears_of_whom(family: str) -> None:
    """By gradients: of its own text every token in an encoder, the earlier ones in a decoder; nothing of others."""
    model, rows = model_of(family), [[*texts(6, 4)]]
    stack, batch = model.stacks[0], batch_of(family, *rows)
    out = stack.embeddings(batch.streams[family].input_ids).detach().requires_grad_()
    x = out
    for block in stack.blocks:
        x = block(x, stack.texts_of(batch.streams[family].mask))
    x[0, 2].square().sum().backward()
    heard = out.grad[0].abs().sum(-1) > 0
    assert heard.tolist() == [n < 6 if family == "encoder" else n <= 2 for n in range(10)]


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_and_empty_rows_do_no_harm(family: str) -> None:
    """Fixed shapes make rows of nothing but padding: the same logits, and finite gradients."""
    model, [a, b] = model_of(family), texts(3, 6)
    expected = model(batch_of(family, [a], [b]))["tokens"]
    batch = batch_of(family, [a], [b], shapes=Shapes(5, (11,), 0.9))
    found = model(batch)["tokens"]
    torch.testing.assert_close(found[: len(expected)], expected, atol=1e-12, rtol=1e-12)
    found.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("pieces", [(5, 1, 1, 1), (1,) * 8, (3, 3, 2)])
@torch.no_grad()
def test_step_by_step_is_the_forward_pass(pieces: tuple[int, ...]) -> None:
    """Ragged prompts, in pieces; then rows leave, are doubled and change places."""
    model, whole = model_of("decoder"), texts(8, 8, 8)
    expected = model(batch_of("decoder", *[[ids] for ids in whole]))["tokens"].view(3, 8, VOCAB)
    ids, state, start = torch.from_numpy(np.stack(whole)), model.new_state(batch_of("decoder", [whole[0]]), 9), 0
    for size in pieces:
        given = ids[:, start : start + size]
        logits = model.step(given, torch.ones_like(given, dtype=torch.bool), state, "tokens")
        start += size
        torch.testing.assert_close(logits, expected[:, start - 1], atol=1e-12, rtol=1e-12)
    ragged, real = torch.zeros(3, 6, dtype=torch.long), torch.zeros(3, 6, dtype=torch.bool)
    for row, length in enumerate((6, 2, 4)):
        ragged[row, :length], real[row, :length] = ids[row, :length], True
    state = model.new_state(batch_of("decoder", [whole[0]]), 9)
    logits = model.step(ragged, real, state, "tokens")
    torch.testing.assert_close(logits, expected[range(3), [5, 1, 3]], atol=1e-12, rtol=1e-12)
    order = torch.tensor([2, 0, 0])
    state.reorder(order)
    logits = model.step(ids[order, [4, 6, 6]][:, None], torch.ones(3, 1, dtype=torch.bool), state, "tokens")
    torch.testing.assert_close(logits, expected[order, [4, 6, 6]], atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_states_that_are_joined_go_on_as_each() -> None:
    model, whole = model_of("decoder"), texts(8, 8, 8)
    ids = torch.from_numpy(np.stack(whole))
    expected = model(batch_of("decoder", *[[one] for one in whole]))["tokens"].view(3, 8, VOCAB)
    states = []
    for rows, length in (([2, 0], 3), ([1], 5)):
        states.append(model.new_state(batch_of("decoder", [whole[0]]), 9))
        model.step(ids[rows, :length], torch.ones(len(rows), length, dtype=torch.bool), states[-1], "tokens")
    state = LSTMState.concat(states, [[2, 0], [1]], 9)
    logits = model.step(ids[range(3), [3, 5, 3]][:, None], torch.ones(3, 1, dtype=torch.bool), state, "tokens")
    torch.testing.assert_close(logits, expected[range(3), [3, 5, 3]], atol=1e-12, rtol=1e-12)


def test_fresh_weights() -> None:
    """Variance 1 / fan-in, biases zero, forget gates open; Muon takes the recurrent matrices, of both directions."""
    torch.manual_seed(1)
    config = ModelConfig(kind="lstm", family="encoder", n_layers=2, d_model=200, max_length=8)
    model = LSTM(config, VOCAB, HEADS)
    lstm = model.stacks[0].blocks[0].lstm
    assert lstm.weight_ih_l0.std().item() == pytest.approx(200**-0.5, rel=0.05)
    assert lstm.weight_hh_l0_reverse.std().item() == pytest.approx(100**-0.5, rel=0.05)
    for bias in (lstm.bias_ih_l0, lstm.bias_ih_l0_reverse):
        assert bias.chunk(4)[1].eq(1).all() and bias.sum() == 100
    assert not lstm.bias_hh_l0.any()
    names = {id(p): name for name, p in model.named_parameters()}
    taken = [names[id(p)] for p in hidden_matrices(model)]
    ends = ["weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse"]
    assert taken == [f"encoder.blocks.{n}.lstm.{end}" for n in range(2) for end in ends]


def test_what_it_has_not_is_refused() -> None:
    with pytest.raises(UsageError, match=r"one stack here.*\n.*kind=transformer"):
        model_of("encoder_decoder")
    with pytest.raises(UsageError, match=r"half of model.d_model=7.*\nuse an even one, such as 8"):
        model_of("encoder", d_model=7)
    model_of("decoder", d_model=7)
    ids = texts(5)[0]
    seeing = collate([[Example({"encoder": Stream(ids, causal=True)}, {"tokens": Targets(np.arange(5), ids)})]], 0)
    with pytest.raises(UsageError, match=r"would see the tokens that it is asked\nuse model.family=decoder"):
        model_of("encoder")(seeing)
    pairs = Stream(ids, pair_mask=np.ones((5, 5), dtype=bool))
    asked = collate([[Example({"encoder": pairs}, {"tokens": Targets(np.arange(5), ids)})]], 0)
    with pytest.raises(UsageError, match="an LSTM reads every token"):
        model_of("decoder")(asked)
    assert "both ways" in (model_of("encoder").why_not("decoding") or "")
    assert model_of("decoder").why_not("decoding") is None
