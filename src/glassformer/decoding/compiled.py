"""The step of `written_out`, compiled from step.c by the C compiler of this machine: nothing of Python is left between
the products of a token."""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer.data.corpus import cache_folder
from glassformer.decoding import built
from glassformer.decoding.known import is_watched, only_full, unknown_in
from glassformer.decoding.packed import parts_of
from glassformer.decoding.written_out import Step, embedding, written_out
from glassformer.machine import instructions, processor
from glassformer.model.decoding_state import DecodingState
from glassformer.model.heads import Head
from glassformer.model.kinds import Model
from glassformer.model.layers import Block, CrossAttention, MultiHeadAttention
from glassformer.model.stack import Stack

ACTIVATIONS = {"relu": 0, "gelu": 1, "geglu": 1, "gelu_tanh": 2, "geglu_tanh": 2, "silu": 3, "swiglu": 3}
"""By which number step.c knows them."""
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-fopenmp")


def step_for(model: Model, head: str) -> Step:
    """A function that gives the logits after one new token in each row, for the weights that the model has now:
    compiled where that can be, else written out, and `model.step` where either is not known to say the same."""
    return CompiledStep(model, head) if can_compile(model) else written_out(model, head)


def can_compile(model: Model) -> bool:
    """Whether step.c is for this model and could be built. It is not where anything of the model is not known to it
    (known.py), for other types than float32, other devices and other mechanisms than full attention in any layer, while
    training, and where a hook waits to be called."""
    return (
        unknown_in(model) is None
        and only_full(model)
        and all(each.dtype == torch.float32 and each.device.type == "cpu" for each in model.parameters())
        and not is_watched(model)
        and library() is not None
    )


# ------------------------------------------------------------------------------------------------- the library


def compiler_command() -> list[str]:
    """The compiler that the environment variable CC names, or the first of cc, gcc and clang that there is; empty where
    there is none, or CC is empty."""
    return os.environ.get("CC", next(filter(shutil.which, ("cc", "gcc", "clang")), "")).split()


@functools.cache
def library() -> ctypes.CDLL | None:
    """step.c as a library, built when it is first asked for and kept in the cache folder; about a second. None without
    a compiler, where it cannot build the file, or where its threads would be others than torch's: two sets of threads
    that wait for work would take the processor from each other."""
    compiler = compiler_command()
    if not compiler:
        return None
    source = resources.files("glassformer.decoding").joinpath("step.c").read_bytes()
    try:
        file = _file(source, compiler)
        found = built.loaded(built.kept(file, source, [*compiler, *FLAGS, "-x", "c", "-"]), file.name)
        torchs = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        threads = [ctypes.cast(each.omp_get_max_threads, ctypes.c_void_p).value for each in (found, torchs)]
    except (OSError, subprocess.SubprocessError, AttributeError):
        return None
    found.step.argtypes, found.step.restype = [ctypes.c_void_p, ctypes.c_int], None
    return found if threads[0] == threads[1] else None


def _file(source: bytes, compiler: list[str]) -> Path:
    """Where the library for this processor is kept: whoever builds one of this name has built the same."""
    made_of = [source, *map(repr, (FLAGS, compiler, processor(), instructions(), torch.__version__))]
    name = hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]
    return cache_folder() / "compiled" / f"step-{name}.so"


# ------------------------------------------------------------------- the structures of step.c, field by field


def _structure(name: str, **fields: Any) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


_POINTER, _LONG, _FLOAT, _INT = ctypes.c_void_p, ctypes.c_long, ctypes.c_float, ctypes.c_int
_Linear = _structure("Linear", weight=_POINTER, bias=_POINTER, inputs=_LONG, outputs=_LONG)
_Norm = _structure("Norm", weight=_POINTER, bias=_POINTER, epsilon=_FLOAT, centred=_INT)
_Seen = _structure(
    "Seen", keys=_POINTER, values=_POINTER, real=_POINTER, row=_LONG, head=_LONG, real_row=_LONG, length=_LONG
)
_Attention = _structure("Attention", norm=_Norm, project=_Linear, output=_Linear)
_FeedForward = _structure("FeedForward", norm=_Norm, expand=_Linear, contract=_Linear)
_Block = _structure("Block", own=_Attention, across=_Attention, feed_forward=_FeedForward)
_Step = _structure(
    "Step",
    **dict.fromkeys(("blocks", "own", "memory"), _POINTER),
    norm=_Norm,
    head=_Linear,
    **dict.fromkeys(("n_blocks", "n_heads", "kv_heads", "d_head", "d_ff", "activation", "gated", "pre_norm"), _LONG),
    scale=_FLOAT,
    rows=_LONG,
    **dict.fromkeys(("cos", "sin", "bias"), _POINTER),
    **dict.fromkeys(("rotation_row", "bias_row", "bias_head"), _LONG),
    **dict.fromkeys(("x", "normed", "wide", "context", "inner", "scores", "logits"), _POINTER),
    scores_row=_LONG,
)


def _linear(layer: nn.Linear, width: int, last: int | None = None) -> Any:
    """The outputs of a layer before `last`, its weights in panels of `width` outputs, which are kept until they
    change."""
    parts, key = parts_of(layer), ("panels", last)
    if key not in parts:
        weight = layer.weight.detach()[:last]
        fill = -len(weight) % width
        panels = F.pad(weight, (0, 0, 0, fill)).view(-1, width, weight.shape[1]).transpose(1, 2).contiguous()
        bias = None if layer.bias is None else F.pad(layer.bias.detach()[:last], (0, fill))
        parts[key] = (panels, bias, len(weight))
    panels, bias, outputs = parts[key]
    return _Linear(panels.data_ptr(), None if bias is None else bias.data_ptr(), panels.shape[1], outputs)


def _norm(norm: nn.Module | None) -> Any:
    if isinstance(norm, nn.LayerNorm):
        return _Norm(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps, 1)
    if isinstance(norm, nn.RMSNorm):
        return _Norm(norm.weight.data_ptr(), None, norm.eps, 0)
    return _Norm()


def _attention(part: MultiHeadAttention | None, norm: nn.Module | None, width: int) -> Any:
    if part is None:
        return _Attention()
    asked = part.widths[0] if isinstance(part, CrossAttention) else None  # the memory's keys and values are there
    return _Attention(_norm(norm), _linear(part.query_key_value, width, asked), _linear(part.output, width))


def _block(block: Block, width: int) -> Any:
    expand, contract = block.feed_forward.expand, block.feed_forward.contract
    return _Block(
        _attention(block.self_attention, block.attention_norm, width),
        _attention(block.cross_attention, block.cross_attention_norm, width),
        _FeedForward(_norm(block.feed_forward_norm), _linear(expand, width), _linear(contract, width)),
    )


# ---------------------------------------------------------------------------------------------------- the step


class CompiledStep:
    """What `written_out` gives, compiled; for models of which `can_compile` is true."""

    def __init__(self, model: Model, head: str) -> None:
        built, stack, classifier = library(), model.stacks[-1], model.heads[head]
        assert built is not None and isinstance(stack, Stack) and isinstance(classifier, Head)
        blocks: list[Any] = list(stack.blocks)
        own, feed_forward, width = blocks[0].self_attention, blocks[0].feed_forward, built.panel()
        self.library, self.threads, self.lanes = built, torch.get_num_threads(), built.lanes()
        self.embed, self.positions, self.head = embedding(stack), stack.positions, classifier
        self.outputs = classifier.output.out_features
        self.scratch = {
            "normed": model.config.d_model,
            "wide": max(sum(own.widths), feed_forward.expand.out_features),
            "context": own.widths[0],
            "inner": model.config.d_ff,
        }
        """What is written down between two products: so many numbers for each row."""
        self.blocks = (_Block * len(blocks))(*(_block(block, width) for block in blocks))
        self.seen, self.memory = (_Seen * len(blocks))(), (_Seen * len(blocks))()
        self.pointed: list[tuple[Any, ...]] = [(None,) * 4] * len(blocks)
        """The tensors whose addresses stand there."""
        self.told = _Step(
            blocks=ctypes.addressof(self.blocks),
            own=ctypes.addressof(self.seen),
            memory=None if blocks[0].cross_attention is None else ctypes.addressof(self.memory),
            norm=_norm(stack.norm),
            head=_linear(classifier.output, width) if classifier.transform is None else _Linear(),
            n_blocks=len(blocks),
            n_heads=own.head_counts[0],
            kv_heads=own.head_counts[1],
            d_head=own.d_head,
            d_ff=model.config.d_ff,
            activation=ACTIVATIONS[model.config.activation],
            gated=feed_forward.gated,
            pre_norm=blocks[0].pre_norm,
            scale=own.mechanism.scale,
        )
        linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
        self.held = [parts_of(layer) for layer in linear], [weight.detach() for weight in model.parameters()]
        """The weights, of which the structures only know the addresses."""

    def __call__(self, newest: Int[Tensor, "B 1"], state: DecodingState) -> Float[Tensor, "B size"]:
        """The logits of the next token of each row. Called where no gradients are wanted."""
        told = self.told
        mask = state.advance_by_one()
        positions = mask.query_positions
        x = self.embed(newest, positions)[:, 0]
        rows = told.rows = x.shape[0]
        self._point_to_keys(state, rows)
        rotation, bias = self.positions.rotation(positions), self.positions.bias(positions, mask.key_positions)
        if rotation is not None:
            told.cos, told.sin = rotation.cos.data_ptr(), rotation.sin.data_ptr()
            told.rotation_row = rotation.cos.stride(0) if rotation.cos.shape[0] > 1 else 0
        if bias is not None:
            bias = bias.contiguous()
            told.bias, told.bias_head = bias.data_ptr(), bias.stride(1)
            told.bias_row = bias.stride(0) if bias.shape[0] > 1 else 0
        room = x.new_empty(rows * sum(self.scratch.values()) + self.threads * told.scores_row)
        address = room.data_ptr()
        for name, size in self.scratch.items():
            setattr(told, name, address)
            address += rows * size * room.itemsize
        logits = x.new_empty(rows, self.outputs)
        told.x, told.scores, told.logits = x.data_ptr(), address, logits.data_ptr()
        self.library.step(ctypes.addressof(told), self.threads)
        return logits if self.head.transform is None else self.head(x)

    def _point_to_keys(self, state: DecodingState, rows: int) -> None:
        """Make room for one more key and value in each layer, and say where all are, where they are no longer where
        they were. Raises IndexError without room."""
        hidden = None if state.whole else state.real
        for n, (own, memory, layer) in enumerate(zip(self.seen, self.memory, state.layers, strict=True)):
            kept = layer.own
            if kept.length >= kept.keys.shape[2] or rows != kept.keys.shape[0]:  # step.c writes there, come what may
                raise IndexError(f"no room for token {kept.length} of {rows} rows in {tuple(kept.keys.shape)}")
            kept.length += 1
            own.length = kept.length
            known = (kept.keys, kept.values, hidden, layer.memory)
            if any(old is not new for old, new in zip(self.pointed[n], known, strict=True)):
                self.pointed[n] = known
                _point(own, kept.keys, kept.values, hidden)
                if layer.memory is not None:
                    assert state.memory_mask is not None
                    _point(memory, *layer.memory, state.memory_mask.key_mask)
                    memory.length = layer.memory[0].shape[2]
        self.told.scores_row = max(own.length, memory.length) + self.lanes


def _point(place: Any, keys: Tensor, values: Tensor, real: Tensor | None) -> None:
    """Say where the keys and values of one layer are."""
    place.keys, place.values = keys.data_ptr(), values.data_ptr()
    place.row, place.head, _, _ = keys.stride()
    place.real, place.real_row = (None, 0) if real is None else (real.data_ptr(), real.stride(0))
