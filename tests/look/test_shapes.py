"""What `look shapes` counts: every matrix product, attention's own too, as PyTorch counts it and as formulas do."""

from typing import Any

import pytest
import torch
from rich.console import Console
from tiny_recipe import sentences, tokenizer_of
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from trained import answering_folder, command, generator_folder, run_folder

from glassformer.ask.run import load
from glassformer.data.batch import Batch, collate
from glassformer.look.views.shapes import UNITS, counted_pass, plain_products
from glassformer.look.views.shapes import make as shapes_view
from glassformer.model.attention.full import FullAttention
from glassformer.model.config import ModelConfig
from glassformer.model.kinds import Model, find_kind
from glassformer.objectives import find_objective
from glassformer.record import RecordedAttention, attention_places

FAMILIES = {"encoder": "masked_lm", "decoder": "causal_lm", "encoder_decoder": "denoising"}
SIZES: dict[str, Any] = {"n_layers": 2, "d_model": 24, "n_heads": 6, "d_ff": 20, "max_length": 32, "dropout": 0.0}
PARTS: dict[str, dict[str, Any]] = {
    "grouped queries": {"n_kv_heads": 2},
    "one block for all layers": {"share_layers": True},
    "gated, rms, post": {"activation": "swiglu", "norm_kind": "rms", "norm": "post", "bias": False},
    "small embeddings": {"d_embedding": 5, "tied": False},
    **{name: {"positions": name} for name in ("none", "sinusoidal", "learned", "rotary", "alibi", "relative")},
}


def made(family: str, **parts: Any) -> tuple[Model, Batch]:
    """A model of a family, and two texts of different lengths for it."""
    objective_kind = find_objective(FAMILIES[family])
    objective = objective_kind(objective_kind.Config(), tokenizer_of(sentences()), SIZES["max_length"])
    torch.manual_seed(1)
    config = ModelConfig(**(SIZES | {"family": family} | parts))
    model = find_kind(config.kind)(config, objective.tokenizer.vocab_size, objective.outputs()).eval()
    read = [objective.prompt_for("read", text).example for text in ("sun moon star", "red blue green old new")]
    return model, collate([[example] for example in read], objective.tokenizer.pad_id)


def of_formulas(model: Model, batch: Batch) -> int:
    """2 x rows x in x out of every linear map, as often as it runs, and 4 x B x H x Q x K x E of every attention."""
    total = [0]

    def linear(module: nn.Module, given: tuple, output: torch.Tensor) -> None:
        total[0] += 2 * output.numel() * given[0].shape[-1]

    def attention(module: nn.Module, given: tuple, output: torch.Tensor) -> None:
        q, k = given[0], given[1]
        total[0] += 4 * q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] * q.shape[3]

    hooks = [module.register_forward_hook(linear) for module in model.modules() if isinstance(module, nn.Linear)]
    hooks += [m.register_forward_hook(attention) for m in model.modules() if isinstance(m, FullAttention)]
    model(batch)
    for hook in hooks:
        hook.remove()
    return total[0]


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_totals_are_those_of_torch_s_counter_on_written_out_products(
    family: str, parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention in one file as `weights @ v`, where the counter sees every product by itself."""
    model, batch = made(family, **parts)
    total = counted_pass(model, batch)[2]

    def written_out(
        self: FullAttention, q: Any, k: Any, v: Any, mask: Any, bias: Any = None, dropout: float = 0
    ) -> Any:
        repeated = q.shape[1] // v.shape[1]
        return self.weights(q, k, mask, bias) @ v.repeat_interleave(repeated, dim=1)

    monkeypatch.setattr(FullAttention, "forward", written_out)
    counter = FlopCounterMode(display=False)
    with counter:
        model(batch)
    assert total == counter.get_total_flops() > 0


@pytest.mark.parametrize("parts", [{}, {"n_kv_heads": 3, "positions": "rotary"}], ids=["all heads", "grouped"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_every_part_is_what_its_formula_says(family: str, parts: dict[str, Any]) -> None:
    model, batch = made(family, **parts)
    tape, flops, total = counted_pass(model, batch)
    assert total == of_formulas(model, batch)
    places = attention_places(model)
    assert len(places) == (2 if family != "encoder_decoder" else 6)
    for place in places:
        seen = tape[f"{place}.mechanism"]
        assert isinstance(seen, RecordedAttention)
        (rows, heads, queries, width), keys = seen.q.shape, seen.k.shape[2]
        assert flops[f"{place}.mechanism"] == 2 * (2 * rows * heads * queries * keys * width) > 0


@torch.no_grad()
def test_pytorch_s_own_blocks_are_counted_as_ours() -> None:
    """Their fused layer hides every product from the counter; a setting that turns it off is put back."""
    (ours, batch), (theirs, same) = made("encoder"), made("encoder", kind="pytorch")
    before = torch.backends.mha.get_fastpath_enabled()
    assert counted_pass(theirs, same)[2] == counted_pass(ours, batch)[2]
    with pytest.raises(RuntimeError), plain_products():
        raise RuntimeError
    assert torch.backends.mha.get_fastpath_enabled() == before


@torch.no_grad()
def test_counting_changes_no_number() -> None:
    model, batch = made("encoder")
    [before] = model(batch).values()
    counted_pass(model, batch)
    assert torch.equal(before, next(iter(model(batch).values())))


@pytest.mark.parametrize("folder", [run_folder, generator_folder, answering_folder])
def test_tables_and_totals_of_runs_add_up(folder: Any) -> None:
    """The parts of a part and its own products are its number; the units are said in the view."""
    view = shapes_view(load(folder()), "the sun is a star" if folder is not answering_folder else "sun moon star")
    rows = {row["place"]: row["flops"] for row in view.data["rows"]}
    mechanisms = [number for place, number in rows.items() if place.endswith(".mechanism")]
    assert mechanisms and all(number > 0 for number in mechanisms)
    top = [number for place, number in rows.items() if place in ("encoder", "decoder")]
    heads = [number for place, number in rows.items() if place.startswith("heads.") and place.count(".") == 1]
    assert sum(top) + sum(heads) == view.data["flops"]
    assert "multiply-add" in UNITS and view.data["units"] == UNITS
    assert UNITS in [text.get_text() for axes in view.draw().axes for text in axes.texts]


def test_the_table_of_a_narrow_terminal_has_every_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 columns: no column is left out, and the last line is the whole model."""
    view = shapes_view(load(run_folder()), "the sun is a star")
    whole = Console.__init__

    def narrow(self: Console, **settings: Any) -> None:
        whole(self, force_terminal=True, color_system=None, width=80)

    monkeypatch.setattr(Console, "__init__", narrow)
    said = command("look", "shapes", run_folder(), "the sun is a star")
    assert said.code == 0 and "FLOPs" in said.out
    assert all(len(line) <= 100 for line in said.out.splitlines())
    numbers = [f"{row['flops']:,}" for row in view.data["rows"] if row["flops"]]
    assert all(number in said.out for number in numbers)
    *_, total, units = said.out.splitlines()
    assert total.split() == ["(whole", "model)", f"{view.data['parameters']:,}", f"{view.data['flops']:,}"]
    assert units == UNITS
