"""Reliability of a report."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.names import STATISTIC
from sslmem_kit.report.tables import by_coordinate, plain, rows, whole


def as_json(found: xr.Dataset) -> dict[str, Any]:
    """Mapping of :func:`sslmem_kit.statistics.assess`.

    Returns
    -------
    ``protocol``, ``partition``, ``n``, ``seeds``, ``views``; ``split_half`` over ``seeds`` and ``views``, with ``splits``, and ``spearman`` and
    ``pearson`` of two halves, ``full_spearman`` and ``full_pearson`` of all, as ``value`` and ``interval``; ``parts``, variances by name;
    ``reliability`` (value, interval); ``standard_error``; ``target`` and ``required``, of :func:`required_rows`; ``unknown``, sentences.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import assess
    >>> found = as_json(assess(_example.results()))
    >>> round(found["reliability"]["value"], 2), list(found["parts"])
    (0.97, ['score', 'seeds', 'views', 'both', 'offset', 'pairs'])
    """
    attrs = found.attrs
    return {
        **{name: attrs[name] for name in ("protocol", "partition", "n", "seeds", "views")},
        "split_half": {str(name): _halves(found.sel(halved=name)) for name in found["halved"].values},
        "parts": {
            name.replace("interaction", "both"): value for name, value in by_coordinate(found["variance"], "component").items()
        },
        "reliability": with_interval(found, "reliability"),
        "standard_error": plain(found["standard_error"]),
        "target": attrs["target"],
        "required": required_rows(found),
        "unknown": list(attrs["unknown"]),
    }


def _halves(found: xr.Dataset) -> dict[str, Any]:
    correlations = {}
    for name in found[STATISTIC].values:
        one = found.sel({STATISTIC: name})
        correlations |= {str(name): with_interval(one, "correlation"), f"full_{name}": with_interval(one, "full_correlation")}
    return {"splits": plain(found["splits"]), **correlations}


def with_interval(found: xr.Dataset, name: str) -> dict[str, Any]:
    """``value`` and ``interval`` of a scalar variable that has one.

    Examples
    --------
    >>> with_interval(xr.Dataset({"rho": 0.5, "rho_interval": ("bound", [0.1, 0.9])}), "rho")
    {'value': 0.5, 'interval': [0.1, 0.9]}
    """
    return {"value": plain(found[name]), "interval": plain(found[f"{name}_interval"])}


def required_rows(found: xr.Dataset) -> list[dict[str, Any]]:
    """Rows of :func:`sslmem_kit.statistics.required_seeds`: ``views``, ``seeds`` (None where no number suffices), ``encoders``,
    ``forward_passes``.

    Examples
    --------
    >>> from sslmem_kit.statistics import VarianceComponents, required_seeds
    >>> parts = VarianceComponents(score=1.0, seeds=0.5, views=0.6, interaction=1.0, offset=0.5)
    >>> for row in required_rows(required_seeds(parts, views=(2, 10), reliability=0.8)):
    ...     print(row)
    {'views': 2, 'seeds': None, 'encoders': None, 'forward_passes': None}
    {'views': 10, 'seeds': 4, 'encoders': 8, 'forward_passes': 88}
    """
    names = {"seeds": "required_seeds", "encoders": "encoders", "forward_passes": "forward_passes"}
    return [{"views": row["views"], **{key: whole(row[name]) for key, name in names.items()}} for row in rows(found, "views")]


def as_text(found: dict[str, Any]) -> list[str]:
    """Lines for a person, from :func:`as_json`; None and NaN are unknown.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import assess
    >>> for line in as_text(as_json(assess(_example.results())))[:2]:
    ...     print(line)
    reliability of the order of 10 candidate samples, 3 seeds and 4 views
      by the parts of the error            0.97  [0.88, 0.99]
    """
    lines = [
        f"reliability of the order of {found['n']:,} {found['partition']} samples, {found['seeds']} seeds and {found['views']} views"
    ]
    halves = found["split_half"]
    rows = [
        ("by the parts of the error", found["reliability"]),
        ("split-half over seeds, stepped up", halves["seeds"]["full_spearman"]),
        ("split-half over views, stepped up", halves["views"]["full_spearman"]),
    ]
    for label, row in rows:
        low, high = row["interval"]
        lines.append(f"  {label:<36} {_short(row['value'])}  [{_short(low)}, {_short(high)}]")
    if found["required"]:
        parts = ", ".join(f"{name} {value:.2e}" for name, value in found["parts"].items() if not _is_unknown(value))
        lines.append(f"  variances: {parts}")
        lines.append(f"  standard error of a score: {found['standard_error']:.4f}")
        lines.append(f"  seeds for a reliability of {found['target']:g}: {required_as_text(found['required'])}")
    return lines + [f"  {sentence}" for sentence in found["unknown"]]


def required_as_text(rows: list[dict[str, Any]]) -> str:
    """Numbers of seeds with numbers of views, in one line.

    Examples
    --------
    >>> required_as_text([{"views": 2, "seeds": None}, {"views": 10, "seeds": 4}])
    'no number with 2 views, 4 with 10 views'
    """
    return ", ".join(f"{'no number' if row['seeds'] is None else row['seeds']} with {row['views']} views" for row in rows)


def _short(value: float | None) -> str:
    return "   -" if _is_unknown(value) else f"{value:4.2f}"


def _is_unknown(value: float | None) -> bool:
    return value is None or bool(np.isnan(value))
