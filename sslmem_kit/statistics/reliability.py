"""How far a study's scores can be trusted: split-half reliability, parts of the error, and how many seeds and views suffice.

The parts of the error are those of :class:`sslmem_kit.statistics.precision.VarianceComponents`; they follow from mean squares, so that
an estimate may come out negative where a part is small.

All is over the samples of one partition, the candidates by default: among samples that nobody memorized there is no order to be found.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import BOUND, BOUNDS, STATISTIC
from sslmem_kit.statistics.precision import TARGET, VIEWS, VarianceComponents, estimable_views, mean_parts, required_seeds
from sslmem_kit.statistics.variance_components import MIN_ORDERED_SAMPLES, CrossedScores, weighted_sums

RESAMPLES = 1000
"""Bootstrap samples, for intervals."""


def assess(results: xr.Dataset, *, protocol: str = "corrected", partition: str = "candidate", target: float = TARGET) -> xr.Dataset:
    """Reliability of a study's scores, in parts, and the seeds and views that reach a target.

    Parameters
    ----------
    results
        Root of a results store.
    protocol
        ``paper``, ``released`` or ``corrected``.
    partition
        Partition whose samples are ordered.
    target
        Wanted reliability.

    Returns
    -------
    - ``split_half`` on (``over``, ``statistic``): correlation (``spearman``, ``pearson``) of the scores from two halves of the ``seeds``, or,
      given the same encoders, of the ``views``, mean over the ways to halve them, which ``splits`` on ``over`` counts; ``full`` on
      (``over``, ``statistic``): of the full number, by the Spearman-Brown formula; ``split_half_interval`` and ``full_interval`` on ``bound``
      too;
    - ``variance`` on ``part``: ``score``, ``seeds``, ``views``, ``interaction`` and ``offset``;
    - ``reliability`` and ``standard_error`` of a score in this study, by its parts, scalars; ``reliability_interval`` on ``bound``;
    - ``seeds``, ``encoders`` and ``forward_passes`` on ``views``: :func:`sslmem_kit.statistics.precision.required_seeds` for the target, for
      the study's own number of views where nothing is known of others; no views where nothing is known of seeds.

    Intervals are 95 % ones by a bootstrap over samples. In the attrs: ``protocol``, ``partition``, ``target``; ``n`` samples, ``seeds`` and
    ``views`` of the study; ``unknown``, sentences on what cannot be estimated, which is NaN.

    Raises
    ------
    UserError
        An unknown protocol or partition.

    References
    ----------
    Brennan, Generalizability theory (2001); Spearman and Brown, British Journal of Psychology 3 (1910).

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = assess(_example.results())
    >>> found.attrs["n"], found.attrs["seeds"], found["reliability"].round(2).item()
    (10, 3, 0.97)
    >>> found["seeds"].to_series().to_dict()
    {2: 1.0, 5: 1.0, 10: 1.0, 20: 1.0}
    """
    table = CrossedScores.of(results, protocol, partition)
    weights = bootstrap_weights(table.n)
    parts, resampled = table.parts(), table.parts(weights)
    known, seeds = table.seeds > 1 and table.n > 1, max(table.seeds, 1)
    halves = {"seeds": table.split_halves("seeds"), "views": table.split_halves("views")}
    correlations = [_correlations(halves[over], weights, count) for over, count in (("seeds", table.seeds), ("views", table.views))]
    found = xr.Dataset(
        {
            "splits": ("over", [len(halves[over]) for over in halves]),
            **{
                name: (("over", STATISTIC), [[by[which][0] for by in each] for each in correlations])
                for which, name in enumerate(("split_half", "full"))
            },
            **{
                f"{name}_interval": (("over", STATISTIC, BOUND), [[by[which][1] for by in each] for each in correlations])
                for which, name in enumerate(("split_half", "full"))
            },
            "variance": ("part", [float(value) for value in vars(parts).values()]),
            **_predicted(parts, resampled, seeds, table.views),
        },
        {"over": [*halves], STATISTIC: [*_STATISTICS], "part": [*vars(parts)], BOUND: [*BOUNDS]},
        {"protocol": protocol, "partition": partition, "n": table.n, "seeds": table.seeds, "views": table.views, "target": target}
        | {"unknown": table.unknown()},
    )
    views = estimable_views(parts, table.views) if known else ()
    return found.merge(required_seeds(parts, views=views, reliability=target))


def _predicted(parts: VarianceComponents, resampled: VarianceComponents, seeds: int, views: int) -> dict[str, Any]:
    """Reliability with its interval, and standard error, with so many seeds and views."""
    return {
        "reliability": float(parts.reliability(seeds, views)),
        "reliability_interval": (BOUND, list(percentile_interval(resampled.reliability(seeds, views)))),
        "standard_error": float(parts.standard_error(seeds, views)),
    }


def forecast(results: xr.Dataset, *, seeds: int, views: int, protocol: str = "corrected", target: float = TARGET) -> xr.Dataset:
    """Reliability that other numbers of seeds and views would have given a study, and the numbers that reach a target.

    Parameters
    ----------
    results
        Root of the results store of a study that is done.
    seeds, views
        Numbers of the study that is planned.
    protocol
        ``paper``, ``released`` or ``corrected``.
    target
        Wanted reliability.

    Returns
    -------
    ``reliability`` and ``standard_error`` that are to be expected, ``reliability_interval`` on ``bound``; ``seeds``, ``encoders`` and
    ``forward_passes`` on ``views`` of :func:`sslmem_kit.statistics.precision.required_seeds`. In the attrs: ``seeds``, ``views``, ``target``,
    and ``unknown``, sentences on what cannot be estimated. The parts that this rests on are the mean of those of the candidates and of the
    independent samples, which family g memorizes alike.

    Raises
    ------
    UserError
        The study has one seed only, too few samples, or one pair of views where another number is planned.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = forecast(_example.results(), seeds=1, views=2)
    >>> found["reliability"].round(1).item(), found["views"].values
    (0.9, array([ 2,  5, 10, 20]))
    """
    tables = [
        table
        for partition in ("candidate", "independent")
        if (table := CrossedScores.of(results, protocol, partition)).n >= MIN_ORDERED_SAMPLES
    ]
    if tables and not tables[0].seeds:
        raise UserError(tables[0].unknown()[0])
    if not tables or tables[0].seeds < 2:
        raise UserError(
            f"the precision of other numbers of seeds cannot be told from one seed, nor from fewer than {MIN_ORDERED_SAMPLES} candidates; "
            f"this study has {CrossedScores.of(results, protocol).seeds} and {CrossedScores.of(results, protocol).n}"
        )
    counts = [table.n for table in tables]
    parts = mean_parts([table.parts() for table in tables], counts)
    if views not in estimable_views(parts, tables[0].views, (views,)):
        raise UserError(
            f"the precision of other numbers of views cannot be told from one pair of views; this study has {tables[0].views}, "
            f"scoring.views is {views}"
        )
    resampled = mean_parts([table.parts(bootstrap_weights(table.n, i)) for i, table in enumerate(tables)], counts)
    found = xr.Dataset(
        _predicted(parts, resampled, seeds, views),
        {BOUND: [*BOUNDS]},
        {"seeds": seeds, "views": views, "target": target, "unknown": tables[0].unknown()},
    )
    compared = estimable_views(parts, views, sorted({*VIEWS, views}))
    return found.merge(required_seeds(parts, reliability=target, views=compared))


def bootstrap_weights(samples: int, seed: int = 0) -> np.ndarray:
    """How often each sample is drawn in each bootstrap sample: (resample, sample) uint16.

    Examples
    --------
    >>> weights = bootstrap_weights(5)
    >>> weights.shape, set(weights.sum(axis=1).tolist())
    ((1000, 5), {5})
    """
    drawn = np.zeros((RESAMPLES, samples), np.uint16)
    if samples:
        rng = np.random.Generator(np.random.Philox([samples, seed]))
        for row in drawn:  # in whole they would take four times the memory
            row[:] = rng.multinomial(samples, np.full(samples, 1 / samples))
    return drawn


_STATISTICS = ("spearman", "pearson")


def _correlations(halves: list[tuple[np.ndarray, np.ndarray]], weights: np.ndarray, count: int) -> list[list[tuple[float, Any]]]:
    """Correlation of halves, by :data:`_STATISTICS`: mean over halvings as it is, and for the full ``count``, each with its interval."""
    if not halves or len(halves[0][0]) < 2:
        return [[(np.nan, (np.nan, np.nan))] * 2] * len(_STATISTICS)
    found = []
    for name in _STATISTICS:
        first, second = (np.stack(side, axis=1) for side in zip(*halves, strict=True))
        if name == "spearman":
            first, second = _ranks(first), _ranks(second)
        (value,), resampled = (_mean_correlation(first, second, w) for w in (np.ones((1, len(first))), weights))
        factor = count / (count // 2)
        full = (float(spearman_brown(value, factor)), percentile_interval(spearman_brown(resampled, factor)))
        found.append([(float(value), percentile_interval(resampled)), full])
    return found


def spearman_brown(correlation: Any, factor: float) -> Any:
    """Spearman-Brown formula: the reliability of ``factor`` times as many parts as those that correlate.

    Parameters
    ----------
    correlation
        Number or array.

    Returns
    -------
    ``factor r / (1 + (factor - 1) r)``; -1 where it would be less.

    Examples
    --------
    >>> float(spearman_brown(0.5, 3))
    0.75
    """
    correlation = np.maximum(correlation, -1 / (2 * factor - 1))
    return factor * correlation / (1 + (factor - 1) * correlation)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks within each column; scores are hardly ever equal, and equal ones come in any order."""
    return np.argsort(np.argsort(values, axis=0), axis=0).astype(np.float64)


def _mean_correlation(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation of columns, mean over them, in each bootstrap sample: (sample, split) twice -> (resample,)."""
    x, y = first - first.mean(axis=0), second - second.mean(axis=0)
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y, xx, yy, xy = (weighted_sums(weights, values) / total for values in (x, y, x * x, y * y, x * y))
    with np.errstate(invalid="ignore", divide="ignore"):  # all scores of a resample are equal
        return ((xy - mean_x * mean_y) / np.sqrt((xx - mean_x**2) * (yy - mean_y**2))).mean(axis=1)


def percentile_interval(values: Any) -> tuple[float, float]:
    """Ends of the 95 % interval of bootstrap values; NaN where none is finite.

    Examples
    --------
    >>> percentile_interval(np.arange(101.0))
    (2.5, 97.5)
    """
    values = np.asarray(values, float)
    if not np.isfinite(values).any():
        return (np.nan, np.nan)
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return (float(low), float(high))
