"""Scores by the common policy, beside those by a study's own: what studies whose views differ are compared by."""

from __future__ import annotations

from typing import Any

from sslmem_kit import statistics
from sslmem_kit.names import PARTITION
from sslmem_kit.report.tables import by_coordinate, rows_of_tests
from sslmem_kit.statistics.effect import OVER, by_name
from sslmem_kit.statistics.numbers import chance, number
from sslmem_kit.store import COMMON
from sslmem_kit.study import AuditStudy, Study


def common_policy(study: Study | AuditStudy, protocol: str) -> dict[str, Any]:
    """Return ``common`` of a report on a study with ``scoring.common_policy``; empty for another.

    Returns
    -------
    ``policy`` and ``own_policy`` (names), ``same`` (whether they are one); ``mean``, ``sd``, ``n`` and ``interval`` of ``sslmem`` by partition,
    as in the report; ``range``; ``effect`` and ``tests``.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> common_policy(open_study("papermill_runs/digits"), "corrected")
    {}
    """
    scoring = study.spec.scoring
    if scoring.common_policy is None or scoring.policy is None:
        return {}
    scores = study.common_scores(protocol)
    summary = statistics.partition_summary(scores)
    return {
        "common": {
            "policy": scoring.common_policy.name,
            "own_policy": scoring.policy.name,
            "same": COMMON not in study.tree.children,
            **{key: by_coordinate(summary[key], PARTITION) for key in ("mean", "sd", "n", "interval")},
            "range": scores.attrs.get("range"),
            "effect": by_name(statistics.effects(scores)),
            "tests": rows_of_tests(statistics.partition_tests(scores)),
        }
    }


def as_text(common: dict[str, Any]) -> list[str]:
    """Return lines for a person, from ``common`` of :func:`common_policy` or its form without NaN.

    Examples
    --------
    >>> common = {"policy": "simclr", "own_policy": "crop", "same": True}
    >>> as_text(common)
    ["scored by the common policy simclr, which is this study's own: compare studies by the numbers above"]
    """
    if common["same"]:
        return [f"scored by the common policy {common['policy']}, which is this study's own: compare studies by the numbers above"]
    lines = [
        f"above: scored by this study's own policy {common['own_policy']}; below: by the common policy {common['policy']}, by which "
        "studies of different views are compared",
        f"{'partition':<12} {'n':>8} {'mean':>10} {'95 % over samples':>23} {'sd':>9}",
    ]
    for name, mean in common["mean"].items():
        interval = f"[{', '.join(number(bound) for bound in common['interval'][name])}]"
        lines.append(f"{name:<12} {common['n'][name]:>8,} {number(mean):>10} {interval:>23} {number(common['sd'][name]):>9}")
    for name, one in common["effect"].items():
        if one["value"] is not None:
            interval = f"[{', '.join(number(bound) for bound in one['interval'])}]"
            lines.append(
                f"{name} by the common policy: {number(one['value'])} {interval} over {OVER[one['over']]}; Cohen's d "
                f"{number(one['cohens_d'], 2)}, p {chance(one['p'])} over samples"
            )
    return lines
