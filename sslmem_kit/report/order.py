"""The order of single samples, in a report."""

from __future__ import annotations

from typing import Any

import xarray as xr

from sslmem_kit.report.reliability import with_interval
from sslmem_kit.statistics.order import order_caveat


def as_json(found: xr.Dataset) -> dict[str, Any]:
    """Mapping of :func:`sslmem_kit.statistics.rank_scores`.

    Returns
    -------
    ``estimator``, ``encoders``, ``seeds``, ``scored`` samples, ``reliability`` (value, interval), the candidates ``reliability_n`` that it is
    of, and ``over``, what the interval is over;
    ``caveat``, a sentence, or None.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import rank_scores
    >>> found = as_json(rank_scores(_example.design()))
    >>> found["estimator"], found["encoders"], found["scored"], found["caveat"]
    ('adjusted', 4, 20, None)
    """
    return {
        **{name: found.attrs[name] for name in ("estimator", "encoders", "seeds")},
        "scored": found.sizes["sample"],
        "reliability": with_interval(found, "reliability"),
        "reliability_n": found.attrs["reliability_n"],
        "over": "candidates, given these encoders",
        "caveat": order_caveat(found),
    }


def as_text(order: dict[str, Any]) -> list[str]:
    """Line for a person, from :func:`as_json` or its form without NaN.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import rank_scores
    >>> as_text(as_json(rank_scores(_example.results())))[0].partition(":")[0]
    'order of single samples'
    """
    if order["caveat"]:
        return [f"order of single samples: {order['caveat']}"]
    value, (low, high) = order["reliability"]["value"], order["reliability"]["interval"]
    known = "reliability unknown" if value is None or value != value else f"reliability {value:.2f} [{low:.2f}, {high:.2f}]"
    by = f"by {order['encoders']} encoders of {order['seeds']} seeds ({order['estimator']})"
    return [f"order of single samples: {by}, {order['scored']:,} samples; {known} over {order['reliability_n']:,} candidates"]
