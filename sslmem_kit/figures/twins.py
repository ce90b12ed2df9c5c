"""Dose and response of planted near-duplicates: what a sample's own score keeps of it, and what its group's keeps."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import GUIDE, dress, frame

_KINDS = {"sample": ("#0072B2", "sample left out alone", -0.06), "group": ("#D55E00", "whole group left out", 0.06)}
"""Colours, names and places beside each other."""


def plot(response: xr.Dataset) -> hv.Overlay:
    """Plot the mean influence with its interval for each number of copies, of samples that are left out alone and of whole groups.

    Parameters
    ----------
    response
        ``influence(kind, copies)`` and ``interval(kind, copies, bound)``; ``kind`` is ``sample`` and ``group``; ``cuts`` in the attrs.

    Examples
    --------
    >>> response = xr.Dataset(
    ...     {
    ...         "influence": (("kind", "copies"), [[0.002, 0.001], [0.002, 0.002]]),
    ...         "interval": (("kind", "copies", "bound"), [[[0.001, 0.003], [0, 0.002]], [[0.001, 0.003], [0.001, 0.003]]]),
    ...     },
    ...     {"kind": ["sample", "group"], "copies": [0, 1]},
    ...     {"cuts": 32},
    ... )
    >>> [element.label for element in plot(response) if element.label]
    ['sample left out alone', 'whole group left out']
    """
    copies = response["copies"].values
    parts = [dress(hv.HLine(0), both={"color": GUIDE}, bokeh={"line_width": 1}, matplotlib={"linewidth": 0.8})]
    for kind, (colour, label, beside) in _KINDS.items():
        at, mean = np.arange(len(copies)) + beside, 1000 * response["influence"].sel(kind=kind).values
        low, high = 1000 * response["interval"].sel(kind=kind).transpose("bound", "copies").values
        bars = hv.ErrorBars((at, mean, mean - low, high - mean), "place", ["influence", "below", "above"])
        parts.append(dress(bars, bokeh={"line_color": colour}, matplotlib={"edgecolor": colour, "linewidth": 1.4}))
        parts.append(
            dress(
                hv.Curve((at, mean), "place", "influence"),
                both={"color": colour},
                bokeh={"line_width": 1},
                matplotlib={"linewidth": 0.8},
            )
        )
        points = hv.Scatter((at, mean), "place", "influence", label=label)
        parts.append(dress(points, both={"color": colour}, bokeh={"size": 8}, matplotlib={"s": 36}))
    known = response["interval"].values[np.isfinite(response["interval"].values)] * 1000
    bottom, top = (min(known.min(), 0), known.max()) if len(known) else (0, 1)
    return frame(
        hv.Overlay(parts),
        title=f"Planted near-duplicates ({response.attrs['cuts']} random cuts)",
        width=520,
        height=340,
        both={
            "xlim": (-0.5, len(copies) - 0.5),
            "ylim": (bottom - 0.1 * (top - bottom), top + 0.4 * (top - bottom)),  # the legend hides no interval
            "xticks": [(place, str(count)) for place, count in enumerate(copies.tolist())],
            "xlabel": "near copies among the training samples",
            "ylabel": "influence, 1/1000",
            "show_legend": True,
            "legend_position": "top_left",
        },
    )
