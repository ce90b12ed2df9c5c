"""Variance of scores over samples, divided into true scores and the parts of the error."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import dress, frame

_PARTS = {
    "score": ("#D55E00", "true scores"),
    "seeds": ("#0072B2", "seeds"),
    "interaction": ("#56B4E9", "views under one seed"),
    "views": ("#009E73", "views"),
}
"""Colours and names of the parts, from the bottom up."""
_WIDTH = 0.6


def plot(shares: xr.Dataset) -> hv.Overlay:
    """Plot the shares of the variance as a stacked bar for each protocol.

    Parameters
    ----------
    shares
        ``share(protocol, part)`` of the variance, of :func:`sslmem_kit.statistics.precision.variance_shares`; the numbers of seeds and views in
        the attrs.

    Returns
    -------
    One element of rectangles for each part, from the bottom up.

    Examples
    --------
    >>> parts = ["score", "seeds", "views", "interaction"]
    >>> shares = xr.Dataset(
    ...     {"share": (("protocol", "part"), [[0.7, 0.1, 0.1, 0.1]])},
    ...     {"protocol": ["corrected"], "part": parts},
    ...     {"seeds": 3, "views": 4},
    ... )
    >>> [bar.label for bar in plot(shares)]
    ['true scores', 'seeds', 'views under one seed', 'views']
    """
    protocols = [str(name) for name in shares["protocol"].values]
    base, bars = np.zeros(len(protocols)), []
    for part, (colour, label) in _PARTS.items():
        heights = shares["share"].sel(part=part).values
        positions = np.arange(len(protocols))
        boxes = hv.Rectangles(
            (positions - _WIDTH / 2, base, positions + _WIDTH / 2, base + heights, [label] * len(protocols), heights),
            kdims=["from", "bottom", "to", "top"],
            vdims=["part", "share"],
            label=label,
        )
        bars.append(
            dress(
                boxes,
                both={"color": colour},
                bokeh={
                    "line_color": "white",
                    "tools": ["hover"],
                    "hover_tooltips": [("part", "@part"), ("share of the variance", "@share{0.00}")],
                },
                matplotlib={"edgecolor": "white", "linewidth": 0.6},
            )
        )
        base = base + heights
    return frame(
        hv.Overlay(bars),
        title=f"What candidates' scores are made of ({shares.attrs['seeds']} seeds, {shares.attrs['views']} views)",
        width=400,
        height=300,
        both={
            "xlim": (-0.6, len(protocols) - 0.4),
            "ylim": (0, 1.02),
            "xticks": list(enumerate(protocols)),
            "xlabel": "protocol",
            "ylabel": "share of the variance",
            "show_legend": True,
            "legend_position": "right",
        },
    )
