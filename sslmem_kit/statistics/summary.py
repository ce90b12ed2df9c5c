"""Tests, effect sizes, rank agreement and bootstrap intervals of scores.

The "effect size" of the paper's Tables 2 and 16 is the t statistic; here t and Cohen's d go under their own names. Tests are over
samples, given the encoders: they say whether partitions differ for these encoders, not how other training runs would come out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr
from scipy import special

from sslmem_kit.names import PARTITION_CODE, PARTITIONS, SSLMEM

NORMAL_ABOVE = 20_000
"""Values above which the bootstrap distribution of their mean is taken to be normal."""


def partition_summary(scores: xr.Dataset, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation, n and bootstrap interval of ``sslmem`` in each partition that has samples."""
    return {
        name: {
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)) if len(values) > 1 else np.nan,
            "n": len(values),
            "interval": bootstrap_mean_interval(values, seed=seed),
        }
        for name, values in by_partition(scores).items()
        if len(values)
    }


def by_partition(scores: xr.Dataset) -> dict[str, np.ndarray]:
    """Values of ``sslmem`` of each partition, float64."""
    values, codes = scores[SSLMEM].values.astype(np.float64), scores["partition"].values
    return {name: values[codes == PARTITION_CODE[name]] for name in PARTITIONS}


def bootstrap_mean_interval(
    values: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over samples; NaN with fewer than 2.

    Resampled means of more than 20,000 values are normal, up to what 2,000 of them tell: the interval is then taken from the normal
    distribution, for drawing them from a million values takes a minute.
    """
    if len(values) < 2:
        return (np.nan, np.nan)
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
        In units of the scores, in any order.
    """
    if not len(values):
        return np.full(len(thresholds), np.nan)
    # A comparison in the type of the scores, as in `values > threshold`: 0.1 is not below a float32 that reads 0.1.
    return 1 - np.searchsorted(np.sort(values), np.asarray(thresholds, values.dtype), side="right") / len(values)


def wilson_interval(count: Any, n: Any, *, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share ``count / n``, elementwise; NaN where n is 0.

    It keeps within 0 and 1 and is of use at 0 of n too, which the interval by plus or minus two standard errors is not.

    Returns
    -------
    The lower and the upper ends.
    """
    count, n = np.broadcast_arrays(np.asarray(count, float), np.asarray(n, float))
    z = special.ndtri(0.5 + confidence / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = count / n
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        reach = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # By the formula the ends at no and at all are 0 and 1; rounding may leave them a hair beside.
    return np.where((count == 0) & (n > 0), 0.0, middle - reach), np.where((count == n) & (n > 0), 1.0, middle + reach)
