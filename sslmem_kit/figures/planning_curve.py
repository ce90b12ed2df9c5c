"""How reliable scores would be with other numbers of seeds and views."""

from __future__ import annotations

import holoviews as hv
import xarray as xr

from sslmem_kit.figures.style import GUIDE, INK, dress, frame

_LINES = (("#0072B2", "dotted", ":"), ("#009E73", "dashed", "--"), ("#D55E00", "solid", "-"), ("#CC79A7", "dotdash", "-."))
"""Colour, and dash for bokeh and matplotlib, of the numbers of views."""


def plot(curve: xr.Dataset) -> hv.Overlay:
    """A rising line for each number of views, the study itself as a point.

    Parameters
    ----------
    curve
        Of :func:`sslmem_kit.statistics.precision.planning_curve`, with ``target``, and ``seeds``, ``views`` and ``reliability`` of the
        study in the attrs.
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
