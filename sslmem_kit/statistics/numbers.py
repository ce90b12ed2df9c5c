"""Numbers as people read them."""

from __future__ import annotations

import math

SMALL = 1e-3
"""Magnitude below which fixed decimals would show one digit or none."""


def number(value: float | None, digits: int = 4) -> str:
    """Number with its sign; ``-`` where it is not known (None or NaN).

    With four decimals or more small numbers have two digits, however small they are, so that none but zero reads as zero.

    Examples
    --------
    >>> number(0.02263), number(-1.5, 2), number(None), number(0.0), number(-0.000734), number(2e-6)
    ('+0.0226', '-1.50', '-', '+0.0000', '-0.00073', '+2e-06')
    """
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:+.2g}" if digits >= 4 and 0 < abs(value) < SMALL else f"{value:+.{digits}f}"


def chance(p: float | None) -> str:
    """Two digits of a p-value; ``-`` where it is not known.

    Examples
    --------
    >>> chance(0.0123), chance(None)
    ('0.012', '-')
    """
    return "-" if p is None or math.isnan(p) else f"{p:.2g}"
