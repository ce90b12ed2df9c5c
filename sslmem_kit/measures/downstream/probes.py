"""Probes of frozen representations: what each predicts of test samples, and how well."""

from __future__ import annotations

import numpy as np

from sslmem_kit.measures.downstream.centroid import centroid_predictions
from sslmem_kit.measures.downstream.knn import knn_predictions
from sslmem_kit.measures.downstream.linear import linear_predictions
from sslmem_kit.spec.downstream import DownstreamSpec


def predict(
    name: str,
    spec: DownstreamSpec,
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    *,
    seed: int,
    device: str = "cpu",
) -> np.ndarray | None:
    """Return the labels that a probe gives test samples, (sample,); None where it has no meaning: one class, or no test samples.

    Parameters
    ----------
    name
        One of :data:`sslmem_kit.store.PROBES`.
    spec
        Options of the probes.
    features, test_features
        (sample, feature) float32.
    labels
        (sample,) integer.
    seed, device
        As in :func:`sslmem_kit.measures.downstream.linear.linear_predictions`.

    Examples
    --------
    >>> features, labels = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32), np.array([3, 7])
    >>> predict("centroid", DownstreamSpec(), features, labels, features, seed=0)
    array([3, 7])
    """
    if len(test_features) == 0 or len(np.unique(labels)) < 2:
        return None
    if name == "knn":
        return knn_predictions(features, labels, test_features, neighbours=spec.neighbours, device=device)
    if name == "centroid":
        return centroid_predictions(features, labels, test_features)
    return linear_predictions(features, labels, test_features, spec=spec.linear, seed=seed, device=device)


def accuracy(predicted: np.ndarray | None, labels: np.ndarray) -> float:
    """Return the share of the test samples whose label is predicted; NaN where nothing is.

    Examples
    --------
    >>> accuracy(np.array([1, 2]), np.array([1, 1])), accuracy(None, np.array([1]))
    (0.5, nan)
    """
    return np.nan if predicted is None else float(np.mean(predicted == labels))


def confusion(predicted: np.ndarray | None, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return test samples by class and predicted class, (class, predicted) float32; NaN where nothing is predicted.

    Examples
    --------
    >>> confusion(np.array([1, 0]), np.array([1, 1]), 2).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    if predicted is None:
        return np.full((classes, classes), np.nan, np.float32)
    counts = np.zeros((classes, classes), np.float32)
    np.add.at(counts, (labels, predicted), 1)
    return counts
