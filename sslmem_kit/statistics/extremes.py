"""Extremes: what the samples that score highest are worth, for they are chosen by the very error that their scores hold.

The eight highest by two pairs of encoders average 73 (1/1000) in one study, and 38 under a third pair. Two ways around it:

``shrunken``       of each sample, ``mean + reliability (score - mean)``, mean and reliability being those of its partition: what other
                   encoders and views are expected to give it. The mean of chosen samples is then about right, whatever chose them by
                   score. Within a partition the order is that of the scores. ``cross_fitted``   of a chosen set: chosen by all seeds but
                   one and half of the views, measured by that seed and the other half, mean over all such ways. It assumes nothing of the
                   errors; its sets are chosen by a little less than all there is.

Why the mean is the partition's and not the null's: towards the null's the candidates' mean itself would shrink, and with it their
memorization.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.names import BOUND, BOUNDS, PARTITION_CODE, SAMPLE
from sslmem_kit.statistics.agreement import highest
from sslmem_kit.statistics.variance_components import MIN_ORDERED_SAMPLES, CrossedScores

SHRUNKEN = "shrunken"
SHRUNK = ("candidate", "independent")
"""Partitions whose scores are shrunken: those of the others are the null, and have no order to be found."""


def with_shrunken(scores: xr.Dataset, results: xr.Dataset) -> xr.Dataset:
    """Scores with ``shrunken(sample)``, in units of ``difference``.

    Parameters
    ----------
    scores
        Of :func:`sslmem_kit.scores.score`.
    results
        Root of the results store, of the encoders that the scores rest on.

    Returns
    -------
    The scores with ``shrunken``: NaN of shared and extra samples, and where the reliability of a partition is not known (one pair of
    encoders, fewer than 10 samples). The attributes ``reliability_candidate`` and ``reliability_independent`` are the factors.

    References
    ----------
    Efron and Morris, Scientific American 236 (1977); Kelley, Fundamentals of statistics (1947), for the formula.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> results = _example.results()
    >>> found = with_shrunken(score(results), results)
    >>> round(found.attrs["reliability_candidate"], 2)
    0.97
    """
    difference, codes = scores["difference"].values, scores["partition"].values
    values, factors = np.full(len(difference), np.nan), {}
    for name in SHRUNK:
        members = codes == PARTITION_CODE[name]
        if members.sum() < MIN_ORDERED_SAMPLES:
            continue
        table = CrossedScores.of(results, scores.attrs["protocol"], name)
        factor = float(table.parts().reliability(table.seeds, table.views)) if table.seeds > 1 else np.nan
        if np.isfinite(factor):
            mean = np.nanmean(difference[members])
            values[members] = mean + factor * (difference[members] - mean)
            factors[f"reliability_{name}"] = factor
    return scores.assign({SHRUNKEN: (SAMPLE, values)}).assign_attrs(factors)


def cross_fitted(table: CrossedScores, count: int) -> xr.Dataset:
    """Mean score of the samples that score highest, and lowest, as it is and under encoders and views that did not choose them.

    Parameters
    ----------
    table
        Crossed scores of a partition.
    count
        Number of samples that are chosen.

    Returns
    -------
    On ``end`` (``highest``, ``lowest``): ``naive``, the mean of the chosen by all seeds and views; ``cross_fitted``, with its 95 %
    ``cross_fitted_interval`` (Student's over the seeds that measure) on ``bound``; both in units of the raw difference. The scalars ``n``
    (samples chosen), ``of``, ``seeds``; the attribute ``views`` says whether views are others too or ``the same``. With one seed
    ``cross_fitted`` is NaN.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = cross_fitted(CrossedScores.of(_example.results()), 2)
    >>> found["naive"].sel(end="highest").round(2).item(), found["cross_fitted"].sel(end="highest").round(2).item()
    (0.29, 0.3)
    """
    count = min(count, table.n)
    halves = _halves(table)
    rows = []
    for sign in (1, -1):
        by_seed = [np.mean([one[highest(sign * others, count)].mean() for others, one in ways]) for ways in _ways(table, halves)]
        mean = float(np.mean(by_seed)) if by_seed else np.nan
        reach = np.nan
        if len(by_seed) > 1:
            reach = float(np.std(by_seed, ddof=1) / np.sqrt(len(by_seed)) * special.stdtrit(len(by_seed) - 1, 0.975))
        scores = table.scores() if table.seeds and table.n else np.full(table.n, np.nan)
        rows.append((scores[highest(sign * scores, count)].mean() if count else np.nan, mean, (mean - reach, mean + reach)))
    return xr.Dataset(
        {
            "naive": ("end", [naive for naive, *_ in rows]),
            "cross_fitted": ("end", [mean for _, mean, _ in rows]),
            "cross_fitted_interval": (("end", BOUND), [ends for *_, ends in rows]),
            "n": count,
            "of": table.n,
            "seeds": table.seeds,
        },
        {"end": ["highest", "lowest"], BOUND: list(BOUNDS)},
        {"views": "others" if len(halves) > 1 else "the same"},
    )


def in_words(found: xr.Dataset) -> str:
    """Means of a chosen set in words.

    Parameters
    ----------
    found
        Of :func:`cross_fitted`, at one ``end``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> in_words(cross_fitted(CrossedScores.of(_example.results()), 2).sel(end="lowest"))
    '+0.1157, under seeds that did not choose them +0.1201 [+0.0598, +0.1805]'
    """
    naive, mean = found["naive"].item(), found["cross_fitted"].item()
    if not np.isfinite(mean):
        return f"{naive:+.4f}; under seeds that did not choose them it is not known, for there is but one"
    low, high = found["cross_fitted_interval"].values
    return f"{naive:+.4f}, under seeds that did not choose them {mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def _halves(table: CrossedScores) -> list[tuple[CrossedScores, CrossedScores]]:
    """Scores that choose and that measure, of two halves of the views both ways; of all views where they are too few."""
    views = np.setdiff1d(np.union1d(table.view_a, table.view_b), [0])
    if len(views) < (4 if table.protocol == "paper" else 2):
        return [(table, table)]
    first, second = (table.only(views=half.tolist()) for half in (views[::2], views[1::2]))
    return [(first, second), (second, first)]


def _ways(table: CrossedScores, halves: list[tuple[CrossedScores, CrossedScores]]) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """Yield, for each seed that measures, scores by the other seeds and scores by that one, for each way to halve the views."""
    if table.seeds < 2 or not table.n:
        return
    for seed in range(table.seeds):
        others = [number for number in range(table.seeds) if number != seed]
        yield [
            (
                replace(choose, differences=choose.differences[..., others]).scores(),
                replace(measure, differences=measure.differences[..., [seed]]).scores(),
            )
            for choose, measure in halves
        ]
