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

LETTER = {"C": "candidate", "S": "shared", "I": "independent", "E": "extra"}

TABLE_2 = ("C>S", "C>E", "S>I", "E>I")
TABLE_16 = ("C>0", "I<0", "S!=0", "E>0")
_SIDE = {">": "greater", "<": "less", "!=": "two-sided"}
LARGE = 20_000
"""Values above which the bootstrap distribution of their mean is taken to be normal."""


def two_sample_test(first: np.ndarray, second: np.ndarray, *, alternative: str, equal_variances: bool = False) -> dict[str, float]:
    """Welch's (or Student's) t-test of two means, with Cohen's d by the pooled standard deviation.

    Parameters
    ----------
    first, second
        Scores, (sample,).
    alternative
        ``greater``: the mean of ``first`` is above that of ``second``; ``less``; ``two-sided``.
    equal_variances
        Student's test in place of Welch's.

    Returns
    -------
    ``t``, ``p``, ``cohens_d``, ``n`` (both together), ``n_first`` and ``n_second``; NaN with fewer than 2 samples on a side.
    """
    n1, n2 = len(first), len(second)
    counts = {"n": n1 + n2, "n_first": n1, "n_second": n2}
    if min(n1, n2) < 2:
        return {"t": np.nan, "p": np.nan, "cohens_d": np.nan, **counts}
    result = scipy.stats.ttest_ind(first, second, equal_var=equal_variances, alternative=alternative)
    pooled = np.sqrt(((n1 - 1) * first.var(ddof=1) + (n2 - 1) * second.var(ddof=1)) / (n1 + n2 - 2))
    d = (first.mean() - second.mean()) / pooled if pooled > 0 else np.nan
    return {"t": float(result.statistic), "p": float(result.pvalue), "cohens_d": float(d), **counts}


def one_sample_test(values: np.ndarray, *, alternative: str) -> dict[str, float]:
    """Student's t-test of a mean against zero, with Cohen's d; keys as :func:`two_sample_test`, without the parts of n."""
    n = len(values)
    if n < 2:
        return {"t": np.nan, "p": np.nan, "cohens_d": np.nan, "n": n}
    result = scipy.stats.ttest_1samp(values, 0.0, alternative=alternative)
    spread = values.std(ddof=1)
    return {
        "t": float(result.statistic),
        "p": float(result.pvalue),
        "cohens_d": float(values.mean() / spread) if spread > 0 else np.nan,
        "n": n,
    }


def partition_tests(scores: xr.Dataset, alternatives: tuple[str, ...] = TABLE_2 + TABLE_16) -> list[dict[str, Any]]:
    """The tests of Tables 2 and 16 on ``sslmem``.

    An alternative reads ``C>S`` (candidates above shared), ``S!=0`` (shared differ from zero) and so on. Tests of two partitions are
    Welch's; ``t_student`` and ``p_student`` give Student's beside them. A partition without samples leaves its tests out.

    Returns
    -------
    One mapping a test: ``alternative``, ``test``, ``t``, ``p``, ``cohens_d``, ``n`` ...
    """
    groups = by_partition(scores)
    rows = []
    for alternative in alternatives:
        operator = next(sign for sign in ("!=", ">", "<") if sign in alternative)
        first, second = alternative.split(operator)
        values = groups[LETTER[first]]
        if not len(values) or (second != "0" and not len(groups[LETTER[second]])):
            continue
        if second == "0":
            rows.append({"alternative": alternative, "test": "student", **one_sample_test(values, alternative=_SIDE[operator])})
            continue
        arguments = (values, groups[LETTER[second]])
        student = two_sample_test(*arguments, alternative=_SIDE[operator], equal_variances=True)
        welch = two_sample_test(*arguments, alternative=_SIDE[operator])
        rows.append({"alternative": alternative, "test": "welch", **welch, "t_student": student["t"], "p_student": student["p"]})
    return rows


def partition_summary(scores: xr.Dataset, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation, n and bootstrap interval of ``sslmem`` in each partition that has samples."""
    return {
        name: {
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)) if len(values) > 1 else np.nan,
            "n": len(values),
            "interval": bootstrap_interval(values, seed=seed),
        }
        for name, values in by_partition(scores).items()
        if len(values)
    }


def by_partition(scores: xr.Dataset) -> dict[str, np.ndarray]:
    """Values of ``sslmem`` of each partition, float64."""
    values, codes = scores[SSLMEM].values.astype(np.float64), scores["partition"].values
    return {name: values[codes == PARTITION_CODE[name]] for name in PARTITIONS}


def bootstrap_interval(
    values: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over samples; NaN with fewer than 2.

    Resampled means of more than 20,000 values are normal, up to what 2,000 of them tell: the interval is then taken from the normal
    distribution, for drawing them from a million values takes a minute.
    """
    if len(values) < 2:
        return (np.nan, np.nan)
    if len(values) > LARGE:
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


def rank_agreement(first: np.ndarray, second: np.ndarray, *, confidence: float = 0.95) -> dict[str, Any]:
    """Kendall's tau-b and Spearman's rho of two scorings of the same samples, with their intervals.

    Parameters
    ----------
    first, second
        Finite scores, (sample,).
    confidence
        Of the intervals.

    Returns
    -------
    ``tau`` with ``p`` (no association, two-sided) and ``tau_interval``; ``rho`` with ``rho_interval``; ``n``. NaN with fewer than 2
    samples or where one side is constant; the intervals also with fewer than 5 samples and at -1 and 1, where they have no width.

    Notes
    -----
    The intervals are symmetric in the inverse hyperbolic tangent, with the variance 0.437 / (n - 4) for tau (Fieller, Hartley and
    Pearson 1957) and (1 + rho**2 / 2) / (n - 3) for rho (Bonett and Wright 2000). They are good for few ties, |tau| below about 0.8
    and |rho| below about 0.95, and are over samples, given the encoders.
    """
    n = len(first)
    none = (np.nan, np.nan)
    if n < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return {"tau": np.nan, "p": np.nan, "tau_interval": none, "rho": np.nan, "rho_interval": none, "n": n}
    kendall = scipy.stats.kendalltau(first, second)
    tau, rho = float(kendall.statistic), float(np.corrcoef(scipy.stats.rankdata(first), scipy.stats.rankdata(second))[0, 1])
    # Rounding may leave the tau or rho of equal orders a hair beside 1.
    tau, rho = (float(np.sign(value)) if abs(value) > 1 - 1e-12 else value for value in (tau, rho))
    return {
        "tau": tau,
        "p": float(kendall.pvalue),
        "tau_interval": _fisher_interval(tau, 0.437 / (n - 4), confidence) if n > 4 else none,
        "rho": rho,
        "rho_interval": _fisher_interval(rho, (1 + rho**2 / 2) / (n - 3), confidence) if n > 4 else none,
        "n": n,
    }


def _fisher_interval(correlation: float, variance: float, confidence: float) -> tuple[float, float]:
    """Of a rank correlation whose inverse hyperbolic tangent is about normal with this variance."""
    if abs(correlation) == 1:
        return (np.nan, np.nan)
    reach = scipy.stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance)
    return (float(np.tanh(np.arctanh(correlation) - reach)), float(np.tanh(np.arctanh(correlation) + reach)))


def highest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` highest values, highest first; of equal ones the earlier."""
    k = min(k, len(values))
    if not k:
        return np.empty(0, np.int64)
    # All that may belong, ties at the edge too, are few: only those are sorted.
    edge = np.partition(values, len(values) - k)[len(values) - k]
    candidates = np.flatnonzero(values >= edge)
    return candidates[np.argsort(-values[candidates], kind="stable")[:k]]


def top_overlap(first: np.ndarray, second: np.ndarray, sizes: tuple[int, ...] = (10, 20, 50, 100, 200)) -> list[dict[str, Any]]:
    """How many of the ``k`` highest samples of one scoring are among the ``k`` highest of the other.

    Parameters
    ----------
    first, second
        Finite scores of the same samples, (sample,).
    sizes
        Values of k, ascending; those above n are left out.

    Returns
    -------
    One mapping a size: ``k``, ``common`` (samples), ``share`` (common / k) and ``chance``, the share k / n that two unrelated orders have
    on average.
    """
    n = len(first)
    rows = []
    for k in (size for size in sizes if size <= n):
        common = len(np.intersect1d(highest(first, k), highest(second, k), assume_unique=True))
        rows.append({"k": k, "common": common, "share": common / k, "chance": k / n})
    return rows
