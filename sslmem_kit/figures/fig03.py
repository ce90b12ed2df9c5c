"""Figures 3, 6 and 7, and Table 17 as a curve: probe accuracy against the number of samples that an encoder is trained without, or on alone.

The paper draws lines through single numbers; here each has its interval over seeds and random sets, and one without is not drawn.
"""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import GUIDE, dress, frame
from sslmem_kit.names import BOUND
from sslmem_kit.statistics.removal import AMOUNT, CONTRAST, PROBE, REMOVED, TASK

_WAYS = {
    "highest": ("#D55E00", ("solid", "dashed", "dotted", "dotdash"), ("-", "--", ":", "-.")),
    "lowest": ("#0072B2", ("solid", "dashed", "dotted", "dotdash"), ("-", "--", ":", "-.")),
    "random": (GUIDE, ("solid",), ("-",)),
}
"""Colour of each way, and dashes of its orders in bokeh and matplotlib."""
_SHIFT = 0.012
"""Distance of the lines of two ways, as a share of the axis, so that bars stand beside each other."""


def plot(curves: xr.Dataset, task: str, *, probe: str = "linear") -> hv.Overlay:
    """Plot the accuracy of one probe on one task as a line with 95 % intervals for each way to choose samples.

    Parameters
    ----------
    curves
        Of :func:`sslmem_kit.statistics.removal.removal_curves`.
    task, probe
        Coordinates of it.

    Raises
    ------
    ValueError
        No line has an interval: there is one seed.

    Examples
    --------
    >>> ends = [[[0.7, 0.9], [0.6, 0.8]]]
    >>> curves = xr.Dataset(
    ...     {"accuracy": (("removed", "amount"), [[0.8, 0.7]]), "interval": (("removed", "amount", "bound"), ends)},
    ...     {"removed": ["random"], "way": ("removed", ["random"]), "amount": [0, 9], "task": "digits", "probe": "linear"},
    ...     {"action": "remove", "candidates": 20, "name": "mine"},
    ... ).expand_dims(["task", "probe"])
    >>> [element.label for element in plot(curves, "digits")]
    ['random', '']
    """
    chosen = curves.sel({TASK: task, PROBE: probe})
    amounts = chosen[AMOUNT].values.astype(float)
    width = float(np.ptp(amounts)) or 1.0
    names = [name for name in chosen[REMOVED].values.tolist() if np.isfinite(chosen["interval"].sel({REMOVED: name})).all()]
    if not names:
        raise ValueError(f"no accuracy on {task!r} has an interval over seeds, and none is plotted without; train several seeds")
    parts, seen = [], dict.fromkeys(_WAYS, 0)
    for place, name in enumerate(names):
        one = chosen.sel({REMOVED: name})
        way = str(one["way"].item())
        colour, bokeh, matplotlib = _WAYS[way]
        number, seen[way] = seen[way] % len(bokeh), seen[way] + 1
        at = amounts + _SHIFT * width * (place - (len(names) - 1) / 2)
        values, (low, high) = 100 * one["accuracy"].values, 100 * one["interval"].transpose(BOUND, ...).values
        line = hv.Curve((at, values), AMOUNT, "accuracy", label=name)
        parts.append(
            dress(
                line,
                both={"color": colour},
                bokeh={"line_width": 2, "line_dash": bokeh[number]},
                matplotlib={"linewidth": 1.8, "linestyle": matplotlib[number]},
            )
        )
        parts.append(_bars(at, values, low, high, colour))
    verb = "kept" if curves.attrs["action"] == "keep" else "removed"
    return frame(
        hv.Overlay(parts),
        title=f"{curves.attrs['name']}: {task}, {probe} probe",
        width=620,
        height=320,
        both={
            "xlabel": f"samples {verb} of {curves.attrs['candidates']:,}",
            "ylabel": "accuracy (%), 95 %",
            "xlim": (float(amounts.min() - 0.08 * width), float(amounts.max() + 0.08 * width)),
            "show_legend": True,
            "legend_position": "right",
        },
    )


def differences(found: xr.Dataset, task: str, *, probe: str = "linear") -> hv.Overlay:
    """Plot paired differences in accuracy, with 95 % intervals, against the amount.

    Parameters
    ----------
    found
        Of :func:`sslmem_kit.statistics.removal.removal_differences`.
    task, probe
        Coordinates of it.

    Raises
    ------
    ValueError
        No difference has an interval: there is one seed.
    """
    chosen = found.sel({TASK: task, PROBE: probe})
    amounts = chosen[AMOUNT].values.astype(float)
    width = float(np.ptp(amounts)) or 1.0
    rows = [row for row in range(chosen.sizes[CONTRAST]) if np.isfinite(chosen["interval"].isel({CONTRAST: row})).all()]
    if not rows:
        raise ValueError(f"no difference on {task!r} has an interval over seeds, and none is plotted without; train several seeds")
    colours = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
    zero = dress(hv.HLine(0.0), both={"color": GUIDE}, bokeh={"line_width": 1.2}, matplotlib={"linewidth": 1.0})
    margin = 100 * found.attrs["margin"]
    ends = [
        dress(
            hv.HLine(sign * margin),
            both={"color": GUIDE},
            bokeh={"line_width": 1.2, "line_dash": "dashed"},
            matplotlib={"linewidth": 1.0, "linestyle": "--"},
        )
        for sign in (-1, 1)
    ]
    parts = [zero, *ends]
    for place, row in enumerate(rows):
        one = chosen.isel({CONTRAST: row})
        at = amounts + 2 * _SHIFT * width * (place - (len(rows) - 1) / 2)
        values, (low, high) = 100 * one["difference"].values, 100 * one["interval"].transpose(BOUND, ...).values
        colour = colours[place % len(colours)]
        points = hv.Scatter((at, values), AMOUNT, "difference", label=str(one[CONTRAST].item()))
        parts.append(dress(points, both={"color": colour}, bokeh={"size": 7}, matplotlib={"s": 30}))
        parts.append(_bars(at, values, low, high, colour))
    verb = "kept" if found.attrs["action"] == "keep" else "removed"
    return frame(
        hv.Overlay(parts),
        title=f"{task}, {probe} probe (dashed: margin)",
        width=620,
        height=320,
        both={
            "xlabel": f"samples {verb} of {found.attrs['candidates']:,}",
            "ylabel": "difference in accuracy (points), 95 %",
            "xlim": (float(amounts.min() - 0.15 * width), float(amounts.max() + 0.15 * width)),
            "show_legend": True,
            "legend_position": "right",
        },
    )


def _bars(at: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str) -> hv.ErrorBars:
    bars = hv.ErrorBars((at, values, values - low, high - values), AMOUNT, ["accuracy", "below", "above"])
    return dress(bars, bokeh={"line_color": colour}, matplotlib={"edgecolor": colour, "capsize": 3})
