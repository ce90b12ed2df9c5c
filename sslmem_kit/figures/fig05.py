"""Figure 5: the share of samples whose score is above a threshold, against the threshold.

The paper plots it for the candidates; the other partitions stand beside them and show what share of samples that are not memorized lies
above a threshold too.
"""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import GUIDE, INK, dress, frame, score_label
from sslmem_kit.names import COLOURS
from sslmem_kit.statistics import by_partition, share_above

POINTS = 400
"""Number of points of a curve."""
_DASHES = {
    "candidate": ("solid", "-"),
    "shared": ("dashed", "--"),
    "extra": ("dotted", ":"),
    "independent": ("dotdash", "-."),
}
"""Dashes of the lines in bokeh and matplotlib; in print, colour alone does not distinguish them."""


def plot(scores: xr.Dataset, *, limit: float | None = None) -> hv.Overlay:
    """Plot the share of samples above a threshold as a falling line for each partition that has samples.

    Parameters
    ----------
    scores
        Of :func:`sslmem_kit.scores.score`.
    limit
        Threshold that a vertical line marks, in units of the scores.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> zero, *curves = plot(score(_example.results()))
    >>> [curve.label for curve in curves][:2]
    ['candidate, n = 10', 'shared, n = 10']
    """
    groups = {name: by_partition(scores)[name] for name in _DASHES}
    groups = {name: values for name, values in groups.items() if len(values)}
    everything = np.concatenate(list(groups.values()))
    low, high = float(everything.min()), float(everything.max())
    margin = 0.03 * (high - low) or 0.05
    thresholds = np.linspace(low - margin, high + margin, POINTS)
    parts = [
        dress(
            hv.VLine(0.0),
            both={"color": GUIDE},
            bokeh={"line_dash": "dashed", "line_width": 1.2},
            matplotlib={"linestyle": "--", "linewidth": 1.0},
        )
    ]
    if limit is not None:
        parts.append(dress(hv.VLine(limit), both={"color": INK}, bokeh={"line_width": 1.5}, matplotlib={"linewidth": 1.3}))
    for name, values in groups.items():
        bokeh_dash, matplotlib_dash = _DASHES[name]
        parts.append(
            dress(
                hv.Curve((thresholds, share_above(values, thresholds)), "threshold", "share", label=f"{name}, n = {len(values):,}"),
                both={"color": COLOURS[name]},
                bokeh={"line_width": 2, "line_dash": bokeh_dash},
                matplotlib={"linewidth": 1.8, "linestyle": matplotlib_dash},
            )
        )
    marked = "" if limit is None else f", line at {limit:.4g}"
    return frame(
        hv.Overlay(parts),
        title=f"Share above a threshold ({scores.attrs['protocol']} protocol{marked})",
        width=560,
        height=340,
        both={
            "xlim": (low - margin, high + margin),
            "ylim": (-0.02, 1.04),
            "xlabel": score_label(scores),
            "ylabel": "share of samples above",
            "show_legend": True,
            "legend_position": "top_right",
        },
    )
