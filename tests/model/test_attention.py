"""What every attention mechanism promises, asked of each file in model/attention/. A new file is picked up by itself,
and has to bring its definition as a plain loop (DEFINITIONS).

B batch, H heads, Q queries, K keys, E features of a head: different primes, so that no swapped axis can pass.
"""

import itertools
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError
from glassformer.model import attention
from glassformer.model.attention import Mechanism, find_mechanism
from glassformer.plugins import plugin_names

B, H, Q, K, E = 2, 3, 5, 7, 11


class Case(NamedTuple):
    """What goes into one call."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: AttentionMask
    bias: Tensor | None = None

    @property
    def sees(self) -> Tensor:
        """B Q: has this query anything to look at?"""
        return torch.tensor(
            [[any(may_attend(self.mask, b, i, j) for j in range(K)) for i in range(Q)] for b in range(B)]
        )


def draw(dtype: torch.dtype, *, keys: bool, documents: bool, pairs: bool, bias: bool, seed: int = 1) -> Case:
    """Random numbers under a random mask of these parts. With a pair mask, one query sees nothing."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    pair_mask = torch.rand(B, Q, K, generator=g) < 0.7
    pair_mask[1, 3] = False
    mask = AttentionMask.in_order(
        Q,
        K,
        key_mask=torch.rand(B, K, generator=g) < 0.7 if keys else None,
        query_documents=torch.randint(2, (B, Q), generator=g) if documents else None,
        key_documents=torch.randint(2, (B, K), generator=g) if documents else None,
        pair_mask=pair_mask if pairs else None,
    )
    return Case(normal(B, H, Q, E), normal(B, H, K, E), normal(B, H, K, E), mask, normal(1, H, Q, K) if bias else None)


def all_cases(dtype: torch.dtype) -> list[Case]:
    """Every combination of mask parts, with and without a bias."""
    parts = itertools.product([False, True], repeat=4)
    return [draw(dtype, keys=k, documents=d, pairs=p, bias=b) for k, d, p, b in parts]


def masked_case(dtype: torch.dtype) -> Case:
    """Everything at once."""
    return draw(dtype, keys=True, documents=True, pairs=True, bias=True)


def may_attend(mask: AttentionMask, b: int, i: int, j: int) -> bool:
    """The definition of the mask."""
    padding = mask.key_mask is not None and not mask.key_mask[b, j]
    other = mask.query_documents is not None and mask.query_documents[b, i] != mask.key_documents[b, j]
    forbidden = mask.pair_mask is not None and not mask.pair_mask[b, i, j]
    return not (padding or other or forbidden)


# ------------------------------------------------------------------------------------- the definitions, as plain loops


def full_by_definition(case: Case) -> Tensor:
    """softmax(q k^T / sqrt(E) + bias) over the keys that may be seen (Vaswani et al. 2017, equation 1), in float64."""
    q, k = case.q.double().tolist(), case.k.double().tolist()
    weights = torch.zeros(B, H, Q, K, dtype=torch.float64)
    for b, h, i in itertools.product(range(B), range(H), range(Q)):
        exponentials = {}
        for j in range(K):
            if may_attend(case.mask, b, i, j):
                score = sum(q[b][h][i][e] * k[b][h][j][e] for e in range(E)) / math.sqrt(E)
                exponentials[j] = math.exp(score + (0.0 if case.bias is None else float(case.bias[0, h, i, j])))
        for j, value in exponentials.items():
            weights[b, h, i, j] = value / sum(exponentials.values())
    return weights


DEFINITIONS: dict[str, Callable[[Case], Tensor]] = {"full": full_by_definition}
"""The weights of each mechanism, written from its paper. A new mechanism adds its own."""


# ----------------------------------------------------------------------------------- one function for each promise


def make(name: str) -> Mechanism:
    return find_mechanism(name)(E).eval()


def check_definition(name: str) -> None:
    """Weights and context equal the loop: to 1e-10 in float64, to 1e-5 in float32."""
    assert name in DEFINITIONS, f"write the definition of {name!r} as a plain loop, and add it to DEFINITIONS"
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        for case in all_cases(dtype):
            weights = DEFINITIONS[name](case)
            context = weights @ case.v.double()
            q, k, v, mask, bias = case
            close(make(name).weights(q, k, mask, bias).double(), weights, tolerance)
            close(make(name)(q, k, v, mask, bias).double(), context, tolerance)


def check_weights_times_values(name: str) -> None:
    """`weights @ v` equals `forward`: the fused path and the explicit one are the same."""
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
        for q, k, v, mask, bias in all_cases(dtype):
            close(make(name).weights(q, k, mask, bias) @ v, make(name)(q, k, v, mask, bias), tolerance)


def check_scale(name: str) -> None:
    """The scale is the mechanism's own: with another (T5's is 1) forward and weights still agree, on other numbers."""
    q, k, v, mask, bias = masked_case(torch.float64)
    mechanism = make(name)
    before = mechanism(q, k, v, mask, bias)
    mechanism.scale = 1.0
    close(mechanism.weights(q, k, mask, bias) @ v, mechanism(q, k, v, mask, bias), 1e-10)
    assert not torch.allclose(mechanism(q, k, v, mask, bias), before, atol=1e-3)


def check_many_keys(name: str) -> None:
    """A text that is long enough for another kernel is treated alike, rows that see nothing included."""
    g = torch.Generator().manual_seed(1)
    mask = AttentionMask.in_order(Q, 1021, pair_mask=torch.rand(B, Q, 1021, generator=g) < 0.7)
    mask.pair_mask[1, 3] = False
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
        q, k, v = (torch.randn(B, H, n, E, generator=g).to(dtype).requires_grad_() for n in (Q, 1021, 1021))
        context = make(name)(q, k, v, mask)
        close(context, make(name).weights(q, k, mask) @ v, tolerance)
        assert not context[1, :, 3].any() and context[1, :, 2].any()
        context.square().sum().backward()
        assert all(x.grad.isfinite().all() and x.grad.any() for x in (q, k, v))


def check_rows(name: str) -> None:
    """No weight is negative; a row sums to 1, or to exactly 0 where nothing may be seen."""
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        for case in all_cases(dtype):
            weights = make(name).weights(case.q, case.k, case.mask, case.bias)
            sums = weights.sum(-1)
            assert (weights >= 0).all()
            close(sums, case.sees[:, None, :].expand_as(sums).to(dtype), tolerance)
            assert not weights[~case.sees[:, None, :, None].expand_as(weights)].any()


def check_hidden_keys(name: str) -> None:
    """Noise, however large, in keys and values that nobody may see changes not a bit; in visible ones it does."""
    case = masked_case(torch.float32)
    q, k, v, mask, bias = case
    before, weights_before = make(name)(q, k, v, mask, bias), make(name).weights(q, k, mask, bias)
    for size in (1.0, 1e4):
        noise = torch.randn(B, 1, K, E, generator=torch.Generator().manual_seed(3)) * size
        hidden = noise * ~mask.key_mask[:, None, :, None]
        assert torch.equal(make(name)(q, k + hidden, v + hidden, mask, bias), before)
        assert torch.equal(make(name).weights(q, k + hidden, mask, bias), weights_before)
        seen = noise * mask.key_mask[:, None, :, None]
        assert not torch.allclose(make(name)(q, k + seen, v, mask, bias), before, atol=1e-3)
        assert not torch.allclose(make(name)(q, k, v + seen, mask, bias), before, atol=1e-3)


def check_gradient_reach(name: str) -> None:
    """The gradient of one query's context is exactly zero at keys it may not see, and not zero at those it may."""
    q, k, v, mask, bias = masked_case(torch.float64)
    for b, i in itertools.product(range(B), range(Q)):
        k, v = k.detach().requires_grad_(), v.detach().requires_grad_()
        make(name)(q, k, v, mask, bias)[b, :, i].square().sum().backward()
        allowed = [j for j in range(K) if may_attend(mask, b, i, j)]
        reach = torch.zeros(B, K, dtype=torch.bool)
        reach[b, allowed] = True
        assert torch.equal(v.grad.abs().sum((1, 3)) > 0, reach)
        if len(allowed) > 1:  # with one key its weight is 1, whatever it says
            assert torch.equal(k.grad.abs().sum((1, 3)) > 0, reach)


def check_rows_that_see_nothing(name: str) -> None:
    """Zeros and finite gradients: in forward and weights, with dropout and without, in every precision. No NaN is
    hidden inside the backward pass either: another kernel would let it out."""
    for dtype, dropout in itertools.product((torch.float32, torch.bfloat16), (0.0, 0.3)):
        for case in (case for case in all_cases(dtype) if not case.sees.all()):
            q, k, v = (x.clone().requires_grad_() for x in case[:3])
            context = make(name)(q, k, v, case.mask, case.bias, dropout=dropout)
            weights = make(name).weights(q, k, case.mask, case.bias)
            blind = ~case.sees[:, None, :, None]
            assert not context[blind.expand_as(context)].any() and not weights[blind.expand_as(weights)].any()
            assert no_nan_inside(context.square().sum() + weights.square().sum())
            assert all(x.grad.isfinite().all() for x in (q, k, v)) and v.grad.any()
            assert not q.grad[blind.expand_as(q.grad)].any()
    everything_hidden = AttentionMask.in_order(Q, K, key_mask=torch.zeros(B, K, dtype=torch.bool))
    q, k, v = (x.clone().requires_grad_() for x in masked_case(torch.float32)[:3])
    context = make(name)(q, k, v, everything_hidden)
    context.sum().backward()
    assert not context.any() and not any(x.grad.any() for x in (q, k, v))


def no_nan_inside(loss: Tensor) -> bool:
    """Go backwards; False where any step of it gives NaN."""
    with torch.autograd.set_detect_anomaly(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loss.backward()
        except RuntimeError as error:
            assert "nan" in str(error)
            return False
    return True


def check_gradcheck(name: str) -> None:
    """The gradient of q, k, v and bias against finite differences, in float64, rows that see nothing included."""
    q, k, v, mask, bias = (x[:, :, :, :3] if isinstance(x, Tensor) else x for x in masked_case(torch.float64))
    bias = torch.randn(1, H, Q, K, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    inputs = [x.clone().requires_grad_() for x in (q, k, v, bias)]
    mechanism = find_mechanism(name)(3).eval()
    assert torch.autograd.gradcheck(
        lambda q, k, v, bias: mechanism(q, k, v, mask, bias), inputs, raise_exception=False, fast_mode=True
    )
    assert torch.autograd.gradcheck(
        lambda q, k, bias: mechanism.weights(q, k, mask, bias),
        [inputs[0], inputs[1], inputs[3]],
        raise_exception=False,
        fast_mode=True,
    )


def check_dropout(name: str) -> None:
    """Each weight is dropped or grows by 1 / (1 - p), from torch's generator; p = 0 draws nothing."""
    case, p = masked_case(torch.float32), 0.3
    mechanism, identity = make(name), torch.eye(K).expand(B, H, K, K)

    def run(dropout: float) -> Tensor:
        torch.manual_seed(7)
        return mechanism(case.q[..., :7], case.k[..., :7], identity, case.mask, case.bias, dropout=dropout)

    mechanism.scale = 7**-0.5
    weights = mechanism.weights(case.q[..., :7], case.k[..., :7], case.mask, case.bias)
    dropped = run(p)
    kept = dropped != 0
    close(dropped[kept], weights[kept] / (1 - p), 1e-5)
    alive = int((weights > 0).sum())
    assert 0.4 * alive < int(kept.sum()) < 0.95 * alive
    assert torch.equal(dropped, run(p))
    before = torch.manual_seed(7).get_state()
    close(run(0.0), weights, 1e-6)
    assert torch.equal(torch.default_generator.get_state(), before)


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


CHECKS = [
    check_definition,
    check_weights_times_values,
    check_scale,
    check_many_keys,
    check_rows,
    check_hidden_keys,
    check_gradient_reach,
    check_rows_that_see_nothing,
    check_gradcheck,
    check_dropout,
]


# -------------------------------------------------------------------------------------------------- who is asked it


def test_the_mechanisms_that_must_be_found():
    """Discovery that finds nothing would make every test below pass."""
    assert {"full"} <= set(plugin_names("glassformer.model.attention"))


def test_the_cases_have_rows_that_see_nothing():
    """Without one, the check of such rows could never fail."""
    assert not all(case.sees.all() for case in all_cases(torch.float32))
    assert masked_case(torch.float32).sees.any() and not masked_case(torch.float32).sees.all()


@pytest.mark.parametrize("name", plugin_names("glassformer.model.attention"))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_mechanism_keeps_the_contract(name, check):
    check(name)


def test_an_unknown_mechanism_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'full'"):
        find_mechanism("ful")


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a file `planted.py` into the folder of mechanisms, for one test."""

    def put(body: str) -> str:
        (tmp_path / "planted.py").write_text(HEADER + body)
        monkeypatch.setattr(attention, "__path__", [*attention.__path__, str(tmp_path)])
        monkeypatch.setitem(DEFINITIONS, "planted", full_by_definition)
        return "planted"

    yield put
    sys.modules.pop("glassformer.model.attention.planted", None)


HEADER = """
import torch
from glassformer.data.masks import AttentionMask
from glassformer.model.attention import Mechanism
from glassformer.model.attention.full import FullAttention
from glassformer.model.dropout import dropout as drop

class Planted(FullAttention):
"""

BROKEN = {
    "no scale": (check_definition, "def __init__(s, d_head): super().__init__(d_head); s.scale = 1.0"),
    "no bias": (
        check_definition,
        "def forward(s, q, k, v, mask, bias=None, dropout=0.0): return super().forward(q, k, v, mask, None, dropout)",
    ),
    "no documents": (
        check_definition,
        "def weights(s, q, k, mask, bias=None): return super().weights(q, k, mask._replace(key_documents=None), bias)",
    ),
    "scale": (
        check_scale,
        "def forward(s, q, k, v, mask, bias=None, dropout=0.0):\n"
        "        return FullAttention(q.shape[-1])(q, k, v, mask, bias)",
    ),
    "only the first keys": (
        check_many_keys,
        "def forward(s, q, k, v, mask, bias=None, dropout=0.0):\n"
        "        return torch.where(torch.tensor(k.shape[2] < 512), super().forward(q, k, v, mask, bias), 0.0)",
    ),
    "other weights": (
        check_weights_times_values,
        "def weights(s, q, k, mask, bias=None): return super().weights(k.new_zeros(q.shape), k, mask, bias)",
    ),
    "rows": (check_rows, "def weights(s, q, k, mask, bias=None): return super().weights(q, k, mask, bias) * 0.9"),
    "padding": (
        check_hidden_keys,
        "def forward(s, q, k, v, mask, bias=None, dropout=0.0): return super().forward(q, k, v, mask, bias) + v.mean()",
    ),
    "reach": (
        check_gradient_reach,
        "def forward(s, q, k, v, mask, bias=None, dropout=0.0):\n"
        "        return super().forward(q, k, v, mask._replace(pair_mask=None), bias)",
    ),
    "blind rows": (
        check_rows_that_see_nothing,
        "def weights(s, q, k, mask, bias=None):\n"
        "        scores = (q * s.scale) @ k.mT + (0 if bias is None else bias)\n"
        "        allowed = mask.dense()\n"
        "        return (scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)).softmax(-1)",
    ),
    "blind rows, washed after": (
        check_rows_that_see_nothing,
        "def weights(s, q, k, mask, bias=None):\n"
        "        scores = (q * s.scale) @ k.mT + (0 if bias is None else bias)\n"
        "        allowed = mask.dense()\n"
        "        scores = scores if allowed is None else scores + torch.where(allowed, 0.0, -torch.inf)\n"
        "        return torch.where(scores.softmax(-1).isnan(), 0.0, scores.softmax(-1))",
    ),
    "gradient": (
        check_gradcheck,
        "def forward(s, q, k, v, mask, bias=None, dropout=0.0): return super().forward(q.detach(), k, v, mask, bias)",
    ),
    "dropout of the context": (
        check_dropout,
        "def forward(s, q, k, v, mask, bias=None, dropout=0.0):\n"
        "        return drop(super().forward(q, k, v, mask, bias), dropout) * 1.1",
    ),
    "no dropout": (
        check_dropout,
        "def forward(s, q, k, v, mask, bias=None, dropout=0.0): return super().forward(q, k, v, mask, bias)",
    ),
}


def test_a_new_file_is_found_and_keeps_the_contract(plant):
    """The same planted file, with nothing broken, passes: what fails below fails for its fault."""
    name = plant("    pass\n")
    assert name in plugin_names("glassformer.model.attention")
    for check in CHECKS:
        check(name)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_mechanism_is_caught(fault, plant):
    """Each promise, broken by a planted mechanism, is noticed by its own check."""
    check, method = BROKEN[fault]
    with pytest.raises(AssertionError):
        check(plant(f"    {method}\n"))


def test_a_mechanism_must_bring_its_definition(plant, monkeypatch):
    """A new file without a loop in this test fails, and the failure says what is missing."""
    name = plant("    pass\n")
    monkeypatch.delitem(DEFINITIONS, name)
    with pytest.raises(AssertionError, match="write the definition of 'planted'"):
        check_definition(name)


def test_a_mechanism_without_weights_cannot_be_built():
    """Both methods are the contract: half of it is refused when the model is built, not when someone looks inside."""

    class Half(Mechanism):
        def forward(self, q, k, v, mask, bias=None, dropout=0.0):
            return q

    with pytest.raises(TypeError, match="weights"):
        Half(E)
