"""How far a study's scores can be trusted: split-half reliability, parts of the error, and how many seeds and views suffice.

The parts of the error are those of :class:`sslmem_kit.statistics.precision.VarianceComponents`; they follow from mean squares, so that
an estimate may come out negative where a part is small.

All is over the samples of one partition, the candidates by default: among samples that nobody memorized there is no order to be found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.statistics.precision import TARGET, VIEWS, estimable_views, mean_parts, required_seeds
from sslmem_kit.statistics.variance_components import MIN_ORDERED_SAMPLES, CrossedScores, weighted_sums

if TYPE_CHECKING:
    pass

RESAMPLES = 1000
"""Of the samples, for intervals."""


def assess(
    results: xr.Dataset, *, protocol: str = "corrected", partition: str = "candidate", target: float = TARGET
) -> dict[str, Any]:
    """Reliability of a study's scores, in parts, and what it takes to reach a target.

    Parameters
    ----------
    results
        Root of a results store.
    protocol
        ``paper``, ``released`` or ``corrected``.
    partition
        Whose samples are ordered.
    target
        Wanted reliability.

    Returns
    -------
    ``protocol``, ``partition``, ``n``, ``seeds``, ``views``; ``split_half`` over ``seeds`` and, given the same encoders, over
    ``views``, with ``spearman`` and ``pearson`` of two halves, by the Spearman-Brown formula ``full_spearman`` and ``full_pearson`` of
    all, as ``value`` and ``interval`` (95 %, bootstrap over samples), and ``splits``; ``parts``, variances by name; ``reliability``
    (value, interval) and ``standard_error`` of this study by its parts; ``target`` and ``required``, see
    :func:`sslmem_kit.statistics.precision.required_seeds`, for the study's own number of views where nothing is known of others; ``unknown``,
    sentences on what cannot be told, which is NaN.

    Raises
    ------
    UserError
        An unknown protocol or partition.
    """
    table = CrossedScores.of(results, protocol, partition)
    weights = bootstrap_weights(table.n)
    parts, resampled = table.parts(), table.parts(weights)
    known, seeds = table.seeds > 1 and table.n > 1, max(table.seeds, 1)
    return {
        "protocol": protocol,
        "partition": partition,
        "n": table.n,
        "seeds": table.seeds,
        "views": table.views,
        "split_half": {
            "seeds": _correlations(table.split_halves("seeds"), weights, table.seeds),
            "views": _correlations(table.split_halves("views"), weights, table.views),
        },
        "parts": {name.replace("interaction", "both"): float(value) for name, value in vars(parts).items()},
        "reliability": {
            "value": float(parts.reliability(seeds, table.views)),
            "interval": percentile_interval(resampled.reliability(seeds, table.views)),
        },
        "standard_error": float(parts.standard_error(seeds, table.views)),
        "target": target,
        "required": required_seeds(parts, views=estimable_views(parts, table.views), reliability=target) if known else [],
        "unknown": table.unknown(),
    }


def forecast(results: xr.Dataset, *, seeds: int, views: int, protocol: str = "corrected", target: float = TARGET) -> dict[str, Any]:
    """What reliability other numbers of seeds and views would have given a study, and how many it would take to reach a target.

    Parameters
    ----------
    results
        Root of the results store of a study that is done.
    seeds, views
        Of the study that is planned.

    Returns
    -------
    ``seeds``, ``views``, ``reliability`` (value, interval) and ``standard_error`` that are to be expected; ``target`` and ``required``;
    ``unknown``, sentences on what cannot be told. The parts that this rests on are the mean of those of the candidates and of the independent
    samples, which family g memorizes alike.

    Raises
    ------
    UserError
        The study has one seed only, too few samples, or one pair of views where another number is planned.
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
    return {
        "seeds": seeds,
        "views": views,
        "reliability": {
            "value": float(parts.reliability(seeds, views)),
            "interval": percentile_interval(resampled.reliability(seeds, views)),
        },
        "standard_error": float(parts.standard_error(seeds, views)),
        "target": target,
        "required": required_seeds(parts, reliability=target, views=estimable_views(parts, views, sorted({*VIEWS, views}))),
        "unknown": tables[0].unknown(),
    }


def bootstrap_weights(samples: int, seed: int = 0) -> np.ndarray:
    """How often each sample is drawn in each bootstrap sample: (resample, sample) uint16."""
    drawn = np.zeros((RESAMPLES, samples), np.uint16)
    if samples:
        rng = np.random.Generator(np.random.Philox([samples, seed]))
        for row in drawn:  # in whole they would take four times the memory
            row[:] = rng.multinomial(samples, np.full(samples, 1 / samples))
    return drawn


def _correlations(halves: list[tuple[np.ndarray, np.ndarray]], weights: np.ndarray, count: int) -> dict[str, Any]:
    """Correlation of halves, averaged over halvings, as it is and for the full ``count``, with intervals."""
    nothing = {"value": np.nan, "interval": (np.nan, np.nan)}
    found: dict[str, Any] = {"splits": len(halves)}
    for name in ("spearman", "pearson"):
        if not halves or len(halves[0][0]) < 2:
            found[name] = found[f"full_{name}"] = nothing
            continue
        first, second = (np.stack(side, axis=1) for side in zip(*halves, strict=True))
        if name == "spearman":
            first, second = _ranks(first), _ranks(second)
        (value,), resampled = (_mean_correlation(first, second, w) for w in (np.ones((1, len(first))), weights))
        factor = count / (count // 2)
        found[name] = {"value": float(value), "interval": percentile_interval(resampled)}
        found[f"full_{name}"] = {
            "value": float(spearman_brown(value, factor)),
            "interval": percentile_interval(spearman_brown(resampled, factor)),
        }
    return found


def spearman_brown(correlation: Any, factor: float) -> Any:
    """Spearman-Brown: the reliability of ``factor`` times as many parts as those that correlate; -1 where it would be less."""
    correlation = np.maximum(correlation, -1 / (2 * factor - 1))
    return factor * correlation / (1 + (factor - 1) * correlation)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Of each column; scores are hardly ever equal, and equal ones come in any order."""
    return np.argsort(np.argsort(values, axis=0), axis=0).astype(np.float64)


def _mean_correlation(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation of columns, mean over them, in each bootstrap sample: (sample, split) twice -> (resample,)."""
    x, y = first - first.mean(axis=0), second - second.mean(axis=0)
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y, xx, yy, xy = (weighted_sums(weights, values) / total for values in (x, y, x * x, y * y, x * y))
    with np.errstate(invalid="ignore", divide="ignore"):  # all scores of a resample are equal
        return ((xy - mean_x * mean_y) / np.sqrt((xx - mean_x**2) * (yy - mean_y**2))).mean(axis=1)


def percentile_interval(values: Any) -> tuple[float, float]:
    """Of 95 %, from bootstrap values."""
    values = np.asarray(values, float)
    if not np.isfinite(values).any():
        return (np.nan, np.nan)
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return (float(low), float(high))
