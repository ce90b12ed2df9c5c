"""Variances of a difference of means over encoders: from seeds whose encoders belong together, or from two independent sides.

Encoders of one seed may share initial weights, order and views, which makes them alike: their difference varies less than each of them,
and its spread over seeds is what counts. Arrays are (sample, encoder, k) for k numbers of each encoder: its mean alignment, and how it
changes with one view left out.
"""

from __future__ import annotations

import numpy as np


def encoders_by_seed(seed: np.ndarray) -> np.ndarray | None:
    """(seed, encoder): positions of the encoders of each seed; None where seeds have different numbers of them, or there is only one."""
    seeds, counts = np.unique(seed, return_counts=True)
    if len(seeds) < 2 or len(set(counts.tolist())) > 1:
        return None
    return np.argsort(seed, kind="stable").reshape(len(seeds), -1)


def is_balanced(out: np.ndarray) -> np.ndarray:
    """Whether every seed has as many encoders of a kind as the others, and of both kinds: (sample, seed, encoder) -> (sample,)."""
    counts = np.einsum("sze->sz", out, dtype=np.int64)
    return (counts == counts[:, :1]).all(axis=1) & (counts[:, 0] > 0) & (counts[:, 0] < out.shape[2])


def variance_by_seed(means: np.ndarray, out: np.ndarray, by_seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the mean over seeds of the differences of a seed, and its degrees of freedom: (sample, k), (sample,)."""
    sides = out[:, by_seed]
    signs = sides / sides.sum(axis=2, keepdims=True) - ~sides / (~sides).sum(axis=2, keepdims=True)
    differences = np.einsum("szek,sze->szk", means[:, by_seed], signs)
    seeds = differences.shape[1]
    differences -= np.einsum("szk->sk", differences)[:, None] / seeds  # sums over few by einsum, which is faster
    return np.einsum("szk,szk->sk", differences, differences) / (seeds * (seeds - 1)), np.full(len(means), seeds - 1)


def variance_of_independent(means: np.ndarray, out: np.ndarray, _: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the difference of the means of both sides, and Welch's degrees of freedom; NaN and 0 with one encoder on a side."""
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
    """Variance over views, from squared deviations of the values with one view left out; NaN without: (sample, view) -> (sample,)."""
    views = squares.shape[1]
    return (views - 1) / views * squares.sum(axis=1) if views else np.full(len(squares), np.nan)
