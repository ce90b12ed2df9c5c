"""The t tests of Tables 2 and 16, between partitions and against zero, with effect sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr

from sslmem_kit.statistics.summary import by_partition

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
