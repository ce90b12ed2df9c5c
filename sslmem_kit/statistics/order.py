"""The order of single samples: by the best estimator that a study's encoders allow, with its reliability.

Pairs of f and g compare partitions well and order single samples badly: what g is missing is not a sample but all candidates, and against
exact leave-one-out their rank correlation was 0.0 [-0.40, 0.35] (docs/precision.md, "An order of samples"). Encoders on random subsets, or
without one sample each, order samples by what leaving a sample out does; where a study has them, its order rests on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS, PARTITION_CODE, SAMPLE, SSLMEM
from sslmem_kit.scores.estimators import estimate, seeds_of
from sslmem_kit.statistics.reliability import bootstrap_weights, percentile_interval
from sslmem_kit.statistics.variance_components import MIN_ORDERED_SAMPLES, CrossedScores, weighted_sums

ORDERING = ("adjusted", "pairs")
"""Estimators that order samples, the best first."""
RANK_SCORE = "rank_score"
"""Column of the scores that samples are ordered by, in a study that has encoders for it."""
UNRELIABLE = "pairs"
"""The estimator whose order of single samples is not to be relied on."""
MOST_RESAMPLED = 20_000
"""Number of samples above which a random subset of this size is resampled, and its spread scaled to all of them."""


def rank_scores(results: xr.Dataset, *, protocol: str = "corrected", estimator: str | None = None) -> xr.Dataset:
    """Scores that samples are ordered by, their ranks, and the reliability of the order.

    Parameters
    ----------
    results
        Root of a results store.
    protocol
        As in :func:`sslmem_kit.scores.estimate`.
    estimator
        One of :func:`sslmem_kit.scores.estimate`; None: the best that the encoders allow.

    Returns
    -------
    :func:`sslmem_kit.scores.estimate` of that estimator, with ``rank`` (1: the highest score; equal ones by
    ascending id) on ``sample``, and scalars ``reliability`` (the share of the variance of the candidates' scores that is not error; NaN with
    one seed) with ``reliability_interval`` on ``bound`` (95 %, bootstrap over samples, given the encoders). The attrs name the
    ``estimator`` and, as ``reliability_n``, the number of candidates that reliability is over.

    Raises
    ------
    UserError
        An unknown protocol, or one that the store cannot serve; an estimator whose encoders the study does not have.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = rank_scores(_example.design())
    >>> found.attrs["estimator"], found.sizes["sample"], found["rank"].min().item()
    ('adjusted', 20, 1)
    >>> rank_scores(_example.results()).attrs["estimator"]
    'pairs'
    """
    estimator = estimator or next(name for name in ORDERING if name == UNRELIABLE or len(seeds_of(results, name)))
    scores = estimate(results, estimator, protocol=protocol)
    order = np.lexsort((scores[SAMPLE].values, -scores[SSLMEM].values))  # NaN is last
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    if estimator == UNRELIABLE:
        return scores.assign(rank=(SAMPLE, rank)).merge(order_of_pairs(results, protocol), combine_attrs="no_conflicts")
    chosen = np.isfinite(scores[SSLMEM].values) & np.isfinite(scores["standard_error"].values)
    if "partition" in scores.coords and (candidates := scores["partition"].values == PARTITION_CODE["candidate"]).any():
        chosen &= candidates
    # A mean error that is pooled over samples is that of a typical one, below the mean of all: the raw one counts, where it is larger. What
    # the estimator keeps from scores is in their error, and not in their variance.
    squares = [scores[name].values[chosen] ** 2 for name in ("standard_error", "standard_error_encoders")]
    squares[0] = np.maximum(squares[0] - scores.attrs.get("variance_kept", 0.0), 0)
    values, square = scores[SSLMEM].values[chosen], max(squares, key=np.sum)
    fidelity = scores.attrs.get("fidelity", 1.0)
    known = _with_interval(len(values), lambda some, weights: fidelity * _reliability(values[some], square[some], weights))
    return scores.assign(rank=(SAMPLE, rank)).merge(known, combine_attrs="override").assign_attrs(reliability_n=len(values))


def order_of_pairs(results: xr.Dataset, protocol: str = "corrected") -> xr.Dataset:
    """Reliability of the order by pairs: what :func:`rank_scores` says of it, without ranks.

    Parameters
    ----------
    results
        Root of a results store, or some encoders of it.
    protocol
        As in :func:`rank_scores`.

    Returns
    -------
    Scalar ``reliability``, by the parts of the error, as :func:`sslmem_kit.statistics.assess` gives it, and ``reliability_interval`` on
    ``bound``; NaN with one seed or fewer than 10 candidates. The attribute ``estimator`` is ``pairs``, ``reliability_n`` counts the candidates.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> order_of_pairs(_example.results())["reliability"].round(2).item()
    0.97
    """
    known, count = _with_interval(0, lambda some, weights: np.empty(0)), 0
    if "partition" in results.coords:
        table = CrossedScores.of(results, protocol)
        count = table.n
        if table.seeds > 1 and table.n >= MIN_ORDERED_SAMPLES:

            def reliability(some: np.ndarray, weights: np.ndarray) -> np.ndarray:
                parts = replace(table, differences=table.differences[some]).parts(weights)
                return np.atleast_1d(parts.reliability(table.seeds, table.views))

            known = _with_interval(table.n, reliability)
    return known.assign_attrs(estimator=UNRELIABLE, reliability_n=count)


def _with_interval(count: int, reliability: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> xr.Dataset:
    """Reliability and its interval, by a function of positions of samples and of their weights, (resample, position) -> (resample,)."""
    value, interval = np.nan, (np.nan, np.nan)
    if count:
        some = np.arange(count)
        value = float(reliability(some, np.ones((1, count)))[0])
        if count > MOST_RESAMPLED:
            some = np.sort(np.random.Generator(np.random.Philox(count)).choice(count, MOST_RESAMPLED, replace=False))
        resampled = reliability(some, bootstrap_weights(len(some)))
        if len(some) < count:
            own = reliability(some, np.ones((1, len(some))))
            resampled = np.clip(value + (resampled - own) * np.sqrt(len(some) / count), 0, 1)
        interval = percentile_interval(resampled)
    return xr.Dataset({"reliability": value, "reliability_interval": (BOUND, list(interval))}, {BOUND: list(BOUNDS)})


def has_order(results: xr.Dataset) -> bool:
    """Return whether a study has encoders that order single samples.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> has_order(_example.design()), has_order(_example.results())
    (True, False)
    """
    return len(seeds_of(results, ORDERING[0])) > 0


def with_order(scores: xr.Dataset, found: xr.Dataset) -> xr.Dataset:
    """Add the order to scores: ``rank_score``, ``rank_error`` and ``rank`` on ``sample``, NaN where a sample has none.

    Parameters
    ----------
    scores
        Of :func:`sslmem_kit.scores.score`.
    found
        Of :func:`rank_scores`.

    Returns
    -------
    The scores with these columns; the attrs gain ``rank_estimator``, ``rank_encoders``, ``rank_reliability`` and
    ``rank_reliability_interval``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> design = _example.design()
    >>> table = with_order(score(design), rank_scores(design))
    >>> table["rank_score"].count().item(), table.attrs["rank_estimator"]
    (20, 'adjusted')
    """
    columns = {RANK_SCORE: SSLMEM, "rank_error": "standard_error", "rank": "rank"}
    own = found[list(columns.values())].reset_coords(drop=True)
    own = own.reindex({SAMPLE: scores[SAMPLE].values}).rename({old: new for new, old in columns.items() if old != new})
    facts = {
        "estimator": found.attrs["estimator"],
        "encoders": found.attrs["encoders"],
        "reliability": found["reliability"].item(),
        "reliability_interval": found["reliability_interval"].values.tolist(),
    }
    return scores.assign(own.data_vars).assign_attrs({f"rank_{name}": value for name, value in facts.items()})


def order_of(scores: xr.Dataset, results: xr.Dataset) -> xr.Dataset:
    """Reliability of the order of scores: of :func:`with_order` where they have one, else that of the pairs.

    Parameters
    ----------
    scores
        Of :meth:`sslmem_kit.study.Study.scores`.
    results
        Root of the results store.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> design = _example.design()
    >>> order_of(with_order(score(design), rank_scores(design)), design).attrs
    {'estimator': 'adjusted', 'encoders': 4}
    """
    if RANK_SCORE not in scores:
        return order_of_pairs(results, protocol=scores.attrs["protocol"])
    facts = {name: scores.attrs[f"rank_{name}"] for name in ("estimator", "encoders")}
    ends = scores.attrs["rank_reliability_interval"]
    return xr.Dataset(
        {"reliability": scores.attrs["rank_reliability"], "reliability_interval": (BOUND, ends)}, {BOUND: list(BOUNDS)}, facts
    )


def ordering(scores: xr.Dataset) -> str:
    """Return the column of scores that samples are ordered by: ``rank_score`` where there is one, else ``sslmem``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> ordering(score(_example.results()))
    'sslmem'
    """
    return RANK_SCORE if RANK_SCORE in scores else SSLMEM


def _reliability(values: np.ndarray, square: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the variance of scores that is not error, at least 0, in each bootstrap sample; NaN where they do not vary."""
    total = weights.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = weighted_sums(weights, values[:, None])[:, 0] / total
        spread = weighted_sums(weights, values[:, None] ** 2)[:, 0] / total - mean**2
        variance = spread * total / (total - 1)
        error = weighted_sums(weights, square[:, None])[:, 0] / total
        return np.where(variance > 0, np.maximum(1 - error / variance, 0), np.nan)


def order_caveat(found: xr.Dataset) -> str | None:
    """Sentence on an order that is not to be relied on; None where encoders were trained for an order.

    Parameters
    ----------
    found
        Of :func:`rank_scores`.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> order_caveat(rank_scores(_example.design()))
    >>> order_caveat(rank_scores(_example.results())).partition(":")[0]
    'pairs alone order single samples badly'
    """
    if found.attrs["estimator"] != UNRELIABLE:
        return None
    value, (low, high) = found["reliability"].item(), found["reliability_interval"].values
    known = f"reliability {value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite(value) else "reliability unknown"
    return f"pairs alone order single samples badly: {known}; what design.subsets trains orders them by leave-one-out"
