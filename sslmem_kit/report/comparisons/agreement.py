"""How the scores of a study agree, in a report: verdict in words, then tau with what the noise of trainings allows, and overlap at k."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.errors import join_names
from sslmem_kit.report.tables import plain, without_nan
from sslmem_kit.statistics.numbers import chance, number
from sslmem_kit.statistics.score_agreement import score_agreement
from sslmem_kit.statistics.score_overlap import score_overlap
from sslmem_kit.statistics.score_replicates import mean_scores, study_replicates
from sslmem_kit.statistics.t_tests import holm
from sslmem_kit.study import StudyResults

_OF_PAIR = (
    "tau",
    "tau_interval",
    "rho",
    "ceiling",
    "corrected",
    "corrected_interval",
    "corrected_tau",
    "above_one",
    "shared_noise",
    "n",
    "shared_seeds",
)


LEVEL = 0.05
"""Level of p-values that are adjusted for all pairs; a verdict needs the interval over samples and trainings to exclude 0, too."""


def as_json(study: StudyResults, *, protocol: str | None = None, partition: str = "candidate") -> dict[str, Any]:
    """Return ``agreement`` of a report.

    Returns
    -------
    Of :func:`of_replicates`; without pairs where the study has one score.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> found = as_json(open_study("papermill_runs/digits"))
    >>> [score["score"] for score in found["scores"]], found["pairs"]
    (['sslmem'], [])
    """
    replicates = study_replicates(study.scores(protocol), study.tree, partition=partition)
    return of_replicates(replicates, partition=partition)


def of_replicates(replicates: Mapping[str, xr.DataArray], *, partition: str = "candidate") -> dict[str, Any]:
    """Return the agreement of scores as a mapping.

    Parameters
    ----------
    replicates
        Of :func:`sslmem_kit.statistics.study_replicates`, or :func:`sslmem_kit.statistics.match_studies` of several studies.
    partition
        Whose samples these are.

    Returns
    -------
    ``partition``; ``scores``: a mapping each with ``score``, ``label``, ``seeds``, ``samples``, ``reliability`` and ``reliability_interval``;
    ``pairs``: a mapping each with ``first``, ``second``, the values of :func:`sslmem_kit.statistics.score_agreement`, ``p`` (of tau) and
    ``p_holm`` (over all pairs), ``verdict`` (``agree``, ``oppose`` or ``undecided``) and ``overlap``, rows of ``k``, ``share``, ``chance``,
    ``chance_low`` and ``chance_high``. What is not known is None.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> true = rng.normal(size=(200, 1))
    >>> coords = {"sample": np.arange(200), "seed": [0, 1, 2]}
    >>> found = of_replicates({name: xr.DataArray(true + rng.normal(size=(200, 3)), coords, ("sample", "seed")) for name in ("a", "b")})
    >>> found["pairs"][0]["verdict"], found["pairs"][0]["overlap"][0]["k"]
    ('agree', 10)
    """
    labels = {name: str(array.attrs.get("long_name", name)) for name, array in replicates.items()}
    scores = [{"score": name, "label": labels[name]} for name in replicates]
    if len(replicates) < 2:
        return {"partition": partition, "scores": scores, "pairs": []}
    found, tops = score_agreement(replicates), score_overlap(mean_scores(dict(replicates)))
    for row in scores:
        one = found.sel(score=row["score"])
        row |= {name: plain(one[name]) for name in ("seeds", "samples", "reliability", "reliability_interval")}
    pairs = [_pair(found.sel(score=a, other=b), tops.sel(score=a, other=b), a, b) for a, b in combinations(replicates, 2)]
    tested = [row for row in pairs if np.isfinite(row["p"])]
    for row, adjusted in zip(tested, holm(np.array([row["p"] for row in tested])) if tested else (), strict=True):
        row["p_holm"] = float(adjusted)
        row["verdict"] = row["verdict"] if adjusted < LEVEL else "undecided"
    return without_nan({"partition": partition, "scores": scores, "pairs": pairs})


def _pair(found: xr.Dataset, top: xr.Dataset, first: str, second: str) -> dict[str, Any]:
    low, high = found["tau_interval"].values
    shown = top.isel(k=np.flatnonzero(np.isfinite(top["share"].values)))
    columns = ("share", "chance", "chance_low", "chance_high", "p")
    return {
        "first": first,
        "second": second,
        "verdict": "agree" if low > 0 else "oppose" if high < 0 else "undecided",
        **{name: plain(found[name]) for name in _OF_PAIR},
        "p": float(found["tau_p"]),
        "p_holm": np.nan,
        "overlap": [{"k": int(k), **{name: float(shown[name].sel(k=k)) for name in columns}} for k in shown["k"].values],
    }


def as_text(found: Mapping[str, Any]) -> list[str]:
    """Return lines for a person, from :func:`as_json`: the verdict first.

    Examples
    --------
    >>> as_text({"partition": "candidate", "scores": [{"score": "sslmem", "label": "SSLMem"}], "pairs": []})
    ['agreement: there is one score, sslmem; `sslmem compare` measures others']
    """
    pairs = found["pairs"]
    if not pairs:
        names = [row["score"] for row in found["scores"]]
        there = f"there is one score, {names[0]}" if names else "there is no score"
        return [f"agreement: {there}; `sslmem compare` measures others"]
    lines = [f"agreement of {len(found['scores'])} scores over {found['partition']}s: {_verdict(pairs)}"]
    several = any((row["seeds"] or 0) > 1 for row in found["scores"])
    lines += [
        f"  {row['score']}: {_reliability(row)}, {row['samples']:,} samples, {row['seeds']} seed{'s' * (row['seeds'] != 1)}"
        for row in found["scores"]
    ]
    head = f"{'Kendall tau of':<34} {'tau':>6} {'95 %':>16} {'p (Holm)':>9} {'without noise':>13} {'95 %':>16} {'n':>7}"
    lines.append(f"  {head}")
    for row in pairs:
        name = f"{row['first']} and {row['second']}"
        corrected = "-" if row["corrected"] is None else number(row["corrected"], 2) + ("!" if row["above_one"] else "")
        lines.append(
            f"  {name:<34} {number(row['tau'], 2):>6} {_ends(row['tau_interval']):>16} {chance(row['p_holm']):>9} {corrected:>13} "
            f"{_ends(row['corrected_interval']):>16} {row['n']:>7,}"
        )
    over = "samples and trainings" if several else "samples, given these encoders"
    lines.append(
        f"  intervals are over {over}; without noise: the correlation that endless seeds would have, by seeds of different trainings "
        "(- where a reliability may be 0, ! an estimate above 1)"
    )
    return lines + [f"  {_overlap(row)}" for row in pairs if row["overlap"]]


def agreement_as_text(replicates: Mapping[str, xr.DataArray], *, partition: str = "candidate") -> list[str]:
    """Return lines for a person on the agreement of replicates, of :func:`of_replicates` and :func:`as_text`.

    Examples
    --------
    >>> agreement_as_text({})
    ['agreement: there is no score; `sslmem compare` measures others']
    """
    return as_text(of_replicates(replicates, partition=partition))


def _verdict(pairs: list[Mapping[str, Any]]) -> str:
    """Sentence on which pairs agree, oppose each other, or are undecided."""
    parts = []
    for kind, words in (("agree", "agree"), ("oppose", "order samples in opposite ways"), ("undecided", "are undecided")):
        here = [f"{row['first']} with {row['second']}" for row in pairs if row["verdict"] == kind]
        if here:
            named = join_names(here) if len(here) <= 3 else f"{join_names(here[:2])} and {len(here) - 2} more"
            parts.append(f"{len(here)} of {len(pairs)} pair{'s' * (len(pairs) != 1)} {words} ({named})")
    alike = [
        row
        for row in pairs
        if row["corrected_interval"] and None not in row["corrected_interval"] and row["corrected_interval"][0] > 0
    ]
    whole = [f"{row['first']} with {row['second']}" for row in alike if row["corrected_interval"][1] >= 0.999]
    if whole:
        parts.append(f"as much as their noise allows: {join_names(whole)}")
    return "; ".join(parts)


def _reliability(row: Mapping[str, Any]) -> str:
    value = row["reliability"]
    return "reliability unknown" if value is None else f"reliability {value:.2f} {_ends(row['reliability_interval'])}"


def _overlap(row: Mapping[str, Any]) -> str:
    shown = row["overlap"]
    parts = [f"{top['share']:.0%} of {top['k']} ({top['chance_low']:.0%} to {top['chance_high']:.0%})" for top in shown]
    return f"highest of {row['first']} and {row['second']} in common (unrelated orders, 95 %): {', '.join(parts)}"


def _ends(interval: list[float | None] | None) -> str:
    return "-" if not interval or None in interval else f"[{interval[0]:.2f}, {interval[1]:.2f}]"
