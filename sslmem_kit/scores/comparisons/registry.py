"""The comparisons that there are."""

from __future__ import annotations

from sslmem_kit.scores.comparisons.base import Comparison

COMPARISONS: dict[str, Comparison] = {comparison.name: comparison for comparison in ()}
"""Comparisons by name."""

COLUMNS: dict[str, str] = {column: label for each in COMPARISONS.values() for column, label in each.columns.items()}
"""Labels of the columns of all of them."""
