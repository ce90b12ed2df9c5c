"""Figure 2b: training loss, probe accuracy, memorization of all candidates and of the top 10 % over epochs.

The paper's claim: loss and accuracy reach a plateau while memorization keeps rising. Its top 10 % are chosen by the scores that it
averages; here one half of the seeds chooses and the other measures.
"""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import GUIDE, INK, dress, frame
from sslmem_kit.names import BOUND, COLOURS, EPOCH

NAIVE = "chosen by all seeds"
"""Label of the line of samples that are chosen by the scores that are averaged."""
LEGEND = 3
"""Margins that a legend needs below what is plotted."""


def plot(trajectory: xr.Dataset) -> hv.Layout:
    """Plot loss, probe accuracy, memorization of all candidates and of the top 10 % in four panels over one epoch axis.

    Parameters
    ----------
    trajectory
        Of :func:`sslmem_kit.statistics.trajectory.memorization_over_training`.

    Notes
    -----
    Bands are one standard deviation over the encoders for loss and accuracy, 95 % intervals over seeds for memorization; the dashed line
    is the mean of the top 10 % by the very scores that it averages. With one pair of encoders there is no panel of the top 10 %, and the
    panel of all candidates is their mean score with its standard error over candidates.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import memorization_over_training
    >>> len(plot(memorization_over_training(_example.tree())))
    4
    """
    attrs, colour = trajectory.attrs, COLOURS["candidate"]
    sd, candidates = f"± sd, {attrs['n_encoders']} encoders", f"{attrs['n_candidates']:,} candidates"
    panels = [
        _panel(trajectory, "loss_every_epoch", "loss_every_epoch_sd", INK, f"Training loss ({sd})", "loss"),
        _panel(trajectory, "probe_accuracy", "probe_accuracy_sd", INK, f"Linear probe ({sd})", "accuracy (share correct)"),
    ]
    if attrs["seeds"]:
        over = f"95 %, {attrs['seeds']} seeds"
        half = trajectory["top_effect_interval"].sel({BOUND: "high"}) - trajectory["top_effect"]
        of_all = trajectory["effect_interval"].sel({BOUND: "high"}) - trajectory["effect"]
        trajectory = trajectory.assign(effect_reach=of_all, top_effect_reach=half)
        panels += [
            _panel(trajectory, "effect", "effect_reach", colour, f"All {candidates} ({over})", "memorization (distance)"),
            _panel(trajectory, "top_effect", "top_effect_reach", colour, f"Top {attrs['n_top']}, chosen by other seeds ({over})",
                   "memorization (distance)", beside="top_effect_naive"),
        ]  # fmt: skip
    else:
        error = f"± s.e. over {attrs['standard_error_over']}"
        panels.append(_panel(trajectory, "mean", "mean_se", colour, f"All {candidates} ({error})", "mean score (distance)"))
    return dress(hv.Layout(panels).cols(2), matplotlib={"hspace": 0.3, "vspace": 0.35, "sublabel_format": "", "tight": False})


def _panel(
    trajectory: xr.Dataset, name: str, spread: str, colour: str, title: str, ylabel: str, *, beside: str | None = None
) -> hv.Overlay:
    """Plot one quantity over epochs: a line with the recorded epochs as points, and a band where the spread is known; dashed, another."""
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
    if beside is not None:
        other = hv.Curve((x, trajectory[beside].values), EPOCH, beside, label=NAIVE)
        parts.append(
            dress(
                other,
                both={"color": GUIDE},
                bokeh={"line_width": 1.5, "line_dash": "dashed"},
                matplotlib={"linewidth": 1.4, "linestyle": "--"},
            )
        )
    return frame(
        hv.Overlay(parts),
        title=title,
        width=400,
        height=240,
        both={
            "xlabel": "epoch",
            "ylabel": ylabel,
            "xlim": (0, int(trajectory["training_epoch"][-1]) * 1.03),
            **({} if beside is None else {"show_legend": True, "legend_position": "bottom_right"}),
            "ylim": _limits(y, half, name, None if beside is None else trajectory[beside].values),
        },
        # Panels of a grid need an outer size: with one of the frame only, bokeh cuts the first column.
        bokeh={"frame_width": None, "frame_height": None, "width": 470, "height": 300},
    )


def _limits(y: np.ndarray, half: np.ndarray, name: str, beside: np.ndarray | None) -> tuple[float, float]:
    """Limits of the axis with room for lines and band; those of memorization include zero, which it is compared with."""
    reach, also = np.nan_to_num(half), y if beside is None else beside
    low, high = float(min((y - reach).min(), also.min())), float(max((y + reach).max(), also.max()))
    if name in ("mean", "effect", "top_effect"):
        low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.08 * (high - low) or 0.05
    return low - margin * (1 if beside is None else LEGEND), high + margin
