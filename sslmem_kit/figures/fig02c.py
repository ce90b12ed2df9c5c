"""Figure 2c: how the scores of the four partitions are distributed.

Candidates (seen by f only) lie to the right of the shared and extra samples, independents (seen by g only) mirrored to the left.
Each row is a histogram over common bins, scaled to its own highest bar, for the partitions differ tenfold in size.
"""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import GUIDE, INK, dress, frame, score_label
from sslmem_kit.names import COLOURS
from sslmem_kit.statistics import by_partition

ROWS = ("candidate", "shared", "extra", "independent")
"""From top to bottom."""
_SEEN_BY = {"candidate": "f only", "shared": "both", "extra": "neither", "independent": "g only"}
_HEIGHT = 0.82


def plot(scores: xr.Dataset, summary: xr.Dataset, *, bins: int = 60) -> hv.Overlay:
    """Plot four histograms above each other, with mean markers.

    Parameters
    ----------
    scores
        Of :func:`sslmem_kit.scores.score`.
    summary
        Of :func:`sslmem_kit.statistics.partition_summary` of the same scores: the means and their intervals.
    bins
        Number of bins between the lowest and the highest score.

    References
    ----------
    The paper's figure 2c.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> from sslmem_kit.statistics import partition_summary
    >>> scores = score(_example.results())
    >>> figure = plot(scores, partition_summary(scores), bins=10)
    >>> sum(int(bars["samples"].sum()) for bars in figure.traverse(lambda element: element, [hv.Rectangles]))
    40
    """
    groups = {name: by_partition(scores)[name] for name in ROWS if name in summary["partition"]}
    everything = np.concatenate(list(groups.values()))
    low, high = float(everything.min()), float(everything.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    base = {name: float(len(groups) - 1 - row) for row, name in enumerate(groups)}
    zero = dress(
        hv.VLine(0.0),
        both={"color": GUIDE},
        bokeh={"line_dash": "dashed", "line_width": 1.2},
        matplotlib={"linestyle": "--", "linewidth": 1.0},
    )
    parts: list[Any] = [zero]
    for name, values in groups.items():
        parts += [_histogram(values, edges, name, base[name]), _mean(summary.sel(partition=name), name, base[name])]
    ticks = [
        (
            base[name] + 0.4,
            f"{name}, n = {len(values):,}\nseen by {_SEEN_BY[name]}\nmean {summary['mean'].sel(partition=name).item():z.4f}",
        )
        for name, values in groups.items()
    ]
    margin = 0.03 * (high - low)
    return frame(
        hv.Overlay(parts),
        title=f"Scores of the {len(groups)} partitions ({scores.attrs['protocol']} protocol)",
        width=560,
        height=95 * len(groups),
        both={
            "xlim": (low - margin, high + margin),
            "ylim": (-0.08, len(groups) - 0.02),
            "yticks": ticks,
            "xlabel": score_label(scores),
            "ylabel": "samples (each row to its own scale)",
            "show_legend": False,
        },
    )


def _histogram(values: np.ndarray, edges: np.ndarray, name: str, base: float) -> hv.Rectangles:
    """Bars of one partition, standing on its base line."""
    counts = np.histogram(values, edges)[0]
    shown = np.flatnonzero(counts)
    tops = base + _HEIGHT * counts / max(1, counts.max())
    bars = hv.Rectangles(
        (
            edges[:-1][shown],
            np.full(len(shown), base),
            edges[1:][shown],
            tops[shown],
            np.full(len(shown), name, object),
            counts[shown],
            100 * counts[shown] / len(values),
        ),
        kdims=["from", "bottom", "to", "top"],
        vdims=["partition", "samples", "percent"],
    )
    return dress(
        bars,
        both={"color": COLOURS[name], "alpha": 0.75},
        bokeh={
            "line_color": "white",
            "line_width": 0.5,
            "tools": ["hover"],
            "hover_tooltips": [
                ("partition", "@partition"),
                ("score", "@from{0.000} to @to{0.000}"),
                ("samples", "@samples (@percent{0.0} %)"),
            ],
        },
        matplotlib={"edgecolor": "white", "linewidth": 0.4},
    )


def _mean(row: xr.Dataset, name: str, base: float) -> hv.Segments:
    """Mark the mean by a line over the row's height, with its interval on hover."""
    mean, (low, high) = row["mean"].item(), row["interval"].values.tolist()
    mark = hv.Segments(
        ([mean], [base], [mean], [base + 0.9], [name], [mean], [low], [high]),
        kdims=["x0", "y0", "x1", "y1"],
        vdims=["partition", "mean", "low", "high"],
    )
    tooltips = [
        ("partition", "@partition"),
        ("mean score", "@mean{0.0000}"),
        ("95 % interval of the mean", "@low{0.0000} to @high{0.0000}"),
    ]
    return dress(
        mark,
        both={"color": INK},
        bokeh={"line_width": 2.5, "tools": ["hover"], "hover_tooltips": tooltips},
        matplotlib={"linewidth": 2},
    )
