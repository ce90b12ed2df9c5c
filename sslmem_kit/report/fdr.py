"""Memorized samples of a report: how many, and which, at a false-discovery rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.data.record import printable
from sslmem_kit.names import FILE, PARTITION
from sslmem_kit.report.tables import by_coordinate, plain, rows, whole

LISTED = 20
"""Discoveries that the text names."""


def as_json(found: xr.Dataset) -> dict[str, Any]:
    """Mapping of :func:`sslmem_kit.statistics.fdr_summary`: ``fdr``, ``n_null``, ``n_null_units``, ``unit`` (what counts in the null:
    ``sample`` or ``group``), ``null`` (its two halves), ``warnings`` (sentences on
    why the rate is not to be relied on), ``over`` (what the rate is a mean over), and a mapping each for ``candidate`` and
    ``independent``.

    Examples
    --------
    >>> from sslmem_kit.scores import score
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import fdr_summary
    >>> row = as_json(fdr_summary(score(_example.results()), 0.1))["candidate"]
    >>> row["n"], row["memorized"], len(row["samples"])
    (10, 10, 10)
    """
    halves = {
        str(name): {key: plain(found[f"null_{key}"].sel(half=name)) for key in ("n", "n_units", "mean", "sd")}
        for name in found["half"].values
    }
    scalars = {
        name: plain(found[f"null_{name}"]) for name in ("spread", "spread_interval", "distance", "p", "excess", "excess_high")
    }
    result: dict[str, Any] = {
        "fdr": found.attrs["fdr"],
        "n_null": plain(found["n_null"]),
        "n_null_units": plain(found["n_null_units"]),
        "unit": found.attrs["unit"],
        "null": {**halves, **scalars},
        "warnings": [found.attrs["warning"]] if found.attrs["warning"] else [],
        "over": "partitions and trainings",
    }
    for row in rows(found, PARTITION):
        name = row.pop(PARTITION)
        listed = found["discovered"][np.flatnonzero(found["listed_in"].values == name)]
        result[name] = {
            "n": row["n"],
            "memorized": row["memorized"],
            "memorized_by": by_coordinate(found["memorized_by"].sel({PARTITION: name}), "null"),
            "samples": plain(listed),
            **({"files": list(map(str, listed[FILE].values))} if FILE in listed.coords else {}),
            "share": row["share"],
            "threshold": row["threshold"],
            "fewest": whole(row["fewest"]),
            "null_for_one": row["null_for_one"],
            "null_for_any": row["null_for_any"],
            "not_memorized": row["null_proportion"],
            "not_memorized_interval": row["null_proportion_interval"],
        }
    return result


def as_text(found: dict[str, Any]) -> list[str]:
    """Lines for a person, from the form without NaN of :func:`as_json`.

    Examples
    --------
    >>> row = {"n": 3, "memorized": 1, "samples": [7], "share": 1 / 3, "threshold": 0.5, "fewest": 1, "not_memorized": 0.5,
    ...     "not_memorized_interval": [0.1, 0.9]}
    >>> print("\\n".join(as_text({"fdr": 0.1, "n_null": 99, "candidate": row, "independent": {"n": 0}})))
    memorized at a false-discovery rate of 0.1, against 99 shared and extra samples
    candidate    1 of 3 (33.3%), sslmem >= +0.5; about 50% [10%, 90%] of all are estimated not to be memorized
                 samples 7
    independent  nothing to test
    """
    grouped = found.get("unit") == "group"
    unit = "groups of null samples" if grouped else "null samples"
    lines = [f"memorized at a false-discovery rate of {found['fdr']:.3g}, against {found['n_null']:,} shared and extra samples"]
    if grouped:
        lines[0] += f" in {found['n_null_units']:,} groups, each of which counts once (data.groups)"
    for name, side in (("candidate", ">="), ("independent", "<=")):
        row = found[name]
        if not row["n"] or not found["n_null"]:
            lines.append(f"{name:<12} nothing to test" if not row["n"] else f"{name:<12} no null to test against")
            continue
        threshold = f", sslmem {side} {row['threshold']:+.4g}" if row["memorized"] else ""
        low, high = row["not_memorized_interval"]
        about = f"; about {row['not_memorized']:.0%} [{low:.0%}, {high:.0%}] of all are estimated not to be memorized"
        lines.append(f"{name:<12} {row['memorized']:,} of {row['n']:,} ({row['share']:.1%}){threshold}{about}")
        lines += _list_as_text(row)
        if row["fewest"] is None:
            lines.append(f"{'':<12} none is possible: that takes {row['null_for_any']:,} {unit} at least")
        elif row["fewest"] > 1:
            needed = f"one alone needs {row['null_for_one']:,} {unit}"
            lines.append(f"{'':<12} with this null the list has at least {row['fewest']:,} or none; {needed}")
    return lines + _null_as_text(found)


def _null_as_text(found: dict[str, Any]) -> list[str]:
    """Lines on the two halves of the null, and on what the rate is of."""
    null = found.get("null")
    if null is None:
        return []
    halves = ", ".join(f"{null[name]['n_units']:,} {name}" for name in ("shared", "extra"))
    if found["unit"] == "group":
        halves = f"groups: {halves}"
    lines = [f"the rate is a mean over partitions and trainings, not that of this list; null: {halves}"]
    if null["distance"] is not None and np.isfinite(null["distance"]):
        low, high = null["spread_interval"]
        lines[0] += (
            f", sd of extra over sd of shared {null['spread']:.2f} [{low:.2f}, {high:.2f}], Kolmogorov-Smirnov distance {null['distance']:.3f} "
            f"(p {null['p']:.2g})"
        )
    tested = [name for name in ("candidate", "independent") if found[name]["n"]]
    alone = [", ".join(f"{found[name]['memorized_by'][half]:,} {name}" for name in tested) or "-" for half in ("shared", "extra")]
    lines.append("listed against shared alone: {}; against extra alone: {}".format(*alone))
    return lines + [f"WARNING: {sentence}" for sentence in found["warnings"]]


def _list_as_text(row: dict[str, Any]) -> list[str]:
    """Ids of the discoveries, with their files a line each; the first ones of a long list."""
    rest = len(row["samples"]) - LISTED
    more = [f"{'':<12} and {rest:,} more, which --json has"] if rest > 0 else []
    if "files" not in row:
        text = ", ".join(map(str, row["samples"][:LISTED]))
        return [f"{'':<12} samples {text}", *more] if text else []
    return [
        f"{'':<12} {id_:>9}  {printable(file)}" for id_, file in zip(row["samples"][:LISTED], row["files"], strict=False)
    ] + more
