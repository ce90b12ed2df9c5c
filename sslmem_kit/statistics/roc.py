"""Receiver operating characteristic of a score that separates members from non-members, with intervals over samples.

A threshold t calls a sample a member whose score is above it; then TPR(t) = P(score of a member > t), FPR(t) = P(score of a non-member > t).

- AUC = P(member > non-member) + P(equal) / 2. Interval by DeLong, DeLong and Clarke-Pearson (1988): the placements of members among the
  non-members, and of these among members, are averaged; their variances add. With the degrees of freedom of Welch, which make the test
  against .5 that of Brunner and Munzel (2000). It is symmetric on the logit scale, so that it stays within 0 and 1. Where all members are
  above all non-members the variance is 0 and says nothing; then min(n) pairs of a member and a non-member that share no sample are all won,
  and the interval is that of Clopper and Pearson for them.
- TPR at a false-positive rate of ``a``: of the largest threshold set whose observed FPR is at most a. Its interval needs no distribution: the
  FPR of the k-th highest non-member as threshold has a Beta(k, n + 1 - k) distribution, so the lower end takes a threshold whose FPR is
  below a with probability 1 - alpha / 4, and Clopper and Pearson's lower bound of TPR there with alpha / 4; the upper end likewise. With
  few non-members no threshold is safe, and the lower end is 0: below 4,380 of them for a = 0.1 %.

Everything here is over samples, given the encoders.
"""

from __future__ import annotations

import math

import numpy as np
import scipy
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS

FPR = "fpr"
RATES = (0.001, 0.01)
"""False-positive rates at which the true-positive rate is given (Carlini et al. 2022: low ones count, an average hides them)."""
GRID = tuple(np.concatenate([np.geomspace(1e-3, 0.1, 21), np.linspace(0.1, 1, 37)[1:]]).round(6).tolist())
"""False-positive rates of a curve: by equal ratios up to 0.1, by equal steps from there."""


def placements(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the others that each member is above, (member,), and of the members that are above each other, (other,); ties count half.

    Both have the mean AUC.

    Examples
    --------
    >>> placements(np.array([1.0, 3.0]), np.array([0.0, 2.0, 3.0]))
    (array([0.33333333, 0.83333333]), array([1.  , 0.5 , 0.25]))
    """

    def below(sorted_values: np.ndarray, values: np.ndarray) -> np.ndarray:
        left, right = (np.searchsorted(sorted_values, values, side=side) for side in ("left", "right"))
        return (left + right) / (2 * max(len(sorted_values), 1))

    return below(np.sort(others), members), 1 - below(np.sort(members), others)


def auc(members: np.ndarray, others: np.ndarray, *, confidence: float = 0.95) -> xr.Dataset:
    """Area under the ROC curve with DeLong's interval.

    Parameters
    ----------
    members, others
        Scores of members and of non-members, (member,) and (other,); or (seed, member) and (seed, other), of the same samples in each
        seed: then the mean over seeds, with an error over samples and seeds. Values that are not finite are left out, of several seeds the
        samples.
    confidence
        Of the interval.

    Returns
    -------
    Scalars ``auc``, ``standard_error``, ``p`` (two-sided, of AUC = .5), ``n_members``, ``n_others``, ``n_seeds``; ``interval`` on ``bound``.
    NaN with fewer than 2 samples on a side. Of several seeds the variance is that over samples of the mean of placements, and the variance
    between seeds over their number: what seed and sample do together is in both, so the error errs on the large side.

    Examples
    --------
    >>> found = auc(np.array([1, 2, 3, 4.0]), np.array([0, 1, 2, 3.0]))
    >>> found["auc"].item(), found["interval"].values.round(2)
    (0.71875, array([0.19, 0.96]))
    """
    members, others = _finite(members), _finite(others)
    n = members.shape[1], others.shape[1]
    seeds = len(members)
    value = error = p = np.nan
    interval = (np.nan, np.nan)
    if min(n) > 1:
        each = [placements(*pair) for pair in zip(members, others, strict=True)]
        parts = [np.mean([pair[side] for pair in each], axis=0) for side in (0, 1)]
        value = float(parts[0].mean())
        variances, degrees = [float(part.var(ddof=1) / len(part)) for part in parts], [n[0] - 1, n[1] - 1]
        if seeds > 1:
            variances.append(float(np.var([pair[0].mean() for pair in each], ddof=1) / seeds))
            degrees.append(seeds - 1)
        error = math.sqrt(sum(variances))
        if error > 0 and 0 < value < 1:
            df = sum(variances) ** 2 / sum(v**2 / d for v, d in zip(variances, degrees, strict=True))
            p = float(2 * scipy.stats.t.sf(abs(value - 0.5) / error, df))
            reach = scipy.stats.t.ppf(0.5 + confidence / 2, df) * error / (value * (1 - value))
            centre = math.log(value / (1 - value))
            interval = tuple(float(scipy.special.expit(centre + sign * reach)) for sign in (-1, 1))
        elif value in (0.0, 1.0):
            bound = ((1 - confidence) / 2) ** (1 / min(n))
            interval, p = ((bound, 1.0) if value else (0.0, 1 - bound)), float(min(1.0, 2 * 0.5 ** min(n)))
    return xr.Dataset(
        {
            "auc": value,
            "standard_error": error,
            "p": p,
            "interval": (BOUND, list(interval)),
            "n_members": n[0],
            "n_others": n[1],
            "n_seeds": seeds,
        },
        {BOUND: list(BOUNDS)},
    )


def roc(members: np.ndarray, others: np.ndarray, *, rates: tuple[float, ...] = GRID, confidence: float = 0.95) -> xr.Dataset:
    """True-positive rates at false-positive rates, with intervals that are exact at each of them.

    Parameters
    ----------
    members, others
        As in :func:`auc`. Of several seeds: the mean of the curves, and the mean of the ends of their intervals, each at
        1 - (1 - confidence) / seeds: given these encoders; ``standard_error_seeds`` is over seeds.
    rates
        False-positive rates, ascending, within 0 and 1.
    confidence
        Of the interval at one rate.

    Returns
    -------
    On ``fpr``: ``tpr``, NaN at rates that fewer than 1 of the non-members make up, and ``interval`` on (``fpr``, ``bound``), also there;
    ``needed``, the number of non-members with which the lower end can be above 0; ``standard_error_seeds``, NaN of one seed; and the scalars
    ``n_members``, ``n_others``, ``n_seeds``.

    Examples
    --------
    >>> found = roc(np.arange(100) + 20.0, np.arange(100.0), rates=(0.001, 0.1))
    >>> found["tpr"].values.round(2), found["needed"].values
    (array([nan, 0.3]), array([4380,   42]))
    >>> found["interval"].sel(fpr=0.1).values.round(2)
    array([0.14, 0.5 ])
    """
    members, others = _finite(members), _finite(others)
    seeds, levels = len(members), np.asarray(rates, float)
    alpha = (1 - confidence) / seeds
    each = [_curve(*pair, levels, alpha) for pair in zip(members, others, strict=True)]
    tpr, low, high = np.mean(each, axis=0)
    between = np.std([curve[0] for curve in each], axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(len(levels), np.nan)
    return xr.Dataset(
        {
            "tpr": (FPR, tpr),
            "interval": ((FPR, BOUND), np.stack([low, high], axis=1)),
            "standard_error_seeds": (FPR, between),
            "needed": (FPR, np.array([needed_others(rate, confidence=1 - alpha) for rate in levels], int)),
            "n_members": members.shape[1],
            "n_others": others.shape[1],
            "n_seeds": seeds,
        },
        {FPR: levels, BOUND: list(BOUNDS)},
    )


def needed_others(rate: float, *, confidence: float = 0.95) -> int:
    """Return the number of non-members with which a true-positive rate at this false-positive rate can be shown to be above 0.

    Examples
    --------
    >>> needed_others(0.01), needed_others(0.001)
    (437, 4380)
    """
    return 1 if rate >= 1 else math.ceil(math.log((1 - confidence) / 4) / math.log1p(-rate)) if rate > 0 else np.iinfo(np.int64).max


def _curve(members: np.ndarray, others: np.ndarray, rates: np.ndarray, alpha: float) -> np.ndarray:
    """True-positive rate, and the ends of its interval, at each false-positive rate, (3, rate)."""
    n = len(others)
    if not n or not len(members):
        return np.full((3, len(rates)), np.nan)
    falling, ascending = np.sort(others)[::-1], np.sort(members)
    rank = np.arange(1, n + 1)

    def above(threshold: np.ndarray, *, or_equal: bool = False) -> np.ndarray:
        """Return the number of members above each threshold."""
        return len(ascending) - np.searchsorted(ascending, threshold, side="left" if or_equal else "right")

    # Observed: the lowest threshold that at most n * rate of the non-members are above.
    allowed = np.floor(rates * n + 1e-9).astype(int)
    lowest = np.append(falling, -np.inf)
    tpr = np.where(allowed >= 1, above(lowest[np.minimum(allowed, n)]), np.nan) / len(members)
    # FPR of the k-th highest as threshold is Beta(k, n + 1 - k): the largest k that is below the rate, and the smallest that is above it.
    safe = np.searchsorted(scipy.special.betaincinv(rank, n + 1 - rank, 1 - alpha / 4), rates, side="right")
    beyond = np.searchsorted(scipy.special.betaincinv(rank, n + 1 - rank, alpha / 4), rates, side="left") + 1
    some, most = (
        above(falling[np.maximum(safe, 1) - 1]),
        above(np.append(falling, -np.inf)[np.minimum(beyond, n + 1) - 1], or_equal=True),
    )
    low = np.where((safe > 0) & (some > 0), _lower(some, len(members), alpha / 4), 0.0)
    high = np.where((beyond <= n) & (most < len(members)), 1 - _lower(len(members) - most, len(members), alpha / 4), 1.0)
    whole = rates >= 1  # every sample is called a member
    return np.stack([np.where(whole, 1.0, tpr), np.where(whole, 1.0, low), high])


def _lower(successes: np.ndarray, n: int, alpha: float) -> np.ndarray:
    """Lower bound of a probability by Clopper and Pearson, one-sided."""
    return scipy.special.betaincinv(np.maximum(successes, 1), n - np.maximum(successes, 1) + 1, alpha)


def _finite(values: np.ndarray) -> np.ndarray:
    """Return scores as (seed, sample), without samples that are not finite in every seed."""
    values = np.atleast_2d(np.asarray(values, float))
    return values[:, np.isfinite(values).all(axis=0)]
