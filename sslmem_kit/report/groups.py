"""Influence of whole groups in a report, by size of group."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.names import GROUP, SUBSET
from sslmem_kit.report.tables import rows
from sslmem_kit.scores.selection import designs
from sslmem_kit.statistics.groups import SIZE, influence_by_size
from sslmem_kit.statistics.numbers import number


def as_json(results: xr.Dataset, *, protocol: str = "corrected") -> dict[str, Any] | None:
    """Mapping of :func:`sslmem_kit.statistics.groups.influence_by_size` for the groups that a study keeps; None where it keeps none, or has no
    subset encoders.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> as_json(_example.design()) is None
    True
    """
    subsets = SUBSET in designs(results).astype(object)
    if GROUP not in results.coords or not subsets or not (np.unique(results[GROUP].values, return_counts=True)[1] > 1).any():
        return None
    found = influence_by_size(results, protocol=protocol)
    return {"over": found.attrs["over"], "by_size": rows(found, SIZE)}


def as_text(found: dict[str, Any]) -> list[str]:
    """Lines on the influence of groups, of :func:`as_json`.

    Examples
    --------
    >>> row = {"size": 4, "influence": 0.002, "interval": [0.001, 0.003], "samples": 8, "groups": 2, "cuts": 32}
    >>> print(*as_text({"over": "cuts, given these samples", "by_size": [row]}), sep="\\n")
    influence of whole groups on their members, by subset encoders (95 % intervals over cuts, given these samples)
      whole groups are cut: the estimators subsets and groups are one here
      groups of 4: +0.0020 [+0.0010, +0.0030], 8 samples in 2 groups, 32 cuts
    """
    lines = [
        f"influence of whole groups on their members, by subset encoders (95 % intervals over {found['over']})",
        "  whole groups are cut: the estimators subsets and groups are one here",
    ]
    for row in found["by_size"]:
        low, high = row["interval"]
        lines.append(
            f"  groups of {row['size']}: {number(row['influence'])} [{number(low)}, {number(high)}], {row['samples']:,} samples in "
            f"{row['groups']:,} groups, {row['cuts']:,} cuts"
        )
    return lines
