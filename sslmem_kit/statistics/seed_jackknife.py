"""Variance that trainings add to a statistic of two scores, beyond what is in the variance over samples already.

The noise of a training that is each sample's own is part of how samples vary: an interval over samples holds it. What a training does to
many samples alike (to a class, to all in proportion) is not. The jackknife over seeds holds both; the same jackknife after the seeds
were exchanged at random *within each sample*, together for scores of one training, holds the first alone. Their difference, at least 0,
is what an interval over samples is short of (the variance of two crossed factors: of samples, plus of seeds, less of their cells).

References
----------
Efron and Stein, Annals of Statistics 9 (1981); Cameron, Gelbach and Miller, Journal of Business and Economic Statistics 29 (2011).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

EXCHANGES = 8
"""Random exchanges of seeds within samples."""
MOST_SAMPLES = 5000
"""Number of samples above which a random subset of this size serves: what trainings do to many alike is in it too."""

Statistic = Callable[[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]], float]
"""Of replicates of two scores, (sample, seed) each, and the positions of the seeds that are the same trainings."""


def seed_variance(statistic: Statistic, first: np.ndarray, second: np.ndarray, shared: tuple[np.ndarray, np.ndarray]) -> float:
    """Variance of a statistic over trainings that its variance over samples does not hold.

    Parameters
    ----------
    statistic
        Function of replicates of two scores and the positions of shared seeds.
    first, second
        Replicates, (sample, seed).
    shared
        Positions of the seeds that are the same trainings, of :func:`sslmem_kit.statistics.disattenuation.matched_seeds`.

    Returns
    -------
    At least 0; NaN where no score has two seeds, or the statistic is NaN with one of them left out.

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(0))
    >>> replicates = rng.normal(size=(200, 3))
    >>> seed_variance(lambda a, b, shared: float(a.mean()), replicates + [0, 1, 2], replicates, (np.arange(3),) * 2) > 0.2
    True
    """
    rng = np.random.Generator(np.random.Philox(len(first)))
    if len(first) > MOST_SAMPLES:
        chosen = rng.choice(len(first), MOST_SAMPLES, replace=False)
        first, second = first[chosen], second[chosen]
    own = _jackknife(statistic, first, second, shared)
    if not np.isfinite(own):
        return np.nan
    exchanged = [_jackknife(statistic, *_exchange(first, second, shared, rng), shared) for _ in range(EXCHANGES)]
    within = np.mean([value for value in exchanged if np.isfinite(value)] or [0.0])
    return max(own - float(within), 0.0)


def _jackknife(statistic: Statistic, first: np.ndarray, second: np.ndarray, shared: tuple[np.ndarray, np.ndarray]) -> float:
    """Jackknife variance over seeds: those of both scores, those of the first alone and those of the second alone are left out in turn."""
    one, other = shared
    alone = [np.setdiff1d(np.arange(values.shape[1]), own) for values, own in ((first, one), (second, other))]
    strata = [
        [([i], [j]) for i, j in zip(one, other, strict=True)],
        [([i], []) for i in alone[0]],
        [([], [j]) for j in alone[1]],
    ]
    total, known = 0.0, False
    for stratum in strata:
        if len(stratum) < 2:
            continue
        known = True
        values = []
        for out_first, out_second in stratum:
            kept = [np.setdiff1d(np.arange(values.shape[1]), out) for values, out in ((first, out_first), (second, out_second))]
            if not all(map(len, kept)):
                return np.nan
            pairs = [
                (np.searchsorted(kept[0], i), np.searchsorted(kept[1], j))
                for i, j in zip(one, other, strict=True)
                if i in kept[0] and j in kept[1]
            ]
            places = np.array(pairs, int).reshape(-1, 2).T
            values.append(statistic(first[:, kept[0]], second[:, kept[1]], (places[0], places[1])))
        total += (len(values) - 1) * float(np.var(values))
    return total if known else np.nan


def _exchange(
    first: np.ndarray, second: np.ndarray, shared: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Exchange the seeds of each sample at random, with the mean of each seed taken out, together for scores of one training."""
    first, second = (values - values.mean(axis=0) for values in (first, second))
    one, other = shared
    if len(one):
        order = rng.permuted(np.tile(np.arange(len(one)), (len(first), 1)), axis=1)
        first[:, one] = np.take_along_axis(first[:, one], order, axis=1)
        second[:, other] = np.take_along_axis(second[:, other], order, axis=1)
    for values, together in ((first, one), (second, other)):
        alone = np.setdiff1d(np.arange(values.shape[1]), together)
        values[:, alone] = rng.permuted(values[:, alone], axis=1)
    return first, second
