"""Estimators of SSLMem side by side: one pair, several pairs, random-subset ensembles, exact leave-one-out.

All estimate m(x) of eq. 2, what an encoder's alignment of x loses when it is trained without x, and differ in what else they change and in
what they cost. All but ``adjusted`` (:mod:`sslmem_kit.scores.adjusted`) are :func:`sslmem_kit.scores.leave_out` over the encoders of one
design: score, errors and interval follow by the same rule, from the differences within each seed, whose encoders are coupled.

================= ========================================================= ==================================================
estimator         encoders of a seed                                        samples that it scores
================= ========================================================= ==================================================
``pairs``         f and g; g has independents in place of all candidates    candidates
``subsets``       one for each fold, trained without that fold              every sample of the train split
``adjusted``      those of ``subsets``                                      every sample of the train split
``leave_one_out`` one on f's samples, one without each of some candidates   these candidates
================= ========================================================= ==================================================

``pairs`` with one seed is the paper's estimator. Leave-one-out is eq. 2 itself: the others are measured against it. There a sample counts
as trained on by every encoder that has it, also by those that were trained without one other sample, which halves the variance; that one
is missing moves a score by about one in as many parts of it as there are samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import AUGMENTATION, BOUND, BOUNDS, ENCODER, ESTIMATOR, GROUP, SAMPLE, SSLMEM
from sslmem_kit.scores.estimators import design_of, estimate, seeds_of
from sslmem_kit.statistics.reliability import percentile_interval
from sslmem_kit.statistics.summary import STUDENT_BELOW, bootstrap_mean_interval

RESAMPLES = 2000
"""Bootstrap samples, for the intervals of :func:`compare_estimators`."""
RANK_RESAMPLES = 400
"""Bootstrap samples that are ranked, which takes longer."""
MIN_TRUTH_SAMPLES = 5
"""Samples of the truth below which nothing is compared with it."""
COMPARED = ("pairs", "subsets", "adjusted")
"""Estimators that are measured against the exact leave-one-out."""
COUNTS = ("repetitions", "encoders", "encoder_epochs", "scored")
ERRORS = ("bias", "rmse", "rank_correlation")


def compare_estimators(results: xr.Dataset, *, protocol: str = "corrected", epochs: int, seed: int = 0) -> xr.Dataset:
    """Every estimator of a study, at several numbers of seeds, against its exact leave-one-out.

    The truth is scored on other random views than the estimators: what a view does to a sample under all encoders would otherwise count as
    agreement. Views are split in two halves, one for each, and all numbers are means over both ways. Where there are too few (one; with
    protocol ``paper`` three) both have all, and the attribute ``views`` says ``the same``, else ``others``.

    Parameters
    ----------
    results
        Root of a store with encoders of design ``leave_one_out``.
    protocol
        As in :func:`sslmem_kit.scores.estimate`.
    epochs
        Of one encoder's training.
    seed
        Of the bootstrap over samples.

    Returns
    -------
    On (``estimator``, ``seeds``), where an estimator has so many:

    - ``repetitions`` (disjoint groups of seeds that are averaged over; 0 where there are none, and then the rest is 0 or NaN),
      ``encoders``, ``encoder_epochs`` (the cost), ``scored`` samples;
    - over the samples of the truth ``bias``, ``rmse`` (the truth's own error taken off) and ``rank_correlation`` (Spearman), each with
      ``..._interval`` (95 %, bootstrap over samples, that of the bias with fewer than 30 of them Student's) on ``bound`` too;
    - ``coverage``: the share of the 95 % intervals that hold the truth, both errors considered; NaN with one seed.

    Of the truth, as scalars: ``truth_n`` samples, ``truth_seeds``, ``truth_encoders``, ``truth_encoder_epochs``, ``truth_mean`` and
    ``truth_sd`` of its scores, their ``truth_standard_error`` (root mean square), ``truth_reliability`` (the share of their variance that
    is not error) and ``attenuation_limit``, its square root: the correlation that a perfect estimator would have with this truth.

    Raises
    ------
    UserError
        No exact leave-one-out, or of fewer than two seeds, whose error is unknown, or of fewer than five samples.

    References
    ----------
    The paper's eq. 2; Feldman and Zhang, NeurIPS 2020, for subsets; Spearman, American Journal of Psychology 15 (1904), for the limit.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> compared = compare_estimators(_example.design(), epochs=10)
    >>> compared["encoder_epochs"].to_series().unstack().to_dict("index")
    {'pairs': {1: 20, 2: 40, 3: 60}, 'subsets': {1: 20, 2: 40, 3: 0}, 'adjusted': {1: 20, 2: 40, 3: 0}}
    >>> compared["rmse"].sel(estimator="pairs", seeds=1).round(3).item(), compared["attenuation_limit"].round(2).item()
    (0.027, 0.99)
    """
    ways = _ways(results, protocol)
    truths = [estimate(_with_views(results, theirs), "leave_one_out", protocol=protocol) for _, theirs in ways]
    values, errors = np.stack([truth[SSLMEM].values for truth in truths]), np.stack([_errors(truth) for truth in truths])
    n, seeds = values.shape[1], truths[0].attrs["seeds"]
    if seeds < 2 or n < MIN_TRUTH_SAMPLES:
        raise UserError(
            f"estimators are compared with an exact leave-one-out of at least 2 seeds and {MIN_TRUTH_SAMPLES} samples; "
            f"design.leave_one_out of this study has {seeds} and {n}"
        )
    variance, square = values.var(axis=1, ddof=1).mean(), (errors**2).mean()
    with np.errstate(divide="ignore", invalid="ignore"):  # all scores are the same
        reliability = np.maximum(1 - square / variance, 0)
    rng = np.random.Generator(np.random.Philox(seed))
    resampled = rng.integers(0, n, (RESAMPLES, n))
    rows = {}
    for estimator in COMPARED:
        # Groups of seeds share alignments, which are therefore read once; these encoders are few beside those of the truth.
        design = design_of(results, estimator)
        if design == "leave_one_out":  # the truth itself
            continue
        loaded = results.isel({ENCODER: np.flatnonzero(results["design"].values == design)}).load()
        halves = [_with_views(loaded, ours) for ours, _ in ways]
        for group in _seed_groups(seeds_of(loaded, estimator)):
            estimates = [[estimate(half, estimator, protocol=protocol, seeds=part.tolist()) for part in group] for half in halves]
            rows[estimator, estimates[0][0].attrs["seeds"]] = _measured(estimates, truths, epochs=epochs, resampled=resampled)
    counts = sorted({number for _, number in rows})
    places = [[rows.get((estimator, number)) for number in counts] for estimator in COMPARED]
    shape, dims = (len(COMPARED), len(counts)), (ESTIMATOR, "seeds")
    nothing = (np.nan, np.nan)
    return xr.Dataset(
        {
            **{
                name: (dims, np.array([[row[name] if row else 0 for row in line] for line in places], int).reshape(shape))
                for name in COUNTS
            },
            **{
                name: (dims, np.array([[row[name] if row else np.nan for row in line] for line in places], float).reshape(shape))
                for name in (*ERRORS, "coverage")
            },
            **{
                f"{name}_interval": (
                    (*dims, BOUND),
                    np.array([[row[f"{name}_interval"] if row else nothing for row in line] for line in places], float).reshape(
                        *shape, 2
                    ),
                )
                for name in ERRORS
            },
            "truth_n": n,
            "truth_seeds": seeds,
            "truth_encoders": truths[0].attrs["encoders"],
            "truth_encoder_epochs": truths[0].attrs["encoders"] * epochs,
            "truth_mean": values.mean(),
            "truth_sd": np.sqrt(variance),
            "truth_standard_error": np.sqrt(square),
            "truth_reliability": reliability,
            "attenuation_limit": np.sqrt(reliability),
        },
        {ESTIMATOR: list(COMPARED), "seeds": counts, BOUND: list(BOUNDS)},
        {"views": "others" if len(ways) > 1 else "the same", "left_out": "groups" if _grouped(results) else "samples"},
    )


def _grouped(results: xr.Dataset) -> bool:
    """Whether encoders of subsets and of leave-one-out miss whole groups."""
    return GROUP in results.coords and len(np.unique(results[GROUP].values)) < results.sizes[SAMPLE]


def _ways(results: xr.Dataset, protocol: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random views of the estimators and of the truth: two halves, both ways; all for both where they are too few."""
    views = np.setdiff1d(np.union1d(results["view_a"].values, results["view_b"].values), [0])
    if len(views) < (2 if protocol == "released" else 4):
        return [(views, views)]
    return [(views[::2], views[1::2]), (views[1::2], views[::2])]


def _with_views(results: xr.Dataset, views: np.ndarray) -> xr.Dataset:
    """Results of the clean image and these random views alone."""
    kept = np.isin(results["view_a"].values, [0, *views]) & np.isin(results["view_b"].values, [0, *views])
    return results if kept.all() else results.isel({AUGMENTATION: np.flatnonzero(kept)})


def _errors(truth: xr.Dataset) -> np.ndarray:
    """Standard errors of the truth; over encoders alone where views are too few for their part."""
    error = truth["standard_error"].values
    return error if np.isfinite(error).any() else truth["standard_error_encoders"].values


def _seed_groups(seeds: np.ndarray) -> list[list[np.ndarray]]:
    """Return, for 1, 2, 4, ... and all seeds, as many disjoint groups of so many as there are."""
    sizes = [size for size in 2 ** np.arange(20) if size < len(seeds)] + ([len(seeds)] if len(seeds) else [])
    return [[seeds[start : start + size] for start in range(0, len(seeds) - size + 1, size)] for size in sizes]


def _measured(
    estimates: Sequence[Sequence[xr.Dataset]], truths: Sequence[xr.Dataset], *, epochs: int, resampled: np.ndarray
) -> dict[str, float | tuple[float, float]]:
    """Errors of an estimator against the truth, means over its estimates by disjoint groups of seeds, and over the ways to split the
    views."""
    at_truth = [[scores.sel({SAMPLE: truth[SAMPLE]}) for scores in group] for group, truth in zip(estimates, truths, strict=True)]
    found, reach, known, own, square = (
        np.stack([value for group, truth in zip(at_truth, truths, strict=True) for value in function(group, truth)])
        for function in (
            lambda group, _: [scores[SSLMEM].values for scores in group],
            lambda group, _: [(scores["high"] - scores["low"]).values / 2 for scores in group],
            lambda group, truth: [truth[SSLMEM].values] * len(group),
            lambda group, truth: [(truth["high"] - truth["low"]).values / 2] * len(group),
            lambda group, truth: [_errors(truth) ** 2] * len(group),
        )
    )
    error = found - known
    mean_error = error.mean(axis=0)
    mean_square = (error**2 - square).mean(axis=0)
    functions = {  # of samples by position, (..., sample)
        "bias": lambda chosen: mean_error[chosen].mean(axis=-1),
        "rmse": lambda chosen: np.sqrt(np.maximum(mean_square[chosen].mean(axis=-1), 0)),
        "rank_correlation": lambda chosen: np.mean(
            [_spearman(row[chosen], true[chosen]) for row, true in zip(found, known, strict=True)], axis=0
        ),
    }
    row: dict[str, float | tuple[float, float]] = {
        "repetitions": len(estimates[0]),
        "encoders": estimates[0][0].attrs["encoders"],
        "encoder_epochs": estimates[0][0].attrs["encoders"] * epochs,
        "scored": estimates[0][0].sizes[SAMPLE],
    }
    for name, function in functions.items():
        row[name] = float(function(np.arange(found.shape[1])))
        row[f"{name}_interval"] = percentile_interval(
            function(resampled[:RANK_RESAMPLES] if name == "rank_correlation" else resampled)
        )
    if found.shape[1] < STUDENT_BELOW:
        row["bias_interval"] = bootstrap_mean_interval(mean_error)
    both = np.hypot(reach, own)
    row["coverage"] = float((np.abs(error) <= both).mean()) if np.isfinite(both).all() else np.nan
    return row


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rank correlation of each row, (..., sample) twice; NaN where all values of a row are the same."""
    x, y = (scipy.stats.rankdata(values, axis=-1) for values in (first, second))
    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (x * y).sum(axis=-1) / np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
