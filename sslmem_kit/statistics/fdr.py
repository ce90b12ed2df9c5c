"""Which samples are memorized, at a false-discovery rate that is chosen beforehand: the threshold that needs no arbitrary choice.

The null is empirical: the scores of the samples whose membership does not differ between the families, shared (both saw them) and
extra (neither did), pooled. A candidate's p-value is the share of the null that scores as high or higher, an independent's the share
that scores as low or lower, the sample itself counted among the null, so that no p is 0. Benjamini and Hochberg's step-up makes
q-values of them, of candidates and of independents each for themselves.

What makes it valid: a candidate that is not memorized is exchangeable with the null samples, that is, its score is distributed as
theirs. Shared, candidate and independent samples are drawn at random from the train side of the data. Extra samples are of the test side:
of them it is assumed that both sides have one distribution, and that the difference between two encoders spreads alike whether both were
trained on a sample or neither. What all scores have in common (the offset of a few trainings, their spread) is in the null too. p-values
that share one null sample are those of conformal prediction; they depend on each other positively (PRDS), so that the step-up keeps its
rate: Bates, Candès, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", Annals of Statistics 51 (2023); Benjamini and
Hochberg, JRSS B 57 (1995). The rate holds for the list as a whole, as a mean over partitions and trainings, not for a part of the list
that was chosen for another reason, such as a class or a range of alignments.

Why the difference itself and the pooled null: the spread of extra samples is only a few per cent above that of shared ones, and the null
calibrates the difference as it is. It grows with the alignment in some studies and not in others; differences divided by the alignment,
or by their standard error, found fewer (benchmarks/calibration.py prints all of this). And a list by the difference is a threshold on the
score, which anyone can apply and see.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import FILE, PARTITION_CODE, SAMPLE, SSLMEM
from sslmem_kit.statistics.summary import wilson_interval

NULL = ("shared", "extra")
"""Partitions whose membership does not differ between the families."""
TESTED = {"candidate": 1, "independent": -1}
"""Partitions that are tested, and the sign that memorization gives their scores."""
STOREY_LAMBDA = 0.5
"""p-values above this are taken to be of samples that are not memorized (Storey's lambda)."""


def p_values(values: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Share of the null at or above each value, the value itself counted in: ``(1 + #{null >= value}) / (n_null + 1)``.

    Parameters
    ----------
    values
        Scores, (sample,); high ones are evidence.
    null
        Finite scores of the null, (sample,).

    Returns
    -------
    (sample,), above 0 and at most 1; NaN where a score is not finite, and throughout without a null.

    Examples
    --------
    >>> p_values(np.array([0.0, 2.5, 9.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    array([1. , 0.4, 0.2])
    """
    if not len(null):
        return np.full(len(values), np.nan)
    order = np.argsort(values)  # searching for ascending values is faster
    below = np.empty(len(order))
    below[order] = np.searchsorted(np.sort(null), values[order], side="left")
    return np.where(np.isfinite(values), (1 + len(null) - below) / (len(null) + 1), np.nan)


def q_values(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's q-values: the lowest false-discovery rate at which a sample is among the discoveries.

    Parameters
    ----------
    p
        p-values of one list, (sample,); NaN takes no part.

    Returns
    -------
    ``q = min over p' >= p of p' m / rank(p')``, (sample,), at most 1; NaN where p is.

    Examples
    --------
    >>> q_values(np.array([0.01, 0.5, 0.02, 0.04]))
    array([0.04      , 0.5       , 0.04      , 0.05333333])
    """
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested])]
    rates = p[order] * len(order) / np.arange(1, len(order) + 1)
    q = np.full(len(p), np.nan)
    # A rate that is 0.05 must not come out a hair above it.
    q[order] = np.minimum.accumulate(np.minimum(rates, 1)[::-1])[::-1].round(12)
    return q


def with_significance(scores: xr.Dataset) -> xr.Dataset:
    """Scores with ``p_value`` and ``q_value`` of every candidate and independent sample, NaN elsewhere.

    Parameters
    ----------
    scores
        Of :func:`sslmem_kit.scores.score`; protocols differ in the difference, and so in p.
    """
    difference, codes = scores["difference"].values, scores["partition"].values
    null = _null(scores)
    p, q = np.full((2, len(difference)), np.nan)
    for name, sign in TESTED.items():
        members = codes == PARTITION_CODE[name]
        p[members] = p_values(sign * difference[members], sign * null)
        q[members] = q_values(p[members])
    return scores.assign(p_value=(SAMPLE, p), q_value=(SAMPLE, q))


def fdr_summary(scores: xr.Dataset, fdr: float = 0.05) -> dict[str, Any]:
    """How many samples are memorized at a false-discovery rate, and what that amounts to.

    Parameters
    ----------
    scores
        Of :meth:`sslmem_kit.study.Study.scores`, with or without ``q_value``.
    fdr
        Share of false ones that the list may hold on average, between 0 and 1.

    Returns
    -------
    ``fdr``, ``n_null``, and for ``candidate`` and ``independent`` a mapping each:

    - ``n``; ``memorized``, how many have ``q_value <= fdr``; ``share`` of them;
    - ``samples``: their ids, the most memorized first, and of data that have them their ``files``;
    - ``threshold``: the list holds the candidates whose ``sslmem`` is at or above it (independents: at or below); NaN for an empty list;
    - ``fewest``: the least number that a list can hold with this null, for p is at least ``1 / (n_null + 1)``; NaN where no list is
      possible. ``null_for_one``: null samples that are needed for a list of one, ``null_for_any``: for a list of all;
    - ``not_memorized``: estimated share of those that are not memorized, with ``not_memorized_interval`` (95 %): twice the share of
      p-values above a half, where few memorized ones lie (Storey 2002). An estimate from above. It needs no list: where many are
      memorized by little, few can be named.

    Raises
    ------
    UserError
        ``fdr`` is not between 0 and 1.
    """
    check_rate(fdr)
    if "q_value" not in scores:
        scores = with_significance(scores)
    n_null = len(_null(scores))
    result: dict[str, Any] = {"fdr": fdr, "n_null": n_null}
    for name, sign in TESTED.items():
        members = scores["partition"].values == PARTITION_CODE[name]
        p, q, values = (scores[column].values[members] for column in ("p_value", "q_value", SSLMEM))
        listed, n = q <= fdr, len(p)
        count, fewest = int(listed.sum()), _at_least(n / (fdr * (n_null + 1)))
        order = np.flatnonzero(members)[listed][np.argsort(-sign * values[listed], kind="stable")]
        result[name] = {
            "n": n,
            "memorized": count,
            "samples": scores[SAMPLE].values[order].tolist(),
            **({"files": list(map(str, scores[FILE][order].values))} if FILE in scores.coords else {}),
            "share": count / n if n else math.nan,
            "threshold": float(sign * (sign * values[listed]).min()) if count else math.nan,
            "fewest": fewest if fewest <= n else math.nan,
            "null_for_one": max(0, _at_least(n / fdr) - 1),
            "null_for_any": _at_least(1 / fdr) - 1,
            **_not_memorized(p),
        }
    return result


def check_rate(fdr: float) -> None:
    """Refuse what is no false-discovery rate."""
    if not 0 < fdr < 1:
        raise UserError(f"--fdr: a false-discovery rate lies above 0 and below 1, for instance 0.05, got {fdr:g}")


def _null(scores: xr.Dataset) -> np.ndarray:
    values = scores["difference"].values[np.isin(scores["partition"].values, [PARTITION_CODE[name] for name in NULL])]
    return values[np.isfinite(values)]


def _not_memorized(p: np.ndarray) -> dict[str, Any]:
    p = p[~np.isnan(p)]
    if not len(p):
        return {"not_memorized": math.nan, "not_memorized_interval": (math.nan, math.nan)}
    high = int((p > STOREY_LAMBDA).sum())
    among = [min(1.0, float(share) / (1 - STOREY_LAMBDA)) for share in (high / len(p), *wilson_interval(high, len(p)))]
    return {"not_memorized": among[0], "not_memorized_interval": (among[1], among[2])}


def _at_least(number: float) -> int:
    """The next whole number; rounding may have left one a hair above itself."""
    return math.ceil(round(number, 9))
