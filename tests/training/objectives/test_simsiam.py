"""SimSiam against the paper's algorithm 1: the loss, and where its gradient stops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.small_objectives import make, make_batch


def similarity(p: np.ndarray, z: np.ndarray) -> float:
    """D(p, z) of algorithm 1."""
    return -float(np.mean([np.dot(a / np.linalg.norm(a), b / np.linalg.norm(b)) for a, b in zip(p, z, strict=True)]))


def test_loss_is_the_papers() -> None:
    objective = make("simsiam", "resnet")
    batch = make_batch(objective)
    loss, outputs = objective.losses(batch)
    with torch.no_grad():
        wholes = [objective.encoder(view) for view in batch.views]
        z = [objective.projector(objective.encoder.pool(whole)) for whole in wholes]
        p = [objective.predictor(part).double().numpy() for part in z]
    z1, z2 = (part.double().numpy() for part in z)
    assert loss.item() == pytest.approx(similarity(p[0], z2) / 2 + similarity(p[1], z1) / 2, rel=1e-5)
    assert all(torch.equal(output, whole) for output, whole in zip(outputs, wholes, strict=True))


def test_no_gradient_flows_through_what_is_predicted() -> None:
    """The gradient is that of predictions of constants."""
    objective = make("simsiam", "resnet")
    batch = make_batch(objective)
    with torch.no_grad():
        constants = [objective.projector(objective.encoder.pool(objective.encoder(view))) for view in batch.views]
    names, parameters = zip(*objective.named_parameters(), strict=True)
    found = torch.autograd.grad(objective.losses(batch).loss, parameters)

    loss = 0
    for view, constant in zip(batch.views, reversed(constants), strict=True):
        prediction = objective.predictor(objective.projector(objective.encoder.pool(objective.encoder(view))))
        loss = loss - torch.nn.functional.cosine_similarity(prediction, constant).mean() / 2
    for name, gradient, expected in zip(names, found, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6, msg=name)
