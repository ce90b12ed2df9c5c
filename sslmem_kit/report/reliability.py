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
    ``protocol``, ``partition``, ``n``, ``seeds``, ``views``; ``split_half`` over ``seeds`` and ``views``, with ``splits``, ``given``
    (what the halves have in common, which is no part of their error), and ``spearman`` and ``pearson`` of two halves, ``full_spearman``
    and ``full_pearson`` of all, as ``value`` and ``interval``; ``parts``, variances by name, and ``parts_interval``; ``reliability``
    (value, interval); ``standard_error``; ``target`` and ``required``, of :func:`required_rows`; ``unknown``, sentences.

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
        "parts_interval": {
            name.replace("interaction", "both"): value
            for name, value in by_coordinate(found["variance_interval"], "component").items()
        },
        "over": "samples, given these seeds",
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
    return {"splits": plain(found["splits"]), "given": plain(found["given"]), **correlations}


def with_interval(found: xr.Dataset, name: str) -> dict[str, Any]:
    """``value`` and ``interval`` of a scalar variable that has one.

    Examples
    --------
    >>> with_interval(xr.Dataset({"rho": 0.5, "rho_interval": ("bound", [0.1, 0.9])}), "rho")
    {'value': 0.5, 'interval': [0.1, 0.9]}
    """
    return {"value": plain(found[name]), "interval": plain(found[f"{name}_interval"])}


def required_rows(found: xr.Dataset) -> list[dict[str, Any]]:
    """Rows of :func:`sslmem_kit.statistics.required_seeds`: ``views``, ``seeds`` (None where no number suffices or none can be told),
    ``encoders``, ``forward_passes``; with an interval also ``seeds_interval`` (95 %, an end that no number reaches is None) and
    ``known``, false where no number can be told.

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
    table = []
    for row in rows(found, "views"):
        table.append({"views": row["views"], **{key: whole(row[name]) for key, name in names.items()}})
        if "required_seeds_interval" in row:
            ends = [int(end) if np.isfinite(end) else None for end in row["required_seeds_interval"]]
            table[-1] |= {"seeds_interval": ends, "known": plain(found["known"])}
    return table


def as_text(found: dict[str, Any]) -> list[str]:
    """Lines for a person, from :func:`as_json`; None and NaN are unknown.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import assess
    >>> for line in as_text(as_json(assess(_example.results())))[:2]:
    ...     print(line)
    reliability of the order of 10 candidate samples, 3 seeds and 4 views
      by the parts of the error                    0.97  [0.88, 0.99]
    """
    lines = [
        f"reliability of the order of {found['n']:,} {found['partition']} samples, {found['seeds']} seeds and {found['views']} views"
    ]
    halves = found["split_half"]
    rows = [
        ("by the parts of the error", found["reliability"]),
        *((f"split-half over {name}, given {halves[name]['given']}", halves[name]["full_spearman"]) for name in ("seeds", "views")),
    ]
    for label, row in rows:
        low, high = row["interval"]
        lines.append(f"  {label:<44} {_short(row['value'])}  [{_short(low)}, {_short(high)}]")
    if found["required"]:
        parts = ", ".join(
            "{} {:.2e} [{:.2e}, {:.2e}]".format(name, value, *found["parts_interval"][name])
            for name, value in found["parts"].items()
            if not _is_unknown(value)
        )
        lines.append(f"  variances: {parts}")
        lines.append(f"  standard error of a score: {found['standard_error']:.4f}")
        lines.append(
            f"  seeds for a reliability of {found['target']:g}: {required_as_text(found['required'])} (95 %, over samples)"
        )
    return lines + [f"  {sentence}" for sentence in found["unknown"]]


def required_as_text(rows: list[dict[str, Any]]) -> str:
    """Numbers of seeds with numbers of views, in one line, with their 95 % intervals where these are known; ``-`` is no number.

    Examples
    --------
    >>> required_as_text([{"views": 2, "seeds": None}, {"views": 10, "seeds": 21, "seeds_interval": [9, 463], "known": True}])
    'no number with 2 views, 21 [9, 463] with 10 views'
    >>> required_as_text([{"views": 10, "seeds": None, "seeds_interval": [9, None], "known": False}])
    'no number can be told, at least 9 with 10 views'
    """
    if rows and not rows[0].get("known", True):
        least = ", ".join(f"{row['seeds_interval'][0] or '-'} with {row['views']} views" for row in rows)
        return f"no number can be told, at least {least}"
    return ", ".join(f"{_seeds(row)} with {row['views']} views" for row in rows)


def _seeds(row: dict[str, Any]) -> str:
    number = "no number" if row["seeds"] is None else str(row["seeds"])
    if "seeds_interval" not in row:
        return number
    low, high = ("-" if end is None else end for end in row["seeds_interval"])
    return f"{number} [{low}, {high}]"


def _short(value: float | None) -> str:
    return "   -" if _is_unknown(value) else f"{value:4.2f}"


def _is_unknown(value: float | None) -> bool:
    return value is None or bool(np.isnan(value))
