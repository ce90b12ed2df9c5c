"""The t tests of Tables 2 and 16, between partitions and against the null, with effect sizes.

The "effect size" of the paper's tables is the t statistic; here t and Cohen's d go under their own names. Tests are over samples, given the
encoders: they say whether partitions differ for these encoders, not how other training runs would come out.

Two trainings differ by an amount that all samples share, and a test of a mean against zero, as in the paper's Table 16, finds that: with
nothing memorized it rejects in most studies. Here Table 16 is against the samples whose membership does not differ, which hold the
same amount: candidates and independents against shared and extra ones together, shared against extra. The paper's statistic stands
beside, as ``t_zero`` and ``p_zero``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr

from sslmem_kit.names import ALTERNATIVE, GROUP
from sslmem_kit.statistics.clusters import clustered_one_sample_test, clustered_two_sample_test, units_by_partition
from sslmem_kit.statistics.summary import by_partition

LETTER = {"C": "candidate", "S": "shared", "I": "independent", "E": "extra"}
"""Partitions by the letter that stands for them in an alternative."""
TABLE_2 = ("C>S", "C>E", "S>I", "E>I")
"""Alternatives of Table 2, between two partitions."""
TABLE_16 = ("C>0", "I<0", "S!=0", "E>0")
"""Alternatives of Table 16, of one partition against zero, that is, the mean score of samples whose membership does not differ."""
_ZERO = {"C": ("shared", "extra"), "I": ("shared", "extra"), "S": ("extra",), "E": ("shared",)}
_SIDE = {">": "greater", "<": "less", "!=": "two-sided"}


def two_sample_test(first: np.ndarray, second: np.ndarray, *, alternative: str, equal_variances: bool = False) -> xr.Dataset:
    """Welch's (or Student's) t test of two means, with Cohen's d.

    ``t = (mean1 - mean2) / sqrt(var1 / n1 + var2 / n2)`` and ``d = (mean1 - mean2) / sd`` with the pooled standard deviation.

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
    Scalars ``t``, ``p``, ``cohens_d``, ``n`` (both together), ``n_first`` and ``n_second``; the first three are NaN with fewer than 2 samples
    on a side.

    References
    ----------
    Welch, Biometrika 34 (1947); Cohen, Statistical power analysis (1988).

    Examples
    --------
    >>> found = two_sample_test(np.array([1.0, 2, 3]), np.array([4.0, 5, 6]), alternative="less")
    >>> float(found["cohens_d"]), int(found["n"]), round(float(found["p"]), 4)
    (-3.0, 6, 0.0107)
    """
    n1, n2 = len(first), len(second)
    t = p = d = np.nan
    if min(n1, n2) > 1:
        t, p = scipy.stats.ttest_ind(first, second, equal_var=equal_variances, alternative=alternative)
        pooled = np.sqrt(((n1 - 1) * first.var(ddof=1) + (n2 - 1) * second.var(ddof=1)) / (n1 + n2 - 2))
        d = (first.mean() - second.mean()) / pooled if pooled > 0 else np.nan
    return xr.Dataset({"t": float(t), "p": float(p), "cohens_d": float(d), "n": n1 + n2, "n_first": n1, "n_second": n2})


def one_sample_test(values: np.ndarray, *, alternative: str) -> xr.Dataset:
    """Student's t test of a mean against zero, with Cohen's d: ``t = mean / (sd / sqrt(n))`` and ``d = mean / sd``.

    Parameters
    ----------
    values
        Scores, (sample,).
    alternative
        ``greater``: the mean is above zero; ``less``; ``two-sided``.

    Returns
    -------
    Scalars ``t``, ``p``, ``cohens_d`` and ``n``; the first three are NaN with fewer than 2 samples.

    Examples
    --------
    >>> found = one_sample_test(np.array([1.0, 2, 3]), alternative="greater")
    >>> float(found["cohens_d"]), round(float(found["t"]), 3)
    (2.0, 3.464)
    """
    n = len(values)
    t = p = d = np.nan
    if n > 1:
        t, p = scipy.stats.ttest_1samp(values, 0.0, alternative=alternative)
        spread = values.std(ddof=1)
        d = values.mean() / spread if spread > 0 else np.nan
    return xr.Dataset({"t": float(t), "p": float(p), "cohens_d": float(d), "n": n})


def partition_tests(scores: xr.Dataset, alternatives: tuple[str, ...] = TABLE_2 + TABLE_16) -> xr.Dataset:
    """Tests of Tables 2 and 16 on ``sslmem``.

    Parameters
    ----------
    scores
        ``sslmem(sample)`` with ``partition``, of :func:`sslmem_kit.scores.score`.
    alternatives
        ``C>S`` (candidates above shared), ``C>0`` (candidates above the null) and so on, with the letters of the paper's partitions.

    Returns
    -------
    On ``alternative``, without those of a partition that has no samples: ``against``, the partitions that the first is compared with; Welch's
    ``t``, ``p``, ``cohens_d``, ``n``, ``n_first`` and ``n_second``; of Student's test ``t_student`` and ``p_student``; and, NaN in Table 2,
    ``t_zero`` and ``p_zero`` of the paper's test against the number zero, which contain the offset of the trainings. Where
    samples have groups, a coordinate ``group``, ``t`` and ``p`` are of :mod:`sslmem_kit.statistics.clusters`, with the group as the unit, and
    Student's are NaN, for it knows no groups; the attribute ``unit`` says which.

    References
    ----------
    The paper's Tables 2 and 16.

    Examples
    --------
    >>> scores = xr.Dataset({"sslmem": ("sample", [0.1, -0.1, 0.9, 1.1])}, {"partition": ("sample", [0, 0, 1, 1])})
    >>> tests = partition_tests(scores, ("C>S", "C>0", "S!=0"))
    >>> tests["t"].round(2).to_series().to_dict()  # no extra samples that shared ones could be compared with
    {'C>S': 7.07, 'C>0': 7.07}
    >>> tests["against"].values.tolist(), tests["t_zero"].round(2).values
    (['shared', 'shared'], array([nan, 10.]))
    """
    groups, units = by_partition(scores), units_by_partition(scores)
    found = {}
    for alternative in alternatives:
        operator = next(sign for sign in ("!=", ">", "<") if sign in alternative)
        first, second = alternative.split(operator)
        others = [name for name in (_ZERO[first] if second == "0" else (LETTER[second],)) if len(groups[name])]
        values, side = groups[LETTER[first]], _SIDE[operator]
        if not len(values) or not others:
            continue
        arguments = (values, np.concatenate([groups[name] for name in others]))
        student = two_sample_test(*arguments, alternative=side, equal_variances=True) if units is None else None
        zero = one_sample_test(values, alternative=side) if second == "0" else xr.Dataset({"t": np.nan, "p": np.nan})
        own = two_sample_test(*arguments, alternative=side)
        if units is not None:
            of_groups = (units[LETTER[first]], np.concatenate([units[name] for name in others]))
            own = own.assign(clustered_two_sample_test(*arguments, *of_groups, alternative=side)[["t", "p"]])
            if second == "0":
                zero = clustered_one_sample_test(values, of_groups[0], alternative=side)
        found[alternative] = own.assign(
            against=" and ".join(others),
            t_student=np.nan if student is None else student["t"],
            p_student=np.nan if student is None else student["p"],
            t_zero=zero["t"],
            p_zero=zero["p"],
        )
    columns = {"against": str, "t": float, "p": float, "cohens_d": float, "n": int, "n_first": int, "n_second": int,
               "t_student": float, "p_student": float, "t_zero": float, "p_zero": float}  # fmt: skip
    return xr.Dataset(
        {name: (ALTERNATIVE, np.array([row[name].item() for row in found.values()], kind)) for name, kind in columns.items()},
        {ALTERNATIVE: np.array(list(found), str)},
        {"unit": "sample" if units is None else GROUP},
    )


def welch_degrees(variances: Sequence[float] | np.ndarray, degrees: Sequence[float] | np.ndarray) -> float:
    """Degrees of freedom of a sum of independent variances, from those of each; the smallest where all variances are 0.

    References
    ----------
    Welch, Biometrika 34 (1947); Satterthwaite, Biometrics Bulletin 2 (1946).

    Examples
    --------
    >>> welch_degrees([1.0, 1.0], [4, 4]), welch_degrees([1.0, 0.0], [4, 9]), welch_degrees([0.0, 0.0], [4, 9])
    (8.0, 4.0, 4.0)
    """
    squares = sum(variance**2 / own for variance, own in zip(variances, degrees, strict=True))
    return float(sum(variances) ** 2 / squares) if squares > 0 else float(min(degrees))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values adjusted by Holm's method; NaN stays, and does not count.

    References
    ----------
    Holm, Scandinavian Journal of Statistics 6 (1979).

    Examples
    --------
    >>> holm(np.array([0.04, 0.01, np.nan, 0.03])).round(2).tolist()
    [0.06, 0.03, nan, 0.06]
    """
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted
