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

Where samples have groups (``data.groups``) the group is the unit: each counts once, its members share its weight, and errors are over
groups. Where each sample is alone the numbers are those of samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.names import BOUND, BOUNDS, GROUP, PARTITION, PARTITION_CODE

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
    return scores["difference"].values[_positions(scores, halves)].astype(float)


def null_weights(scores: xr.Dataset, halves: tuple[str, ...] = NULL) -> np.ndarray:
    """Weights of the samples of :func:`null_values`: one over the number of those of its group, so that each group counts once.

    Examples
    --------
    >>> coords = {"partition": ("sample", [0, 0, 3]), "group": ("sample", [4, 4, 7])}
    >>> null_weights(xr.Dataset({"difference": ("sample", [0.1, 0.2, 0.3])}, coords))
    array([0.5, 0.5, 1. ])
    """
    unit, counts = _units(scores, _positions(scores, halves))
    return 1 / counts[unit]


def _positions(scores: xr.Dataset, halves: tuple[str, ...]) -> np.ndarray:
    """Positions of the samples of the null that have a score."""
    chosen = np.isin(scores["partition"].values, [PARTITION_CODE[name] for name in halves])
    return np.flatnonzero(chosen & np.isfinite(scores["difference"].values))


def _units(scores: xr.Dataset, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the group of each of these samples, from 0, and the number of samples of each group."""
    if GROUP not in scores.coords:
        return np.arange(len(positions)), np.ones(len(positions), np.int64)
    _, unit, counts = np.unique(scores[GROUP].values[positions], return_inverse=True, return_counts=True)
    return unit, counts


def compare_halves(scores: xr.Dataset) -> xr.Dataset:
    """Numbers, means and spreads of shared and extra samples, their distance, and what that does to a false-discovery rate.

    Parameters
    ----------
    scores
        ``difference(sample)`` with ``partition``, of :func:`sslmem_kit.scores.score`.

    Returns
    -------
    On ``partition``, both halves: ``n`` (samples), ``n_units`` (groups; of samples without groups ``n``), ``mean`` and ``sd``. Scalars, NaN
    where a half has fewer than 4 units or nothing varies:
    ``spread``, sd of extra over sd of shared, with its 95 % ``spread_interval`` on ``bound``; ``distance``, the two-sample statistic of
    Kolmogorov and Smirnov, and its ``p`` (asymptotic); ``excess``, realised over nominal rate of candidates or of independents, whichever
    is larger, and ``excess_high``, the upper end of its one-sided 95 % interval. Intervals are over units, given the encoders. See the
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
    halves = [_Half.of(scores, name) for name in NULL]
    found = {"spread": np.nan, "distance": np.nan, "p": np.nan, "excess": np.nan, "excess_high": np.nan}
    interval = (np.nan, np.nan)
    sizes = np.array([half.units for half in halves])
    deviations = np.array([half.deviation for half in halves])
    if sizes.min() >= 4 and (deviations > 0).all():
        spread = deviations[1] / deviations[0]
        of_spread = sum(half.spread_variance() for half in halves)
        interval = tuple(float(spread * np.exp(side * special.ndtri(0.975) * np.sqrt(of_spread))) for side in (-1, 1))
        shift = (halves[1].mean - halves[0].mean) / deviations[0]
        of_shift = sum(half.mean_variance() for half in halves) / deviations[0] ** 2
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
            "n": (PARTITION, [len(half.values) for half in halves]),
            "n_units": (PARTITION, sizes),
            "mean": (PARTITION, [half.mean for half in halves]),
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


class _Half(NamedTuple):
    """Samples of a half of the null, and the group of each."""

    values: np.ndarray
    unit: np.ndarray
    weights: np.ndarray
    """One over the number of samples of the group."""
    units: int

    @classmethod
    def of(cls, scores: xr.Dataset, name: str) -> _Half:
        """The half of this name."""
        unit, counts = _units(scores, _positions(scores, (name,)))
        return cls(null_values(scores, (name,)), unit, 1 / counts[unit], len(counts))

    @property
    def mean(self) -> float:
        """Mean over groups."""
        return float(self.weights @ self.values) / self.units if self.units else np.nan

    @property
    def _variance(self) -> float:
        return float(self.weights @ (self.values - self.mean) ** 2) / self.units

    @property
    def deviation(self) -> float:
        """Standard deviation of a member of a group, NaN of one group."""
        return float(np.sqrt(self._variance * self.units / (self.units - 1))) if self.units > 1 else np.nan

    def _over_units(self, values: np.ndarray) -> np.ndarray:
        """Mean of each group."""
        return np.bincount(self.unit, self.weights * values, self.units)

    def mean_variance(self) -> float:
        """Variance of the mean, over groups."""
        return float((self._over_units(self.values - self.mean) ** 2).sum()) / (self.units * (self.units - 1))

    def spread_variance(self) -> float:
        """Variance of the logarithm of the standard deviation, over groups; of samples without groups (kurtosis - 1) / 4n."""
        influence = self._over_units((self.values - self.mean) ** 2 / self._variance - 1)
        return float((influence**2).sum()) / (4 * self.units**2)

    def share_below(self, values: np.ndarray) -> np.ndarray:
        """Share of the half at or below each value."""
        order = np.argsort(self.values)
        below = np.append(0, np.cumsum(self.weights[order])) / self.units
        return below[np.searchsorted(self.values[order], values, side="right")]


def _distance(first: _Half, second: _Half) -> float:
    """Largest difference of the distribution functions; scipy.stats, which has it too, takes half a second to import."""
    both = np.concatenate([first.values, second.values])
    return float(np.abs(first.share_below(both) - second.share_below(both)).max())


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
    shared, extra = (int(found["n_units"].sel({PARTITION: name})) for name in NULL)
    grouped = not found["n"].equals(found["n_units"])
    samples = "samples" if not grouped else "groups of samples"
    if not extra:
        return ""
    if not shared:
        return (
            "false-discovery rates rest on extra samples alone: that these spread as samples of the train split do is assumed, and "
            "nothing here can show it"
        )
    high = found["excess_high"].item()
    if not np.isfinite(high):  # few samples, or equal ones
        return "" if extra < shared else f"false-discovery rates rest on {extra:,} extra and only {shared:,} shared {samples}"
    if high <= TOLERATED:
        return ""
    low, top = found["spread_interval"].values
    differ = found["excess"].item() > TOLERATED or not low <= 1 <= top
    return (
        f"false-discovery rates rest on {extra:,} extra and {shared:,} shared {samples}, which "
        f"{'spread differently' if differ else 'are too few to show that they spread alike'} (sd of extra over sd of shared "
        f"{found['spread'].item():.2f} [{low:.2f}, {top:.2f}]): a list may hold {found['excess'].item():.1f}, up to {high:.1f}, times "
        "as many false ones as its rate says; go by q_value_shared, which rests on shared samples alone"
    )
