"""Reliability, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    pass


def as_text(found: dict[str, Any]) -> list[str]:
    """What :func:`assess` has found, for a person; None and NaN are what cannot be told."""
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
    """How many seeds with how many views."""
    return ", ".join(f"{'no number' if row['seeds'] is None else row['seeds']} with {row['views']} views" for row in rows)


def _short(value: float | None) -> str:
    return "   -" if _is_unknown(value) else f"{value:4.2f}"


def _is_unknown(value: float | None) -> bool:
    return value is None or bool(np.isnan(value))
