"""What every attention mechanism promises, a function for each promise. test_attention.py asks them of each file in
model/attention/; the definition of NAME, as a plain loop in float64, is in model/mechanisms/NAME.py:

    KEYS = {"window": 3}                       what the recipe gives it in these checks, beside its name
    def weights(case) -> Tensor                its weights, from the paper; without weights `context(case)` instead

A mechanism is only asked what it says it `can` do; what it says it cannot has to be refused.

B batch, H heads, Q queries, K keys, E features of a head: different primes, so that no swapped axis can pass.
"""

import importlib.util
import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glassformer.data.batch import Batch, Example, OutputSpec, Stream, Targets, collate
from glassformer.data.masks import AttentionMask
from glassformer.errors import UsageError
from glassformer.model.attention import ABILITIES, Ability, Mechanism, Shape, find_mechanism
from glassformer.model.config import ModelConfig
from glassformer.model.decoding_state import DecodingState
from glassformer.model.kinds.transformer import Transformer
from glassformer.record import attention_places, record

B, H, Q, K, E = 2, 3, 5, 7, 11
FOLDERS = [Path(__file__).parent / "model" / "mechanisms"]
"""Where definitions are looked for."""
TOLERANCES = ((torch.float64, 1e-10), (torch.float32, 1e-5))
WITH_BFLOAT16 = (*TOLERANCES, (torch.bfloat16, 3e-2))


class Case(NamedTuple):
    """What goes into one call."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: AttentionMask
    bias: Tensor | None = None
    scale: float = E**-0.5


def may_attend(mask: AttentionMask, b: int, i: int, j: int) -> bool:
    """The definition of the mask, for query i and key j of row b."""
    padding = mask.key_mask is not None and not mask.key_mask[b, j]
    other = mask.query_documents is not None and mask.query_documents[b, i] != mask.key_documents[b, j]
    forbidden = mask.pair_mask is not None and not mask.pair_mask[b, i, j]
    later = mask.causal and distance(mask, b, i, j) < 0
    return not (padding or other or forbidden or later)


def distance(mask: AttentionMask, b: int, i: int, j: int) -> int:
    """How far before query i of row b key j stands."""
    queries, keys = mask.query_positions, mask.key_positions
    return int(queries[min(b, len(queries) - 1), i] - keys[min(b, len(keys) - 1), j])


def softmax_over(case: Case, seen: Callable[[int, int, int], bool]) -> Tensor:
    """softmax(q k^T * scale + bias) over the keys j of which `seen(b, i, j)`, number by number, in float64."""
    q, k = case.q.double().tolist(), case.k.double().tolist()
    weights = torch.zeros(*case.q.shape[:3], case.k.shape[2], dtype=torch.float64)
    for b, h, i in itertools.product(*map(range, weights.shape[:3])):
        exponentials = {}
        for j in filter(lambda j: seen(b, i, j), range(weights.shape[3])):
            score = sum(x * y for x, y in zip(q[b][h][i], k[b][h][j], strict=True)) * case.scale
            exponentials[j] = math.exp(score + (0.0 if case.bias is None else float(case.bias[0, h, i, j])))
        for j, value in exponentials.items():
            weights[b, h, i, j] = value / sum(exponentials.values())
    return weights


# ------------------------------------------------------------------------------------------------ what is asked of whom


def definition_of(name: str) -> ModuleType:
    """The module with the definition of a mechanism."""
    found = [folder / f"{name}.py" for folder in FOLDERS if (folder / f"{name}.py").exists()]
    assert found, f"write the definition of {name!r} as a plain loop: tests/model/mechanisms/{name}.py"
    spec = importlib.util.spec_from_file_location(f"definition_of_{name}", found[0])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(name: str, d_head: int = E, scale: float | None = None, cross: bool = False) -> Mechanism:
    """The mechanism with the keys of its definition."""
    kind, keys = find_mechanism(name), definition_of(name).KEYS
    shape = Shape(d_head, H, H, max_length=16, cross=cross, scale=scale)
    torch.manual_seed(1)
    return kind(kind.Config(name=name, **keys), shape).double().eval()


def can(name: str, *abilities: Ability) -> bool:
    return {*abilities} <= find_mechanism(name).can


def context_by_definition(name: str, case: Case) -> Tensor:
    module = definition_of(name)
    return module.weights(case) @ case.v.double() if can(name, "weights") else module.context(case)


def seen_by(name: str, case: Case) -> Tensor:
    """B Q K: the pairs that the mask allows and the mechanism says it uses."""
    pairs = itertools.product(*map(range, (B, case.q.shape[2], case.k.shape[2])))
    seen = torch.tensor([may_attend(case.mask, *pair) for pair in pairs]).view(B, case.q.shape[2], case.k.shape[2])
    own = make(name).allowed(case.mask)
    return seen if own is None else seen & own[:, 0]


def compares(name: str) -> bool:
    """Whether the definition says that keys decide who is mixed."""
    case = draw(torch.float64)
    other = case._replace(k=case.k.flip(2))
    return not torch.equal(context_by_definition(name, case), context_by_definition(name, other))


def draw(dtype: torch.dtype, *parts: Ability | str, seed: int = 1) -> Case:
    """Random numbers and positions under a random mask of these parts. With a pair mask, one query sees nothing."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    pair_mask = torch.rand(B, Q, K, generator=g) < 0.7
    pair_mask[1, 3] = False
    mask = AttentionMask(
        torch.randint(2, 9, (B, Q), generator=g),
        torch.randint(9, (B, K), generator=g),
        causal="causal" in parts,
        key_mask=torch.rand(B, K, generator=g) < 0.7 if "keys" in parts else None,
        query_documents=torch.randint(2, (B, Q), generator=g) if "documents" in parts else None,
        key_documents=torch.randint(2, (B, K), generator=g) if "documents" in parts else None,
        pair_mask=pair_mask if "pair_mask" in parts else None,
    )
    bias = normal(1, H, Q, K) if "bias" in parts else None
    return Case(normal(B, H, Q, E), normal(B, H, K, E), normal(B, H, K, E), mask, bias)


def in_order(dtype: torch.dtype, queries: int, **parts: object) -> Case:
    """Keys in order, of which the last are the queries, as batches and growing texts have them."""
    case, places = draw(dtype), torch.arange(K)[None]
    mask = AttentionMask(places[:, -queries:], places, aligned=True, **parts)
    return case._replace(q=case.k[:, :, -queries:].flip(3), mask=mask)


PARTS: tuple[Ability | str, ...] = ("keys", "causal", "documents", "pair_mask", "bias")


def all_cases(name: str, dtype: torch.dtype) -> list[Case]:
    """Every combination of what the mechanism can do, and texts in order."""
    known = [part for part in PARTS if part == "keys" or part in find_mechanism(name).can]
    chosen = [
        [p for p, there in zip(known, n, strict=True) if there] for n in itertools.product([0, 1], repeat=len(known))
    ]
    found = [draw(dtype, *parts) for parts in chosen]
    for causal in [False, True] if can(name, "causal") else [False]:
        found += [in_order(dtype, queries, causal=causal) for queries in (K, Q, 1)]
    return found


def masked_case(name: str, dtype: torch.dtype) -> Case:
    """Everything at once that the mechanism can do, where some query sees several keys: with a single one its weight is
    1, whatever it says. Raises AssertionError for a mechanism that never lets a query see two."""
    parts = [part for part in PARTS if part != "causal" and (part == "keys" or part in find_mechanism(name).can)]
    for seed in range(1, 30):
        case = draw(dtype, *parts, seed=seed)
        if int(seen_by(name, case).sum(-1).max()) > 1:
            return case
    raise AssertionError(f"under the masks of this test no query of {name} sees two keys")


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def gradients(loss: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Of each input; zero where it plays no part."""
    if not loss.requires_grad:
        return tuple(torch.zeros_like(x) for x in inputs)
    return torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)


# ------------------------------------------------------------------------------------- one function for each promise


def check_definition(name: str) -> None:
    """Weights and context equal the loop: to 1e-10 in float64, to 1e-5 in float32."""
    for dtype, tolerance in TOLERANCES:
        mechanism = make(name).to(dtype)
        for case in all_cases(name, dtype):
            q, k, v, mask, bias, _ = case
            close(mechanism(q, k, v, mask, bias).double(), context_by_definition(name, case), tolerance)
            if can(name, "weights"):
                close(mechanism.weights(q, k, mask, bias).double(), definition_of(name).weights(case), tolerance)


def check_what_it_says(name: str) -> None:
    """It says what it can do, in the words that there are; without weights it says why."""
    kind = find_mechanism(name)
    assert kind.can <= {*ABILITIES} and set(kind.Config.model_fields) >= {"name"}
    assert (kind.no_weights is None) == can(name, "weights"), "say in no_weights why there are none, or that it can"


def check_weights_times_values(name: str) -> None:
    """`weights @ v` equals `forward`: the fused path and the explicit one are the same."""
    for dtype, tolerance in WITH_BFLOAT16:
        mechanism = make(name).to(dtype)
        for q, k, v, mask, bias, _ in all_cases(name, dtype):
            close(mechanism.weights(q, k, mask, bias) @ v, mechanism(q, k, v, mask, bias), tolerance)


def check_scale(name: str) -> None:
    """The scale is the one that the model gives (T5's is 1)."""
    case = masked_case(name, torch.float64)._replace(scale=1.0)
    for mechanism in (make(name, scale=1.0), make(name)):
        mechanism.scale = 1.0
        close(mechanism(*case[:5]), context_by_definition(name, case), 1e-10)


def check_shared_keys(name: str) -> None:
    """Fewer heads of keys and values than of queries: each is shared by neighbours."""
    case = masked_case(name, torch.float64)
    q = case.q.repeat_interleave(2, 1)
    bias = None if case.bias is None else case.bias.repeat_interleave(2, 1)
    shared = make(name)(q, case.k, case.v, case.mask, bias)
    close(shared, make(name)(q, *(x.repeat_interleave(2, 1) for x in case[1:3]), case.mask, bias), 1e-10)


def check_many_keys(name: str) -> None:
    """A text that is long enough for another kernel is treated alike, rows that see nothing included."""
    g = torch.Generator().manual_seed(1)
    mask = AttentionMask.in_order(Q, 1021, key_mask=torch.rand(B, 1021, generator=g) < 0.7)
    mask.key_mask[:, 2] = True  # something in every window
    if can(name, "pair_mask"):
        mask = mask._replace(pair_mask=torch.rand(B, Q, 1021, generator=g) < 0.7)
        mask.pair_mask[1, 3], mask.pair_mask[1, 2, 2] = False, True
    for dtype, tolerance in WITH_BFLOAT16:
        mechanism = make(name).to(dtype)
        q, k, v = (torch.randn(B, H, n, E, generator=g).to(dtype).requires_grad_() for n in (Q, 1021, 1021))
        context = mechanism(q, k, v, mask)
        if can(name, "weights"):
            close(context, mechanism.weights(q, k, mask) @ v, tolerance)
        assert context[1, :, 2].any() and (mask.pair_mask is None or not context[1, :, 3].any())
        found = gradients(context.square().sum(), [q, k, v])
        assert all(x.isfinite().all() for x in found) and found[2].any()
        assert not compares(name) or (found[0].any() and found[1].any())


def check_rows(name: str) -> None:
    """No weight is negative; a row sums to 1, or to exactly 0 where nothing may be seen."""
    for dtype, tolerance in WITH_BFLOAT16:
        mechanism = make(name).to(dtype)
        for case in all_cases(name, dtype):
            weights = mechanism.weights(case.q, case.k, case.mask, case.bias)
            sums, sees = weights.sum(-1), seen_by(name, case).any(-1)[:, None]
            assert (weights >= 0).all()
            close(sums, sees.expand_as(sums).to(dtype), tolerance)
            assert not weights[~sees[..., None].expand_as(weights)].any()


def check_hidden_keys(name: str) -> None:
    """Noise, however large, in keys and values that nobody may see changes not a bit; in visible ones it does."""
    case, mechanism = masked_case(name, torch.float32), make(name).float()
    q, k, v, mask, bias, _ = case
    before = mechanism(q, k, v, mask, bias)
    for size in (1.0, 1e4):
        noise = torch.randn(B, 1, K, E, generator=torch.Generator().manual_seed(3)) * size
        hidden, seen = (noise * there[:, None, :, None] for there in (~mask.key_mask, mask.key_mask))
        assert torch.equal(mechanism(q, k + hidden, v + hidden, mask, bias), before)
        if can(name, "weights"):
            assert torch.equal(mechanism.weights(q, k + hidden, mask, bias), mechanism.weights(q, k, mask, bias))
        assert not compares(name) or not torch.allclose(mechanism(q, k + seen, v, mask, bias), before, atol=1e-3)
        assert not torch.allclose(mechanism(q, k, v + seen, mask, bias), before, atol=1e-3)


def check_gradient_reach(name: str) -> None:
    """The gradient of one query's context is exactly zero at keys that the mask forbids or the mechanism says it does
    not use, and not zero at all others."""
    case, mechanism = masked_case(name, torch.float64), make(name)
    seen, keys_matter = seen_by(name, case), compares(name)
    assert seen.any() and not seen.all()
    for b, i in itertools.product(range(B), range(Q)):
        k, v = (x.detach().requires_grad_() for x in case[1:3])
        context = mechanism(case.q, k, v, case.mask, case.bias)[b, :, i]
        of_k, of_v = gradients(context.square().sum(), [k, v])
        reach = torch.zeros(B, K, dtype=torch.bool)
        reach[b] = seen[b, i]
        assert torch.equal(of_v.abs().sum((1, 3)) > 0, reach)
        if keys_matter and int(reach.sum()) > 1:  # with one key its weight is 1, whatever it says
            assert torch.equal(of_k.abs().sum((1, 3)) > 0, reach)


def check_rows_that_see_nothing(name: str) -> None:
    """Zeros and finite gradients: in forward and weights, with dropout and without, in every precision. No NaN is
    hidden inside the backward pass either: another kernel would let it out."""
    for dtype, dropout in itertools.product((torch.float32, torch.bfloat16), (0.0, 0.3)[: 1 + can(name, "dropout")]):
        mechanism = make(name).to(dtype)
        hidden = draw(dtype)
        hidden = hidden._replace(mask=hidden.mask._replace(key_mask=torch.zeros(B, K, dtype=torch.bool)))
        for case in [hidden, *(c for c in all_cases(name, dtype) if not seen_by(name, c).any(-1).all())]:
            q, k, v = (x.clone().requires_grad_() for x in case[:3])
            context = mechanism(q, k, v, case.mask, case.bias, dropout=dropout)
            total = context.square().sum()
            blind = ~seen_by(name, case).any(-1)[:, None, :, None]
            assert not context[blind.expand_as(context)].any()
            if can(name, "weights"):
                weights = mechanism.weights(q, k, case.mask, case.bias)
                assert not weights[blind.expand_as(weights)].any()
                total = total + weights.square().sum()
            of_q, of_k, of_v = no_nan_inside(total, [q, k, v])
            assert all(x.isfinite().all() for x in (of_q, of_k, of_v)) and bool(of_v.any()) == (not blind.all())
            assert not of_q[blind.expand_as(of_q)].any()


def no_nan_inside(loss: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """The gradients. A step of the way there that gives NaN is a failure."""
    with torch.autograd.set_detect_anomaly(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return gradients(loss, inputs)
        except RuntimeError as error:
            raise AssertionError(error) from None


def check_gradcheck(name: str) -> None:
    """The gradient of q, k, v and bias against finite differences, in float64, rows that see nothing included."""
    q, k, v, mask, bias, _ = masked_case(name, torch.float64)
    inputs = [
        x.clone().requires_grad_() for x in (q[..., :3], k[..., :3], v[..., :3], *([] if bias is None else [bias]))
    ]
    mechanism, how = make(name, d_head=3), {"raise_exception": False, "fast_mode": True}

    def context(q: Tensor, k: Tensor, v: Tensor, *bias: Tensor) -> Tensor:
        return mechanism(q, k, v, mask, *bias)

    def weights(q: Tensor, k: Tensor, *bias: Tensor) -> Tensor:
        return mechanism.weights(q, k, mask, *bias)

    assert torch.autograd.gradcheck(context, inputs, **how)
    if can(name, "weights") and compares(name):
        assert torch.autograd.gradcheck(weights, [*inputs[:2], *inputs[3:]], **how)


def check_dropout(name: str) -> None:
    """Each weight is dropped or grows by 1 / (1 - p), from torch's generator; p = 0 draws nothing."""
    case, p = masked_case(name, torch.float32), 0.3
    mechanism, identity = make(name, d_head=7).float(), torch.eye(K).expand(B, H, K, K)
    q, k = case.q[..., :7], case.k[..., :7]

    def run(dropout: float) -> Tensor:
        torch.manual_seed(7)
        return mechanism(q, k, identity, case.mask, case.bias, dropout=dropout)

    weights = mechanism.weights(q, k, case.mask, case.bias)
    dropped = run(p)
    kept = dropped != 0
    close(dropped[kept], weights[kept] / (1 - p), 1e-5)
    alive = int((weights > 0).sum())
    assert 0.4 * alive < int(kept.sum()) < 0.95 * alive
    assert torch.equal(dropped, run(p))
    before = torch.manual_seed(7).get_state()
    close(run(0.0), weights, 1e-6)
    assert torch.equal(torch.default_generator.get_state(), before)


# ----------------------------------------------------------------------------------------------------- inside a model

VOCAB, LENGTH = 23, 17
HEAD = OutputSpec("tokens", VOCAB, tied=True, bias=False)


def model_with(name: str, family: str = "decoder", **changes: object) -> Transformer:
    """A small model with random weights, in double; between its first and its last layer full attention."""
    own = {"name": name, **definition_of(name).KEYS}
    sizes = {"n_layers": 3, "d_model": 12, "n_heads": 2, "d_ff": 13, "max_length": LENGTH, "dropout": 0.0}
    config = ModelConfig(**({"family": family, "attention": [own, "full"]} | sizes | changes))
    torch.manual_seed(1)
    model = Transformer(config, VOCAB, [HEAD]).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def texts(model: Transformer, *lengths: int) -> list[Example]:
    """Random tokens, asked everywhere in the last stream; sources are two tokens longer."""
    rng, made = np.random.default_rng(2), []
    for length in lengths:
        ids = rng.integers(1, VOCAB, length)
        streams = {name: Stream(rng.integers(1, VOCAB, length + 2)) for name in model.config.stacks[:-1]}
        last = model.config.stacks[-1]
        streams[last] = Stream(ids, causal=last == "decoder")
        made.append(Example(streams, {"tokens": Targets(np.arange(length), ids, last)}))
    return made


def logits_of(model: Transformer, rows: list[list[Example]]) -> Tensor:
    return model(collate(rows, 0))["tokens"]


def families(name: str) -> Iterator[str]:
    yield "encoder"
    if can(name, "causal"):
        yield "decoder"
    if can(name, "causal", "cross"):
        yield "encoder_decoder"


def check_among_other_texts(name: str) -> None:
    """A text has the same logits alone, padded beside a longer one, and packed into one row with others."""
    for family in families(name):
        model = model_with(name, family)
        examples = texts(model, 5, 13, 9)
        alone = torch.cat([logits_of(model, [[each]]) for each in examples])
        close(logits_of(model, [[each] for each in examples]), alone, 1e-10)
        if can(name, "documents"):
            close(logits_of(model, [examples]), alone, 1e-10)


def check_recorded(name: str) -> None:
    """What is recorded gives the context: recomputed from it, the weights of all rows, and of some."""
    for family in families(name):
        model = model_with(name, family)
        with torch.no_grad(), record(model) as tape:
            logits_of(model, [[each] for each in texts(model, 5, 13)])
        for place in attention_places(model):
            seen = tape[place]
            if can(name, "weights"):
                weights = seen.weights()
                close(weights @ seen.v, seen.context, 1e-10)
                close(seen.weights(rows=[4, 1]), weights[:, :, [4, 1]], 1e-10)
                allowed = seen.allowed()
                assert allowed is None or not weights[~allowed.expand_as(weights)].any()


def check_step_equals_forward(name: str) -> None:
    """A text that grows, token by token, in pieces, beside shorter prompts, begun apart and joined, with rows that
    leave or are doubled: at each token the logits that one pass over the whole text gives."""
    for family in ("decoder", "encoder_decoder")[: 1 + can(name, "cross")]:
        for positions in ("learned", "relative")[: 1 + can(name, "bias")]:
            model = model_with(name, family, positions=positions)
            in_pieces(model)
            for joined in (False, True):
                ragged(model, joined)


def in_pieces(model: Transformer) -> None:
    batch = collate([[each] for each in texts(model, 11, 11)], 0)
    whole = model(batch)["tokens"].view(2, 11, VOCAB)
    for cuts in ([*range(1, 12)], [4, 5, 9, 11], [11]):
        state, start = model.new_state(batch, 11), 0
        for end in cuts:
            ids = batch.streams["decoder"].input_ids[:, start:end]
            close(model.step(ids, torch.ones_like(ids, dtype=torch.bool), state, "tokens"), whole[:, end - 1], 1e-10)
            start = end


def ragged(model: Transformer, joined: bool) -> None:
    lengths = (3, 9, 6)
    groups = [[0, 2], [1]] if joined else [[0, 1, 2]]
    examples, states, logits = texts(model, *lengths), [], torch.empty(3, VOCAB, dtype=torch.float64)
    for rows in groups:
        batch = collate([[examples[row]] for row in rows], 0)
        ids = batch.streams["decoder"].input_ids
        states.append(model.new_state(batch, ids.shape[1] if joined else 17))
        logits[rows] = model.step(ids, ids != 0, states[-1], "tokens")
    state = DecodingState.concat(states, groups, 17) if joined else states[0]
    grown = [example.streams["decoder"].values.tolist() for example in examples]
    kept = [0, 1, 2]
    for n in range(6):
        for row, text in enumerate(grown):
            close(logits[row], whole_text(model, examples[kept[row]], text), 1e-10)
        if n == 3:  # as beams do
            rows = [2, 1, 1]
            state.reorder(torch.tensor(rows))
            grown, kept = [[*grown[row]] for row in rows], [kept[row] for row in rows]
        newest = torch.randint(1, VOCAB, (3, 1), generator=torch.Generator().manual_seed(n))
        for text, [id] in zip(grown, newest.tolist(), strict=True):
            text.append(id)
        logits = model.step(newest, torch.ones(3, 1, dtype=torch.bool), state, "tokens")


def whole_text(model: Transformer, example: Example, ids: list[int]) -> Tensor:
    """The logits behind a text, in one pass."""
    streams = example.streams | {"decoder": Stream(np.array(ids), causal=True)}
    last = Targets(np.array([len(ids) - 1]), np.array([0]), "decoder")
    return logits_of(model, [[Example(streams, {"tokens": last})]])[0]


def check_refusals(name: str) -> None:
    """What it says it cannot do is refused by the model that needs it, with the names of those that can."""
    kind = find_mechanism(name)
    needs: dict[Ability, Callable[[], object]] = {
        "bias": lambda: model_with(name, "encoder", positions="alibi"),
        "dropout": lambda: model_with(name, "encoder", attention_dropout=0.5),
        "causal": lambda: model_with(name, "decoder"),
        "cross": lambda: model_with(name, "encoder_decoder"),
        "documents": lambda: packed(model_with(name, "encoder")),
        "pair_mask": lambda: paired(model_with(name, "encoder")),
        "decode": lambda: model_with(name, "encoder" if not can(name, "causal") else "decoder").need("decoding"),
    }
    for ability, build in needs.items():
        if ability in kind.can or (ability == "cross" and "causal" not in kind.can):
            build() if ability in kind.can else None
            continue
        with pytest.raises(UsageError, match=rf"model.attention={name} (has no .*\n.*|cannot, .*)full"):
            build()


def packed(model: Transformer) -> Tensor:
    return logits_of(model, [texts(model, 3, 5)])


def paired(model: Transformer) -> dict[str, Tensor]:
    batch: Batch = collate([[each] for each in texts(model, 5)], 0)
    stream = batch.streams["encoder"]
    mask = stream.mask._replace(pair_mask=torch.ones(1, 5, 5, dtype=torch.bool), aligned=False)
    return model(batch._replace(streams={"encoder": stream._replace(mask=mask)}))


CHECKS: dict[Callable[[str], None], tuple[Ability, ...]] = {
    check_definition: (),
    check_what_it_says: (),
    check_weights_times_values: ("weights",),
    check_scale: (),
    check_shared_keys: (),
    check_many_keys: (),
    check_rows: ("weights",),
    check_hidden_keys: (),
    check_gradient_reach: (),
    check_rows_that_see_nothing: (),
    check_gradcheck: (),
    check_dropout: ("dropout", "weights"),
    check_among_other_texts: (),
    check_recorded: (),
    check_step_equals_forward: ("causal", "decode"),
    check_refusals: (),
}
"""The promises, and what a mechanism must be able to do to be asked."""


def asked_of(name: str) -> list[Callable[[str], None]]:
    """The checks of what a mechanism says it can do."""
    return [check for check, needed in CHECKS.items() if can(name, *needed)]
