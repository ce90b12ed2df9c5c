"""Reliability of a study's scores: split-half reliability, parts of the error, and how many seeds and views suffice.

The parts of the error are those of :class:`sslmem_kit.statistics.precision.VarianceComponents`; they follow from mean squares, so that
an estimate may come out negative where a part is small.

All is over the samples of one partition, the candidates by default: among samples that nobody memorized there is no order to be found.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import BOUND, BOUNDS, STATISTIC
from sslmem_kit.statistics.precision import TARGET, VIEWS, VarianceComponents, estimable_views, mean_parts, required_seeds
from sslmem_kit.statistics.variance_components import MIN_ORDERED_SAMPLES, CrossedScores, weighted_sums

RESAMPLES = 1000
"""Bootstrap samples, for intervals."""
HALVED = ("seeds", "views")
"""Coordinates of ``halved``: what is split in two halves."""
GIVEN = ("these views", "these encoders")
"""What both halves have in common."""
STATISTICS = ("spearman", "pearson")
"""Correlations of two halves."""
ROUNDING = 1e-12
"""Share of a mean square below which a variance is rounding alone."""


def assess(results: xr.Dataset, *, protocol: str = "corrected", partition: str = "candidate", target: float = TARGET) -> xr.Dataset:
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
    What is unknown is NaN:

    - ``reliability`` and ``standard_error`` of this study by its parts, ``reliability_interval`` on ``bound``;
    - ``variance`` on ``component``: ``score``, ``seeds``, ``views``, ``interaction``, ``offset``, with its ``variance_interval`` on
      ``bound``;
    - on ``halved`` (``seeds``, given the same views, so that what views do to a sample counts as its own; ``views``, given the same
      encoders), which ``given`` says: ``splits``; on (``halved``, ``statistic``), the statistics being ``spearman`` and ``pearson``:
      ``correlation`` of two halves and, by the Spearman-Brown formula, ``full_correlation`` of all, each with its ``..._interval`` on
      ``bound`` too;
    - on ``views``: ``required_seeds``, ``encoders`` and ``forward_passes`` to reach the target, ``required_seeds_interval`` and
      ``known``, of :func:`sslmem_kit.statistics.precision.required_seeds`, for the study's own number of views where nothing is known of
      others; empty with one seed.

    Intervals are of 95 %, by a bootstrap over samples. They hold where a seed moves samples independently of each other (93 to 96 % in
    simulations with 2, 3 and 6 seeds); where a third of what it does is common to classes they cover 88 to 92 %, where seeds differ in
    how much they move samples, by a factor of 1.35, 78 to 87 %: from few seeds that cannot be told. The attrs hold ``protocol``,
    ``partition``, ``n``, ``seeds``, ``views`` and ``target``, and ``unknown``, a list of sentences on what cannot be known.

    Raises
    ------
    UserError
        An unknown protocol or partition.

    References
    ----------
    Brennan, Generalizability theory (2001), for the parts; Spearman and Brown, British Journal of Psychology 3 (1910).

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = assess(_example.results())
    >>> found["reliability"].round(2).item(), found["reliability_interval"].round(2).values
    (0.97, array([0.88, 0.99]))
    >>> found["full_correlation"].sel(halved="seeds", statistic="spearman").round(2).item()
    0.94
    >>> found["required_seeds"].to_series().to_dict()
    {2: 1.0, 5: 1.0, 10: 1.0, 20: 1.0}
    """
    table = CrossedScores.of(results, protocol, partition)
    weights = bootstrap_weights(table.n)
    parts, resampled = table.parts(), table.parts(weights)
    seeds, enough = max(table.seeds, 1), table.seeds > 1 and table.n > 1
    views = estimable_views(parts, table.views) if enough else ()
    required = required_seeds(parts, views=views, reliability=target, resampled=resampled)
    components = {name: float(value) for name, value in vars(parts).items()}
    ends = [percentile_interval(getattr(resampled, name)) for name in components]
    return (
        _predicted(parts, resampled, seeds, table.views)
        .assign_coords(component=list(components))
        .assign(variance=("component", list(components.values())), variance_interval=(("component", BOUND), ends))
        .merge(_halves(table, weights))
        .merge(required)
        .assign_attrs(
            protocol=protocol,
            partition=partition,
            n=table.n,
            seeds=table.seeds,
            views=table.views,
            target=target,
            unknown=[*table.unknown(), *_untold(required)],
        )
    )


def _untold(required: xr.Dataset) -> list[str]:
    """Sentence on why no number of seeds can be told, where none can."""
    if required["known"].item() or not required.sizes["views"]:
        return []
    return ["the score's own part may be zero (its 95 % interval reaches 0): how many seeds a reliability takes cannot be told"]


def forecast(results: xr.Dataset, *, seeds: int, views: int, protocol: str = "corrected", target: float = TARGET) -> xr.Dataset:
    """Reliability that other numbers of seeds and views would have given a study, and how many it would take to reach a target.

    Parameters
    ----------
    results
        Root of the results store of a study that is done.
    seeds, views
        Of the study that is planned.

    Returns
    -------
    ``reliability`` and ``standard_error`` that are to be expected, ``reliability_interval`` on ``bound``; on ``views``: ``required_seeds``,
    its interval, ``encoders`` and ``forward_passes``; ``known``. The attrs hold ``seeds``, ``views`` and ``target``, and ``unknown``, a
    list of sentences on what cannot be known. The parts that this rests on are the mean of those of the candidates and of the independent
    samples, which family g memorizes alike.

    Raises
    ------
    UserError
        The study has one seed only, too few samples, or too few views where another number is planned.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> forecast(_example.results(), seeds=6, views=10)["reliability"].round(2).item()
    0.98
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
            f"the precision of other numbers of seeds cannot be estimated from one seed, nor from fewer than {MIN_ORDERED_SAMPLES} candidates; "
            f"this study has {CrossedScores.of(results, protocol).seeds} and {CrossedScores.of(results, protocol).n}"
        )
    counts = [table.n for table in tables]
    parts = mean_parts([table.parts() for table in tables], counts)
    if views not in estimable_views(parts, tables[0].views, (views,)):
        raise UserError(
            f"the precision of other numbers of views cannot be estimated from so few views; this study has {tables[0].views}, "
            f"scoring.views is {views}"
        )
    resampled = mean_parts([table.parts(bootstrap_weights(table.n, i)) for i, table in enumerate(tables)], counts)
    planned = estimable_views(parts, views, sorted({*VIEWS, views}))
    required = required_seeds(parts, reliability=target, views=planned, resampled=resampled)
    found = _predicted(parts, resampled, seeds, views).merge(required)
    return found.assign_attrs(seeds=seeds, views=views, target=target, unknown=[*tables[0].unknown(), *_untold(required)])


def _predicted(parts: VarianceComponents, resampled: VarianceComponents, seeds: int, views: int) -> xr.Dataset:
    """Reliability, its interval, and standard error by the parts."""
    return xr.Dataset(
        {
            "reliability": float(parts.reliability(seeds, views)),
            "reliability_interval": (BOUND, list(percentile_interval(resampled.reliability(seeds, views)))),
            "standard_error": float(parts.standard_error(seeds, views)),
        },
        {BOUND: list(BOUNDS)},
    )


def bootstrap_weights(samples: int, seed: int = 0) -> np.ndarray:
    """Number of times that each sample is in each bootstrap sample: (resample, sample) uint16.

    Examples
    --------
    >>> weights = bootstrap_weights(30)
    >>> weights.shape, int(weights[0].sum())
    ((1000, 30), 30)
    """
    weights = np.zeros((RESAMPLES, samples), np.uint16)
    if samples:
        rng = np.random.Generator(np.random.Philox([samples, seed]))
        for row in weights:  # in whole they would take four times the memory
            row[:] = rng.multinomial(samples, np.full(samples, 1 / samples))
    return weights


def _halves(table: CrossedScores, weights: np.ndarray) -> xr.Dataset:
    """Correlations of halves of the seeds and of the views, as they are and of all."""
    counts = {"seeds": table.seeds, "views": table.views}
    halves = {name: table.split_halves(name) for name in HALVED}
    found = {"correlation": np.full((2, 2), np.nan), "full_correlation": np.full((2, 2), np.nan)}
    ends = {f"{name}_interval": np.full((2, 2, 2), np.nan) for name in found}
    for row, name in enumerate(HALVED):
        if not halves[name] or len(halves[name][0][0]) < 2:
            continue
        sides = [np.stack(side, axis=1) for side in zip(*halves[name], strict=True)]
        factor = counts[name] / (counts[name] // 2)
        for column, statistic in enumerate(STATISTICS):
            first, second = (_ranks(side) for side in sides) if statistic == "spearman" else sides
            (value,), resampled = (_mean_correlation(first, second, w) for w in (np.ones((1, len(first))), weights))
            found["correlation"][row, column] = value
            found["full_correlation"][row, column] = spearman_brown(value, factor)
            ends["correlation_interval"][row, column] = percentile_interval(resampled)
            ends["full_correlation_interval"][row, column] = percentile_interval(spearman_brown(resampled, factor))
    dims = ("halved", STATISTIC)
    return xr.Dataset(
        {
            "splits": ("halved", [len(halves[name]) for name in HALVED]),
            "given": ("halved", list(GIVEN)),
            **{name: (dims, values) for name, values in found.items()},
            **{name: ((*dims, BOUND), values) for name, values in ends.items()},
        },
        {"halved": list(HALVED), STATISTIC: list(STATISTICS), BOUND: list(BOUNDS)},
    )


def spearman_brown(correlation: Any, factor: float) -> Any:
    """Reliability of ``factor`` times as many parts as those that correlate: ``factor r / (1 + (factor - 1) r)``, at least -1.

    References
    ----------
    Spearman; Brown, both British Journal of Psychology 3 (1910).

    Examples
    --------
    >>> float(spearman_brown(0.5, 2).round(3))
    0.667
    """
    correlation = np.maximum(correlation, -1 / (2 * factor - 1))
    return factor * correlation / (1 + (factor - 1) * correlation)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks in each column from 0; equal scores share the mean of theirs, so that collapsed encoders order nothing."""
    return scipy.stats.rankdata(values, axis=0) - 1


def _mean_correlation(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation of columns, mean over them, in each bootstrap sample: (sample, split) twice -> (resample,).

    NaN where all values of a column are equal in a bootstrap sample, but for rounding.
    """
    x, y = first - first.mean(axis=0), second - second.mean(axis=0)
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y, xx, yy, xy = (weighted_sums(weights, values) / total for values in (x, y, x * x, y * y, x * y))
    variances = [
        np.where(square - mean**2 > ROUNDING * square, square - mean**2, np.nan) for square, mean in ((xx, mean_x), (yy, mean_y))
    ]
    return ((xy - mean_x * mean_y) / np.sqrt(variances[0] * variances[1])).mean(axis=1)


def percentile_interval(values: Any) -> tuple[float, float]:
    """Interval of 95 % from bootstrap values; NaN where none is finite.

    Examples
    --------
    >>> percentile_interval(np.arange(101))
    (2.5, 97.5)
    """
    values = np.asarray(values, float)
    if not np.isfinite(values).any():
        return (np.nan, np.nan)
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return (float(low), float(high))
