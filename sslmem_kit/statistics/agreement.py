"""Agreement of two scores: rank correlation with an interval, and the overlap of the samples that each finds highest."""

from __future__ import annotations

import zlib

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS, STATISTIC
from sslmem_kit.statistics.summary import wilson_interval

FEW_TIES = 0.01
"""Share of pairs of samples with equal scores up to which intervals are those of scores without ties."""
MOST_COMPARED, ROWS_COMPARED = 4000, 256
"""Number of samples of which all pairs are compared, and of those that are compared with all at a time."""


def rank_agreement(first: np.ndarray, second: np.ndarray, *, confidence: float = 0.95) -> xr.Dataset:
    """Kendall's tau-b and Spearman's rho of two scorings of the same samples, with their intervals.

    Parameters
    ----------
    first, second
        Finite scores, (sample,).
    confidence
        Of the intervals.

    Returns
    -------
    ``value`` on ``statistic`` (``tau``, ``rho``), ``interval`` on (``statistic``, ``bound``), and the scalars ``p`` (of tau: no association,
    two-sided) and ``n``. NaN with fewer than 2 samples or where one side is constant; the intervals also with fewer than 5 samples and at
    -1 and 1, where they have no width.

    Notes
    -----
    The intervals are symmetric in the inverse hyperbolic tangent, with the variance 0.437 / (n - 4) for tau (Fieller, Hartley and
    Pearson 1957) and (1 + rho**2 / 2) / (n - 3) for rho (Bonett and Wright 2000). They are good for |tau| below about 0.8 and |rho|
    below about 0.95, and are over samples, given the encoders. Where more than 1 % of pairs of samples are equal in a scoring, the
    variances are those of the influences of samples on tau-b and on rho (Daniels and Kendall 1947): with ties the others are too small,
    tau of binary scorings with a tenth of ones was held in 60 % of cases by them. Samples of classes or groups that go together in both
    scorings are fewer than their number, and neither p nor intervals know of it.

    Examples
    --------
    >>> found = rank_agreement(np.array([1, 2, 3, 4, 5]), np.array([10, 20, 40, 30, 50]))
    >>> found["value"].round(2).to_series().to_dict()
    {'tau': 0.8, 'rho': 0.9}
    >>> found["interval"].sel(statistic="tau").round(2).values
    array([-0.19,  0.98])
    """
    n = len(first)
    tau = rho = p = np.nan
    intervals = np.full((2, 2), np.nan)
    if n > 1 and np.ptp(first) and np.ptp(second):
        kendall = scipy.stats.kendalltau(first, second)
        tau, p = float(kendall.statistic), float(kendall.pvalue)
        rho = float(np.corrcoef(scipy.stats.rankdata(first), scipy.stats.rankdata(second))[0, 1])
        # Rounding may leave the tau or rho of equal orders a hair beside 1.
        tau, rho = (float(np.sign(value)) if abs(value) > 1 - 1e-12 else value for value in (tau, rho))
        if n > 4:
            variances = (0.437 / (n - 4), (1 + rho**2 / 2) / (n - 3))
            if max(_tied(first), _tied(second)) > FEW_TIES and max(abs(tau), abs(rho)) < 1:
                variances = _variances_by_influence(first, second, tau, rho)
            intervals = [_fisher_interval(*pair, confidence) for pair in zip((tau, rho), variances, strict=True)]
    return xr.Dataset(
        {"value": (STATISTIC, [tau, rho]), "interval": ((STATISTIC, BOUND), intervals), "p": p, "n": n},
        {STATISTIC: ["tau", "rho"], BOUND: list(BOUNDS)},
    )


def _tied(values: np.ndarray) -> float:
    """Share of pairs of samples that are equal."""
    counts = np.unique(values, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1)).sum() / (len(values) * (len(values) - 1)))


def _variances_by_influence(first: np.ndarray, second: np.ndarray, tau: float, rho: float) -> tuple[float, float]:
    """Variances of tau-b and rho, in the inverse hyperbolic tangent, by the influences of samples on them; many by a random part of them."""
    n = len(first)
    if n > MOST_COMPARED:
        chosen = np.random.Generator(np.random.Philox(n)).choice(n, MOST_COMPARED, replace=False)
        first, second = first[chosen], second[chosen]
        if not (np.ptp(first) and np.ptp(second)):
            return np.nan, np.nan
    m = len(first)
    x, y = ((ranks - ranks.mean()) / m for ranks in (scipy.stats.rankdata(first), scipy.stats.rankdata(second)))
    # Of each sample: the mean product of its signs against the others, and of its rank's with theirs, and the same of each scoring with itself.
    # A sample has an influence on the ranks of the others too: half of its sign, with their other rank.
    signs, ranks = np.empty((3, m)), np.stack([x * y, x**2, y**2])
    for start in range(0, m, ROWS_COMPARED):
        own = slice(start, start + ROWS_COMPARED)
        one, other = (np.sign(values[own, None] - values) for values in (first, second))
        signs[:, own] = (one * other).sum(axis=1), (one**2).sum(axis=1), (other**2).sum(axis=1)
        ranks[:, own] -= np.stack([(one @ y + other @ x) / 2, one @ x, other @ y]) / m
    variances = []
    for value, parts, (left, right), degree in (
        (tau, signs / (m - 1), (signs[1].mean() / (m - 1), signs[2].mean() / (m - 1)), 2),
        (rho, ranks, ((x**2).mean(), (y**2).mean()), 1),
    ):
        influence = degree * (parts[0] / np.sqrt(left * right) - value / 2 * (parts[1] / left + parts[2] / right))
        variances.append(float(influence.var(ddof=1) / n / (1 - value**2) ** 2))
    # Where few are above the lowest level, influences show too little of what may be: never less than of unrelated scorings.
    unrelated = 64 * (x**2).mean() * (y**2).mean() / (signs[1].mean() * signs[2].mean() / (m - 1) ** 2)
    return max(variances[0], unrelated / (n - 4)), max(variances[1], (1 + rho**2 / 2) / (n - 3))


def _fisher_interval(correlation: float, variance: float, confidence: float) -> tuple[float, float]:
    """Interval of a rank correlation whose inverse hyperbolic tangent is about normal with this variance."""
    if abs(correlation) == 1:
        return (np.nan, np.nan)
    reach = scipy.stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance)
    return (float(np.tanh(np.arctanh(correlation) - reach)), float(np.tanh(np.arctanh(correlation) + reach)))


def highest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` highest values, highest first; of equal ones the earlier.

    Parameters
    ----------
    values
        (sample,).

    Examples
    --------
    >>> highest(np.array([0.1, 0.9, 0.5, 0.9]), 3)
    array([1, 3, 2])
    """
    k = min(k, len(values))
    if not k:
        return np.empty(0, np.int64)
    # All that may belong, ties at the edge too, are few: only those are sorted.
    edge = np.partition(values, len(values) - k)[len(values) - k]
    candidates = np.flatnonzero(values >= edge)
    return candidates[np.argsort(-values[candidates], kind="stable")[:k]]


def top_overlap(first: np.ndarray, second: np.ndarray, sizes: tuple[int, ...] = (10, 20, 50, 100, 200)) -> xr.Dataset:
    """Number of the ``k`` highest samples of one scoring that are among the ``k`` highest of the other.

    Parameters
    ----------
    first, second
        Finite scores of the same samples, (sample,).
    sizes
        Values of k, ascending; those above n are left out.

    Returns
    -------
    On ``k``: ``common`` (samples), ``share`` (common / k) and ``chance``, the share k / n that two unrelated orders have on average; on
    ``bound`` too ``share_interval``, and ``chance_band``: of unrelated orders the number in common is hypergeometric, and within its 2.5 and
    97.5 % quantiles with at least 95 %.

    Notes
    -----
    Of samples that are equal at the edge the first scoring keeps the earlier, the second those that come first in a random order, which
    follows from the scores: were both to keep the earlier, unrelated scorings of few levels would share them all. So ties count as far as
    chance has it, and a scoring with ties at the edge does not overlap with itself in whole.

    The interval is Wilson's, of 95 %, over samples. Of normal scores with correlations from 0 to 0.98, of 144 to 5,000 samples, it holds the
    share of the highest k / n of the population in 94 to 100 % of cases, in 89 to 91 % where less than one in common is to be expected.

    Examples
    --------
    >>> overlap = top_overlap(np.arange(6), np.array([5, 0, 1, 2, 3, 4]), sizes=(2, 3))
    >>> overlap["common"].to_series().to_dict(), overlap["share"].values
    ({2: 1, 3: 2}, array([0.5       , 0.66666667]))
    """
    n, kept = len(first), [size for size in sizes if size <= len(first)]
    # By the scores themselves: one order for all scorings of n samples would favour the same ones again and again.
    order = np.random.Generator(np.random.Philox(zlib.crc32(np.ascontiguousarray(second).tobytes()))).permutation(n)
    shuffled = np.asarray(second)[order]
    common = [len(np.intersect1d(highest(first, k), order[highest(shuffled, k)], assume_unique=True)) for k in kept]
    k = np.array(kept, int)
    return xr.Dataset(
        {
            "common": ("k", np.array(common, int)),
            "share": ("k", np.array(common, int) / k),
            "chance": ("k", k / n if n else k.astype(float)),
            "share_interval": (("k", BOUND), np.stack(wilson_interval(np.array(common, int), k), axis=-1)),
            "chance_band": (("k", BOUND), np.stack(chance_band(n, k), axis=-1) / k[:, None]),
        },
        {"k": k, BOUND: list(BOUNDS)},
    )


def chance_band(n: int, k: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the number of common samples among the k highest that unrelated orders of n samples have in 95 % of cases or more.

    References
    ----------
    The hypergeometric distribution; :data:`scipy.stats.hypergeom`.

    Examples
    --------
    >>> low, high = chance_band(100, np.array([10, 50]))
    >>> low, high
    (array([ 0, 20]), array([ 3, 30]))
    """
    low, high = (scipy.stats.hypergeom.ppf(share, n, k, k) for share in ((1 - confidence) / 2, (1 + confidence) / 2))
    return low.astype(int), high.astype(int)
