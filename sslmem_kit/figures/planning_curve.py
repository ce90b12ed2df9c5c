"""Predicted reliability of scores with other numbers of seeds and views."""

from __future__ import annotations

import holoviews as hv
import xarray as xr

from sslmem_kit.figures.style import GUIDE, INK, dress, frame

_LINES = (("#0072B2", "dotted", ":"), ("#009E73", "dashed", "--"), ("#D55E00", "solid", "-"), ("#CC79A7", "dotdash", "-."))
"""Colours of the numbers of views, and dashes in bokeh and matplotlib."""


def plot(curve: xr.Dataset) -> hv.Overlay:
    """Plot reliability against the number of seeds as a rising line for each number of views, the study itself as a point.

    Parameters
    ----------
    curve
        Of :func:`sslmem_kit.statistics.precision.planning_curve`, with ``target``, and ``seeds``, ``views`` and ``reliability`` of the
        study in the attrs.

    Examples
    --------
    >>> curve = xr.Dataset(
    ...     {"reliability": (("views", "seeds"), [[0.5, 0.6], [0.6, 0.7]])},
    ...     {"views": [5, 10], "seeds": [1, 2]},
    ...     {"target": 0.8, "seeds": 2, "views": 5, "reliability": 0.6, "protocol": "corrected"},
    ... )
    >>> [element.label for element in plot(curve)][1:]
    ['5 views', '10 views', 'this study, 5 views']
    """
    attrs = curve.attrs
    parts = [
        dress(
            hv.HLine(attrs["target"]),
            both={"color": GUIDE},
            bokeh={"line_dash": "dashed", "line_width": 1.2},
            matplotlib={"linestyle": "--", "linewidth": 1.0},
        )
    ]
    for number, views in enumerate(curve["views"].values):
        colour, bokeh_dash, matplotlib_dash = _LINES[number % len(_LINES)]
        line = curve["reliability"].sel(views=views).values
        parts.append(
            dress(
                hv.Curve((curve["seeds"].values, line), "seeds", "reliability", label=f"{views} views"),
                both={"color": colour},
                bokeh={"line_width": 2, "line_dash": bokeh_dash},
                matplotlib={"linewidth": 1.8, "linestyle": matplotlib_dash},
            )
        )
    here = hv.Scatter(
        ([attrs["seeds"]], [attrs["reliability"]]), "seeds", "reliability", label=f"this study, {attrs['views']} views"
    )
    parts.append(dress(here, both={"color": INK}, bokeh={"size": 9}, matplotlib={"s": 45}))
    return frame(
        hv.Overlay(parts),
        title=f"Reliability of the candidates' order ({attrs['protocol']} protocol)",
        width=560,
        height=340,
        both={
            "xlim": (0, float(curve["seeds"].max()) * 1.02),
            "ylim": (-0.02, 1.02),
            "xlabel": "seeds (pairs of encoders)",
            "ylabel": "reliability",
            "show_legend": True,
            "legend_position": "bottom_right",
        },
    )
