"""Nearest centroid: the classifier of the paper's theory (appendix D), which has nothing to train but the mean of each class."""

from __future__ import annotations

import numpy as np

from sslmem_kit.measures.downstream.logistic import blocks


def centroid_predictions(features: np.ndarray, labels: np.ndarray, test_features: np.ndarray) -> np.ndarray:
    """Return the label of the class whose mean representation is nearest to each test sample's, by Euclidean distance, (sample,).

    Parameters
    ----------
    features, test_features
        (sample, feature) float, as they are: no feature is scaled.
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
    means = np.zeros((len(classes), features.shape[1]))
    for start, block in blocks(features):
        np.add.at(means, codes[start : start + len(block)], block.numpy())
    means /= np.bincount(codes)[:, None]
    near = [np.empty(0, np.int64)]
    for _, block in blocks(test_features):
        # |x - m|^2 less what all classes share
        near.append(((means**2).sum(axis=1) - 2 * block.numpy().astype(np.float64) @ means.T).argmin(axis=1))
    return classes[np.concatenate(near)]
