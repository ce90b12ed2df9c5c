"""What holds for every method: gradients for all that is trained, float32 losses, a state that says all, no trap in equal views."""

from __future__ import annotations

import pytest
import torch

from sslmem_kit.spec.policy import POLICIES
from sslmem_kit.training.objectives import Batch
from tests.support.small_objectives import CASES, ENCODERS, ONE_EACH, SIDE, make, make_batch, make_encoder, step_info, steps

COUNTS = {"simclr": 2, "mae": 1, "dino": 8, "vicreg": 2, "simsiam": 2, "supervised": 1}


@pytest.mark.parametrize(("method", "encoder"), CASES)
@pytest.mark.parametrize("regularizer", [None, {"weight": 0.3}])
def test_all_that_is_trained_gets_a_gradient(method: str, encoder: str, regularizer: dict | None) -> None:
    """Several devices would wait for one that never comes."""
    objective = make(method, encoder, regularizer=regularizer)
    objective.before_step(step_info(0))
    objective(make_batch(objective)).backward()
    without = [name for name, parameter in objective.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not without
    assert sum(parameter.requires_grad for parameter in objective.encoder.parameters()) > 10


@pytest.mark.parametrize(("method", "encoder"), ONE_EACH)
def test_draws(method: str, encoder: str) -> None:
    objective = make(method, encoder)
    policy = POLICIES["simclr"]
    view_specs = objective.view_specs(policy)
    assert len(view_specs) == COUNTS[method]
    assert all(draw == (policy, 1) for draw in view_specs[:2])
    with_regularizer = make(method, encoder, regularizer={"weight": 0.1}).view_specs(policy)
    assert with_regularizer == ((view_specs * 2)[:2] if len(view_specs) < 2 else view_specs)


@pytest.mark.parametrize(("method", "encoder"), ONE_EACH)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_in_half_precision_is_float32_and_near(method: str, encoder: str, dtype: torch.dtype) -> None:
    objective = make(method, encoder, regularizer={"weight": 0.3})
    objective.before_step(step_info(0))
    state = {name: value.clone() for name, value in objective.state_dict().items()}
    batch = make_batch(objective)
    expected = objective(batch)
    objective.load_state_dict(state)
    with torch.autocast("cpu", dtype):
        loss = objective(batch)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.03, atol=0.03)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in objective.parameters() if parameter.grad is not None)


@pytest.mark.parametrize(("method", "encoder"), ONE_EACH)
def test_state_is_complete(method: str, encoder: str) -> None:
    """What other weights, a centre and a teacher were, is forgotten once a state is loaded."""
    trained, other = make(method, encoder), make(method, encoder, seed=1)
    steps(trained, 4)
    other.load_state_dict(trained.state_dict())
    batch = make_batch(trained, seed=9)
    for step in (4, 5):  # the second loss comes with what the first left behind
        losses = []
        for objective in (trained, other):
            objective.before_step(step_info(step))
            losses.append(objective(batch))
        assert torch.equal(*losses)
    for name, value in trained.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert not torch.equal(losses[0], make(method, encoder, seed=1)(batch))


@pytest.mark.parametrize(("method", "encoder"), ONE_EACH)
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_equal_views_divide_nothing_by_zero(method: str, encoder: str, value: float) -> None:
    """Not even where all samples are equal too."""
    objective = make(method, encoder, regularizer={"weight": 0.3})
    objective.before_step(step_info(0))
    batch = make_batch(objective)
    views = tuple(torch.full_like(view, value) for view in batch.views)
    loss = objective(Batch(views, batch.keys, batch.labels))
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in objective.parameters() if parameter.grad is not None)


@pytest.mark.parametrize(("method", "encoder"), ONE_EACH)
def test_loss_follows_from_batch_and_weights_alone(method: str, encoder: str) -> None:
    """What a method draws itself comes from the keys: torch's generator makes no difference and is not moved."""
    objective = make(method, encoder)
    state = {name: value.clone() for name, value in objective.state_dict().items()}
    batch = make_batch(objective)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        objective.load_state_dict(state)
        found.append(objective(batch))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(*found)


def test_sizes_other_than_the_native_leave_the_native_alone() -> None:
    """timm's dynamic_img_size, which DINO's small crops need: the same weights, the same output to the bit."""
    torch.manual_seed(0)
    dynamic = make_encoder("vit")
    plain = make_encoder("vit", dynamic_img_size=False)
    plain.load_state_dict(dynamic.state_dict())
    images = torch.rand(3, 3, SIDE, SIDE)
    assert torch.equal(dynamic(images), plain(images))
    assert dynamic(images[..., :16, :16]).shape == (3, 5, 24)


def test_cases_hold_what_they_say() -> None:
    assert {encoder for _, encoder in CASES} == set(ENCODERS)
