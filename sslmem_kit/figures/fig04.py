"""Figure 4: memorization, that of the top 10 %, and probe accuracy against the weight of the alignment regularizer, lambda.

The paper's claim: memorization and accuracy both fall as lambda rises.
"""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.fig02b import LEGEND, NAIVE
from sslmem_kit.figures.style import GUIDE, INK, dress, frame
from sslmem_kit.names import BOUND, COLOURS
from sslmem_kit.statistics.regularizer import WEIGHT


def plot(found: xr.Dataset) -> hv.Layout:
    """Plot three panels over lambda, each number with its 95 % interval over seeds.

    Parameters
    ----------
    found
        Of :func:`sslmem_kit.statistics.memorization_by_weight`.

    Raises
    ------
    ValueError
        There is one seed, and no interval.

    Examples
    --------
    >>> names, ends = ("effect", "top_effect", "accuracy"), [[0.1, 0.3], [0.0, 0.2]]
    >>> means = {name: ("weight", [0.2, 0.1]) for name in names}
    >>> intervals = {f"{name}_interval": (("weight", "bound"), ends) for name in names}
    >>> attrs = {"seeds": 3, "n_candidates": 100, "n_top": 10, "probe": "linear", "missing": ""}
    >>> len(plot(xr.Dataset(means | intervals, {"weight": [0.0, 0.2], "bound": ["low", "high"]}, attrs)))
    3
    """
    attrs, colour = found.attrs, COLOURS["candidate"]
    if attrs["seeds"] < 2:
        raise ValueError(f"nothing is plotted without an interval; {attrs['missing']}")
    over = f"95 %, {attrs['seeds']} seeds"
    panels = [
        _panel(found, "effect", colour, f"All {attrs['n_candidates']:,} candidates ({over})", "memorization (distance)"),
        _panel(found, "top_effect", colour, f"Top {attrs['n_top']}, chosen by other seeds ({over})", "memorization (distance)"),
        _panel(found, "accuracy", INK, f"{attrs['probe']} probe, encoders f ({over})", "accuracy (share correct)"),
    ]
    return dress(hv.Layout(panels).cols(3), matplotlib={"hspace": 0.3, "vspace": 0.35, "sublabel_format": "", "tight": False})


def _panel(found: xr.Dataset, name: str, colour: str, title: str, ylabel: str) -> hv.Overlay:
    """Plot one quantity: a line, points and bars; dashed, the mean of samples that are chosen by the scores that are averaged."""
    x, y = found[WEIGHT].values.astype(float), found[name].values.astype(float)
    low, high = found[f"{name}_interval"].transpose(BOUND, ...).values
    naive = f"{name}_naive"
    parts = [
        dress(hv.Curve((x, y), WEIGHT, name), both={"color": colour}, bokeh={"line_width": 2}, matplotlib={"linewidth": 1.8}),
        dress(
            hv.Scatter((x, y, low, high), WEIGHT, [name, "low", "high"]),
            both={"color": colour},
            bokeh={
                "size": 6,
                "tools": ["hover"],
                "hover_tooltips": [("lambda", f"@{WEIGHT}"), (ylabel, f"@{name}{{0.0000}} [@low{{0.0000}}, @high{{0.0000}}]")],
            },
            matplotlib={"s": 20},
        ),
        dress(
            hv.ErrorBars((x, y, y - low, high - y), WEIGHT, [name, "below", "above"]),
            bokeh={"line_color": colour},
            matplotlib={"edgecolor": colour, "capsize": 3},
        ),
    ]
    ends = [low.min(), high.max()]
    if naive in found:
        parts.append(
            dress(
                hv.Curve((x, found[naive].values), WEIGHT, naive, label=NAIVE),
                both={"color": GUIDE},
                bokeh={"line_width": 1.5, "line_dash": "dashed"},
                matplotlib={"linewidth": 1.4, "linestyle": "--"},
            )
        )
        ends += [found[naive].values.min(), found[naive].values.max()]
    if name != "accuracy":
        ends.append(0.0)  # which memorization is compared with
    margin = 0.08 * float(np.ptp(ends)) or 0.05
    side = 0.06 * float(np.ptp(x))
    return frame(
        hv.Overlay(parts),
        title=title,
        width=400,
        height=260,
        both={
            **({"show_legend": True, "legend_position": "bottom_right"} if naive in found else {}),
            "xlabel": "lambda",
            "ylabel": ylabel,
            "xlim": (float(x.min()) - side, float(x.max()) + side),
            "ylim": (float(min(ends)) - margin * (LEGEND if naive in found else 1), float(max(ends)) + margin),
        },
        # Panels of a grid need an outer size: with one of the frame only, bokeh cuts the first column.
        bokeh={"frame_width": None, "frame_height": None, "width": 440, "height": 310},
    )
