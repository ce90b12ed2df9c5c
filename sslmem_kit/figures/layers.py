"""Memorization layer by layer: mean score of each partition, and the relative effect, which compares between layers.

Distances of different layers differ in size whatever is memorized, so that the means of two layers are in different units.
"""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import GUIDE, INK, dress, layer_panel
from sslmem_kit.names import COLOURS

PARTITIONS = ("candidate", "shared", "extra", "independent")
"""Partitions in the order of the legend."""
_APART = 0.13
"""Distance between partitions of one layer, in layers: error bars beside each other."""


def plot(table: xr.Dataset) -> hv.Layout:
    """Plot two panels over the layers in forward order, bars are 95 % intervals, left over samples and right over seeds.

    Parameters
    ----------
    table
        Of :func:`sslmem_kit.statistics.layer_table`.

    Returns
    -------
    Left the mean score of each partition, right ``relative_effect`` in per cent: by how much candidates are closer for training, against shared
    samples. One pair of encoders has no bars there.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> from sslmem_kit.scores import _example
    >>> plot(statistics.layer_table(statistics.layer_scores(_example.tree()))).shape
    (1, 2)
    """
    names = list(map(str, table["layer"].values))
    shown = [name for name in PARTITIONS if name in table["partition"]]
    means: list[Any] = [_zero()]
    for number, name in enumerate(shown):
        one = table.sel(partition=name)
        x = np.arange(len(names)) + _APART * (number - (len(shown) - 1) / 2)
        means += _series(x, one["mean"].values, one["interval"].transpose(..., "bound").values, COLOURS[name], name, "mean")
    effects = [
        _zero(),
        *_series(
            np.arange(len(names)),
            100 * table["relative_effect"].values,
            100 * table["relative_effect_interval"].transpose(..., "bound").values,
            INK,
            "candidates against shared",
            "effect",
        ),
    ]
    ends = np.append(table["interval"].sel(partition=shown).values, 0.0)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    margin = 0.08 * (high - low) or 0.05
    counts = ", ".join(f"{table['n'].isel(layer=0).sel(partition=name).item():,}" for name in shown)
    pairs = table["n_seeds"].item()
    over = f"bars over {pairs} seeds" if pairs > 1 else "nothing is known over seeds"
    # The legend has the upper third to itself.
    legend = {"ylim": (low - margin, high + 6 * margin), "show_legend": True, "legend_position": "top_left", "legend_cols": 2}
    panels = [
        layer_panel(means, names, f"Mean score by layer (n = {counts})", "mean score (distance)", legend),
        layer_panel(
            effects, names, f"Candidates against shared samples ({over})", "closer by, % of the distance", {"show_legend": False}
        ),
    ]
    return dress(hv.Layout(panels).cols(2), matplotlib={"hspace": 0.3, "sublabel_format": "", "tight": False})


def _zero() -> hv.HLine:
    return dress(
        hv.HLine(0.0),
        both={"color": GUIDE},
        bokeh={"line_dash": "dashed", "line_width": 1.2},
        matplotlib={"linestyle": "--", "linewidth": 1.0},
    )


def _series(x: np.ndarray, middle: np.ndarray, intervals: np.ndarray, colour: str, label: str, value: str) -> list[Any]:
    """A line with points, and error bars where an interval is known."""
    low, high = intervals.T
    line = dress(
        hv.Curve((x, middle), "layer", value, label=label),
        both={"color": colour},
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 1.6},
    )
    points = dress(
        hv.Scatter((x, middle), "layer", value),
        both={"color": colour},
        bokeh={"size": 5},
        matplotlib={"s": 16},
    )
    known = np.isfinite(low) & np.isfinite(high)
    bars = dress(
        hv.ErrorBars((x[known], middle[known], (middle - low)[known], (high - middle)[known]), "layer", [value, "below", "above"]),
        bokeh={"line_color": colour, "line_width": 1.3, "upper_head": None, "lower_head": None},
        matplotlib={"edgecolor": colour, "linewidth": 1.2},
    )
    return [bars, line, points]
