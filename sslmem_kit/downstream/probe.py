"""Linear probing: multinomial logistic regression on frozen, pooled, standardized representations."""

from __future__ import annotations

import warnings

import numpy as np


def linear_probe_accuracy(features: np.ndarray, labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray) -> float:
    """Share of the test samples that a linear probe classifies correctly.

    Parameters
    ----------
    features, test_features
        (sample, feature) float.
    labels, test_labels
        (sample,) integer.

    Returns
    -------
    Accuracy in 0..1; NaN where it has no meaning: no test samples, or training labels of one class.
    """
    # Imported here: a second of start-up that only evaluation needs.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(test_labels) == 0 or len(np.unique(labels)) < 2:
        return float("nan")
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200, tol=1e-3))
    with warnings.catch_warnings():
        # A probe stopped early is still a probe; 200 iterations are far past the point where accuracy settles.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(features, labels)
    return float(probe.score(test_features, test_labels))
