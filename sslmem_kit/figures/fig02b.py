"""Figure 2b: training loss, probe accuracy, mean score and mean of the top 10 % over epochs.

The paper's claim: loss and accuracy reach a plateau while memorization keeps rising.
"""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import INK, dress, frame
from sslmem_kit.names import COLOURS, EPOCH


def plot(trajectory: xr.Dataset) -> hv.Layout:
    """Plot loss, probe accuracy, mean score and mean of the top 10 % in four panels over one epoch axis.

    Parameters
    ----------
    trajectory
        Of :func:`sslmem_kit.statistics.trajectory.memorization_over_training`.

    Notes
    -----
    Bands are one standard deviation over the encoders for loss and accuracy, one standard error for the scores. There is no band where
    there is only one encoder or seed to estimate it from.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import memorization_over_training
    >>> len(plot(memorization_over_training(_example.tree())))
    4
    """
    attrs, colour = trajectory.attrs, COLOURS["candidate"]
    sd, error = f"± sd, {attrs['n_encoders']} encoders", f"± s.e. over {attrs['standard_error_over']}"
    panels = [
        _panel(trajectory, "loss_every_epoch", "loss_every_epoch_sd", INK, f"Training loss ({sd})", "loss"),
        _panel(trajectory, "probe_accuracy", "probe_accuracy_sd", INK, f"Linear probe ({sd})", "accuracy (share correct)"),
        _panel(trajectory, "mean", "mean_se", colour, f"All {attrs['n_candidates']} candidates ({error})", "mean score (distance)"),
        _panel(trajectory, "top_mean", "top_mean_se", colour, f"Top 10 %, {attrs['n_top']} ({error})", "mean score (distance)"),
    ]
    return dress(hv.Layout(panels).cols(2), matplotlib={"hspace": 0.3, "vspace": 0.35, "sublabel_format": "", "tight": False})


def _panel(trajectory: xr.Dataset, name: str, spread: str, colour: str, title: str, ylabel: str) -> hv.Overlay:
    """Plot one quantity over epochs: a line with the recorded epochs as points, and a band where the spread is known."""
    x = trajectory[trajectory[name].dims[0]].values
    y, half = trajectory[name].values.astype(float), trajectory[spread].values.astype(float)
    # The key dimension is named alike in all panels, which links them; the values are not, which leaves their axes free.
    columns = (x, y, half)
    line = dress(
        hv.Curve(columns[:2], EPOCH, name),
        both={"color": colour},
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 1.8},
    )
    points = dress(
        hv.Scatter(columns, EPOCH, [name, spread]),
        both={"color": colour},
        bokeh={
            "size": 5,
            "tools": ["hover"],
            "hover_tooltips": [("epoch", f"@{EPOCH}"), (ylabel, f"@{name}{{0.0000}}"), ("±", f"@{spread}{{0.0000}}")],
        },
        matplotlib={"s": 16},
    )
    parts = [line, points]
    if np.isfinite(half).all():
        band = dress(
            hv.Spread(columns, EPOCH, [name, spread]),
            both={"alpha": 0.2},
            bokeh={"color": colour, "line_alpha": 0},
            # HoloViews' own default is a cycled face colour, which wins over `color` alone.
            matplotlib={"color": colour, "facecolor": colour, "edgecolor": "none"},
        )
        parts.insert(0, band)
    return frame(
        hv.Overlay(parts),
        title=title,
        width=400,
        height=240,
        both={
            "xlabel": "epoch",
            "ylabel": ylabel,
            "xlim": (0, int(trajectory["training_epoch"][-1]) * 1.03),
            "ylim": _limits(y, half, name),
        },
        # Panels of a grid need an outer size: with one of the frame only, bokeh cuts the first column.
        bokeh={"frame_width": None, "frame_height": None, "width": 470, "height": 300},
    )


def _limits(y: np.ndarray, half: np.ndarray, name: str) -> tuple[float, float]:
    """Limits of the axis with room for line and band; those of scores include zero, which they are compared with."""
    reach = np.nan_to_num(half)
    low, high = float((y - reach).min()), float((y + reach).max())
    if name in ("mean", "top_mean"):
        low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.08 * (high - low) or 0.05
    return low - margin, high + margin
