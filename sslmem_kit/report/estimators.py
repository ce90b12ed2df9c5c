"""Comparison of estimators in a report."""

from __future__ import annotations

import math
from typing import Any

import xarray as xr

from sslmem_kit.names import ESTIMATOR
from sslmem_kit.report.tables import plain, rows

_KEYS = (
    "seeds",
    "repetitions",
    "encoders",
    "encoder_epochs",
    "scored",
    "bias",
    "bias_interval",
    "rmse",
    "rmse_interval",
    "rank_correlation",
    "rank_correlation_interval",
    "coverage",
)
"""Keys of a row, in their order."""


def as_json(compared: xr.Dataset) -> dict[str, Any]:
    """Mapping of :func:`sslmem_kit.statistics.compare_estimators`: ``truth``, ``estimators``, a row for each and each number of seeds, and
    ``views``, whether these are scored on ``others`` than the truth or on ``the same``; ``left_out`` says whether encoders miss
    single ``samples`` or the whole ``groups`` of a study.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import compare_estimators
    >>> found = as_json(compare_estimators(_example.design(), epochs=10))
    >>> [(row["estimator"], row["seeds"]) for row in found["estimators"]]
    [('pairs', 1), ('pairs', 2), ('pairs', 3), ('subsets', 1), ('subsets', 2), ('adjusted', 1), ('adjusted', 2)]
    >>> found["truth"]["n"], round(found["truth"]["ceiling"], 2)
    (5, 0.99)
    """
    counts = ("n", "seeds", "encoders", "encoder_epochs", "mean", "sd", "standard_error", "reliability")
    return {
        "truth": {**{name: plain(compared[f"truth_{name}"]) for name in counts}, "ceiling": plain(compared["attenuation_limit"])},
        "views": compared.attrs["views"],
        "left_out": compared.attrs["left_out"],
        "estimators": [
            {"estimator": str(name), **{key: row[key] for key in _KEYS}}
            for name in compared[ESTIMATOR].values
            for row in rows(compared.sel({ESTIMATOR: name}), "seeds")
            if row["repetitions"]
        ],
    }


def as_text(compared: dict[str, Any]) -> list[str]:
    """Lines for a person, from :func:`as_json` or its form without NaN.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import compare_estimators
    >>> as_text(as_json(compare_estimators(_example.design(), epochs=10)))[0].partition(":")[0]
    'exact leave-one-out of 5 samples, 2 seeds (120 encoder-epochs)'
    """
    truth = compared["truth"]
    reliability, ceiling = (_short(truth[name], ".2f") for name in ("reliability", "ceiling"))
    whole = compared["left_out"] == "groups"
    lines = [
        f"exact leave-one-{'group-' if whole else ''}out of {truth['n']} samples{', each with its whole group' if whole else ''}, "
        f"{truth['seeds']} seeds ({truth['encoder_epochs']:,} encoder-epochs): mean "
        f"{truth['mean']:+.5f}, sd {truth['sd']:.5f}, standard error {truth['standard_error']:.5f}, reliability {reliability}; "
        f"a perfect estimator's rank correlation with it would be about {ceiling}",
        "the truth is scored on one half of the views, the estimators on the other, means over both ways"
        if compared["views"] == "others"
        else "truth and estimators share their views, which are too few to be split: what a view does under all encoders counts as agreement",
        f"{'estimator':<10} {'seeds':>5} {'encoder-epochs':>14} {'scored':>6} {'bias':>27} {'RMSE':>29} {'rank correlation':>20} "
        f"{'coverage':>8}",
    ]
    if whole:
        lines.insert(1, "subsets cut whole groups too: they score what a sample's group does to it; pairs leave out all candidates")
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
