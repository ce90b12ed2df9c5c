"""Agreement of two scores: rank correlation with an interval, and the overlap of the samples that each finds highest."""

from __future__ import annotations

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS, STATISTIC
from sslmem_kit.statistics.summary import wilson_interval


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
    Pearson 1957) and (1 + rho**2 / 2) / (n - 3) for rho (Bonett and Wright 2000). They are good for few ties, |tau| below about 0.8
    and |rho| below about 0.95, and are over samples, given the encoders.

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
            intervals = [_fisher_interval(*pair, confidence) for pair in zip((tau, rho), variances, strict=True)]
    return xr.Dataset(
        {"value": (STATISTIC, [tau, rho]), "interval": ((STATISTIC, BOUND), intervals), "p": p, "n": n},
        {STATISTIC: ["tau", "rho"], BOUND: list(BOUNDS)},
    )


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
    The interval is Wilson's, of 95 %, over samples. Of normal scores with correlations from 0 to 0.98, of 144 to 5,000 samples, it holds the
    share of the highest k / n of the population in 94 to 100 % of cases, in 89 to 91 % where less than one in common is to be expected.

    Examples
    --------
    >>> overlap = top_overlap(np.arange(6), np.array([5, 0, 1, 2, 3, 4]), sizes=(2, 3))
    >>> overlap["common"].to_series().to_dict(), overlap["share"].values
    ({2: 1, 3: 2}, array([0.5       , 0.66666667]))
    """
    n, kept = len(first), [size for size in sizes if size <= len(first)]
    common = [len(np.intersect1d(highest(first, k), highest(second, k), assume_unique=True)) for k in kept]
    k = np.array(kept, int)
    return xr.Dataset(
        {
            "common": ("k", np.array(common, int)),
            "share": ("k", np.array(common, int) / k),
            "chance": ("k", k / n if n else k.astype(float)),
            "share_interval": (("k", BOUND), np.stack(wilson_interval(np.array(common, int), k), axis=-1)),
            "chance_band": (("k", BOUND), _chance_band(n, k)),
        },
        {"k": k, BOUND: list(BOUNDS)},
    )


def _chance_band(n: int, k: np.ndarray) -> np.ndarray:
    """Ends of the share in common of the ``k`` highest of two unrelated orders of ``n``, (k, 2)."""
    ends = scipy.stats.hypergeom.ppf(np.array([0.025, 0.975]), n, k[:, None], k[:, None]) if len(k) else np.empty((0, 2))
    return ends / k[:, None]
