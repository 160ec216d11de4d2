"""The whole model: logits only where asked, nothing leaks between documents or out of padding, weights counted by hand.

Sizes are different primes wherever they can be (n_heads must divide d_model).
"""

import numpy as np
import pytest
import torch

from glassformer.data.batch import Batch, Example, OutputSpec, Shapes, Stream, Targets, collate
from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError
from glassformer.model.config import ModelConfig, check_sizes
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.size import count_parameters

VOCAB, HEADS, D, F, LENGTH, LAYERS = 23, 3, 21, 13, 17, 2
TOKEN_HEAD = OutputSpec("tokens", VOCAB, tied=True, transform="dense")
KINDS = [(norm, positions) for norm in ("pre", "post") for positions in ("learned", "sinusoidal")]


def make(heads: list[OutputSpec] | None = None, dropout: float = 0.0, **changes) -> Transformer:
    """Random weights, in double and in evaluation mode."""
    sizes = {"n_layers": LAYERS, "d_model": D, "n_heads": HEADS, "d_ff": F, "max_length": LENGTH}
    config = ModelConfig(**(sizes | {"dropout": dropout, "attention_dropout": dropout} | changes))
    torch.manual_seed(1)
    return Transformer(config, VOCAB, heads or [TOKEN_HEAD]).double().eval()


def documents(*lengths: int) -> list[Example]:
    """Random tokens; each second place is asked."""
    rng, made = np.random.default_rng(2), []
    for length in lengths:
        ids, asked = rng.integers(1, VOCAB, length), np.arange(0, length, 2)
        made.append(Example({"encoder": Stream(ids)}, {"tokens": Targets(asked, ids[asked])}))
    return made


def padded(*lengths: int, shapes: Shapes | None = None) -> Batch:
    return collate([[example] for example in documents(*lengths)], 0, shapes)


def hidden(model: Transformer, batch: Batch) -> torch.Tensor:
    return model.encoder(batch.streams["encoder"])


def with_embeddings(model: Transformer, batch: Batch, change) -> torch.Tensor:
    """Hidden states when `change` has replaced what the embeddings give."""
    handle = model.encoder.embeddings.register_forward_hook(lambda module, args, output: change(output))
    try:
        return hidden(model, batch)
    finally:
        handle.remove()


# -------------------------------------------------------------------------------------------------------- the heads


@pytest.mark.parametrize("norm, positions", KINDS)
def test_logits_at_asked_positions_equal_the_full_computation(norm, positions):
    """The head runs at N places only; there it says what it would say if it ran everywhere."""
    model, batch = make(norm=norm, positions=positions), padded(3, 11, 7)
    everywhere = model.heads["tokens"](hidden(model, batch).flatten(0, 1))
    logits = model(batch)["tokens"]
    assert logits.shape == (len(batch.targets["tokens"].flat_index), VOCAB) == (2 + 6 + 4, VOCAB)
    torch.testing.assert_close(logits, everywhere[batch.targets["tokens"].flat_index], atol=1e-12, rtol=0)
    seen = []
    model.heads["tokens"].output.register_forward_hook(lambda module, args, output: seen.append(output.shape[0]))
    model(batch)
    assert seen == [12]


def test_tied_weights_are_the_same_tensor_and_untied_are_not():
    """Tied only where configuration and head both say so; a step on one is then a step on the other."""
    token_weight = {}
    for tied, spec in ((True, TOKEN_HEAD), (False, TOKEN_HEAD), (True, TOKEN_HEAD._replace(tied=False))):
        model = make([spec], tied=tied)
        same = model.heads["tokens"].output.weight is model.encoder.embeddings.token.weight
        token_weight[tied, spec.tied] = same
    assert token_weight == {(True, True): True, (False, True): False, (True, False): False}


def test_a_head_is_tied_only_where_it_says_so():
    """Also where it has as many classes as there are tokens."""
    model = make([OutputSpec("tokens", VOCAB)])
    assert model(padded(3, 5))["tokens"].shape == (5, VOCAB)
    assert model.heads["tokens"].output.weight is not model.encoder.embeddings.token.weight


def test_several_heads_each_read_their_own_places():
    """Two heads asked at different places of the same batch."""
    ids = np.arange(1, 8)
    asked = {"a": Targets(np.array([1, 4]), np.array([1, 1])), "b": Targets(np.array([6]), np.array([2]))}
    batch = collate([[Example({"encoder": Stream(ids)}, asked)]], 0)
    model = make([OutputSpec("a", VOCAB, tied=True, transform="dense"), OutputSpec("b", 5, transform="pooler")])
    states = hidden(model, batch)[0]
    logits = model(batch)
    torch.testing.assert_close(logits["a"], model.heads["a"](states[[1, 4]]))
    torch.testing.assert_close(logits["b"], model.heads["b"](states[[6]]))


# ---------------------------------------------------------------------------------------------------- sizes, weights


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("transform", ["dense", "pooler", "none"])
def test_the_parameters_counted_by_hand(norm, positions, tied, transform):
    """Embeddings, blocks, the final norm of a pre-norm stack, the head; a shared tensor once."""
    embeddings = VOCAB * D + (LENGTH * D if positions == "learned" else 0)
    attention = D * 3 * D + 3 * D + D * D + D
    feed_forward = D * F + F + F * D + D
    blocks = LAYERS * (attention + feed_forward + 2 * 2 * D) + (2 * D if norm == "pre" else 0)
    head = VOCAB + (0 if tied else D * VOCAB) + {"dense": D * D + D + 2 * D, "pooler": D * D + D, "none": 0}[transform]
    model = make([TOKEN_HEAD._replace(transform=transform)], norm=norm, positions=positions, tied=tied)
    assert count_parameters(model) == embeddings + blocks + head


@pytest.mark.parametrize("n_heads, named", [(5, "3, 4, 6"), (8, "6, 12"), (100, "4, 6, 12")])
def test_heads_that_do_not_divide_the_width_name_those_that_do(n_heads, named):
    """The error says both numbers and fitting ones near the wrong one."""
    with pytest.raises(UsageError, match=rf"n_heads={n_heads} does not divide model.d_model=12\n.*{named}"):
        Transformer(ModelConfig(d_model=12, n_heads=n_heads), VOCAB, [TOKEN_HEAD])
    for fitting in (1, 2, 3, 4, 6, 12):
        check_sizes(ModelConfig(d_model=12, n_heads=fitting))


def test_the_first_logits_are_nearly_uniform():
    """Fresh weights know nothing: the loss begins near ln V, in both norms."""
    for norm, positions in KINDS:
        model, batch = make(norm=norm, positions=positions), padded(3, 11, 7)
        loss = torch.nn.functional.cross_entropy(model(batch)["tokens"], batch.targets["tokens"].values)
        assert abs(loss.item() - np.log(VOCAB)) < 0.3


def test_fresh_weights_have_the_scales_of_their_places():
    """1 / fan-in as variance; what writes to the residual stream is divided by sqrt(2 * n_layers); embeddings 0.02."""
    model = make(d_model=96, n_heads=3, d_ff=211, n_layers=5)
    for block in model.encoder.blocks:
        assert block.self_attention.query_key_value.weight.std().item() == pytest.approx(96**-0.5, rel=0.03)
        assert block.feed_forward.expand.weight.std().item() == pytest.approx(96**-0.5, rel=0.03)
        assert block.self_attention.output.weight.std().item() == pytest.approx(960**-0.5, rel=0.03)
        assert block.feed_forward.contract.weight.std().item() == pytest.approx(2110**-0.5, rel=0.03)
    assert model.heads["tokens"].output.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_every_weight_is_used():
    """Each parameter gets a gradient that is not zero."""
    for norm, positions in KINDS:
        model = make(norm=norm, positions=positions).train()
        model(padded(LENGTH, 11, 7))["tokens"].square().sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_embeddings_are_token_plus_place():
    """Tokens are scaled by sqrt(d_model) where the places are waves (section 3.4), not where they are learned."""
    for positions, scale in (("sinusoidal", D**0.5), ("learned", 1.0)):
        encoder = make(positions=positions).encoder
        ids, places = torch.tensor([[5, 7, 5]]), encoder.positions(torch.tensor([[0, 1, 0]]))
        embedded = encoder.embeddings(ids, places)
        expected = encoder.embeddings.token.weight[ids] * scale + places
        torch.testing.assert_close(embedded, expected, atol=1e-12, rtol=0)
        assert torch.equal(embedded[0, 0], embedded[0, 2])


# ---------------------------------------------------------------------------------------------------------- dropout


def test_output_dropout_is_on_what_the_heads_read_while_training():
    """Single features, as often as it says, behind the last norm; without it and in evaluation nothing falls."""
    batch = padded(*[11] * 60)
    model = make(output_dropout=0.4)
    whole = hidden(model, batch)
    torch.testing.assert_close(whole, hidden(make(), batch), atol=0, rtol=0)
    torch.manual_seed(1)
    dropped = hidden(model.train(), batch)
    fallen = dropped == 0
    torch.testing.assert_close(dropped[~fallen], whole[~fallen] / 0.6, atol=1e-4, rtol=1e-4)
    assert abs(fallen.double().mean().item() - 0.4) < 4 * (0.24 / fallen.numel()) ** 0.5


# ---------------------------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("norm, positions", KINDS)
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_poisoned_padding_changes_nothing(norm, positions, size):
    """Noise in the place of padding, small or huge, changes no real position; in one visible token it does."""
    model, batch = make(norm=norm, positions=positions), padded(3, 11, 7)
    real = batch.streams["encoder"].mask.key_mask
    before = hidden(model, batch)
    noise = torch.randn(before.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * size
    poisoned = with_embeddings(model, batch, lambda x: torch.where(real[..., None], x, noise))
    torch.testing.assert_close(poisoned[real], before[real], atol=1e-12, rtol=0)
    visible = torch.zeros_like(real)
    visible[1, 10] = True
    changed = with_embeddings(model, batch, lambda x: torch.where(visible[..., None], noise, x))
    others = [(1, i) for i in range(10)]
    assert all((changed[place] - before[place]).abs().max() > 1e-4 for place in others)
    assert torch.equal(changed[[0, 2]], before[[0, 2]])


def test_padding_needs_no_company():
    """A text in a batch of longer ones has the hidden states that it has alone."""
    model, together = make(), padded(3, 11, 7)
    for row, example in enumerate(documents(3, 11, 7)):
        alone = hidden(model, collate([[example]], 0))[0]
        torch.testing.assert_close(hidden(model, together)[row, : len(alone)], alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_nothing_but_padding_have_finite_gradients(norm, dtype):
    """Fixed shapes fill a short batch with such rows; with dropout too."""
    model = make(norm=norm, dropout=0.3).to(dtype).train()
    batch = padded(3, 11, shapes=Shapes(5, (13,), 0.1))
    assert not batch.streams["encoder"].mask.key_mask[2:].any()
    assert hidden(model, batch).isfinite().all()
    model(batch)["tokens"].float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


# ---------------------------------------------------------------------------------------------------------- packing


@pytest.mark.parametrize("norm, positions", KINDS)
def test_packed_documents_are_as_if_alone(norm, positions):
    """Three documents in one row, one in the next: the hidden states of each equal those it has alone."""
    model, (a, b, c, d) = make(norm=norm, positions=positions), documents(3, 7, 5, 11)
    packed = hidden(model, collate([[a, b, c], [d]], 0))
    for row, start, example in ((0, 0, a), (0, 3, b), (0, 10, c), (1, 0, d)):
        alone = hidden(model, collate([[example]], 0))[0]
        torch.testing.assert_close(packed[row, start : start + len(alone)], alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_no_gradient_from_one_document_to_another(norm):
    """Exactly zero between documents that share a row, and not zero within one, for every pair of places."""
    model, batch = make(norm=norm), collate([documents(3, 7, 5)], 0)
    document = batch.streams["encoder"].mask.query_documents[0]
    inputs: list[torch.Tensor] = []

    def leaf(x: torch.Tensor) -> torch.Tensor:
        inputs.append(x.detach().requires_grad_())
        return inputs[-1]

    states = with_embeddings(model, batch, leaf)[0]
    for place, state in enumerate(states):
        # a plain sum over a normalised state is constant, and its gradient would say nothing
        weights = torch.randn(D, generator=torch.Generator().manual_seed(place), dtype=torch.float64)
        [gradient] = torch.autograd.grad(state @ weights, inputs, retain_graph=True)
        assert torch.equal(gradient[0].abs().sum(-1) > 0, document == document[place])


def test_places_matter_and_restart():
    """Without places a Transformer sees a bag of words: swapping two tokens must change the others."""
    model, [example] = make(), documents(7)
    swapped = example._replace(streams={"encoder": Stream(example.streams["encoder"].values[[1, 0, 2, 3, 4, 5, 6]])})
    one, other = (hidden(model, collate([[e]], 0))[0, 2:] for e in (example, swapped))
    assert not torch.allclose(one, other, atol=1e-3)


# -------------------------------------------------------------------------------------------------------- precision


def test_float32_and_bfloat16_say_what_float64_says():
    """Within what their digits allow."""
    batch, exact = padded(3, 11, 7), make()(padded(3, 11, 7))["tokens"]
    torch.testing.assert_close(make().float()(batch)["tokens"].double(), exact, atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(make().float()(batch)["tokens"].double(), exact, atol=3e-2, rtol=3e-2)


def test_any_pattern_of_pairs_reaches_the_blocks():
    """A pair mask that lets each token see only itself makes its state independent of all others."""
    model, batch = make(), padded(7)
    stream = batch.streams["encoder"]
    alone = stream._replace(mask=AttentionMask.in_order(7, pair_mask=torch.eye(7, dtype=torch.bool)[None]))
    other = alone._replace(input_ids=stream.input_ids.clone())
    other.input_ids[0, 3] = 1 + other.input_ids[0, 3] % (VOCAB - 1)
    before, after = model.encoder(alone)[0], model.encoder(other)[0]
    same = (before == after).all(-1)
    assert same.tolist() == [True, True, True, False, True, True, True]
