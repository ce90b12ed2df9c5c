"""Eq. 3: L = (1 - weight) L_SSL - weight d, d the mean distance between the representations of two views."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslmem_kit.training.objectives import Batch, Objective
from sslmem_kit.training.objectives.dino import DINO
from sslmem_kit.training.objectives.simclr import SimCLR
from tests.support.small_objectives import ONE_EACH, STEPS_AN_EPOCH, make, make_batch, step_info


def distance(objective: Objective, batch: Batch) -> float:
    """d of eq. 1, one sample at a time; the encoder passes each view as its method does, for batch norm goes by the batch."""
    with torch.no_grad():
        views = batch.views[:2]
        together = isinstance(objective, SimCLR | DINO)
        outputs = objective.encoder(torch.cat(views)).chunk(2) if together else [objective.encoder(view) for view in views]
        pairs = zip(*(output.double().numpy() for output in outputs), strict=True)
    units = ([side.ravel() / np.linalg.norm(side.ravel()) for side in pair] for pair in pairs)
    return float(np.mean([np.sqrt(((one - other) ** 2).sum()) for one, other in units]))


def regularized(method: str, encoder: str, weight: float, start_epoch: int = 0) -> Objective:
    objective = make(method, encoder, regularizer={"weight": weight, "start_epoch": start_epoch})
    objective.before_step(step_info(0))
    return objective


def copy_of(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.items()}


@pytest.mark.parametrize(("method", "encoder"), ONE_EACH)
def test_loss_is_equation_3(method: str, encoder: str) -> None:
    objective = regularized(method, encoder, 0.3)
    batch, state = make_batch(objective), copy_of(objective.state_dict())
    loss = objective(batch).item()
    objective.load_state_dict(state)  # DINO's centre moves with every loss
    own = objective.losses(batch).loss.item()
    d = distance(objective, batch)
    assert d > 1e-3
    assert loss == pytest.approx(0.7 * own - 0.3 * d, rel=1e-4)


@pytest.mark.parametrize(("method", "encoder"), ONE_EACH)
def test_a_step_moves_views_apart(method: str, encoder: str) -> None:
    """Where the regularizer is all but alone, descent lengthens the distances: it lowers alignment."""
    objective = regularized(method, encoder, 0.999)
    batch = make_batch(objective)
    before = distance(objective, batch)
    objective(batch).backward()
    gradients = [parameter.grad for parameter in objective.encoder.parameters() if parameter.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad * 0.01 / norm)
    assert distance(objective, batch) > before * 1.0001


@pytest.mark.parametrize(("method", "encoder"), ONE_EACH)
def test_acts_from_its_epoch_on(method: str, encoder: str) -> None:
    objective = regularized(method, encoder, 0.3, start_epoch=2)
    plain = make(method, encoder)
    batch = make_batch(objective)
    for step in range(4 * STEPS_AN_EPOCH):
        plain.load_state_dict(copy_of(objective.state_dict()))
        objective.before_step(step_info(step))
        plain.before_step(step_info(step))
        with torch.no_grad():
            same = torch.equal(objective(batch), plain(batch))
        assert same is (step < 2 * STEPS_AN_EPOCH), step
