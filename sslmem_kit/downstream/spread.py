"""Whether representations have collapsed: how far apart they lie, and in how many directions.

Both measures are of l2-normalized features, which is what distances between representations are taken of, and neither knows labels.
Rotating the features or reordering the samples changes nothing.
"""

from __future__ import annotations

import numpy as np

LEAST_STD = 0.02
LEAST_RANK = 1.2


def feature_std(features: np.ndarray) -> float:
    """Root mean square distance of the l2-normalized features from their mean.

    Parameters
    ----------
    features
        (sample, feature) float, at least one sample.

    Returns
    -------
    0 where all are equal (in direction), near 1 where they point everywhere.

    Examples
    --------
    >>> feature_std(np.array([[1.0, 0.0], [-2.0, 0.0]])), feature_std(np.ones((5, 3)))
    (1.0, 0.0)
    """
    return float(np.sqrt(np.square(_centred(features)).sum(axis=1).mean()))


def effective_rank(features: np.ndarray) -> float:
    """In how many directions the l2-normalized features spread about their mean.

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
    """l2-normalized features minus their mean, (sample, feature) float64."""
    units = features.astype(np.float64)
    norms = np.linalg.norm(units, axis=1, keepdims=True)
    units /= np.where(norms > 0, norms, 1)
    return units - units.mean(axis=0)


def collapsed(std: float, rank: float) -> bool:
    """Whether representations of these `feature_std` and `effective_rank` are all but equal, or lie along a line.

    The thresholds were measured on digits and on random images of 8 and 32 pixels. Pooled features of untrained ResNets and ViTs have a
    std of 0.067 to 0.79 and a rank from 2.8 on, trained ones a std from 0.26 on. Trained to align two views and nothing else, a small
    ViT falls below 0.011 within 40 steps, and so does the output of a ResNet's projection head, down to 0.003. Their rank stays at 6
    to 50 (the noise that is left has many directions), so std decides; the rank is for features of one direction alone, where each
    repeats the others. Features of a supervised encoder of two classes may rightly end there.

    A ResNet's batch normalization keeps its pooled features apart (0.74 and more) when the output of its head has collapsed: an
    objective is judged by what its loss sees.
    """
    return std < LEAST_STD or rank < LEAST_RANK


def collapse(std: float, rank: float, embedding_std: float) -> str:
    """What of an encoder has collapsed, in words, empty where nothing has.

    Parameters
    ----------
    std, rank
        `feature_std` and `effective_rank` of its representations.
    embedding_std
        `feature_std` of what the loss compares; NaN where it compares nothing.
    """
    representations = f"standard deviation {std:.2g}, effective rank {rank:.1f}"
    if collapsed(std, rank):
        return f"the representations have collapsed ({representations}); scores of this encoder mean nothing"
    if embedding_std < LEAST_STD:
        return f"what the loss compares has collapsed (standard deviation {embedding_std:.2g}; representations: {representations})"
    return ""
