"""Paired differences of a removal tree in a report: as JSON's types and as lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.names import BOUND
from sslmem_kit.statistics.overview import chance
from sslmem_kit.statistics.removal import AMOUNT, CONTRAST, PROBE, TASK

_NUMBERS = ("difference", "p", "p_holm", "p_equivalence", "seeds_needed", "n")


def differences_as_json(found: xr.Dataset) -> list[dict[str, Any]]:
    return [
        {
            **{name: str(one[name].item()) for name in (CONTRAST, "order", "first", "second", "claim", "over", TASK, PROBE)},
            **({AMOUNT: int(one[AMOUNT])} if AMOUNT in found.coords else {}),
            **{name: plain(one[name].item()) for name in _NUMBERS},
            "interval": plain(one["interval"].transpose(BOUND).values.tolist()),
            "decision": str(one["decision"].item()),
        }
        for place in np.ndindex(tuple(found.sizes[dim] for dim in (CONTRAST, AMOUNT, TASK, PROBE)))
        for one in [found.isel(dict(zip((CONTRAST, AMOUNT, TASK, PROBE), place, strict=True)))]
    ]


def plain(value: Any) -> Any:
    """Return a value with None for NaN."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def table(rows: list[dict[str, Any]], head: str, *, scale: float = 100) -> list[str]:
    """Return lines for a person: a head, whose first column is ``head``, and a line for each difference, times ``scale``."""
    columns = f"{head:>10} {'task':<22} {'probe':<14} {'difference':>10} {'95 %':>18} {'p (Holm)':>9} {'p (equal)':>9} {'seeds':>6}  decision"
    return [columns, *(_line(one, scale) for one in rows)]


def _line(one: dict[str, Any], scale: float) -> str:
    ends = "-" if None in one["interval"] else "[{:+.2f}, {:+.2f}]".format(*(scale * end for end in one["interval"]))
    value = "-" if one["difference"] is None else f"{scale * one['difference']:+.2f}"
    tests = [("-" if one[name] is None else chance(one[name])) for name in ("p_holm", "p_equivalence")]
    seeds = "-" if one["seeds_needed"] is None else f"{one['seeds_needed']:,.0f}"
    amount = f"{one[AMOUNT]:,}" if AMOUNT in one else "mean"
    return f"{amount:>10} {one[TASK]:<22} {one[PROBE]:<14} {value:>10} {ends:>18} {tests[0]:>9} {tests[1]:>9} {seeds:>6}  {one['decision']}"
