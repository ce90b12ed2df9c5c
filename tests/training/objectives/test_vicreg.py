"""VICReg against the paper's algorithm 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.small_objectives import BATCH, make, make_batch


def vicreg(za: np.ndarray, zb: np.ndarray, weights: tuple[float, float, float]) -> float:
    """Algorithm 1, its matrix products written out."""
    n, d = za.shape
    invariance = sum((za[i, j] - zb[i, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    variance = covariance = 0.0
    for z in (za, zb):
        deviations = [np.sqrt(np.var(z[:, j], ddof=1) + 1e-4) for j in range(d)]
        variance += sum(max(0.0, 1 - deviation) for deviation in deviations) / d / 2
        centred = z - z.mean(axis=0)
        for i in range(d):
            for j in range(d):
                if i != j:
                    covariance += (sum(centred[k, i] * centred[k, j] for k in range(n)) / (n - 1)) ** 2 / d
    return weights[0] * invariance + weights[1] * variance + weights[2] * covariance


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_loss_is_the_papers(weights: tuple[float, float, float]) -> None:
    objective = make("vicreg", "resnet", **dict(zip(("invariance", "variance", "covariance"), weights, strict=True)))
    batch = make_batch(objective)
    loss, outputs = objective.losses(batch)
    with torch.no_grad():
        wholes = [objective.encoder(view) for view in batch.views]
        embeddings = [objective.expander(objective.encoder.pool(whole)).double().numpy() for whole in wholes]
    assert loss.item() == pytest.approx(vicreg(*embeddings, weights), rel=1e-5)
    assert all(torch.equal(output, whole) for output, whole in zip(outputs, wholes, strict=True))


def test_covariance_of_large_numbers_survives_half_precision() -> None:
    """Squares of what bf16 keeps of numbers far from zero would be noise: the loss is taken in float32 of what the expander says."""
    objective = make("vicreg", "resnet")
    batch = make_batch(objective)
    with torch.no_grad():
        objective.expander.layers[-1].weight.mul_(30)
        with torch.autocast("cpu", torch.bfloat16):
            loss = objective.losses(batch).loss
            embeddings = [objective.expander(objective.encoder.pool(objective.encoder(view))) for view in batch.views]
    assert embeddings[0].dtype == torch.bfloat16
    expected = vicreg(*(embedding.double().numpy() for embedding in embeddings), (25.0, 25.0, 1.0))
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert len(embeddings[0]) == BATCH
