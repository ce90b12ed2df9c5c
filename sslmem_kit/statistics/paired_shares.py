"""Shares of samples of which two encoders, or families of them, name the class: both, one alone, neither; and by how much one names more.

Two trainings differ by an offset common to all samples: the interval over samples is that of these encoders, the one over both holds for
others too, and half the difference of two partitions whose roles are swapped cancels it.

References
----------
McNemar, Psychometrika 12 (1947); Agresti and Min, Statistics in Medicine 24 (2005); Howe, JASA 69 (1974).
"""

from __future__ import annotations

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS, PARTITION_CODE, SEED
from sslmem_kit.scores.intervals import CONFIDENCE

OUTCOMES = ("memorized", "misrepresented", "correlated", "unassociated")
"""Outcomes of a sample, in the words of Meehan et al. (2023): f alone names its class, g alone, both, neither."""


def paired_shares(f: np.ndarray, g: np.ndarray) -> xr.Dataset:
    """Shares of samples by what f and g name, and the net share with its intervals and test.

    Parameters
    ----------
    f, g
        1 where an encoder names the class, else 0, (sample, seed); rows with NaN are left out.

    Returns
    -------
    ``memorized``, ``misrepresented``, ``correlated`` and ``unassociated``, means over seeds, and their ``_sd`` over seeds (NaN with one);
    the same ``_by_seed`` on ``seed``, with ``net_by_seed`` and ``p_by_seed`` (McNemar's exact test, two-sided); ``net``;
    ``interval_samples`` (95 %, over samples, given these encoders), ``interval_seeds`` (Student's t over seeds, for these samples),
    ``interval`` (over both), on ``bound``; ``n`` and ``seeds``. NaN without samples; intervals over seeds need two, and ``interval`` is
    that over samples with one.

    Notes
    -----
    The interval over samples has half a sample more of each outcome (Agresti and Min), without which it has no width where the encoders
    agree on all. That over both adds squares of half widths (Howe): it never says less than Student's t over seeds, and is wide with two.

    Examples
    --------
    >>> f, g = np.array([[1], [1], [1], [0]] * 10), np.array([[1], [0], [0], [1]] * 10)
    >>> found = paired_shares(f, g)
    >>> found["memorized"].item(), found["misrepresented"].item(), found["net"].item(), round(found["p_by_seed"].item(), 3)
    (0.5, 0.25, 0.25, 0.099)
    >>> found["interval_samples"].values.round(2)
    array([-0.02,  0.5 ])
    """
    known = np.isfinite(f).all(axis=1) & np.isfinite(g).all(axis=1)
    first, second = (values[known] > 0 for values in (f, g))
    n, seeds = first.shape
    pairs = (first & ~second, second & ~first, first & second, ~first & ~second)
    by_seed = np.array([pair.mean(axis=0) if n else np.full(seeds, np.nan) for pair in pairs])
    difference = first.astype(float) - second
    over_samples, over_seeds, over_both = _intervals(difference)
    columns: dict[str, object] = {}
    for name, values in zip(OUTCOMES, by_seed, strict=True):
        columns |= {
            name: values.mean(),
            f"{name}_sd": values.std(ddof=1) if seeds > 1 else np.nan,
            f"{name}_by_seed": (SEED, values),
        }
    return xr.Dataset(
        {
            **columns,
            "net": by_seed[0].mean() - by_seed[1].mean(),
            "net_by_seed": (SEED, by_seed[0] - by_seed[1]),
            "p_by_seed": (SEED, [mcnemar(int(pairs[0][:, s].sum()), int(pairs[1][:, s].sum())) for s in range(seeds)]),
            "interval_samples": (BOUND, over_samples),
            "interval_seeds": (BOUND, over_seeds),
            "interval": (BOUND, over_both),
            "n": n,
            "seeds": seeds,
        },
        {BOUND: list(BOUNDS)},
    )


def mcnemar(first: int, second: int) -> float:
    """P-value of McNemar's exact two-sided test, from the numbers of samples that one side alone names; 1 where there are none.

    Examples
    --------
    >>> mcnemar(5, 0), mcnemar(0, 0)
    (0.0625, 1.0)
    """
    return float(scipy.stats.binomtest(first, first + second).pvalue) if first + second else 1.0


def _intervals(difference: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intervals of the mean of differences of outcomes, (sample, seed): over samples, over seeds, over both."""
    n, seeds = difference.shape
    unknown = np.full(2, np.nan)
    if n < 2:
        return unknown, unknown, unknown
    of_samples, of_seeds, mean = difference.mean(axis=1), difference.mean(axis=0), difference.mean()
    centre, variance = _of_samples(of_samples)
    over_samples = student_interval(centre, variance, n - 1)
    if seeds < 2:
        return over_samples, unknown, over_samples
    seed_variance = of_seeds.var(ddof=1) / seeds
    over_seeds = student_interval(mean, seed_variance, seeds - 1)
    return over_samples, over_seeds, _over_both(over_samples, seed_variance, seeds)


def _over_both(over_samples: np.ndarray, variance: float, seeds: int) -> np.ndarray:
    """Interval over samples, made wider by a variance over seeds with Student's t of their number: squares of half widths add (Howe 1974).

    Degrees of freedom of the sum of the variances (Satterthwaite) would be too many where few seeds happen to be alike.
    """
    centre, reach = over_samples.mean(), np.ptp(over_samples) / 2
    more = scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, seeds - 1) * np.sqrt(max(variance, 0))
    return centre + np.hypot(reach, more) * np.array([-1, 1])


def _of_samples(values: np.ndarray) -> tuple[float, float]:
    """Mean of differences between -1 and 1 over samples and its variance, with half a sample more of each outcome."""
    more = len(values) + 2
    centre = values.sum() / more
    return centre, (((values**2).sum() + 1) / more - centre**2) / more


def student_interval(centre: float, variance: float, degrees: float) -> np.ndarray:
    """Student's 95 % interval from a variance and its degrees of freedom, (bound,).

    Examples
    --------
    >>> student_interval(0.0, 1.0, 1e9).round(2)
    array([-1.96,  1.96])
    """
    reach = scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, degrees) * np.sqrt(variance)
    return np.array([centre - reach, centre + reach])


def half_difference(f: np.ndarray, g: np.ndarray, codes: np.ndarray) -> xr.Dataset:
    """Half the difference of the net shares of candidates and independent samples: memorization without the offset of the trainings.

    Parameters
    ----------
    f, g
        As in :func:`paired_shares`.
    codes
        Partition code of each sample, (sample,).

    Returns
    -------
    ``value``, ``interval_samples``, ``interval_seeds`` and ``interval`` (over both), ``n`` and ``seeds``, as in :func:`paired_shares`; NaN
    where a partition has no samples.

    Examples
    --------
    >>> f, g = np.repeat([[1], [0]], 20, axis=0), np.repeat([[0], [1]], 20, axis=0)
    >>> half_difference(f, g, np.repeat([1, 2], 20))["value"].item()
    1.0
    """
    difference = f.astype(float) - g
    known = np.isfinite(difference).all(axis=1)
    sides = [difference[known & (codes == PARTITION_CODE[name])] for name in ("candidate", "independent")]
    n, seeds = sum(map(len, sides)), difference.shape[1]
    intervals, value = np.full((3, 2), np.nan), np.nan
    if min(map(len, sides)) > 1:
        by_seed = (sides[0].mean(axis=0) - sides[1].mean(axis=0)) / 2
        value = by_seed.mean()
        parts = [_of_samples(side.mean(axis=1)) for side in sides]
        centre, variance = (parts[0][0] - parts[1][0]) / 2, (parts[0][1] + parts[1][1]) / 4
        intervals[0] = intervals[2] = student_interval(centre, variance, min(map(len, sides)) - 1)
        if seeds > 1:
            seed_variance = by_seed.var(ddof=1) / seeds
            intervals[1] = student_interval(value, seed_variance, seeds - 1)
            twice = sum(_residual(side) for side in sides) / 4
            intervals[2] = _over_both(intervals[0], seed_variance - twice, seeds)
    columns = dict(zip(("interval_samples", "interval_seeds", "interval"), ((BOUND, part) for part in intervals), strict=True))
    return xr.Dataset({"value": value, **columns, "n": n, "seeds": seeds}, {BOUND: list(BOUNDS)})


def _residual(values: np.ndarray) -> float:
    """Variance of the mean of a two-way layout, (sample, seed), that is of neither samples nor seeds."""
    n, seeds = values.shape
    residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    return float((residual**2).sum() / ((n - 1) * (seeds - 1)) / (n * seeds))
