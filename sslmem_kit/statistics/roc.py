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

Intervals of one encoder are over samples, given the encoder.
"""

from __future__ import annotations

import math

import numpy as np
import scipy
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS
from sslmem_kit.statistics.t_tests import welch_degrees

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


def auc(scores: np.ndarray, member: np.ndarray, *, seed: np.ndarray | None = None, confidence: float = 0.95) -> xr.Dataset:
    """Area under the ROC curve with DeLong's interval.

    Parameters
    ----------
    scores
        (sample,), or (encoder, sample), whose AUCs are averaged. Values that are not finite are left out.
    member
        True for members, of the shape of scores; who is one may differ between encoders.
    seed
        Seed of each encoder, (encoder,): the mean is over encoders of a seed, then over seeds; None: each has its own.
    confidence
        Of the interval.

    Returns
    -------
    Scalars ``auc``, ``standard_error``, ``p`` (two-sided, of AUC = .5), ``n_members`` and ``n_others`` (of one encoder, a mean),
    ``n_encoders``, ``n_seeds``; ``interval`` on ``bound``. NaN with fewer than 2 samples on a side.

    Notes
    -----
    Of several encoders a sample has the mean of its influences on their AUCs, and the sum of squares is the variance over samples, given the
    encoders. The variance between seeds over their number is added to it, so that the interval is over samples and seeds; what seed and
    sample do together is in both, and the error errs on the large side.

    Examples
    --------
    >>> found = auc(np.array([1, 2, 3, 4.0, 0, 1, 2, 3.0]), np.arange(8) < 4)
    >>> found["auc"].item(), found["interval"].values.round(2)
    (0.71875, array([0.19, 0.96]))
    """
    scores, member = np.atleast_2d(np.asarray(scores, float)), np.atleast_2d(np.asarray(member, bool))
    known = np.isfinite(scores)
    encoders = len(scores)
    _, of_seed, encoders_of = np.unique(np.arange(encoders) if seed is None else seed, return_inverse=True, return_counts=True)
    seeds = len(encoders_of)
    weight = 1 / (encoders_of[of_seed] * seeds)
    n = (known & member).sum(axis=1), (known & ~member).sum(axis=1)
    value = error = p = np.nan
    interval = (np.nan, np.nan)
    if encoders and min(each.min() for each in n) > 1:
        values, influence, sides = np.empty(encoders), np.zeros(scores.shape[1]), np.zeros(2)
        for e in range(encoders):
            kinds = known[e] & member[e], known[e] & ~member[e]
            parts = placements(scores[e, kinds[0]], scores[e, kinds[1]])
            values[e] = parts[0].mean()
            for side, (kind, part) in enumerate(zip(kinds, parts, strict=True)):
                own = weight[e] * (part - values[e]) / np.sqrt(len(part) * (len(part) - 1))
                influence[kind] += own
                sides[side] += (own**2).sum()
        value = float(values[0] if (values == values[0]).all() else weight @ values)
        samples = float((influence**2).sum())
        each = [side[0] if encoders == 1 else side.mean() for side in n]
        variances, degrees = [samples], [welch_degrees(sides, [count - 1 for count in each])]
        if seeds > 1:
            by_seed = np.bincount(of_seed, values) / encoders_of
            variances.append(float(by_seed.var(ddof=1) / seeds))
            degrees.append(seeds - 1)
        error = math.sqrt(sum(variances))
        if error > 0 and 0 < value < 1:
            df = welch_degrees(variances, degrees)
            p = float(2 * scipy.stats.t.sf(abs(value - 0.5) / error, df))
            reach = scipy.stats.t.ppf(0.5 + confidence / 2, df) * error / (value * (1 - value))
            centre = math.log(value / (1 - value))
            interval = tuple(float(scipy.special.expit(centre + sign * reach)) for sign in (-1, 1))
        elif value in (0.0, 1.0):
            pairs = min(count.min() for count in n)
            bound = ((1 - confidence) / 2) ** (1 / pairs)
            interval, p = ((bound, 1.0) if value else (0.0, 1 - bound)), float(min(1.0, 2 * 0.5**pairs))
    return xr.Dataset(
        {
            "auc": value,
            "standard_error": error,
            "p": p,
            "interval": (BOUND, list(interval)),
            "n_members": _mean_count(n[0]),
            "n_others": _mean_count(n[1]),
            "n_encoders": encoders,
            "n_seeds": seeds,
        },
        {BOUND: list(BOUNDS)},
    )


def roc(scores: np.ndarray, member: np.ndarray, *, rates: tuple[float, ...] = GRID, confidence: float = 0.95) -> xr.Dataset:
    """True-positive rates at false-positive rates, with intervals that are exact at each of them.

    Parameters
    ----------
    scores, member
        As in :func:`auc`. Of several encoders: the mean of the curves, and the mean of the ends of their intervals, each at
        1 - (1 - confidence) / encoders: over samples, given these encoders; ``standard_error_encoders`` is over encoders.
    rates
        False-positive rates, ascending, within 0 and 1.
    confidence
        Of the interval at one rate.

    Returns
    -------
    On ``fpr``: ``tpr``, NaN at rates that are below one of the non-members, and ``interval`` on (``fpr``, ``bound``), also there;
    ``needed``, the number of non-members with which the lower end can be above 0; ``standard_error_encoders``, NaN of one; and the scalars
    ``n_members``, ``n_others``, ``n_encoders``.

    Examples
    --------
    >>> found = roc(np.concatenate([np.arange(100) + 20.0, np.arange(100.0)]), np.arange(200) < 100, rates=(0.001, 0.1))
    >>> found["tpr"].values.round(2), found["needed"].values
    (array([nan, 0.3]), array([4380,   42]))
    >>> found["interval"].sel(fpr=0.1).values.round(2)
    array([0.14, 0.5 ])
    """
    scores, member = np.atleast_2d(np.asarray(scores, float)), np.atleast_2d(np.asarray(member, bool))
    known = np.isfinite(scores)
    encoders, levels = len(scores), np.asarray(rates, float)
    alpha = (1 - confidence) / max(encoders, 1)
    each = [
        _curve(row[there & own], row[there & ~own], levels, alpha) for row, there, own in zip(scores, known, member, strict=True)
    ] or [np.full((3, len(levels)), np.nan)]
    tpr, low, high = np.mean(each, axis=0)
    between = (
        np.std([curve[0] for curve in each], axis=0, ddof=1) / np.sqrt(encoders) if encoders > 1 else np.full(len(levels), np.nan)
    )
    return xr.Dataset(
        {
            "tpr": (FPR, tpr),
            "interval": ((FPR, BOUND), np.stack([low, high], axis=1)),
            "standard_error_encoders": (FPR, between),
            "needed": (FPR, np.array([needed_others(rate, confidence=1 - alpha) for rate in levels], int)),
            "n_members": _mean_count((known & member).sum(axis=1)),
            "n_others": _mean_count((known & ~member).sum(axis=1)),
            "n_encoders": encoders,
        },
        {FPR: levels, BOUND: list(BOUNDS)},
    )


def _mean_count(counts: np.ndarray) -> int:
    return round(float(counts.mean())) if len(counts) else 0


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

    def above(threshold: np.ndarray, *, or_equal: bool = False) -> np.ndarray:
        """Return the number of members above each threshold."""
        return len(ascending) - np.searchsorted(ascending, threshold, side="left" if or_equal else "right")

    # Observed: the lowest threshold that at most n * rate of the non-members are above.
    allowed = np.floor(rates * n + 1e-9).astype(int)
    lowest = np.append(falling, -np.inf)
    tpr = np.where(allowed >= 1, above(lowest[np.minimum(allowed, n)]), np.nan) / len(members)
    # The FPR of the k-th highest as threshold is Beta(k, n + 1 - k), and below the rate as often as Binomial(n, rate) is at least k: the
    # largest k of which that is nearly sure, and the smallest of which it nearly never is.
    safe, beyond = (scipy.stats.binom.ppf(level, n, rates).astype(int) for level in (alpha / 4, 1 - alpha / 4))
    beyond = beyond + 1
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
