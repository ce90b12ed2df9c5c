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
_NAMES = {
    "untreated": "untreated",
    "memorized": "the most memorized treated",
    "random": "as many treated at random",
    "all": "all trained otherwise",
}
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
    ['untreated', 'the most memorized treated']
    """
    x, y = (means.sel({MEASURE: name}) for name in (measure, f"{ACCURACY}{task}"))
    if not np.isfinite(x["interval"]).all():
        raise ValueError("no arm has an interval over seeds, and none is plotted without; train several seeds")
    at, height = x["mean"].values, 100 * y["mean"].values
    low_x, high_x = x["interval"].transpose(BOUND, ARM).values
    low_y, high_y = 100 * y["interval"].transpose(BOUND, ARM).values
    parts, names = [], np.array(means[ARM].values.tolist(), object)
    for kind, colour in _KINDS.items():
        here = means["kind"].values == kind
        if not here.any():
            continue
        across = hv.ErrorBars((height[here], at[here], (at - low_x)[here], (high_x - at)[here]), "accuracy", [measure, "below", "above"],
                              horizontal=True)  # fmt: skip
        upright = hv.ErrorBars((at[here], height[here], (height - low_y)[here], (high_y - height)[here]), measure,
                               ["accuracy", "below", "above"])  # fmt: skip
        parts += [
            dress(bars, both={"alpha": 0.45}, bokeh={"line_color": colour}, matplotlib={"ecolor": colour})
            for bars in (across, upright)
        ]
        points = hv.Scatter((at[here], height[here]), measure, "accuracy", label=_NAMES[kind])
        parts.append(dress(points, both={"color": colour}, bokeh={"size": 8}, matplotlib={"s": 36}))
    labels = hv.Labels((at, height, names), [measure, "accuracy"], "name")
    parts.append(
        dress(
            labels,
            bokeh={"text_font_size": "8pt", "text_align": "left", "text_baseline": "bottom", "text_color": INK},
            matplotlib={"size": 8, "horizontalalignment": "left", "verticalalignment": "bottom", "color": INK},
        )
    )
    room_x, room_y = 0.06 * (high_x.max() - low_x.min() or 1), 0.06 * (high_y.max() - low_y.min() or 1)
    return frame(
        hv.Overlay(parts),
        title=f"{means.attrs.get('name', '')}: {task}",
        width=560,
        height=420,
        both={
            "xlabel": _AXES[measure],
            "ylabel": "accuracy (%), 95 % over seeds",
            "xlim": (float(low_x.min() - room_x), float(high_x.max() + 3 * room_x)),
            "ylim": (float(low_y.min() - room_y), float(high_y.max() + room_y)),
            "show_legend": True,
            "legend_position": "bottom_right",
        },
    )
