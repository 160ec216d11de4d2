"""Each file in model/attention/ keeps the contract (mechanism_contract.py): found by itself, and asked what it says it
can do. Each promise, broken by a planted mechanism, is noticed."""

import sys
from functools import partial
from pathlib import Path

import mechanism_contract as contract
import pytest
import torch
from mechanism_contract import CHECKS, E, all_cases, asked_of, masked_case, seen_by

from glassformer.errors import UsageError
from glassformer.model import attention
from glassformer.model.attention import Mechanism, Shape, find_mechanism, mechanism_for
from glassformer.model.attention_config import MechanismConfig
from glassformer.model.config import ModelConfig, check_sizes
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.size import count_parameters, n_parameters
from glassformer.plugins import plugin_names

NAMES = plugin_names("glassformer.model.attention")


def test_the_mechanisms_that_must_be_found():
    """Discovery that finds nothing would make every test below pass."""
    assert {"full", "local"} <= set(NAMES)
    for name in ("full", "local"):
        assert asked_of(name) == [*CHECKS]


def test_the_cases_have_rows_that_see_nothing():
    """Without one, the check of such rows could never fail."""
    for name in ("full", "local"):
        assert not all(seen_by(name, case).any(-1).all() for case in all_cases(name, torch.float32))
        one = seen_by(name, masked_case(name, torch.float32)).any(-1)
        assert one.any() and not one.all()


@pytest.mark.parametrize("name, check", [(name, check) for name in NAMES for check in asked_of(name)])
def test_every_mechanism_keeps_the_contract(name, check):
    check(name)


def test_an_unknown_mechanism_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'full'"):
        find_mechanism("ful")


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a file `planted.py` into the folder of mechanisms, and its definition beside its test, for one test."""

    def put(body: str, parent: str = "full") -> str:
        header = HEADER.format(parent=parent, Parent=parent.title())
        (tmp_path / "planted.py").write_text(header + body)
        (tmp_path / "definitions").mkdir()
        text = (contract.FOLDERS[0] / f"{parent}.py").read_text()
        (tmp_path / "definitions" / "planted.py").write_text(text)
        monkeypatch.setattr(attention, "__path__", [*attention.__path__, str(tmp_path)])
        monkeypatch.setattr(contract, "FOLDERS", [tmp_path / "definitions"])
        return "planted"

    yield put
    sys.modules.pop("glassformer.model.attention.planted", None)


HEADER = """
import torch
from glassformer.data.masks import AttentionMask
from glassformer.model.attention import Mechanism, Shape
from glassformer.model.attention.{parent} import {Parent}Attention as Right
from glassformer.model.cache import KeyValueCache
from glassformer.model.dropout import dropout as drop
from glassformer.model.softmax import softmax_attention, softmax_weights

class Planted(Right):
"""
FORWARD = "def forward(s, q, k, v, mask, bias=None, dropout=0.0): return "
WEIGHTS = "def weights(s, q, k, mask, bias=None): return "

BROKEN = {
    "no scale": ("definition", "def __init__(s, *a): super().__init__(*a); s.scale = 1.0"),
    "no bias": ("definition", f"{FORWARD}super().forward(q, k, v, mask, None, dropout)"),
    "no documents": ("definition", f"{WEIGHTS}super().weights(q, k, mask._replace(key_documents=None), bias)"),
    "not causal": ("definition", f"{FORWARD}super().forward(q, k, v, mask._replace(causal=False), bias, dropout)"),
    "more than it does": ("what_it_says", "can = frozenset({'fly'})"),
    "no word of its weights": ("what_it_says", "can = frozenset({'bias'})"),
    "scale": ("scale", f"{FORWARD}softmax_attention(q, k, v, mask, bias, dropout, q.shape[3] ** -0.5)"),
    "heads by turns": (
        "shared_keys",
        f"{FORWARD}super().forward(q, *(x.repeat(1, q.shape[1] // x.shape[1], 1, 1) for x in (k, v)), mask, bias)",
    ),
    "only the first keys": (
        "many_keys",
        f"{FORWARD}torch.where(torch.tensor(k.shape[2] < 512), super().forward(q, k, v, mask, bias), 0.0)",
    ),
    "other weights": ("weights_times_values", f"{WEIGHTS}super().weights(k.new_zeros(q.shape), k, mask, bias)"),
    "rows": ("rows", f"{WEIGHTS}super().weights(q, k, mask, bias) * 0.9"),
    "padding": ("hidden_keys", f"{FORWARD}super().forward(q, k, v, mask, bias) + v.mean()"),
    "reach": ("gradient_reach", f"{FORWARD}super().forward(q, k, v, mask._replace(pair_mask=None), bias)"),
    "less than it says": ("gradient_reach", "def allowed(s, mask): return torch.ones(1, 1, 1, 1) < 0"),
    "blind rows": (
        "rows_that_see_nothing",
        "def weights(s, q, k, mask, bias=None):\n"
        "        scores = (q * s.scale) @ k.mT + (0 if bias is None else bias)\n"
        "        allowed = mask.dense()\n"
        "        return (scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)).softmax(-1)",
    ),
    "blind rows, washed after": (
        "rows_that_see_nothing",
        "def weights(s, q, k, mask, bias=None):\n"
        "        scores = (q * s.scale) @ k.mT + (0 if bias is None else bias)\n"
        "        allowed = mask.dense()\n"
        "        scores = scores if allowed is None else scores + torch.where(allowed, 0.0, -torch.inf)\n"
        "        return torch.where(scores.softmax(-1).isnan(), 0.0, scores.softmax(-1))",
    ),
    "gradient": ("gradcheck", f"{FORWARD}super().forward(q.detach(), k, v, mask, bias)"),
    "dropout of the context": ("dropout", f"{FORWARD}drop(super().forward(q, k, v, mask, bias), dropout) * 1.1"),
    "no dropout": ("dropout", f"{FORWARD}super().forward(q, k, v, mask, bias)"),
    "batches have a say": ("among_other_texts", f"{FORWARD}super().forward(q, k, v, mask, bias) * k.shape[2]"),
    "weights of now": ("recorded", f"{WEIGHTS}super().weights(q, k, mask, bias) * (2 - s.training)"),
    "forgets": (
        "step_equals_forward",
        "def step(s, q, k, v, state, mask, bias=None):\n"
        "        state.append(k, v)\n"
        "        own = mask._replace(key_positions=mask.key_positions[:, -1:], combined=None, key_mask=None)\n"
        "        return s(q, k[:, :, -1:], v[:, :, -1:], own, None if bias is None else bias[..., -1:])",
    ),
}


def test_a_new_file_is_found_and_keeps_the_contract(plant):
    """The same planted file, with nothing broken, passes: what fails below fails for its fault."""
    name = plant("    pass\n")
    assert name in plugin_names("glassformer.model.attention") and asked_of(name) == [*CHECKS]
    for check in CHECKS:
        check(name)


def test_every_promise_is_broken_once():
    """But for refusals, which are the model's and not the mechanism's."""
    assert {f"check_{promise}" for promise, _ in BROKEN.values()} == {f.__name__ for f in CHECKS} - {"check_refusals"}


def test_what_a_mechanism_cannot_do_is_refused(plant):
    """A mechanism that says nothing is asked nothing more than to mix, and every model that needs more is refused."""
    name = plant("    can = frozenset({'weights'})\n")
    assert contract.check_step_equals_forward not in asked_of(name) and contract.check_dropout not in asked_of(name)
    for check in asked_of(name):
        check(name)
    others = ", ".join(able for able in NAMES if "decode" in find_mechanism(able).can)
    with pytest.raises(UsageError, match=rf"cannot generate: model.attention=planted cannot, {others} can"):
        contract.model_with(name, "encoder").need("decoding")


STRIDED = """
    def allowed(s, mask):
        return (mask.query_positions[:, None, :, None] - mask.key_positions[:, None, None, :]) % 2 == 0

    def forward(s, q, k, v, mask, bias=None, dropout=0.0):
        return super().forward(q, k, v, mask.within(s.allowed(mask)), bias, dropout)

    def weights(s, q, k, mask, bias=None):
        return super().weights(q, k, mask.within(s.allowed(mask)), bias)
"""


def test_a_mechanism_that_uses_few_pairs_is_asked_where_a_query_sees_several_keys(plant):
    """With one key its weight is 1, and noise in that key changes nothing: no fault of the mechanism."""
    name = plant(STRIDED)
    assert int(contract.seen_by(name, contract.masked_case(name, torch.float32)).sum(-1).max()) > 1
    contract.check_hidden_keys(name)
    contract.check_gradient_reach(name)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_mechanism_is_caught(fault, plant):
    """Each promise, broken by a planted mechanism, is noticed by its own check."""
    promise, method = BROKEN[fault]
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(contract, f"check_{promise}")(plant(f"    {method}\n"))


BY_COLUMNS = """
    def allowed(s, mask):
        queries, keys = mask.query_positions, mask.key_positions
        place = torch.arange(keys.shape[1])
        return (place[-queries.shape[1]:, None] - place).abs()[None, None] < s.window if s.window else None
"""


@pytest.mark.parametrize("check", ["among_other_texts", "step_equals_forward"])
def test_a_window_that_goes_by_columns_is_caught(check, plant):
    """Right in every batch without padding, and wrong where prompts of different length go on together."""
    name = plant(BY_COLUMNS, "local")
    if check == "step_equals_forward":
        with pytest.raises(AssertionError):
            contract.check_step_equals_forward(name)
    else:
        contract.check_among_other_texts(name)


def test_a_mechanism_must_bring_its_definition(plant, monkeypatch):
    """A new file without a loop beside its test fails, and the failure says what is missing."""
    name = plant("    pass\n")
    monkeypatch.setattr(contract, "FOLDERS", [])
    with pytest.raises(AssertionError, match=r"write the definition of 'planted' .*mechanisms/planted\.py"):
        contract.check_definition(name)


def test_a_mechanism_without_weights_cannot_be_built():
    """Both methods are the contract: half of it is refused when the model is built, not when someone looks inside."""

    class Half(Mechanism):
        def forward(self, q, k, v, mask, bias=None, dropout=0.0):
            return q

    with pytest.raises(TypeError, match="weights"):
        Half(MechanismConfig(name="half"), Shape(E))


# --------------------------------------------------------------------------------------------------- layer by layer


def test_each_layer_has_the_mechanism_of_its_turn():
    """A list is repeated; each is told its layer, and whether it stands in a decoder or between two stacks."""
    listed = ["full", {"name": "local", "window": 2}, {"name": "local", "window": 5}]
    config = ModelConfig(family="encoder_decoder", n_layers=4, d_model=12, n_heads=2, attention=listed)
    model = Transformer(config, 7, [])
    for stack in model.stacks:
        own = [block.self_attention.mechanism for block in stack.blocks]
        assert [getattr(each, "window", None) for each in own] == [None, 2, 5, None]
    across = [block.cross_attention.mechanism for block in model.decoder.blocks]
    assert [each.name for each in across] == ["full", "local", "local", "full"]
    assert [getattr(each, "window", None) for each in across] == [None] * 4
    assert n_parameters(config, 7, []) == count_parameters(model)


def test_a_list_that_is_too_long_is_refused():
    config = ModelConfig(n_layers=2, attention=["full", "local", "full"])
    with pytest.raises(UsageError, match=r"lists 3 mechanisms, and a stack has 2 blocks"):
        check_sizes(config)
    with pytest.raises(UsageError, match=r"lists 2 mechanisms, and a stack has 1 block"):
        check_sizes(ModelConfig(n_layers=4, share_layers=True, attention=["full", "local"]))


def test_a_mechanism_knows_the_shape_of_its_model(plant):
    name = plant("    def __init__(s, config, shape): super().__init__(config, shape); s.shape = shape\n")
    config = ModelConfig(
        d_model=24, n_heads=6, n_kv_heads=2, max_length=19, attention=name, attention_scale=0.5, n_layers=3
    )
    assert mechanism_for(config, 2, causal=True).shape == Shape(4, 6, 2, 19, True, False, 2, 0.5)


def as_leaf(kept, module, args, output):
    kept.append(output.detach().requires_grad_())
    return kept[0]


def test_a_window_reaches_farther_through_layers():
    """One layer sees two tokens on either side, three layers six; in a decoder before it alone."""
    for family, layers, reach in (("encoder", 1, 2), ("encoder", 3, 6), ("decoder", 3, 6)):
        model = contract.model_with("local", family, n_layers=layers, attention={"name": "local", "window": 3})
        example = contract.texts(model, 15)
        [stack] = model.stacks
        inputs: list[torch.Tensor] = []
        stack.embeddings.register_forward_hook(partial(as_leaf, inputs))
        hidden = model.hidden(contract.collate([example], 0))[model.config.stacks[-1]]
        [gradient] = torch.autograd.grad(hidden[0, 7] @ torch.randn(12, dtype=torch.float64), inputs)
        seen = (gradient[0].abs().sum(-1) > 0).nonzero()[:, 0].tolist()
        assert seen == list(range(7 - reach, 8 + (reach if family == "encoder" else 0)))
