"""The recorder: it sees what happened, changes nothing, and leaves nothing behind."""

import pytest
import torch
from torch import nn

from glassformer.data.batch import Batch
from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError
from glassformer.model.attention import Shape
from glassformer.model.attention.full import FullAttention
from glassformer.model.attention_config import MechanismConfig
from glassformer.model.config import ModelConfig
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.layers import LayerContext, MultiHeadAttention
from glassformer.record import RecordedAttention, attention_places, record

FIRST, SECOND = "encoder.blocks.0.self_attention", "encoder.blocks.1.self_attention"


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


# ---------------------------------------------------------------------------------------------------- nothing changes


def test_recording_changes_nothing(model: Transformer, batch: Batch):
    """Logits and gradients are the same, bit for bit, with everything recorded and with nothing."""

    def run() -> list[torch.Tensor]:
        logits = model(batch)
        model.zero_grad()
        logits["masked_lm"].square().sum().backward()
        return [logits["masked_lm"].detach(), *(p.grad.clone() for p in model.parameters())]

    plain = run()
    with record(model, "*"):
        recorded = run()
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))


def test_the_hooks_are_gone_after_the_block(model, batch):
    """Also after an error inside it, and when a pattern fits nothing; and they were there within."""
    with record(model):
        assert hooks(model) == 2
    assert hooks(model) == 0
    with pytest.raises(ZeroDivisionError), record(model, "*"):
        assert hooks(model) > 2
        raise ZeroDivisionError
    assert hooks(model) == 0
    with pytest.raises(UsageError), record(model, FIRST, "encoder.bloks.*"):
        pass
    assert hooks(model) == 0


def test_the_tape_is_a_copy(model, batch):
    """What is changed in place afterwards (a cache, an accumulated state) is not changed on the tape."""
    with record(model, FIRST, "encoder.norm") as tape:
        model(batch)
    before, output = tape[FIRST].weights(), tape["encoder.norm"].clone()
    with torch.no_grad():
        batch.streams["encoder"].mask.key_mask.fill_(False)
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(tape[FIRST].weights(), before) and before.any()
    assert torch.equal(tape["encoder.norm"], output) and not output.requires_grad


# ------------------------------------------------------------------------------------------------------ what it sees


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_recorded_weights_times_values_are_the_recorded_context(model, batch, dtype, tolerance):
    """For each layer, in the precision that the model ran in; rows sum to one, padding has nothing."""
    with record(model.to(dtype)) as tape:
        model(batch)
    for place in attention_places(model):
        one = tape[place]
        assert one.context.std() > 0
        torch.testing.assert_close(one.weights() @ one.v, one.context, atol=tolerance, rtol=tolerance)
        assert not one.weights()[
            ~batch.streams["encoder"].mask.key_mask[:, None, None, :].expand_as(one.weights())
        ].any()


def test_in_bfloat16_the_weights_are_made_of_what_the_model_saw(model, batch):
    """Queries and keys as they were rounded, weights to full precision."""
    with record(model) as tape, torch.autocast("cpu", torch.bfloat16):
        model(batch)
    one = tape[FIRST]
    assert one.q.dtype == torch.bfloat16 and one.weights().dtype == torch.float32
    torch.testing.assert_close(one.weights() @ one.v.float(), one.context.float(), atol=2e-2, rtol=2e-2)


def test_chosen_heads_and_rows_are_a_slice_of_all():
    """With padding, documents, pairs and a bias of either kind: the weights of a choice are that part of all."""
    b, h, t, e = 2, 5, 7, 3
    g = torch.Generator().manual_seed(1)
    documents = torch.randint(2, (b, t), generator=g)
    pairs = torch.rand(b, t, t, generator=g) < 0.8
    mask = AttentionMask.in_order(
        t,
        key_mask=torch.rand(b, t, generator=g) < 0.8,
        query_documents=documents,
        key_documents=documents,
        pair_mask=pairs,
    )
    q, k, v = torch.randn(3, b, h, t, e, generator=g)
    mechanism = FullAttention(MechanismConfig(name="full"), Shape(e))
    for bias in (None, torch.randn(1, h, t, t, generator=g), torch.randn(b, 1, t, t, generator=g)):
        one = RecordedAttention(mechanism, q, k, v, mask, bias, mechanism(q, k, v, mask, bias))
        everything = one.weights()
        assert everything.shape == (b, h, t, t)
        assert torch.equal(one.weights(heads=[3, 0]), everything[:, [3, 0]])
        assert torch.equal(one.weights(rows=[6, 2, 4]), everything[:, :, [6, 2, 4]])
        assert torch.equal(one.weights(heads=[1], rows=[5]), everything[:, [1]][:, :, [5]])
        torch.testing.assert_close(everything @ v, one.context)


def test_outputs_are_recorded_at_other_places(model, batch):
    """The residual stream after each block, and what the whole model says."""
    with record(model, "encoder.blocks.?", "encoder", "") as tape:
        logits = model(batch)
    assert tape.places == ["", "encoder", "encoder.blocks.0", "encoder.blocks.1"]
    torch.testing.assert_close(model.encoder.norm(tape["encoder.blocks.1"]), tape["encoder"])
    around = LayerContext(batch.streams["encoder"].mask)
    torch.testing.assert_close(model.encoder.blocks[1](tape["encoder.blocks.0"], around), tape["encoder.blocks.1"])
    assert torch.equal(tape[""]["masked_lm"], logits["masked_lm"])


def test_everything_that_a_star_names_can_be_asked(model, batch):
    """Each place on the tape that the model calls answers, the mechanism inside an attention layer too."""
    with record(model, "*") as tape:
        model(batch)
    called = [
        place for place in tape.places if not isinstance(model.get_submodule(place), nn.ModuleList | nn.ModuleDict)
    ]
    assert f"{FIRST}.mechanism" in called
    for place in called:
        assert tape[place] is not None
    assert torch.equal(tape[f"{FIRST}.mechanism"].weights(), tape[FIRST].weights())


def test_the_last_run_is_on_the_tape(model, batch, objective):
    """A second call inside the block replaces the first."""
    other = batch._replace(
        streams={"encoder": batch.streams["encoder"]._replace(input_ids=batch.streams["encoder"].input_ids.flip(0))}
    )
    with record(model, FIRST) as tape:
        model(batch)
        first = tape[FIRST].q
        model(other)
    assert not torch.equal(tape[FIRST].q, first)


# -------------------------------------------------------------------------------------------------------- addresses


def test_the_attention_places_are_in_order(model):
    assert attention_places(model) == [FIRST, SECOND]


def test_a_layer_shared_across_depth_has_an_address_for_each_place(model, batch):
    """One block at two places: the first address has what its first call saw, the second what its second did."""
    model.encoder.blocks[1] = model.encoder.blocks[0]
    assert attention_places(model) == [FIRST, SECOND]
    with record(model, "*self_attention", "encoder.blocks.?") as tape:
        model(batch)
    stream, block = batch.streams["encoder"], model.encoder.blocks[0]
    x = model.encoder.embeddings(stream.input_ids, model.encoder.positions(stream.positions))
    for place, attention in (("encoder.blocks.0", FIRST), ("encoder.blocks.1", SECOND)):
        q = block.self_attention.query_key_value(block.attention_norm(x)).chunk(3, -1)[0]
        torch.testing.assert_close(tape[attention].q, block.self_attention.split(q))
        x = block(x, LayerContext(stream.mask))
        torch.testing.assert_close(tape[place], x)
    assert not torch.allclose(tape[FIRST].q, tape[SECOND].q)


def test_one_of_the_places_of_a_shared_layer(model, batch):
    """Asking for the second place alone gives the second call, not the first."""
    model.encoder.blocks[1] = model.encoder.blocks[0]
    with record(model) as both:
        model(batch)
    with record(model, SECOND) as tape:
        model(batch)
    assert torch.equal(tape[SECOND].q, both[SECOND].q)
    with pytest.raises(UsageError, match="was not recorded"):
        tape[FIRST]


def test_attention_by_itself(model):
    """A single layer, outside any model, can be recorded too."""
    attention = MultiHeadAttention(ModelConfig(d_model=12, n_heads=3))
    with record(attention) as tape:
        attention(torch.randn(2, 5, 12), LayerContext(AttentionMask.in_order(5)))
    [place] = attention_places(attention)
    assert tape[place].weights().shape == (2, 3, 5, 5)


# ----------------------------------------------------------------------------------------------------------- errors


def test_an_empty_tape_raises(model, batch):
    """The model was not called, or something else was called in its place (a compiled callable fires no hooks)."""
    with record(model) as tape:
        pass
    with pytest.raises(UsageError, match=r"nothing was recorded at .*\n.*compiled callable"):
        tape[FIRST]


def test_a_place_that_there_is_not(model, batch):
    """Named when recording begins, with the nearest there is; and a place that was not asked for is not on the tape."""
    wrong = "encoder.blocks.1.self_atention"
    with pytest.raises(UsageError, match=rf"no place '{wrong}'\ndid you mean .*1.self_attention"), record(model, wrong):
        pass
    with record(model, FIRST) as tape:
        model(batch)
    with pytest.raises(UsageError, match=f"'{SECOND}' was not recorded"):
        tape[SECOND]
