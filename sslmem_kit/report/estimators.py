"""The comparison of estimators, for a person."""

from __future__ import annotations

import math
from typing import Any


def as_text(compared: dict[str, Any]) -> list[str]:
    """What :func:`compare_estimators` returns, or its form without NaN, for a person."""
    truth = compared["truth"]
    reliability, ceiling = (_short(truth[name], ".2f") for name in ("reliability", "ceiling"))
    lines = [
        f"exact leave-one-out of {truth['n']} samples, {truth['seeds']} seeds ({truth['encoder_epochs']:,} encoder-epochs): mean "
        f"{truth['mean']:+.5f}, sd {truth['sd']:.5f}, standard error {truth['standard_error']:.5f}, reliability {reliability}; "
        f"a perfect estimator's rank correlation with it would be about {ceiling}",
        f"{'estimator':<10} {'seeds':>5} {'encoder-epochs':>14} {'scored':>6} {'bias':>27} {'RMSE':>29} {'rank correlation':>20} "
        f"{'coverage':>8}",
    ]
    for row in compared["estimators"]:
        cells = [
            "{} [{}, {}]".format(*(_short(value, form) for value in (row[name], *row[f"{name}_interval"])))
            for name, form in (("bias", "+.5f"), ("rmse", "+.5f"), ("rank_correlation", "+.2f"))
        ]
        lines.append(
            f"{row['estimator']:<10} {row['seeds']:>5} {row['encoder_epochs']:>14,} {row['scored']:>6} {cells[0]:>27} {cells[1]:>29} "
            f"{cells[2]:>20} {_short(row['coverage'], '.0%'):>8}"
        )
    return lines


def _short(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)
