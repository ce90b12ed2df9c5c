"""Extremes: what the samples that score highest are worth, for they are chosen by the very error that their scores hold.

The eight highest by two pairs of encoders average 73 (1/1000) in one study, and 38 under a third pair. Two ways around it:

``shrunken``       of each sample, ``mean + reliability (score - mean)``, mean and reliability being those of its partition: what other
                   encoders and views are expected to give it. The mean of chosen samples is then about right, whatever chose them by
                   score. Within a partition the order is that of the scores.
``cross_fitted``   of a chosen set: chosen by all seeds but one and half of the views, measured by that seed and the other half, mean over
                   all such ways. It assumes nothing of the errors; its sets are chosen by a little less than all there is.
``by_halves``      of a chosen set where views are not known apart, as over epochs: chosen by one half of the seeds, measured by the other,
                   both ways.

Ways that share seeds are not independent: the spread of what the seeds measure is too small (of noise alone intervals by it cover 88 % with
three seeds and 76 % with ten, for 95 %). Intervals are by the jackknife over seeds, with Student's t; it is conservative.

Why the mean is the partition's and not the null's: towards the null's the candidates' mean itself would shrink, and with it their
memorization.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    ``cross_fitted_interval`` (:func:`over_seeds`) on ``bound``; both in units of the raw difference. The scalars ``n``
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
    halves = [(choose.by_seed(), measure.by_seed()) for choose, measure in _halves(table)]
    rows = []
    for sign in (1, -1):

        def measured(seeds: Sequence[int], sign: int = sign) -> np.ndarray:
            """Mean of the chosen under each seed, chosen by the others."""
            totals = [choose[:, list(seeds)].sum(axis=1) for choose, _ in halves]
            return np.array(
                [
                    [
                        measure[highest(sign * (total - choose[:, seed]), count), seed].mean()
                        for total, (choose, measure) in zip(totals, halves, strict=True)
                    ]
                    for seed in seeds
                ]
            ).mean(axis=1)

        known = table.seeds > 1 and table.n > 0
        mean, ends = over_seeds(measured, table.seeds) if known else (np.nan, (np.nan, np.nan))
        scores = table.scores() if table.seeds and table.n else np.full(table.n, np.nan)
        rows.append((scores[highest(sign * scores, count)].mean() if count else np.nan, mean, ends))
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
    '+0.1157, under seeds that did not choose them +0.1201 [+0.0133, +0.2270]'
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


def by_halves(differences: np.ndarray, count: int) -> tuple[float, tuple[float, float]]:
    """Mean score of the samples that score highest by one half of the seeds, under the other half, both ways.

    Parameters
    ----------
    differences
        Scores by each seed, (sample, seed).
    count
        Number of samples that are chosen.

    Returns
    -------
    The mean over seeds, and its 95 % interval of :func:`over_seeds`; NaN with one seed. Halves are runs of seeds, going round: of S seeds each
    run of S // 2 chooses for the others, and the others for it.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(size=(200, 4))
    >>> mean, (low, high) = by_halves(noise, 20)
    >>> bool(low < 0 < high), round(float(np.sort(noise.mean(axis=1))[-20:].mean()), 1)
    (True, 0.8)
    """
    if differences.shape[1] < 2:
        return np.nan, (np.nan, np.nan)

    def measured(seeds: Sequence[int]) -> np.ndarray:
        found: dict[int, list[float]] = {seed: [] for seed in seeds}
        for start in range(len(seeds)):
            turned = [*seeds[start:], *seeds[:start]]
            halves = turned[: len(seeds) // 2], turned[len(seeds) // 2 :]
            for choose, measure in (halves, halves[::-1]):
                chosen = highest(differences[:, choose].mean(axis=1), count)
                for seed in measure:
                    found[seed].append(differences[chosen, seed].mean())
        return np.array([np.mean(values) for values in found.values()])

    return over_seeds(measured, differences.shape[1])


def over_seeds(measured: Callable[[Sequence[int]], np.ndarray], seeds: int) -> tuple[float, tuple[float, float]]:
    """Mean of what seeds measure, and its 95 % interval by the jackknife over seeds.

    Parameters
    ----------
    measured
        Function of the positions of at least two seeds: what each measures of sets that others of them choose.
    seeds
        Number of seeds, at least two. Of two none can be left out: what they measure of each other's sets is taken to be wholly correlated.

    References
    ----------
    Efron and Stein, Annals of Statistics 9 (1981): the jackknife's variance is not below the true one on average.

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 4.0])
    >>> mean, (low, high) = over_seeds(lambda seeds: values[list(seeds)], 3)
    >>> round(mean, 2), round(high - mean, 2)  # as Student's, where seeds share nothing
    (2.33, 3.79)
    """
    values = measured(range(seeds))
    if seeds == 2:
        error = float(values.std(ddof=1))
    else:
        without = [measured([other for other in range(seeds) if other != seed]).mean() for seed in range(seeds)]
        error = float(np.sqrt((seeds - 1) * np.var(without)))
    mean, reach = float(values.mean()), error * float(special.stdtrit(seeds - 1, 0.975))
    return mean, (mean - reach, mean + reach)
