"""SimCLR against the paper's algorithm 1, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.small_objectives import BATCH, make, make_batch


def nt_xent(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """Algorithm 1, where z_2k-1 and z_2k are the two views of sample k."""
    z = [row / np.sqrt((row**2).sum()) for pair in zip(first, second, strict=True) for row in pair]

    def loss(i: int, j: int) -> float:
        others = sum(np.exp(z[i] @ z[k] / temperature) for k in range(len(z)) if k != i)
        return -np.log(np.exp(z[i] @ z[j] / temperature) / others)

    pairs = range(0, len(z), 2)
    return sum(loss(k, k + 1) + loss(k + 1, k) for k in pairs) / len(z)


@pytest.mark.parametrize("temperature", [0.5, 0.1])
@pytest.mark.parametrize("encoder", ["resnet", "vit"])
def test_loss_is_the_papers(encoder: str, temperature: float) -> None:
    objective = make("simclr", encoder, temperature=temperature)
    batch = make_batch(objective)
    loss, outputs = objective.losses(batch)
    with torch.no_grad():
        # Batch norm goes by all views of the batch.
        projected = objective.head(objective.encoder.pool(objective.encoder(torch.cat(batch.views)))).double().numpy()
    assert loss.item() == pytest.approx(nt_xent(projected[:BATCH], projected[BATCH:], temperature), rel=1e-5)
    whole = objective.encoder(torch.cat(batch.views))
    assert torch.equal(torch.cat(outputs), whole)


def test_similarities_are_taken_in_float32() -> None:
    """Beside a temperature of 0.05, bf16 similarities would be off by several percent."""
    objective = make("simclr", "resnet", temperature=0.05)
    batch = make_batch(objective)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        loss = objective.losses(batch).loss
        projected = objective.head(objective.encoder.pool(objective.encoder(torch.cat(batch.views))))
    assert projected.dtype == torch.bfloat16
    first, second = projected.double().numpy().reshape(2, BATCH, -1)
    assert loss.item() == pytest.approx(nt_xent(first, second, 0.05), rel=1e-5)
