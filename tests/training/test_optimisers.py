"""Optimisers: what is decayed, what Muon takes, and that nothing is left out or taken twice."""

from collections.abc import Callable

import pytest
import torch
from tiny_recipe import model_of, objective_of, sentences
from torch import nn

from glassformer.errors import UsageError
from glassformer.training.engine import Engine
from glassformer.training.muon import Muon, orthogonal
from glassformer.training.optimisers import OptimizerConfig, build_optimizers


@pytest.fixture
def model() -> nn.Module:
    return model_of(objective_of(sentences()))


def groups_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[set[str]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [{names[p] for p in group["params"]} for group in optimizer.param_groups]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_parameter_is_in_exactly_one_group(model: nn.Module, name: str) -> None:
    """Tied weights count once, and nothing stays untrained."""
    optimizers = build_optimizers(model, OptimizerConfig.model_validate({"name": name}))
    found = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert len(found) == len(set(found))
    assert set(found) == {id(p) for p in model.parameters()}


def test_frozen_parameters_are_left_out(model: nn.Module) -> None:
    """What needs no gradient is in no group."""
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    [optimizer] = build_optimizers(model, OptimizerConfig())
    assert all(p is not frozen for group in optimizer.param_groups for p in group["params"])


def test_matrices_are_decayed_and_norms_and_biases_are_not(model: nn.Module) -> None:
    """By name, so that a group that is right by chance does not pass."""
    [optimizer] = build_optimizers(model, OptimizerConfig(weight_decay=0.3))
    decayed, spared = groups_of(model, optimizer)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    assert all(name.endswith("bias") or "norm" in name or ".transform.2." in name for name in spared)
    assert all(name.endswith("weight") and "norm" not in name for name in decayed)
    assert "encoder.blocks.0.attention_norm.weight" in spared
    assert "encoder.blocks.0.self_attention.output.weight" in decayed


def test_decay_shrinks_matrices_only(model: nn.Module) -> None:
    """With zero gradients AdamW only decays: matrices by lr * weight_decay, vectors not by a bit."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    [optimizer] = build_optimizers(model, OptimizerConfig(learning_rate=0.1, weight_decay=0.5))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        expected = before[name] * (1 - 0.1 * 0.5) if p.ndim >= 2 else before[name]
        torch.testing.assert_close(p.detach(), expected, rtol=1e-6 if p.ndim >= 2 else 0, atol=0)


def test_muon_takes_only_hidden_matrices(model: nn.Module) -> None:
    """Embeddings, output heads, norms and biases stay with AdamW."""
    adamw, muon = build_optimizers(model, OptimizerConfig(name="muon"))
    [taken] = groups_of(model, muon)
    parts = ("self_attention.query_key_value", "self_attention.output", "feed_forward.expand", "feed_forward.contract")
    assert taken == {f"encoder.blocks.{n}.{part}.weight" for n in range(2) for part in parts}
    left = set().union(*groups_of(model, adamw))
    assert {"encoder.embeddings.token.weight", "heads.masked_lm.transform.0.weight"} <= left


def test_each_group_remembers_its_own_peak(model: nn.Module) -> None:
    """The schedule multiplies `peak`, and Muon's is not AdamW's."""
    config = OptimizerConfig(name="muon", learning_rate=3e-4, muon_learning_rate=0.05)
    adamw, muon = build_optimizers(model, config)
    assert [group["peak"] for group in adamw.param_groups] == [3e-4, 3e-4]
    assert [group["peak"] for group in muon.param_groups] == [0.05]


def test_the_settings_arrive(model: nn.Module) -> None:
    """Betas and epsilon are those of the recipe."""
    [optimizer] = build_optimizers(model, OptimizerConfig(beta1=0.7, beta2=0.8, epsilon=1e-3))
    assert {(group["betas"], group["eps"]) for group in optimizer.param_groups} == {((0.7, 0.8), 1e-3)}


@pytest.mark.parametrize("shape", [(24, 24), (48, 12), (11, 37)])
def test_muon_is_torchs_in_another_number_format(shape: tuple[int, int]) -> None:
    """In bfloat16 it is torch's to rounding; in float32 nearer to what both approximate."""
    torch.manual_seed(3)
    start, gradients = torch.randn(2, *shape), torch.randn(4, 2, *shape)

    def trained(build: Callable[[list[torch.Tensor]], torch.optim.Optimizer]) -> torch.Tensor:
        matrices = [nn.Parameter(matrix.clone()) for matrix in start]
        optimizer = build(matrices)
        for step in gradients:
            for matrix, gradient in zip(matrices, step, strict=True):
                matrix.grad = gradient.clone()
            optimizer.step()
        return torch.stack([matrix.detach() for matrix in matrices])

    settings = {"lr": 0.02, "weight_decay": 0.1, "nesterov": True}
    wanted = trained(lambda matrices: torch.optim.Muon(matrices, **settings))
    close = trained(lambda matrices: Muon(matrices, torch.bfloat16, **settings))
    exact = trained(lambda matrices: Muon(matrices, torch.float32, **settings))
    moved = (wanted - start).norm()
    assert (close - wanted).norm() < 0.03 * moved
    assert 0 < (exact - wanted).norm() < 0.05 * moved


def test_what_muon_adds_is_nearly_orthogonal() -> None:
    """Singular values near 1, from any that are not far below the largest; and the vectors are those of the matrix."""
    torch.manual_seed(3)
    matrices = torch.randn(3, 16, 40) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    found = orthogonal(matrices, torch.float32, (3.4445, -4.775, 2.0315), 5)
    assert found.shape == matrices.shape
    values = torch.linalg.svdvals(found)
    assert bool((values > 0.6).all()) and bool((values < 1.3).all())
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert bool((((u @ v) * found).sum((1, 2)) > 0.8 * 16).all())
    assert bool((orthogonal(torch.zeros(1, 3, 5), torch.float32, (3.4445, -4.775, 2.0315), 5) == 0).all())


def test_muons_format_follows_the_precision_of_training() -> None:
    """Without instructions for bfloat16 its products would take most of the step."""
    objective = objective_of(sentences())
    for precision, wanted in (("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)):
        settings = OptimizerConfig(name="muon")
        engine = Engine(
            model_of(objective), objective, settings, device="cpu", precision=precision, compiled=False, clip=None
        )
        [muon] = [each for each in engine.optimizers if isinstance(each, Muon)]
        assert muon.number_format is wanted


def test_muon_takes_the_matrices_of_pytorchs_blocks_too() -> None:
    """The same ones as of ours, under PyTorch's names: a rival trained by the same trainer is trained alike."""
    made = model_of(objective_of(sentences()), kind="pytorch")
    adamw, muon = build_optimizers(made, OptimizerConfig(name="muon"))
    [taken] = groups_of(made, muon)
    parts = ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight")
    assert taken == {f"encoder.stack.layers.{n}.{part}" for n in range(2) for part in parts}
    assert "encoder.embeddings.token.weight" in set().union(*groups_of(made, adamw))


def test_the_groups_of_our_blocks_are_what_they_were(model: nn.Module) -> None:
    """By the rule of old runs, which resume: two dimensions and `.blocks.` in the name, in the model's order."""
    adamw, muon = build_optimizers(model, OptimizerConfig(name="muon"))
    named = list(model.named_parameters())
    hidden = [p for name, p in named if p.ndim == 2 and ".blocks." in name]
    rest = [p for name, p in named if not (p.ndim == 2 and ".blocks." in name)]
    expected = [[hidden], [[p for p in rest if p.ndim >= 2], [p for p in rest if p.ndim < 2]]]
    for optimizer, groups in zip((muon, adamw), expected, strict=True):
        found = [group["params"] for group in optimizer.param_groups]
        assert [[id(p) for p in group] for group in found] == [[id(p) for p in group] for group in groups]


def test_muon_without_a_matrix_is_refused(model: nn.Module) -> None:
    for parameter in model.encoder.blocks.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(UsageError, match=r"this model has none\nuse optimizer.name=adamw"):
        build_optimizers(model, OptimizerConfig(name="muon"))
    build_optimizers(model, OptimizerConfig(name="adamw"))
