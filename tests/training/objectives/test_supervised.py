"""Supervised training: cross-entropy of the labels, one view."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslmem_kit.errors import UserError
from sslmem_kit.spec.objective import SupervisedSpec
from sslmem_kit.training.objectives import Batch, build_objective
from tests.support.small_objectives import CLASSES, make, make_batch, make_encoder


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_cross_entropy(smoothing: float) -> None:
    objective = make("supervised", "resnet", label_smoothing=smoothing)
    batch = make_batch(objective)
    with torch.no_grad():
        logits = objective.classifier(objective.encoder.pool(objective.encoder(batch.views[0]))).double().numpy()
    expected = 0.0
    for row, label in zip(logits, batch.labels.tolist(), strict=True):
        probability = np.exp(row) / np.exp(row).sum()
        for kind in range(CLASSES):
            expected -= ((1 - smoothing) * (kind == label) + smoothing / CLASSES) * np.log(probability[kind]) / len(logits)
    assert objective(batch).item() == pytest.approx(expected, rel=1e-5)
    other = Batch(batch.views, batch.keys, (batch.labels + 1) % CLASSES)
    assert objective(other).item() != pytest.approx(expected, rel=1e-3)


def test_one_class_is_told() -> None:
    with pytest.raises(UserError, match=r"objective.method: 'supervised' needs data of at least 2 classes, these have 1"):
        build_objective(make_encoder("resnet"), SupervisedSpec(), classes=1)
