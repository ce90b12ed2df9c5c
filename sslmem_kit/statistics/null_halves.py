"""The two halves of the empirical null, shared and extra samples, against each other.

A candidate that is not memorized was drawn from the train split as the shared samples were: these are what its score is compared with by
right. Extra samples are of the test split, and no encoder saw them. Where they spread less than shared ones, a null that is mostly theirs
is too narrow, and a list at a false-discovery rate of 5 % holds more: with 100 shared and 5,000 extra samples of 0.8 times their spread,
20 %.

How much more, at a p-value of 0.005, where lists begin: a score that is ``z = 2.58`` standard deviations of the shared samples above their
mean has the tail ``S(z)`` among them and ``S((z - shift) / spread)`` among the extra ones, S being the normal distribution's. The pooled
null's tail is their mean by numbers of samples, and the realised rate is to the nominal one as S(z) to it (``excess``). Its upper end
follows by the delta method from the errors of ``spread`` (with the kurtosis of both halves) and ``shift``. What may be more than 1.5 is
not to be relied on: halves that differ are so named, and halves that are too small to show that they do not.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.names import BOUND, BOUNDS, PARTITION, PARTITION_CODE

NULL = ("shared", "extra")
"""Partitions whose membership does not differ between the families."""
TOLERATED = 1.5
"""Realised over nominal rate above which a rate is not to be relied on."""
_Z = 2.5758293
"""Height of the tail that halves are compared in, a p-value of 0.005 of a normal distribution, in its standard deviations."""


def null_values(scores: xr.Dataset, halves: tuple[str, ...] = NULL) -> np.ndarray:
    """Finite differences of the samples of the null, or of a half of it.

    Examples
    --------
    >>> scores = xr.Dataset({"difference": ("sample", [0.1, 0.2, 0.3])}, {"partition": ("sample", [0, 1, 3])})
    >>> null_values(scores), null_values(scores, ("extra",))
    (array([0.1, 0.3]), array([0.3]))
    """
    values = scores["difference"].values[np.isin(scores["partition"].values, [PARTITION_CODE[name] for name in halves])]
    return values[np.isfinite(values)].astype(float)


def compare_halves(scores: xr.Dataset) -> xr.Dataset:
    """Numbers, means and spreads of shared and extra samples, their distance, and what that does to a false-discovery rate.

    Parameters
    ----------
    scores
        ``difference(sample)`` with ``partition``, of :func:`sslmem_kit.scores.score`.

    Returns
    -------
    On ``partition``, both halves: ``n``, ``mean`` and ``sd``. Scalars, NaN where a half has fewer than 4 samples or nothing varies:
    ``spread``, sd of extra over sd of shared, with its 95 % ``spread_interval`` on ``bound``; ``distance``, the two-sample statistic of
    Kolmogorov and Smirnov, and its ``p`` (asymptotic); ``excess``, realised over nominal rate of candidates or of independents, whichever
    is larger, and ``excess_high``, the upper end of its one-sided 95 % interval. Intervals are over samples, given the encoders. See the
    head of this module.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = np.append(rng.normal(0, 1, 100), rng.normal(0, 0.8, 5000))
    >>> scores = xr.Dataset({"difference": ("sample", values)}, {"partition": ("sample", np.repeat([0, 3], [100, 5000]))})
    >>> found = compare_halves(scores)
    >>> found["spread"].round(2).item(), found["spread_interval"].round(2).values
    (0.82, array([0.73, 0.93]))
    >>> found["excess"].item() > TOLERATED
    True
    """
    halves = [null_values(scores, (name,)) for name in NULL]
    found = {"spread": np.nan, "distance": np.nan, "p": np.nan, "excess": np.nan, "excess_high": np.nan}
    interval = (np.nan, np.nan)
    sizes = np.array([len(values) for values in halves])
    deviations = np.array([values.std(ddof=1) if len(values) > 1 else np.nan for values in halves])
    if sizes.min() >= 4 and (deviations > 0).all():
        spread = deviations[1] / deviations[0]
        # Variance of the logarithm of a standard deviation: (kurtosis - 1) / 4n.
        of_spread = sum((((values - values.mean()) ** 4).mean() / values.var() ** 2 - 1) / (4 * len(values)) for values in halves)
        interval = tuple(float(spread * np.exp(side * special.ndtri(0.975) * np.sqrt(of_spread))) for side in (-1, 1))
        shift = (halves[1].mean() - halves[0].mean()) / deviations[0]
        of_shift = 1 / sizes[0] + spread**2 / sizes[1]
        excess = [_excess(spread, side * shift, of_spread, of_shift, sizes) for side in (1, -1)]
        distance = _distance(*halves)
        found = {
            "spread": spread,
            "distance": distance,
            "p": special.kolmogorov(np.sqrt(sizes.prod() / sizes.sum()) * distance),
            "excess": max(value for value, _ in excess),
            "excess_high": max(high for _, high in excess),
        }
    return xr.Dataset(
        {
            "n": (PARTITION, sizes),
            "mean": (PARTITION, [values.mean() if len(values) else np.nan for values in halves]),
            "sd": (PARTITION, deviations),
            "spread_interval": (BOUND, list(interval)),
            **found,
        },
        {PARTITION: list(NULL), BOUND: list(BOUNDS)},
    )


def _excess(spread: float, shift: float, of_spread: float, of_shift: float, sizes: np.ndarray) -> tuple[float, float]:
    """Realised over nominal rate in the upper tail, and its upper end, by the variances of the logarithm of ``spread`` and of ``shift``."""
    weights, place = sizes / sizes.sum(), (_Z - shift) / spread
    tail = special.log_ndtr(-place) - special.log_ndtr(-_Z)
    hazard = np.exp(-(place**2) / 2 - special.log_ndtr(-place)) / np.sqrt(2 * np.pi)
    error = hazard * np.sqrt(of_shift / spread**2 + place**2 * of_spread)
    lowest = tail - special.ndtri(0.95) * error
    value, high = (float(1 / (weights[0] + weights[1] * np.exp(extra))) for extra in (tail, lowest))
    return value, high


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """Largest difference of the distribution functions; scipy.stats, which has it too, takes half a second to import."""
    first, second = np.sort(first), np.sort(second)
    both = np.concatenate([first, second])
    shares = [np.searchsorted(values, both, side="right") / len(values) for values in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


def warning(found: xr.Dataset) -> str:
    """Sentence on why a false-discovery rate is not to be relied on, empty where it is.

    Parameters
    ----------
    found
        Of :func:`compare_halves`.

    Examples
    --------
    >>> scores = xr.Dataset({"difference": ("sample", [0.1, 0.2, 0.4, 0.3])}, {"partition": ("sample", [3, 3, 3, 3])})
    >>> warning(compare_halves(scores)).partition(":")[0]
    'false-discovery rates rest on extra samples alone'
    """
    shared, extra = (int(found["n"].sel({PARTITION: name})) for name in NULL)
    if not extra:
        return ""
    if not shared:
        return (
            "false-discovery rates rest on extra samples alone: that these spread as samples of the train split do is assumed, and "
            "nothing here can show it"
        )
    high = found["excess_high"].item()
    if not np.isfinite(high):  # few samples, or equal ones
        return "" if extra < shared else f"false-discovery rates rest on {extra:,} extra and only {shared:,} shared samples"
    if high <= TOLERATED:
        return ""
    low, top = found["spread_interval"].values
    differ = found["excess"].item() > TOLERATED or not low <= 1 <= top
    return (
        f"false-discovery rates rest on {extra:,} extra and {shared:,} shared samples, which "
        f"{'spread differently' if differ else 'are too few to show that they spread alike'} (sd of extra over sd of shared "
        f"{found['spread'].item():.2f} [{low:.2f}, {top:.2f}]): a list may hold {found['excess'].item():.1f}, up to {high:.1f}, times "
        "as many false ones as its rate says; go by q_value_shared, which rests on shared samples alone"
    )
