"""Figure 2a: alignment on f against alignment on g, one point a candidate, coloured by its score.

A candidate's height above the identity line is its raw score (eq. 2). The paper's claim: high scores occur at a wide range of f's
loss, and the lowest loss is not the highest score.
"""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import GUIDE, SCORE_COLOURS, class_labels, dress, frame, score_label
from sslmem_kit.names import PARTITION_CODE, SSLMEM


def draw(scores: xr.Dataset) -> hv.Overlay:
    """The scatter plot of the candidates of :func:`sslmem_kit.scores.score`, with the identity line."""
    chosen = scores.isel(sample=np.flatnonzero(scores["partition"] == PARTITION_CODE["candidate"]))
    f, g, score = (chosen[name].values.astype(float) for name in ("alignment_f", "alignment_g", SSLMEM))
    # Drawn in the order of the score, so that where points overlap the highly memorized ones are on top.
    order = np.argsort(score, kind="stable")
    columns = (f, g, score, chosen["standard_error"].values.astype(float), chosen["sample"].values, class_labels(chosen))
    points = hv.Points(
        tuple(column[order] for column in columns),
        kdims=["alignment_f", "alignment_g"],
        vdims=[SSLMEM, "standard_error", "sample", "class"],
    )
    low, high = min(f.min(), g.min()), max(f.max(), g.max())
    margin = 0.04 * (high - low) or 0.05
    limits = (low - margin, high + margin)
    points = dress(
        points,
        both={"color": SSLMEM, "cmap": SCORE_COLOURS, "colorbar": True, "clabel": score_label(scores), "alpha": 0.85},
        bokeh={
            "size": 7,
            "line_color": "#444444",
            "line_width": 0.4,
            "tools": ["hover"],
            "hover_tooltips": [
                ("sample", "@sample"),
                ("class", "@class"),
                ("score", "@sslmem{0.0000}"),
                ("standard error of the difference", "@standard_error{0.0000}"),
                ("alignment on f, g", "@alignment_f{0.000}, @alignment_g{0.000}"),
            ],
            "colorbar_opts": {"width": 12, "padding": 8, "title_standoff": 10, "title_text_font_style": "normal"},
        },
        matplotlib={"s": 28, "edgecolors": "#444444", "linewidth": 0.3, "cbar_padding": 0.05},
    )
    # A curve from corner to corner, for a slope element knows no hover exception and stretches the matplotlib limits.
    identity = dress(
        hv.Curve([(limits[0], limits[0]), (limits[1], limits[1])], "alignment_f", "alignment_g"),
        both={"color": GUIDE},
        bokeh={"line_dash": "dashed", "line_width": 1.5},
        matplotlib={"linestyle": "--", "linewidth": 1.2},
    )
    return frame(
        identity * points,
        title=f"{len(score):,} candidates on f and on g ({scores.attrs['protocol']} protocol)",
        width=460,
        height=460,
        both={
            "xlim": limits,
            "ylim": limits,
            "xlabel": "alignment on f, which saw them (mean distance)",
            "ylabel": "alignment on g, which did not (mean distance)",
        },
    )
