"""Variances of a difference of means over encoders: from seeds whose encoders belong together, or from two independent groups.

Encoders of one seed may share initial weights, order and views, which makes them alike: their difference varies less than each of them,
and its spread over seeds is what counts. Arrays are (sample, encoder, k) for k numbers of each encoder: its mean alignment, and how it
changes with one view left out.
"""

from __future__ import annotations

import numpy as np


def encoders_by_seed(seed: np.ndarray) -> np.ndarray | None:
    """Positions of the encoders of each seed, (seed, encoder); None where seeds have different numbers of them, or there is only one seed.

    Parameters
    ----------
    seed
        Seed of each encoder, (encoder,).

    Examples
    --------
    >>> encoders_by_seed(np.array([0, 1, 0, 1]))
    array([[0, 2],
           [1, 3]])
    """
    seeds, counts = np.unique(seed, return_counts=True)
    if len(seeds) < 2 or len(set(counts.tolist())) > 1:
        return None
    return np.argsort(seed, kind="stable").reshape(len(seeds), -1)


def is_balanced(out: np.ndarray) -> np.ndarray:
    """Test whether every seed has as many encoders of each kind as the others, and of both kinds.

    Parameters
    ----------
    out
        Whether an encoder was not trained on a sample, (sample, seed, encoder).

    Returns
    -------
    (sample,) bool.

    Examples
    --------
    >>> is_balanced(np.array([[[True, False], [True, False]], [[True, True], [True, False]]]))
    array([ True, False])
    """
    counts = np.einsum("sze->sz", out, dtype=np.int64)
    return (counts == counts[:, :1]).all(axis=1) & (counts[:, 0] > 0) & (counts[:, 0] < out.shape[2])


def variance_by_seed(means: np.ndarray, out: np.ndarray, by_seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the mean over seeds of the difference within a seed, and its degrees of freedom.

    Parameters
    ----------
    means
        (sample, encoder, k).
    out
        Whether an encoder was not trained on a sample, (sample, encoder), balanced by :func:`is_balanced`.
    by_seed
        Positions of :func:`encoders_by_seed`.

    Returns
    -------
    ``sum((d - mean(d))**2) / (S (S - 1))`` over the differences ``d`` of S seeds, (sample, k), and S - 1, (sample,).

    Examples
    --------
    >>> means, out = np.array([[[0.5], [0.3], [0.7], [0.3]]]), np.array([[True, False, True, False]])
    >>> variance, degrees = variance_by_seed(means, out, np.array([[0, 1], [2, 3]]))
    >>> variance.round(4), degrees
    (array([[0.01]]), array([1]))
    """
    sides = out[:, by_seed]
    signs = sides / sides.sum(axis=2, keepdims=True) - ~sides / (~sides).sum(axis=2, keepdims=True)
    differences = np.einsum("szek,sze->szk", means[:, by_seed], signs)
    seeds = differences.shape[1]
    differences -= np.einsum("szk->sk", differences)[:, None] / seeds  # sums over few by einsum, which is faster
    return np.einsum("szk,szk->sk", differences, differences) / (seeds * (seeds - 1)), np.full(len(means), seeds - 1)


def variance_of_independent(means: np.ndarray, out: np.ndarray, _: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the difference of the means of two independent groups of encoders, and Welch's degrees of freedom.

    Parameters
    ----------
    means
        (sample, encoder, k).
    out
        Whether an encoder was not trained on a sample, (sample, encoder).

    Returns
    -------
    ``s_out**2 / n_out + s_in**2 / n_in``, (sample, k), and the degrees of freedom, (sample,); NaN and 0 with one encoder in a group.

    Notes
    -----
    Welch 1947, doi:10.1093/biomet/34.1-2.28.

    Examples
    --------
    >>> means, out = np.array([[[0.5], [0.3], [0.7], [0.3]]]), np.array([[True, False, True, False]])
    >>> variance, degrees = variance_of_independent(means, out, None)
    >>> variance.round(4), degrees
    (array([[0.01]]), array([1.]))
    """
    parts, counts = [], []
    for side in (out, ~out):
        count = side.sum(axis=1)
        share = side / count[:, None]
        centred = means - np.einsum("sek,se->sk", means, share)[:, None]
        parts.append(np.einsum("sek,sek,se->sk", centred, centred, share / np.where(count > 1, count - 1, np.nan)[:, None]))
        counts.append(count)
    variance = parts[0] + parts[1]
    uncertainty = sum(part[:, 0] ** 2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    return variance, np.where(uncertainty > 0, variance[:, 0] ** 2 / uncertainty, np.minimum(*counts) - 1)


def jackknife_sum(squares: np.ndarray) -> np.ndarray:
    """Jackknife variance over V views: (V - 1) / V times the sum of squared deviations of the values with one view left out.

    Parameters
    ----------
    squares
        Squared deviations, (sample, view).

    Returns
    -------
    (sample,); NaN without views.

    Examples
    --------
    >>> jackknife_sum(np.array([[0.1, 0.2, 0.3]])).round(2)
    array([0.4])
    """
    views = squares.shape[1]
    return (views - 1) / views * squares.sum(axis=1) if views else np.full(len(squares), np.nan)
