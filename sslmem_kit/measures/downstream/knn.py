"""Weighted k nearest neighbours (Wu et al. 2018, as in DINO): a probe of representations without any training.

The neighbours of a test sample are the training samples of the highest cosine similarity s; each votes for its class with the weight
exp(s / 0.07).
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from sslmem_kit.measures.downstream.logistic import blocks

TEMPERATURE = 0.07
"""Temperature of the votes."""
TRAINING_BLOCK = 2**14
"""Number of training samples that are read at a time."""
BLOCK_ENTRIES = 2**25
"""Number of similarities that are held at a time: 128 MiB."""


def knn_predictions(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    *,
    neighbours: int,
    device: str = "cpu",
) -> np.ndarray:
    """Return the labels that the nearest training samples of each test sample vote for, (sample,).

    Parameters
    ----------
    features, test_features
        (sample, feature) float32; the training samples' in memory or on disk.
    labels
        (sample,) integer.
    neighbours
        Number of training samples that vote; all of them where there are fewer. Of classes with equal votes the first wins.
    device
        Device on which similarities are computed.

    Examples
    --------
    >>> features = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    >>> knn_predictions(features, np.array([3, 7]), np.array([[2.0, 1.0]], np.float32), neighbours=1)
    array([3])
    """
    classes, codes = np.unique(labels, return_inverse=True)
    tests = torch.from_numpy(np.require(test_features, np.float32, ["C", "W"])).to(device)
    count = min(neighbours, len(features))
    similarity = torch.full((len(tests), count), -torch.inf, device=device)
    nearest = torch.zeros(len(tests), count, dtype=torch.int64, device=device)
    for start, block in blocks(features, TRAINING_BLOCK):
        units = normalize(block.to(device), dim=1)
        for part in torch.arange(len(tests), device=device).split(max(1, BLOCK_ENTRIES // len(units))):
            found, places = (normalize(tests[part], dim=1) @ units.T).topk(min(count, len(units)), dim=1)
            both = torch.cat([similarity[part], found], dim=1).topk(count, dim=1)
            similarity[part] = both.values
            nearest[part] = torch.cat([nearest[part], places + start], dim=1).gather(1, both.indices)
    votes = torch.zeros(len(tests), len(classes), device=device)
    votes.scatter_add_(1, torch.from_numpy(codes).to(device)[nearest], torch.exp(similarity / TEMPERATURE))
    return classes[votes.argmax(dim=1).cpu().numpy()]
