"""Leverage of samples in the span of others: how much of a projected gradient nobody else has."""

from __future__ import annotations

import numpy as np
from scipy import linalg


def leverage(features: np.ndarray, members: np.ndarray, *, damping: float) -> np.ndarray:
    """Return phi_i^T (sum over members j != i of phi_j phi_j^T + lambda)^-1 phi_i of every sample.

    A member is left out of the sum, so that members and others compare: of its leverage h in the sum with itself it is h / (1 - h)
    (Sherman and Morrison), which orders members as h does.

    Parameters
    ----------
    features
        (sample, dimension).
    members
        True for the samples that the sum is over, (sample,).
    damping
        lambda, as a share of the mean square of a dimension of the sum.

    Returns
    -------
    (sample,) float64; NaN where there are no members, or all of theirs are 0.

    Examples
    --------
    >>> leverage(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([True, True, True]), damping=1e-9).round(3)[:2]
    array([1., 1.])
    """
    own = features[members].astype(np.float64)
    squares = own.T @ own
    added = damping * np.trace(squares) / max(1, len(squares))
    if not added > 0:
        return np.full(len(features), np.nan)
    factor = linalg.cholesky(squares + added * np.eye(len(squares)), lower=True)
    found = (linalg.solve_triangular(factor, features.astype(np.float64).T, lower=True) ** 2).sum(axis=0)
    found[members] /= np.maximum(1 - found[members], np.finfo(float).eps)
    return found
