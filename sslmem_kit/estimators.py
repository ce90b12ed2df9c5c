"""Estimators of SSLMem side by side: one pair, several pairs, random-subset ensembles, exact leave-one-out.

All estimate m(x) of eq. 2, what an encoder's alignment of x loses when it is trained without x, and differ in what else they change and in
what they cost. All are :func:`sslmem_kit.scores.leave_out` over the encoders of one design: score, errors and interval follow by the same
rule, from the differences within each seed, whose encoders are coupled.

================= ========================================================= ==================================================
estimator         encoders of a seed                                        samples that it scores
================= ========================================================= ==================================================
``pairs``         f and g; g lacks all candidates and has independents      candidates
``subsets``       one for each fold, trained without that fold              every sample of the train side
``leave_one_out`` one on f's samples, one without each of some candidates   these candidates
================= ========================================================= ==================================================

``pairs`` with one seed is the paper's estimator. Leave-one-out is eq. 2 itself: the others are measured against it. There a sample counts as
trained on by every encoder that has it, also by those that lack one other sample, which halves the variance; that they do lack one moves
a score by about one in as many parts of it as there are samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import ALIGNMENT, ENCODER, PARTITION_CODE, SAMPLE, SSLMEM, TRAINED_ON
from sslmem_kit.scores import leave_out, select_protocol

DESIGN_OF = {"pairs": "pair", "subsets": "subset", "leave_one_out": "leave_one_out"}
"""The encoders that an estimator rests on, by their ``design`` in the store."""

RESAMPLES = 2000
"""Of the samples, for the intervals of :func:`compare`."""


def estimate(results: xr.Dataset, estimator: str, *, protocol: str = "corrected", seeds: Sequence[int] | None = None) -> xr.Dataset:
    """Scores of the samples that an estimator can score.

    Parameters
    ----------
    results
        Root of a results store.
    estimator
        ``pairs``, ``subsets`` or ``leave_one_out``.
    protocol
        ``paper``, ``released`` or ``corrected``; scores are raw differences whatever the protocol.
    seeds
        Those that the scores rest on; None: all of the estimator's.

    Returns
    -------
    As :func:`sslmem_kit.scores.leave_out`; the attrs name ``estimator`` and ``protocol``, and count ``encoders`` and ``seeds``.

    Raises
    ------
    UserError
        An unknown estimator, or one whose encoders the study does not have.
    """
    if estimator not in DESIGN_OF:
        raise UserError(f"estimator: there is none named {estimator!r}, choose one of {', '.join(DESIGN_OF)}")
    designs = results["design"].values if "design" in results.coords else np.full(results.sizes[ENCODER], "pair", object)
    chosen = designs == DESIGN_OF[estimator]
    if seeds is not None:
        chosen &= np.isin(results["seed"].values, seeds)
    if not chosen.any():
        there = ", ".join(name for name, design in DESIGN_OF.items() if design in designs)
        raise UserError(
            f"estimator: {estimator!r} has no encoders in this study, which has those of {there}; see design in its spec"
        )
    results = results.isel({ENCODER: np.flatnonzero(chosen)})
    trained = results[TRAINED_ON].transpose(SAMPLE, ENCODER).values
    scored = trained.any(axis=1) & ~trained.all(axis=1)
    if estimator == "pairs":  # what g alone was trained on is no sample of f's
        scored &= results["partition"].values == PARTITION_CODE["candidate"]
    results = results.isel({SAMPLE: np.flatnonzero(scored)})
    scores = leave_out(select_protocol(results[ALIGNMENT], protocol), results[TRAINED_ON])
    scores.attrs = {
        "estimator": estimator,
        "protocol": protocol,
        "encoders": int(chosen.sum()),
        "seeds": len(np.unique(results["seed"].values)),
    }
    return scores


def seeds_of(results: xr.Dataset, estimator: str) -> np.ndarray:
    """Seeds of an estimator's encoders, ascending; empty where the study has none."""
    if "design" not in results.coords:
        return np.unique(results["seed"].values) if estimator == "pairs" else np.empty(0, np.int64)
    return np.unique(results["seed"].values[results["design"].values == DESIGN_OF[estimator]])


def compare(results: xr.Dataset, *, protocol: str = "corrected", epochs: int, seed: int = 0) -> dict[str, Any]:
    """Every estimator of a study, at several numbers of seeds, against its exact leave-one-out.

    Parameters
    ----------
    results
        Root of a store with encoders of design ``leave_one_out``.
    protocol
        As in :func:`estimate`.
    epochs
        Of one encoder's training.
    seed
        Of the bootstrap over samples.

    Returns
    -------
    ``truth``: ``n`` samples, ``seeds``, ``encoders``, ``encoder_epochs``, ``mean`` and ``sd`` of the scores, their ``standard_error`` (root
    mean square), ``reliability`` (the share of their variance that is not error) and ``ceiling``, its square root: the correlation that a
    perfect estimator would have with this truth. ``estimators``: one mapping for each and each number of seeds, with ``estimator``,
    ``seeds``, ``repetitions`` (disjoint groups of seeds that are averaged over), ``encoders``, ``encoder_epochs`` (the cost), ``scored``
    samples, and over the samples of the truth ``bias``, ``rmse`` (the truth's own error taken off) and ``rank_correlation`` (Spearman),
    each with ``..._interval`` (95 %, bootstrap over samples), and ``coverage``: the share of the 95 % intervals that hold the truth, both
    errors considered; NaN with one seed.
    """
    truth = estimate(results, "leave_one_out", protocol=protocol)
    values, error = truth[SSLMEM].values, truth["standard_error"].values
    variance = values.var(ddof=1)
    reliability = max(0.0, 1 - float((error**2).mean() / variance))
    about = {
        "n": len(values),
        "seeds": truth.attrs["seeds"],
        "encoders": truth.attrs["encoders"],
        "encoder_epochs": truth.attrs["encoders"] * epochs,
        "mean": float(values.mean()),
        "sd": float(np.sqrt(variance)),
        "standard_error": float(np.sqrt((error**2).mean())),
        "reliability": reliability,
        "ceiling": float(np.sqrt(reliability)),
    }
    rng = np.random.Generator(np.random.Philox(seed))
    drawn = rng.integers(0, len(values), (RESAMPLES, len(values)))
    rows = []
    for estimator in ("pairs", "subsets"):
        for group in _seed_groups(seeds_of(results, estimator)):
            estimates = [estimate(results, estimator, protocol=protocol, seeds=part) for part in group]
            rows.append(_measured(estimator, estimates, truth, epochs=epochs, drawn=drawn))
    return {"truth": about, "estimators": rows}


def _seed_groups(seeds: np.ndarray) -> list[list[np.ndarray]]:
    """For 1, 2, 4, ... and all seeds: as many disjoint groups of so many as there are."""
    sizes = [size for size in 2 ** np.arange(20) if size < len(seeds)] + ([len(seeds)] if len(seeds) else [])
    return [[seeds[start : start + size] for start in range(0, len(seeds) - size + 1, size)] for size in sizes]


def _measured(
    estimator: str, estimates: Sequence[xr.Dataset], truth: xr.Dataset, *, epochs: int, drawn: np.ndarray
) -> dict[str, Any]:
    """How an estimator does against the truth, the mean over its estimates by disjoint groups of seeds."""
    known = truth[SSLMEM].values
    at_truth = [scores.sel({SAMPLE: truth[SAMPLE]}) for scores in estimates]
    found = np.stack([scores[SSLMEM].values for scores in at_truth])
    reach = np.stack([(scores["high"] - scores["low"]).values / 2 for scores in at_truth])
    own = ((truth["high"] - truth["low"]) / 2).values
    error, noise = found - known, truth["standard_error"].values ** 2
    ranks = np.argsort(np.argsort(found, axis=1), axis=1)

    def bias(chosen: np.ndarray) -> float:
        return float(error[:, chosen].mean())

    def rmse(chosen: np.ndarray) -> float:
        return float(np.sqrt(max(0.0, ((error**2)[:, chosen] - noise[chosen]).mean())))

    def rank_correlation(chosen: np.ndarray) -> float:
        true = scipy.stats.rankdata(known[chosen])
        return float(np.mean([np.corrcoef(scipy.stats.rankdata(row[chosen]), true)[0, 1] for row in ranks]))

    everything = np.arange(len(known))
    row: dict[str, Any] = {
        "estimator": estimator,
        "seeds": estimates[0].attrs["seeds"],
        "repetitions": len(estimates),
        "encoders": estimates[0].attrs["encoders"],
        "encoder_epochs": estimates[0].attrs["encoders"] * epochs,
        "scored": estimates[0].sizes[SAMPLE],
    }
    for name, function in {"bias": bias, "rmse": rmse, "rank_correlation": rank_correlation}.items():
        row[name] = function(everything)
        few = drawn[: 400 if name == "rank_correlation" else None]
        row[f"{name}_interval"] = tuple(np.percentile([function(chosen) for chosen in few], [2.5, 97.5]).tolist())
    within = np.abs(error) <= np.sqrt(reach**2 + own**2)
    row["coverage"] = float(within.mean()) if np.isfinite(reach).all() else np.nan
    return row


def as_text(compared: dict[str, Any]) -> list[str]:
    """What :func:`compare` returns, or its form without NaN, for a person."""
    truth = compared["truth"]
    lines = [
        f"exact leave-one-out of {truth['n']} samples, {truth['seeds']} seeds ({truth['encoder_epochs']:,} encoder-epochs): mean "
        f"{truth['mean']:+.5f}, sd {truth['sd']:.5f}, standard error {truth['standard_error']:.5f}, reliability {truth['reliability']:.2f}; "
        f"a perfect estimator's rank correlation with it would be about {truth['ceiling']:.2f}",
        f"{'estimator':<10} {'seeds':>5} {'encoder-epochs':>14} {'scored':>6} {'bias':>27} {'RMSE':>29} {'rank correlation':>20} "
        f"{'coverage':>8}",
    ]
    for row in compared["estimators"]:
        cells = [
            f"{row[name]:+.{digits}f} [{row[f'{name}_interval'][0]:+.{digits}f}, {row[f'{name}_interval'][1]:+.{digits}f}]"
            for name, digits in (("bias", 5), ("rmse", 5), ("rank_correlation", 2))
        ]
        coverage = row["coverage"]
        shown = "-" if coverage is None or math.isnan(coverage) else f"{coverage:.0%}"
        lines.append(
            f"{row['estimator']:<10} {row['seeds']:>5} {row['encoder_epochs']:>14,} {row['scored']:>6} {cells[0]:>27} {cells[1]:>29} "
            f"{cells[2]:>20} {shown:>8}"
        )
    return lines
