"""Decoders and encoder-decoders: nothing is seen too early, everything is seen that may be, and what is kept from token
to token changes nothing."""

import itertools

import numpy as np
import pytest
import torch
from lightning_fabric.utilities import move_data_to_device
from torch import nn

from glassformer.data.batch import Batch, Example, OutputSpec, Stream, Targets, collate
from glassformer.decoding.written_out import written_out
from glassformer.errors import UsageError
from glassformer.model.config import ModelConfig, check_sizes
from glassformer.model.decoding_state import DecodingState
from glassformer.model.kinds.pytorch import TorchTransformer, from_glassformer
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.positions import POSITIONS
from glassformer.model.size import count_parameters

VOCAB, H, D, F, LENGTH, LAYERS = 23, 2, 12, 13, 17, 2
HEAD = OutputSpec("tokens", VOCAB, tied=True, bias=False)
FAMILIES = ("decoder", "encoder_decoder")


def make(family: str, **changes) -> Transformer:
    """Every weight random, in double and in evaluation mode."""
    sizes = {"n_layers": LAYERS, "d_model": D, "n_heads": H, "d_ff": F, "max_length": LENGTH, "dropout": 0.0}
    config = ModelConfig(**(sizes | {"family": family} | changes))
    torch.manual_seed(1)
    model = Transformer(config, VOCAB, [HEAD]).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def examples(family: str, *lengths: int, seed: int = 2) -> list[Example]:
    """Random tokens, asked everywhere in the decoder; sources are two tokens longer than targets."""
    rng, made = np.random.default_rng(seed), []
    for length in lengths:
        ids, places = rng.integers(1, VOCAB, length), np.arange(length)
        streams = {"decoder": Stream(ids, causal=True)}
        if family == "encoder_decoder":
            streams = {"encoder": Stream(rng.integers(1, VOCAB, length + 2)), **streams}
        made.append(Example(streams, {"tokens": Targets(places, ids, "decoder")}))
    return made


def padded(family: str, *lengths: int) -> Batch:
    return collate([[example] for example in examples(family, *lengths)], 0)


def gradient_map(model: Transformer, batch: Batch, source: str, target: str) -> torch.Tensor:
    """queries x keys: the gradient of each hidden state of `target` with respect to each embedding of `source`."""
    inputs: list[torch.Tensor] = []

    def leaf(module, args, output):
        inputs.append(output.detach().requires_grad_())
        return inputs[-1]

    handle = model.get_submodule(source).embeddings.register_forward_hook(leaf)
    states = model.hidden(batch)[target][0]
    handle.remove()
    rows = []
    for place, state in enumerate(states):
        # a plain sum over a normalised state is constant, and its gradient would say nothing
        weights = torch.randn(D, generator=torch.Generator().manual_seed(place), dtype=torch.float64)
        [gradient] = torch.autograd.grad(state @ weights, inputs, retain_graph=True)
        rows.append(gradient[0].abs().sum(-1))
    return torch.stack(rows)


# -------------------------------------------------------------------------------------------------------- causality


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", POSITIONS)
def test_a_token_depends_on_itself_and_what_stands_before_it(family, positions):
    """By gradients: exactly zero after, not zero before and at, for every pair of places."""
    seen = gradient_map(make(family, positions=positions), padded(family, 7), "decoder", "decoder")
    assert torch.equal(seen > 0, torch.ones(7, 7, dtype=torch.bool).tril())


def test_every_target_token_depends_on_the_whole_source():
    """Cross-attention has no order, and the encoder sees both ways."""
    model, batch = make("encoder_decoder"), padded("encoder_decoder", 5)
    assert (gradient_map(model, batch, "encoder", "decoder") > 0).all()
    assert (gradient_map(model, batch, "encoder", "encoder") > 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_documents_see_only_themselves(family):
    """Exactly zero from one document to another, in self- and in cross-attention; within one as if it were alone."""
    model = make(family)
    together = collate([examples(family, 3, 7, 5)], 0)
    document = torch.tensor([0] * 3 + [1] * 7 + [2] * 5)
    own = document[:, None] == document[None, :]
    seen = gradient_map(model, together, "decoder", "decoder")
    assert torch.equal(seen > 0, own & torch.ones(15, 15, dtype=torch.bool).tril())
    if family == "encoder_decoder":
        source = torch.tensor([0] * 5 + [1] * 9 + [2] * 7)
        assert torch.equal(
            gradient_map(model, together, "encoder", "decoder") > 0, document[:, None] == source[None, :]
        )
    for start, example in zip((0, 3, 10), examples(family, 3, 7, 5), strict=True):
        alone = model.hidden(collate([[example]], 0))["decoder"][0]
        packed = model.hidden(together)["decoder"][0, start : start + len(alone)]
        torch.testing.assert_close(packed, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_poisoned_padding_changes_nothing(family):
    """Noise in the place of padding of source and target changes no real position."""
    model, batch = make(family), padded(family, 3, 11, 7)
    before = model.hidden(batch)["decoder"]
    real = batch.streams["decoder"].input_ids != 0

    def poison(module, args, output):
        noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 1e3
        return torch.where((args[0] != 0)[..., None], output, noise)

    for stack in model.stacks:
        stack.embeddings.register_forward_hook(poison)
    after = model.hidden(batch)["decoder"]
    torch.testing.assert_close(after[real], before[real], atol=1e-12, rtol=0)
    assert not torch.allclose(after[~real], before[~real])


# ------------------------------------------------------------------------------------------- against PyTorch's own


@pytest.mark.parametrize("norm, activation", list(itertools.product(["pre", "post"], ["relu", "gelu"])))
@pytest.mark.parametrize("family", FAMILIES)
def test_equal_weights_as_pytorchs_transformer_give_equal_logits(family, norm, activation):
    """nn.TransformerDecoder behind nn.TransformerEncoder, and a causal nn.TransformerEncoder, with copied weights."""
    ours = make(family, norm=norm, activation=activation, positions="sinusoidal", n_decoder_layers=3)
    theirs = TorchTransformer(ours.config, VOCAB, [HEAD]).double().eval()
    theirs.load_state_dict(from_glassformer(ours.state_dict()))
    for batch in (padded(family, 3, 11, 7), padded(family, 5, 5)):
        a, b = ours(batch)["tokens"], theirs(batch)["tokens"]
        assert a.std() > 0.1
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


# ------------------------------------------------------------------------------------------------- token by token


PARTS = [
    {},
    {"norm": "post", "activation": "relu", "embedding_norm": True},
    {"norm_kind": "rms", "activation": "swiglu", "bias": False, "n_kv_heads": 1},
    {"share_layers": True, "d_embedding": 5, "activation": "geglu", "segments": 2},
]


def step_by_step(model: Transformer, batch: Batch, cuts: list[int], quick: bool) -> list[torch.Tensor]:
    """Logits after each piece of the decoder's stream, the pieces ending at `cuts`; those of one token, after the
    first piece, are `quick` ones."""
    stream = batch.streams["decoder"]
    lengths = (stream.input_ids != 0).sum(1)
    state = model.new_state(batch, stream.input_ids.shape[1])
    one_token = written_out(model, "tokens")
    found, start = [], 0
    for end in cuts:
        ids = stream.input_ids[:, start:end]
        if quick and start and end - start == 1:
            found.append(one_token(ids, state))
        else:
            real = torch.arange(start, end)[None] < lengths[:, None]
            found.append(model.step(ids, real, state, "tokens"))
        start = end
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "-".join(map(str, parts)) or "plain")
@pytest.mark.parametrize("quick", [False, True])
def test_what_is_kept_changes_nothing(family, positions, parts, quick):
    """One token at a time, in pieces, and all at once: the same logits as one pass over the whole text, in double;
    by the modules, and by the step that generation writes out."""
    model = make(family, **({"positions": positions} | parts))
    batch = padded(family, 11, 11)
    whole = model(batch)["tokens"].view(2, 11, VOCAB)
    for cuts in ([*range(1, 12)], [4, 5, 9, 11], [11]):
        for end, logits in zip(cuts, step_by_step(model, batch, cuts, quick), strict=True):
            torch.testing.assert_close(logits, whole[:, end - 1], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("apart", [False, True])
def test_prompts_of_different_length_go_on_together(family, positions, apart):
    """A short row, padded, then fed with others: at each token the logits that it has alone. The same where the rows
    have begun apart and are joined."""
    model = make(family, positions=positions)
    batch = padded(family, 3, 7, 5)
    more = torch.randint(1, VOCAB, (3, 6), generator=torch.Generator().manual_seed(4))
    ids = batch.streams["decoder"].input_ids
    state = model.new_state(batch, 13)
    logits = [model.step(ids, ids != 0, state, "tokens")]
    if apart:
        rows = [[0, 2], [1]]
        alone = [collate([[examples(family, 3, 7, 5)[row]] for row in some], 0) for some in rows]
        starts = [each.streams["decoder"].input_ids for each in alone]
        states = [model.new_state(each, start.shape[1]) for each, start in zip(alone, starts, strict=True)]
        begun = [model.step(s, s != 0, each, "tokens") for s, each in zip(starts, states, strict=True)]
        torch.testing.assert_close(torch.cat(begun), logits[0][[0, 2, 1]], atol=1e-10, rtol=1e-10)
        state = DecodingState.concat(states, rows, 13)
    logits += [model.step(more[:, [n]], torch.ones(3, 1, dtype=torch.bool), state, "tokens") for n in range(6)]
    for row, example in enumerate(examples(family, 3, 7, 5)):
        grown = np.concatenate([example.streams["decoder"].values, more[row].numpy()])
        streams = example.streams | {"decoder": Stream(grown, causal=True)}
        places = np.arange(len(grown))
        alone = model(collate([[Example(streams, {"tokens": Targets(places, grown, "decoder")})]], 0))["tokens"]
        torch.testing.assert_close(torch.stack(logits)[:, row], alone[-7:], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("pieces", [[2, 5, 7], [1, 2, 7], [3, 7]])
def test_padded_prompts_in_pieces(family, positions, pieces):
    """Rows of different length, read a piece at a time, with padding inside a piece: the same as in one piece, at each
    token of the text that goes on."""
    model, batch = make(family, positions=positions), padded(family, 3, 7, 5)
    more = torch.randint(1, VOCAB, (3, 5), generator=torch.Generator().manual_seed(4))
    ids = batch.streams["decoder"].input_ids
    real = ids != 0
    aligned = torch.zeros_like(ids)
    for row, length in enumerate(real.sum(1).tolist()):  # padding in front of a row's last token
        aligned[row, : length - 1], aligned[row, -1] = ids[row, : length - 1], ids[row, length - 1]
    whole, cut = model.new_state(batch, 12), model.new_state(batch, 12)
    expected = [model.step(ids, real, whole, "tokens")]
    start = 0
    for end in pieces:
        found = [model.step(aligned[:, start:end], aligned[:, start:end] != 0, cut, "tokens")]
        start = end
    one = torch.ones(3, 1, dtype=torch.bool)
    for n in range(5):
        expected.append(model.step(more[:, [n]], one, whole, "tokens"))
        found.append(model.step(more[:, [n]], one, cut, "tokens"))
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_leave_and_are_doubled(family):
    """After reorder each row goes on as the one that it was taken from."""
    model, batch = make(family), padded(family, 7, 5, 3)
    ids = batch.streams["decoder"].input_ids
    state, other = model.new_state(batch, 9), model.new_state(batch, 9)
    for each in (state, other):
        model.step(ids, ids != 0, each, "tokens")
    state.reorder(torch.tensor([2, 0, 0]))
    real = torch.ones(3, 1, dtype=torch.bool)
    picked = model.step(torch.tensor([[5], [6], [7]]), real, state, "tokens")
    expected = model.step(torch.tensor([[6], [1], [5]]), real, other, "tokens")
    torch.testing.assert_close(picked[:2], expected[[2, 0]], atol=1e-12, rtol=0)
    assert not torch.allclose(picked[1], picked[2])


def test_rows_that_change_places_again_and_again():
    """As beams do: rows double, change places within their prompt, a prompt leaves, a row stays as it is. What is kept
    is always what a plain copy of all would be, also where a block holds something older."""
    torch.manual_seed(3)
    model, batch = make("decoder"), padded("decoder", 7, 5, 3)
    ids = batch.streams["decoder"].input_ids
    state = model.new_state(batch, 40)
    model.step(ids, ids != 0, state, "tokens")
    wanted = [(layer.own.keys[:, :, :7].clone(), layer.own.values[:, :, :7].clone()) for layer in state.layers]
    moves = "001122 102255 003244 012345 112355 1045 1123 0132 3201 1033 10 000 201 112"
    for move in moves.split():
        rows = torch.tensor([*map(int, move)])
        state.reorder(rows, shared_prefix=7)  # the prompts
        model.step(torch.randint(1, VOCAB, (len(rows), 1)), torch.ones(len(rows), 1, dtype=torch.bool), state, "tokens")
        for layer, (keys, values) in zip(state.layers, wanted, strict=True):
            kept, length = layer.own, layer.own.length
            assert torch.equal(kept.keys[:, :, : length - 1], keys[rows])
            assert torch.equal(kept.values[:, :, : length - 1], values[rows])
        wanted = [(x.own.keys[:, :, :length].clone(), x.own.values[:, :, :length].clone()) for x in state.layers]


# ------------------------------------------------------------------------------------------------- sizes and parts


def test_parameters_of_the_parts_counted_by_hand():
    """Grouped queries, gates, no biases, RMSNorm, shared layers, narrow embeddings, segments."""
    kv = 6
    attention = D * (D + 2 * kv) + D * D
    feed_forward = D * 2 * F + F * D
    model = make("decoder", positions="rotary", **PARTS[2])
    assert count_parameters(model) == VOCAB * D + LAYERS * (attention + feed_forward + 2 * D) + D
    model = make("decoder", **PARTS[3])
    block = D * 3 * D + 3 * D + D * D + D + D * 2 * F + 2 * F + F * D + D + 4 * D
    embeddings = VOCAB * 5 + 5 * D + D + 2 * D + LENGTH * D
    head = D * 5
    assert count_parameters(model) == embeddings + block + 2 * D + head
    assert model.decoder.blocks[0] is model.decoder.blocks[1]


def test_embeddings_are_shared_where_vocabularies_are_and_that_is_asked_for():
    """One table for encoder, decoder and head, or each its own."""
    separate = [{"encoder": size, "decoder": VOCAB} for size in (19, VOCAB)]
    for shared, sizes in itertools.product([True, False], [VOCAB, *separate]):
        config = ModelConfig(family="encoder_decoder", d_model=D, n_heads=H, d_ff=F, shared_embeddings=shared)
        model = Transformer(config, sizes, [HEAD])
        tables = [stack.embeddings.token for stack in model.stacks]
        assert (tables[0] is tables[1]) == (shared and sizes == VOCAB)
        assert model.heads["tokens"].output.weight is tables[1].weight


def test_one_body_reads_either_stream():
    """The same weights, looking both ways or only back, as the batch says."""
    model = make("decoder")
    ids = np.arange(1, 8)
    for name, causal in (("encoder", False), ("decoder", True)):
        batch = collate([[Example({name: Stream(ids, causal=causal)}, {"tokens": Targets(ids - 1, ids, name)})]], 0)
        seen = gradient_map(model, batch, "decoder", name)
        assert torch.equal(seen > 0, torch.ones(7, 7, dtype=torch.bool).tril(0 if causal else 7))


def test_a_query_stream_asks_and_is_not_seen():
    """Words in the order 0, 2, 1, 3, of which the last two are asked at their places: each word sees those before it in
    that order and itself, each query only those before; nothing sees a query but itself, through the residual stream.
    """
    model = make("encoder")
    ids, places = np.array([3, 5, 7, 11, 2, 2]), np.array([0, 1, 2, 3, 1, 3])
    before = {0: [0], 1: [0, 1, 2], 2: [0, 2], 3: [0, 1, 2, 3], 4: [0, 2], 5: [0, 1, 2]}
    pairs = np.array([[key in before[query] for key in range(4)] for query in range(6)])
    stream = Stream(ids, positions=places, n_query_only=2, pair_mask=pairs)
    targets = Targets(np.array([4, 5]), ids[[1, 3]])
    batch = collate([[Example({"encoder": stream}, {"tokens": targets})]], 0)
    seen = gradient_map(model, batch, "encoder", "encoder") > 0
    itself = torch.eye(6, dtype=torch.bool)
    assert torch.equal(seen, torch.tensor(np.pad(pairs, ((0, 0), (0, 2)))) | itself)
    longer = collate([[Example({"encoder": stream}, {"tokens": targets})], [*examples_with_queries()]], 0)
    torch.testing.assert_close(model(longer)["tokens"][:2], model(batch)["tokens"], atol=1e-12, rtol=0)


def examples_with_queries() -> list[Example]:
    """A row of two examples with queries."""
    made = []
    for length in (3, 4):
        ids = np.arange(1, length + 2)
        stream = Stream(
            ids,
            positions=np.append(np.arange(length), 0),
            n_query_only=1,
            pair_mask=np.ones((length + 1, length), dtype=bool),
        )
        made.append(Example({"encoder": stream}, {"tokens": Targets(np.array([length]), ids[:1])}))
    return made


def test_sizes_that_do_not_fit_name_those_that_do():
    """Shared keys and values, and pairs of features to turn."""
    with pytest.raises(UsageError, match=r"n_kv_heads=4 does not divide model.n_heads=6\n.*2, 3, 6"):
        check_sizes(ModelConfig(d_model=12, n_heads=6, n_kv_heads=4))
    with pytest.raises(UsageError, match=r"pairs of features, and a head has 3"):
        check_sizes(ModelConfig(d_model=12, n_heads=4, positions="rotary"))


# ------------------------------------------------------------------------------------------------------ other devices


@pytest.mark.parametrize("positions", POSITIONS)
def test_everything_is_computed_where_the_weights_are(positions):
    """On torch's device without numbers, forwards and backwards: as a GPU it refuses tensors of the processor's."""
    batch = move_data_to_device(padded("encoder_decoder", 9, 5), "meta")
    model = make("encoder_decoder", positions=positions).train().to("meta")
    logits = model(batch)["tokens"]
    logits.sum().backward()
    assert logits.device.type == "meta" and all(p.grad.device.type == "meta" for p in model.parameters())
    model.stacks[-1].norm.register_forward_hook(lambda module, args, output: output + torch.ones(D))
    with pytest.raises(RuntimeError, match="not on the expected device"):
        model(batch)
