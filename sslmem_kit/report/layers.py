"""Layers and units of a report."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.statistics.layers import layer_scores, layer_table
from sslmem_kit.statistics.units import strongest_seen, unit_table
from sslmem_kit.store import LAYERS, UNITS


def localized(tree: xr.DataTree) -> dict[str, Any]:
    """What the report holds of a study with layers: ``layers``, ``units`` and ``strongest_seen``; empty of another."""
    if LAYERS not in tree.children:
        return {}
    told: dict[str, Any] = {"layers": layer_table(layer_scores(tree))}
    return {**told, "units": unit_table(tree), "strongest_seen": strongest_seen(tree)} if UNITS in tree.children else told


def as_text(told: dict[str, Any]) -> list[str]:
    """Lines of a report for a person, of :func:`localized`."""
    unit_mem = {row["layer"]: row["quantiles"][2] for row in told.get("units", ())}
    lines = [f"{'layer':<24} {'candidate':>10} {'shared':>9} {'d (C>S)':>8} {'95 % interval':>17} {'p (C>S)':>9} {'UnitMem':>8}"]
    for row in told["layers"]:
        means = [row["partitions"].get(name, {}).get("mean") for name in ("candidate", "shared")]
        candidate, shared = ("-" if mean is None else f"{mean:+.4f}" for mean in means)
        d, p = row["effect"], next((test["p"] for test in row["tests"] if test["alternative"] == "C>S"), None)
        low, high = row["effect_interval"]
        effect = ("-", "-") if d is None or not np.isfinite(d) else (f"{d:+.2f}", f"[{low:+.2f}, {high:+.2f}]")
        tested = "-" if p is None else f"{p:.2g}"
        median = f"{unit_mem[row['layer']]:.2f}" if row["layer"] in unit_mem else "-"
        lines.append(f"{row['layer']:<24} {candidate:>10} {shared:>9} {effect[0]:>8} {effect[1]:>17} {tested:>9} {median:>8}")
    for row in told.get("strongest_seen", ())[:1]:
        if row["n_units"]:
            low, high = row["null_interval"]
            lines.append(
                f"strongest sample of a unit seen in training: {row['share']:.1%} of {row['n_units']:,} units, "
                f"chance {row['null_mean']:.1%} [{low:.1%}, {high:.1%}], p {row['p']:.2g}"
            )
    return lines
