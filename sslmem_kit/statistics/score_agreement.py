"""Agreement of several scores of the same samples: Kendall's tau, and what it would be without the noise of trainings.

A score is the mean of its replicates, one a seed of trainings. Two scores that both are noisy agree less than what they measure does, at
most as much as their ceiling ``sqrt(rel_a rel_b)`` allows; :mod:`sslmem_kit.statistics.disattenuation` takes the noise off by trainings that
are not the same, so that scores of one training are not called alike for the noise that they share.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import BOUND, BOUNDS, SAMPLE, SEED
from sslmem_kit.statistics.agreement import rank_agreement
from sslmem_kit.statistics.disattenuation import Corrected, corrected_correlation, matched_seeds
from sslmem_kit.statistics.reliability import bootstrap_weights, percentile_interval
from sslmem_kit.statistics.seed_jackknife import seed_variance

SCORE, OTHER = "score", "other"
"""Dimensions of a table of scores with scores."""
DESIGN = "design"
"""Attribute of replicates: what their seeds number. Seeds of different designs are never the same trainings."""
FEWEST = 10
"""Samples below which no interval is given."""
MOST_RESAMPLED = 20_000
"""Number of samples above which a random subset of this size is resampled, and its spread scaled to all of them."""

Scale = Literal["ranks", "values"]


def score_agreement(replicates: Mapping[str, xr.DataArray], *, scale: Scale = "ranks") -> xr.Dataset:
    """Agreement of each score with each other one, as it is and without the noise of trainings.

    Parameters
    ----------
    replicates
        Each score's replicates on (``sample``, ``seed``), higher = more memorized, NaN where a sample has none. Samples are matched by id,
        seeds by theirs: one value of ``seed`` in two scores of one ``design`` (an attribute) is one training. A score without a dimension
        ``seed`` has one replicate of its own. Give the samples of one partition: over several, all scores agree on who was trained on what.
    scale
        What reliabilities and corrected correlations are of: ``ranks`` within each seed, which outliers do not move, or ``values``.

    Returns
    -------
    On (``score``, ``other``), symmetric:

    - ``tau``, Kendall's tau-b of the scores, with ``tau_p`` (no association, two-sided, over samples) and ``tau_interval``; ``rho``,
      Spearman's, with ``rho_interval``;
    - ``ceiling``, the largest correlation that scores of these reliabilities have;
    - ``corrected``, the correlation of endless seeds, with ``corrected_interval``, and ``corrected_tau``, the tau of normal scores of this
      correlation; NaN where the reliability of one may be 0 (its interval reaches it). The estimate may exceed 1, then ``above_one``;
    - ``plain``, ``rho / ceiling``, which is wrong where trainings are shared, and ``shared_noise``, the correlation of errors of one training;
    - ``n`` samples with all replicates of both, ``shared_seeds``.

    On ``score``: ``reliability`` of the score (share of its variance over samples that other trainings would repeat) with its
    ``reliability_interval``, ``seeds`` and ``samples``. On the diagonal tau, rho and corrected are 1, without p and interval.

    Intervals are of 95 %. Those of tau and rho are symmetric in the inverse hyperbolic tangent, those of reliability and corrected by a
    bootstrap over samples. All are widened by what trainings do to many samples alike (:mod:`sslmem_kit.statistics.seed_jackknife`; corrected
    and reliability from three seeds on), so that they are over samples and trainings; with one seed over samples, given the encoders.

    Raises
    ------
    UserError
        Fewer than two scores, or two without a common sample.

    Notes
    -----
    In simulations (normal scores, 2 to 10 seeds, 50 to 2,000 samples, reliability of one seed .1 to .9) the corrected correlation by seeds
    of different trainings is unbiased whatever noise is shared, and its interval covers in 91 to 99 % of cases; ``plain`` was 4.1 where
    the truth is 0 (reliability .1, two seeds, errors correlated by .9). It breaks with the reliability of a score: at .3 a seed, two seeds
    and 50 samples it is NaN in two of three cases. A third of the noise common to classes leaves tau and corrected covered (91 to 98 %),
    reliability with two seeds in 69 % only.

    References
    ----------
    Kendall, Biometrika 33 (1945); Spearman, American Journal of Psychology 15 (1904); Kruskal, JASA 53 (1958), for ``corrected_tau``.

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(0))
    >>> true = rng.normal(size=(300, 1))
    >>> seeds = {"sample": range(300), "seed": range(3)}
    >>> a, b = (xr.DataArray(true + rng.normal(size=(300, 3)), seeds, ("sample", "seed"), attrs={"design": name}) for name in "ab")
    >>> found = score_agreement({"a": a, "b": b}).sel(score="a", other="b")
    >>> found["tau"].round(2).item(), found["ceiling"].round(2).item(), found["corrected"].round(2).item()
    (0.53, 0.73, 0.98)
    """
    if len(replicates) < 2:
        raise UserError(f"agreement: {len(replicates)} score was given, at least two are needed to agree; measure another one")
    names = list(replicates)
    tables = {name: Replicates.of(name, array) for name, array in replicates.items()}
    shape = (len(names), len(names))
    matrix = {name: np.full(shape, np.nan) for name in _MATRIX}
    ends = {f"{name}_interval": np.full((*shape, 2), np.nan) for name in ("tau", "rho", "corrected")}
    for name in ("tau", "rho", "corrected", "corrected_tau"):
        np.fill_diagonal(matrix[name], 1.0)
    for i, j in itertools.combinations(range(len(names)), 2):
        found = _pair(tables[names[i]], tables[names[j]], scale)
        for name, value in found.items():
            into = ends if name in ends else matrix
            into[name][i, j] = into[name][j, i] = value
    own = [_reliability(table, scale) for table in tables.values()]
    for i, (value, _) in enumerate(own):
        matrix["ceiling"][i, i] = max(value, 0.0) if np.isfinite(value) else np.nan
        matrix["n"][i, i], matrix["shared_seeds"][i, i] = len(tables[names[i]].ids), len(tables[names[i]].seeds)
    counts = {name: matrix.pop(name) for name in ("n", "shared_seeds")}
    return xr.Dataset(
        {
            **{name: ((SCORE, OTHER), values) for name, values in matrix.items()},
            **{name: ((SCORE, OTHER), values.astype(int)) for name, values in counts.items()},
            "above_one": ((SCORE, OTHER), np.abs(matrix["corrected"]) > 1),
            **{name: ((SCORE, OTHER, BOUND), values) for name, values in ends.items()},
            "reliability": (SCORE, [value for value, _ in own]),
            "reliability_interval": ((SCORE, BOUND), [list(interval) for _, interval in own]),
            "seeds": (SCORE, [len(table.seeds) for table in tables.values()]),
            "samples": (SCORE, [len(table.ids) for table in tables.values()]),
        },
        {SCORE: names, OTHER: names, BOUND: list(BOUNDS)},
        {"scale": scale, "confidence": 0.95},
    )


_MATRIX = (
    "tau",
    "tau_p",
    "rho",
    "ceiling",
    "corrected",
    "corrected_tau",
    "plain",
    "shared_noise",
    "n",
    "shared_seeds",
)


@dataclass(frozen=True)
class Replicates:
    """Replicates of one score, of the samples that have all of them.

    Examples
    --------
    >>> array = xr.DataArray([[1.0, 2.0], [np.nan, 1.0]], dims=("sample", "seed"), coords={"sample": [7, 9], "seed": [0, 1]})
    >>> table = Replicates.of("a", array)
    >>> table.ids, table.seeds, table.values
    (array([7]), array(['0', '1'], dtype='<U1'), array([[1., 2.]]))
    """

    ids: np.ndarray
    seeds: np.ndarray
    """Names of trainings, (seed,) str: equal ones in two scores are one."""
    values: np.ndarray
    """(sample, seed), finite."""

    @classmethod
    def of(cls, name: str, array: xr.DataArray) -> Replicates:
        """Replicates in a data array; seeds of which no sample has a value are left out."""
        if SEED not in array.dims:
            array = array.expand_dims({SEED: [f"of {name} alone"]})
        array = array.transpose(SAMPLE, SEED)
        values = array.values.astype(float)
        kept = np.isfinite(values).any(axis=0)
        values = values[:, kept]
        ids = array[SAMPLE].values if SAMPLE in array.coords else np.arange(len(values))
        design = f"{array.attrs[DESIGN]}/" if DESIGN in array.attrs else ""
        numbers = array[SEED].values if SEED in array.coords else [f"{name} {i}" for i in range(array.sizes[SEED])]
        whole = np.isfinite(values).all(axis=1) & bool(kept.any())
        return cls(ids[whole], np.array([f"{design}{number}" for number in np.asarray(numbers)[kept]], dtype=str), values[whole])


def _pair(first: Replicates, second: Replicates, scale: Scale) -> dict[str, float | tuple[float, float]]:
    """All that is said of two scores."""
    _, one, other = np.intersect1d(first.ids, second.ids, return_indices=True)
    if not len(one):
        raise UserError("agreement: two scores have no sample in common; give scores of the same samples, matched by their ids")
    a, b, shared = first.values[one], second.values[other], matched_seeds(first.seeds, second.seeds)
    ranks = rank_agreement(a.mean(axis=1), b.mean(axis=1))
    found: dict[str, float | tuple[float, float]] = {"n": len(one), "shared_seeds": len(shared[0]), "tau_p": ranks["p"].item()}
    for name in ("tau", "rho"):
        value, interval = ranks["value"].sel(statistic=name).item(), ranks["interval"].sel(statistic=name).values
        found |= {name: value, f"{name}_interval": _widened_z(value, interval, name, a, b, shared)}
    x, y = _scaled(a, scale), _scaled(b, scale)
    known = corrected_correlation(x, y, shared)
    found |= {"ceiling": float(known.ceiling), "plain": float(known.plain), "shared_noise": float(known.shared_noise)}
    some, resampled = _resampled(x, y, shared)
    if resampled is None or not _positive(known, resampled, some):
        return found
    value = float(known.corrected)
    low, high = (value + some * (end - value) for end in percentile_interval(resampled.corrected))
    spread = float(np.nanvar(resampled.corrected)) * some**2

    def corrected(u: np.ndarray, v: np.ndarray, same: tuple[np.ndarray, np.ndarray]) -> float:
        return float(corrected_correlation(u, v, same).corrected)

    factor = _widening(spread, seed_variance(corrected, x, y, shared), min(len(first.seeds), len(second.seeds)))
    interval = tuple(float(np.clip(value + factor * (end - value), -1, 1)) for end in (low, high))
    pearson = value if scale == "values" else 2 * np.sin(np.pi * np.clip(value, -1, 1) / 6)
    tau = float(2 / np.pi * np.arcsin(np.clip(pearson, -1, 1)))
    return found | {"corrected": value, "corrected_interval": interval, "corrected_tau": tau}


def _widened_z(
    value: float,
    interval: np.ndarray,
    name: str,
    a: np.ndarray,
    b: np.ndarray,
    shared: tuple[np.ndarray, np.ndarray],
) -> tuple[float, float]:
    """Interval of a rank correlation over samples, widened in the inverse hyperbolic tangent by what trainings do to many samples alike."""
    if not np.isfinite(interval).all() or min(a.shape[1], b.shape[1]) < 2:
        return (float(interval[0]), float(interval[1]))
    centre, reach = np.arctanh(value), (np.arctanh(interval[1]) - np.arctanh(interval[0])) / 2
    correlate = scipy.stats.kendalltau if name == "tau" else scipy.stats.spearmanr

    def statistic(u: np.ndarray, v: np.ndarray, same: tuple[np.ndarray, np.ndarray]) -> float:
        return float(np.arctanh(np.clip(correlate(u.mean(axis=1), v.mean(axis=1)).statistic, -1 + 1e-9, 1 - 1e-9)))

    extra = seed_variance(statistic, a, b, shared)
    reach *= _widening((reach / scipy.stats.norm.ppf(0.975)) ** 2, extra, min(a.shape[1], b.shape[1]))
    return (float(np.tanh(centre - reach)), float(np.tanh(centre + reach)))


def _widening(over_samples: float, extra: float, seeds: int) -> float:
    """Factor of an interval over samples, by the variance that trainings add, known with ``seeds - 1`` degrees of freedom (Satterthwaite)."""
    if not np.isfinite(extra) or not extra or not over_samples:
        return 1.0
    total = over_samples + extra
    freedom = (seeds - 1) * (total / extra) ** 2
    return float(np.sqrt(total / over_samples) * scipy.stats.t.ppf(0.975, freedom) / scipy.stats.norm.ppf(0.975))


def _scaled(values: np.ndarray, scale: Scale) -> np.ndarray:
    return values if scale == "values" else scipy.stats.rankdata(values, axis=0)


def _resampled(x: np.ndarray, y: np.ndarray, shared: tuple[np.ndarray, np.ndarray]) -> tuple[float, Corrected | None]:
    """Scale of the spread, and bootstrap results; None where there are too few samples or seeds."""
    n = len(x)
    if n < FEWEST or min(x.shape[1], y.shape[1]) < 2:
        return 1.0, None
    if n > MOST_RESAMPLED:
        chosen = np.sort(np.random.Generator(np.random.Philox(n)).choice(n, MOST_RESAMPLED, replace=False))
        x, y = x[chosen], y[chosen]
    return float(np.sqrt(len(x) / n)), corrected_correlation(x, y, shared, bootstrap_weights(len(x)))


def _positive(known: Corrected, resampled: Corrected, some: float) -> bool:
    """Return whether both reliabilities are above 0 with their intervals."""
    lows = [
        value + some * (percentile_interval(many)[0] - value)
        for value, many in (
            (known.reliability_a, resampled.reliability_a),
            (known.reliability_b, resampled.reliability_b),
        )
    ]
    return all(low > 0 for low in lows)


def _reliability(table: Replicates, scale: Scale) -> tuple[float, tuple[float, float]]:
    """Reliability of one score, and its interval."""
    unknown = (np.nan, (np.nan, np.nan))
    if len(table.ids) < FEWEST or len(table.seeds) < 2:
        return unknown
    x, seeds = _scaled(table.values, scale), np.arange(len(table.seeds))
    every = (seeds, seeds)
    value = float(corrected_correlation(x, x, every).reliability_a)
    some, resampled = _resampled(x, x, every)
    if resampled is None or not np.isfinite(value):
        return unknown

    def reliability(u: np.ndarray, v: np.ndarray, same: tuple[np.ndarray, np.ndarray]) -> float:
        return float(corrected_correlation(u, v, same).reliability_a)

    spread = float(np.nanvar(resampled.reliability_a)) * some**2
    factor = _widening(spread, seed_variance(reliability, x, x, every), len(table.seeds))
    low, high = (value + factor * some * (end - value) for end in percentile_interval(resampled.reliability_a))
    return value, (low, min(high, 1.0))
