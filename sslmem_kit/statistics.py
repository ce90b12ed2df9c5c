"""Tests, effect sizes, rank agreement and bootstrap intervals of scores.

The "effect size" of the paper's Tables 2 and 16 is the t statistic; here t and Cohen's d go under their own names. Tests are over
samples, given the encoders: they say whether partitions differ for these encoders, not how other training runs would come out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from sslmem_kit.names import PARTITION_CODE, PARTITIONS, SSLMEM

LETTER = {"C": "candidate", "S": "shared", "I": "independent", "E": "extra"}

TABLE_2 = ("C>S", "C>E", "S>I", "E>I")
TABLE_16 = ("C>0", "I<0", "S!=0", "E>0")
_SIDE = {">": "greater", "<": "less", "!=": "two-sided"}


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
    result = stats.ttest_ind(first, second, equal_var=equal_variances, alternative=alternative)
    pooled = np.sqrt(((n1 - 1) * first.var(ddof=1) + (n2 - 1) * second.var(ddof=1)) / (n1 + n2 - 2))
    d = (first.mean() - second.mean()) / pooled if pooled > 0 else np.nan
    return {"t": float(result.statistic), "p": float(result.pvalue), "cohens_d": float(d), **counts}


def one_sample_test(values: np.ndarray, *, alternative: str) -> dict[str, float]:
    """Student's t-test of a mean against zero, with Cohen's d; keys as :func:`two_sample_test`, without the parts of n."""
    n = len(values)
    if n < 2:
        return {"t": np.nan, "p": np.nan, "cohens_d": np.nan, "n": n}
    result = stats.ttest_1samp(values, 0.0, alternative=alternative)
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

    Resampled means are drawn in slices of bounded memory, so that a million samples need no more than a thousand.
    """
    if len(values) < 2:
        return (np.nan, np.nan)
    batch = max(1, 10_000_000 // len(values))
    result = stats.bootstrap(
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


def rank_agreement(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Kendall's tau-b of two scorings of the same samples, with its p-value (no association) and n."""
    result = stats.kendalltau(first, second)
    return {"tau": float(result.statistic), "p": float(result.pvalue), "n": len(first)}
