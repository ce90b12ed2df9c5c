"""Selectivity of units for single samples, layer by layer, and whether it is for samples that their encoder has seen."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import GUIDE, INK, dress, layer_panel
from sslmem_kit.names import COLOURS


def plot(table: xr.Dataset, seen: xr.Dataset) -> hv.Layout:
    """Plot two panels over the layers in forward order.

    Left: UnitMem; dot median, thick bar the middle half of the units, thin bar the middle 90 %, grey dot the mean of samples chosen at random,
    where it is known. Right: of the units whose strongest sample is
    a candidate or an independent one, the share whose encoder was trained on it, against 95 % of what permuted partitions give.

    Parameters
    ----------
    table
        ``unit_mem`` on (``layer``, ``quantile``) and ``null`` on ``layer``, of :func:`sslmem_kit.statistics.unit_table`.
    seen
        ``share`` and ``null_interval`` on ``layer``, of :func:`sslmem_kit.statistics.strongest_seen`.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> from sslmem_kit.scores import _example
    >>> tree = _example.tree()
    >>> plot(statistics.unit_table(tree), statistics.strongest_seen(tree)).shape
    (1, 2)
    """
    quantiles = table["unit_mem"].transpose("layer", "quantile").values
    x = np.arange(table.sizes["layer"], dtype=float)
    left = [
        _bars(x, quantiles[:, 0], quantiles[:, 4], INK, 1.2),
        _bars(x, quantiles[:, 1], quantiles[:, 3], COLOURS["candidate"], 5.0),
        _points(x, quantiles[:, 2], INK, "median"),
    ]
    if (known := np.isfinite(table["null"].values)).any():
        left.append(_points(x[known], table["null"].values[known], GUIDE, "null"))
    null, share = seen["null_interval"].transpose("layer", "bound").values, seen["share"].values
    x = np.arange(len(share), dtype=float)
    known = np.isfinite(share)
    right = [
        dress(
            hv.HLine(0.5),
            both={"color": GUIDE},
            bokeh={"line_dash": "dashed", "line_width": 1.2},
            matplotlib={"linestyle": "--", "linewidth": 1.0},
        ),
        _bars(x[known], null[known, 0], null[known, 1], GUIDE, 5.0),
        _points(x[known], share[known], COLOURS["candidate"], "share"),
    ]
    reach = 1.15 * np.abs(np.concatenate([null[known].ravel(), share[known], [0.4]]) - 0.5).max()
    floor = min(-0.03, 1.1 * quantiles.min())
    panels = [
        layer_panel(
            left,
            _ticks(table),
            "Units by layer (grey: null)",
            "UnitMem",
            {"ylim": (floor, 1.03), "show_legend": False},
        ),
        layer_panel(
            right,
            _ticks(seen),
            "Strongest sample was seen (grey: chance)",
            "share of units",
            {"ylim": (0.5 - reach, 0.5 + reach), "show_legend": False},
        ),
    ]
    # The panels have different layers at the same places, and units of their own.
    return dress(
        hv.Layout(panels).cols(2), bokeh={"shared_axes": False}, matplotlib={"hspace": 0.3, "sublabel_format": "", "tight": False}
    )


def _bars(x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str, width: float) -> hv.Segments:
    return dress(
        hv.Segments((x, low, x, high), ["x0", "y0", "x1", "y1"]),
        both={"color": colour},
        bokeh={"line_width": width},
        matplotlib={"linewidth": width},
    )


def _points(x: np.ndarray, y: np.ndarray, colour: str, value: str) -> hv.Scatter:
    return dress(hv.Scatter((x, y), "place", value), both={"color": colour}, bokeh={"size": 7}, matplotlib={"s": 28})


def _ticks(table: xr.Dataset) -> list[str]:
    return [f"{name}, n = {count:,}" for name, count in zip(table["layer"].values, table["n_units"].values, strict=True)]
