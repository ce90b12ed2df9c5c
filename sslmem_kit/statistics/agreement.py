"""How far two scores agree: rank correlation with an interval, and the overlap of what each finds highest."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it


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
