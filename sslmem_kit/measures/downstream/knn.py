"""Weighted k nearest neighbours (Wu et al. 2018, as in DINO): a probe of representations without any training.

The neighbours of a test sample are the training samples of the highest cosine similarity s; each votes for its class with the weight
exp(s / 0.07).
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

TEMPERATURE = 0.07
"""Temperature of the votes."""
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
        (sample, feature) float32.
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
    units = normalize(torch.from_numpy(features).to(device), dim=1)
    codes = torch.from_numpy(codes).to(device)
    count = min(neighbours, len(units))
    winners = [np.empty(0, np.int64)]
    for block in torch.from_numpy(test_features).split(max(1, BLOCK_ENTRIES // len(units))):
        similarity, nearest = (normalize(block.to(device), dim=1) @ units.T).topk(count, dim=1)
        votes = torch.zeros(len(block), len(classes), device=device, dtype=similarity.dtype)
        votes.scatter_add_(1, codes[nearest], torch.exp(similarity / TEMPERATURE))
        winners.append(votes.argmax(dim=1).cpu().numpy())
    return classes[np.concatenate(winners)]
