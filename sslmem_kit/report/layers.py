"""Layers and units of a report."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.names import LAYER, PARTITION
from sslmem_kit.report.tables import plain, rows, rows_of_tests
from sslmem_kit.statistics import layer_scores, layer_table, layer_tests, strongest_seen, unit_table
from sslmem_kit.statistics.numbers import chance
from sslmem_kit.store import LAYERS, UNITS

COMPARED = (
    "compare layers, and studies with other numbers of pairs, by `closer by`: by what share of the layer's distance candidates are closer for "
    "training, against shared; the unit of d is the noise of training, which shrinks with pairs"
)
ONE_PAIR = "; how much either changes with the training seed is not known without two pairs of f and g"
"""Which effect compares, and what cannot be said of it."""


def localized(tree: xr.DataTree) -> dict[str, Any]:
    """Rows of a report on a study with layers: ``layers``, ``units``, ``unit_rule`` and ``strongest_seen``; empty of another.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = localized(_example.tree())
    >>> {name: len(table) for name, table in found.items() if name != "unit_rule"}
    {'layers': 3, 'units': 2, 'strongest_seen': 3}
    >>> list(found["layers"][0])
    ['layer', 'partitions', 'tests', 'effect', 'effect_interval', 'relative_effect', 'relative_effect_interval', 'over', 'n_seeds']
    >>> found["layers"][0]["over"]
    {'effect': 'samples', 'relative_effect': 'seeds'}
    """
    if LAYERS not in tree.children:
        return {}
    scores = layer_scores(tree)
    table, tests = layer_table(scores), layer_tests(scores)
    layers = [
        {
            "layer": str(name),
            "partitions": {row.pop(PARTITION): row for row in rows(table.sel({LAYER: name}), PARTITION)},
            "tests": rows_of_tests(tests.sel({LAYER: name})),
            **{
                key: plain(table[key].sel({LAYER: name}))
                for key in ("effect", "effect_interval", "relative_effect", "relative_effect_interval")
            },
            "over": {"effect": "samples", "relative_effect": "seeds"},
            "n_seeds": plain(table["n_seeds"]),
        }
        for name in table[LAYER].values
    ]
    if UNITS not in tree.children:
        return {"layers": layers}
    names = {"n_units": "n_units", "mean": "mean", "quantiles": "unit_mem", "standard_error": "standard_error", "null": "null"}
    by_layer = unit_table(tree)
    units = [{"layer": row["layer"], **{key: row[name] for key, name in names.items()}} for row in rows(by_layer, LAYER)]
    keys = ("layer", "n_units", "n_samples", "share", "null_mean", "null_interval", "p")
    seen = [{key: row[key] for key in keys} for row in rows(strongest_seen(tree), LAYER)]
    return {"layers": layers, "units": units, "unit_rule": by_layer.attrs["rule"], "strongest_seen": seen}


def as_text(found: dict[str, Any]) -> list[str]:
    """Lines for a person, from :func:`localized` or its form without NaN.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> [line.split()[0] for line in as_text(localized(_example.tree()))]
    ['layer', 'stem', 'block', 'head', 'compare', 'UnitMem:', 'strongest']
    """
    units = {row["layer"]: row for row in found.get("units", ())}
    lines = [
        f"{'layer':<24} {'candidate':>10} {'shared':>9} {'d (C>S)':>8} {'95 %, samples':>16} {'p (C>S)':>9} "
        f"{'closer by':>9} {'95 %, seeds':>17} {'UnitMem':>8} {'null':>6}"
    ]
    for row in found["layers"]:
        means = [row["partitions"].get(name, {}).get("mean") for name in ("candidate", "shared")]
        candidate, shared = ("-" if mean is None else f"{mean:+.4f}" for mean in means)
        d, p = row["effect"], next((test["p"] for test in row["tests"] if test["alternative"] == "C>S"), None)
        low, high = row["effect_interval"]
        effect = ("-", "-") if _is_unknown(d) else (f"{d:+.2f}", f"[{low:+.2f}, {high:+.2f}]")
        share, ends = row["relative_effect"], row["relative_effect_interval"]
        closer = "-" if _is_unknown(share) else f"{share:+.2%}"
        over_seeds = "-" if _is_unknown(ends[0]) else "[{:+.2%}, {:+.2%}]".format(*ends)
        tested = chance(p)
        unit = units.get(row["layer"])
        median, null = (_two_digits(value) for value in (unit["quantiles"][2], unit["null"])) if unit else ("-", "-")
        lines.append(
            f"{row['layer']:<24} {candidate:>10} {shared:>9} {effect[0]:>8} {effect[1]:>16} {tested:>9} "
            f"{closer:>9} {over_seeds:>17} {median:>8} {null:>6}"
        )
    lines.append(
        COMPARED + ("" if any(not _is_unknown(row["relative_effect_interval"][0]) for row in found["layers"]) else ONE_PAIR)
    )
    if units:
        lines.append(f"UnitMem: median over units, {found['unit_rule']}; null: the mean of samples chosen at random")
    for row in found.get("strongest_seen", ())[:1]:
        if row["n_units"]:
            low, high = row["null_interval"]
            lines.append(
                f"strongest sample of a unit seen in training: {row['share']:.1%} of {row['n_units']:,} units, "
                f"chance {row['null_mean']:.1%} [{low:.1%}, {high:.1%}], p {row['p']:.2g}"
            )
    return lines


def _two_digits(value: float | None) -> str:
    return "-" if _is_unknown(value) else f"{value:.2f}"


def _is_unknown(value: float | None) -> bool:
    return value is None or not np.isfinite(value)
