"""Which score finds which planted samples, in a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sslmem_kit.errors import join_names
from sslmem_kit.names import PLANTED
from sslmem_kit.report.tables import plain, without_nan
from sslmem_kit.statistics.numbers import chance
from sslmem_kit.statistics.planted import planted_table
from sslmem_kit.statistics.score_replicates import study_replicates
from sslmem_kit.statistics.t_tests import holm
from sslmem_kit.study import StudyResults

LEVEL = 0.05
"""Level of p-values that are adjusted for all rows."""
_VALUES = ("auc", "interval", "p", "auc_of_seed", "interval_of_seed", "n_planted", "n_clean")


def as_json(study: StudyResults, *, protocol: str | None = None, partition: str = "candidate") -> dict[str, Any] | None:
    """Return ``planted`` of a report; None where nothing is planted.

    Returns
    -------
    ``partition`` and ``rows``, a mapping for each score and kind with both: ``score``, ``kind``, and the values of
    :func:`sslmem_kit.statistics.planted_table`; ``seeds``; ``p_holm``, p adjusted for all rows.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> as_json(open_study("papermill_runs/digits"))
    """
    if PLANTED not in study.tree.coords:
        return None
    replicates = study_replicates(study.scores(protocol), study.tree, partition=None)
    found = planted_table(replicates, study.results, partition=partition)
    rows = [
        {"score": str(score), "kind": str(kind), "seeds": int(found["seeds"].sel(score=score)), "p_holm": np.nan}
        | {name: plain(found[name].sel(score=score, kind=kind)) for name in _VALUES}
        for score in found["score"].values
        for kind in found["kind"].values
        if int(found["n_planted"].sel(score=score, kind=kind)) > 1
    ]
    tested = [row for row in rows if np.isfinite(row["p"])]
    for row, adjusted in zip(tested, holm(np.array([row["p"] for row in tested])) if tested else (), strict=True):
        row["p_holm"] = float(adjusted)
    return without_nan({"partition": partition, "rows": rows})


def as_text(found: Mapping[str, Any] | None) -> list[str]:
    """Return lines for a person, from :func:`as_json`: the verdict first.

    Examples
    --------
    >>> row = {"score": "sslmem", "kind": "noisy", "auc": 0.8, "interval": [0.7, 0.9], "p": 0.001, "p_holm": 0.001, "n_planted": 30,
    ...        "n_clean": 90, "auc_of_seed": None, "interval_of_seed": [None, None], "seeds": 1}
    >>> as_text({"partition": "candidate", "rows": [row]})[0]
    'planted samples among candidates: sslmem finds noisy'
    >>> as_text(None)
    []
    """
    if not found or not found["rows"]:
        return [] if not found else ["planted samples: fewer than two of each kind are scored, nothing can be said of them"]
    lines = [f"planted samples among {found['partition']}s: {_verdict(found['rows'])}"]
    lines.append(
        f"  {'score':<24} {'planted':<20} {'AUC':>5} {'95 % over samples':>18} {'p (Holm)':>9} {'a seed':>7} {'95 % with seeds':>16} {'n':>12}"
    )
    for row in found["rows"]:
        size = f"{row['n_planted']:,} / {row['n_clean']:,}"
        lines.append(
            f"  {row['score']:<24} {row['kind']:<20} {_auc(row['auc'])} {_ends(row['interval']):>18} {chance(row['p_holm']):>9} "
            f"{_auc(row['auc_of_seed']):>7} {_ends(row['interval_of_seed']):>16} {size:>12}"
        )
    lines.append("  AUC: probability that a planted sample is above a clean one; .5 is not seen, below .5 is ranked lower")
    return lines


def planted_as_text(study: StudyResults, *, protocol: str | None = None) -> list[str]:
    """Return lines for a person on a study's planted samples, of :func:`as_json` and :func:`as_text`; none where nothing is planted.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> planted_as_text(open_study("papermill_runs/digits"))
    []
    """
    return as_text(as_json(study, protocol=protocol))


def _verdict(rows: list[Mapping[str, Any]]) -> str:
    """Sentence on which score finds which kind: those whose AUC differs from .5, with p adjusted for all rows."""
    parts = []
    for score in dict.fromkeys(row["score"] for row in rows):
        own = [row for row in rows if row["score"] == score and row["p_holm"] is not None and row["p_holm"] < LEVEL]
        ways = (
            ("finds", [row["kind"] for row in own if row["auc"] > 0.5]),
            ("ranks below clean ones", [row["kind"] for row in own if row["auc"] < 0.5]),
        )
        said = [f"{verb} {join_names(kinds)}" for verb, kinds in ways if kinds]
        parts.append(f"{score} {' and '.join(said) if said else 'finds none'}")
    return "; ".join(parts)


def _auc(value: float | None) -> str:
    return "    -" if value is None else f"{value:5.2f}"


def _ends(interval: list[float | None] | None) -> str:
    return "-" if not interval or None in interval else f"[{interval[0]:.2f}, {interval[1]:.2f}]"
