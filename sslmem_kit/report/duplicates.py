"""Near-duplicates in a report: what was found, and whose scores say nothing."""

from __future__ import annotations

from typing import Any

import xarray as xr

from sslmem_kit.report.tables import plain, rows
from sslmem_kit.statistics.numbers import number

UNKNOWN = "near-duplicates were not looked for, an earlier version made this study; `sslmem run` on its directory looks for them"


def as_json(found: xr.Dataset | None) -> dict[str, Any] | None:
    """Mapping of :func:`sslmem_kit.statistics.duplicates.twin_summary`; None where nobody looked.

    Examples
    --------
    >>> as_json(None) is None
    True
    """
    if found is None:
        return None
    among = found["among"].values.tolist()
    listed = [
        {**row, "twins": {name: count for name, count in zip(among, row["twins"], strict=True) if count}}
        for row in rows(found.assign_coords(listed=range(found.sizes["listed"])), "listed")
    ]
    return {
        **{name: plain(found[name]) for name in ("samples", "of", "groups", "pairs", "exact", "threshold", "views_kept")},
        "kept_whole": bool(found.attrs["kept_whole"]),
        "grouped": bool(found.attrs["grouped"]),
        "hidden": [{**row} for row in rows(found[["hidden", "n", "mean_hidden", "mean_others"]], "partition")],
        "listed": [{key: value for key, value in row.items() if key != "listed"} for row in listed],
    }


def as_text(found: dict[str, Any] | None) -> list[str]:
    """Lines on near-duplicates, of :func:`as_json`.

    Examples
    --------
    >>> as_text(None)[0].partition(",")[0]
    'near-duplicates were not looked for'
    """
    if found is None:
        return [UNKNOWN]
    if not found["samples"]:
        return [f"near-duplicates: none found (of weakly augmented views {_share(found)} would be)"]
    kept = ""
    if found["grouped"]:
        kept = "; the groups of this study " + (
            "keep them together" if found["kept_whole"] else "are others, and divide some of them"
        )
    lines = [
        f"near-duplicates: {found['samples']:,} of the {found['of']:,} samples in partitions, "
        f"in {found['groups']:,} group{'s' * (found['groups'] != 1)}, "
        f"{found['exact']:,} of {found['pairs']:,} pairs exact (of weakly augmented views {_share(found)} would be found){kept}"
    ]
    for row in found["hidden"]:
        if row["hidden"]:
            lines.append(
                f"  {row['hidden']:,} of {row['n']:,} {row['partition']} have a twin that the other family saw: mean score "
                f"{number(row['mean_hidden'])}, of the others {number(row['mean_others'])}; near zero says nothing of them"
            )
    for row in found["listed"]:
        twins = ", ".join(f"{_count(count)} in {name}" for name, count in row["twins"].items())
        lines.append(f"    {row['own']} {row['sample']}: score {number(row['sslmem'])}, {twins}")
    return lines


def _share(found: dict[str, Any]) -> str:
    return "-" if found["views_kept"] is None else f"{found['views_kept']:.0%}"


def _count(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return f"{words[count] if count < len(words) else f'{count:,}'} twin{'s' * (count != 1)}"
