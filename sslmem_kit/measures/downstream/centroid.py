"""Nearest centroid: the classifier of the paper's theory (appendix D), which has nothing to train but the mean of each class."""

from __future__ import annotations

import numpy as np
import torch

from sslmem_kit.measures.downstream.logistic import blocks


def centroid_predictions(features: np.ndarray, labels: np.ndarray, test_features: np.ndarray) -> np.ndarray:
    """Return the label of the class whose mean representation is nearest to each test sample's, by Euclidean distance, (sample,).

    Parameters
    ----------
    features, test_features
        (sample, feature) float, in memory or on disk, as they are: no feature is scaled.
    labels
        (sample,) integer. Of classes equally near the first wins.

    References
    ----------
    Wang et al., "Memorization in Self-Supervised Learning Improves Downstream Generalization", ICLR 2024, appendix D.

    Examples
    --------
    >>> features = np.array([[0.0, 0.0], [0.0, 2.0], [5.0, 0.0]], np.float32)
    >>> centroid_predictions(features, np.array([3, 3, 7]), np.array([[1.0, 1.0], [4.0, 0.0]], np.float32))
    array([3, 7])
    """
    classes, codes = np.unique(labels, return_inverse=True)
    means = torch.zeros(len(classes), features.shape[1], dtype=torch.float64)
    for start, block in blocks(features):
        means.index_add_(0, torch.from_numpy(codes[start : start + len(block)]), block.double())
    means /= torch.from_numpy(np.bincount(codes))[:, None]
    near = [np.empty(0, np.int64)]
    for _, block in blocks(test_features):
        # |x - m|^2 less what all classes share
        near.append((means.square().sum(dim=1) - 2 * block.double() @ means.T).argmin(dim=1).numpy())
    return classes[np.concatenate(near)]
