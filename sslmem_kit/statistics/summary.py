"""Means, shares and their intervals, over samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr
from scipy import special

from sslmem_kit.names import BOUND, BOUNDS, PARTITION, PARTITION_CODE, PARTITIONS, SSLMEM
from sslmem_kit.statistics.clusters import clustered_mean, scored, units_by_partition

STUDENT_BELOW = 30
"""Number of values below which the interval of their mean is Student's."""
NORMAL_ABOVE = 20_000
"""Number of values above which the bootstrap distribution of their mean is taken to be normal."""


def partition_summary(scores: xr.Dataset, *, seed: int = 0) -> xr.Dataset:
    """Mean, standard deviation, n and interval (:func:`bootstrap_mean_interval`) of ``sslmem`` in each partition that has samples.

    Parameters
    ----------
    scores
        ``sslmem(sample)`` with ``partition``, of :func:`sslmem_kit.scores.score`.
    seed
        Of the bootstrap.

    Returns
    -------
    Where samples have groups (coordinate ``group``) the interval is Student's t over groups. ``mean``, ``sd`` (NaN of one sample) and
    ``n`` on ``partition``, ``interval`` (95 %) on (``partition``, ``bound``), in units of the scores.

    Examples
    --------
    >>> scores = xr.Dataset({"sslmem": ("sample", [0.1, -0.1, 0.9, 1.1])}, {"partition": ("sample", [0, 0, 1, 1])})
    >>> summary = partition_summary(scores)
    >>> summary["mean"].to_series().to_dict()
    {'shared': 0.0, 'candidate': 1.0}
    >>> summary["interval"].sel(partition="candidate").round(2).values
    array([-0.27,  2.27])
    """
    groups = {name: values for name, values in by_partition(scores).items() if len(values)}
    units = units_by_partition(scores)
    if units is None:
        intervals = [bootstrap_mean_interval(values, seed=seed) for values in groups.values()]
    else:
        means = [clustered_mean(values, units[name]) for name, values in groups.items()]
        intervals = [(float(mean["low"]), float(mean["high"])) for mean in means]
    return xr.Dataset(
        {
            "mean": (PARTITION, [values.mean() for values in groups.values()]),
            "sd": (PARTITION, [values.std(ddof=1) if len(values) > 1 else np.nan for values in groups.values()]),
            "n": (PARTITION, [len(values) for values in groups.values()]),
            "interval": ((PARTITION, BOUND), np.array(intervals).reshape(-1, 2)),
        },
        {PARTITION: list(groups), BOUND: list(BOUNDS)},
    )


def by_partition(scores: xr.Dataset) -> dict[str, np.ndarray]:
    """Values of ``sslmem`` of the samples of each partition that have one (not NaN), float64; empty where a partition has none.

    Examples
    --------
    >>> scores = xr.Dataset({"sslmem": ("sample", [0.1, 0.9, 1.1])}, {"partition": ("sample", [0, 1, 1])})
    >>> by_partition(scores)["candidate"]
    array([0.9, 1.1])
    """
    values, codes, known = scores[SSLMEM].values.astype(np.float64), scores["partition"].values, scored(scores)
    return {name: values[known & (codes == PARTITION_CODE[name])] for name in PARTITIONS}


def bootstrap_mean_interval(
    values: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over samples, with fewer than 30 Student's; NaN with fewer than 2.

    Resampled means of more than 20,000 values are normal, up to what 2,000 of them can show: the interval is then taken from the normal
    distribution, for drawing them from a million values takes a minute.

    Of 5, 10, 20 and 29 values the percentile bootstrap covers 84, 88, 92 and 93 % where they are normal, 78, 86, 90 and 92 % exponential,
    83, 89, 89 and 94 % of Student's t with 4 degrees; BCa no better (82, 79, 84 % of five). Student's interval covers 94 to 96 % of
    normal and heavy-tailed values at every n, and 88, 90, 93 and 92 % of exponential ones, as skewed as scores hardly are.

    Parameters
    ----------
    values
        Finite scores, (sample,).

    References
    ----------
    Efron and Tibshirani, An introduction to the bootstrap (1993), chapter 13.

    Examples
    --------
    >>> low, high = bootstrap_mean_interval(np.arange(11.0))
    >>> bool(2 < low < 5 < high < 8)
    True
    """
    if len(values) < 2:
        return (np.nan, np.nan)
    if len(values) < STUDENT_BELOW:
        reach = special.stdtrit(len(values) - 1, 0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(len(values))
        return (float(values.mean() - reach), float(values.mean() + reach))
    if len(values) > NORMAL_ABOVE:
        mean, reach = values.mean(), special.ndtri(0.5 + confidence / 2) * values.std() / np.sqrt(len(values))
        return (float(mean - reach), float(mean + reach))
    batch = max(1, 10_000_000 // len(values))
    result = scipy.stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        batch=batch,
        vectorized=True,
        rng=np.random.Generator(np.random.Philox(seed)),
    )
    return (float(result.confidence_interval.low), float(result.confidence_interval.high))


def share_above(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of values that lie above each threshold (figure 5), (threshold,); NaN where there are no values.

    Parameters
    ----------
    values
        Finite scores, (sample,).
    thresholds
        In units of the scores, in any order, (threshold,).

    Examples
    --------
    >>> share_above(np.array([1.0, 2.0, 2.0, 4.0]), np.array([0.0, 2.0, 3.0]))
    array([1.  , 0.25, 0.25])
    """
    if not len(values):
        return np.full(len(thresholds), np.nan)
    # A comparison in the type of the scores, as in `values > threshold`: 0.1 is not below a float32 that reads 0.1.
    return 1 - np.searchsorted(np.sort(values), np.asarray(thresholds, values.dtype), side="right") / len(values)


def wilson_interval(count: Any, n: Any, *, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share ``count / n``, elementwise; NaN where n is 0.

    It stays within 0 and 1 and holds at 0 of n too, which the interval by plus or minus two standard errors does not.

    Returns
    -------
    Lower and upper ends, in the common shape of ``count`` and ``n``.

    References
    ----------
    Wilson, JASA 22 (1927).

    Examples
    --------
    >>> low, high = wilson_interval(8, 10)
    >>> round(float(low), 3), round(float(high), 3)
    (0.49, 0.943)
    """
    count, n = np.broadcast_arrays(np.asarray(count, float), np.asarray(n, float))
    z = special.ndtri(0.5 + confidence / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = count / n
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        reach = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # By the formula the ends at no and at all are 0 and 1; rounding may leave them a hair beside.
    return np.where((count == 0) & (n > 0), 0.0, middle - reach), np.where((count == n) & (n > 0), 1.0, middle + reach)
