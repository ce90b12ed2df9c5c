"""The mitigation frontier: accuracy of each arm against what it memorizes, both with intervals over seeds."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import GUIDE, INK, dress, frame
from sslmem_kit.names import BOUND
from sslmem_kit.statistics.frontier import ACCURACY, ARM, MEASURE, MEMORIZATION

_KINDS = {"untreated": INK, "memorized": "#D55E00", "random": GUIDE, "all": "#0072B2"}
"""Colour of arms, by the samples that they treat."""
_NAMES = {"untreated": "untreated", "memorized": "the most memorized", "random": "as many at random", "all": "all samples"}
_MARKERS = (("circle", "o"), ("square", "s"), ("triangle", "^"), ("inverted_triangle", "v"), ("diamond", "D"), ("star", "*"))
"""Of Bokeh and of Matplotlib, for the arms of one colour in turn."""
_AXES = {
    MEMORIZATION: "memorization of f: candidates less extra samples, g untreated",
    "effect": "effect of membership (C - I) / 2, own pair",
    "auc": "membership AUC by alignment",
}


def plot(means: xr.Dataset, task: str, *, measure: str = MEMORIZATION) -> hv.Overlay:
    """Plot accuracy on one task against memorization, a point for each arm, with 95 % intervals over seeds both ways.

    Parameters
    ----------
    means
        Of :func:`sslmem_kit.statistics.frontier.frontier_means`.
    task
        Data set of the accuracy.
    measure
        Measure of memorization: ``memorization``, ``effect`` or ``auc``.

    Raises
    ------
    ValueError
        There is one seed, and no interval.

    Examples
    --------
    >>> from sslmem_kit.statistics.frontier import _example, frontier_means, frontier_measures
    >>> figure = plot(frontier_means(frontier_measures(_example())), "digits")
    >>> [points.label for points in figure.traverse(lambda part: part, [hv.Scatter])]
    ['baseline (untreated)', 'drop (the most memorized)']
    """
    x, y = (means.sel({MEASURE: name}) for name in (measure, f"{ACCURACY}{task}"))
    if not np.isfinite(x["interval"]).all():
        raise ValueError("no arm has an interval over seeds, and none is plotted without; train several seeds")
    at, height = x["mean"].values, 100 * y["mean"].values
    low_x, high_x = x["interval"].transpose(BOUND, ARM).values
    low_y, high_y = 100 * y["interval"].transpose(BOUND, ARM).values
    sides = [(low_x, height, high_x, height), (at, low_y, at, high_y)]
    parts, seen = [], dict.fromkeys(_KINDS, 0)
    arms = list(zip(means[ARM].values.tolist(), means["kind"].values.tolist(), strict=True))
    for place in sorted(range(len(arms)), key=lambda place: list(_KINDS).index(arms[place][1])):
        (name, kind), colour = arms[place], _KINDS[arms[place][1]]
        bars = hv.Segments([tuple(end[place] for end in ends) for ends in sides], [measure, "accuracy", "to", "up to"])
        parts.append(dress(bars, both={"alpha": 0.5, "color": colour}, bokeh={"line_width": 1.5}, matplotlib={"linewidth": 1.2}))
        number, seen[kind] = seen[kind] % len(_MARKERS), seen[kind] + 1
        bokeh, matplotlib = _MARKERS[number]
        points = hv.Scatter(([at[place]], [height[place]]), measure, "accuracy", label=f"{name} ({_NAMES[kind]})")
        parts.append(
            dress(points, both={"color": colour}, bokeh={"size": 9, "marker": bokeh}, matplotlib={"s": 44, "marker": matplotlib})
        )
    room_x, room_y = 0.06 * (high_x.max() - low_x.min() or 1), 0.06 * (high_y.max() - low_y.min() or 1)
    return frame(
        hv.Overlay(parts),
        title=f"{means.attrs.get('name', '')}: {task}",
        width=760,
        height=420,
        both={
            "xlabel": _AXES[measure],
            "ylabel": "accuracy (%), 95 % over seeds",
            "xlim": (float(low_x.min() - room_x), float(high_x.max() + room_x)),
            "ylim": (float(low_y.min() - room_y), float(high_y.max() + room_y)),
            "show_legend": True,
            "legend_position": "right",
        },
    )
