"""Means and tests of scores whose samples come in groups: the group is the unit.

Members of a group (twins, frames of a video, images of a patient) have scores that go together, so that a hundred of them say less than
a hundred samples. Errors here are robust to that: residuals are summed within groups before they are squared, and degrees of freedom
count groups. Where every group has one member they are those of samples.

References
----------
Liang and Zeger, Biometrika 73 (1986); Cameron and Miller, Journal of Human Resources 50 (2015), with the correction G / (G - 1).
"""

from __future__ import annotations

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr

from sslmem_kit.names import GROUP, PARTITION, PARTITION_CODE, SSLMEM


def units_by_partition(scores: xr.Dataset) -> dict[str, np.ndarray] | None:
    """Group of each sample that has a score, by partition, as :func:`sslmem_kit.statistics.by_partition`; None where each is alone.

    Examples
    --------
    >>> coords = {"partition": ("sample", [0, 0, 1]), "group": ("sample", [4, 4, 7])}
    >>> units_by_partition(xr.Dataset(coords=coords))["shared"]
    array([4, 4])
    """
    if GROUP not in scores.coords or len(np.unique(scores[GROUP].values)) == scores.sizes["sample"]:
        return None
    groups, codes, known = scores[GROUP].values, scores[PARTITION].values, scored(scores)
    return {name: groups[known & (codes == code)] for name, code in PARTITION_CODE.items()}


def scored(scores: xr.Dataset) -> np.ndarray:
    """Whether each sample has a score, (sample,) bool.

    Examples
    --------
    >>> scored(xr.Dataset({"sslmem": ("sample", [0.1, np.nan])}))
    array([ True, False])
    """
    return np.isfinite(scores[SSLMEM].values) if SSLMEM in scores else np.ones(scores.sizes["sample"], bool)


def clustered_mean(values: np.ndarray, groups: np.ndarray, *, confidence: float = 0.95) -> xr.Dataset:
    """Mean over samples, with an error and an interval (Student's t) over groups.

    Parameters
    ----------
    values
        Scores, (sample,).
    groups
        Group of each, (sample,).

    Returns
    -------
    Scalars ``mean``, ``standard_error``, ``low``, ``high``, ``n`` (samples), ``n_groups`` and ``n_effective``, how many samples of their
    own would have this error; NaN with fewer than 2 groups.

    Examples
    --------
    >>> found = clustered_mean(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]))
    >>> float(found["mean"]), float(found["standard_error"]), int(found["n_groups"])
    (2.0, 1.0, 2)
    """
    n = len(values)
    mean, variance, count = _parts(values, groups)
    error = np.sqrt(variance)
    reach = scipy.stats.t.ppf(0.5 + confidence / 2, count - 1) * error if count > 1 else np.nan
    alone = values.var(ddof=1) if n > 1 else np.nan
    effective = min(float(n), alone / variance) if variance > 0 else float(count)
    return xr.Dataset(
        {
            "mean": mean,
            "standard_error": error,
            "low": mean - reach,
            "high": mean + reach,
            "n": n,
            "n_groups": count,
            "n_effective": effective,
        }
    )


def clustered_one_sample_test(values: np.ndarray, groups: np.ndarray, *, alternative: str) -> xr.Dataset:
    """Test of a mean against zero with the group as the unit; :func:`sslmem_kit.statistics.t_tests.one_sample_test` where each is alone.

    Returns
    -------
    Scalars ``t``, ``p``, ``n`` and ``n_groups``; the first two are NaN with fewer than 2 groups.

    Examples
    --------
    >>> found = clustered_one_sample_test(np.array([1.0, 2, 3]), np.arange(3), alternative="greater")
    >>> round(float(found["t"]), 3), int(found["n_groups"])
    (3.464, 3)
    """
    mean, variance, count = _parts(values, groups)
    t, p = _test(mean, variance, count - 1, alternative)
    return xr.Dataset({"t": t, "p": p, "n": len(values), "n_groups": count})


def clustered_two_sample_test(
    first: np.ndarray, second: np.ndarray, first_groups: np.ndarray, second_groups: np.ndarray, *, alternative: str
) -> xr.Dataset:
    """Welch's test of two means with the group as the unit; :func:`sslmem_kit.statistics.t_tests.two_sample_test` where each is alone.

    Returns
    -------
    Scalars ``t``, ``p``, ``standard_error`` of the difference and its ``degrees`` of freedom, ``n``, ``n_first``, ``n_second``, ``n_groups``
    (both together); the first four are NaN with fewer than 2 groups on a side. Groups with members on both sides count in the difference:
    what their members have in common cancels.

    Examples
    --------
    >>> found = clustered_two_sample_test(
    ...     np.array([1.0, 2, 3]), np.array([4.0, 5, 6]), np.arange(3), np.arange(3, 6), alternative="less"
    ... )
    >>> round(float(found["p"]), 4), int(found["n_groups"])
    (0.0107, 6)
    """
    (mean1, variance1, count1), (mean2, variance2, count2) = _parts(first, first_groups), _parts(second, second_groups)
    total = len(np.union1d(first_groups, second_groups))
    t = p = error = degrees = np.nan
    if min(count1, count2) > 1:
        variance = variance1 + variance2
        if total < count1 + count2:
            _, unit = np.unique(np.concatenate([first_groups, second_groups]), return_inverse=True)
            residuals = np.concatenate([(first - mean1) / len(first), (mean2 - second) / len(second)])
            variance, degrees = total / (total - 1) * (np.bincount(unit, weights=residuals) ** 2).sum(), min(count1, count2) - 1
        elif variance > 0:
            degrees = variance**2 / (variance1**2 / (count1 - 1) + variance2**2 / (count2 - 1))
        else:
            degrees = min(count1, count2) - 1
        error = np.sqrt(variance)
        t, p = _test(mean1 - mean2, variance, degrees, alternative)
    counts = {"n": len(first) + len(second), "n_first": len(first), "n_second": len(second), "n_groups": total}
    return xr.Dataset({"t": t, "p": p, "standard_error": error, "degrees": degrees, **counts})


def _parts(values: np.ndarray, groups: np.ndarray) -> tuple[float, float, int]:
    """Return the mean over samples, its variance over groups (NaN with fewer than 2), and the number of groups."""
    _, unit = np.unique(groups, return_inverse=True)
    count = int(unit.max(initial=-1)) + 1
    if not len(values):
        return np.nan, np.nan, 0
    mean = float(values.mean())
    if count < 2:
        return mean, np.nan, count
    sums = np.bincount(unit, weights=values - mean)
    return mean, float(count / (count - 1) * (sums**2).sum() / len(values) ** 2), count


def _test(effect: float, variance: float, degrees: float, alternative: str) -> tuple[float, float]:
    if not variance > 0:
        return np.nan, np.nan
    t = effect / np.sqrt(variance)
    tail = scipy.stats.t.sf if alternative == "greater" else scipy.stats.t.cdf
    p = 2 * scipy.stats.t.sf(abs(t), degrees) if alternative == "two-sided" else tail(t, degrees)
    return float(t), float(p)
