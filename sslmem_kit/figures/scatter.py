"""A scatter plot of samples by any two quantities, coloured by a third."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np

from sslmem_kit.figures.style import GUIDE, INK, SCORE_COLOURS, dress, frame

MANY = 20_000
"""Number of points above which they are small and light, hidden ones are left out, and within an SVG, which would be hundreds of megabytes
of circles, they are rasterized."""
GRID = 500
"""Number of pixels a side, of which each shows one of many points."""
RINGS = 3_000
"""Largest number of rings."""


def plot(
    columns: Mapping[str, np.ndarray],
    *,
    labels: tuple[str, str, str],
    title: str,
    identity: bool = False,
    ringed: np.ndarray | None = None,
    colour_limits: tuple[float, float] | None = None,
    tooltips: Sequence[tuple[str, str]] = (),
) -> hv.Overlay:
    """Plot one point for each sample.

    Parameters
    ----------
    columns
        Values by name, (sample,): x, y and colour, in this order, then what the tooltips name. Points without x or y are left out, those
        without a colour are grey.
    labels
        Of x, y and colour.
    identity
        Equal axes, with the line on which x equals y.
    ringed
        (sample,) bool: which points have a ring. Of many, some, evenly thinned.
    colour_limits
        Values of the first and the last colour; the lowest and the highest where none are given.
    tooltips
        Pairs of a label and a bokeh format such as ``@sample``.

    Examples
    --------
    >>> columns = {"x": np.array([0.1, 0.2, np.nan]), "y": np.array([1.0, 2.0, 3.0]), "score": np.array([0.5, 0.1, 0.2])}
    >>> (points,) = plot(columns, labels=("x", "y", "score"), title="Two of three are placed")
    >>> points.dimension_values("x")  # the highest score last, on top
    array([0.2, 0.1])
    """
    x, y, colour, *others = columns
    placed = np.isfinite(columns[x]) & np.isfinite(columns[y])
    coloured = np.flatnonzero(placed & np.isfinite(columns[colour]))
    # Plotted in the order of the colour, so that where points overlap the highest are on top.
    coloured = coloured[np.argsort(columns[colour][coloured], kind="stable")]
    grey = np.flatnonzero(placed & ~np.isfinite(columns[colour]))
    x_limits, y_limits = _limits(columns[x][placed]), _limits(columns[y][placed])
    many = placed.sum() > MANY
    if many:
        coloured, grey = (points[_topmost(columns[x][points], columns[y][points])] for points in (coloured, grey))
    if identity:
        x_limits = y_limits = (min(x_limits[0], y_limits[0]), max(x_limits[1], y_limits[1]))
    parts = [_identity(x_limits, x, y)] if identity else []
    look = {
        "bokeh": {"size": 7, "line_color": "#444444", "line_width": 0.4, "tools": ["hover"], "hover_tooltips": list(tooltips)},
        "matplotlib": {"s": 28, "edgecolors": "#444444", "linewidth": 0.3, "cbar_padding": 0.05},
    }
    if many:
        look["bokeh"] |= {"size": 3, "line_color": None}
        look["matplotlib"] |= {"s": 3, "edgecolors": "none", "linewidth": 0, "hooks": [_rasterize]}
    if len(grey):
        points = hv.Points((columns[x][grey], columns[y][grey]), kdims=[x, y])
        bokeh = {key: value for key, value in look["bokeh"].items() if "hover" not in key and key != "tools"}
        plain = {key: value for key, value in look["matplotlib"].items() if key != "cbar_padding"}
        parts.append(dress(points, both={"color": GUIDE, "alpha": 0.5}, bokeh=bokeh, matplotlib=plain))
    if len(coloured):
        points = hv.Points(tuple(column[coloured] for column in columns.values()), kdims=[x, y], vdims=[colour, *others])
        both = {"color": colour, "cmap": SCORE_COLOURS, "colorbar": True, "clabel": labels[2], "alpha": 0.7 if many else 0.85}
        if colour_limits:
            both["clim"] = colour_limits
        bar = {"width": 12, "padding": 8, "title_standoff": 10, "title_text_font_style": "normal"}
        parts.append(dress(points, both=both, bokeh={**look["bokeh"], "colorbar_opts": bar}, matplotlib=look["matplotlib"]))
    if ringed is not None and (rings := np.flatnonzero(placed & ringed)).size:
        rings = rings[np.linspace(0, len(rings) - 1, min(RINGS, len(rings))).astype(int)]
        parts.append(
            dress(
                hv.Points((columns[x][rings], columns[y][rings]), kdims=[x, y]),
                bokeh={"size": 12, "fill_color": None, "line_color": INK, "line_width": 1.5},
                matplotlib={"s": 70, "facecolors": "none", "edgecolors": INK, "linewidth": 1.1},
            )
        )
    return frame(
        hv.Overlay(parts),
        title=title,
        width=460,
        height=460,
        both={"xlim": x_limits, "ylim": y_limits, "xlabel": labels[0], "ylabel": labels[1]},
    )


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin


def _topmost(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Positions of the points that no later one hides: of those within a pixel, the last."""
    cell = np.zeros(len(x), np.int64)
    for values in (x, y):
        low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
        cell = cell * GRID + ((values - low) * ((GRID - 1) / (high - low)) if high > low else np.zeros(len(values))).astype(
            np.int64
        )
    # Of equal ones `unique` names the first.
    return np.sort(len(cell) - 1 - np.unique(cell[::-1], return_index=True)[1])


def _identity(limits: tuple[float, float], x: str, y: str) -> hv.Curve:
    """Curve from corner to corner: a slope element cannot be excluded from hovering, and stretches the matplotlib limits."""
    return dress(
        hv.Curve([(limits[0], limits[0]), (limits[1], limits[1])], x, y),
        both={"color": GUIDE},
        bokeh={"line_dash": "dashed", "line_width": 1.5},
        matplotlib={"linestyle": "--", "linewidth": 1.2},
    )


def _rasterize(plot: Any, element: hv.Points) -> None:
    """Rasterize the points in matplotlib, also where the file is a vector graphic."""
    plot.handles["artist"].set_rasterized(True)
