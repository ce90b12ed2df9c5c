"""Measures of collapsed representations: how far apart they lie, and in how many directions.

Both measures are of l2-normalized features, which is what distances between representations are taken of, and neither knows labels.
Rotating the features or reordering the samples changes nothing.
"""

from __future__ import annotations

import numpy as np


def feature_std(features: np.ndarray) -> float:
    """Return the root mean square distance of the l2-normalized features from their mean.

    Parameters
    ----------
    features
        (sample, feature) float, at least one sample.

    Returns
    -------
    0 where all are equal (in direction), near 1 where they point in all directions.

    Examples
    --------
    >>> feature_std(np.array([[1.0, 0.0], [-2.0, 0.0]])), feature_std(np.ones((5, 3)))
    (1.0, 0.0)
    """
    return float(np.sqrt(np.square(_centred(features)).sum(axis=1).mean()))


def effective_rank(features: np.ndarray) -> float:
    """Return the number of directions in which the l2-normalized features spread about their mean.

    The exponential of the entropy of the singular values, normalized to sum to 1 (Roy and Vetterli 2007). RankMe (Garrido et al. 2023)
    is the same of features that are not centred, where the mean counts as a direction of its own and, in features that are near to
    each other, outweighs all others.

    Parameters
    ----------
    features
        (sample, feature) float, at least one sample.

    Returns
    -------
    1 for features along a line, d for features that spread alike in d directions; at most the number of features and one less than
    the number of samples. 0 where all are equal.

    Examples
    --------
    >>> round(effective_rank(np.vstack([np.eye(4), -np.eye(4)])), 6)
    4.0
    """
    centred = _centred(features)
    # The smaller of the two Gram matrices has the squares of the singular values. Double precision: what is lost by squaring (values
    # below 1e-8 of the largest) does not count in the entropy.
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    squares = np.linalg.eigvalsh(gram)
    singular = np.sqrt(squares[squares > len(gram) * np.finfo(float).eps * max(squares[-1], 0)])
    if singular.sum() < 1e-12:  # rounding errors of equal features
        return 0.0
    shares = singular / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _centred(features: np.ndarray) -> np.ndarray:
    """Return the l2-normalized features minus their mean, (sample, feature) float64."""
    units = features.astype(np.float64)
    norms = np.linalg.norm(units, axis=1, keepdims=True)
    units /= np.where(norms > 0, norms, 1)
    return units - units.mean(axis=0)
