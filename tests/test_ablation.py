"""A part taken out: the same as a model that never had it, in the named place only, and nothing left behind."""

from collections.abc import Callable

import pytest
import torch
from test_record import hooks
from torch import Tensor, nn

from glassformer.ablation import KINDS, Part, chosen_parts, part_in, parts_of, without
from glassformer.data.batch import Batch, Example, OutputSpec, Stream, Targets, collate
from glassformer.data.masks import across
from glassformer.errors import UsageError
from glassformer.model.config import ModelConfig
from glassformer.model.kinds import find_kind
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.layers import Block, LayerContext
from glassformer.model.stack import Stack
from glassformer.record import record

VOCABULARY = 23
SIZES = {"n_layers": 3, "d_model": 20, "n_heads": 5, "d_ff": 17, "max_length": 13, "dropout": 0.0}
FAMILIES = {
    "encoder": {"family": "encoder"},
    "decoder": {"family": "decoder", "positions": "alibi"},
    "encoder_decoder": {"family": "encoder_decoder", "n_decoder_layers": 2, "positions": "rotary"},
    "post": {"family": "encoder_decoder", "norm": "post", "embedding_norm": True, "positions": "sinusoidal"},
    "shared": {"family": "encoder", "share_layers": True},
    "grouped": {"family": "decoder", "n_kv_heads": 1, "activation": "swiglu", "bias": False, "positions": "relative"},
}


def model_of(**config: object) -> Transformer:
    """Small, in float64; biases and norms as if trained, so that a forgotten one shows."""
    settings = ModelConfig(**(SIZES | config))  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = Transformer(settings, VOCABULARY, [OutputSpec("words", VOCABULARY, tied=True)]).double().eval()
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                nn.init.normal_(parameter, 1.0, 0.5)
            elif "embeddings" in name or "positions" in name:
                nn.init.normal_(parameter)
    return model


def batch_for(model: Transformer, rows: int = 3, lengths: tuple[int, ...] = (7, 4, 5)) -> Batch:
    """Rows of different length; every token of the last stream is asked."""
    generator = torch.Generator().manual_seed(3)
    stacks = model.config.stacks

    def example(length: int) -> Example:
        ids = {name: torch.randint(VOCABULARY, (length,), generator=generator).numpy() for name in stacks}
        streams = {name: Stream(i, causal=name == "decoder") for name, i in ids.items()}
        return Example(streams, {"words": Targets(torch.arange(length).numpy(), ids[stacks[-1]], stacks[-1])})

    return collate([[example(lengths[n % len(lengths)])] for n in range(rows)], 0)


def repeated(model: Transformer, times: int) -> Batch:
    one = batch_for(model, 1)
    streams = {
        name: s._replace(input_ids=s.input_ids.expand(times, -1), positions=s.positions)
        for name, s in one.streams.items()
    }
    [(head, targets)] = one.targets.items()
    width = streams[targets.stream].input_ids.shape[1]
    rows = (torch.arange(times)[:, None] * width + targets.flat_index).flatten()
    return one._replace(streams=streams, targets={head: targets._replace(flat_index=rows)})


@pytest.fixture(params=FAMILIES)
def whole(request: pytest.FixtureRequest) -> Transformer:
    return model_of(**FAMILIES[request.param])


def logits_of(model: Transformer, batch: Batch) -> Tensor:
    with torch.no_grad():
        return model(batch)["words"]


# -------------------------------------------------------------------------------------- a model written without it


def by_hand(model: Transformer, batch: Batch, part: Part) -> Tensor:
    """The logits of a model in which the part was never written down: a loop over the layers, in which each sublayer
    is called by itself, and the removed one is not."""
    memory, hidden, mask = None, None, None
    for name, stack in zip(model.config.stacks, model.stacks, strict=True):
        stream = batch.streams[name]
        if memory is not None:
            mask = across(stream.mask, batch.streams["encoder"].mask)
        hidden = stack_by_hand(stack, name, stream, memory, mask, part)
        memory = hidden
    return model.heads["words"](hidden.flatten(0, 1).index_select(0, batch.targets["words"].flat_index))


def stack_by_hand(stack: Stack, name: str, stream, memory, mask, part: Part) -> Tensor:
    own = stack.positions
    there = part.place != f"{name}.positions"
    x = stack.embeddings(stream.input_ids, own(stream.positions) if there else None)
    around = LayerContext(
        stream.mask,
        own.rotation(stream.positions) if there else None,
        own.bias(stream.positions, stream.positions) if there else None,
        memory=memory,
        memory_mask=mask or stream.mask,
    )
    for number, block in enumerate(stack.blocks):
        place = f"{name}.blocks.{number}"
        if part.place != place:
            x = block_by_hand(block, place, x, around, part)
    return stack.norm(x)


def block_by_hand(block: Block, place: str, x: Tensor, around: LayerContext, part: Part) -> Tensor:
    for which in ("self_attention", "cross_attention", "feed_forward"):
        sublayer = getattr(block, which)
        if sublayer is None:
            continue
        norm = getattr(block, which.replace("self_", "") + "_norm")
        more = () if which == "feed_forward" else (around,)
        if part == Part(f"{place}.{which}"):
            x = x if block.pre_norm else norm(x)
        elif part.place == f"{place}.{which}":
            narrower = headless(sublayer.output, part.head, sublayer.d_head)
            kept, sublayer.output = sublayer.output, narrower
            x = block.residual(x, norm, sublayer, *more)
            sublayer.output = kept
        else:
            x = block.residual(x, norm, sublayer, *more)
    return x


def headless(output: nn.Linear, head: int, width: int) -> Callable[[Tensor], Tensor]:
    """The output projection with the head's columns at zero."""
    narrower = nn.Linear(output.in_features, output.out_features, bias=output.bias is not None).double()
    narrower.load_state_dict(output.state_dict())
    with torch.no_grad():
        narrower.weight[:, head * width : (head + 1) * width] = 0
    return narrower


@torch.no_grad()
def test_without_a_part_it_is_a_model_that_never_had_it(whole: Transformer) -> None:
    """Every part of every family, of padded rows; each changes something, and afterwards nothing has changed."""
    batch = batch_for(whole)
    before = logits_of(whole, batch)
    nothing = Part("nowhere")
    torch.testing.assert_close(by_hand(whole, batch, nothing), before, atol=1e-12, rtol=1e-12)
    for part in parts_of(whole):
        with without(whole, part):
            found = logits_of(whole, batch)
        torch.testing.assert_close(found, by_hand(whole, batch, part), atol=1e-12, rtol=1e-12)
        assert (found - before).abs().max() > 1e-3, part
        assert torch.equal(logits_of(whole, batch), before)


def test_one_forward_pass_computes_many_ablations(whole: Transformer) -> None:
    """Row n without its own part is that part taken out alone; a row without any is whole."""
    parts = [None, *parts_of(whole, ("heads", "attention", "feed-forward", "layers")), None]
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        model = whole.to(dtype)
        batch = repeated(model, len(parts))
        with without(model, parts):
            rows = logits_of(model, batch).view(len(parts), -1, VOCABULARY)
        for row, part in zip(rows, parts, strict=True):
            alone = logits_of(model, repeated(model, 1))
            if part is not None:
                with without(model, part):
                    alone = logits_of(model, repeated(model, 1))
            assert (row - alone).abs().max() <= tolerance * alone.abs().max(), part


def test_a_shared_layer_is_taken_out_at_one_place() -> None:
    """The first, second and third passage through one block differ, and the others stay."""
    model = model_of(**FAMILIES["shared"])
    batch, found = batch_for(model), []
    for number in range(3):
        with without(model, Part(f"encoder.blocks.{number}.feed_forward")), record(model, "encoder.blocks.?") as tape:
            found.append(logits_of(model, batch))
            logits_of(model, batch)  # the turns begin anew
            assert torch.equal(logits_of(model, batch), found[-1])
        with record(model, "encoder.blocks.?") as plain:
            logits_of(model, batch)
        same = [torch.equal(tape[f"encoder.blocks.{n}"], plain[f"encoder.blocks.{n}"]) for n in range(3)]
        assert same == [n < number for n in range(3)]
    assert all((a - b).abs().max() > 1e-3 for a, b in ((found[0], found[1]), (found[1], found[2])))


def test_blocks_add_up(whole: Transformer) -> None:
    """All heads of a layer, one block inside the other, are the attention but for the bias of its output."""
    stack = whole.config.stacks[-1]
    batch, place = batch_for(whole), f"{stack}.blocks.1.self_attention"
    with without(whole, Part(place, 0)):
        one = logits_of(whole, batch)
        with without(whole, Part(place, 1)):
            both = logits_of(whole, batch)
        assert torch.equal(logits_of(whole, batch), one)
    assert not torch.allclose(one, both)
    output = whole.get_submodule(place).output
    if output.bias is None:
        return
    with torch.no_grad():
        output.bias.zero_()
    with (
        torch.no_grad(),
        without(whole, Part(place, 0)),
        without(whole, Part(place, 1)),
        without(whole, Part(place, 2)),
    ):
        with without(whole, Part(place, 3)), without(whole, Part(place, 4)):
            heads = logits_of(whole, batch)
        with without(whole, Part(place)):
            torch.testing.assert_close(heads, logits_of(whole, batch))


# ---------------------------------------------------------------------------------------------- nothing left behind


@pytest.mark.parametrize("kind", KINDS)
def test_after_an_error_nothing_is_left(kind) -> None:
    model = model_of(**FAMILIES["post"])
    part = parts_of(model, (kind,))[-1]
    modules = dict(model.named_modules())
    with pytest.raises(ZeroDivisionError), without(model, part):
        assert hooks(model) == (kind != "positions")
        raise ZeroDivisionError
    assert hooks(model) == 0 and dict(model.named_modules()) == modules
    with pytest.raises(UsageError), without(model, [None, Part("encoder.bloks.1")]):
        pass
    assert hooks(model) == 0


def test_gradients_pass_a_part_that_is_not_there() -> None:
    """The removed part gets none, the others do."""
    model = model_of(**FAMILIES["encoder"])
    with without(model, Part("encoder.blocks.1.feed_forward")):
        model(batch_for(model))["words"].square().sum().backward()
    block = model.encoder.blocks[1]
    assert not block.feed_forward.contract.weight.grad.any()
    assert (
        block.self_attention.output.weight.grad.any()
        and model.encoder.blocks[2].feed_forward.contract.weight.grad.any()
    )


# --------------------------------------------------------------------------------------------------------- names


def test_parts_are_listed_in_order_and_read_back(whole: Transformer) -> None:
    every = parts_of(whole)
    assert [part_in(whole, str(part)) for part in every] == every
    layers = [3, 0] if len(whole.config.stacks) == 1 else [3, whole.config.layers_of("decoder")]
    attentions = layers[0] + 2 * layers[1]
    counts = {kind: len(parts_of(whole, (kind,))) for kind in KINDS}
    expected = {"heads": 5 * attentions, "attention": attentions, "feed-forward": sum(layers), "layers": sum(layers)}
    assert counts == expected | {"positions": len(whole.config.stacks)}
    assert str(Part("encoder.blocks.1.self_attention", 2)) == "encoder.blocks.1.self_attention:2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encoder.blocks.3.feed_forward", "there is no layer encoder.blocks.3\nencoder has encoder.blocks.0 to 2"),
        ("decoder.blocks.2", "there is no layer decoder.blocks.2\ndecoder has decoder.blocks.0 to 1"),
        ("encoder.blocks.1.self_atention", "no part .*\ndid you mean 'encoder.blocks.1.self_attention'"),
        ("encoder.blocks.1.cross_attention", "no part .*\ndid you mean"),
        ("encoder.blocks.1.self_attention:5", "has no head '5'\nits heads are 0 to 4"),
        ("encoder.blocks.1.self_attention:", "has no head ''\nits heads are 0 to 4"),
        ("encoder.blocks.1.self_attention:-1", "has no head '-1'"),
        ("encoder.blocks.1:0", "encoder.blocks.1 has no heads\n"),
        ("", "no part ''"),
    ],
)
def test_a_part_that_there_is_not(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        part_in(model_of(**FAMILIES["encoder_decoder"]), text)


def test_a_model_without_positions_has_none_to_lose() -> None:
    model = model_of(family="encoder", positions="none")
    assert parts_of(model, ("positions",)) == []
    with pytest.raises(UsageError, match="no part"):
        part_in(model, "encoder.positions")


@pytest.mark.parametrize(("kind", "has"), [("pytorch", "layers, positions"), ("lstm", "layers")])
@torch.no_grad()
def test_of_other_kinds_what_they_name_can_be_taken_out(kind: str, has: str) -> None:
    """A layer that is not there is one that gives back what it was given; what cannot be taken out is said."""
    config = ModelConfig(**{"family": "encoder", "kind": kind, **SIZES})
    model = find_kind(kind)(config, VOCABULARY, [OutputSpec("words", VOCABULARY)]).double().eval()
    batch = batch_for(model)  # type: ignore[arg-type]
    blocks = model.parts["encoder"].blocks
    found = parts_of(model)
    assert [part for part in found if part.place in blocks] == parts_of(model, ("layers",)) == list(map(Part, blocks))
    assert len(found) == len(blocks) + (kind == "pytorch")
    whole = logits_of(model, batch)
    for part, place in zip(parts_of(model, ("layers",)), blocks, strict=True):
        with without(model, part), record(model, model.parts["encoder"].embeddings, *blocks) as tape:
            changed = logits_of(model, batch)
        before = blocks[blocks.index(place) - 1] if place != blocks[0] else model.parts["encoder"].embeddings
        real = batch.streams["encoder"].mask.key_mask
        assert torch.equal(tape[place][real], tape[before][real])
        assert (changed - whole).abs().max() > 1e-4
    torch.testing.assert_close(logits_of(model, batch), whole, atol=1e-12, rtol=0)
    with pytest.raises(UsageError, match=f"no heads that can be taken out\nwhat can: .*{has.split(', ')[0]}"):
        chosen_parts(model, "heads")
    with pytest.raises(UsageError, match=r"there is no layer .*\.3\nencoder has .*\.0 to 2"):
        part_in(model, blocks[0].removesuffix("0") + "3")


def test_what_single_rows_cannot_do() -> None:
    model = model_of(**FAMILIES["encoder"])
    with pytest.raises(UsageError, match="belongs to all rows"), without(model, [None, Part("encoder.positions")]):
        pass
    with (
        pytest.raises(UsageError, match="a batch of 3 rows, and 2 parts"),
        without(model, [None, Part("encoder.blocks.0")]),
    ):
        model(batch_for(model))
    assert hooks(model) == 0
