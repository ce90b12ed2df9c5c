"""Optimizers by what their authors' code does: sizes of first steps, betas, and clipping."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.spec.loading import load_spec, parse_spec
from sslmem_kit.spec.presets import presets
from sslmem_kit.spec.training import TrainingSpec
from sslmem_kit.training.loop import train
from sslmem_kit.training.optimizer import build_optimizer, clip_gradients
from sslmem_kit.training.setup import new_objective
from tests.training.test_loop import make_spec

MATRICES = ("0.weight", "2.weight")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 4))


def first_steps(training: TrainingSpec) -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Of each parameter: its value, its gradient, and the first step."""
    net = network()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = build_optimizer(net, training)
    (10 * net(torch.randn(8, 6)).square().sum()).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    optimizer.step()
    return {name: (before[name], gradients[name], before[name] - parameter.detach()) for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("decay", [0.0, 1e-6, 1e-4])
def test_the_first_step_of_lars_is_a_thousandth_of_the_weight_with_decay_and_without(decay: float) -> None:
    """You et al. 2017 and SimCLR's own code: rate x .001 |w| in the gradient's direction, whatever its size; lightly, decay 0: rate x g."""
    steps = first_steps(TrainingSpec(optimizer="lars", learning_rate=4.8, weight_decay=decay))
    for name, (value, gradient, step) in steps.items():
        if name in MATRICES:
            assert float(step.norm() / value.norm()) == pytest.approx(4.8 * 0.001, rel=1e-4)
            torch.testing.assert_close(step / step.norm(), gradient / gradient.norm(), rtol=1e-3, atol=1e-4)
        else:  # biases and norms are neither scaled nor decayed
            torch.testing.assert_close(step, 4.8 * gradient, rtol=1e-5, atol=1e-5)


def test_no_decay_is_the_limit_of_little_decay() -> None:
    none, little = (first_steps(TrainingSpec(optimizer="lars", weight_decay=decay)) for decay in (0.0, 1e-9))
    for name, (_, _, step) in none.items():
        torch.testing.assert_close(step, little[name][2])


def test_lars_of_a_real_objective_scales_every_matrix_without_decay() -> None:
    """No weight of an encoder moves by half of itself in a step, as it did."""
    spec = make_spec("simclr", optimizer="lars", learning_rate=4.8, weight_decay=0.0)
    objective = new_objective(spec, spec.encoders[0], load_samples(spec), "cpu")
    optimizer = build_optimizer(objective, spec.training)
    before = {name: parameter.detach().clone() for name, parameter in objective.named_parameters()}
    for parameter in objective.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    moved = {
        name: float((before[name] - parameter.detach()).norm() / before[name].norm())
        for name, parameter in objective.named_parameters()
        if parameter.ndim > 1
    }
    assert len(moved) > 5
    assert all(share == pytest.approx(4.8 * 0.001, rel=1e-3) for share in moved.values()), moved


def test_betas_are_those_of_adamw() -> None:
    assert build_optimizer(network(), TrainingSpec()).param_groups[0]["betas"] == (0.9, 0.999)
    optimizer = build_optimizer(network(), TrainingSpec(betas=(0.9, 0.95)))
    assert [group["betas"] for group in optimizer.param_groups] == [(0.9, 0.95)] * 2


def test_gradients_are_clipped_together_or_each_by_itself() -> None:
    """DINO's code: for p in model.parameters(): p.grad *= min(1, clip / (|p.grad| + 1e-6))."""
    sizes = (0.5, 4.0, 30.0)

    def clipped(by: str) -> list[float]:
        parameters = [nn.Parameter(torch.zeros(7)) for _ in sizes]
        for parameter, size in zip(parameters, sizes, strict=True):
            parameter.grad = torch.randn(7)
            parameter.grad *= size / parameter.grad.norm()
        clip_gradients(parameters, 3.0, by)
        return [float(parameter.grad.norm()) for parameter in parameters]

    assert clipped("parameter") == pytest.approx([0.5, 3.0, 3.0], rel=1e-5)
    whole = sum(size**2 for size in sizes) ** 0.5
    assert clipped("all") == pytest.approx([size * 3.0 / whole for size in sizes], rel=1e-5)


def test_a_training_clips_as_its_spec_says(tmp_path: Path) -> None:
    """With SGD and no momentum a single step shows the gradients' norms."""
    weights = {}
    for by in ("all", "parameter"):
        options = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "learning_rate": 1.0, "batch_size": 64}
        spec = make_spec("dino", epochs=1, warmup_epochs=0, clip_norm=1e-3, clip_by=by, **options)
        samples, plan = load_samples(spec), spec.encoders[0]
        before = dict(new_objective(spec, plan, samples, "cpu").encoder.named_parameters())
        encoder, _ = train(spec, plan, samples, ImageLoader(samples.dataset, "cpu"), tmp_path / by)
        weights[by] = [
            float((value - before[name]).detach().norm()) for name, value in encoder.named_parameters() if value.requires_grad
        ]
    assert max(weights["parameter"]) == pytest.approx(1e-3, rel=1e-2)
    assert sum(norm > 0.9e-3 for norm in weights["parameter"]) > 1
    assert sum(norm**2 for norm in weights["all"]) ** 0.5 < 1.01e-3


def test_presets_do_what_the_methods_authors_do() -> None:
    for name, preset in presets().items():
        training = load_spec(name).training
        if name.startswith("paper/"):
            assert training.betas == ((0.9, 0.95) if "-mae-" in name else (0.9, 0.999)), name
            assert (training.clip_norm, training.clip_by) == ((3.0, "parameter") if "-dino-" in name else (None, "all")), name
        assert preset.sections["training"]["optimizer"] in ("adamw", "sgd", "lars")


def test_a_spec_without_the_fields_means_what_it_meant() -> None:
    old = {"name": "old", "data": {"name": "digits"}, "training": {"clip_norm": 3.0}}
    spec = parse_spec(old, where="old").resolved(Path())
    new = parse_spec({**old, "training": {"clip_norm": 3.0, "clip_by": "all", "betas": [0.9, 0.999]}}, where="new").resolved(Path())
    assert spec.hash == new.hash
    assert "betas" not in spec._counting["training"]
    assert (spec.training.betas, spec.training.clip_by) == ((0.9, 0.999), "all")


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"clip_by": "parameter"}, "clip_by is 'parameter' and clip_norm is null"),
        ({"clip_by": "sample", "clip_norm": 1}, "training.clip_by"),
        ({"betas": [0.9, 1.0]}, "training.betas"),
        ({"betas": [0.9]}, "training.betas"),
        ({"betas": 0.9}, "training.betas"),
    ],
)
def test_wrong_values_are_named(training: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_spec({"name": "wrong", "data": {"name": "digits"}, "training": training}, where="wrong")
