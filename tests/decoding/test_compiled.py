"""The step that generation compiles: its numbers are those of the modules in double, for every family, part and kind of
positions; and when it is taken, and when not."""

import itertools
import platform
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, Targets, collate
from glassformer.data.masks import AttentionMask
from glassformer.decoding import DecodingConfig, Prompts, compiled
from glassformer.decoding.compiled import CompiledStep, can_compile, library, step_for
from glassformer.decoding.sampling import sample
from glassformer.model.config import ModelConfig
from glassformer.model.decoding_state import DecodingState
from glassformer.model.kinds.transformer import Transformer
from glassformer.model.layers import ACTIVATIONS
from glassformer.model.positions import POSITIONS

VOCAB, LENGTH = 37, 60
FAMILIES = ("decoder", "encoder_decoder")
PARTS = [
    {"norm": "post", "activation": "relu", "embedding_norm": True},
    {"norm_kind": "rms", "activation": "swiglu", "bias": False, "n_kv_heads": 1},
    {"share_layers": True, "d_embedding": 5, "activation": "geglu", "segments": 2, "attention_scale": 0.5},
]

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="this machine has no C compiler"
)


@pytest.fixture(scope="module", autouse=True)
def built(tmp_path_factory) -> None:
    """Once for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("CC", raising=False)
        library()


@pytest.fixture
def anew():
    """A library is looked for anew, and again after the test."""
    library.cache_clear()
    yield
    library.cache_clear()


def make(family: str = "decoder", head: OutputSpec | None = None, **changes) -> Transformer:
    """Every weight random. Six features in a head are fewer than are computed at once, 13 no multiple of anything."""
    sizes = {"n_layers": 2, "d_model": 24, "n_heads": 4, "d_ff": 13, "max_length": LENGTH, "dropout": 0.0}
    config = ModelConfig(**(sizes | {"family": family} | changes))
    torch.manual_seed(1)
    model = Transformer(config, VOCAB, [head or OutputSpec("tokens", VOCAB, tied=True, bias=False)]).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=2 * config.d_model**-0.5)
    return model


def begun(model: Transformer, *lengths: int, capacity: int = LENGTH) -> DecodingState:
    """Prompts of random tokens, read; sources are two tokens longer."""
    rng, rows = np.random.default_rng(2), []
    for length in lengths:
        streams = {"decoder": Stream(rng.integers(1, VOCAB, length), causal=True)}
        if len(model.stacks) > 1:
            streams["encoder"] = Stream(rng.integers(1, VOCAB, length + 2))
        rows.append([Example(streams, {"tokens": Targets(np.array([0]), np.array([0]), "decoder")})])
    batch = collate(rows, 0)
    state, ids = model.new_state(batch, capacity), batch.streams["decoder"].input_ids
    model.step(ids, ids != 0, state, "tokens")
    return state


def tokens(rows: int, number: int) -> list[torch.Tensor]:
    ids = torch.randint(1, VOCAB, (number, rows, 1), generator=torch.Generator().manual_seed(4))
    return list(ids)


def compare(model: Transformer, *lengths: int, number: int = 12) -> None:
    """Token by token beside the modules in double; after some of them rows leave, are doubled and change places."""
    exact = make(model.config.family, **model.config.model_dump(exclude={"family"})).double()
    exact.load_state_dict(model.state_dict())
    state, other = begun(model, *lengths), begun(exact, *lengths)
    step, rows = CompiledStep(model, "tokens"), len(lengths)
    for n, newest in enumerate(tokens(rows, number)):
        if n == number // 2 and rows > 1:
            for each in (state, other):
                each.reorder(torch.tensor([*reversed(range(1, rows)), 1]))
        found = step(newest, state)
        wanted = exact.step(newest, torch.ones_like(newest, dtype=torch.bool), other, "tokens")
        assert wanted.std() > 0.05
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


# ------------------------------------------------------------------------------------------------------ its numbers


@needs_compiler
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "-".join(map(str, parts)))
@pytest.mark.parametrize("lengths", [(5,), (3, 30, 7)], ids=["one", "ragged"])
def test_its_logits_are_those_of_the_modules_in_double(family, positions, parts, lengths):
    compare(make(family, **({"positions": positions} | parts)), *lengths)


@needs_compiler
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_with_every_activation(activation):
    compare(make(activation=activation), 4, 9)


@needs_compiler
@pytest.mark.parametrize("d_head, heads", [(1, 3), (8, 2), (16, 3), (32, 2), (33, 1), (48, 1), (64, 2), (80, 1)])
@pytest.mark.parametrize("length", [1, 45])
def test_with_every_width_of_a_head(d_head, heads, length):
    compare(make("encoder_decoder", d_model=d_head * heads, n_heads=heads, d_ff=70), length, 2)


@needs_compiler
def test_with_every_number_of_rows():
    for rows in range(1, 20):
        compare(make(n_kv_heads=2), *range(1, rows + 1), number=3)


@needs_compiler
@pytest.mark.parametrize("transform", ["dense", None])
def test_with_every_kind_of_output_layer(transform):
    head = OutputSpec("tokens", VOCAB, tied=False, transform=transform)
    model = make(head=head)
    state, other = begun(model, 3, 5), begun(model, 3, 5)
    for newest in tokens(2, 4):
        wanted = model.step(newest, torch.ones_like(newest, dtype=torch.bool), other, "tokens")
        torch.testing.assert_close(CompiledStep(model, "tokens")(newest, state), wanted, rtol=1e-4, atol=1e-4)


@needs_compiler
@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have one set of instructions here")
@pytest.mark.parametrize("march", ["x86-64", "x86-64-v3"])
def test_on_processors_with_fewer_registers(march, anew, monkeypatch):
    """What this processor would run if it were an older one."""
    monkeypatch.setattr(compiled, "FLAGS", tuple(f"-march={march}" if "-march" in f else f for f in compiled.FLAGS))
    built = library()
    assert built is not None and built.lanes() == 8
    for family, positions in itertools.product(FAMILIES, ("rotary", "relative")):
        compare(make(family, positions=positions, n_kv_heads=2), 3, 30, 7, 2, 9, 11, 4)
    compare(make(d_model=64, n_heads=2), 20, 2)


@needs_compiler
def test_scores_of_any_size():
    """A softmax over scores of thousands: no overflow, and the largest wins."""
    model = make(attention_scale=300.0)
    compare(model, 20, 3, number=4)


@needs_compiler
def test_who_may_see_nothing_of_the_source_gets_zeros():
    """As the mechanism has it; and the other row is not touched."""
    model = make("encoder_decoder")
    state, other = begun(model, 4, 4), begun(model, 4, 4)
    for each in (state, other):
        blind = torch.ones(2, 6, dtype=torch.bool)
        blind[0] = False
        each.memory_mask = AttentionMask.in_order(1, 6, key_mask=blind).prepared(torch.float32)
    [newest] = tokens(2, 1)
    found = CompiledStep(model, "tokens")(newest, state)
    wanted = model.step(newest, torch.ones_like(newest, dtype=torch.bool), other, "tokens")
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[0], CompiledStep(model, "tokens")(newest, begun(model, 4, 4))[0], atol=0.01)


@needs_compiler
@pytest.mark.parametrize("positions", ["learned", "alibi"])
def test_a_row_has_the_same_bits_alone_among_others_and_on_more_threads(positions):
    """Every number is summed by one thread in one order. The keys and values of the prompt come from torch, and are
    taken from one place and one thread, since there they depend on the number of rows, and on processors without
    AVX-512 on that of threads."""
    model = make("encoder_decoder", positions=positions)
    news = tokens(9, 5)

    def logits(rows: slice, threads: int) -> torch.Tensor:
        torch.set_num_threads(1)
        state = begun(model, *[6] * 9)
        state.reorder(torch.arange(9)[rows])
        torch.set_num_threads(threads)
        step = CompiledStep(model, "tokens")
        return torch.stack([step(newest[rows], state) for newest in news])

    try:
        torch.set_num_threads(1)
        together = logits(slice(None), 1)
        for row, threads in itertools.product((0, 4, 8), (1, 2, 3)):
            assert torch.equal(logits(slice(row, row + 1), threads)[:, 0], together[:, row])
        assert torch.equal(logits(slice(None), 3), together)
    finally:
        torch.set_num_threads(1)


@needs_compiler
@pytest.mark.parametrize("rows, length", [(2, 20), (1, 3), (3, 3)])
def test_it_does_not_write_where_there_is_no_room(rows, length):
    """Full, or of another number of rows."""
    model = make(positions="none")
    state = begun(model, 3, 3, capacity=20)
    for layer in state.layers:
        layer.own.length = length
    with pytest.raises(IndexError):
        CompiledStep(model, "tokens")(torch.ones(rows, 1, dtype=torch.long), state)


@needs_compiler
def test_weights_that_change():
    """A step made afterwards has the new ones; one made before goes on to be safe."""
    model = make()
    before, [newest] = CompiledStep(model, "tokens"), tokens(2, 1)
    old = before(newest, begun(model, 3, 5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    after = CompiledStep(model, "tokens")(newest, begun(model, 3, 5))
    wanted = model.step(newest, torch.ones_like(newest, dtype=torch.bool), begun(model, 3, 5), "tokens")
    torch.testing.assert_close(after, wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(after, old, atol=0.01)
    model.double()
    assert before(newest, begun(model.float(), 3, 5)).isfinite().all()


# ------------------------------------------------------------------------------------------------- when it is taken


@needs_compiler
def test_models_that_it_is_not_for():
    assert can_compile(make())
    assert not can_compile(make().double())
    assert not can_compile(make().train())
    assert not can_compile(make().to("meta"))
    watched = make()
    watched.decoder.blocks[1].feed_forward.register_forward_pre_hook(lambda module, given: None)
    assert not can_compile(watched)
    other = make()
    mechanism = other.decoder.blocks[0].self_attention.mechanism
    mechanism.__class__ = type("Other", (type(mechanism),), {})
    assert not can_compile(other)


def generated(model: Transformer) -> list[list[int]]:
    asked = {"tokens": Targets(np.array([0]), np.array([IGNORE_INDEX]), "decoder")}
    rows = [Example({"decoder": Stream(np.array(start), causal=True)}, asked) for start in ([3, 4, 5], [6])]
    prompts = Prompts(rows, "decoder", "tokens", [frozenset()] * 2, LENGTH, 0)
    return [best.ids for [best] in sample(model, prompts, DecodingConfig(max_tokens=20))]


@needs_compiler
def test_texts_are_the_same_without_a_compiler(anew, monkeypatch, cache):
    """None at all, none that can be found, one that fails and one that makes rubbish; then generation takes the step
    that is written out."""
    model = make(positions="rotary")
    wanted = generated(model)
    assert isinstance(step_for(model, "tokens"), CompiledStep)
    for compiler in ("", "no-such-compiler", "false", "true"):
        library.cache_clear()
        monkeypatch.setenv("CC", compiler)
        assert library() is None and not isinstance(step_for(model, "tokens"), CompiledStep)
        assert generated(model) == wanted
    assert not list(Path(cache, "compiled").glob("step-*/*"))  # nothing half made is left


@needs_compiler
def test_it_is_built_once(anew, monkeypatch, cache):
    """Kept in the cache folder: the next process needs no compiler for it, another source does."""
    assert library() is not None
    made = {file: file.stat().st_mtime_ns for file in Path(cache, "compiled").iterdir()}
    assert len(made) == 2  # with its hash
    library.cache_clear()
    monkeypatch.setattr(compiled.built.subprocess, "run", lambda *a, **k: pytest.fail("it is there already"))
    assert library() is not None
    assert {file: file.stat().st_mtime_ns for file in Path(cache, "compiled").iterdir()} == made
    library.cache_clear()
    monkeypatch.setattr(compiled, "FLAGS", (*compiled.FLAGS, "-DOTHER"))
    with pytest.raises(pytest.fail.Exception):
        library()


@needs_compiler
def test_a_library_that_is_damaged_is_made_anew(anew, cache):
    """A cut one would end this process; test_built.py has the other damages."""
    library()
    [file] = Path(cache, "compiled").glob("*.so")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    library.cache_clear()
    assert can_compile(make())
    assert file.read_bytes() == whole


@needs_compiler
def test_a_folder_that_cannot_be_written(anew, monkeypatch, tmp_path, capsys):
    """It is built for this process alone."""
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("GLASSFORMER_CACHE", str(file))
    assert library() is not None and library() is not None
    assert capsys.readouterr().err.count("made anew in every process") == 1


@needs_compiler
def test_threads_that_are_not_torchs(anew, monkeypatch):
    """A library that brings threads of its own is not taken: here its question for threads is another function."""
    shared = compiled.ctypes.CDLL

    class Own:
        def __init__(self, path: str) -> None:
            self.found, self.is_ours = shared(path), "libtorch" not in path

        def __getattr__(self, name: str):
            return (
                self.found.omp_get_num_procs
                if self.is_ours and name == "omp_get_max_threads"
                else getattr(self.found, name)
            )

    monkeypatch.setattr(compiled.ctypes, "CDLL", Own)  # the same module for built.py
    assert library() is None
