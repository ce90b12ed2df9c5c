"""Supervised memorization of a study: its size with the offset of the trainings taken out, and its agreement with SSLMem (Table 12, Figure 8).

One of two classifiers may be better at all samples, which is no memorization: the effect is ``(C - I) / 2``, half the difference of candidates,
which f alone saw, and independent samples, which g alone saw.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.errors import UserError
from sslmem_kit.names import BOUND, BOUNDS, PARTITION_CODE
from sslmem_kit.scores.intervals import CONFIDENCE
from sslmem_kit.statistics.agreement import rank_agreement, top_overlap
from sslmem_kit.statistics.t_tests import two_sample_test, welch_degrees
from sslmem_kit.statistics.trajectory import mean_over_seeds

SIZES = (10, 20, 50, 100, 150, 200)
"""Numbers of top samples that are compared, as in Table 12."""


def supervised_effect(by_seed: xr.DataArray, partition: np.ndarray) -> xr.Dataset:
    """Mean supervised memorization of f's candidates and g's independent samples, with an interval.

    Parameters
    ----------
    by_seed
        Score of f against g in each seed, (sample, seed).
    partition
        Partition code of each sample, (sample,).

    Returns
    -------
    ``value``, the mean over seeds of ``(C - I) / 2``; ``interval`` (95 %) on ``bound``, with Student's t over ``seeds`` where there are at
    least two, given the samples, else Welch's over samples, given the one pair of trainings, as ``over`` says; ``p``, two-sided, of no effect;
    ``mean`` on ``partition``, with the trainings' offset; ``n_candidates`` and ``n_independent``.

    References
    ----------
    Welch, Biometrika 34 (1947), for one seed.

    Examples
    --------
    >>> scores = xr.DataArray([[0.5, 0.7], [0.3, 0.5], [0.1, 0.1], [-0.3, -0.1]], dims=("sample", "seed"))
    >>> found = supervised_effect(scores, np.array([1, 1, 2, 2]))
    >>> found["value"].round(2).item(), found["interval"].round(2).values, found["over"].item()
    (0.28, array([-0.04,  0.59]), 'seeds')
    """
    values = by_seed.transpose("sample", "seed").values
    known = np.isfinite(values).all(axis=1)
    parts = {name: values[known & (partition == code)] for name, code in PARTITION_CODE.items()}
    means = {name: part.mean() if part.size else np.nan for name, part in parts.items()}
    candidates, independent = parts["candidate"], parts["independent"]
    seeds, value, ends, p, over = values.shape[1], np.nan, (np.nan, np.nan), np.nan, "seeds" if values.shape[1] > 1 else "samples"
    if candidates.size and independent.size:
        each = (candidates.mean(axis=0) - independent.mean(axis=0)) / 2
        value = float(each.mean())
        if seeds > 1:
            _, *ends = mean_over_seeds(each)
            error = each.std(ddof=1) / np.sqrt(seeds)
            p = float(2 * special.stdtr(seeds - 1, -abs(value) / error)) if error > 0 else np.nan
        elif min(len(candidates), len(independent)) > 1:
            variances = [part.var(ddof=1) / len(part) / 4 for part in (candidates[:, 0], independent[:, 0])]
            degrees = welch_degrees(variances, [len(candidates) - 1, len(independent) - 1])
            reach = np.sqrt(sum(variances)) * special.stdtrit(degrees, 0.5 + CONFIDENCE / 2)
            ends = (value - reach, value + reach)
            p = two_sample_test(candidates[:, 0], independent[:, 0], alternative="two-sided")["p"].item()
    return xr.Dataset(
        {
            "value": value,
            "interval": (BOUND, list(ends)),
            "p": p,
            "over": over,
            "seeds": seeds,
            "mean": ("partition", list(means.values())),
            "n_candidates": len(candidates),
            "n_independent": len(independent),
        },
        {BOUND: list(BOUNDS), "partition": list(means)},
    )


def agreement_on_candidates(
    first: np.ndarray, second: np.ndarray, partition: np.ndarray, *, sizes: tuple[int, ...] = SIZES
) -> xr.Dataset:
    """Agreement of two scores on the candidates that have both: rank correlation, and overlap of the highest.

    Parameters
    ----------
    first, second
        Scores of the same samples, (sample,), NaN where there is none.
    partition
        Partition code of each sample, (sample,).
    sizes
        Numbers of highest samples that are compared.

    Returns
    -------
    As :func:`sslmem_kit.statistics.rank_agreement` and :func:`sslmem_kit.statistics.top_overlap`, in one.

    Raises
    ------
    UserError
        Fewer than five candidates have both scores.

    Notes
    -----
    p is of Kendall's tau over these samples, exact for few, and else by its normal approximation. The p of the paper's Table 12 is larger by
    many orders than tau and 5,000 candidates allow (trap 4 of the paper's map). Where both scores are of the same encoders, what a training
    did to a sample by chance is in both, and agrees too.

    Examples
    --------
    >>> first = np.arange(20.0)
    >>> found = agreement_on_candidates(first, first**2, np.ones(20, int))
    >>> found["value"].sel(statistic="tau").item(), found["share"].sel(k=10).item(), found["n"].item()
    (1.0, 1.0, 20)
    """
    chosen = (partition == PARTITION_CODE["candidate"]) & np.isfinite(first) & np.isfinite(second)
    if chosen.sum() < 5:
        raise UserError(f"candidates: {int(chosen.sum())} have both scores, at least 5 are needed to compare them")
    return xr.merge(
        [rank_agreement(first[chosen], second[chosen]), top_overlap(first[chosen], second[chosen], sizes)], join="exact"
    )
